//! Rules that an app says in its manifest: they come and go with its release, and what they make of a sensor is made once.

use serde_json::Value;
use std::collections::BTreeMap;
use tawi_platform_tests::{App, Ledger, Node, wait::LATER, wait_for};

/// 2026-01-01T00:00Z.
const START: i64 = 1_767_225_600;
const MINUTE: i64 = 60;

const CELSIUS: &str =
    "[[clean]]\nname = \"celsius\"\ndevice = \"soil1\"\nsensor = \"temp\"\nsteps = [{ unit = { from = \"[degF]\", to = \"Cel\" } }]\n";
const FILLED: &str = "[[clean]]\nname = \"filled\"\ndevice = \"soil1\"\nsensor = \"temp\"\ninto = \"{sensor}_filled\"\nfill = { every = \"1m\", max_gap = \"1d\" }\n";
const HOURLY: &str = "[[clean]]\nname = \"hourly\"\ndevice = \"soil1\"\nsensor = \"temp_filled\"\ninto = \"temp_hourly\"\naggregate = { window = \"1h\", what = \"max\", idle = \"1d\" }\n";

fn app(rules: &str) -> App {
    let app = App::prebuilt("probe-time");
    write(&app, rules);
    app.commit("rules");
    app
}

fn write(app: &App, rules: &str) {
    let on = "[[on]]\nname = \"all\"\nsubject = \"nothing.here\"\nwindow = { tumbling = \"1m\" }\n";
    let grant = "[grant]\npublish = [\"told.>\"]\n[build]\ncomponent = \"app.wasm\"\n";
    app.write("tawi.toml", format!("[app]\nname = \"probe-time\"\n{on}{rules}{grant}"));
}

fn send(node: &Node, minute: i64, value: f64) {
    let time = jiff::Timestamp::from_second(START + minute * MINUTE).unwrap();
    node.client().reading_at("soil1", "temp", value, &time.to_string());
}

/// The readings of a sensor, by when they were measured: the values of each time, in the order of the log.
fn readings(node: &Node, sensor: &str) -> BTreeMap<String, Vec<(u64, Value)>> {
    let mut found: BTreeMap<String, Vec<(u64, Value)>> = BTreeMap::new();
    let path = format!("/api/v1/history?q=kind:reading%20sensor:{sensor}&limit=1000");
    for hit in node.client().get(&path).expect(200).json()["hits"].as_array().unwrap() {
        let at = hit["measured"].as_str().unwrap().to_owned();
        found.entry(at).or_default().push((hit["sequence"].as_u64().unwrap(), hit["value"].clone()));
    }
    found.values_mut().for_each(|values| values.sort_by_key(|(sequence, _)| *sequence));
    found
}

#[test]
fn each_reading_of_a_derived_sensor_is_made_once_however_often_the_node_is_killed() {
    derived_on_a_node_that_dies(Ledger::Embedded);
}

#[test]
fn each_reading_of_a_derived_sensor_is_made_once_over_jetstream_too() {
    derived_on_a_node_that_dies(Ledger::Jetstream);
}

fn derived_on_a_node_that_dies(ledger: Ledger) {
    let mut node = Node::on(ledger);
    app(&format!("{FILLED}{HOURLY}")).push(&node);
    // Seven minutes from one reading to the next, so six of each seven are made up.
    let last = 7 * 60;
    for minute in (0..=last).step_by(7) {
        send(&node, minute, minute as f64);
        if minute % 70 == 63 {
            node.kill9();
            node.start_again();
        }
    }
    let made = (last + 1) as u64;
    wait_for("every gap to be filled", LATER, || node.history_count("kind:reading sensor:temp_filled"), |count| *count >= made);
    wait_for("every hour to be told", LATER, || node.history_count("kind:reading sensor:temp_hourly"), |count| *count >= 7);
    let filled = readings(&node, "temp_filled");
    assert_eq!(filled.len() as u64, made);
    for (minute, (time, values)) in filled.iter().enumerate() {
        assert_eq!(*time, jiff::Timestamp::from_second(START + minute as i64 * MINUTE).unwrap().to_string());
        assert!(values.len() == 1 && (values[0].1.as_f64().unwrap() - minute as f64).abs() < 1e-9, "{time}: {values:?}");
    }
    let hourly = readings(&node, "temp_hourly");
    assert_eq!(hourly.len(), 7);
    for (hour, (time, values)) in hourly.iter().enumerate() {
        assert!(values.len() == 1 && (values[0].1.as_f64().unwrap() - (hour * 60 + 59) as f64).abs() < 1e-9, "{time}: {values:?}");
    }
    assert_eq!(node.history_count("filled linear"), made - 61, "what was made up says so");
}

#[test]
fn the_rules_of_an_app_are_those_of_the_release_that_lives() {
    let node = Node::start();
    let rules = || -> Vec<String> {
        let rows = node.tawi(&["clean", "list", "--json"]).ok().rows();
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    let app = app(CELSIUS);
    app.push(&node);
    send(&node, 0, 212.0);
    write(&app, FILLED);
    app.commit("degrees as they are");
    app.push(&node);
    assert_eq!(rules(), ["probe-time/filled"]);
    let list = node.tawi(&["clean", "list"]).ok().text();
    assert!(list.contains("tawi.toml of probe-time") && list.contains("makes {sensor}_filled: fill every 1m"), "{list}");
    send(&node, 1, 50.0);
    write(&app, &CELSIUS.replace("Cel", "m"));
    app.commit("what can't be");
    app.push_refused(&node, &["tawi.toml:11:", "`steps[0].unit`", "they measure different things"]);
    let closed = HOURLY.replace("temp_hourly", "temp");
    write(&app, &format!("{FILLED}{closed}"));
    app.commit("a circle");
    app.push_refused(&node, &["without end: probe-time/filled → probe-time/hourly → probe-time/filled"]);
    assert_eq!(rules(), ["probe-time/filled"], "what was refused changed nothing");
    node.tawi(&["rollback", "probe-time"]).ok();
    assert_eq!(rules(), ["probe-time/celsius"]);
    send(&node, 2, 212.0);
    node.wait_for_history("kind:reading sensor:temp", 3);
    let values: Vec<Value> = readings(&node, "temp").into_values().flatten().map(|(_, value)| value).collect();
    assert_eq!(values.iter().map(|value| value.as_f64().unwrap()).collect::<Vec<_>>(), [100.0, 50.0, 100.0]);
    assert!(node.tawi(&["clean", "remove", "probe-time/celsius"]).refused().text().contains("tawi.toml of `probe-time`"));
    node.tawi(&["apps", "delete", "probe-time", "--yes"]).ok();
    wait_for("the rules to go with their app", LATER, rules, Vec::is_empty);
}
