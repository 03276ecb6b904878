//! Limits of a call that no other story comes across. docs/LIMITS.md lists all of them.

use serde_json::json;
use tawi_platform_tests::{App, Node, load::Connection, operator::text};

fn node_with(function: &str) -> (Node, App) {
    let node = Node::start();
    let app = App::prebuilt(function);
    app.push(&node);
    (node, app)
}

#[test]
fn a_subject_has_a_longest() {
    let (node, app) = node_with("probe-publish");
    let publish = |bytes: usize| {
        let subject = format!("probe.{}", "x".repeat(bytes - "probe.".len()));
        node.client().post(&app.run_path("/"), json!({ "subject": subject }).to_string()).expect(200).json()
    };
    assert_eq!(publish(1024), json!("ok"));
    assert_eq!(publish(1025)["kind"], "Invalid");
}

#[test]
fn the_effects_of_a_call_fit_one_message_of_the_log() {
    let (node, app) = node_with("probe-publish");
    let publish = |times: u32| {
        let order = json!({ "subject": "probe.x", "value": "x".repeat(60_000), "times": times });
        node.client().post(&app.run_path("/"), order.to_string()).expect(200).json()
    };
    assert_eq!(publish(8), json!("ok"));
    let over = publish(9);
    assert_eq!(over["kind"], "Limit", "{over}");
    assert!(over["reason"].as_str().unwrap().contains("524288"), "{over}");
}

#[test]
fn a_long_log_line_is_cut() {
    let (node, app) = node_with("probe-log");
    node.client().post(&app.run_path("/info"), format!("begin{}", "x".repeat(5000))).expect(200);
    let line = text(&node.wait_for_log("probe-log", "begin"), "message");
    assert!((4000..=4200).contains(&line.len()), "{} bytes", line.len());
}

/// More entries than one host call answers with: the SDK asks again.
#[test]
fn a_long_listing_of_state_comes_in_pages() {
    let (node, app) = node_with("probe-state");
    let client = node.client();
    let list: String = (0..1_500).map(|i| format!("{{\"device\":\"d{i}\",\"sensor\":\"state\",\"value\":1}}\n")).collect();
    client.post(tawi_platform_tests::http::READINGS_PATH, list).expect(204);
    node.wait_until_idle("probe-state");
    let all = client.get(&app.run_path("/?prefix=count/")).expect(200).json();
    assert_eq!(all.as_array().unwrap().len(), 1_500);
    assert_eq!(node.state_entries("probe-state", "count/").len(), 1_500);
}

#[test]
fn a_request_to_a_function_has_a_largest_body() {
    let (node, app) = node_with("probe-http");
    let head = format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", app.run_path("/length"), (64 << 20) + 1);
    let mut connection = Connection::open(node.authority().parse().unwrap()).unwrap();
    let (status, body) = connection.ask(head.as_bytes()).unwrap();
    assert_eq!(status, 413, "{}", String::from_utf8_lossy(&body));
    node.client().get(&app.run_path("/request")).expect(200);
}

/// A call that meets a conflict runs again with the same body; one with a large body can't, and says so instead of counting wrong.
#[test]
fn a_large_body_is_never_run_twice_by_halves() {
    let (node, app) = node_with("probe-state");
    let body = vec![b' '; 2 << 20];
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let client = |_| scope.spawn(|| (0..5).map(|_| node.client().post(&app.run_path("/hot"), &body).status).collect::<Vec<_>>());
        let clients: Vec<_> = (0..4).map(client).collect();
        clients.into_iter().flat_map(|c| c.join().unwrap()).collect()
    });
    let done = statuses.iter().filter(|s| **s == 200).count();
    assert!(statuses.iter().all(|s| matches!(s, 200 | 503)), "{statuses:?}");
    assert_eq!(node.state("probe-state", "hot"), Some(done.to_string()));
}
