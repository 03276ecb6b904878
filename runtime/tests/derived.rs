//! Sensors made of others, from the log into the log: real ledger, on a node that dies now and then.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value as Json, json};
use std::sync::Arc;
use support::Floor;
use tawi_runtime::{
    clock,
    dispatch::Derivation,
    ledger::LedgerError,
    model::{AppId, Event, FunctionId, Id, Kind, Micros, NewEvent, Pattern, Value, id::default_tenant},
    preprocess::{Declared, Of},
};

/// 2026-01-01T00:00Z: the start of a minute, an hour and a day.
const START: i64 = 1_767_225_600;
const HOUR: i64 = 3_600;

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn target(name: &str) -> FunctionId {
    FunctionId { app: AppId::new(default_tenant(), id("~clean")), function: id(name) }
}

/// A rule of `soil1`, as a node makes it of what somebody set.
fn rule(name: &str, sensor: &str, into: &str, how: Json) -> Derivation {
    let mut document = json!({ "device": "soil1", "sensor": sensor, "into": into });
    document.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
    let declared = Declared::of(&id(name), document).unwrap();
    let derived = declared.derived().unwrap().clone();
    let takes = derived.clone();
    Derivation {
        target: target(name),
        derive: derived.derive.clone(),
        pattern: Pattern::new("reading.>").unwrap(),
        takes: Arc::new(move |event| {
            let Of::Sensor(of) = &takes.of else { panic!("{takes:?}") };
            event.device.as_ref() == Some(&of.device) && event.sensor.as_ref() == Some(&of.sensor)
        }),
        print: derived.document.to_string().into(),
    }
}

fn filled() -> Derivation {
    rule("filled", "moisture", "{sensor}.filled", json!({ "fill": { "every": "1h", "max_gap": "12h" } }))
}

fn daily() -> Derivation {
    let how = json!({ "aggregate": { "window": "1d", "what": "mean", "lateness": "7d", "idle": "1d" } });
    rule("daily", "moisture.filled", "moisture.daily", how)
}

/// A reading of `soil1/moisture` so many seconds after the start.
fn moisture(seconds: i64, value: f64) -> NewEvent {
    let value = Value::number(value).unwrap();
    NewEvent::reading(&default_tenant(), &id("soil1"), &id("moisture"), Micros((START + seconds) * Micros::SECOND), clock::now(), value)
}

fn of(floor: &Floor, sensor: &str) -> Vec<Arc<Event>> {
    let all = floor.all(Kind::Reading).into_iter();
    all.filter(|event| event.sensor.as_ref().is_some_and(|found| found.as_str() == sensor)).collect()
}

/// Hour and value of each reading.
fn series(floor: &Floor, sensor: &str) -> Vec<(f64, f64)> {
    let one = |event: &Arc<Event>| {
        let hours = (event.measured.0 / Micros::SECOND - START) as f64 / HOUR as f64;
        (hours, (event.value.as_f64().unwrap() * 1e6).round() / 1e6)
    };
    of(floor, sensor).iter().map(one).collect()
}

/// Waits until these have made all that there is to make of what is in the log.
async fn settled(floor: &Floor, names: &[&str]) {
    let wait = async {
        loop {
            let head = *floor.ledger.head().borrow();
            let mut are_there = true;
            for name in names {
                are_there &= floor.dispatch.derived(&target(name)).await.is_some_and(|through| through >= head);
            }
            if are_there && *floor.ledger.head().borrow() == head {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.expect("the rules look at all that is in the log");
}

async fn derive(floor: &Floor, wanted: Vec<Derivation>) -> Result<(), LedgerError> {
    let places = floor.dispatch.derived_places()?;
    floor.dispatch.derive(wanted, &places).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sensor_without_its_gaps_is_another_sensor_and_a_third_is_made_of_that() {
    let floor = Floor::open().await;
    derive(&floor, vec![filled(), daily()]).await.unwrap();
    floor.append(vec![moisture(0, 10.0), moisture(HOUR, 11.0), moisture(4 * HOUR, 14.0)]).await;
    settled(&floor, &["filled", "daily"]).await;
    assert_eq!(series(&floor, "moisture.filled"), [(0.0, 10.0), (1.0, 11.0), (2.0, 12.0), (3.0, 13.0), (4.0, 14.0)]);
    let events = of(&floor, "moisture.filled");
    let made = events[2].raw.as_ref().unwrap().to_json();
    assert_eq!((&made["made"], &made["method"], &made["from"]), (&json!("filled"), &json!("linear"), &json!("2026-01-01T01:00:00Z")));
    assert_eq!((events[0].raw.as_ref(), events[4].raw.as_ref()), (None, None), "these came");
    let cause = events[2].cause.as_ref().unwrap();
    assert_eq!((cause.function.as_str(), cause.seq, cause.place.hops), ("filled", 3, 1));
    // The next day ends this one; a reading that comes late corrects what was said of it.
    floor.append(vec![moisture(26 * HOUR, 20.0)]).await;
    settled(&floor, &["filled", "daily"]).await;
    assert_eq!(series(&floor, "moisture.daily"), [(0.0, 12.0)], "a gap of 22 hours stays one");
    floor.append(vec![moisture(HOUR / 2, 18.0), moisture(27 * HOUR, 21.0)]).await;
    settled(&floor, &["filled", "daily"]).await;
    assert_eq!(series(&floor, "moisture.daily"), [(0.0, 12.0), (0.0, 13.0)]);
    let revised = of(&floor, "moisture.daily")[1].raw.as_ref().unwrap().to_json();
    assert_eq!((&revised["made"], &revised["readings"], &revised["revision"]), (&json!("mean"), &json!(6), &json!(1)));
    let said = floor.all(Kind::Log);
    let line = said.iter().map(|line| line.value.to_json().to_string()).find(|line| line.contains("max_gap")).unwrap();
    assert!(line.contains("soil1/moisture") && line.contains("21 values are missing"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reading_is_made_once_however_often_the_node_dies() {
    let week = || rule("filled", "moisture", "{sensor}.filled", json!({ "fill": { "every": "1m" } }));
    let mut floor = Floor::open().await;
    derive(&floor, vec![week()]).await.unwrap();
    let mut expected: Vec<(i64, f64)> = Vec::new();
    for (at, hours) in [0, 1, 2, 50, 51, 168].into_iter().enumerate() {
        floor.append(vec![moisture(hours * HOUR, hours as f64)]).await;
        let from = expected.last().map_or(0, |(minute, _)| minute + 1);
        expected.extend((from..=hours * 60).map(|minute| (minute, minute as f64 / 60.0)));
        // In the middle of a gap, or behind it, as it comes.
        if at % 2 == 0 {
            floor.events(Kind::Reading, at + 1 + expected.len() / 2).await;
        }
        let dir = floor.crash().await;
        floor = Floor::open_in(dir).await;
        derive(&floor, vec![week()]).await.unwrap();
    }
    floor.events(Kind::Reading, 6 + expected.len()).await;
    // One more, behind which nothing is left to come.
    floor.append(vec![moisture(168 * HOUR + 60, 168.0)]).await;
    expected.push((168 * 60 + 1, 168.0));
    settled(&floor, &["filled"]).await;
    let found = series(&floor, "moisture.filled");
    assert_eq!(found.len(), expected.len());
    for ((hours, value), (minute, wanted)) in found.into_iter().zip(expected) {
        assert!((hours * 60.0 - minute as f64).abs() < 1e-6 && (value - wanted).abs() < 1e-5, "{minute}: {hours} {value}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_is_gone_holds_nothing_and_another_one_begins_anew() {
    let floor = Floor::open().await;
    derive(&floor, vec![filled(), daily()]).await.unwrap();
    floor.append(vec![moisture(0, 10.0)]).await;
    settled(&floor, &["filled", "daily"]).await;
    let rules = || {
        let functions = floor.ledger.functions().unwrap().into_iter();
        functions.map(|(function, _)| function.derives().unwrap().function.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(rules().len(), 2);
    derive(&floor, vec![filled()]).await.unwrap();
    assert_eq!(rules(), ["filled"]);
    // The same rule again goes on; another one of its name has seen nothing.
    derive(&floor, vec![filled()]).await.unwrap();
    floor.append(vec![moisture(2 * HOUR, 12.0)]).await;
    settled(&floor, &["filled"]).await;
    assert_eq!(series(&floor, "moisture.filled").len(), 3);
    let hold = rule("filled", "moisture", "{sensor}.filled", json!({ "fill": { "every": "1h", "method": "hold" } }));
    derive(&floor, vec![hold.clone()]).await.unwrap();
    floor.append(vec![moisture(4 * HOUR, 14.0), moisture(6 * HOUR, 16.0)]).await;
    settled(&floor, &["filled"]).await;
    assert_eq!(series(&floor, "moisture.filled")[3..], [(4.0, 14.0), (5.0, 14.0), (6.0, 16.0)]);
    derive(&floor, Vec::new()).await.unwrap();
    assert!(rules().is_empty() && floor.dispatch.derived(&hold.target).await.is_none());
    assert!(floor.ledger.state_entries(&hold.target.deriver().app, "", None, 1).unwrap().is_empty());
}
