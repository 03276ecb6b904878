//! Triggers that time makes, from the log to a function and back into the log: real engine, real guests, real ledger.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value as Json, json};
use std::sync::Arc;
use support::{Floor, app, function, guest};
use tawi_runtime::{
    clock,
    dispatch::{Dispatch, HistorySource, Settings},
    engine::Wasi,
    host::HistoryPage,
    model::{Id, Kind, Micros, NewEvent, Value, id::default_tenant},
};

/// 2026-01-01T00:00Z: the start of a minute, an hour and a day.
const START: i64 = 1_767_225_600;

/// A reading of `d/SENSOR` that was measured so many seconds after the start, and is received now.
fn measured(sensor: &str, seconds: i64, value: &str) -> NewEvent {
    let (device, sensor) = (Id::new("d").unwrap(), Id::new(sensor).unwrap());
    let value = Value::json(value).unwrap();
    NewEvent::reading(&default_tenant(), &device, &sensor, Micros((START + seconds) * Micros::SECOND), clock::now(), value)
}

fn manifest(entries: &str) -> String {
    format!("[app]\nname = \"probe-time\"\n{entries}\n[grant]\npublish = [\"told.>\"]\n")
}

fn on(name: &str, rule: &str) -> String {
    format!("[[on]]\nname = \"{name}\"\nsubject = \"reading.>\"\n{rule}\n")
}

/// What the probe was told, in the order of the log.
fn told(floor: &Floor) -> Vec<Json> {
    floor.all(Kind::Message).iter().map(|message| message.value.to_json()).collect()
}

async fn told_of(floor: &Floor, count: usize) -> Vec<Json> {
    floor.events(Kind::Message, count).await;
    told(floor)
}

/// Waits until the rule has looked at all that is in the log, and its function at all that came of it.
async fn settled(floor: &Floor, name: &str) {
    let id = function("probe-time", name);
    loop {
        let head = *floor.ledger.head().borrow();
        if floor.dispatch.evaluated(&id).is_some_and(|evaluated| evaluated >= head) {
            floor.settled(&id).await;
            if *floor.ledger.head().borrow() == head {
                return;
            }
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_is_told_when_the_next_begins_and_told_again_when_a_late_reading_corrects_it() {
    let floor = Floor::open().await;
    floor.deploy("probe-time", &manifest(&on("minutes", "window = { tumbling = \"1m\", lateness = \"1h\" }"))).await;
    floor.append(vec![measured("t", 0, "1"), measured("t", 59, "3"), measured("t", 60, "100")]).await;
    let first = told_of(&floor, 1).await;
    assert_eq!((&first[0]["aggregate"]["mean"], &first[0]["revision"]), (&json!(2.0), &json!(0)));
    assert_eq!(first[0]["sensor"], "t");
    floor.append(vec![measured("t", 30, "8")]).await;
    let both = told_of(&floor, 2).await;
    assert_eq!((&both[1]["aggregate"]["mean"], &both[1]["revision"]), (&json!(4.0), &json!(1)));
    assert_eq!((&both[1]["start"], &both[1]["aggregate"]["count"]), (&both[0]["start"], &json!(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_rule_tells_its_function_what_it_is_for() {
    let floor = Floor::open().await;
    let rules = [
        on("three", "batch = { max = 3, within = \"1h\" }"),
        on("moved", "change = { by = 0.5 }"),
        on("warm", "threshold = { above = 8, hysteresis = 1 }"),
        on("third", "every = 3"),
    ];
    floor.deploy("probe-time", &manifest(&rules.concat())).await;
    let values = ["7", "7.4", "8.5", "7.5", "6.9", "9"];
    floor.append(values.iter().enumerate().map(|(at, value)| measured("t", at as i64, value)).collect()).await;
    for name in ["three", "moved", "warm", "third"] {
        settled(&floor, name).await;
    }
    let all = told(&floor);
    let of = |name: &str| -> Vec<&Json> { all.iter().filter(|told| told["delivery"]["function"] == name).collect() };
    let value = |reading: &Json| reading["value"]["json"].as_str().unwrap().to_owned();
    let batches: Vec<Vec<String>> =
        of("three").iter().map(|told| told["readings"].as_array().unwrap().iter().map(value).collect()).collect();
    assert_eq!(batches, [["7", "7.4", "8.5"], ["7.5", "6.9", "9"]]);
    let moved: Vec<String> = of("moved").iter().map(|told| value(&told["reading"])).collect();
    assert_eq!(moved, ["7", "8.5", "7.5", "6.9", "9"]);
    let warm: Vec<(String, bool)> = of("warm").iter().map(|told| (value(&told["reading"]), told["beyond"].as_bool().unwrap())).collect();
    assert_eq!(warm, [("8.5".to_owned(), true), ("6.9".to_owned(), false), ("9".to_owned(), true)]);
    let third: Vec<String> = of("third").iter().map(|told| value(&told["reading"])).collect();
    assert_eq!(third, ["8.5", "9"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sensor_that_falls_silent_is_told_of_once_and_so_is_its_return() {
    let floor = Floor::open().await;
    floor.deploy("probe-time", &manifest(&on("quiet", "silence = \"1s\""))).await;
    floor.append(vec![measured("oxygen", 0, "7.1")]).await;
    let silent = told_of(&floor, 1).await;
    assert_eq!((&silent[0]["sensor"], &silent[0]["back"]), (&json!("oxygen"), &Json::Null));
    floor.append(vec![measured("oxygen", 5, "6.9")]).await;
    let back = told_of(&floor, 2).await;
    assert_eq!(back[1]["back"]["value"]["json"], "6.9");
    assert_eq!(back[1]["since"], back[0]["since"]);
    // And silent again.
    assert_eq!(told_of(&floor, 3).await[2]["back"], Json::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moments_of_a_schedule_are_called_for_one_after_another() {
    let floor = Floor::open().await;
    floor.deploy("probe-time", &manifest("[[on]]\nname = \"seconds\"\nschedule = \"* * * * * *\"")).await;
    let ticks = told_of(&floor, 3).await;
    let moments: Vec<Micros> = ticks.iter().map(|tick| Micros::parse(tick["scheduled"].as_str().unwrap()).unwrap()).collect();
    assert!(moments.iter().all(|moment| moment.0 % Micros::SECOND == 0), "{moments:?}");
    assert!(moments.windows(2).all(|two| two[0].0 < two[1].0), "{moments:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rule_keeps_is_there_after_its_node_has_ended() {
    let text = manifest(&(on("minutes", "window = { tumbling = \"1m\" }") + &on("ten", "batch = { max = 10, within = \"1h\" }")));
    let mut floor = Floor::open().await;
    floor.deploy("probe-time", &text).await;
    // A node that lives for two readings only.
    for pair in 0..5 {
        floor.append((0..2).map(|n| measured("t", pair * 2 + n, "1")).collect()).await;
        settled(&floor, "minutes").await;
        let dir = floor.crash().await;
        floor = Floor::open_in(dir).await;
        floor.reconciler.round().await;
    }
    floor.append(vec![measured("t", 60, "1")]).await;
    settled(&floor, "minutes").await;
    settled(&floor, "ten").await;
    let all = told(&floor);
    let (windows, batches): (Vec<&Json>, Vec<&Json>) = all.iter().partition(|told| told["delivery"]["function"] == "minutes");
    assert_eq!(windows.iter().map(|told| &told["aggregate"]["count"]).collect::<Vec<_>>(), [&json!(10)]);
    assert_eq!(batches.iter().map(|told| told["readings"].as_array().unwrap().len()).collect::<Vec<_>>(), [10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_look_at_one_log_tell_each_thing_once() {
    let floor = Floor::open().await;
    let text = manifest(&on("minutes", "window = { tumbling = \"1m\" }"));
    floor.deploy("probe-time", &text).await;
    let no_history: HistorySource = Arc::new(|_, _| Box::pin(async { Ok(HistoryPage::default()) }));
    let other = Dispatch::new(floor.engine.clone(), floor.ledger.clone(), no_history);
    let release = floor.store.current(&app("probe-time")).unwrap();
    let compiled = floor.dir.path().join("probe-time.cwasm");
    std::fs::write(&compiled, floor.engine.precompile(&guest("probe-time")).unwrap()).unwrap();
    let loaded = floor.engine.load(Wasi::P2, &compiled, app("probe-time"), release).unwrap();
    other.set(Arc::new(loaded), Settings::default()).await.unwrap();
    for minute in 0..50 {
        floor.append((0..20).map(|second| measured("t", minute * 60 + second, "1")).collect()).await;
    }
    let windows = told_of(&floor, 49).await;
    settled(&floor, "minutes").await;
    other.stop().await;
    assert_eq!(told(&floor).len(), 49);
    let starts: std::collections::BTreeSet<String> = windows.iter().map(|told| told["start"].to_string()).collect();
    assert_eq!(starts.len(), 49);
    assert!(windows.iter().all(|told| told["aggregate"]["count"] == 20), "{windows:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_rule_begins_anew_and_one_that_is_gone_is_forgotten() {
    let floor = Floor::open().await;
    let id = function("probe-time", "some").evaluator();
    floor.deploy("probe-time", &manifest(&on("some", "batch = { max = 3, within = \"1h\" }"))).await;
    floor.append(vec![measured("t", 0, "1"), measured("t", 1, "2")]).await;
    settled(&floor, "some").await;
    floor.deploy("probe-time", &manifest(&on("some", "every = 2"))).await;
    floor.append(vec![measured("t", 2, "3"), measured("t", 3, "4"), measured("t", 4, "5")]).await;
    let second = told_of(&floor, 1).await;
    assert_eq!(second[0]["reading"]["value"]["json"], "4", "what was kept for the old rule is of the old rule");
    assert!(floor.ledger.position(&id).unwrap().is_some());
    floor.deploy("probe-time", &manifest("[[on]]\nname = \"seldom\"\nschedule = \"@yearly\"")).await;
    assert_eq!(floor.ledger.position(&id).unwrap(), None);
    assert!(floor.ledger.state_entries(&id.app, "", None, 10).unwrap().is_empty());
    floor.dispatch.forget(&app("probe-time")).await.unwrap();
    assert_eq!(floor.ledger.functions().unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_is_changed_looks_at_nothing_a_second_time() {
    let floor = Floor::open().await;
    floor.deploy("probe-time", &manifest(&on("warm", "threshold = { above = 8, hysteresis = 1 }"))).await;
    // For the first rule this is nothing, and so nothing of it has to be durable at once.
    floor.append(vec![measured("temp", 0, "5")]).await;
    settled(&floor, "warm").await;
    floor.deploy("probe-time", &manifest(&on("warm", "threshold = { above = 4, hysteresis = 1 }"))).await;
    settled(&floor, "warm").await;
    assert_eq!(told(&floor), Vec::<Json>::new());
    floor.append(vec![measured("temp", 60, "6")]).await;
    assert_eq!(told_of(&floor, 1).await[0]["reading"]["value"], serde_json::json!({ "json": "6" }));
}
