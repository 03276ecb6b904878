//! Rules that remember, on a node that dies again and again: what is in the history is what a few lines make of the readings that were
//! acknowledged, in one go.

use serde_json::{Value, json};
use std::{
    os::unix::process::ExitStatusExt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};
use tawi_platform_tests::{Client, Launch, Ledger, Node, Proxy, http::values_path, operator::number, wait::LATER, wait_for, wait_until};

const DEVICE: &str = "pond1";
const SENSOR: &str = "oxygen";
/// Deaths, every other at a point inside of an append, every other by `kill -9` in the middle of whatever it does.
const ROUNDS: u64 = 8;
/// Deliveries that are acknowledged before a `kill -9`, and appends before a death inside of one.
const BETWEEN: u64 = 25;
const LAST: usize = 8;
const STUCK: usize = 4;
const WINDOW: usize = 5;
const AT_LEAST: f64 = 0.5;

#[test]
fn readings_are_judged_by_those_before_them_however_often_the_node_is_killed() {
    let mut node = Launch::on(Ledger::Embedded).start();
    let steps = json!([
        { "duplicate": { "last": LAST } },
        { "stuck": { "readings": STUCK } },
        { "spike": { "window": WINDOW, "at_least": AT_LEAST } },
    ]);
    let rule = json!({ "device": DEVICE, "sensor": SENSOR, "steps": steps }).to_string();
    let set = node.client().send("PUT", "/api/v1/clean/oxygen", &[("content-type", "application/json")], rule.as_bytes());
    assert!((200..300).contains(&set.status), "{}", set.text());
    node.stop();
    let (proxy, over, acknowledged) = (Proxy::start(), AtomicBool::new(false), AtomicU64::new(0));
    let client = node.client().at(&format!("http://{}", proxy.addr()));
    let sent = thread::scope(|scope| {
        let (over, acknowledged) = (&over, &acknowledged);
        let device = scope.spawn(move || send_until_over(&client, over, acknowledged));
        // Whatever happens in here, the device must be told to stop, or the scope never ends.
        let lives = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live_and_die(&mut node, &proxy, acknowledged)));
        over.store(true, Ordering::Relaxed);
        if lives.is_err() {
            proxy.cut();
        }
        let sent = device.join();
        lives.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent.unwrap()
    });
    let expected = judged(&sent);
    let count = |verdict: &str| expected.iter().filter(|(said, _)| *said == verdict).count();
    assert!(["reading", "duplicate", "stuck", "spike"].iter().all(|said| count(said) > 5), "{expected:?}");
    let query = format!("device:{DEVICE} AND (kind:reading OR kind:dropped)");
    node.wait_for_history(&query, sent.len() as u64);
    let mut found: Vec<(u64, String, f64)> = Vec::new();
    while found.len() < sent.len() {
        let page = node.history_page(&query, &["--limit", "1000", "--offset", &found.len().to_string()]);
        assert!(!page.is_empty(), "the history ends after {} of {}", found.len(), sent.len());
        found.extend(page.iter().map(|hit| (number(hit, "sequence"), verdict(hit), plain(&hit["value"]))));
    }
    found.sort_by_key(|(sequence, ..)| *sequence);
    let found: Vec<(&str, f64)> = found.iter().map(|(_, verdict, value)| (verdict.as_str(), *value)).collect();
    let differs = found.iter().zip(&expected).position(|(one, other)| one != other);
    assert_eq!(differs.map(|at| (at, found[at], expected[at])), None, "what the history says, and what is right");
}

fn verdict(hit: &Value) -> String {
    match hit["kind"].as_str() {
        Some("dropped") => hit["dropped"]["code"].as_str().unwrap_or_else(|| panic!("{hit}")).to_owned(),
        kind => kind.unwrap_or_else(|| panic!("{hit}")).to_owned(),
    }
}

/// A value may be shown as text or as the JSON that it is.
fn plain(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value}")))
}

/// One delivery after another, each under its key until it is acknowledged. Says what was measured, in order.
fn send_until_over(client: &Client, over: &AtomicBool, acknowledged: &AtomicU64) -> Vec<(u64, f64)> {
    let mut random = 20_261_121_u64;
    let mut below = |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    let mut sent: Vec<(u64, f64)> = Vec::new();
    for delivery in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        for _ in 0..1 + below(4) {
            let last = sent.last().copied().unwrap_or((0, 20.0));
            let (second, value) = (last.0 + 1, 20.0 + below(4) as f64 / 2.0);
            sent.push(match below(12) {
                // A device that repeats itself, one that hangs, and a loose plug.
                0 => last,
                1..=5 => (second, last.1),
                6 => (second, 60.0),
                _ => (second, value),
            });
        }
        let list = sent[acknowledged_of(&sent, acknowledged)..]
            .iter()
            .map(|(second, value)| json!({ "value": value, "timestamp": time(*second) }));
        let body = Value::from(list.collect::<Vec<_>>()).to_string();
        let headers = [("content-type", "application/json"), ("idempotency-key", &*format!("delivery-{delivery}"))];
        wait_until("a delivery to be acknowledged", LATER, || {
            match client.try_send("POST", &values_path(DEVICE, SENSOR), &headers, body.as_bytes()) {
                Ok(reply) if reply.status == 204 => Ok(()),
                Ok(reply) => Err(format!("{}: {}", reply.status, reply.text())),
                Err(error) => Err(error.to_string()),
            }
        });
        acknowledged.store(sent.len() as u64, Ordering::Relaxed);
    }
    sent
}

fn acknowledged_of(sent: &[(u64, f64)], acknowledged: &AtomicU64) -> usize {
    (acknowledged.load(Ordering::Relaxed) as usize).min(sent.len())
}

fn time(second: u64) -> String {
    format!("2026-01-31T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

fn live_and_die(node: &mut Node, proxy: &Proxy, acknowledged: &AtomicU64) {
    for round in 0..ROUNDS {
        let inside = round % 2 == 0;
        if inside {
            node.set_env("TAWI_FAULT", Some(&format!("append:{}", BETWEEN + round)));
        }
        match node.start_or_end() {
            Ok(()) => proxy.mend(node.authority().parse().unwrap()),
            Err(status) => assert!(inside && status.signal().is_some(), "the node ended with {status} while it started"),
        }
        if inside {
            assert!(!node.wait_for_end().success());
        } else {
            let enough = acknowledged.load(Ordering::Relaxed) + BETWEEN;
            wait_for("readings to be acknowledged", LATER, || acknowledged.load(Ordering::Relaxed), |n| *n >= enough);
            node.kill9();
        }
        proxy.cut();
        node.set_env("TAWI_FAULT", None);
    }
    node.start_again();
    proxy.mend(node.authority().parse().unwrap());
    let enough = acknowledged.load(Ordering::Relaxed) + BETWEEN;
    wait_for("readings to be acknowledged", LATER, || acknowledged.load(Ordering::Relaxed), |n| *n >= enough);
}

/// The steps of the rule, each remembering everything and looking at all of it again.
fn judged(sent: &[(u64, f64)]) -> Vec<(&'static str, f64)> {
    let (mut kept, mut at_stuck, mut at_spike): (Vec<(u64, f64)>, Vec<f64>, Vec<f64>) = Default::default();
    let judge = |reading: &(u64, f64)| {
        if kept.iter().rev().take(LAST).any(|before| before == reading) {
            return ("duplicate", reading.1);
        }
        kept.push(*reading);
        at_stuck.push(reading.1);
        if at_stuck.iter().rev().take_while(|before| **before == reading.1).count() >= STUCK {
            return ("stuck", reading.1);
        }
        let is_spike = at_spike.len() >= WINDOW && is_spike(&at_spike[at_spike.len() - WINDOW..], reading.1);
        at_spike.push(reading.1);
        (if is_spike { "spike" } else { "reading" }, reading.1)
    };
    sent.iter().map(judge).collect()
}

/// Hampel's filter.
fn is_spike(window: &[f64], value: f64) -> bool {
    let middle = |numbers: &[f64]| {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let median = middle(window);
    let apart: Vec<f64> = window.iter().map(|other| (other - median).abs()).collect();
    (value - median).abs() > (3.0 * 1.4826 * middle(&apart)).max(AT_LEAST)
}
