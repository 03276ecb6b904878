//! Handlers of WASI 0.3, from the request to its effects: on the second engine, with the semantics of those of 0.2.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bytes::Bytes;
use futures::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value as Json;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use support::{Floor, app, function, guest, reading};
use tawi_runtime::{
    deploy::{Reconciler, Store},
    dispatch::{Dispatch, HttpFailure, HttpResponse},
    engine::{Engine, EngineError, EngineOptions, Failure, Wasi},
    host::HistoryPage,
    model::{Kind, Manifest},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GUEST: &str = "probe-http-p3";
const PROBE: &str = r#"
[app]
name = "probe-http-p3"
[[on]]
name = "public"
http = "/"
auth = "public"
timeout = "20s"
[grant]
publish = ["probe.>"]
state = true
"#;

fn brief() -> String {
    PROBE.replace("\"20s\"", "\"200ms\"")
}

async fn ask_with<B>(floor: &Floor, path: &str, body: B) -> Result<HttpResponse, HttpFailure>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let app = floor.dispatch.app(&app(GUEST)).unwrap();
    let function = app.loaded.load().release.manifest.functions[0].clone();
    let request = http::Request::builder().method("POST").uri(path).header("host", "probe.localhost:8294").header("x-probe", "yes");
    floor.dispatch.serve(app, function, None, request.body(body).unwrap()).await
}

async fn ask(floor: &Floor, path: &str, body: &[u8]) -> Result<HttpResponse, HttpFailure> {
    ask_with(floor, path, Full::new(Bytes::copy_from_slice(body))).await
}

async fn text(response: HttpResponse) -> Result<String, String> {
    let whole = response.into_body().collect().await.map_err(|e| e.to_string())?;
    Ok(String::from_utf8(whole.to_bytes().to_vec()).unwrap())
}

async fn failure(floor: &Floor, path: &str) -> Failure {
    match ask(floor, path, b"").await {
        Err(HttpFailure::Call { failure, .. }) => failure,
        Err(other) => panic!("{path}: {other}"),
        Ok(answer) => panic!("{path}: answered with {}", answer.status()),
    }
}

fn subjects(floor: &Floor) -> Vec<String> {
    floor.all(Kind::Message).iter().map(|event| event.subject.to_string()).collect()
}

async fn floor(manifest: &str) -> Floor {
    let floor = Floor::open().await;
    floor.deploy(GUEST, manifest).await;
    floor
}

/// What is for handlers of 0.3 alone costs nothing where there is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_engine_is_opened_by_the_first_release_that_needs_it() {
    let floor = Floor::open().await;
    floor.deploy("probe-http", &PROBE.replace(GUEST, "probe-http")).await;
    assert!(!floor.engine.has_second());
    floor.deploy(GUEST, PROBE).await;
    assert!(floor.engine.has_second());
    assert_ne!(floor.engine.compatibility(Wasi::P2).unwrap(), floor.engine.compatibility(Wasi::P3).unwrap());
    let answer = ask(&floor, "/status?code=201", b"").await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(text(answer).await.unwrap(), "as told\n");
}

/// One component has one engine: its handler of events is called there, and sees the same state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_handler_of_events_comes_along() {
    let floor = Floor::open().await;
    let entry = "[[on]]\nname = \"readings\"\nsubject = \"reading.*.p3\"\n[grant]\n";
    floor.deploy(GUEST, &PROBE.replace("[grant]\n", entry)).await;
    floor.append((0..20).map(|n| reading(&format!("d{n}"), "p3", "1")).collect()).await;
    floor.settled(&function(GUEST, "readings")).await;
    assert_eq!(subjects(&floor), ["probe.event"; 20]);
    assert_eq!(text(ask(&floor, "/seen", b"").await.unwrap()).await.unwrap(), "20");
}

/// A node that starts again: what was compiled for the second engine is found, and runs there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_was_compiled_for_the_second_engine_is_not_compiled_again() {
    let floor = floor(PROBE).await;
    let folder = floor.dir.path().join("deploy/artifacts/sha256");
    let compiled = || -> Vec<_> {
        let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap());
        files
            .filter(|file| file.path().extension().is_some_and(|e| e == "cwasm"))
            .map(|f| f.metadata().unwrap().modified().unwrap())
            .collect()
    };
    let before = compiled();
    assert_eq!(before.len(), 1);
    let engine = Engine::open(&EngineOptions { instances_max: 2, ..EngineOptions::default() }).unwrap();
    let history = Arc::new(|_, _| -> futures::future::BoxFuture<'static, _> { Box::pin(async { Ok(HistoryPage::default()) }) });
    let dispatch = Arc::new(Dispatch::new(engine.clone(), floor.ledger.clone(), history));
    let store = Store::open(&floor.dir.path().join("deploy")).unwrap();
    let again = Reconciler::new(store, engine.clone(), dispatch.clone());
    again.round().await;
    assert_eq!(again.failing(&app(GUEST)), None);
    assert_eq!(compiled(), before);
    assert!(engine.has_second());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_stream_both_ways_at_once() {
    let floor = floor(PROBE).await;
    let (sender, pieces) = futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, std::io::Error>>();
    let send = |piece: &'static str| sender.unbounded_send(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).unwrap();
    send("one ");
    let mut answer = ask_with(&floor, "/upper", StreamBody::new(pieces)).await.unwrap().into_body();
    for (comes, next) in [("ONE ", "two "), ("TWO ", "three")] {
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), comes, "back before the next piece is sent");
        send(next);
    }
    sender.close_channel();
    assert_eq!(answer.collect().await.unwrap().to_bytes(), "THREE");

    let large = vec![b'y'; 3 << 20];
    for path in ["/echo", "/upper"] {
        let answer = ask(&floor, path, &large).await.unwrap();
        assert_eq!(text(answer).await.unwrap().len(), large.len(), "{path}");
    }
    assert_eq!(text(ask(&floor, "/length", &large).await.unwrap()).await.unwrap(), large.len().to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_arrives_as_it_was_sent() {
    let floor = floor(PROBE).await;
    let seen: Json = serde_json::from_str(&text(ask(&floor, "/request?a=1&b=%20", b"").await.unwrap()).await.unwrap()).unwrap();
    assert_eq!(seen["method"], "Method::Post");
    assert_eq!(seen["scheme"], "Scheme::Http");
    assert_eq!(seen["authority"], "probe.localhost:8294");
    assert_eq!(seen["target"], "/request?a=1&b=%20");
    assert_eq!(seen["headers"], serde_json::json!([["x-probe", "yes"]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_before_the_head_is_durable_with_it_and_what_came_later_only_with_the_end() {
    let floor = floor(PROBE).await;
    let answer = ask(&floor, "/late", b"").await.unwrap();
    assert_eq!(subjects(&floor)[..1], ["probe.head"], "durable before the head");
    assert_eq!(text(answer).await.unwrap(), "some");
    assert_eq!(subjects(&floor), ["probe.head", "probe.body"], "durable before the end of the body");

    let answer = ask(&floor, "/late-trap", b"").await.unwrap();
    assert!(text(answer).await.is_err(), "the connection breaks off");
    assert_eq!(subjects(&floor)[2..], ["probe.head"], "what came after the head is dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_or_an_error_before_the_head_is_a_failure_and_nothing_of_it_counts() {
    let floor = floor(PROBE).await;
    let trapped = failure(&floor, "/trap").await;
    assert!(matches!(&trapped, Failure::Trap(why) if why.contains("unreachable")), "{trapped}");
    let refused = failure(&floor, "/error").await;
    assert!(refused.to_string().contains("InternalError"), "{refused}");
    assert!(subjects(&floor).is_empty());
    assert!(floor.all(Kind::Log).iter().any(|line| line.value.to_json().to_string().contains("as told")), "its last words are kept");
}

/// In a loop, waiting for an hour, before the head and after it: each ends with its time, and its place is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_does_not_end_ends_with_its_time() {
    let floor = floor(&brief()).await;
    for path in ["/loop", "/wait"] {
        let ended = failure(&floor, path).await;
        assert!(matches!(ended, Failure::Timeout(_)), "{path}: {ended}");
    }
    for path in ["/late-loop", "/stream?pieces=1000000&wait_ms=1"] {
        let answer = ask(&floor, path, b"").await.unwrap();
        assert!(text(answer).await.unwrap_err().contains("timeout"), "{path}");
    }
    floor.deploy(GUEST, &format!("{PROBE}[limits]\ncpu = \"50ms\"\n")).await;
    let spent = failure(&floor, "/loop").await;
    assert!(matches!(spent, Failure::Cpu(_)), "{spent}");
    let waited = ask(&floor, "/wait?ms=200", b"").await.unwrap();
    assert_eq!(text(waited).await.unwrap(), "waited\n", "waiting is no work");
    assert_eq!(floor.engine.permits_free(), floor.engine.instances_max as usize);
}

/// Its memory, and what the node keeps for it: tables of streams and tasks are no way around the limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_takes_without_end_ends_at_its_limit() {
    let floor = floor(PROBE).await;
    let hungry = failure(&floor, "/memory").await;
    assert!(matches!(hungry, Failure::Memory { .. }), "{hungry}");
    let greedy = failure(&floor, "/handles").await;
    assert!(matches!(&greedy, Failure::Trap(why) if why.contains("table")), "{greedy}");
    assert_eq!(floor.engine.permits_free(), floor.engine.instances_max as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_stands_still_and_what_is_printed_is_a_log_line() {
    let floor = floor(PROBE).await;
    let seen = text(ask(&floor, "/clock", b"").await.unwrap()).await.unwrap();
    let seen: Json = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen["fixed"], true);
    let lines = floor.all(Kind::Log);
    assert!(lines.iter().any(|line| line.value.to_json().to_string().contains("a line of the log")), "{lines:?}");
}

/// Somebody on this machine who answers one request after another, and counts them.
async fn neighbour() -> (std::net::SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, hears) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (mut head, mut piece) = (Vec::new(), [0; 1024]);
            while !head.ends_with(b"\r\n\r\n") {
                let count = client.read(&mut piece).await.unwrap();
                head.extend_from_slice(&piece[..count]);
            }
            heard.send(String::from_utf8(head).unwrap()).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").await.unwrap();
        }
    });
    (address, hears)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_was_not_granted_is_not_asked_and_one_that_was_gets_the_id_of_the_call() {
    let (address, mut heard) = neighbour().await;
    let floor = floor(PROBE).await;
    let path = format!("/fetch?authority={address}");
    let denied = text(ask(&floor, &path, b"").await.unwrap()).await.unwrap();
    assert!(denied.contains("HttpRequestDenied"), "{denied}");
    floor.deploy(GUEST, &format!("{PROBE}http = [\"{address}\"]\n")).await;
    assert_eq!(text(ask(&floor, &path, b"").await.unwrap()).await.unwrap(), "200 hello");
    let request = heard.recv().await.unwrap().to_ascii_lowercase();
    assert!(request.starts_with("get /asked http/1.1\r\n") && request.contains("\r\nidempotency-key: probe-http-p3-public-"), "{request}");
    assert!(heard.try_recv().is_err(), "the first one was never made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_learns_whether_its_answer_was_taken() {
    let floor = floor(PROBE).await;
    let answer = ask(&floor, "/told", b"").await.unwrap();
    assert_eq!(text(answer).await.unwrap(), "some");
    drop(ask(&floor, "/told", b"").await.unwrap());
    let told = floor.events(Kind::Message, 2).await;
    let told: Vec<_> = told.iter().map(|event| event.value.to_json().to_string()).collect();
    assert_eq!(told, ["true", "false"]);
}

/// At whatever moment it goes: before there is an instance, while the handler waits, while it runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_leaves_its_place_to_others() {
    let floor = floor(PROBE).await;
    for path in ["/wait", "/loop"] {
        for moment in 0..20 {
            let mut waits = Box::pin(ask(&floor, path, b""));
            for _ in 0..moment * moment {
                assert!(futures::poll!(&mut waits).is_pending(), "{path}");
                tokio::task::yield_now().await;
            }
        }
    }
    let all = async {
        while floor.engine.permits_free() < floor.engine.instances_max as usize {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(15), all).await.expect("every place is free, before the time of any call is over");
    assert_eq!(ask(&floor, "/status", b"").await.unwrap().status(), 418);
}

/// An instance is one request's, also when a hundred are under way on a node with thirty-two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_once_are_all_answered() {
    let floor = Arc::new(floor(PROBE).await);
    let asks = (0..100).map(|n| {
        let floor = floor.clone();
        tokio::spawn(async move {
            let sent = vec![b'a' + (n % 26) as u8; 100_000];
            let answer = text(ask(&floor, "/upper", &sent).await.unwrap()).await.unwrap();
            assert_eq!(answer.as_bytes(), sent.to_ascii_uppercase());
        })
    });
    for asked in futures::future::join_all(asks).await {
        asked.unwrap();
    }
    assert_eq!(floor.engine.permits_free(), floor.engine.instances_max as usize);
}

/// What a client sends waits for the handler, and what the handler writes for the client: nothing in between grows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_goes_no_faster_than_whoever_takes_it() {
    const PIECE: usize = 64 << 10;
    const BETWEEN_MAX: usize = 512 << 10;
    for (name, path) in [(GUEST, "/upper"), ("probe-http", "/echo")] {
        let floor = Floor::open().await;
        floor.deploy(name, PROBE).await;
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        let pieces = futures::stream::iter(0..256).map(move |_| {
            counted.fetch_add(PIECE, Ordering::SeqCst);
            Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[b'x'; PIECE])))
        });
        let mut answer = ask_with(&floor, path, StreamBody::new(pieces)).await.unwrap().into_body();
        let mut taken = 0;
        while let Some(piece) = answer.frame().await {
            taken += piece.unwrap().into_data().unwrap().len();
            // The handler has all the time it wants to go ahead.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let ahead = sent.load(Ordering::SeqCst) - taken;
            assert!(ahead <= BETWEEN_MAX, "{name}: {ahead} bytes are somewhere in between");
        }
        assert_eq!(taken, 256 * PIECE, "{name}");
    }
}

/// A release that replaces another has the requests that come; one that is under way ends in the release that it began in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_under_way_ends_in_the_release_it_began_in() {
    for (name, path) in [(GUEST, "/upper"), ("probe-http", "/echo")] {
        let floor = Floor::open().await;
        floor.deploy(name, PROBE).await;
        let (sender, pieces) = futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, std::io::Error>>();
        let send = |piece: &'static str| sender.unbounded_send(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).unwrap();
        send("one ");
        let mut answer = ask_with(&floor, path, StreamBody::new(pieces)).await.unwrap().into_body();
        let first = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        floor.deploy("plain-http", PROBE).await;
        let new = ask(&floor, path, b"two").await.unwrap();
        assert!(!text(new).await.unwrap().eq_ignore_ascii_case("two"), "{name}: the new release answers");
        send("two");
        sender.close_channel();
        let rest = answer.collect().await.unwrap().to_bytes();
        assert_eq!([first, rest].concat().to_ascii_lowercase(), b"one two", "{name}");
    }
}

/// A machine that begins to swap: both engines are replaced, and what runs ends where it is. On one that keeps no pages from the start
/// there is nothing to fall back from, and all goes on as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_falls_back_takes_the_second_with_it() {
    let floor = floor(PROBE).await;
    let loaded = || floor.dispatch.app(&app(GUEST)).unwrap().loaded.load_full();
    let under_way = ask(&floor, "/stream?pieces=3&bytes=10&wait_ms=20", b"").await.unwrap();
    let kept = loaded().keeps_pages();
    assert_eq!(floor.engine.fall_back().unwrap(), kept, "it falls back where pages were kept, and only there");
    assert_eq!(loaded().keeps_pages(), kept, "what is loaded stays as it is");
    floor.deploy(GUEST, PROBE).await;
    assert!(!loaded().keeps_pages());
    assert_eq!(text(ask(&floor, "/status", b"").await.unwrap()).await.unwrap(), "as told\n");
    assert_eq!(text(under_way).await.unwrap().len(), 30);
}

#[tokio::test]
async fn what_is_of_wasi_0_3_and_has_no_handler_of_it_is_refused_by_name() {
    let engine = Engine::open(&EngineOptions { instances_max: 2, ..EngineOptions::default() }).unwrap();
    let manifest = Manifest::parse("[app]\nname = \"odd\"\n[[on]]\nname = \"f\"\nsubject = \"reading.>\"\n").unwrap();
    let late = wat::parse_str("(component (import \"wasi:clocks/system-clock@0.3.0\" (instance)))").unwrap();
    let Err(EngineError::Refused(why)) = engine.verify(&late, &manifest) else { panic!("accepted") };
    assert!(why[0].contains("`wasi:clocks/system-clock@0.3.0` is of WASI 0.3"), "{why:?}");
    let reused = Manifest::parse(&PROBE.replace("timeout =", "reuse = 10\ntimeout =")).unwrap();
    let Err(EngineError::Refused(why)) = engine.verify(&guest(GUEST), &reused) else { panic!("accepted") };
    assert!(why[0].contains("`reuse`"), "{why:?}");
    // What a manifest grants counts on either engine.
    let Err(EngineError::Refused(why)) = engine.verify(&guest(GUEST), &manifest) else { panic!("accepted") };
    assert!(why.iter().any(|why| why.contains("add `state = true` under [grant]")), "{why:?}");
}
