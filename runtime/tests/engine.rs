//! Components that should not run, from their text to the reason they are refused with: a real engine, and nothing else.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use tawi_runtime::{
    engine::{Engine, EngineError, EngineOptions, Loaded, Wasi},
    model::{AppId, Digest, Manifest, Micros, Release, id::default_tenant},
};

const MIB: usize = 1 << 20;
const MANIFEST: &str = "[app]\nname = \"odd\"\n[[on]]\nname = \"f\"\nsubject = \"reading.>\"\n[limits]\nmemory = \"4MiB\"\n";

fn engine(guest_memory_bytes_max: Option<usize>) -> Engine {
    Engine::open(&EngineOptions { instances_max: 4, guest_memory_bytes_max, ..EngineOptions::default() }).unwrap()
}

/// A component whose core modules are these, each instantiated once; the last one exports what handles events.
fn component(modules: &[&str]) -> Vec<u8> {
    let modules: String = modules
        .iter()
        .enumerate()
        .map(|(n, body)| format!("(core module $m{n} (func (export \"handle\")) {body})(core instance $i{n} (instantiate $m{n}))\n"))
        .collect();
    let text = format!(
        "(component {modules} (func $h (canon lift (core func $i0 \"handle\")))
           (instance $e (export \"handle\" (func $h))) (export \"tawi:app/event-handler@0.1.0\" (instance $e)))"
    );
    wat::parse_str(text).unwrap()
}

fn load(engine: &Engine, component: &[u8]) -> Result<Loaded, EngineError> {
    let manifest = Manifest::parse(MANIFEST).unwrap();
    engine.verify(component, &manifest)?;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("code.cwasm");
    std::fs::write(&path, engine.precompile(component)?).unwrap();
    let app = AppId::new(default_tenant(), manifest.app.clone());
    let (artifact, created) = (Digest::of(component), Micros(0));
    let release = Release { number: 1, artifact, manifest, commit: String::new(), summary: String::new(), created, rollback_of: None };
    engine.load(Wasi::of(component), &path, app, Arc::new(release))
}

/// Why no instance of a component of these modules can be made.
async fn refused(engine: &Engine, modules: &[&str]) -> String {
    let loaded = load(engine, &component(modules)).unwrap();
    engine.probe(&loaded).await.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_begins_with_more_memory_than_it_may_have_is_not_made() {
    let engine = engine(None);
    let fits = load(&engine, &component(&["(memory 64)"])).unwrap();
    engine.probe(&fits).await.unwrap();
    let why = refused(&engine, &["(memory 65)"]).await;
    assert!(why.contains("4259840 bytes of memory, over its limit of 4194304 (`memory` under [limits]"), "{why}");
    // Each memory alone would be small enough.
    let why = refused(&engine, &["(memory 40)", "(memory 40)"]).await;
    assert!(why.contains("5242880 bytes of memory, over its limit"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_the_memory_of_the_node_is_told_so() {
    let engine = engine(Some(2 * MIB));
    let Err(error) = load(&engine, &component(&["(memory 48)"])) else { panic!("it would wait for ever") };
    assert!(error.to_string().contains("`guest-memory-bytes-max`"), "{error}");
    let grows = "(memory 16) (func $grow (if (i32.lt_s (memory.grow (i32.const 32)) (i32.const 0)) (then unreachable))) (start $grow)";
    let why = refused(&engine, &[grows]).await;
    assert!(why.contains("3145728 bytes of memory") && why.contains("`guest-memory-bytes-max`"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_of_more_parts_than_a_call_has_room_for_is_refused() {
    let engine = engine(None);
    for (modules, what) in [(vec!["(memory 1)"; 3], "memories"), (vec!["(table 1 funcref)"; 9], "tables"), (vec![""; 51], "instances")] {
        let Err(error) = load(&engine, &component(&modules)) else { panic!("{what}: accepted") };
        assert!(error.to_string().contains(what), "{error}");
    }
}

/// As large as they may be, and as many at once as there are permits: nobody finds the pool empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_components_leave_everybody_a_place() {
    let engine = engine(None);
    let parts = "(memory 1) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref)";
    let modules: Vec<&str> = (0..50).map(|n| if n < 2 { parts } else { "" }).collect();
    let loaded = Arc::new(load(&engine, &component(&modules)).unwrap());
    let mut probes = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (engine, loaded) = (engine.clone(), loaded.clone());
        probes.spawn(async move { engine.probe(&loaded).await });
    }
    while let Some(probed) = probes.join_next().await {
        probed.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_is_told_in_its_own_words_whatever_was_refused_before() {
    let engine = engine(None);
    let survives = "(memory 1) (func $s (drop (memory.grow (i32.const 9999)))";
    let why = refused(&engine, &[&format!("{survives} (drop (i32.div_u (i32.const 1) (i32.const 0)))) (start $s)")]).await;
    assert!(why.contains("divide by zero") && !why.contains("over its limit"), "{why}");
    // An allocator that gives up and a panic end alike, so both are told.
    let why = refused(&engine, &[&format!("{survives} unreachable) (start $s)")]).await;
    assert!(why.contains("over its limit") && why.contains("unreachable"), "{why}");
    let goes_on = "(drop (memory.grow (i32.const 1))) unreachable";
    let why = refused(&engine, &[&format!("{survives} {goes_on}) (start $s)")]).await;
    assert!(why.contains("unreachable") && !why.contains("over its limit"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_never_done_ends_with_its_time() {
    let why = refused(&engine(None), &["(func $for_ever (loop $again (br $again))) (start $for_ever)"]).await;
    assert!(why.contains("all of its 1s of processor time"), "{why}");
}

/// A machine that begins to swap: what is loaded from then on runs in slots that keep nothing, what was loaded before runs on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_falls_back_loads_the_same_code_into_another_pool() {
    let engine = engine(None);
    let (dir, manifest) = (tempfile::tempdir().unwrap(), Manifest::parse(MANIFEST).unwrap());
    let path = dir.path().join("code.cwasm");
    let component = component(&["(memory 1)"]);
    std::fs::write(&path, engine.precompile(&component).unwrap()).unwrap();
    let (artifact, created) = (Digest::of(&component), Micros(0));
    let release = Release { number: 1, artifact, manifest, commit: String::new(), summary: String::new(), created, rollback_of: None };
    let app = AppId::new(default_tenant(), release.manifest.app.clone());
    let load = |release: &Release| engine.load(Wasi::P2, &path, app.clone(), Arc::new(release.clone())).unwrap();
    let (before, compatibility, pool) = (load(&release), engine.compatibility(Wasi::P2).unwrap(), engine.wasm());
    let fell = engine.fall_back().unwrap();
    assert!(!engine.fall_back().unwrap(), "once is enough");
    let after = load(&release);
    assert_eq!(wasmtime::Engine::same(&pool, &engine.wasm()), !fell);
    assert_eq!(engine.compatibility(Wasi::P2).unwrap(), compatibility, "nothing has to be compiled again");
    for loaded in [&before, &after] {
        engine.probe(loaded).await.unwrap();
    }
    assert!(!engine.is_unsafe_now() && engine.is_ticking());
}
