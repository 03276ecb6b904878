//! Releases that do not start: what keeps them out, and what serves instead.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;
use support::{Floor, app, function, guest, handler, reading};
use tawi_runtime::{
    deploy::try_out,
    model::{Digest, Kind, Manifest, id::default_tenant},
};
use tokio_util::sync::CancellationToken;

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

const TRAPS: &str = "(func $s unreachable) (start $s)";
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_does_not_start_is_found_out_before_it_is_a_release() {
    let floor = Floor::open().await;
    let manifest = Manifest::parse(&format!("{ALERT}[limits]\nmemory = \"4MiB\"\n")).unwrap();
    let tried = async |component: Vec<u8>| {
        let (store, engine, manifest) = (floor.store.clone(), floor.engine.clone(), manifest.clone());
        let artifact = store.put_artifact(&component).unwrap();
        assert_eq!(artifact, Digest::of(&component));
        tokio::task::spawn_blocking(move || {
            let tried = try_out(&store, &engine, &default_tenant(), &artifact, &component, &manifest);
            tried.map_err(|error| tawi_runtime::telemetry::chain(&error))
        })
        .await
        .unwrap()
    };
    tried(handler("(memory 1)")).await.unwrap();
    let why = tried(handler(TRAPS)).await.unwrap_err();
    assert!(why.contains("does not start") && why.contains("unreachable"), "{why}");
    let why = tried(handler("(memory 80)")).await.unwrap_err();
    assert!(why.contains("`memory` under [limits]"), "{why}");
    let why = tried(handler("(func $s (loop $l (br $l))) (start $s)")).await.unwrap_err();
    assert!(why.contains("processor time"), "{why}");
}

/// The release passed once: with another engine, or with more memory. Now the node comes up with it, and it does not load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_current_release_does_not_load_at_the_start_an_older_one_serves() {
    let floor = Floor::open().await;
    let good = floor.deploy("threshold-alert", ALERT).await;
    floor.append(vec![reading("fridge", "temp", "9")]).await;
    floor.events(Kind::Message, 1).await;
    let bad = floor.release(&handler(TRAPS), ALERT);
    let floor = Floor::open_in(floor.crash().await).await;
    assert!(floor.reconciler.round().await, "not all is as desired");
    let (id, trouble) = (app("threshold-alert"), floor.reconciler.failing(&app("threshold-alert")).unwrap());
    assert_eq!((floor.reconciler.live(&id), trouble.release), (Some(good), Some(bad)));
    assert!(trouble.why.contains("unreachable"), "{trouble:?}");
    floor.append(vec![reading("fridge", "temp", "10")]).await;
    floor.events(Kind::Message, 2).await;
    floor.settled(&function("threshold-alert", "alert")).await;
    assert_eq!(floor.all(Kind::Message).len(), 2, "it went on where it was");

    let mended = floor.release(&guest("threshold-alert"), ALERT);
    assert!(!floor.reconciler.round().await);
    assert_eq!(floor.reconciler.live(&id), Some(mended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_before_says_nothing_of_the_release_after_it() {
    let floor = Floor::open().await;
    let id = app("threshold-alert");
    let bad = floor.release(&handler(TRAPS), ALERT);
    floor.reconciler.round().await;
    let why = floor.reconciler.wait_live(&id, bad, SOON).await.unwrap_err();
    assert!(why.contains("unreachable"), "{why}");
    let good = floor.release(&guest("threshold-alert"), ALERT);
    let (live, failing) = tokio::join!(floor.reconciler.wait_live(&id, good, SOON), floor.reconciler.round());
    assert_eq!((live, failing), (Ok(()), false));
}

const SLEEPER: &str = r#"
[app]
name = "bad-habits"
[[on]]
name = "sleep"
subject = "reading.*.bad"
timeout = "60s"
delivery = { retry = 0 }
[grant]
state = true
publish = ["habits.>"]
"#;

/// A release waits for what runs of a function that it no longer has. Other apps don't.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_takes_its_time_holds_up_no_release_of_another_app() {
    let floor = Floor::open().await;
    let stop = CancellationToken::new();
    let follows = tokio::spawn({
        let (reconciler, stop) = (floor.reconciler.clone(), stop.clone());
        async move { reconciler.run(stop).await }
    });
    let first = floor.release(&guest("bad-habits"), SLEEPER);
    floor.reconciler.wait_live(&app("bad-habits"), first, SOON).await.unwrap();
    let all = floor.engine.permits_free();
    floor.append(vec![reading("d", "bad", "\"sleep\"")]).await;
    let sleeps = async {
        while floor.engine.permits_free() == all {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, sleeps).await.expect("the call begins");
    let second = floor.release(&guest("bad-habits"), &SLEEPER.replace("\"sleep\"", "\"other\""));
    let alert = floor.release(&guest("threshold-alert"), ALERT);
    floor.reconciler.wait_live(&app("threshold-alert"), alert, SOON / 2).await.unwrap();
    assert_eq!(floor.reconciler.live(&app("bad-habits")), Some(first), "the call still runs");
    assert_eq!(floor.engine.permits_free(), all - 1);
    floor.append(vec![reading("fridge", "temp", "9")]).await;
    floor.events(Kind::Message, 1).await;
    let trouble = floor.reconciler.wait_live(&app("bad-habits"), second, Duration::ZERO).await;
    assert!(trouble.is_err(), "it waits for the call");
    stop.cancel();
    follows.abort();
}
