//! What a function is handed, and how it comes there.

use serde_json::json;
use tawi_platform_tests::{App, Ledger, Node, http::value_path};

#[test]
fn an_event_carries_what_the_device_said_on_the_embedded_ledger() {
    an_event_carries_what_the_device_said(Ledger::Embedded);
}

#[test]
fn an_event_carries_what_the_device_said_on_jetstream() {
    an_event_carries_what_the_device_said(Ledger::Jetstream);
}

fn an_event_carries_what_the_device_said(ledger: Ledger) {
    let node = Node::on(ledger);
    App::prebuilt("probe-event").push(&node);
    let echoes = node.subscribe("probe.echo.>");
    let client = node.client();

    client.reading_at("gw.7", "event", json!({"deep": [1, "two"]}), "2018-05-14T17:49:28.898Z");
    let echo = echoes.next()["value"].clone();
    assert_eq!(echo["function"], "readings");
    assert_eq!(echo["subject"], "reading.gw%2E7.event");
    assert_eq!((&echo["device"], &echo["sensor"], &echo["attempt"]), (&json!("gw.7"), &json!("event"), &json!(1)));
    assert_eq!(serde_json::from_str::<serde_json::Value>(echo["value"].as_str().unwrap()).unwrap(), json!({"deep": [1, "two"]}));
    assert_eq!(echo["measured"], "2018-05-14T17:49:28.898Z");
    assert!(echo["received"].as_str().unwrap() > "2025", "{echo}");
    let first = echo["sequence"].as_u64().unwrap();

    // Quoted numbers are numbers, and a later reading has a greater sequence.
    client.reading("gw.7", "event", "61.10");
    let echo = echoes.next()["value"].clone();
    assert_eq!(echo["number"], 61.1);
    assert!(echo["sequence"].as_u64().unwrap() > first);

    // Bytes that nobody decoded stay bytes.
    client.send("POST", &value_path("gw.7", "event"), &[("content-type", "application/octet-stream")], &[0, 1, 255]).expect(204);
    let echo = echoes.next()["value"].clone();
    assert_eq!((&echo["value"], &echo["bytes"]), (&json!(null), &json!([0, 1, 255])));
}

#[test]
fn a_message_of_one_app_is_an_event_for_another() {
    let node = Node::start();
    App::prebuilt("probe-event").push(&node);
    let publisher = App::prebuilt("probe-publish");
    publisher.push(&node);
    let echoes = node.subscribe("probe.echo.messages");
    node.client().post(&publisher.run_path("/"), json!({"subject": "probe.in.hello", "value": {"n": 1}}).to_string()).expect(200);
    let echo = echoes.next()["value"].clone();
    assert_eq!((&echo["subject"], &echo["device"], &echo["value"]), (&json!("probe.in.hello"), &json!(null), &json!("{\"n\":1}")));
}

/// A new app hears what comes, not what was: yesterday's readings would be yesterday's alerts.
#[test]
fn a_new_function_starts_with_the_next_reading() {
    let node = Node::start();
    let client = node.client();
    client.reading("d", "event", "before");
    let echoes = node.subscribe("probe.echo.>");
    App::prebuilt("probe-event").push(&node);
    client.reading("d", "event", "after");
    assert_eq!(echoes.next()["value"]["value"], "\"after\"");
}

#[test]
fn an_unknown_device_registers_itself_with_its_first_reading() {
    let node = Node::start();
    let client = node.client();
    client.get("/api/v2/devices/newcomer").problem(404);
    client.reading_at("newcomer", "temp", 21.5, "2026-01-31T08:30:00Z");
    let device = client.get("/api/v2/devices/newcomer").expect(200).json();
    assert_eq!(device["id"], "newcomer");
    let sensor = &device["sensors"][0];
    assert_eq!(
        (&sensor["id"], &sensor["value"]["value"], &sensor["value"]["timestamp"]),
        (&json!("temp"), &json!(21.5), &json!("2026-01-31T08:30:00Z"))
    );
}

#[test]
fn a_post_of_many_values_is_all_or_nothing_and_a_repeat_with_its_key_is_none() {
    let node = Node::start();
    App::prebuilt("probe-state").push(&node);
    let client = node.client();
    let path = tawi_platform_tests::http::values_path("d", "state");

    client.post(&path, r#"[{"value":1},{"value":2,"timestamp":"yesterday"}]"#).problem(400);
    let good = br#"[{"value":1},{"value":2}]"#;
    for _ in 0..3 {
        client.send("POST", &path, &[("idempotency-key", "k1"), ("content-type", "application/json")], good).expect(204);
    }
    client.readings("d", "state", [3]);
    // Three readings were counted when the third one was: two of the first request, one of the last.
    tawi_platform_tests::wait_for(
        "the last reading",
        tawi_platform_tests::wait::SOON,
        || node.state("probe-state", "count/d"),
        |n| n.as_deref() == Some("3"),
    );
    node.wait_until_idle("probe-state");
    assert_eq!(node.state("probe-state", "count/d").as_deref(), Some("3"));
}
