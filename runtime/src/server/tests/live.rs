//! Streams: what comes while somebody listens, and what came before.

use super::Node;
use crate::{
    identity::Role,
    ledger::{Append, Op},
    model::{Id, Kind, Micros, NewEvent, Subject, Value, event::Cause, id::default_tenant},
    server::STREAMS_MAX,
};
use axum::body::{Body, BodyDataStream};
use futures::StreamExt;
use http::Request;

const VALUE: &str = "/api/v2/devices/fridge1/sensors/temp/value";

async fn open(node: &Node, path: &str) -> BodyDataStream {
    open_as(node, &node.admin, path).await
}

async fn open_as(node: &Node, token: &str, path: &str) -> BodyDataStream {
    let request = Request::builder().uri(path).header("authorization", format!("Bearer {token}"));
    let response = node.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), 200);
    response.into_body().into_data_stream()
}

/// Events until there are `count`.
async fn take(stream: &mut BodyDataStream, count: usize) -> Vec<serde_json::Value> {
    let mut events = Vec::new();
    while events.len() < count {
        let piece = stream.next().await.unwrap().unwrap();
        events.extend(piece.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()));
    }
    events
}

async fn log(node: &Node, function: &str, message: &str) {
    log_of(node, function, "c1", message).await;
}

async fn log_of(node: &Node, function: &str, call: &str, message: &str) {
    let id = |text| Id::new(text).unwrap();
    let cause = Cause { app: id("fridge"), function: id(function), seq: 1, call: call.into(), place: Default::default() };
    let event = NewEvent {
        tenant: default_tenant(),
        kind: Kind::Log,
        subject: Subject::new(&format!("log.fridge.{function}")).unwrap(),
        key: "log".into(),
        device: None,
        sensor: None,
        measured: Micros(1_000_000),
        received: Micros(1_000_000),
        value: Value::from_json(&serde_json::json!({"level": "warn", "message": message})),
        raw: None,
        cause: Some(Box::new(cause)),
    };
    let append = Append { tenant: default_tenant(), events: vec![event], dedup: None, intake: None };
    node.rooms.ledger.apply(Op::Append(append)).await.unwrap();
}

#[tokio::test]
async fn a_subscriber_gets_what_comes_after_it_asked_and_nothing_else() {
    let node = Node::start().await;
    node.ask("POST", VALUE, "1").await.is(204);
    let mut stream = open(&node, "/api/v1/subscribe?subject=reading.*.temp").await;
    node.ask("POST", "/api/v2/devices/fridge1/sensors/hum/value", "2").await.is(204);
    log(&node, "warm", "not an event").await;
    node.ask("POST", VALUE, "3.10").await.is(204);
    let seen = take(&mut stream, 1).await;
    assert_eq!((&seen[0]["sequence"], &seen[0]["subject"], &seen[0]["value"]), (&4.into(), &"reading.fridge1.temp".into(), &3.1.into()));
}

#[tokio::test]
async fn a_subscriber_that_was_away_goes_on_where_it_was() {
    let node = Node::start().await;
    for n in 1..=5 {
        node.ask("POST", VALUE, &n.to_string()).await.is(204);
    }
    let mut stream = open(&node, "/api/v1/subscribe?subject=%3E&after=2").await;
    let seen: Vec<_> = take(&mut stream, 3).await.iter().map(|event| event["value"].as_u64().unwrap()).collect();
    assert_eq!(seen, [3, 4, 5]);
}

#[tokio::test]
async fn a_range_that_was_trimmed_is_shown_as_a_gap() {
    let node = Node::start().await;
    for n in 1..=4 {
        node.ask("POST", VALUE, &n.to_string()).await.is(204);
    }
    node.rooms.ledger.trim(4).await.unwrap();
    let mut stream = open(&node, "/api/v1/subscribe?subject=%3E&after=1").await;
    let seen = take(&mut stream, 2).await;
    assert_eq!((&seen[0]["kind"], &seen[0]["from"], &seen[0]["to"]), (&"gap".into(), &2.into(), &3.into()));
    assert_eq!(seen[1]["sequence"], 4);
}

#[tokio::test]
async fn streams_have_a_most_and_make_room_when_they_end() {
    let node = Node::start().await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS_MAX {
        streams.push(open(&node, "/api/v1/subscribe?subject=%3E").await);
    }
    node.ask("GET", "/api/v1/subscribe?subject=%3E", "").await.problem(503);
    streams.pop();
    streams.push(open(&node, "/api/v1/subscribe?subject=%3E").await);
}

#[tokio::test]
async fn streams_end_when_the_node_stops() {
    let node = Node::start().await;
    let mut stream = open(&node, "/api/v1/subscribe?subject=%3E").await;
    node.rooms.stopping.cancel();
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_stream_ends_with_the_token_it_was_asked_for_with() {
    let node = Node::start().await;
    let (token, secret) = node.rooms.tokens.create(&default_tenant(), "dashboard", Role::Read, Micros(1)).unwrap();
    let (other, _) = node.rooms.tokens.create(&default_tenant(), "another", Role::Read, Micros(1)).unwrap();
    log(&node, "warm", "one").await;
    node.index();
    let mut events = open_as(&node, &secret, "/api/v1/subscribe?subject=%3E").await;
    let mut lines = open_as(&node, &secret, "/api/v1/apps/fridge/logs?follow=true").await;
    take(&mut lines, 1).await;
    // Somebody else's token is no reason to end.
    node.rooms.tokens.revoke(&default_tenant(), &other.id).unwrap();
    node.ask("POST", VALUE, "1").await.is(204);
    assert_eq!(take(&mut events, 1).await[0]["value"], 1);
    node.rooms.tokens.revoke(&default_tenant(), &token.id).unwrap();
    node.ask("POST", VALUE, "2").await.is(204);
    assert!(events.next().await.is_none() && lines.next().await.is_none());
}

#[tokio::test]
async fn the_log_of_one_call_is_found_by_its_id() {
    let node = Node::start().await;
    log_of(&node, "warm", "main-7-warm", "one").await;
    log_of(&node, "warm", "main-8-warm", "two").await;
    node.index();
    let messages = |lines: Vec<serde_json::Value>| lines.iter().map(|l| l["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let mut stream = open(&node, "/api/v1/apps/fridge/logs?follow=true&call=main-8-warm").await;
    assert_eq!(messages(take(&mut stream, 1).await), ["two"]);
    log_of(&node, "warm", "main-7-warm", "three").await;
    log_of(&node, "warm", "main-8-warm", "four").await;
    assert_eq!(messages(take(&mut stream, 1).await), ["four"]);
}

#[tokio::test]
async fn a_log_is_followed_from_history_into_the_present_without_a_seam() {
    let node = Node::start().await;
    log(&node, "warm", "one").await;
    log(&node, "other", "two").await;
    node.index();
    let whole = node.ask("GET", "/api/v1/apps/fridge/logs", "").await.is(200);
    assert_eq!(String::from_utf8(whole.body).unwrap().lines().count(), 2);
    node.ask("GET", "/api/v1/apps/fridgge/logs", "").await.problem(404);

    let mut stream = open(&node, "/api/v1/apps/fridge/logs?follow=true&function=warm").await;
    log(&node, "other", "three").await;
    log(&node, "warm", "four").await;
    let seen: Vec<_> = take(&mut stream, 2).await.iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect();
    assert_eq!(seen, ["one", "four"]);
}

#[tokio::test]
async fn what_is_found_has_the_digits_that_were_sent_as_what_is_live() {
    let node = Node::start().await;
    let mut stream = open(&node, "/api/v1/subscribe?subject=reading.%3E").await;
    node.ask("POST", VALUE, "{\"value\":12345678901234567890.10}").await.is(204);
    let live = stream.next().await.unwrap().unwrap();
    node.index();
    let found = node.ask("GET", "/api/v1/history", "").await.is(200);
    let (live, found) = (String::from_utf8(live.to_vec()).unwrap(), String::from_utf8(found.body).unwrap());
    assert!(live.contains("\"value\":12345678901234567890.10,"), "{live}");
    assert_eq!(found, format!("{{\"total\":1,\"hits\":[{}]}}", live.trim_end()));
}

#[tokio::test]
async fn history_is_searched_and_counted() {
    let node = Node::start().await;
    for n in 1..=5 {
        node.ask("POST", VALUE, &format!("{{\"value\":{n},\"timestamp\":\"2026-01-0{n}T00:00:00Z\"}}")).await.is(204);
    }
    node.index();
    let page = node.ask("GET", "/api/v1/history?q=device:fridge1%20AND%20value:%3E2&limit=2", "").await.is(200).json();
    assert_eq!((&page["total"], &page["hits"][0]["value"], page["hits"].as_array().unwrap().len()), (&3.into(), &5.into(), 2));
    let count = node.ask("GET", "/api/v1/history/count?from=2026-01-02T00:00:00Z&to=2026-01-04T00:00:00Z", "").await.is(200).json();
    assert_eq!(count["total"], 2);
    assert_eq!(node.ask("GET", "/api/v1/history?q=(", "").await.problem(400).1, "q");
    assert_eq!(node.ask("GET", "/api/v1/history?from=yesterday", "").await.problem(400).1, "from");
}
