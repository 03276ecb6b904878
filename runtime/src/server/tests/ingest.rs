//! What a device is answered, and what is stored of it.

use super::Node;
use crate::identity::Role;
use crate::model::{
    Micros,
    id::default_tenant,
    limit::{INGEST_BODY_BYTES_MAX, VALUE_BYTES_MAX},
};
use axum::body::Body;
use futures::StreamExt;
use http::Request;

const VALUE: &str = "/api/v2/devices/fridge1/sensors/temp/value";
const VALUES: &str = "/api/v2/devices/fridge1/sensors/temp/values";
const BATCH: &str = "/api/v1/readings";

#[tokio::test]
async fn a_204_means_that_the_reading_can_be_read() {
    let node = Node::start().await;
    let answer = node.ask("POST", VALUE, r#"{"value":9.50,"timestamp":"2026-01-31T08:30:00+01:00"}"#).await.is(204);
    assert_eq!(answer.headers["tawi-sequence"], "1");
    let event = node.rooms.ledger.event(1).unwrap().unwrap();
    assert_eq!((event.subject.as_str(), event.measured.to_string().as_str()), ("reading.fridge1.temp", "2026-01-31T07:30:00Z"));
    let device = node.ask("GET", "/api/v2/devices/fridge1", "").await.is(200).json();
    assert_eq!(device["sensors"][0]["value"]["value"], 9.5);
    assert_eq!(device["sensors"][0]["value"]["timestamp"], "2026-01-31T07:30:00Z");
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_nothing_of_it_is_stored() {
    let node = Node::start().await;
    let large = format!("{{\"value\":\"{}\"}}", "x".repeat(VALUE_BYTES_MAX));
    let huge = "x".repeat(INGEST_BODY_BYTES_MAX + 1);
    for (path, body, status, field) in [
        (VALUE, "{\"value\":", 400, ""),
        (VALUE, "{\"valeu\":1}", 400, "value"),
        (VALUE, "{\"value\":1,\"timestamp\":\"yesterday\"}", 400, "timestamp"),
        (VALUE, "{\"value\":1,\"timestamp\":\"2999-01-01T00:00:00Z\"}", 400, "timestamp"),
        (VALUE, large.as_str(), 413, "value"),
        (VALUE, huge.as_str(), 413, ""),
        (VALUES, "[{\"value\":1},{\"value\":2,\"timestamp\":\"x\"}]", 400, "[1].timestamp"),
        (VALUES, "{\"value\":1}", 400, ""),
        (BATCH, "{\"device\":\"d\",\"sensor\":\"s\",\"value\":1}\n{\"device\":\"d\",\"value\":1}", 400, "sensor"),
        ("/api/v2/devices/a%20b/sensors/temp/value", "1", 400, "device"),
        ("/api/v2/devices/d/sensors/%2A/value", "1", 400, "sensor"),
    ] {
        let (_, named) = node.ask("POST", path, body).await.problem(status);
        assert_eq!(named, field, "{path} {}", &body[..body.len().min(80)]);
    }
    assert_eq!(*node.rooms.ledger.head().borrow(), 0);
    let page = node.ask("GET", "/metrics", "").await.is(200);
    let page = String::from_utf8(page.body).unwrap();
    assert!(page.contains("tawi_ingest_refused_total{reason=\"too-large\"}"), "{page}");
}

#[tokio::test]
async fn a_repeat_with_its_key_is_stored_once() {
    let node = Node::start().await;
    let key = [("idempotency-key", "a1")];
    let send = |path| node.ask_as(&node.admin, "POST", path, &key, "[{\"value\":1},{\"value\":2}]");
    assert_eq!(send(VALUES).await.is(204).headers["tawi-sequence"], "1-2");
    let again = send(VALUES).await.is(204);
    assert_eq!((&again.headers["tawi-sequence"], &again.headers["tawi-duplicate"]), (&"1-2".parse().unwrap(), &"true".parse().unwrap()));
    // Another device may well choose the same key.
    assert_eq!(send("/api/v2/devices/fridge2/sensors/temp/values").await.is(204).headers["tawi-sequence"], "3-4");
    // So may another sensor of the device, another route, and another sender.
    assert_eq!(send("/api/v2/devices/fridge1/sensors/hum/values").await.is(204).headers["tawi-sequence"], "5-6");
    node.ask_as(&node.admin, "POST", VALUE, &key, "[1]").await.is(204);
    let gateway = node.token(Role::Send);
    assert_eq!(node.ask_as(&gateway, "POST", VALUES, &key, "[{\"value\":7}]").await.is(204).headers["tawi-sequence"], "8");
    let empty = [("idempotency-key", "")];
    let (_, field) = node.ask_as(&node.admin, "POST", VALUE, &empty, "1").await.problem(400);
    assert_eq!(field, "idempotency-key");
}

#[tokio::test]
async fn a_key_that_is_used_for_other_readings_is_refused_and_nothing_stored() {
    let node = Node::start().await;
    let key = [("idempotency-key", "a1")];
    let send = |body| node.ask_as(&node.admin, "POST", BATCH, &key, body);
    send(r#"[{"device":"d1","sensor":"t","value":1}]"#).await.is(204);
    for other in [r#"[{"device":"d2","sensor":"t","value":1}]"#, r#"[{"device":"d1","sensor":"t","value":2}]"#] {
        let (kind, field) = send(other).await.problem(422);
        assert_eq!((kind.as_str(), field.as_str()), ("key-reused", "idempotency-key"));
    }
    assert_eq!(*node.rooms.ledger.head().borrow(), 1);
    send(r#"[{"device":"d1","sensor":"t","value":1}]"#).await.is(204);
}

#[tokio::test]
async fn requests_that_send_nothing_hold_up_nobody() {
    let node = Node::start().await;
    let silent = || {
        let body = Body::from_stream(futures::stream::pending::<Result<&'static str, std::io::Error>>());
        let request = Request::builder().method("POST").uri(BATCH).header("authorization", format!("Bearer {}", node.admin));
        node.send(request.body(body).unwrap())
    };
    let mut silent: futures::stream::FuturesUnordered<_> = (0..64).map(|_| silent()).collect();
    tokio::select! {
        // They are all on their way before the one that has something to say.
        biased;
        answer = silent.next() => panic!("a request without a body's end was answered: {answer:?}"),
        answer = node.ask("POST", BATCH, r#"[{"device":"d1","sensor":"t","value":1}]"#) => answer.is(204),
    };
}

#[tokio::test]
async fn a_batch_spans_devices_and_formats_are_told_apart() {
    let node = Node::start().await;
    let lines = "{\"device\":\"d1\",\"sensor\":\"t\",\"value\":1}\n{\"device\":\"d2\",\"sensor\":\"t\",\"value\":\"2\"}\n";
    assert_eq!(node.ask("POST", BATCH, lines).await.is(204).headers["tawi-sequence"], "1-2");
    node.ask_as(&node.admin, "POST", VALUE, &[("content-type", "text/plain;charset=utf-8")], "quite warm").await.is(204);
    node.ask_as(&node.admin, "POST", VALUE, &[("content-type", "application/octet-stream")], "\u{1}").await.is(204);
    let sensor = node.ask("GET", "/api/v2/devices/fridge1/sensors/temp", "").await.is(200).json();
    assert_eq!(sensor["value"]["value"], serde_json::json!({"bytes": "01"}));
    let devices = node.ask("GET", "/api/v2/devices?limit=2&offset=1", "").await.is(200).json();
    assert_eq!(devices.as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap()).collect::<Vec<_>>(), ["d2", "fridge1"]);
    node.ask("GET", "/api/v2/devices/d1/sensors/none", "").await.problem(404);
}

#[tokio::test]
async fn without_auto_register_a_stranger_is_unknown() {
    let node = Node::with(|config| config.auto_register = false).await;
    let (kind, field) = node.ask("POST", VALUE, "1").await.problem(404);
    assert_eq!((kind.as_str(), field.as_str()), ("unknown-device", "device"));
    let dates = |mut text: serde_json::Value| {
        (text["date_created"], text["date_modified"]) = (0.into(), 0.into());
        text
    };
    let device = dates(serde_json::json!({ "id": "fridge1", "sensors": [dates(serde_json::json!({ "id": "door" }))] }));
    let who = crate::identity::Principal::Guest { tenant: default_tenant() };
    node.rooms.registry.create_device(&who, serde_json::from_value(device).unwrap(), Micros(1)).await.unwrap();
    let (kind, field) = node.ask("POST", VALUE, "1").await.problem(404);
    assert_eq!((kind.as_str(), field.as_str()), ("unknown-sensor", "sensor"));
    node.ask("POST", &VALUE.replace("temp", "door"), "1").await.is(204);
}
