//! The story of `docs/guide/pond.md`, step by step.

use std::fs;
use tawi_platform_tests::{App, Node, operator::text, repo, wait::LATER, wait_for};

const RULE: &str = "name = \"pond-oxygen\"\ndevice = \"pond2\"\nsensor = \"oxygen\"\nsteps = [{ range = { min = 0, max = 20 } }]\n";

#[test]
fn the_five_days_at_a_fish_pond_are_as_the_guide_tells_them() {
    let node = Node::start();
    let guide = repo::root().join("docs/guide");
    let page = fs::read_to_string(guide.join("pond.md")).unwrap();
    let told = |line: &str| assert!(page.contains(line), "the guide does not say: {line}");
    for line in RULE.lines() {
        told(line);
    }
    let rule = node.scratch().join("pond.toml");
    fs::write(&rule, RULE).unwrap();
    node.tawi(&["clean", "set", rule.to_str().unwrap()]).ok();

    let app = App::prebuilt("pond-watch");
    app.push(&node);
    let sent = node.tawi(&["replay", guide.join("pond.ndjson").to_str().unwrap()]).ok();
    assert!(sent.stdout.contains("708 readings"), "{sent}");
    node.wait_for_history("kind:dropped", 1);
    let dropped = node.history("kind:dropped");
    assert_eq!(dropped.len(), 1);
    assert_eq!((dropped[0]["value"].to_string(), text(&dropped[0], "measured")), ("99.9".to_owned(), "2026-05-07T12:00:20Z".to_owned()));

    node.wait_for_history("kind:message", 2);
    for message in node.history("kind:message") {
        told(&message["value"].to_string());
    }
    let mut aerator: Vec<String> = node.history("kind:command").iter().map(|command| command["value"]["value"].to_string()).collect();
    aerator.sort();
    assert_eq!(aerator, ["\"off\"", "\"on\""]);
    let state = || node.state_entries("pond-watch", "day/");
    let days = wait_for("the means of four days", LATER, state, |days| days.len() == 8);
    for (key, value) in days.iter().filter(|(key, _)| key.starts_with("day/2026-05-07")) {
        told(&format!("{key}  {value}"));
    }

    app.manifest(|manifest| {
        for entry in manifest["on"].as_array_mut().unwrap() {
            if let Some(silence) = entry.get_mut("silence") {
                *silence = "90m".into();
            }
            if let Some(threshold) = entry.get_mut("threshold") {
                (threshold["below"], threshold["hysteresis"]) = (4.8.into(), 0.5.into());
            }
        }
    });
    app.commit("be told earlier");
    app.push(&node);
    let replay = |words: &[&str]| node.tawi(&[&["replay", "--app", "pond-watch"], words].concat()).ok().stdout;
    for (function, alerts) in [("low@1", 2), ("low@2", 12)] {
        let said = replay(&["--function", function]);
        assert_eq!(said.lines().filter(|line| line.contains("alerts")).count(), alerts, "{function}: {said}");
    }
    let silent = replay(&["--function", "silent", "--by-measured", "--from", "2026-05-04", "--to", "2026-05-09"]);
    assert_eq!(silent.lines().count(), 2);
    silent.lines().for_each(told);
    assert_eq!(node.history("kind:message").len(), 2, "nobody was disturbed: {:?}", node.history("kind:message"));
}
