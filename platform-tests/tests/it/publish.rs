//! What a function publishes, and when it is there.

use serde_json::json;
use tawi_platform_tests::{App, Ledger, Node};

/// An order for probe-publish.
fn order(subject: &str, value: u64, then: &str) -> serde_json::Value {
    json!({ "subject": subject, "value": value, "then": then })
}

#[test]
fn a_message_is_in_the_log_if_and_only_if_its_call_succeeds() {
    let node = Node::start();
    let app = App::prebuilt("probe-publish");
    app.push(&node);
    let seen = node.subscribe("probe.>");
    let client = node.client();
    for (value, then) in [(1, "retry"), (2, "reject"), (3, "trap"), (4, "")] {
        client.reading("d", "publish", order("probe.x", value, then));
    }
    client.post(&app.run_path("/"), order("probe.x", 5, "trap").to_string()).problem(500);
    client.post(&app.run_path("/"), order("probe.last", 6, "").to_string()).expect(200);
    // The calls that failed have had all their attempts: they are in the dead letters, and nothing of them was published.
    node.wait_for_dead("probe-publish", 3);
    client.post(&app.run_path("/"), order("probe.end", 7, "").to_string()).expect(200);
    let mut values: Vec<u64> = seen.until(|e| e["subject"] == "probe.end").iter().map(|e| e["value"].as_u64().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, [4, 6, 7]);
}

#[test]
fn messages_of_one_call_keep_their_order() {
    let node = Node::start();
    let app = App::prebuilt("probe-publish");
    app.push(&node);
    let seen = node.subscribe("probe.>");
    for value in 0..20 {
        node.client().reading("d", "publish", json!({ "subject": "probe.x", "value": value, "times": 3 }));
    }
    let values: Vec<u64> = seen.take(60).iter().map(|e| e["value"].as_u64().unwrap()).collect();
    assert_eq!(values, (0..20).flat_map(|v| [v; 3]).collect::<Vec<_>>());
}

#[test]
fn a_subject_that_was_not_granted_is_denied_and_the_line_to_add_is_named() {
    let node = Node::start();
    let app = App::prebuilt("probe-publish");
    app.push(&node);
    let answer = node.client().post(&app.run_path("/"), order("alerts.x", 1, "").to_string()).expect(200).json();
    assert_eq!(answer["kind"], "Denied");
    assert!(answer["reason"].as_str().unwrap().contains("publish"), "{answer}");

    // Nobody is granted the subjects that the node itself writes.
    app.manifest(|m| m["grant"].as_table_mut().unwrap()["publish"] = vec![">"].into());
    app.commit("grant everything");
    if app.try_push(&node).accepted {
        let answer = node.client().post(&app.run_path("/"), order("reading.fridge1.temp", 1, "").to_string()).expect(200).json();
        assert_ne!(answer, json!("ok"), "an app can't pretend to be a device");
    }
}

#[test]
fn a_call_has_a_limit_of_effects() {
    let node = Node::start();
    let app = App::prebuilt("probe-publish");
    app.push(&node);
    let publish =
        |times: u32| node.client().post(&app.run_path("/"), json!({"subject": "probe.x", "times": times}).to_string()).expect(200).json();
    assert_eq!(publish(1000), json!("ok"));
    let over = publish(1001);
    assert_eq!(over["kind"], "Limit", "{over}");
    assert!(over["reason"].as_str().unwrap().contains("1000"), "{over}");
}

fn a_circle_ends(ledger: Ledger) {
    let node = Node::on(ledger);
    let app = App::prebuilt("probe-publish");
    app.manifest(|manifest| manifest["on"][0].as_table_mut().unwrap().insert("subject".to_owned(), ">".into()).map(drop).unwrap());
    app.commit("listens to all, itself included");
    app.push(&node);
    let seen = node.subscribe("probe.>");
    // Each order's value is the next order; the last of them does nothing.
    let nothing = json!({ "subject": "probe.x", "times": 0 });
    let rounds = (0..20).fold(nothing.clone(), |next, _| json!({ "subject": "probe.round", "value": next, "times": 1 }));
    node.client().reading("d", "publish", rounds);
    let dead = node.wait_for_dead("probe-publish", 1).remove(0);
    assert!(dead.error.contains("`probe.round` is not published: 16 events have come of one already"), "{}", dead.error);
    // At once: another try comes to the same.
    assert_eq!(node.dead_show(&dead)["attempts"], 1);
    // What begins outside begins anew.
    node.client().post(&app.run_path("/"), json!({ "subject": "probe.end", "value": nothing, "times": 1 }).to_string()).expect(200);
    assert_eq!(seen.until(|e| e["subject"] == "probe.end").len(), 16 + 1);
}

#[test]
fn a_function_that_feeds_itself_ends_in_the_dead_letters() {
    a_circle_ends(Ledger::Embedded);
}

#[test]
fn a_circle_over_nats_ends_in_the_dead_letters_too() {
    a_circle_ends(Ledger::Jetstream);
}

#[test]
fn a_circle_is_shown_at_the_push_and_refused_where_its_functions_say_so_themselves() {
    let node = Node::start();
    let app = App::prebuilt("probe-publish");
    let entry = |key: &str, value: toml::Value| {
        app.manifest(|manifest| manifest["on"][0].as_table_mut().unwrap().insert(key.to_owned(), value).map(drop).unwrap_or_default());
        app.commit(key);
    };
    entry("subject", "probe.>".into());
    let may = app.try_push(&node);
    assert!(may.accepted, "{}", may.text);
    assert!(may.text.contains("functions may call each other in a circle: probe-publish/event → probe-publish/event"), "{}", may.text);
    entry("publish", vec!["probe.x"].into());
    let does = app.try_push(&node);
    assert!(!does.accepted, "{}", does.text);
    assert!(does.text.contains("functions would call each other without end: probe-publish/event"), "{}", does.text);
    assert!(does.text.contains("hint: "), "{}", does.text);
    // One that keeps off its own subjects is in no circle, and is held to its word.
    entry("subject", "reading.d.>".into());
    let opened = app.try_push(&node);
    assert!(opened.accepted && !opened.text.contains("circle"), "{}", opened.text);
    node.client().reading("d", "publish", order("probe.y", 1, ""));
    let dead = node.wait_for_dead("probe-publish", 1).remove(0);
    assert!(dead.error.contains("`probe.y` is not published: it is not in the `publish` of"), "{}", dead.error);
}
