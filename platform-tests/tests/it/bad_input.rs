//! Input that is refused: with a problem that names the field, and nothing stored.

use tawi_platform_tests::{Node, http::READINGS_PATH, load::Connection, wait_for};

struct Case {
    what: &'static str,
    path: &'static str,
    body: Vec<u8>,
    status: u16,
    /// A member of the body that the problem names; empty: the body as a whole.
    field: &'static str,
}

const VALUE: &str = "/api/v2/devices/d/sensors/s/value";
const VALUES: &str = "/api/v2/devices/d/sensors/s/values";

fn cases() -> Vec<Case> {
    let case = |what, path, body: &str, status, field| Case { what, path, body: body.as_bytes().to_vec(), status, field };
    let long = format!("{{\"value\":\"{}\"}}", "x".repeat(64 * 1024));
    let deep = format!("{{\"value\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let many = format!("[{}]", vec!["{\"value\":1}"; 30_001].join(","));
    vec![
        case("no body", VALUE, "", 400, ""),
        case("broken JSON", VALUE, "{\"value\":", 400, ""),
        case("two bodies", VALUE, "{\"value\":1}{\"value\":2}", 400, ""),
        case("no value", VALUE, "{\"valeu\":1}", 400, "value"),
        case("a time that is none", VALUE, "{\"value\":1,\"timestamp\":\"yesterday\"}", 400, "timestamp"),
        case("a time as a number", VALUE, "{\"value\":1,\"timestamp\":1526277600}", 400, "timestamp"),
        case("a 13th month", VALUE, "{\"value\":1,\"timestamp\":\"2026-13-01T00:00:00Z\"}", 400, "timestamp"),
        case("centuries ahead", VALUE, "{\"value\":1,\"timestamp\":\"2926-01-01T00:00:00Z\"}", 400, "timestamp"),
        case("a value above its limit", VALUE, &long, 413, "value"),
        case("a value that nobody can parse", VALUE, &deep, 400, "value"),
        Case { what: "not UTF-8", path: VALUE, body: b"{\"value\":\"\xff\"}".to_vec(), status: 400, field: "" },
        case("no list", VALUES, "{\"value\":1}", 400, ""),
        case("one of a list", VALUES, "[{\"value\":1},{\"timestamp\":\"2026-01-01T00:00:00Z\"}]", 400, "[1].value"),
        case("a list that is too long", VALUES, &many, 413, ""),
        case("a device that can't be", "/api/v2/devices/a%2Fb/sensors/s/value", "{\"value\":1}", 400, "device"),
        case("a sensor with a wildcard", "/api/v2/devices/a/sensors/%3E/value", "{\"value\":1}", 400, "sensor"),
        case("a reading without device", READINGS_PATH, "{\"sensor\":\"s\",\"value\":1}", 400, "device"),
        case("one line of many", READINGS_PATH, "{\"device\":\"d\",\"sensor\":\"s\",\"value\":1}\n{\"device\":\"d\"}", 400, "sensor"),
        case("a path that is not there", "/api/v2/nothing", "{}", 404, ""),
        case("an app that is not there", "/run/nobody/x", "{}", 404, ""),
    ]
}

#[test]
fn what_is_wrong_is_refused_by_name_and_nothing_is_stored() {
    let node = Node::start();
    let client = node.client();
    for case in cases() {
        let reply = client.post(case.path, &case.body);
        assert_eq!(reply.status, case.status, "{}: {}", case.what, reply.text());
        let problem = reply.problem(case.status);
        if !case.field.is_empty() {
            let named = problem["field"].as_str().unwrap_or_default();
            assert_eq!(named, case.field, "{}: {problem}", case.what);
        }
        assert!(problem.to_string().len() < 4096, "{}: a problem is short", case.what);
    }
    // One good reading after all of them: when it is found, everything before it would be.
    client.reading("last", "s", 1);
    node.wait_for_history("device:last", 1);
    assert_eq!(node.history_count(""), 1);
}

/// By its head alone: nobody waits for the rest of a body that will not be taken.
#[test]
fn a_body_above_its_limit_is_refused_before_it_is_sent() {
    let node = Node::start();
    let head =
        format!("POST {VALUES} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n", node.token(), (4 << 20) + 1);
    let mut connection = Connection::open(node.authority().parse().unwrap()).unwrap();
    let (status, body) = connection.ask(head.as_bytes()).unwrap();
    assert_eq!(status, 413, "{}", String::from_utf8_lossy(&body));
}

#[test]
fn who_is_nobody_may_do_nothing() {
    let node = Node::start();
    for token in [None, Some("wrong"), Some("")] {
        let stranger = node.client().with_token(token);
        // Without a token one is a guest, who may look at what is public and makes nothing by sending.
        stranger.post(VALUE, "{\"value\":1}").problem(if token.is_some() { 401 } else { 404 });
        stranger.get("/api/v1/subscribe?subject=%3E").problem(401);
        stranger.get("/git/x.git/info/refs?service=git-receive-pack").expect(401);
    }
    // Whether the node lives is nobody's secret.
    node.client().with_token(None).get("/health/live").expect(200);
}

#[test]
fn a_wrong_method_and_a_wrong_pattern_are_named() {
    let node = Node::start();
    let client = node.client();
    assert_eq!(client.send("DELETE", VALUE, &[], b"").problem(405)["status"], 405);
    client.get("/api/v1/subscribe?subject=a..b").problem(400);
}

#[test]
fn a_client_that_sends_half_a_request_holds_up_nobody() {
    use std::io::Write;
    let node = Node::start();
    let mut slow = std::net::TcpStream::connect(node.authority()).unwrap();
    write!(slow, "POST {VALUE} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\n{{", node.token()).unwrap();
    node.client().reading("d", "s", 1);
    drop(slow);
    wait_for("one reading", tawi_platform_tests::wait::SOON, || node.history_count("device:d"), |n| *n == 1);
}
