//! The app of a simulation: one component, and releases of it that differ in what they listen to.

use crate::{
    engine::{Engine, EngineOptions, Loaded, Wasi},
    host::NodeSecret,
    model::{AppId, Digest, FunctionId, Id, Manifest, Micros, Release, id::default_tenant},
};
use std::{path::PathBuf, sync::Arc};

/// Instances that calls of all nodes have together: more than are ever asked for at once.
const INSTANCES: u32 = 48;

const FIRST: &str = "[[on]]\nname = \"first\"\nsubject = \"reading.>\"\n";
const CHAIN: &str = "[[on]]\nname = \"chain\"\nsubject = \"out.first\"\n";
/// Goes, comes back, and changes what it wants.
const SECOND: [&str; 3] = [
    "[[on]]\nname = \"second\"\nsubject = \"reading.>\"\norder = \"none\"\n",
    "",
    "[[on]]\nname = \"second\"\nsubject = \"reading.*.s1\"\norder = \"device\"\n",
];
const RETRY: [&str; 3] = [
    "delivery = { retry = 2, backoff-policy = \"linear\", backoff-delay = \"20ms\" }\n",
    "delivery = { retry = 1, backoff-policy = \"exponential\", backoff-delay = \"5ms\" }\n",
    "delivery = { retry = 3, backoff-policy = \"linear\", backoff-delay = \"300ms\" }\n",
];
const GRANT: &str = "[grant]\nstate = true\npublish = [\"out.>\"]\n";

/// Loaded once for all histories of a test: a call takes some ten microseconds, compiling a second.
pub struct Releases {
    pub engine: Engine,
    pub loaded: Vec<Arc<Loaded>>,
}

pub fn app() -> AppId {
    AppId::new(default_tenant(), Id::new("sim").unwrap())
}

pub fn function(name: &str) -> FunctionId {
    FunctionId { app: app(), function: Id::new(name).unwrap() }
}

impl Releases {
    pub fn open() -> Releases {
        let options = EngineOptions { instances_max: INSTANCES, secret: NodeSecret::new([7; 32]), ..EngineOptions::default() };
        let engine = Engine::open(&options).unwrap();
        // A tick in the middle of a call lets others go first, at a moment that no seed decides.
        engine.stop_ticking();
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../functions/target/guests/sim-script.wasm");
        let component =
            std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run functions/build first (make test does)", path.display()));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sim-script.cwasm");
        std::fs::write(&file, engine.precompile(&component).unwrap()).unwrap();
        let loaded = (0..SECOND.len()).map(|n| {
            let (second, retry) = (SECOND[n], RETRY[n]);
            let second = if second.is_empty() { String::new() } else { format!("{second}{retry}") };
            let text = format!("[app]\nname = \"sim\"\n{FIRST}{retry}{CHAIN}{retry}{second}{GRANT}");
            let manifest = Manifest::parse(&text).unwrap();
            let release = Release {
                number: n as u64 + 1,
                artifact: Digest::of(&component),
                manifest,
                commit: "0".repeat(40),
                summary: String::new(),
                created: Micros(0),
                rollback_of: None,
            };
            Arc::new(engine.load(Wasi::P2, &file, app(), Arc::new(release)).unwrap())
        });
        Releases { loaded: loaded.collect(), engine: engine.clone() }
    }
}
