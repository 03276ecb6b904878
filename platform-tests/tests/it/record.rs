//! What happened on one node, recorded and sent to another.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, Stdio},
};
use tawi_platform_tests::{Node, http::values_path, operator::text};

/// `tawi record WORDS`, once it hears what happens; and what it says after that.
fn record(node: &Node, words: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut child = node.command().arg("record").args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut line, mut says) = (String::new(), BufReader::new(child.stderr.take().unwrap()));
    says.read_line(&mut line).unwrap();
    assert!(line.starts_with("recording"), "it says `{line}`");
    (child, says)
}

/// Device, sensor, value and time of what a node has of the pond, in the order in which it came.
fn pond(node: &Node) -> Vec<String> {
    let mut hits = node.history("device:pond*");
    hits.sort_by_key(|hit| hit["sequence"].as_u64());
    hits.iter().map(|hit| format!("{} {} {} {}", text(hit, "device"), text(hit, "sensor"), hit["value"], text(hit, "measured"))).collect()
}

#[test]
fn what_was_recorded_on_one_node_happens_on_another_and_a_broken_line_is_named() {
    let node = Node::start();
    let (child, mut says) = record(&node, &["--device", "pond.1", "--device", "pond2", "--count", "6", "--into", "pond.ndjson"]);
    let client = node.client();
    let send = |device: &str, sensor: &str, body: &str| {
        client.post(&values_path(device, sensor), body).expect(204);
    };
    // The digits that were sent, a device whose clock is ahead, one that brings in what is a day old, and one that nobody asked for.
    send("pond.1", "oxygen", r#"[{"value":6.10,"timestamp":"2026-05-01T08:00:00Z"},{"value":"5.90","timestamp":"2026-05-01T10:10:00Z"}]"#);
    send("fridge", "temp", r#"[{"value":4,"timestamp":"2026-05-01T08:00:00Z"}]"#);
    send("pond2", "oxygen", r#"[{"value":3.80,"timestamp":"2026-04-30T08:00:00Z"},{"value":3.7000,"timestamp":"2026-04-30T08:10:00Z"}]"#);
    send("pond.1", "state", r#"[{"value":{"door":"open","n":[1.50]},"timestamp":"2026-05-01T08:20:00Z"}]"#);
    send("pond.1", "oxygen", r#"[{"value":6.00,"timestamp":"2026-05-01T08:20:00Z"}]"#);
    let mut said = String::new();
    says.read_to_string(&mut said).unwrap();
    assert!(child.wait_with_output().unwrap().status.success(), "{said}");
    let file = node.scratch().join("pond.ndjson");
    let live = fs::read_to_string(&file).unwrap();
    assert!(live.contains(r#""value":6.10,"#) && live.contains(r#""value":3.7000,"#) && !live.contains("fridge"), "{live}");

    // Out of the history it is the same, to the byte, though that answers by the time of measuring.
    node.tawi(&["record", "--device", "pond.1", "--device", "pond2", "--from", "2026-04-01", "--into", "past.ndjson"]).ok();
    assert_eq!(fs::read_to_string(node.scratch().join("past.ndjson")).unwrap(), live);
    node.tawi(&["record", "--from", "2026-05-01", "--to", "2026-05-02", "--subject", "reading.*.oxygen", "--into", "may.ndjson"]).ok();
    assert_eq!(fs::read_to_string(node.scratch().join("may.ndjson")).unwrap().lines().count(), 1 + 3);

    let other = Node::start();
    let path = file.to_str().unwrap();
    other.tawi(&["replay", path, "--speed", "1000x", "--once"]).ok();
    other.wait_for_history("", 6);
    assert_eq!(pond(&other), pond(&node));
    let again = other.tawi(&["replay", path, "--speed", "1000x", "--once", "--json"]).ok().json();
    assert_eq!((again["sent"].as_u64(), again["repeated"].as_u64()), (Some(6), Some(6)));

    let broken = live.replacen(r#""sensor":"oxygen","value":3.80"#, r#""value":3.80"#, 1);
    fs::write(&file, broken).unwrap();
    let refused = other.tawi(&["replay", path]).refused();
    assert!(refused.stderr.contains("line 4: a reading has a `sensor`") && refused.stderr.contains("nothing was sent"), "{refused}");
    let refused = other.tawi(&["replay", path, "--device", "d", "--sensor", "s"]).refused();
    assert!(refused.stderr.contains("is a trace, which names its devices"), "{refused}");
    assert_eq!(other.history_count(""), 6);
}
