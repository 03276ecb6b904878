//! The engine and what is right above it, each beside what it stands on: figures of `make bench`.
//!
//! `cargo bench -p tawi-runtime --bench floor [NAME …]` runs those whose name holds one of the words.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "floor/bare.rs"]
mod bare;
#[path = "floor/many.rs"]
mod many;
#[path = "floor/plain.rs"]
mod plain;
#[path = "floor/preprocess.rs"]
mod preprocess;
#[path = "floor/registry.rs"]
mod registry;
#[path = "floor/replay.rs"]
mod replay;
#[path = "floor/runs.rs"]
mod runs;
#[path = "../tests/support/mod.rs"]
mod support;

use bare::Bare;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use support::{Floor, app, function, guest, reading};
use tawi_platform_tests::{
    Nats,
    results::{Figure, Results},
};
use tawi_runtime::{
    clock,
    engine::Attempt,
    host::{HistoryPage, HistoryQuery, Seen, World},
    ledger::{Append, JetstreamOptions, LedgerConfig, LedgerOptions, Op},
    model::{Event, FunctionId, NewEvent, id::default_tenant},
};
use tokio::runtime;

const GUEST: &str = "bench-effects";
const MANIFEST: &str = r#"
[app]
name = "bench-effects"

[[on]]
name = "own"
subject = "reading.>"

[grant]
state = true
publish = ["seen"]
"#;
/// What a loop runs before the clock counts, and while it does.
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(3);
/// Each pair is run so often, in turn, and the median ratio counts: the machine is shared.
const ROUNDS: usize = 5;

/// Events of one pass through a ledger and a function.
const EVENTS_THROUGH: usize = 150_000;

type Bench = (&'static str, fn(&mut Results));
const ALL: [Bench; 11] = [
    ("call", call),
    ("event", event),
    ("hot", hot),
    ("jetstream", jetstream),
    ("fanout", many::fan_out),
    ("releases", many::releases),
    ("burst", many::burst),
    ("registry", registry::registry),
    ("preprocess", preprocess::preprocess),
    ("runs", runs::runs),
    ("replay", replay::replay),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let mut results = Results::more();
    for (name, bench) in ALL {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            bench(&mut results);
        }
    }
}

fn one_core() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn two_cores() -> runtime::Runtime {
    runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn readings(count: usize, from: usize) -> Vec<NewEvent> {
    (from..from + count).map(|i| reading(&format!("device{}", i % 1_000), "temp", "21.5")).collect()
}

/// Calls a second of `run`, which makes some calls and says how many.
async fn rate(mut run: impl AsyncFnMut() -> usize) -> f64 {
    let begin = Instant::now();
    while begin.elapsed() < WARM_UP {
        run().await;
    }
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < MEASURED {
        count += run().await;
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

/// Processor time of this process so far.
fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The pair whose ratio is the median.
fn median(mut pairs: Vec<(f64, f64)>) -> (f64, f64) {
    pairs.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    pairs[pairs.len() / 2]
}

fn spread(pairs: &[(f64, f64)]) -> String {
    let ratios = pairs.iter().map(|(a, b)| a / b);
    let (low, high) = ratios.fold((f64::MAX, 0.0_f64), |(low, high), ratio| (low.min(ratio), high.max(ratio)));
    format!("median of {} pairs in turn, ratios {low:.2} to {high:.2}", pairs.len())
}

/// A state that is empty and takes no notice.
struct Nowhere;

impl World for Nowhere {
    fn state(&self, _: &str) -> Result<Seen<Option<bytes::Bytes>>, String> {
        Ok(Seen { value: None, at: 0 })
    }
    fn state_entries(&self, _: &str, _: Option<&str>, _: usize) -> Result<Seen<Vec<(String, bytes::Bytes)>>, String> {
        Ok(Seen { value: Vec::new(), at: 0 })
    }
    fn history(&self, _: HistoryQuery) -> futures::future::BoxFuture<'static, Result<HistoryPage, String>> {
        Box::pin(async { Ok(HistoryPage::default()) })
    }
    fn may_command(&self, _: &tawi_runtime::model::Id) -> bool {
        true
    }
    fn config(&self) -> Arc<std::collections::BTreeMap<String, String>> {
        Arc::default()
    }
    fn secrets(&self) -> Arc<std::collections::BTreeMap<String, String>> {
        Arc::default()
    }
}

/// A fresh instance, a call, its list of effects, on one core.
fn call(results: &mut Results) {
    const CALLS: usize = 200;
    let pairs: Vec<(f64, f64)> = one_core().block_on(async {
        let floor = Floor::open().await;
        floor.deploy(GUEST, MANIFEST).await;
        let loaded = floor.dispatch.app(&app(GUEST)).unwrap().loaded.load_full();
        let own = loaded.release.manifest.functions[0].clone();
        let event = Event { seq: 7, body: reading("device1", "temp", "21.5") };
        let world: Arc<dyn World> = Arc::new(Nowhere);
        let bare = Bare::new(&floor.engine.wasm(), &guest(GUEST));
        let mut pairs = Vec::new();
        for _ in 0..ROUNDS {
            let ours = rate(async || {
                let permit = floor.engine.permit().await;
                for _ in 0..CALLS {
                    let attempt = Attempt { function: &own, event: &event, call: "main-7-own".into(), number: 1, now: clock::now() };
                    let outcome = floor.engine.call(&permit, &loaded, attempt, world.clone()).await;
                    assert!(outcome.result.is_ok() && outcome.collected.effects.messages.len() == 1);
                }
                CALLS
            });
            let ours = ours.await;
            let theirs = rate(async || {
                for _ in 0..CALLS {
                    bare.call(&event).await;
                }
                CALLS
            });
            pairs.push((ours, theirs.await));
        }
        pairs
    });
    let note = spread(&pairs);
    let (ours, theirs) = median(pairs);
    let figure = Figure::at_least("fresh instance, call, effects, on one core", ours, "1/s", 0.8);
    results.add(figure.beside("a bare wasmtime loop", theirs).note(note));
}

/// Calls of the bare loop on two threads, each in an instance of its own or all of a thread in one.
fn bare_on_two_cores(name: &str, reused: bool) -> f64 {
    let floor = one_core().block_on(Floor::open());
    let bare = Arc::new(Bare::new(&floor.engine.wasm(), &guest(name)));
    let event = Event { seq: 7, body: reading("device1", "temp", "21.5") };
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (bare, event) = (bare.clone(), event.clone());
            std::thread::spawn(move || {
                one_core().block_on(async {
                    let mut one = bare.instance().await;
                    let run = rate(async || {
                        for _ in 0..200 {
                            match reused {
                                true => one.call(&event).await,
                                false => bare.call(&event).await,
                            }
                        }
                        200
                    });
                    run.await
                })
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).sum()
}

/// Waits until a function has settled everything in the log, without taking a core for it.
async fn settled(floor: &Floor, id: &FunctionId) {
    loop {
        let told = *floor.ledger.told().borrow();
        let shared = floor.dispatch.consumer(id).unwrap();
        if shared.scanned() >= told && shared.open() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn embedded(dir: &Path) -> LedgerConfig {
    LedgerConfig::Embedded { dir: dir.join("ledger"), options: LedgerOptions::default() }
}

/// Readings a second through a ledger and a function, from the first append until all is settled durably.
fn through(ledger: impl FnOnce(&Path) -> LedgerConfig, manifest: &str, names: &[&str]) -> f64 {
    const EVENTS: usize = EVENTS_THROUGH;
    const BATCH: usize = 500;
    two_cores().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let config = ledger(dir.path());
        let floor = Floor::open_on(dir, config).await;
        floor.deploy(GUEST, manifest).await;
        let begin = Instant::now();
        for from in (0..EVENTS).step_by(BATCH) {
            let append = Append { tenant: default_tenant(), events: readings(BATCH, from), dedup: None, intake: None };
            floor.ledger.apply(Op::Append(append)).await.unwrap();
        }
        for name in names {
            settled(&floor, &function(GUEST, name)).await;
        }
        let took = begin.elapsed();
        floor.crash().await;
        EVENTS as f64 / took.as_secs_f64()
    })
}

/// One state write and one message for each event, everything durable.
fn event(results: &mut Results) {
    let pairs: Vec<(f64, f64)> = (0..3).map(|_| (through(embedded, MANIFEST, &["own"]), bare_on_two_cores(GUEST, false))).collect();
    let note = spread(&pairs);
    let (ours, theirs) = median(pairs);
    let figure = Figure::at_least("event through the embedded ledger, two cores", ours, "1/s", 0.4);
    results.add(figure.beside("a bare wasmtime loop on two cores", theirs).note(note));
    results.add(Figure::at_least("events through the embedded ledger", ours, "1/s", 30_000.0).note("the same, without a peer"));
}

/// Every call reads and writes the same key.
fn hot(results: &mut Results) {
    let manifest = MANIFEST.replace("\"own\"", "\"hot\"");
    let pairs: Vec<(f64, f64)> = (0..3).map(|_| (through(embedded, &manifest, &["hot"]), through(embedded, MANIFEST, &["own"]))).collect();
    let note = spread(&pairs);
    let (ours, theirs) = median(pairs);
    let figure = Figure::at_least("one key that every call reads and writes", ours, "1/s", 0.5);
    results.add(figure.beside("the same with keys of their own", theirs).note(note));
}

/// The same over a nats-server beside it, and what a plain consumer makes of one.
fn jetstream(results: &mut Results) {
    let ours = || {
        let nats = Nats::start();
        let (options, jetstream) = (LedgerOptions::default(), JetstreamOptions::default());
        let ledger = |dir: &Path| LedgerConfig::Jetstream { dir: dir.join("ledger"), url: nats.url(), options, jetstream };
        through(ledger, MANIFEST, &["own"])
    };
    let theirs = || two_cores().block_on(plain::events_a_second(&Nats::start().url(), 30_000));
    let pairs: Vec<(f64, f64)> = (0..3).map(|_| (ours(), theirs())).collect();
    let note = spread(&pairs);
    let (ours, theirs) = median(pairs);
    let figure = Figure::at_least("event through JetStream, two cores", ours, "1/s", 2.0);
    results.add(figure.beside("a durable pull consumer that publishes one message each", theirs).note(note));
}
