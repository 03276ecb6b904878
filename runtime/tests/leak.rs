//! A hunt for data of one tenant in the slots of another: apps fill all memory they can get in every shape there is, then others look
//! at every word of what they are given.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use tawi_runtime::{
    engine::{Engine, EngineError, EngineOptions, Loaded, Wasi},
    model::{AppId, Digest, Manifest, Micros, Release, id::default_tenant},
};

/// More apps than slots that a pool keeps for who had them last (100): from there on each instance is made in a slot of somebody else.
const APPS: usize = 200;
/// Calls at once.
const CALLS: usize = 4;
const MANIFEST: &str =
    "[app]\nname = \"app\"\n[[on]]\nname = \"f\"\nsubject = \"reading.>\"\n[limits]\nmemory = \"48MiB\"\ncpu = \"60s\"\n";
/// What writers leave everywhere.
const SECRET: &str = "0x5ec2e75ec2e75ec2";

/// Pages of memory that a writer begins with and grows to, and how far apart its secrets are: 8 fills all, 8,192 dirties every other
/// page of the processor, so that there are more runs of dirty pages (2,048) than a kernel is asked for at once (32).
const SHAPES: [(u32, u32, u32); 8] = [
    (1, 1, 8),
    // Just what a slot keeps resident, a page of wasm more, and four times as much.
    (16, 16, 8),
    (17, 17, 8),
    (1, 64, 8),
    (256, 256, 8),
    (256, 256, 8_192),
    (64, 256, 12_288),
    (1, 256, 65_536),
];

fn component(module: &str) -> Vec<u8> {
    let text = format!(
        "(component (core module $m {module} (func (export \"handle\"))) (core instance $i (instantiate $m))
           (func $h (canon lift (core func $i \"handle\"))) (instance $e (export \"handle\" (func $h)))
           (export \"tawi:app/event-handler@0.1.0\" (instance $e)))"
    );
    wat::parse_str(text).unwrap()
}

/// Memory of these pages that grows at start. `$end` is its end, all of it is touched from there on.
fn memory(from: u32, to: u32) -> String {
    format!(
        "(memory {from}) (table 1000 funcref) (global $own (mut i64) (i64.const 0)) (elem declare func $own)
         (func $own) (func $grow (drop (memory.grow (i32.const {}))))
         (func $end (result i32) (i32.mul (memory.size) (i32.const 65536)))",
        to - from
    )
}

/// Puts secrets into memory, into its table and into its global.
fn writes(step: u32) -> String {
    format!(
        "(func $write (local $at i32)
           (loop $next
             (i64.store (local.get $at) (i64.const {SECRET}))
             (local.set $at (i32.add (local.get $at) (i32.const {step})))
             (br_if $next (i32.lt_u (local.get $at) (call $end))))
           (table.fill (i32.const 0) (ref.func $own) (i32.const 1000))
           (global.set $own (i64.const {SECRET})))"
    )
}

/// Ends in a trap when anything is there that is not its own: a word of memory below `$own_from` or above, an entry of the table.
fn reads(own_from: u32, own_to: u32) -> String {
    format!(
        "(func $read (local $at i32)
           (loop $next
             (if (i32.or (i32.lt_u (local.get $at) (i32.const {own_from})) (i32.ge_u (local.get $at) (i32.const {own_to})))
               (then (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))))
             (local.set $at (i32.add (local.get $at) (i32.const 8)))
             (br_if $next (i32.lt_u (local.get $at) (call $end))))
           (local.set $at (i32.const 0))
           (loop $next
             (if (i32.eqz (ref.is_null (table.get (local.get $at)))) (then unreachable))
             (local.set $at (i32.add (local.get $at) (i32.const 1)))
             (br_if $next (i32.lt_u (local.get $at) (i32.const 1000))))
           (if (i64.ne (global.get $own) (i64.const 0)) (then unreachable)))"
    )
}

/// Every second one begins with an image of its own, which it writes over.
fn writer(n: usize) -> Vec<u8> {
    let (from, to, step) = SHAPES[n % SHAPES.len()];
    let image = if n.is_multiple_of(2) { format!("(data (i32.const 0) \"writer {n}\")") } else { String::new() };
    let start = "(func $start (call $grow) (call $write)) (start $start)";
    component(&format!("{} {} {image} {start} (func (export \"writer {n}\"))", memory(from, to), writes(step)))
}

/// Every second one has an image of its own at the third page of the processor.
fn reader(n: usize) -> Vec<u8> {
    let (from, to) = [(1, 256), (256, 256), (17, 64)][n % 3];
    let image = if n.is_multiple_of(2) { "(data (i32.const 8192) \"own\")" } else { "" };
    let start = "(func $start (call $grow) (call $read)) (start $start)";
    component(&format!("{} {} {image} {start} (func (export \"reader {n}\"))", memory(from, to), reads(8_192, 8_200)))
}

fn load(engine: &Engine, component: &[u8]) -> Loaded {
    let manifest = Manifest::parse(MANIFEST).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("code.cwasm");
    std::fs::write(&path, engine.precompile(component).unwrap()).unwrap();
    let app = AppId::new(default_tenant(), manifest.app.clone());
    let (artifact, created) = (Digest::of(component), Micros(0));
    let release = Release { number: 1, artifact, manifest, commit: String::new(), summary: String::new(), created, rollback_of: None };
    engine.load(Wasi::P2, &path, app, Arc::new(release)).unwrap()
}

/// Makes an instance of each, [`CALLS`] at a time; what they do, they do at start. Answers with how many found something.
async fn run(engine: &Engine, apps: &Arc<Vec<Loaded>>) -> usize {
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..CALLS {
        let (engine, apps) = (engine.clone(), apps.clone());
        lanes.spawn(async move {
            let mut found = 0;
            for app in apps.iter().skip(lane).step_by(CALLS) {
                match engine.probe(app).await {
                    Ok(()) => {}
                    Err(EngineError::Instance(why)) if why.to_string().contains("unreachable") => found += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            found
        });
    }
    lanes.join_all().await.into_iter().sum()
}

async fn hunt(engine: &Engine) {
    let all = |make: fn(usize) -> Vec<u8>| Arc::new((0..APPS).map(|n| load(engine, &make(n))).collect::<Vec<_>>());
    let (writers, readers) = (all(writer), all(reader));
    // None: there is no pool, so that every instance has memory of its own.
    let used = || engine.wasm().pooling_allocator_metrics().map_or(0, |pool| pool.unused_warm_memories() as usize);
    for round in 0..2 {
        assert_eq!(run(engine, &writers).await, 0);
        let before = used();
        assert_eq!(run(engine, &readers).await, 0, "round {round}: somebody saw what is not its own");
        // Not in slots that nobody had before, a few apart: those who read had the slots of those who wrote.
        let new = used().saturating_sub(before);
        assert!(new <= CALLS, "round {round}: {new} slots were new, {before} were not");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_what_another_app_left_in_its_slot() {
    let options = EngineOptions { instances_max: CALLS as u32, guest_memory_bytes_max: Some(512 << 20), ..EngineOptions::default() };
    let engine = Engine::open(&options).unwrap();
    // Where the kernel can tell dirty pages from clean ones; where not, this is the same as what follows.
    hunt(&engine).await;
    engine.fall_back().unwrap();
    hunt(&engine).await;
}

/// What the hunt rests on: one that looks where secrets are does find them, in memory, in the table and in the global.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_given_what_another_wrote_finds_it() {
    let engine = Engine::open(&EngineOptions { instances_max: 1, ..EngineOptions::default() }).unwrap();
    for (from, to, step) in SHAPES {
        let both = format!("{} {} {}", memory(from, to), writes(step), reads(0, 0));
        let found = |start: &str| Arc::new(vec![load(&engine, &component(&format!("{both} (func $start {start}) (start $start)")))]);
        assert_eq!(run(&engine, &found("(call $grow) (call $write) (call $read)")).await, 1);
        assert_eq!(run(&engine, &found("(call $grow) (call $read)")).await, 0);
    }
    let found = |left: &str| {
        let text = format!("{} {} (func $start {left} (call $read)) (start $start)", memory(256, 256), reads(0, 0));
        Arc::new(vec![load(&engine, &component(&text))])
    };
    assert_eq!(run(&engine, &found("(i64.store8 (i32.const 16777215) (i64.const 1))")).await, 1, "the last byte");
    assert_eq!(run(&engine, &found("(table.set (i32.const 999) (ref.func $own))")).await, 1, "the last entry");
    assert_eq!(run(&engine, &found("(global.set $own (i64.const 1))")).await, 1);
}
