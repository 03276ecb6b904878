//! HTTP requests to functions, from the request to its effects: real engine, real guests, real embedded ledger.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use support::{Floor, app};
use tawi_runtime::{
    dispatch::{HttpFailure, HttpResponse},
    model::{Kind, limit::HOSTCALL_BYTES_MAX},
};

const PROBE: &str = r#"
[app]
name = "probe-http"
[[on]]
name = "public"
http = "/"
auth = "public"
timeout = "5s"
[grant]
publish = ["probe.>"]
"#;

const STATE: &str = r#"
[app]
name = "probe-state"
[[on]]
name = "http"
http = "/"
[grant]
state = true
"#;

async fn ask(floor: &Floor, name: &str, method: &str, path: &str, body: &[u8], key: Option<&str>) -> Result<HttpResponse, HttpFailure> {
    let app = floor.dispatch.app(&app(name)).unwrap();
    let function = app.loaded.load().release.manifest.functions[0].clone();
    let request = http::Request::builder().method(method).uri(path).header("host", "probe.localhost");
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
    floor.dispatch.serve(app, function, key.map(str::to_owned), request).await
}

async fn text(response: HttpResponse) -> Result<String, String> {
    let whole = response.into_body().collect().await.map_err(|e| e.to_string())?;
    Ok(String::from_utf8(whole.to_bytes().to_vec()).unwrap())
}

fn subjects(floor: &Floor) -> Vec<String> {
    floor.all(Kind::Message).iter().map(|event| event.subject.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_stream_both_ways() {
    let floor = Floor::open().await;
    floor.deploy("probe-http", PROBE).await;
    let body = vec![b'y'; 3 << 20];
    let answer = ask(&floor, "probe-http", "POST", "/echo", &body, None).await.unwrap();
    assert_eq!(text(answer).await.unwrap().len(), body.len());
    let mut answer = ask(&floor, "probe-http", "GET", "/stream?pieces=3&bytes=10&wait_ms=50", b"", None).await.unwrap().into_body();
    let first = answer.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.len() < 30, "the first piece comes before the last is made");
    let rest = answer.collect().await.unwrap().to_bytes();
    assert_eq!(first.len() + rest.len(), 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_before_the_head_is_durable_with_it_and_what_came_later_only_with_the_end() {
    let floor = Floor::open().await;
    floor.deploy("probe-http", PROBE).await;
    let answer = ask(&floor, "probe-http", "GET", "/late", b"", None).await.unwrap();
    assert_eq!(subjects(&floor)[..1], ["probe.head"], "durable before the head");
    assert_eq!(text(answer).await.unwrap(), "some");
    assert_eq!(subjects(&floor), ["probe.head", "probe.body"], "durable before the end of the body");

    for path in ["/late-trap", "/late-error"] {
        let before = subjects(&floor).len();
        let answer = ask(&floor, "probe-http", "GET", path, b"", None).await.unwrap();
        assert!(text(answer).await.is_err(), "{path}: the connection breaks off");
        assert_eq!(subjects(&floor)[before..], ["probe.head"], "{path}: what came after the head is dropped");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_is_a_failure_with_an_id_that_finds_its_log_line() {
    let floor = Floor::open().await;
    floor.deploy("probe-http", PROBE).await;
    let Err(HttpFailure::Call { id, failure }) = ask(&floor, "probe-http", "GET", "/trap", b"", None).await else {
        panic!("a trap is a failure");
    };
    assert!(failure.to_string().contains("trapped"), "{failure}");
    assert!(subjects(&floor).is_empty(), "its effects are dropped");
    let lines = floor.all(Kind::Log);
    assert!(lines.iter().any(|line| line.cause.as_ref().unwrap().call == id), "{id}: {lines:?}");
}

/// Many clients add one to the same key at once: every answer is a different number, and the last one is the count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_increments_are_serializable() {
    let floor = std::sync::Arc::new(Floor::open().await);
    floor.deploy("probe-state", STATE).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let floor = floor.clone();
        clients.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..50 {
                let answer = ask(&floor, "probe-state", "POST", "/n", b"", None).await.unwrap();
                seen.push(text(answer).await.unwrap().trim().parse::<u64>().unwrap());
            }
            seen
        });
    }
    let mut all: Vec<u64> = clients.join_all().await.concat();
    all.sort_unstable();
    assert_eq!(all, (1..=400).collect::<Vec<_>>());
    assert_eq!(floor.ledger.state(&app("probe-state"), "n").unwrap().unwrap(), "400");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_with_the_same_idempotency_key_counts_once() {
    let floor = Floor::open().await;
    floor.deploy("probe-state", STATE).await;
    for round in 0..3 {
        let answer = ask(&floor, "probe-state", "POST", "/n", b"", Some("order-7")).await.unwrap();
        assert_eq!(answer.headers().contains_key("tawi-duplicate"), round > 0);
    }
    ask(&floor, "probe-state", "POST", "/n", b"", Some("order-8")).await.unwrap();
    assert_eq!(floor.ledger.state(&app("probe-state"), "n").unwrap().unwrap(), "2");
}

/// What a guest hands over is copied into the node's memory before anything can look at it, so that has a limit of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_handed_over_in_one_host_call_has_a_limit() {
    let floor = Floor::open().await;
    floor.deploy("probe-state", STATE).await;
    let value = format!("\"{}\"", "x".repeat(HOSTCALL_BYTES_MAX));
    let failed = ask(&floor, "probe-state", "PUT", "/large", value.as_bytes(), None).await;
    let Err(HttpFailure::Call { failure, .. }) = failed else { panic!("handed over all the same") };
    assert!(failure.to_string().contains(&HOSTCALL_BYTES_MAX.to_string()), "{failure}");
    let value = format!("\"{}\"", "x".repeat(HOSTCALL_BYTES_MAX - 1_000));
    let refused = ask(&floor, "probe-state", "PUT", "/large", value.as_bytes(), None).await.unwrap();
    assert!(text(refused).await.unwrap().contains("Limit"), "the guest is told of the smaller limit of a value");
}
