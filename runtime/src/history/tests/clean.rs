//! Readings that were taken out or changed, and why.

use super::{find, history_of, micros, reading, sorted};
use crate::model::{Event, Kind, Value};
use serde_json::json;
use std::sync::Arc;

#[test]
fn a_reading_that_was_taken_out_is_found_by_its_kind_its_value_and_the_reason() {
    let at = micros("2026-03-01T12:00:00Z");
    let dropped = |seq: u64, value: &str, code: &str, reason: &str| {
        let Event { seq, body } = Event::clone(&reading(seq, "pond1", "oxygen", at, value));
        let why = json!({ "rule": "fish-pond", "step": "steps[1]", "code": code, "reason": reason });
        Arc::new(Event { seq, body: body.dropped(why) })
    };
    let mut changed = Event::clone(&reading(4, "pond1", "temp", at, "10"));
    changed.body.raw = Value::json("50").map(Box::new);
    let place = history_of(&[
        reading(1, "pond1", "oxygen", at, "7.5"),
        dropped(2, "99", "above", "99 is above 20"),
        dropped(3, "\"stuck valve\"", "stuck", "the sensor has said the same for 6 readings, 360 s"),
        Arc::new(changed),
    ]);
    for (query, found) in [
        ("kind:dropped", vec![2, 3]),
        ("kind:reading", vec![1, 4]),
        ("kind:dropped above", vec![2]),
        ("kind:dropped \"is above\"", vec![2]),
        ("kind:dropped text:fish", vec![2, 3]),
        ("kind:dropped value:>20", vec![2]),
        ("valve", vec![3]),
        ("subject:dropped.pond1.oxygen device:pond1", vec![2, 3]),
        ("device:pond1 sensor:oxygen", vec![1, 2, 3]),
        ("value:50", vec![]),
        ("value:10", vec![4]),
    ] {
        assert_eq!(sorted(&find(&place.history, query)), found, "{query}");
    }
    let hits = find(&place.history, "seq:2").hits;
    assert_eq!((hits[0].kind, &hits[0].value, &hits[0].raw), (Kind::Dropped, &Value::json("99").unwrap(), &None));
    let why = json!({ "rule": "fish-pond", "step": "steps[1]", "code": "above", "reason": "99 is above 20" });
    assert_eq!(hits[0].dropped, Some(why));
    let hits = find(&place.history, "seq:4").hits;
    assert_eq!((&hits[0].value, &hits[0].raw, &hits[0].dropped), (&Value::json("10").unwrap(), &Value::json("50"), &None));
}

#[test]
fn a_reading_that_was_made_is_found_by_how_and_by_the_rule_that_made_it() {
    let at = micros("2026-03-01T12:00:00Z");
    let made = |seq: u64, value: &str, how: serde_json::Value| {
        let mut event = Event::clone(&reading(seq, "soil1", "moisture.filled", at, value));
        event.body.raw = Some(Box::new(Value::from_json(&how)));
        let (id, place) = (|text: &str| crate::model::Id::new(text).unwrap(), crate::model::event::Place::default());
        event.body.cause =
            Some(Box::new(crate::model::event::Cause { app: id("farm"), function: id("soil"), seq: 1, call: "derived".into(), place }));
        Arc::new(event)
    };
    let place = history_of(&[
        reading(1, "soil1", "moisture", at, "560"),
        made(2, "555", json!({ "made": "filled", "method": "linear", "from": "2026-03-01T08:00:00Z", "to": "2026-03-01T12:00:00Z" })),
        made(3, "550.5", json!({ "made": "mean", "readings": 24, "start": "2026-03-01T00:00:00Z", "revision": 0 })),
    ]);
    for (query, found) in [
        ("kind:reading filled", vec![2]),
        ("linear", vec![2]),
        ("mean value:>0", vec![3]),
        ("function:soil", vec![2, 3]),
        ("value:24", vec![]),
        ("value:555", vec![2]),
    ] {
        assert_eq!(sorted(&find(&place.history, query)), found, "{query}");
    }
    let hit = find(&place.history, "filled").hits.remove(0);
    let method = hit.raw.unwrap().to_json()["method"].clone();
    assert_eq!((hit.value.to_json(), method, hit.function.unwrap().to_string()), (json!(555), json!("linear"), "soil".to_owned()));
}
