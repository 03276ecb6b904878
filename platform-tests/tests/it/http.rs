//! Functions behind HTTP.

use serde_json::json;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};
use tawi_platform_tests::{App, Node, wait::SOON, wait_for};

fn node_with(function: &str) -> (Node, App) {
    let node = Node::start();
    let app = App::prebuilt(function);
    app.push(&node);
    (node, app)
}

#[test]
fn a_function_sees_the_request_as_it_was_sent() {
    let (node, app) = node_with("probe-http");
    let client = node.client().with_token(None);
    let reply = client.send("PATCH", &app.run_path("/request?a=1&b=%20"), &[("x-field", "north")], b"").expect(200);
    let seen = reply.json();
    assert_eq!((&seen["method"], &seen["path"], &seen["query"]), (&json!("PATCH"), &json!("/request"), &json!("a=1&b=%20")));
    let headers = seen["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["x-field", "north"])), "{headers:?}");
    let cookies: Vec<_> = reply.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    client.get(&app.run_path("/status?code=418")).expect(418);
}

#[test]
fn an_app_has_a_host_name_of_its_own() {
    let (node, _) = node_with("probe-http");
    let host = format!("probe-http.localhost:{}", node.authority().rsplit(':').next().unwrap());
    let reply = node.client().with_token(None).send("GET", "/request", &[("host", &host)], b"").expect(200);
    assert_eq!(reply.json()["path"], "/request");
}

#[test]
fn a_private_route_wants_a_token_and_a_public_one_none() {
    let (node, app) = node_with("probe-http");
    let stranger = node.client().with_token(None);
    stranger.get(&app.run_path("/request")).expect(200);
    stranger.get(&app.run_path("/private")).problem(401);
    stranger.with_token(Some("wrong")).get(&app.run_path("/private")).problem(401);
    node.client().get(&app.run_path("/private")).expect(200);
    // The token is the node's business: the function does not get to see it.
    let seen = node.client().get(&app.run_path("/private")).expect(200).text();
    assert!(!seen.contains(node.token()), "{seen}");
}

#[test]
fn what_is_not_there_is_a_404() {
    let (node, app) = node_with("probe-http");
    node.client().get("/run/nobody/").problem(404);
    node.client().get(&app.run_path("/nothing")).expect(404);
}

#[test]
fn bodies_stream_both_ways() {
    let (node, app) = node_with("probe-http");
    let client = node.client().with_token(None);
    let large: Vec<u8> = (0..8 << 20).map(|i: u32| (i % 251) as u8).collect();
    let reply = client.send("POST", &app.run_path("/echo"), &[], &large).expect(200);
    assert!(reply.body == large, "8 MiB came back as {} other bytes", reply.body.len());

    // The first piece of the answer is there while the request is still being written.
    let mut stream = TcpStream::connect(node.authority()).unwrap();
    write!(stream, "POST {} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n", app.run_path("/echo")).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut seen = String::new();
    while !seen.contains("first") {
        assert!(reader.read_line(&mut seen).unwrap() > 0, "the connection ended: {seen}");
    }
    write!(stream, "6\r\nsecond\r\n0\r\n\r\n").unwrap();
    while !seen.contains("second") {
        assert!(reader.read_line(&mut seen).unwrap() > 0, "the connection ended: {seen}");
    }
}

#[test]
fn a_trap_is_a_500_with_an_id_that_finds_the_log_line() {
    let (node, app) = node_with("probe-http");
    let problem = node.client().get(&app.run_path("/trap")).problem(500);
    let id = problem["id"].as_str().unwrap_or_else(|| panic!("no id in {problem}")).to_owned();
    assert!(!problem.to_string().contains("as told"), "what a function panics with is not for strangers: {problem}");
    let lines = wait_for("the call's lines", SOON, || node.history(&format!("kind:log AND call:\"{id}\"")), |lines| !lines.is_empty());
    assert!(lines.iter().any(|line| line.to_string().contains("panicked")), "{lines:?}");
    assert!(node.logs("probe-http").iter().any(|line| line.to_string().contains("as told")));
}

/// Effects before the head are committed before the head is sent; later ones when the handler returns.
#[test]
fn effects_of_a_request_are_committed_with_its_answer() {
    let (node, app) = node_with("probe-http");
    let seen = node.subscribe("probe.>");
    let client = node.client().with_token(None);

    client.get(&app.run_path("/error")).problem(500);
    client.get(&app.run_path("/trap")).problem(500);
    assert_eq!(client.get(&app.run_path("/late")).expect(200).text(), "some");
    let subjects: Vec<_> = seen.take(2).iter().map(|e| e["subject"].as_str().unwrap().to_owned()).collect();
    assert_eq!(subjects, ["probe.head", "probe.body"], "nothing of the calls that failed");

    // After the head a failure can only break the connection; what was not committed is gone.
    for path in ["/late-trap", "/late-error"] {
        assert!(client.try_send("GET", &app.run_path(path), &[], b"").is_err(), "{path} was to break off");
        assert_eq!(seen.next()["subject"], "probe.head");
    }
    client.get(&app.run_path("/late")).expect(200);
    assert_eq!(seen.next()["subject"], "probe.head", "no body of the broken ones");
    assert_eq!(seen.next()["subject"], "probe.body");
}

/// WASI 0.3: pushed like any other, beside one of 0.2, and there again after a restart.
#[test]
fn a_handler_of_wasi_0_3_is_pushed_and_answers_beside_one_of_0_2() {
    let (mut node, other) = node_with("probe-http");
    let app = App::prebuilt("probe-http-p3");
    app.push(&node);
    let seen = node.subscribe("probe.>");
    let client = node.client().with_token(None);
    let large: Vec<u8> = (0..8 << 20).map(|i: u32| b'a' + (i % 26) as u8).collect();
    let reply = client.send("POST", &app.run_path("/upper"), &[], &large).expect(200);
    assert!(reply.body == large.to_ascii_uppercase(), "8 MiB came back as {} other bytes", reply.body.len());

    client.get(&app.run_path("/trap")).problem(500);
    assert!(client.try_send("GET", &app.run_path("/late-trap"), &[], b"").is_err(), "it was to break off");
    assert_eq!(client.get(&app.run_path("/late")).expect(200).text(), "some");
    let subjects: Vec<_> = seen.take(3).iter().map(|e| e["subject"].as_str().unwrap().to_owned()).collect();
    assert_eq!(subjects, ["probe.head", "probe.head", "probe.body"], "of the one that broke off, what came with its head");
    client.get(&other.run_path("/request")).expect(200);
    drop(seen);
    node.restart();
    assert_eq!(node.client().get(&app.run_path("/status?code=203")).expect(203).text(), "as told\n");
}

#[test]
fn a_repeat_with_its_key_does_nothing_twice() {
    let (node, app) = node_with("probe-state");
    let client = node.client();
    for _ in 0..3 {
        client.send("POST", &app.run_path("/counter"), &[("idempotency-key", "order-17")], b"");
    }
    client.post(&app.run_path("/counter"), "").expect(200);
    assert_eq!(node.state("probe-state", "counter").as_deref(), Some("2"));
}

#[test]
fn a_client_that_goes_away_is_no_trouble() {
    let (node, app) = node_with("probe-http");
    for _ in 0..20 {
        let mut stream = TcpStream::connect(node.authority()).unwrap();
        write!(stream, "GET {} HTTP/1.1\r\nhost: x\r\n\r\n", app.run_path("/stream?pieces=100000&bytes=10000&wait_ms=1")).unwrap();
        stream.read_exact(&mut [0; 100]).unwrap();
    }
    node.client().get(&app.run_path("/request")).expect(200);
}
