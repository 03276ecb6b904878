//! What a function says, for its author.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};
use tawi_platform_tests::{
    App, Node,
    operator::{number, text},
};

#[test]
fn every_way_to_say_something_is_a_log_line() {
    let node = Node::start();
    let app = App::prebuilt("probe-log");
    app.push(&node);
    let client = node.client();
    for way in ["trace", "debug", "info", "warn", "error", "stdout", "stderr"] {
        client.post(&app.run_path(&format!("/{way}")), format!("by {way}")).expect(200);
        let line = node.wait_for_log("probe-log", &format!("by {way}"));
        if !way.starts_with("std") {
            assert_eq!(text(&line, "level"), way);
        }
    }
    let messages: Vec<String> = node.logs("probe-log").iter().map(|l| text(l, "message")).collect();
    let first = messages.iter().position(|m| m.contains("by trace")).unwrap();
    assert!(messages[first..].iter().any(|m| m.contains("by stderr")), "oldest first: {messages:?}");
}

/// Log lines are no effects: those of a call that failed are what one wants to read.
#[test]
fn lines_of_a_call_that_failed_are_kept() {
    let node = Node::start();
    let (app, trap) = (App::prebuilt("probe-log"), App::prebuilt("bad-trap"));
    app.push(&node);
    trap.push(&node);
    node.client().post(&app.run_path("/fail"), "before the end").problem(500);
    node.wait_for_log("probe-log", "before the end");
    node.client().reading("d", "bad", 1);
    let dead = node.wait_for_dead("bad-trap", 1);
    let lines = node.logs("bad-trap");
    let tries = lines.iter().filter(|l| text(l, "message").contains("about to trap")).count();
    assert_eq!(tries, 2, "one for each attempt: {lines:?}");
    assert!(node.dead_show(&dead[0]).to_string().contains("about to trap"));
}

#[test]
fn an_endless_talker_is_cut_and_the_cut_is_named() {
    let node = Node::start();
    let app = App::prebuilt("bad-output");
    app.push(&node);
    node.client().reading("d", "bad", 1);
    let dead = node.wait_for_dead("bad-output", 1);
    assert!(number(&node.dead_show(&dead[0]), "attempts") == 2);
    let lines = node.logs("bad-output");
    assert!(lines.len() <= 2 * 260, "{} lines", lines.len());
    assert!(lines.iter().any(|l| text(l, "message").contains("more")), "the last line counts what is missing: {:?}", lines.last());
}

#[test]
fn logs_can_be_followed() {
    let node = Node::start();
    let app = App::prebuilt("probe-log");
    app.push(&node);
    node.client().post(&app.run_path("/info"), "line 0").expect(200);
    node.wait_for_log("probe-log", "line 0");
    let mut follow = node.command().args(["logs", "probe-log", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut until = |part: &str| {
        for line in lines.by_ref() {
            if line.unwrap().contains(part) {
                return;
            }
        }
        panic!("`tawi logs -f` ended before `{part}`");
    };
    // It begins with the past, so that this shows it is there.
    until("line 0");
    node.client().post(&app.run_path("/info"), "line 1").expect(200);
    until("line 1");
    follow.kill().unwrap();
    follow.wait().unwrap();
}
