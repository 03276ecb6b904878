//! Functions that do what they should not. Their call ends, everybody else goes on.

use serde_json::json;
use std::time::{Duration, Instant};
use tawi_platform_tests::{App, Node, wait::SOON, wait_for};

/// While a function misbehaves, another one counts every reading, and the node stays small and answers.
fn others_go_on_beside(function: &str, value: serde_json::Value, error: &[&str]) {
    let node = Node::start();
    let (bad, good) = (App::prebuilt(function), App::prebuilt("daily-average"));
    bad.push(&node);
    good.push(&node);
    let client = node.client();
    client.reading_at("sick", "bad", value, "2026-01-31T08:30:00Z");
    for n in 0..50 {
        client.reading_at("well", "temp", n, "2026-01-31T08:30:00Z");
    }
    let count = || node.state("daily-average", "day/well/temp/2026-01-31").unwrap_or_default();
    wait_for("the good function to count them all", SOON, count, |day| day.contains("\"count\":50"));

    let dead = node.wait_for_dead(function, 1);
    assert_eq!(dead[0].function, "event");
    assert!(error.iter().any(|word| dead[0].error.contains(word)), "{dead:?} says none of {error:?}");
    client.get("/health/ready").expect(200);
    assert!(node.resident_bytes() < 1 << 30, "{} bytes resident", node.resident_bytes());
}

#[test]
fn a_trap_ends_its_call() {
    others_go_on_beside("bad-trap", json!(1), &["trap", "unreachable", "panic"]);
}

#[test]
fn an_endless_loop_ends_with_its_time() {
    others_go_on_beside("bad-loop", json!(1), &["1 s", "1s", "time"]);
}

#[test]
fn a_memory_hog_ends_at_its_limit() {
    others_go_on_beside("bad-memory", json!(1), &["16 MiB", "16MiB", "memory"]);
}

#[test]
fn endless_output_ends_with_its_time() {
    others_go_on_beside("bad-output", json!(1), &["1 s", "1s", "time"]);
}

#[test]
fn nonsense_is_refused_by_name() {
    for (value, error) in [("json", "JSON"), ("subject", "garbage..*.>"), ("reserved", "reading"), ("long", "limit"), ("many", "limit")] {
        others_go_on_beside("bad-garbage", json!(value), &[error, "bytes", "effects"]);
    }
}

#[test]
fn a_reason_full_of_control_characters_reaches_no_terminal() {
    let node = Node::start();
    App::prebuilt("bad-garbage").push(&node);
    node.client().reading("sick", "bad", "reason");
    node.wait_for_dead("bad-garbage", 1);
    let shown = node.tawi(&["dead", "list", "bad-garbage"]).ok().stdout;
    assert!(!shown.contains('\u{1b}') && !shown.contains('\0'), "{shown:?}");
    assert!(shown.len() < 64 * 1024, "{} bytes", shown.len());
}

#[test]
fn a_request_to_a_function_that_misbehaves_gets_an_answer_in_time() {
    let node = Node::start();
    let client = node.client().with_token(None);
    for function in ["bad-loop", "bad-memory", "bad-trap"] {
        let app = App::prebuilt(function);
        app.push(&node);
        let start = Instant::now();
        let status = client.get(&app.run_path("/")).status;
        assert!(matches!(status, 500 | 504), "{function} answered {status}");
        assert!(start.elapsed() < Duration::from_secs(20), "{function} took {:?}", start.elapsed());
    }
    let app = App::prebuilt("bad-output");
    app.push(&node);
    // An endless body ends when the call's time is up; endless logs or output are a failed call.
    let endless = client.open("GET", &app.run_path("/"), &[], b"").unwrap();
    assert!(std::io::copy(&mut endless.into_body().into_reader(), &mut std::io::sink()).is_err(), "an endless body came to a good end");
    for path in ["/log", "/print"] {
        let status = client.get(&app.run_path(path)).status;
        assert!(matches!(status, 500 | 504), "{path} answered {status}");
    }
    let app = App::prebuilt("bad-garbage");
    app.push(&node);
    for path in ["/status", "/switch", "/length", "/hop", "/header"] {
        // Whatever came of it, the next request on a new connection is served.
        let _ = client.try_send("GET", &app.run_path(path), &[], b"");
    }
    assert_eq!(client.get(&app.run_path("/fine")).expect(200).text(), "ten bytes.");
}

/// More loops at once than there are processors, and the node still answers devices.
#[test]
fn a_crowd_of_loops_does_not_stop_intake() {
    let node = Node::start();
    App::prebuilt("bad-loop").push(&node);
    let client = node.client();
    for n in 0..16 {
        client.reading(&format!("sick{n}"), "bad", n);
    }
    for n in 0..20 {
        let start = Instant::now();
        client.reading("well", "temp", n);
        assert!(start.elapsed() < Duration::from_secs(5), "a reading took {:?}", start.elapsed());
    }
    node.wait_for_dead("bad-loop", 16);
}
