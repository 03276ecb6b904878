//! Triggers that time makes, on many sensors at once.

use super::{addr, generator_load, lag, own_cpu};
use std::time::Instant;
use tawi_platform_tests::{
    App, Node,
    http::READINGS_PATH,
    load,
    results::{Figure, Results},
    wait::LATER,
    wait_for,
};

const DEVICES: usize = 1_000;
const SENSORS: usize = 100;
const BATCH: usize = 500;
/// Readings of each sensor within the one window.
const ROUNDS: usize = 6;
/// 2026-01-01T00:00Z: the start of a window.
const START: usize = 1_767_225_600;
const APP: &str = "probe-time";

/// 100,000 sensors, each with an open window and a timer for its silence; the node is killed in the middle and must lose nothing.
pub fn triggers(results: &mut Results) {
    let mut node = Node::start();
    let idle = node.resident_bytes();
    let app = App::prebuilt(APP);
    app.write("tawi.toml", manifest());
    app.commit("on all sensors");
    app.push(&node);
    let total = DEVICES * SENSORS * ROUNDS;
    let bodies: Vec<Vec<u8>> = (0..total / BATCH).map(|batch| request(&node, batch)).collect();
    let (before, after) = bodies.split_at(bodies.len() / 2);
    let rate = [send(&node, before), {
        node.kill9();
        node.start_again();
        // Sent, and perhaps not answered: who sends it again doubles nothing.
        send(&node, &before[before.len() - 4..]);
        send(&node, after)
    }];
    let resident = node.resident_bytes();
    // The next hour of each sensor ends the window.
    let last: Vec<Vec<u8>> = (total / BATCH..total / BATCH + DEVICES * SENSORS / BATCH).map(|batch| request(&node, batch)).collect();
    send(&node, &last);
    let (windows, readings) = told(&node);
    assert_eq!((windows, readings), (DEVICES * SENSORS, total), "windows that were told, and readings in them");
    let slower = rate[0].0.min(rate[1].0);
    let note = format!(
        "{} sensors, each with an open window of an hour and a timer of silence; {total} readings in requests of {BATCH}, durable, kill -9 in the middle, each window right to the reading; {}",
        DEVICES * SENSORS,
        rate[1].1,
    );
    results.add(
        Figure::at_least("readings into windows and timers", slower, "1/s", 50_000.0)
            .note(note)
            .seen_beside("eKuiper, one filter, one core, as published", 12_000.0),
    );
    let note = format!("{:.0} MB idle, without them", idle as f64 / 1e6);
    results.add(Figure::at_most("node with 100,000 open windows and timers, resident", resident as f64 / 1e6, "MB", 200.0).note(note));
}

fn manifest() -> String {
    let on = |name: &str, rule: &str| format!("[[on]]\nname = \"{name}\"\nsubject = \"reading.>\"\n{rule}\n");
    let window = on("hours", "window = { tumbling = \"1h\", idle = \"1d\" }");
    let silence = on("quiet", "silence = \"1d\"");
    format!("[app]\nname = \"{APP}\"\n{window}{silence}[grant]\npublish = [\"told.>\"]\n[build]\ncomponent = \"app.wasm\"\n")
}

/// Reading N of all is of sensor N modulo all sensors.
fn request(node: &Node, batch: usize) -> Vec<u8> {
    let line = |i: usize| {
        let n = batch * BATCH + i;
        let (sensor, round) = (n % (DEVICES * SENSORS), n / (DEVICES * SENSORS));
        let seconds = if round == ROUNDS { 3_600 } else { round * 60 };
        let time = jiff::Timestamp::from_second((START + seconds) as i64).expect("a time");
        format!(
            "{{\"device\":\"d{}\",\"sensor\":\"s{}\",\"value\":{round},\"timestamp\":\"{time}\"}}\n",
            sensor / SENSORS,
            sensor % SENSORS
        )
    };
    let body: String = (0..BATCH).map(line).collect();
    let request = load::request("POST", READINGS_PATH, node.token(), &body);
    let head = format!("idempotency-key: batch-{batch}\r\n\r\n");
    let at = request.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of the head") + 2;
    [&request[..at], head.as_bytes(), &request[at + 2..]].concat()
}

/// Readings per second until all that came of them is committed, and what the generator took.
fn send(node: &Node, bodies: &[Vec<u8>]) -> (f64, String) {
    let (cpu, start) = (own_cpu(), Instant::now());
    let (shots, _) = load::closed_loop(addr(node), bodies.len(), 4, |i| bodies[i].clone());
    assert!(shots.iter().all(|shot| shot.status == Some(204)), "readings were refused");
    wait_for("the functions to be done", LATER, || lag(node, APP), |lag| *lag == 0);
    ((bodies.len() * BATCH) as f64 / start.elapsed().as_secs_f64(), generator_load(cpu, start))
}

/// Windows that the function was told of, and readings in them, as it has published them.
fn told(node: &Node) -> (usize, usize) {
    const PAGE: usize = 1_000;
    const QUERY: &str = "kind:message%20AND%20subject:told.window.hours";
    let count = || node.client().get(&format!("/api/v1/history/count?q={QUERY}")).expect(200).json()["total"].as_u64().unwrap_or(0);
    wait_for("history to have what was told", LATER, count, |count| *count >= (DEVICES * SENSORS) as u64);
    let (windows, mut readings) = (count() as usize, 0);
    for offset in (0..windows).step_by(PAGE) {
        let path = format!("/api/v1/history?q={QUERY}&limit={PAGE}&offset={offset}");
        let page = node.client().get(&path).expect(200).json();
        let hits = page["hits"].as_array().into_iter().flatten();
        readings += hits.filter_map(|hit| hit["value"]["aggregate"]["readings"].as_u64()).sum::<u64>() as usize;
    }
    (windows, readings)
}
