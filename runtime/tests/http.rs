//! HTTP requests to functions, from the request to its effects: real engine, real guests, real embedded ledger.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt, Full};
use std::sync::Arc;
use support::{Floor, app, function, reading};
use tawi_runtime::{
    dispatch::{HttpFailure, HttpResponse},
    model::{
        Kind,
        limit::{HOSTCALL_BYTES_MAX, HTTP_CALLS_PER_APP_PERCENT, HTTP_CALLS_PERCENT},
    },
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

const PLAIN: &str = r#"
[app]
name = "plain-http"
[[on]]
name = "page"
http = "/"
"#;

const HISTORY: &str = r#"
[app]
name = "history-page"
[[on]]
name = "page"
http = "/"
[grant]
history = true
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

/// What the handler has done by the time of its head leaves as one piece, which a client can be told the length of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_handler_has_returned_has_its_length_and_one_that_streams_has_none() {
    let floor = Floor::open().await;
    floor.deploy("probe-http", PROBE).await;
    floor.deploy("plain-http", PLAIN).await;
    let whole = ask(&floor, "plain-http", "GET", "/hello", b"", None).await.unwrap();
    assert_eq!(whole.body().size_hint().exact(), Some("/hello from elsewhere\n".len() as u64));
    assert_eq!(text(whole).await.unwrap(), "/hello from elsewhere\n");
    let streams = ask(&floor, "probe-http", "GET", "/stream?pieces=3&bytes=10&wait_ms=50", b"", None).await.unwrap();
    assert_eq!(streams.body().size_hint().exact(), None);
    assert_eq!(text(streams).await.unwrap().len(), 30);
}

/// The handler runs on the task of its client's connection: a panic of the host in it must not end more than the call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_host_is_the_failure_of_its_call() {
    let floor = Floor::open_with_history(Arc::new(|_, _| panic!("the history is in a bad way"))).await;
    floor.deploy("history-page", HISTORY).await;
    let Err(HttpFailure::Call { failure, .. }) = ask(&floor, "history-page", "GET", "/", b"", None).await else {
        panic!("an answer all the same");
    };
    assert!(failure.to_string().contains("the host panicked: the history is in a bad way"), "{failure}");
    assert_eq!(floor.engine.permits_free(), floor.engine.instances_max as usize);
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

/// A client repeats a request while an answer to another streams: neither knows of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_breaks_no_answer_that_is_under_way() {
    let floor = Floor::open().await;
    floor.deploy("probe-http", PROBE).await;
    let mut under_way = ask(&floor, "probe-http", "GET", "/stream?pieces=20&bytes=10&wait_ms=50", b"", None).await.unwrap().into_body();
    under_way.frame().await.unwrap().unwrap();
    let late = ask(&floor, "probe-http", "GET", "/late", b"", None).await.unwrap();
    for repeat in [false, true, true] {
        let answer = ask(&floor, "probe-http", "GET", "/late", b"", Some("order-7")).await.unwrap();
        assert_eq!(answer.headers().contains_key("tawi-duplicate"), repeat);
        assert_eq!(text(answer).await.unwrap(), "some");
    }
    assert_eq!(text(late).await.unwrap(), "some", "its own effects are stored");
    under_way.collect().await.expect("it has asked for nothing that could be lost");
    assert_eq!(subjects(&floor).len(), 4, "twice both: {:?}", subjects(&floor));
}

/// Clients that repeat before the first has its answer, while others write to the same app.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_at_once_count_once_and_so_does_everybody_else() {
    let floor = std::sync::Arc::new(Floor::open().await);
    floor.deploy("probe-state", STATE).await;
    let asks = (0..200).map(|n| {
        let (floor, key) = (floor.clone(), (n % 2 == 0).then(|| format!("order-{}", n / 20)));
        tokio::spawn(async move { ask(&floor, "probe-state", "POST", "/n", b"", key.as_deref()).await.unwrap() })
    });
    let answers: Vec<HttpResponse> = futures::future::join_all(asks).await.into_iter().map(Result::unwrap).collect();
    let repeats = answers.iter().filter(|answer| answer.headers().contains_key("tawi-duplicate")).count();
    assert_eq!(repeats, 90);
    assert_eq!(floor.ledger.state(&app("probe-state"), "n").unwrap().unwrap(), "110");
}

/// The first thing that a call asks for comes after its head; a repeat must not do it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_spent_on_the_first_effects_wherever_they_come() {
    let floor = Floor::open().await;
    floor.deploy("probe-http", PROBE).await;
    for repeat in [false, true] {
        let answer = ask(&floor, "probe-http", "GET", "/late-only", b"", Some("order-7")).await.unwrap();
        assert_eq!(answer.headers().contains_key("tawi-duplicate"), repeat);
        assert_eq!(text(answer).await.unwrap(), "some");
        assert_eq!(subjects(&floor), ["probe.body"]);
    }
    // A call that asked for nothing has spent nothing: its repeat is told nothing of a duplicate.
    for _ in 0..2 {
        let answer = ask(&floor, "probe-http", "GET", "/status?code=200", b"", Some("order-8")).await.unwrap();
        assert!(!answer.headers().contains_key("tawi-duplicate"));
    }
}

const ECHO: &str = r#"
[app]
name = "probe-event"
[[on]]
name = "readings"
subject = "reading.*.event"
[grant]
publish = ["probe.echo.>"]
"#;

/// While one call of an app runs alone, its others wait; the instances are there for everybody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_for_their_turn_hold_no_instance() {
    let floor = Floor::open().await;
    floor.deploy("probe-state", STATE).await;
    floor.deploy("probe-event", ECHO).await;
    let state = floor.dispatch.app(&app("probe-state")).unwrap();
    let alone = state.lane.begin(true).await;
    let mut asks: Vec<_> = (0..40).map(|_| Box::pin(ask(&floor, "probe-state", "POST", "/n", b"", None))).collect();
    for ask in &mut asks {
        assert!(futures::poll!(ask).is_pending());
    }
    assert_eq!(floor.engine.permits_free(), floor.engine.instances_max as usize);
    floor.append((0..40).map(|n| reading(&format!("d{n}"), "event", "1")).collect()).await;
    floor.settled(&function("probe-event", "readings")).await;
    drop(alone);
    for ask in futures::future::join_all(asks).await {
        ask.unwrap();
    }
    assert_eq!(floor.ledger.state(&app("probe-state"), "n").unwrap().unwrap(), "40");
}

/// A client that sends half a request and then nothing.
async fn slow(floor: &Floor, name: &str) -> Result<HttpResponse, HttpFailure> {
    let app = floor.dispatch.app(&app(name)).unwrap();
    let function = app.loaded.load().release.manifest.functions[0].clone();
    let body = http_body_util::StreamBody::new(futures::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>());
    let request = http::Request::builder().method("POST").uri("/length").header("host", "probe.localhost").body(body).unwrap();
    floor.dispatch.serve(app, function, None, request).await
}

/// However many slow clients a public function has, other apps have instances, and events have theirs whatever HTTP does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_of_one_app_leave_instances_for_others_and_all_of_them_leave_some_for_events() {
    let floor = Floor::open().await;
    let instances = floor.engine.instances_max as usize;
    for n in 0..5 {
        floor.deploy("probe-http", &PROBE.replace("\"probe-http\"", &format!("\"probe-{n}\"")).replace("\"5s\"", "\"60s\"")).await;
    }
    floor.deploy("probe-event", ECHO).await;
    let mut clients = Vec::new();
    for (n, most) in [HTTP_CALLS_PER_APP_PERCENT, 2 * HTTP_CALLS_PER_APP_PERCENT, HTTP_CALLS_PERCENT, HTTP_CALLS_PERCENT].iter().enumerate()
    {
        let name = format!("probe-{n}");
        clients.extend((0..instances).map(|_| {
            Box::pin({
                let name = name.clone();
                let floor = &floor;
                async move { slow(floor, &name).await }
            })
        }));
        for client in &mut clients {
            assert!(futures::poll!(client).is_pending());
        }
        assert_eq!(instances - floor.engine.permits_free(), instances * most / 100, "with those of {name}");
    }
    floor.append((0..40).map(|n| reading(&format!("d{n}"), "event", "1")).collect()).await;
    floor.settled(&function("probe-event", "readings")).await;
    // A client that goes away leaves its place to others.
    drop(clients);
    let answer = ask(&floor, "probe-4", "GET", "/status?code=200", b"", None).await.unwrap();
    assert_eq!(answer.status(), 200);
}
