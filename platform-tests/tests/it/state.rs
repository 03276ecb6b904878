//! The state of an app: serializable, kept, and readable from outside.

use serde_json::json;
use std::thread;
use tawi_platform_tests::{App, Ledger, Node, wait::SOON, wait_for};

#[test]
fn calls_at_once_count_one_after_another_on_the_embedded_ledger() {
    calls_at_once_count_one_after_another(Ledger::Embedded);
}

#[test]
fn calls_at_once_count_one_after_another_on_jetstream() {
    calls_at_once_count_one_after_another(Ledger::Jetstream);
}

/// Reads a number, adds one, writes it: 200 times from eight clients, on one key that everybody wants.
fn calls_at_once_count_one_after_another(ledger: Ledger) {
    let node = Node::on(ledger);
    let app = App::prebuilt("probe-state");
    app.push(&node);
    let mut answers: Vec<u64> = thread::scope(|scope| {
        let client = |_| {
            let (client, path) = (node.client(), app.run_path("/hot"));
            scope.spawn(move || (0..25).map(|_| client.post(&path, "").expect(200).json().as_u64().unwrap()).collect::<Vec<_>>())
        };
        let clients: Vec<_> = (0..8).map(client).collect();
        clients.into_iter().flat_map(|c| c.join().unwrap()).collect()
    });
    answers.sort_unstable();
    assert_eq!(answers, (1..=200).collect::<Vec<u64>>(), "every call saw the one before it");
}

#[test]
fn a_call_sees_its_own_writes_and_so_do_others_afterwards() {
    let node = Node::start();
    let app = App::prebuilt("probe-state");
    app.push(&node);
    let client = node.client();
    let put = |key: &str, value: &str| client.send("PUT", &app.run_path(key), &[], value.as_bytes()).expect(200).json();
    assert_eq!(put("/a/1", r#"{"n":1}"#), json!({"n": 1}));
    put("/a/2", "2");
    put("/b/1", "3");
    assert_eq!(client.get(&app.run_path("/?prefix=a/")).expect(200).json(), json!([["a/1", {"n": 1}], ["a/2", 2]]));
    assert_eq!(client.send("DELETE", &app.run_path("/a/1"), &[], b"").expect(200).json(), json!(null));
    assert_eq!(client.get(&app.run_path("/a/1")).expect(200).json(), json!(null));

    assert_eq!(node.state("probe-state", "a/2").as_deref(), Some("2"));
    assert_eq!(node.state("probe-state", "a/1"), None);
    let keys: Vec<String> = node.state_entries("probe-state", "").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a/2", "b/1"]);
}

#[test]
fn one_apps_state_is_not_anothers() {
    let node = Node::start();
    let (one, other) = (App::prebuilt_as("probe-state", "one"), App::prebuilt_as("probe-state", "other"));
    one.push(&node);
    other.push(&node);
    node.client().send("PUT", &one.run_path("/k"), &[], b"1").expect(200);
    assert_eq!(node.client().get(&other.run_path("/k")).expect(200).json(), json!(null));
}

#[test]
fn state_is_there_after_a_restart_and_after_a_kill() {
    let mut node = Node::start();
    App::prebuilt("probe-state").push(&node);
    node.client().readings("d", "state", 0..10);
    wait_for("ten readings", SOON, || node.state("probe-state", "count/d"), |n| n.as_deref() == Some("10"));
    node.restart();
    assert_eq!(node.state("probe-state", "count/d").as_deref(), Some("10"));
    node.kill9();
    node.start_again();
    node.client().reading("d", "state", 11);
    wait_for("the eleventh", SOON, || node.state("probe-state", "count/d"), |n| n.as_deref() == Some("11"));
}

#[test]
fn keys_and_values_have_their_limits() {
    let node = Node::start();
    let app = App::prebuilt("probe-state");
    app.push(&node);
    let client = node.client();
    let put =
        |key: &str, bytes: usize| client.send("PUT", &app.run_path(key), &[], format!("\"{}\"", "x".repeat(bytes - 2)).as_bytes()).json();
    assert!(put("/fits", 256 * 1024).is_string());
    let over = put("/over", 256 * 1024 + 1);
    assert!(over["reason"].as_str().unwrap().contains("262144"), "{over}");
    let long = put(&format!("/{}", "k".repeat(513)), 3);
    assert!(long["reason"].as_str().unwrap().contains("512"), "{long}");
    assert!(put(&format!("/{}", "k".repeat(512)), 3).is_string());
}
