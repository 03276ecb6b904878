//! `reuse` and the limits of a call that an author sets: real engine, real guests, real embedded ledger.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use serde_json::Value;
use support::{Floor, app, function, reading};
use tawi_runtime::{engine::WARM_MAX, model::Kind};

const MANIFEST: &str = r#"
[app]
name = "probe-reuse"
[[on]]
name = "event"
subject = "reading.>"
reuse = EVENTS
delivery = { retry = 0 }
[[on]]
name = "http"
http = "/"
auth = "public"
reuse = REQUESTS
[grant]
publish = ["probe.>"]
"#;

fn manifest(events: u32, requests: u32) -> String {
    MANIFEST.replace("EVENTS", &events.to_string()).replace("REQUESTS", &requests.to_string())
}

/// What each call said, in the order of the log.
fn told(floor: &Floor) -> Vec<Value> {
    let text = |event: &tawi_runtime::model::Event| match &event.value {
        tawi_runtime::model::Value::Json(text) => serde_json::from_str(text).unwrap(),
        other => panic!("{other:?}"),
    };
    floor.all(Kind::Message).iter().map(|event| text(event)).collect()
}

/// Of every call: how many its instance had served with it.
fn calls(told: &[Value]) -> Vec<u64> {
    told.iter().map(|one| one["calls"].as_u64().unwrap()).collect()
}

async fn run_events(floor: &Floor, count: usize) {
    for _ in 0..count / 100 {
        floor.append((0..100).map(|n| reading(&format!("d{n}"), "temp", "1")).collect()).await;
    }
    floor.settled(&function("probe-reuse", "event")).await;
}

async fn ask(floor: &Floor, path: &str) -> Value {
    let app = floor.dispatch.app(&app("probe-reuse")).unwrap();
    let function = app.loaded.load().release.manifest.functions[1].clone();
    let request = http::Request::builder().uri(path).header("host", "probe.localhost").body(Empty::<Bytes>::new()).unwrap();
    let answer = floor.dispatch.serve(app, function, None, request).await.unwrap();
    serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_has_an_instance_of_its_own_unless_its_manifest_says_otherwise() {
    let floor = Floor::open().await;
    floor.deploy("probe-reuse", &manifest(1, 1)).await;
    run_events(&floor, 500).await;
    assert!(calls(&told(&floor)).iter().all(|calls| *calls == 1));
    for _ in 0..20 {
        assert_eq!(ask(&floor, "/a").await["calls"], 1);
    }
    assert_eq!(floor.engine.warm(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_serves_as_many_calls_as_its_manifest_lets_it_and_a_random_number_of_them() {
    let floor = Floor::open().await;
    floor.deploy("probe-reuse", &manifest(50, 50)).await;
    run_events(&floor, 5_000).await;
    let told = told(&floor);
    assert_eq!(told.len(), 5_000);
    let calls = calls(&told);
    let most = *calls.iter().max().unwrap();
    assert!((10..=50).contains(&most), "an instance served {most} calls");
    let fresh = calls.iter().filter(|calls| **calls == 1).count();
    assert!((100..2_500).contains(&fresh), "{fresh} instances for 5,000 calls of at most 50 each, on average 25");
    // Where one ends is not known before: not all lives are of one length.
    let ended_after = |n: u64| calls.iter().filter(|calls| **calls == n).count() - calls.iter().filter(|calls| **calls == n + 1).count();
    assert!((1..49).filter(|n| ended_after(*n) > 0).count() > 10, "{calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reused_instance_has_the_time_the_output_and_the_effects_of_each_call_apart() {
    let floor = Floor::open().await;
    floor.deploy("probe-reuse", &manifest(1_000, 1_000)).await;
    let mut times = std::collections::BTreeSet::new();
    let mut most = 0;
    for n in 0..40 {
        let answer = ask(&floor, &format!("/{n}")).await;
        assert_eq!(answer["device"], format!("/{n}"));
        times.insert(answer["now"].as_str().unwrap().to_owned());
        most = most.max(answer["calls"].as_u64().unwrap());
    }
    assert!(most > 2, "no instance was used again in forty requests");
    assert_eq!(times.len(), 40, "a call has the time of its own attempt");
    // One message and one line for each call, under its own id.
    let messages = floor.all(Kind::Message);
    assert_eq!(messages.len(), 40);
    for message in messages {
        let call = &message.cause.as_ref().unwrap().call;
        let lines: Vec<_> = floor.all(Kind::Log).into_iter().filter(|line| &line.cause.as_ref().unwrap().call == call).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let told: Value = match &message.value {
            tawi_runtime::model::Value::Json(text) => serde_json::from_str(text).unwrap(),
            other => panic!("{other:?}"),
        };
        let said = format!("call {} for {}", told["calls"], told["device"].as_str().unwrap());
        assert!(format!("{:?}", lines[0].value).contains(&said), "{said}: {:?}", lines[0].value);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_trapped_is_never_called_again() {
    let floor = Floor::open().await;
    floor.deploy("probe-reuse", &manifest(1_000_000, 1)).await;
    for n in 0..30 {
        floor.append(vec![reading("d", "temp", "1"), reading("d", "temp", "1"), reading("d", "temp", "\"trap\"")]).await;
        floor.settled(&function("probe-reuse", "event")).await;
        assert_eq!(floor.engine.warm(), 0, "round {n}");
    }
    assert_eq!(calls(&told(&floor)), [1, 2].repeat(30));
    assert_eq!(floor.ledger.dead(None, None, 100).unwrap().len(), 30);
}

/// What hangs on a body, a client's connection say, must not outlive its call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_holds_on_to_a_body_is_not_called_again() {
    let floor = Floor::open().await;
    floor.deploy("probe-reuse", &manifest(1, 1_000_000)).await;
    for _ in 0..5 {
        assert_eq!(ask(&floor, "/forget").await["calls"], 1);
        assert_eq!(floor.engine.warm(), 0);
    }
    ask(&floor, "/").await;
    assert_eq!(floor.engine.warm(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_wait_go_with_their_release() {
    let floor = Floor::open().await;
    floor.deploy("probe-reuse", &manifest(1_000_000, 1_000_000)).await;
    run_events(&floor, 100).await;
    ask(&floor, "/").await;
    let waiting = floor.engine.warm();
    assert!(waiting >= 2 && waiting <= WARM_MAX as usize, "{waiting}");
    floor.deploy("probe-reuse", &manifest(1_000_000, 1_000_000)).await;
    assert_eq!(ask(&floor, "/").await["calls"], 1, "the new release has none of the old one's");
    assert_eq!(floor.engine.warm(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_computes_too_long_ends_with_its_processor_time() {
    let floor = Floor::open().await;
    let manifest = "[app]\nname = \"bad-loop\"\n[[on]]\nname = \"on\"\nsubject = \"reading.>\"\ntimeout = \"60s\"\ndelivery = { retry = 0 }\n[limits]\ncpu = \"50ms\"\n";
    floor.deploy("bad-loop", manifest).await;
    floor.append(vec![reading("d", "temp", "1")]).await;
    floor.settled(&function("bad-loop", "on")).await;
    let dead = floor.ledger.dead(None, None, 10).unwrap();
    assert_eq!(dead.len(), 1);
    assert!(dead[0].error.contains("all of its 50ms of processor time (`cpu` under [limits]"), "{}", dead[0].error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_waits_uses_no_processor_time() {
    let floor = Floor::open().await;
    let manifest = "[app]\nname = \"probe-http\"\n[[on]]\nname = \"http\"\nhttp = \"/\"\nauth = \"public\"\n[limits]\ncpu = \"50ms\"\noutput = \"1KiB\"\n[grant]\npublish = [\"probe.>\"]\n";
    floor.deploy("probe-http", manifest).await;
    let ask = async |path: &str| {
        let app = floor.dispatch.app(&app("probe-http")).unwrap();
        let function = app.loaded.load().release.manifest.functions[0].clone();
        let request = http::Request::builder().uri(path).header("host", "probe.localhost").body(Empty::<Bytes>::new()).unwrap();
        let answer = floor.dispatch.serve(app, function, None, request).await.unwrap();
        answer.into_body().collect().await.map(|whole| whole.to_bytes().len())
    };
    assert_eq!(ask("/stream?pieces=5&bytes=200&wait_ms=100").await.unwrap(), 1_000);
    let error = ask("/stream?pieces=3&bytes=400&wait_ms=0").await.unwrap_err();
    assert!(error.to_string().contains("1024") || format!("{error:?}").contains("1024"), "{error:?}");
}
