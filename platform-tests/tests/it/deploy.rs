//! Deployments without a gap.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use tawi_platform_tests::{App, Node, load, wait::SOON, wait_for};

/// Requests and readings come all the time; ten pushes and five rollbacks happen; nobody outside notices.
#[test]
fn no_request_fails_and_no_reading_is_missed_while_releases_change() {
    let node = Node::start();
    let (page, counter) = (App::prebuilt("plain-http"), App::prebuilt("probe-state"));
    page.push(&node);
    counter.push(&node);
    let addr = node.authority().parse().unwrap();
    let over = AtomicBool::new(false);
    let failures = Mutex::new(Vec::new());
    let get = load::request("GET", &page.run_path("/"), node.token(), "");
    let post = load::request("POST", "/api/v2/devices/d/sensors/state/value", node.token(), "{\"value\":1}");
    let knock = |bytes: &[u8], wanted: u16| -> u64 {
        let (mut connection, mut sent) = (None, 0);
        while !over.load(Ordering::Relaxed) {
            let status = load::send_on(&mut connection, addr, bytes);
            if status != Some(wanted) {
                failures.lock().unwrap().push(status);
            }
            sent += 1;
        }
        sent
    };
    let (requests, readings) = thread::scope(|scope| {
        let requests: Vec<_> = (0..3).map(|_| scope.spawn(|| knock(&get, 200))).collect();
        let readings = scope.spawn(|| knock(&post, 204));
        for n in 0..5 {
            for app in [&page, &counter] {
                app.commit(&format!("version {n}"));
                app.push(&node);
            }
            node.rollback("plain-http");
        }
        over.store(true, Ordering::Relaxed);
        (requests.into_iter().map(|r| r.join().unwrap()).sum::<u64>(), readings.join().unwrap())
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {requests} requests and {readings} readings failed: {:?}", failures.len(), failures.first());
    let counted = || node.state("probe-state", "count/d").and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    wait_for("every reading to be counted once", SOON, counted, |n| *n == readings);
}

/// A body that streams when its release is replaced is streamed to its end.
#[test]
fn a_call_ends_in_the_release_it_began_in() {
    let node = Node::start();
    let app = App::prebuilt("probe-http");
    app.push(&node);
    let client = node.client();
    let path = app.run_path("/stream?pieces=30&bytes=1000&wait_ms=100");
    let long = client.open("GET", &path, &[], b"").unwrap();
    app.commit("the next");
    app.push(&node);
    let body = long.into_body().read_to_vec().unwrap();
    assert_eq!(body.len(), 30_000);
}

/// A handler that a release no longer has is forgotten, with its place in the log; a new one starts now.
#[test]
fn functions_come_and_go_with_their_entry() {
    let node = Node::start();
    let app = App::prebuilt("probe-event");
    app.push(&node);
    app.manifest(|m| m["on"].as_array_mut().unwrap()[0].as_table_mut().unwrap()["subject"] = "reading.*.other".into());
    app.commit("listens elsewhere");
    app.push(&node);
    let echoes = node.subscribe("probe.echo.>");
    node.client().reading("d", "event", 1);
    node.client().reading("d", "other", 2);
    assert_eq!(echoes.next()["value"]["value"], "2");
}
