//! Actuators, and commands for them.

use super::{Node, TEXT, ids, station};
use crate::model::Kind;
use serde_json::json;

const ACT: &str = "/devices/d/actuators/Act1";

async fn with_device() -> (Node, String) {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    node.v2(&ada, "POST", "/devices", &station("d", "public")).await.is(204);
    (node, ada)
}

#[tokio::test]
async fn an_actuator_comes_is_described_and_goes() {
    let (node, ada) = with_device().await;
    node.v2(&ada, "POST", "/devices/d/actuators", r#"{"id":"Pump","actuator_kind":"Pump"}"#).await.is(204);
    node.v2(&ada, "POST", "/devices/d/actuators", r#"{"id":"Pump"}"#).await.problem(422);
    for (field, shown) in [("name", "name"), ("actuator_kind", "actuator_kind"), ("value_type", "actuator_value_type")] {
        node.put_text(&ada, &format!("/devices/d/actuators/Pump/{field}"), "x").await.is(204);
        assert_eq!(node.guest("GET", "/devices/d/actuators/Pump", "").await.is(200).json()[shown], "x");
    }
    node.put_json(&ada, "/devices/d/actuators/Pump/meta", r#"{"litres":5}"#).await.is(204);
    assert_eq!(node.guest("GET", "/devices/d/actuators/Pump", "").await.is(200).json()["meta"]["litres"], 5);
    assert_eq!(ids(&node.guest("GET", "/devices/d/actuators", "").await.is(200).json()), ["Act1", "Pump"]);
    node.guest("DELETE", "/devices/d/actuators/Pump", "").await.problem(403);
    node.v2(&ada, "DELETE", "/devices/d/actuators/Pump", "").await.is(204);
    assert_eq!(node.v2(&ada, "DELETE", "/devices/d/actuators/Pump", "").await.problem(404).0, "unknown-actuator");
}

#[tokio::test]
async fn a_value_for_an_actuator_is_a_command_in_the_log_and_its_value_from_then_on() {
    let (node, ada) = with_device().await;
    assert_eq!(node.guest("GET", ACT, "").await.is(200).json()["value"], json!(null));
    let answer = node.put_json(&ada, &format!("{ACT}/value"), "true").await.is(204);
    assert!(answer.body.is_empty());
    let seq: u64 = answer.headers["tawi-sequence"].to_str().unwrap().parse().unwrap();
    let event = node.rooms.ledger.event(seq).unwrap().unwrap();
    assert_eq!((event.kind, event.subject.as_str(), event.key.as_str()), (Kind::Command, "command.d.Act1", "d"));
    let command = event.value.to_json();
    assert_eq!((&command["value"], command["id"].as_str().unwrap()), (&json!(true), answer.headers["tawi-command"].to_str().unwrap()));
    assert_eq!(node.guest("GET", ACT, "").await.is(200).json()["value"], true);
    // The whole body is the value, and a text is one.
    node.put_json(&ada, &format!("{ACT}/value"), r#"{"value":1}"#).await.is(204);
    assert_eq!(node.guest("GET", "/devices/d", "").await.is(200).json()["actuators"][0]["value"], json!({"value": 1}));
    node.put_text(&ada, &format!("{ACT}/value"), "half open").await.is(204);
    assert_eq!(node.guest("GET", "/devices/d/actuators", "").await.is(200).json()[0]["value"], "half open");
}

#[tokio::test]
async fn who_may_not_command_and_what_is_no_command() {
    let (node, ada) = with_device().await;
    let value = format!("{ACT}/value");
    let before = *node.rooms.ledger.head().borrow();
    node.put_json(&ada, "/devices/d/actuators/none/value", "true").await.problem(404);
    node.put_json(&ada, "/devices/none/actuators/Act1/value", "true").await.problem(404);
    node.put_json(&ada, &value, "tru").await.problem(400);
    node.put_json(&ada, &value, &format!("\"{}\"", "x".repeat(65 * 1024))).await.problem(413);
    node.v2("tawi_wrong", "PUT", &value, "true").await.problem(401);
    assert_eq!(*node.rooms.ledger.head().borrow(), before, "nothing of it is in the log");
    node.put_text(&ada, "/devices/d/visibility", "private").await.is(204);
    node.guest("PUT", &value, "true").await.problem(403);
    let reader = node.token(crate::identity::Role::Read);
    node.v2(&reader, "PUT", &value, "true").await.problem(403);
}

#[tokio::test]
async fn a_repeat_of_a_command_with_its_key_is_given_once() {
    let (node, ada) = with_device().await;
    let (path, node, ada) = (format!("/api/v2{ACT}/value"), &node, &ada);
    let path = path.as_str();
    let give =
        |key: &'static str, body: &'static str| async move { node.ask_as(ada, "PUT", path, &[TEXT, ("idempotency-key", key)], body).await };
    let first = give("k1", "open").await.is(204);
    let again = give("k1", "open").await.is(204);
    assert_eq!(
        (&first.headers["tawi-command"], &first.headers["tawi-sequence"]),
        (&again.headers["tawi-command"], &again.headers["tawi-sequence"])
    );
    assert_eq!(again.headers["tawi-duplicate"], "true");
    assert_eq!(give("k1", "shut").await.problem(422).0, "key-reused");
    assert_ne!(give("k2", "shut").await.is(204).headers["tawi-command"], first.headers["tawi-command"]);
}

#[tokio::test]
async fn what_a_device_was_told_is_shown_with_what_became_of_it() {
    let (node, ada) = with_device().await;
    node.put_json(&ada, &format!("{ACT}/value"), "true").await.is(204);
    let id = node.put_json(&ada, &format!("{ACT}/value"), "false").await.is(204).headers["tawi-command"].to_str().unwrap().to_owned();
    let told = node.v2(&ada, "GET", "/devices/d/commands", "").await.is(200).json();
    let shown: Vec<_> =
        told.as_array().unwrap().iter().map(|command| (&command["actuator_id"], &command["value"], &command["state"])).collect();
    let (act, waiting) = ("Act1".into(), "waiting".into());
    assert_eq!(shown, [(&act, &false.into(), &waiting), (&act, &true.into(), &waiting)], "the newest first");
    assert_eq!(told[0]["id"], id);
    node.put_text(&ada, "/devices/d/visibility", "private").await.is(204);
    node.guest("GET", "/devices/d/commands", "").await.problem(403);
}
