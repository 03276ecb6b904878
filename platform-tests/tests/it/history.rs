//! Everything that passed, found again.

use serde_json::json;
use tawi_platform_tests::{
    App, Node,
    operator::{number, text},
    wait::SOON,
    wait_for,
};

#[test]
fn readings_are_found_by_device_value_and_time() {
    let node = Node::start();
    let client = node.client();
    for day in 1..=5 {
        client.reading_at("fridge1", "temp", 2 * day, &format!("2026-01-0{day}T12:00:00Z"));
        client.reading_at("fridge.2", "temp", 20 + day, &format!("2026-01-0{day}T12:00:00Z"));
    }
    client.reading_at("door", "state", "open since noon", "2026-01-03T12:00:01Z");
    node.wait_for_history("", 11);

    for (query, count) in [
        ("device:fridge1", 5),
        ("device:fridge1 AND value:>8", 1),
        ("device:fridge1 AND value:>=8", 2),
        ("value:[4 TO 8]", 3),
        ("device:fridge.2 AND value:<23", 2),
        ("sensor:temp", 10),
        ("device:fridge1 OR device:door", 6),
        ("device:door AND \"since noon\"", 1),
        ("NOT device:door", 10),
        ("device:nobody", 0),
    ] {
        assert_eq!(node.history_count(query), count, "{query}");
    }
    let found = node.history("device:fridge1");
    let values: Vec<u64> = found.iter().map(|hit| number(hit, "value")).collect();
    assert_eq!(values, [10, 8, 6, 4, 2], "newest first");
    assert_eq!(text(&found[0], "measured"), "2026-01-05T12:00:00Z");

    let window = node.history_page("sensor:temp", &["--from", "2026-01-02T12:00:00Z", "--to", "2026-01-03T12:00:00Z"]);
    assert_eq!(window.len(), 2, "from is inclusive, to exclusive: {window:?}");
    let page = |offset: &str| node.history_page("device:fridge1", &["--limit", "2", "--offset", offset]);
    assert_eq!(page("2").iter().map(|hit| number(hit, "value")).collect::<Vec<_>>(), [6, 4]);
    assert_eq!(page("4").len(), 1);
}

#[test]
fn a_wrong_question_is_answered_with_its_place() {
    let node = Node::start();
    let refused = node.tawi(&["history", "device:fridge1 AND ("]).refused();
    assert!(refused.stderr.contains("hint") || refused.stderr.contains("column") || refused.stderr.contains('^'), "{refused}");
    node.tawi(&["history", "colour:blue"]).refused();
    node.tawi(&["history", "x", "--from", "yesterday-ish"]).refused();
}

#[test]
fn log_lines_of_functions_are_history_too() {
    let node = Node::start();
    let app = App::prebuilt("probe-log");
    app.push(&node);
    node.client().post(&app.run_path("/warn"), "the well runs dry").expect(200);
    wait_for("the log line", SOON, || node.history("kind:log AND \"runs dry\""), |hits| hits.len() == 1);
    assert_eq!(node.history_count("kind:log AND level:warn AND app:probe-log"), 1);
}

#[test]
fn history_is_whole_after_a_kill_and_nothing_is_in_it_twice() {
    let mut node = Node::start();
    for round in 1..=3_u64 {
        node.client().readings("d", "s", (0..500).map(|i| round * 1000 + i));
        node.kill9();
        node.start_again();
        node.wait_for_history("device:d", 500 * round);
    }
    node.restart();
    node.wait_for_history("device:d", 1500);
    assert_eq!(node.history_count("device:d AND value:1000"), 1);
}

/// Months of readings in one file must not cost an open writer for each day.
#[test]
fn a_back_fill_over_months_is_found() {
    let node = Node::start();
    let day = |i: i64| jiff::Timestamp::from_second(1_500_000_000 + 86_400 * i).unwrap().to_string();
    let list: Vec<_> = (0..400).map(|i| json!({"value": i, "timestamp": day(i)})).collect();
    node.client().post(&tawi_platform_tests::http::values_path("old", "s"), json!(list).to_string()).expect(204);
    node.wait_for_history("device:old", 400);
    let newest = node.history_page("device:old", &["--limit", "1"]);
    assert_eq!(number(&newest[0], "value"), 399);
}

#[test]
fn a_function_reads_history() {
    let node = Node::start();
    let (probe, page) = (App::prebuilt("probe-history"), App::prebuilt("history-page"));
    probe.push(&node);
    page.push(&node);
    let client = node.client();
    client.readings("fridge1", "temp", [4.0, 9.5, 12.0]);
    node.wait_for_history("device:fridge1", 3);

    let answer = client.get(&probe.run_path("/?q=device:fridge1%20AND%20value:%3E8&limit=1")).expect(200).json();
    assert_eq!((&answer["count"], answer["found"].as_array().unwrap().len()), (&json!(2), 1));
    assert_eq!(answer["found"][0]["value"], "12.0");
    let html = client.get(&page.run_path("/?q=device:fridge1")).expect(200).text();
    assert!(html.contains("3 found"), "{html}");
    client.get(&page.run_path("/?q=colour:blue")).expect(400);
}
