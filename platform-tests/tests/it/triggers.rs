//! Triggers that time makes, on a node that dies now and then.

use std::collections::BTreeMap;
use tawi_platform_tests::{App, Ledger, Node, http::READINGS_PATH, wait::LATER, wait_for};

const MINUTES: usize = 40;
const SENSORS: usize = 5;
/// 2026-01-01T00:00Z, the start of a minute.
const START: i64 = 1_767_225_600;

#[test]
fn each_window_is_told_once_and_whole_however_often_the_node_is_killed() {
    windows_of_a_node_that_dies(Ledger::Embedded);
}

#[test]
fn each_window_is_told_once_and_whole_over_jetstream_too() {
    windows_of_a_node_that_dies(Ledger::Jetstream);
}

fn windows_of_a_node_that_dies(ledger: Ledger) {
    let mut node = Node::on(ledger);
    let app = App::prebuilt("probe-time");
    let window = "[[on]]\nname = \"minutes\"\nsubject = \"reading.>\"\nwindow = { tumbling = \"1m\", idle = \"1d\" }\n";
    app.write(
        "tawi.toml",
        format!("[app]\nname = \"probe-time\"\n{window}[grant]\npublish = [\"told.>\"]\n[build]\ncomponent = \"app.wasm\"\n"),
    );
    app.commit("windows of a minute");
    app.push(&node);
    let mut sent = 0;
    for minute in 0..=MINUTES {
        // The last one only ends the others.
        let body: String = (0..SENSORS * 6).map(|n| line(minute, n)).collect();
        node.client().post(READINGS_PATH, body).expect(204);
        sent += if minute < MINUTES { SENSORS * 6 } else { 0 };
        if minute % 8 == 7 {
            node.kill9();
            node.start_again();
        }
    }
    let expected = (MINUTES * SENSORS) as u64;
    let query = "kind:message AND subject:told.window.minutes";
    wait_for("every window to be told", LATER, || node.history_count(query), |count| *count >= expected);
    node.wait_until_idle("probe-time");
    let path = format!("/api/v1/history?q={}&limit=1000", query.replace(' ', "%20"));
    let page = node.client().get(&path).expect(200).json();
    let mut windows: BTreeMap<String, u64> = BTreeMap::new();
    for hit in page["hits"].as_array().unwrap() {
        let told = &hit["value"];
        assert_eq!(told["revision"], 0, "{told}");
        *windows.entry(format!("{} {}", told["sensor"], told["start"])).or_default() += told["aggregate"]["readings"].as_u64().unwrap();
    }
    assert_eq!(page["total"].as_u64(), Some(expected));
    assert_eq!(windows.len() as u64, expected, "a window was told twice");
    assert!(windows.values().all(|readings| *readings == 6), "{windows:?}");
    assert_eq!(windows.values().sum::<u64>(), sent as u64);
}

/// One reading: each sensor has six in a minute.
fn line(minute: usize, n: usize) -> String {
    let (sensor, tenth) = (n % SENSORS, n / SENSORS);
    let time = jiff::Timestamp::from_second(START + (minute * 60 + tenth * 10) as i64).unwrap();
    format!("{{\"device\":\"d\",\"sensor\":\"s{sensor}\",\"value\":{tenth},\"timestamp\":\"{time}\"}}\n")
}
