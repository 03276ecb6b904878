//! From an event in the log to its effects in the log: real engine, real guests, real embedded ledger.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use support::{Floor, app, function, reading};
use tawi_runtime::model::Kind;

const ALERT: &str = r#"
[app]
name = "threshold-alert"
[[on]]
name = "alert"
subject = "reading.>"
[grant]
publish = ["alerts.>"]
config = true
[config]
threshold = "8"
"#;

const AVERAGE: &str = r#"
[app]
name = "daily-average"
[[on]]
name = "count"
subject = "reading.>"
order = "ORDER"
[grant]
state = true
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_above_the_threshold_become_alerts_in_the_log() {
    let floor = Floor::open().await;
    floor.deploy("threshold-alert", ALERT).await;
    floor.append(vec![reading("fridge1", "temp", "9.5"), reading("fridge1", "temp", "3"), reading("fridge2", "temp", "\"8.5\"")]).await;
    let alerts = floor.events(Kind::Message, 2).await;
    floor.settled(&function("threshold-alert", "alert")).await;
    let mut subjects: Vec<&str> = alerts.iter().map(|event| event.subject.as_str()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["alerts.fridge1.temp", "alerts.fridge2.temp"]);
    assert_eq!(floor.all(Kind::Message).len(), 2);
    let cause = alerts[0].cause.as_ref().unwrap();
    assert_eq!((cause.app.as_str(), cause.function.as_str()), ("threshold-alert", "alert"));
}

/// Eight devices write one key: calls run in parallel, and yet the count is exact.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_key_counts_every_event_once() {
    for order in ["device", "none"] {
        let floor = Floor::open().await;
        floor.deploy("daily-average", &AVERAGE.replace("ORDER", order)).await;
        for round in 0..10 {
            // One device id in eight spellings would be eight lines; the key in the state is the device's, so share the device.
            let device = if order == "none" { "hot".to_owned() } else { format!("d{}", round % 2) };
            floor.append((0..100).map(|_| reading(&device, "temp", "1")).collect()).await;
        }
        floor.settled(&function("daily-average", "count")).await;
        let entries = floor.ledger.state_entries(&app("daily-average"), "day/", None, 100).unwrap();
        let counts: u64 = entries.iter().map(|(_, value)| serde_json::from_slice::<serde_json::Value>(value).unwrap()["count"].as_u64().unwrap()).sum();
        assert_eq!(counts, 1_000, "order {order}: {entries:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_the_last_commit_was() {
    let mut floor = Floor::open().await;
    floor.deploy("daily-average", &AVERAGE.replace("ORDER", "device")).await;
    for _ in 0..3 {
        floor.append((0..200).map(|n| reading(&format!("d{}", n % 7), "temp", "2")).collect()).await;
        // Somewhere in the middle of the work.
        floor = Floor::open_in(floor.crash().await).await;
        floor.reconciler.round().await;
    }
    floor.settled(&function("daily-average", "count")).await;
    let entries = floor.ledger.state_entries(&app("daily-average"), "", None, 100).unwrap();
    let sums: BTreeMap<String, f64> = entries
        .iter()
        .map(|(key, value)| (key.clone(), serde_json::from_slice::<serde_json::Value>(value).unwrap()["sum"].as_f64().unwrap()))
        .collect();
    assert_eq!(sums.values().sum::<f64>(), 1_200.0, "{sums:?}");
}
