//! The figures of `make bench`: each is measured on a node of its own, from outside, with the load generator on the same machine.
//!
//! `bench [NAME …]` runs those whose name holds one of the words; without words, all.

mod devices;
mod http;
mod mqtt;
mod time;

use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use tawi_platform_tests::{
    App, Node,
    http::{READINGS_PATH, value_path},
    load::{self, Latencies, Shot},
    node::cpu_seconds,
    repo,
    results::{Figure, Results},
    wait::LATER,
    wait_for, wait_until,
};

/// A bench by name.
type Bench = (&'static str, fn(&mut Results));

const ALL: [Bench; 11] = [
    ("idle", idle),
    ("latency", latency),
    ("throughput", throughput),
    ("restart", restart),
    ("push", push),
    ("http", http::fresh),
    ("http-reused", http::reused),
    ("mqtt", mqtt::fan_in),
    ("mqtt-idle", mqtt::idle),
    ("triggers", time::triggers),
    ("devices", devices::list),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut results = Results::new();
    for (name, bench) in ALL {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            bench(&mut results);
        }
    }
}

fn mqtt_addr(node: &Node) -> SocketAddr {
    node.mqtt().trim_start_matches("mqtt://").parse().expect("where the node listens for MQTT")
}

#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}

fn addr(node: &Node) -> SocketAddr {
    node.authority().parse().expect("the node's address")
}

/// Share of one processor that this process used since `cpu` and `start`.
fn generator_load(cpu: f64, start: Instant) -> String {
    let used = (cpu_seconds(std::process::id()) - cpu) / start.elapsed().as_secs_f64();
    format!("load generator and subscriber used {:.0} % of one processor", 100.0 * used)
}

fn own_cpu() -> f64 {
    cpu_seconds(std::process::id())
}

/// A node with two apps, just started, that nobody talks to.
fn idle(results: &mut Results) {
    let mut node = Node::start();
    App::prebuilt("threshold-alert").push(&node);
    App::prebuilt("history-page").push(&node);
    node.restart();
    node.client().get("/health/ready").expect(200);
    let megabytes = node.resident_bytes() as f64 / 1e6;
    results.add(Figure::at_most("idle node, resident", megabytes, "MB", 60.0).note("two apps loaded, after a restart"));
}

/// From when a reading was due to when a subscriber has the alert that a function made of it.
fn latency(results: &mut Results) {
    const RATE: f64 = 1_000.0;
    const SECONDS: usize = 20;
    /// Readings before the clock counts: connections, caches, the first growth of files.
    const WARM_UP: usize = 2_000;
    let node = Node::start();
    App::prebuilt("threshold-alert").push(&node);
    let alerts = node.subscribe("alerts.>");
    let count = WARM_UP + RATE as usize * SECONDS;
    let (cpu, start) = (own_cpu(), Instant::now());
    // Every value is above the threshold, and names its reading.
    let make = |i: usize| {
        let path = value_path(&format!("device{}", i % 100), "temp");
        load::request("POST", &path, node.token(), &format!("{{\"value\":{}}}", 1_000 + i))
    };
    let shots = load::open_loop(addr(&node), RATE, count, 32, make);
    let refused = shots.iter().filter(|shot| shot.status != Some(204)).count();
    assert_eq!(refused, 0, "readings were refused");
    let mut effects: Vec<Option<Duration>> = vec![None; count];
    for _ in 0..count {
        let seen = alerts.next_seen(LATER).expect("an alert for each reading");
        let i = seen.event["value"]["value"].as_f64().expect("the alert's value") as usize - 1_000;
        effects[i] = Some(seen.at - shots[i].due);
    }
    let generator = generator_load(cpu, start);
    let effects = Latencies::of(effects.into_iter().skip(WARM_UP).flatten());
    let answers = Latencies::of(shots.iter().skip(WARM_UP).map(Shot::latency));
    let note = format!("open loop, {RATE} readings/s for {SECONDS} s, {} effects; {generator}", effects.count());
    results.add(Figure::at_most("reading in to effect seen, p50", effects.percentile_ms(50.0), "ms", 2.0).note(note));
    let more = format!("answers to the device: p50 {:.2} ms, p99 {:.2} ms", answers.percentile_ms(50.0), answers.percentile_ms(99.0));
    results.add(Figure::at_most("reading in to effect seen, p99", effects.percentile_ms(99.0), "ms", 10.0).note(more));
}

/// Batched readings through a function, until the last one is handled; and then until history has them all.
fn throughput(results: &mut Results) {
    const BATCH: usize = 500;
    const BATCHES: usize = 1_000;
    let node = Node::start();
    App::prebuilt("threshold-alert").push(&node);
    // One in a hundred is above the threshold, as in life.
    let body = |batch: usize| {
        let line = |i: usize| {
            let n = batch * BATCH + i;
            format!(
                "{{\"device\":\"device{}\",\"sensor\":\"temp\",\"value\":{}}}\n",
                n % 1_000,
                if n.is_multiple_of(100) { 9.5 } else { 4.5 }
            )
        };
        (0..BATCH).map(line).collect::<String>()
    };
    let bodies: Vec<Vec<u8>> = (0..BATCHES).map(|batch| load::request("POST", READINGS_PATH, node.token(), &body(batch))).collect();
    let (cpu, start) = (own_cpu(), Instant::now());
    let (shots, ingest) = load::closed_loop(addr(&node), BATCHES, 4, |i| bodies[i].clone());
    assert!(shots.iter().all(|shot| shot.status == Some(204)), "readings were refused");
    wait_for("the function to be done", LATER, || lag(&node, "threshold-alert"), |lag| *lag == 0);
    let handled = start.elapsed();
    let generator = generator_load(cpu, start);
    let total = (BATCH * BATCHES) as f64;
    wait_for("history to have it all", LATER, || found(&node, "sensor:temp AND kind:reading"), |n| *n == (BATCH * BATCHES) as u64);
    let behind = (start.elapsed() - handled).as_secs_f64();
    let note = format!(
        "{total} readings in requests of {BATCH} on 4 connections, {:.0}/s acknowledged, through threshold-alert; {generator}",
        total / ingest.as_secs_f64()
    );
    results.add(Figure::at_least("readings through a function", total / handled.as_secs_f64(), "1/s", 20_000.0).note(note));
    let note = format!("then the node has {:.0} MB resident", node.resident_bytes() as f64 / 1e6);
    results.add(Figure::at_most("history caught up after the end", behind, "s", 1.0).note(note));
}

fn lag(node: &Node, app: &str) -> u64 {
    let functions = node.client().get(&format!("/api/v1/apps/{app}/functions")).expect(200).json();
    functions.as_array().into_iter().flatten().filter_map(|f| f["lag"].as_u64()).sum()
}

fn found(node: &Node, query: &str) -> u64 {
    let path = format!("/api/v1/history/count?q={}", query.replace(' ', "%20"));
    node.client().get(&path).expect(200).json()["total"].as_u64().unwrap_or(0)
}

/// From `kill -9` to the first acknowledged reading, with a ledger that has grown.
fn restart(results: &mut Results) {
    const GIGABYTES: f64 = 1.0;
    const GOAL_GIGABYTES: f64 = 10.0;
    const VALUE_BYTES: usize = 16 * 1024;
    let mut node = Node::start();
    let empty = killed_and_back(&mut node);
    let value = "x".repeat(VALUE_BYTES);
    let body: String = (0..200).map(|i| format!("{{\"device\":\"device{i}\",\"sensor\":\"text\",\"value\":\"{value}\"}}\n")).collect();
    let bytes = load::request("POST", READINGS_PATH, node.token(), &body);
    let requests = (GIGABYTES * 1e9) as usize / body.len() + 1;
    let (shots, _) = load::closed_loop(addr(&node), requests, 2, |_| bytes.clone());
    assert!(shots.iter().all(|shot| shot.status == Some(204)), "readings were refused");
    let size = size_of(&node.data().join("ledger")) as f64 / 1e9;
    let grown = killed_and_back(&mut node);
    let extrapolated = empty + (grown - empty).max(0.0) * GOAL_GIGABYTES / size;
    let note = format!("extrapolated in a straight line from {empty:.2} s with an empty ledger and {grown:.2} s with one of {size:.2} GB");
    results.add(Figure::at_most("serving after kill -9 with a 10 GB ledger", extrapolated, "s", 5.0).note(note));
}

fn killed_and_back(node: &mut Node) -> f64 {
    node.kill9();
    let start = Instant::now();
    node.start_again();
    node.client().reading("probe", "up", 1);
    start.elapsed().as_secs_f64()
}

fn size_of(dir: &Path) -> u64 {
    repo::files_under(dir).iter().filter_map(|f| fs::metadata(f).ok()).map(|m| m.len()).sum()
}

/// From `git push` to the first answer of the new code.
fn push(results: &mut Results) {
    let node = Node::start();
    let first = App::new(&node, "machine-page");
    for file in ["src/lib.rs", "tawi.toml"] {
        first.write(file, fs::read(repo::root().join("demo/apps/machine-page").join(file)).expect("the demo's app"));
    }
    first.commit("the demo's page");
    results.add(
        Figure::at_most("first push of a new app to live", push_to_live(&node, &first, "This machine"), "s", 40.0)
            .note("nothing of it was built before"),
    );
    let mut warm = Vec::new();
    for n in 1..=5 {
        let title = format!("Title {n}");
        let line = first.read("src/lib.rs").lines().find(|l| l.starts_with("const TITLE")).expect("a title").to_owned();
        first.replace("src/lib.rs", &line, &format!("const TITLE: &str = \"{title}\";"));
        first.commit(&title);
        warm.push(Duration::from_secs_f64(push_to_live(&node, &first, &title)));
    }
    let median = Latencies::of(warm).percentile_ms(50.0) / 1e3;
    results.add(Figure::at_most("push of a one-line change to live", median, "s", 3.0).note("median of five"));
}

fn push_to_live(node: &Node, app: &App, shows: &str) -> f64 {
    let client = node.client().with_token(None);
    let start = Instant::now();
    app.push(node);
    wait_until("the new page", LATER, || {
        let page = client.get(&app.run_path("/")).text();
        if page.contains(shows) { Ok(()) } else { Err(Value::from(page)) }
    });
    start.elapsed().as_secs_f64()
}
