//! The past run again, from outside: the command, the file it writes, and a node that dies while it runs.

use serde_json::Value;
use std::fs;
use tawi_platform_tests::{App, Node, http::READINGS_PATH, operator::text, wait::LATER, wait_for};

/// 2026-01-01T00:00Z.
const START: i64 = 1_767_225_600;

fn line(n: usize) -> String {
    let time = jiff::Timestamp::from_second(START + n as i64).unwrap();
    let value = if n.is_multiple_of(4) { 9 } else { 4 };
    format!("{{\"device\":\"fridge{}\",\"sensor\":\"temp\",\"value\":{value}.{:05},\"timestamp\":\"{time}\"}}\n", n % 50, n)
}

fn send(node: &Node, count: usize) {
    for from in (0..count).step_by(2_000) {
        let body: String = (from..count.min(from + 2_000)).map(line).collect();
        node.client().post(READINGS_PATH, body).expect(204);
    }
}

#[test]
fn a_new_release_is_tried_on_last_week_and_its_output_lies_beside_what_was_said_then() {
    let node = Node::start();
    let app = App::prebuilt("threshold-alert");
    app.push(&node);
    send(&node, 400);
    node.wait_until_idle("threshold-alert");
    // The threshold of the next release is another; what is live says nothing again.
    app.replace("tawi.toml", "threshold = \"8\"", "threshold = \"9.002\"");
    app.commit("a higher threshold");
    app.push(&node);

    let file = node.scratch().join("out.ndjson");
    let replay = |function: &str, more: &[&str]| {
        let words = [&["replay", "--function", function, "--into", file.to_str().unwrap()], more].concat();
        let ran = node.tawi(&words).ok();
        let rows: Vec<Value> = fs::read_to_string(&file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (ran.stderr.clone(), rows)
    };
    let (said, first) = replay("alert@1", &[]);
    assert!(said.contains("replay 1 of threshold-alert/alert in release 1") && said.contains("100 lines"), "{said}");
    node.wait_for_history("kind:message", 100);
    let mut live = node.history_page("kind:message", &["--limit", "1000"]);
    live.sort_by_key(|hit| hit["cause"].as_u64());
    let of = |row: &Value| (text(row, "subject"), text(row, "measured"), row["value"].to_string());
    assert_eq!(first.iter().map(of).collect::<Vec<_>>(), live.iter().map(of).collect::<Vec<_>>());

    let (_, second) = replay("alert", &["--app", "threshold-alert"]);
    assert_eq!(
        second.len(),
        49,
        "values above 9.00200, which every fourth of the second half is but the first: those of the current release"
    );
    let (_, hour) = replay("alert@1", &["--from", "2026-01-01T00:01:00Z", "--to", "2026-01-01T00:02:00Z"]);
    assert_eq!(hour.len(), 15);
    assert_eq!(node.history_count("kind:message"), 100, "nothing of it is said now");

    let list = node.tawi(&["replays", "list", "threshold-alert"]).ok();
    assert!(list.stdout.contains("alert@2") && list.stdout.contains("done"), "{list}");
    let again = node.tawi(&["replays", "output", "threshold-alert", "1"]).ok();
    assert_eq!(again.stdout.lines().count(), 100);
    node.tawi(&["replays", "forget", "threshold-alert", "1"]).ok();
    node.tawi(&["replays", "output", "threshold-alert", "1"]).refused();
    node.tawi(&["replay", "--function", "alert@99"]).refused();
    let refused = node.tawi(&["replay", "--function", "alarm"]).refused();
    assert!(refused.stderr.contains("no function `alarm`"), "{refused}");
}

#[test]
fn a_replay_survives_its_node_and_its_file_is_whole() {
    const READINGS: usize = 120_000;
    let mut node = Node::start();
    App::prebuilt("threshold-alert").push(&node);
    send(&node, READINGS);
    node.wait_until_idle("threshold-alert");
    let file = node.scratch().join("out.ndjson");
    let path = "/api/v1/apps/threshold-alert/replays";
    let asked = node.client().post(path, "{\"function\":\"alert\"}").expect(201).json();
    assert_eq!(asked["replay"], 1);
    let one = format!("{path}/1");
    let mut before = 0;
    for _ in 0..2 {
        let moved = wait_for(
            "the replay to get on",
            LATER,
            || node.client().get(&one).json(),
            |job| job["state"] == "done" || job["through"].as_u64().is_some_and(|through| through > before),
        );
        if moved["state"] == "done" {
            break;
        }
        before = moved["through"].as_u64().unwrap();
        node.kill9();
        node.start_again();
    }
    assert!(before > 0, "it was killed while it ran");
    let fetched = node.tawi(&["replays", "output", "threshold-alert", "1", "--into", file.to_str().unwrap()]).ok();
    assert!(fetched.stderr.contains("30000 lines"), "{fetched}");
    let rows: Vec<Value> = fs::read_to_string(&file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), READINGS / 4);
    assert!(rows.is_sorted_by_key(|row| row["event"].as_u64()), "in the order in which they came, each once");
    let expected = |n: usize| format!("2026-01-01T{:02}:{:02}:{:02}Z", n / 3_600, n / 60 % 60, n % 60);
    let wrong = rows.iter().enumerate().find(|(n, row)| {
        let n = n * 4;
        n < 86_400 && text(row, "measured") != expected(n)
    });
    assert_eq!(wrong, None);
}
