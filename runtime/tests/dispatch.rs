//! From an event in the log to its effects in the log: real engine, real guests, real embedded ledger.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "dispatch/lag.rs"]
mod lag;
mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};
use support::{Floor, app, function, reading};
use tawi_runtime::{clock, deploy::Reconciler, dispatch::Dispatch, host::HistoryPage, ledger::Op, model::Kind};

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

const AVERAGE: &str = r#"
[app]
name = "daily-average"
[[on]]
name = "count"
subject = "reading.>"
order = "ORDER"
[grant]
state = true
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_above_the_threshold_become_alerts_in_the_log() {
    let floor = Floor::open().await;
    floor.deploy("threshold-alert", ALERT).await;
    floor.append(vec![reading("fridge1", "temp", "9.5"), reading("fridge1", "temp", "3"), reading("fridge2", "temp", "\"8.5\"")]).await;
    let alerts = floor.events(Kind::Message, 2).await;
    floor.settled(&function("threshold-alert", "alert")).await;
    let mut subjects: Vec<&str> = alerts.iter().map(|event| event.subject.as_str()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["alerts.fridge1.temp", "alerts.fridge2.temp"]);
    assert_eq!(floor.all(Kind::Message).len(), 2);
    let cause = alerts[0].cause.as_ref().unwrap();
    assert_eq!((cause.app.as_str(), cause.function.as_str()), ("threshold-alert", "alert"));
}

/// Eight devices write one key: calls run in parallel, and yet the count is exact.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_key_counts_every_event_once() {
    for order in ["device", "none"] {
        let floor = Floor::open().await;
        floor.deploy("daily-average", &AVERAGE.replace("ORDER", order)).await;
        for round in 0..10 {
            // One device id in eight spellings would be eight lines; the key in the state is the device's, so share the device.
            let device = if order == "none" { "hot".to_owned() } else { format!("d{}", round % 2) };
            floor.append((0..100).map(|_| reading(&device, "temp", "1")).collect()).await;
        }
        floor.settled(&function("daily-average", "count")).await;
        assert_eq!(counted(&floor), 1_000, "order {order}");
    }
}

/// Readings that `daily-average` has counted.
fn counted(floor: &Floor) -> u64 {
    let entries = floor.ledger.state_entries(&app("daily-average"), "day/", None, 100).unwrap();
    let count = |value: &[u8]| serde_json::from_slice::<serde_json::Value>(value).unwrap()["count"].as_u64().unwrap();
    entries.iter().map(|(_, value)| count(value)).sum()
}

/// Releases come while events are under way, each with other words for the same events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_changes_runs_no_event_twice() {
    let floor = Arc::new(Floor::open().await);
    floor.deploy("daily-average", &AVERAGE.replace("ORDER", "device")).await;
    let (enough, mut told) = tokio::sync::watch::channel(false);
    let devices = tokio::spawn({
        let floor = floor.clone();
        async move {
            let mut sent = 0;
            while !*told.borrow_and_update() {
                floor.append((0..10).map(|n| reading(&format!("d{n}"), "temp", "1")).collect()).await;
                sent += 10;
                // Always some that wait, never many.
                while counted(&floor) + 50 < sent {
                    tokio::task::yield_now().await;
                }
            }
            sent
        }
    });
    for round in 0..8 {
        let order = ["none", "device"][round % 2];
        let subject = ["reading.>", "reading.*.temp"][round / 2 % 2];
        floor.deploy("daily-average", &AVERAGE.replace("ORDER", order).replace("reading.>", subject)).await;
    }
    enough.send_replace(true);
    let sent = devices.await.unwrap();
    floor.settled(&function("daily-average", "count")).await;
    assert_eq!(counted(&floor), sent);
}

/// The ledger has forgotten an app, the node does not know yet: what is in the log since the beginning is nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_the_ledger_has_forgotten_begins_no_log_from_its_start() {
    let floor = Floor::open().await;
    let id = function("daily-average", "count");
    floor.deploy("daily-average", &AVERAGE.replace("ORDER", "device")).await;
    floor.append((0..10).map(|_| reading("d", "temp", "1")).collect()).await;
    floor.settled(&id).await;
    floor.ledger.apply(Op::DeleteApp { app: app("daily-average") }).await.unwrap();
    floor.append(vec![reading("d", "temp", "1")]).await;
    let ended = async {
        while floor.dispatch.consumer(&id).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("its consumer ends");
    assert_eq!(counted(&floor), 0);

    // Deployed again it begins with what comes then.
    floor.deploy("daily-average", &AVERAGE.replace("ORDER", "device")).await;
    floor.append(vec![reading("d", "temp", "1")]).await;
    floor.settled(&id).await;
    assert_eq!(counted(&floor), 1);
}

/// Two nodes on one log run the same function. Whoever commits second is refused, and finds it done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_on_one_log_double_nothing() {
    let floor = Floor::open().await;
    let history = Arc::new(|_, _| -> futures::future::BoxFuture<'static, _> { Box::pin(async { Ok(HistoryPage::default()) }) });
    let other = Arc::new(Dispatch::new(floor.engine.clone(), floor.ledger.clone(), history));
    floor.deploy("daily-average", &AVERAGE.replace("ORDER", "device")).await;
    Reconciler::new(floor.store.clone(), floor.engine.clone(), other.clone()).round().await;
    for round in 0..50 {
        floor.append((0..10).map(|n| reading(&format!("d{}", n % 3), "temp", "1")).collect()).await;
        // What is there to be fought about is not there all at once.
        while counted(&floor) < round * 10 + 5 {
            tokio::task::yield_now().await;
        }
    }
    floor.settled(&function("daily-average", "count")).await;
    let shared = other.consumer(&function("daily-average", "count")).unwrap();
    while shared.scanned() < *floor.ledger.told().borrow() || shared.open() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(counted(&floor), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_the_last_commit_was() {
    let mut floor = Floor::open().await;
    floor.deploy("daily-average", &AVERAGE.replace("ORDER", "device")).await;
    for _ in 0..3 {
        floor.append((0..200).map(|n| reading(&format!("d{}", n % 7), "temp", "2")).collect()).await;
        // Somewhere in the middle of the work.
        floor = Floor::open_in(floor.crash().await).await;
        floor.reconciler.round().await;
    }
    floor.settled(&function("daily-average", "count")).await;
    let entries = floor.ledger.state_entries(&app("daily-average"), "", None, 100).unwrap();
    let sums: BTreeMap<String, f64> = entries
        .iter()
        .map(|(key, value)| (key.clone(), serde_json::from_slice::<serde_json::Value>(value).unwrap()["sum"].as_f64().unwrap()))
        .collect();
    assert_eq!(sums.values().sum::<f64>(), 1_200.0, "{sums:?}");
}

const ECHO: &str = r#"
[app]
name = "probe-event"
[[on]]
name = "readings"
subject = "reading.*.event"
delivery = { retry = 2, backoff-policy = "linear", backoff-delay = "20ms" }
[grant]
publish = ["probe.echo.>"]
"#;

/// A retry holds up its own device, in order, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_parks_only_its_own_key() {
    let floor = Floor::open().await;
    floor.deploy("probe-event", ECHO).await;
    let again = r#"{"then":"retry","until":3,"after_ms":50}"#;
    floor
        .append(vec![
            reading("slow", "event", again),
            reading("slow", "event", "1"),
            reading("slow", "event", "2"),
            reading("quick", "event", "3"),
        ])
        .await;
    let echoes = floor.events(Kind::Message, 4).await;
    let seen: Vec<(String, u64, u64)> = echoes
        .iter()
        .map(|event| {
            let json = event.value.to_json();
            (json["device"].as_str().unwrap().to_owned(), json["sequence"].as_u64().unwrap(), json["attempt"].as_u64().unwrap())
        })
        .collect();
    let slow: Vec<&(String, u64, u64)> = seen.iter().filter(|(device, ..)| device == "slow").collect();
    assert_eq!(slow.iter().map(|(_, seq, attempt)| (*seq, *attempt)).collect::<Vec<_>>(), [(1, 3), (2, 1), (3, 1)]);
    assert_eq!(seen[0].0, "quick", "the other device did not wait: {seen:?}");
    assert!(floor.ledger.parked(&function("probe-event", "readings")).unwrap().is_empty());
}

/// What waits behind a retry is through as soon as that is, often before it was durable that it waited: it is done all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_parked_and_done_within_one_commit_is_not_done_again_after_a_restart() {
    let floor = Floor::open().await;
    floor.deploy("probe-event", ECHO).await;
    let (id, again) = (function("probe-event", "readings"), r#"{"then":"retry","until":2,"after_ms":0}"#);
    for round in 0..10 {
        let values = std::iter::once(again).chain(std::iter::repeat_n("1", 19));
        floor.append(values.map(|value| reading("d", "event", value)).collect()).await;
        floor.events(Kind::Message, (round + 1) * 20).await;
    }
    floor.settled(&id).await;
    assert_eq!(floor.ledger.parked(&id).unwrap().iter().map(|parked| parked.seq).collect::<Vec<u64>>(), Vec::<u64>::new());
    let floor = Floor::open_in(floor.crash().await).await;
    floor.reconciler.round().await;
    floor.append(vec![reading("d", "event", "1")]).await;
    floor.events(Kind::Message, 201).await;
    floor.settled(&id).await;
    assert_eq!(floor.all(Kind::Message).len(), 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_events_survive_a_restart_in_order() {
    let floor = Floor::open().await;
    floor.deploy("probe-event", ECHO).await;
    let again = r#"{"then":"retry","until":2,"after_ms":300}"#;
    floor.append(vec![reading("d", "event", again), reading("d", "event", "1")]).await;
    floor.settled(&function("probe-event", "readings")).await;
    assert_eq!(floor.ledger.parked(&function("probe-event", "readings")).unwrap().len(), 2);
    let floor = Floor::open_in(floor.crash().await).await;
    floor.reconciler.round().await;
    let echoes = floor.events(Kind::Message, 2).await;
    let sequences: Vec<u64> = echoes.iter().map(|event| event.value.to_json()["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_knows_how_much_it_has_parked() {
    let floor = Floor::open().await;
    floor.deploy("probe-event", &ECHO.replace("20ms", "1h\", retry-after-max = \"1h")).await;
    let id = function("probe-event", "readings");
    floor.append(vec![reading("d", "event", r#"{"then":"retry"}"#), reading("d", "event", "1"), reading("e", "event", "2")]).await;
    floor.counts_parked(&id, 2).await;
    floor.settled(&id).await;
    let floor = Floor::open_in(floor.crash().await).await;
    floor.reconciler.round().await;
    floor.counts_parked(&id, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_attempt_and_a_reject_end_in_the_dead_letters_and_replay_once() {
    let floor = Floor::open().await;
    floor.deploy("probe-event", ECHO).await;
    floor
        .append(vec![
            reading("a", "event", r#"{"then":"trap"}"#),
            reading("b", "event", r#"{"then":"reject"}"#),
            reading("a", "event", "7"),
        ])
        .await;
    floor.events(Kind::Message, 1).await;
    let id = function("probe-event", "readings");
    floor.settled(&id).await;
    let dead = floor.ledger.dead(Some(&app("probe-event")), None, 10).unwrap();
    let about: Vec<(u64, u32)> = dead.iter().map(|letter| (letter.seq, letter.attempts)).collect();
    assert_eq!(about, [(1, 3), (2, 1)], "{dead:?}");
    assert!(dead[0].error.contains("trapped"), "{}", dead[0].error);
    assert!(dead[1].error.contains("as told"), "{}", dead[1].error);
    // The effects of failed attempts were dropped, their log lines were not.
    assert_eq!(floor.all(Kind::Message).len(), 1);
    assert!(floor.all(Kind::Log).len() >= 4);

    let replay = Op::ReplayDead { function: id.clone(), seq: 2, now: clock::now() };
    floor.ledger.apply(replay).await.unwrap();
    floor.dispatch.consumer(&id).unwrap().replayed(2);
    // It is rejected again, and is a dead letter again.
    let mut head = floor.ledger.head();
    while floor.ledger.dead_count().unwrap() < 2 {
        head.changed().await.unwrap();
    }
    assert!(floor.ledger.parked(&id).unwrap().is_empty());
}

/// Letters that died with one release are replayed with the next, all at once: each comes to its effects once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_dead_letters_replayed_at_once_run_once_each() {
    const LETTERS: usize = 300;
    let floor = Floor::open().await;
    let id = function("probe-event", "readings");
    floor.deploy("bad-trap", &ECHO.replace("retry = 2", "retry = 0")).await;
    floor.append((0..LETTERS).map(|n| reading(&format!("d{n}"), "event", "1")).collect()).await;
    floor.settled(&id).await;
    floor.deploy("probe-event", ECHO).await;
    let dead = floor.ledger.dead(None, None, LETTERS + 1).unwrap();
    assert_eq!(dead.len(), LETTERS);
    let replay = async |seq| {
        floor.ledger.apply(Op::ReplayDead { function: id.clone(), seq, now: clock::now() }).await.unwrap();
        floor.dispatch.consumer(&id).unwrap().replayed(seq);
    };
    futures::future::join_all(dead.iter().map(|letter| replay(letter.seq))).await;
    while !floor.ledger.parked(&id).unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    // One more behind all of them: when its echo is there, theirs are.
    floor.append(vec![reading("last", "event", "1")]).await;
    floor.settled(&id).await;
    let echoes = floor.all(Kind::Message);
    let mut sequences: Vec<u64> = echoes.iter().map(|event| event.value.to_json()["sequence"].as_u64().unwrap()).collect();
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!((echoes.len(), sequences.len()), (LETTERS + 1, LETTERS + 1));
}

/// What waits behind one that fails may be more than the node would hold in memory; everybody else goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_fails_for_long_stops_no_other() {
    let floor = Floor::open().await;
    let patient = "delivery = { retry = 2, backoff-delay = \"5m\" }";
    floor
        .deploy("probe-event", &ECHO.replace("delivery = { retry = 2, backoff-policy = \"linear\", backoff-delay = \"20ms\" }", patient))
        .await;
    floor.append(vec![reading("failing", "event", r#"{"then":"retry"}"#)]).await;
    let long = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..12 {
        floor.append((0..50).map(|_| reading("failing", "event", &long)).collect()).await;
    }
    floor.append(vec![reading("quick", "event", "1")]).await;
    let echoes = floor.events(Kind::Message, 1).await;
    assert_eq!(echoes[0].value.to_json()["device"], "quick");
    let id = function("probe-event", "readings");
    floor.settled(&id).await;
    assert_eq!(floor.ledger.parked(&id).unwrap().len(), 601);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misbehaving_functions_end_alone() {
    let floor = Floor::open().await;
    for name in ["bad-loop", "bad-memory", "bad-output", "bad-trap"] {
        let manifest = format!(
            "[app]\nname = \"{name}\"\n[[on]]\nname = \"event\"\nsubject = \"reading.*.bad\"\ntimeout = \"300ms\"\ndelivery = {{ retry = 0 }}\n[limits]\nmemory = \"16MiB\"\n"
        );
        floor.deploy(name, &manifest).await;
    }
    floor.deploy("threshold-alert", ALERT).await;
    floor.append(vec![reading("x", "bad", "1"), reading("fridge", "temp", "9")]).await;
    floor.events(Kind::Message, 1).await;
    let mut head = floor.ledger.head();
    while floor.ledger.dead_count().unwrap() < 4 {
        head.changed().await.unwrap();
    }
    let why = |name: &str| floor.ledger.dead(Some(&app(name)), None, 1).unwrap()[0].error.clone();
    assert!(why("bad-loop").contains("timeout"), "{}", why("bad-loop"));
    assert!(why("bad-memory").contains("memory"), "{}", why("bad-memory"));
    assert!(why("bad-output").contains("timeout"), "{}", why("bad-output"));
    assert!(why("bad-trap").contains("trapped"), "{}", why("bad-trap"));
    let lines = floor.all(Kind::Log).iter().filter(|event| event.subject.as_str().starts_with("log.bad-output")).count();
    assert!(lines <= tawi_runtime::model::limit::LOG_LINES_MAX + 2, "{lines}");
}
