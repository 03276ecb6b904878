//! What is known of a call when it is over: real engine, real guests, real embedded ledger.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use support::{Floor, app, function, reading};
use tawi_runtime::model::{Kind, Run, RunOutcome, limit::RUNS_PER_SECOND_MAX, run::EffectKind};

const ALERT: &str = r#"
[app]
name = "threshold-alert"
[[on]]
name = "alert"
subject = "reading.>"
[grant]
publish = ["alerts.>"]
config = true
[config]
threshold = "8"
"#;

const TRAP: &str = r#"
[app]
name = "bad-trap"
[[on]]
name = "readings"
subject = "reading.>"
delivery = { retry = 1, backoff-delay = "1ms" }
"#;

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

fn runs(floor: &Floor) -> Vec<Run> {
    floor.all(Kind::Run).iter().map(|event| Run::from_value(&event.value).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_went_well_says_what_it_did_and_what_it_took() {
    let floor = Floor::open().await;
    let release = floor.deploy("threshold-alert", ALERT).await;
    let seq = floor.append(vec![reading("fridge1", "temp", "9.5")]).await[0];
    let record = floor.events(Kind::Run, 1).await.remove(0);
    assert_eq!(record.subject.as_str(), "run.threshold-alert.alert");
    let alert = floor.all(Kind::Message).remove(0);
    let cause = record.cause.as_ref().unwrap();
    assert_eq!((&cause.call, cause.seq), (&alert.cause.as_ref().unwrap().call, seq), "it is known by the call, as its effects are");

    let run = Run::from_value(&record.value).unwrap();
    assert_eq!((run.release, run.event, run.attempt, run.outcome), (release, seq, 1, RunOutcome::Done));
    assert_eq!((run.trigger.as_str(), run.subject.as_str()), ("reading", "reading.fridge1.temp"));
    assert_eq!(run.device.as_ref().unwrap().as_str(), "fridge1");
    assert!(run.took_micros > 0 && run.cpu_micros > 0 && run.memory_bytes >= 64 * 1024, "{run:?}");
    assert_eq!((run.writes, run.messages, run.commands), (0, 1, 0));
    assert_eq!((run.effects[0].kind, run.effects[0].name.as_str()), (EffectKind::Publish, "alerts.fridge1.temp"));
    assert_eq!(run.effects[0].bytes, alert.value.len_bytes() as u64);
}

/// Whatever fails is recorded, with the words it failed with; what goes well beyond a second's worth is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_all_recorded_and_of_what_goes_well_so_much_in_a_second() {
    let floor = Floor::open().await;
    floor.deploy("threshold-alert", ALERT).await;
    let calls = 500;
    floor.append((0..calls).map(|n| reading(&format!("d{}", n % 7), "temp", "3")).collect()).await;
    floor.settled(&function("threshold-alert", "alert")).await;
    let so_far = runs(&floor);
    let (recorded, skipped) = (so_far.len() as u64, so_far.iter().map(|run| run.skipped).sum::<u64>());
    assert!(recorded >= RUNS_PER_SECOND_MAX as u64 && recorded < calls / 2, "{recorded} of {calls}");
    // A threshold that is no number: what fails is always recorded, and says what was left out before it.
    floor.store.set_config(&app("threshold-alert"), "threshold", Some("warm")).unwrap();
    floor.reconciler.round().await;
    floor.append(vec![reading("d1", "temp", "3")]).await;
    floor.events(Kind::Run, so_far.len() + 1).await;
    let failed = runs(&floor).into_iter().find(|run| run.outcome == RunOutcome::Retry).unwrap();
    assert_eq!(recorded + skipped + failed.skipped, calls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_and_a_dead_letter_are_runs_of_one_call() {
    let floor = Floor::open().await;
    floor.deploy("bad-trap", TRAP).await;
    floor.append(vec![reading("d", "t", "1")]).await;
    floor.counts_dead(1).await;
    let runs = runs(&floor);
    let outcomes: Vec<_> = runs.iter().map(|run| (run.attempt, run.outcome)).collect();
    assert_eq!(outcomes, [(1, RunOutcome::Retry), (2, RunOutcome::Dead)]);
    assert_eq!(runs[0].call, runs[1].call);
    let letter = floor.ledger.dead(None, None, 1).unwrap().remove(0);
    assert_eq!(runs[1].error.as_deref(), Some(letter.error.as_str()));
    assert_eq!(runs[1].effects, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_a_run_without_its_query() {
    let floor = Floor::open().await;
    floor.deploy("probe-http", PROBE).await;
    let ask = async |path: &str| {
        let live = floor.dispatch.app(&app("probe-http")).unwrap();
        let function = live.loaded.load().release.manifest.function("public").unwrap().clone();
        let request = http::Request::builder().method("GET").uri(format!("http://probe.local{path}"));
        let answer = floor.dispatch.serve(live, function, None, request.body(Full::new(Bytes::new())).unwrap()).await;
        let answer = answer.map(|answer| (answer.status().as_u16(), answer.into_body()));
        match answer {
            Ok((status, body)) => body.collect().await.map(|_| status).ok(),
            Err(_) => None,
        }
    };
    let status = ask("/nowhere?token=secret").await.unwrap();
    let run = Run::from_value(&floor.events(Kind::Run, 1).await[0].value).unwrap();
    let request = run.request.as_ref().unwrap();
    assert_eq!((request.method.as_str(), request.path.as_str(), request.status), ("GET", "/nowhere", u64::from(status)));
    assert_eq!((run.trigger.as_str(), run.event, run.outcome), ("http", 0, RunOutcome::Done));
    assert!(run.took_micros > 0 && run.memory_bytes > 0, "{run:?}");
}
