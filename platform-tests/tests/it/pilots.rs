//! Recorded readings through two functions: what comes out equals what a few lines of Python compute from the files.

use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};
use tawi_platform_tests::{App, Ledger, Node, Ran, repo, sample, wait::LATER, wait_for};

const THRESHOLD: f64 = 60.0;

/// What pilots.py prints. Keys are `DEVICE/SENSOR` and `DEVICE/SENSOR/DAY`.
#[derive(Debug, Deserialize)]
struct Expected {
    alerts: BTreeMap<String, u64>,
    days: BTreeMap<String, Day>,
    sensors: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
struct Day {
    count: u64,
    sum: f64,
    #[serde(default)]
    mean: Option<f64>,
}

#[test]
fn recorded_readings_come_out_as_python_computes_them_on_the_embedded_ledger() {
    recorded_readings_come_out_as_python_computes_them(Ledger::Embedded);
}

#[test]
fn recorded_readings_come_out_as_python_computes_them_on_jetstream() {
    recorded_readings_come_out_as_python_computes_them(Ledger::Jetstream);
}

fn recorded_readings_come_out_as_python_computes_them(ledger: Ledger) {
    let node = Node::on(ledger);
    let dir: PathBuf = sample::pilots_dir().unwrap_or_else(|| {
        let made = node.scratch().join("recordings");
        sample::make(&made);
        made
    });
    let expected = expected(&dir);
    App::prebuilt("threshold-alert").push(&node);
    App::prebuilt("daily-average").push(&node);
    node.set_config("threshold-alert", "threshold", &THRESHOLD.to_string());
    let alerts = node.subscribe("alerts.>");

    for recording in sample::recordings(&dir) {
        node.replay(&recording.path, &recording.device, &recording.sensor);
    }
    // One alert for each reading above the threshold, and then that of a last reading, behind all the others.
    node.wait_until_idle("threshold-alert");
    node.client().reading("zzz", "last", THRESHOLD + 1.0);
    let mut seen: BTreeMap<String, u64> = expected.alerts.keys().map(|sensor| (sensor.clone(), 0)).collect();
    for alert in alerts.until(|alert| alert["subject"] == "alerts.zzz.last") {
        let value = &alert["value"];
        *seen.entry(format!("{}/{}", value["device"].as_str().unwrap(), value["sensor"].as_str().unwrap())).or_default() += 1;
    }
    assert_eq!(seen.remove("zzz/last"), Some(1));
    assert_eq!(seen, expected.alerts);

    node.wait_until_idle("daily-average");
    let mut days = averages(&node);
    days.retain(|key, _| !key.starts_with("zzz/"));
    assert_eq!(days.keys().collect::<Vec<_>>(), expected.days.keys().collect::<Vec<_>>());
    for (key, day) in &days {
        let wanted = &expected.days[key];
        assert_eq!(day.count, wanted.count, "{key}");
        assert!(close(day.sum, wanted.sum), "{key}: {} and {}", day.sum, wanted.sum);
        assert!(close(day.sum / day.count as f64, wanted.mean.unwrap()), "{key}");
    }

    let total: u64 = expected.sensors.values().sum();
    wait_for("history to have it all", LATER, || node.history_count("kind:reading AND NOT device:zzz"), |n| *n == total);
    for (key, count) in &expected.sensors {
        let (device, sensor) = key.split_once('/').unwrap();
        assert_eq!(node.history_count(&format!("kind:reading AND device:{device} AND sensor:{sensor}")), *count, "{key}");
    }
}

/// Sums are added up in the order of the file on both sides; what is left is the last bit of a printed number.
fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs().max(1.0)
}

fn expected(dir: &Path) -> Expected {
    let script = repo::root().join("platform-tests/pilots.py");
    let ran = Ran::run(Command::new("python3").arg(script).arg(dir).arg(THRESHOLD.to_string())).ok();
    serde_json::from_str(&ran.stdout).unwrap()
}

/// What daily-average holds, by `DEVICE/SENSOR/DAY`.
fn averages(node: &Node) -> BTreeMap<String, Day> {
    let entries = node.state_entries("daily-average", "day/");
    entries.into_iter().map(|(key, day)| (key["day/".len()..].to_owned(), day_of(day))).collect()
}

fn day_of(value: serde_json::Value) -> Day {
    // A listing may show a value as text or as the JSON that it is.
    match value {
        serde_json::Value::String(text) => serde_json::from_str(&text).unwrap(),
        json => serde_json::from_value(json).unwrap(),
    }
}
