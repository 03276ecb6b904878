//! Many of something: functions on one stream, releases, events at once.

use super::{
    GUEST, MANIFEST, bare_on_two_cores, median, processor_seconds, readings, settled, spread,
    support::{Floor, app, function, guest, reading},
    two_cores,
};
use std::{fmt::Write, time::Instant};
use tawi_platform_tests::results::{Figure, Results};
use tawi_runtime::{
    ledger::{Append, Op},
    model::{FunctionId, id::default_tenant},
};

/// What the kernel says this process holds.
pub fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() * 1024.0
}

async fn append(floor: &Floor, count: usize, batch: usize) {
    for from in (0..count).step_by(batch) {
        let append = Append { tenant: default_tenant(), events: readings(batch, from), dedup: None, intake: None };
        floor.ledger.apply(Op::Append(append)).await.unwrap();
    }
}

/// Three hundred functions of ten apps, each with a durable position of its own, all called for every event.
pub fn fan_out(results: &mut Results) {
    const APPS: usize = 10;
    const FUNCTIONS: usize = 30;
    const EVENTS: usize = 1_000;
    let run = |reuse: u32, rounds: usize, spent: &mut Vec<f64>| {
        two_cores().block_on(async {
            let floor = Floor::open().await;
            let mut all: Vec<FunctionId> = Vec::new();
            for n in 0..APPS {
                let name = format!("noop{n}");
                let mut manifest = format!("[app]\nname = \"{name}\"\n");
                for f in 0..FUNCTIONS {
                    write!(manifest, "[[on]]\nname = \"f{f}\"\nsubject = \"reading.>\"\nreuse = {reuse}\n").unwrap();
                    all.push(function(&name, &format!("f{f}")));
                }
                floor.deploy("bench-noop", &manifest).await;
            }
            let (begin, busy) = (Instant::now(), processor_seconds());
            for _ in 0..rounds {
                append(&floor, EVENTS, 100).await;
                for id in &all {
                    settled(&floor, id).await;
                }
            }
            let took = begin.elapsed();
            let calls = (rounds * EVENTS * APPS * FUNCTIONS) as f64;
            spent.push((processor_seconds() - busy) * 1e6 / calls);
            floor.crash().await;
            calls / took.as_secs_f64()
        })
    };
    for (what, reuse, goal) in [("calls of 300 functions on one stream", 1, 0.7), ("the same with `reuse`", 10_000, 0.5)] {
        let reused = reuse > 1;
        let mut spent = Vec::new();
        let rounds = if reused { 3 } else { 1 };
        let pairs: Vec<(f64, f64)> = (0..3).map(|_| (run(reuse, rounds, &mut spent), bare_on_two_cores("bench-noop", reused))).collect();
        spent.sort_by(f64::total_cmp);
        let note = format!("{}; {:.1} µs of processor time a call, ledger included", spread(&pairs), spent[1]);
        let (ours, theirs) = median(pairs);
        let peer = if reused { "a bare wasmtime loop on two cores, one instance each" } else { "a bare wasmtime loop on two cores" };
        results.add(Figure::at_least(what, ours, "1/s", goal).beside(peer, theirs).note(note));
    }
}

/// A thousand apps of distinct components, each called once and idle since.
pub fn releases(results: &mut Results) {
    const APPS: usize = 1_000;
    let kilobytes = two_cores().block_on(async {
        let floor = Floor::open().await;
        let component = guest("bench-noop");
        let deploy = async |n: usize| {
            let name = format!("app{n}");
            let manifest = format!("[app]\nname = \"{name}\"\n[[on]]\nname = \"on\"\nsubject = \"reading.{name}.>\"\n");
            floor.deploy_component(&distinct(&component, n), &manifest).await;
            floor.append(vec![reading(&name, "temp", "1")]).await;
            settled(&floor, &function(&name, "on")).await;
        };
        // One first: what the first costs is the node's.
        deploy(0).await;
        let before = resident_bytes();
        for n in 1..=APPS {
            deploy(n).await;
        }
        let each = (resident_bytes() - before) / APPS as f64 / 1e3;
        floor.crash().await;
        each
    });
    results.add(Figure::at_most("a release that was called once", kilobytes, "kB", 100.0).note("resident, of a thousand distinct ones"));
}

/// The same component with a custom section of its own behind it.
fn distinct(component: &[u8], n: usize) -> Vec<u8> {
    let name = format!("n{n:06}");
    let mut bytes = component.to_vec();
    bytes.extend([0, name.len() as u8 + 1, name.len() as u8]);
    bytes.extend(name.bytes());
    bytes
}

/// A million events as fast as they are taken, into a function that can't keep up.
pub fn burst(results: &mut Results) {
    const EVENTS: usize = 1_000_000;
    /// Until every cache is as full as it gets.
    const STEADY: usize = 300_000;
    let (most, lost) = two_cores().block_on(async {
        let floor = Floor::open().await;
        floor.deploy(GUEST, MANIFEST).await;
        append(&floor, STEADY, 500).await;
        settled(&floor, &function(GUEST, "own")).await;
        let before = resident_bytes();
        let mut most = before;
        for _ in 0..100 {
            append(&floor, EVENTS / 100, 500).await;
            most = most.max(resident_bytes());
        }
        let id = function(GUEST, "own");
        while floor.dispatch.consumer(&id).unwrap().open() > 0
            || floor.dispatch.consumer(&id).unwrap().scanned() < *floor.ledger.told().borrow()
        {
            most = most.max(resident_bytes());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let settled = floor.dispatch.consumer(&id).unwrap().stats.settled.load(std::sync::atomic::Ordering::Relaxed);
        let dead = floor.ledger.dead(Some(&app(GUEST)), None, 1).unwrap().len();
        floor.crash().await;
        ((most - before) / 1e6, (EVENTS + STEADY) as i64 - settled as i64 + dead as i64)
    });
    assert_eq!(lost, 0, "events were lost, or died");
    let note = "resident over the steady state; every event was settled once";
    results.add(Figure::at_most("memory of a burst of 1,000,000 events", most, "MB", 64.0).note(note));
}
