//! The app of a simulation: one component, and releases of it that differ in what they listen to.

use crate::{
    engine::{Engine, EngineOptions, Loaded, Wasi},
    host::NodeSecret,
    model::{AppId, Digest, FunctionId, Id, Manifest, Micros, Release, id::default_tenant},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

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
/// The sensor whose readings are numbers, in histories with rules.
pub const NUMBERS: &str = "n";
/// What time makes triggers of, two kinds for a history; durations as short as histories are.
const RULES: [&[(&str, &str)]; 3] = [
    &[("window", "window = { tumbling = \"1s\", lateness = \"2s\", ahead = \"1s\", idle = \"1s\" }"), ("silence", "silence = \"2s\"")],
    &[("batch", "batch = { max = 3, within = \"500ms\" }"), ("threshold", "threshold = { above = 0, hold = \"1s\" }")],
    &[("change", "change = { by = 9 }"), ("every", "every = 3")],
];
const TIMED_EVERY: u64 = 5;
const GRANT: &str = "[grant]\nstate = true\npublish = [\"out.>\"]\n";

/// Loaded once for all histories of a test: a call takes some ten microseconds, compiling a second.
pub struct Variants {
    /// Without rules.
    plain: Arc<Releases>,
    /// With rules, one for each of [`RULES`].
    timed: Vec<Arc<Releases>>,
}

/// Releases of the app that follow each other in a history.
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

impl Variants {
    pub fn open() -> Variants {
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
        let releases = |rules: &[(&str, &str)]| {
            let loaded = (0..SECOND.len()).map(|n| load(&engine, &file, &component, n, rules)).collect();
            Arc::new(Releases { engine: engine.clone(), loaded })
        };
        Variants { plain: releases(&[]), timed: RULES.iter().map(|rules| releases(rules)).collect() }
    }

    /// One history in so many has rules. What others are made of does not depend on it.
    pub fn of(&self, seed: u64) -> Arc<Releases> {
        let timed = &self.timed[(seed / TIMED_EVERY) as usize % self.timed.len()];
        (if is_timed(seed) { timed } else { &self.plain }).clone()
    }
}

pub fn is_timed(seed: u64) -> bool {
    seed.is_multiple_of(TIMED_EVERY)
}

fn load(engine: &Engine, file: &Path, component: &[u8], n: usize, rules: &[(&str, &str)]) -> Arc<Loaded> {
    let (second, retry) = (SECOND[n], RETRY[n]);
    let second = if second.is_empty() { String::new() } else { format!("{second}{retry}") };
    let on = |(name, rule): &(&str, &str)| format!("[[on]]\nname = \"{name}\"\nsubject = \"reading.*.{NUMBERS}\"\n{rule}\n{retry}");
    let rules: String = rules.iter().map(on).collect();
    let text = format!("[app]\nname = \"sim\"\n{FIRST}{retry}{CHAIN}{retry}{second}{rules}{GRANT}");
    let manifest = Manifest::parse(&text).unwrap();
    let release = Release {
        number: n as u64 + 1,
        artifact: Digest::of(component),
        manifest,
        commit: "0".repeat(40),
        summary: String::new(),
        created: Micros(0),
        rollback_of: None,
    };
    Arc::new(engine.load(Wasi::P2, file, app(), Arc::new(release)).unwrap())
}
