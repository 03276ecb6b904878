//! A function that is so far behind that the log is kept for it no longer: it is paused, and nothing is skipped silently.

use super::{ALERT, ECHO, Floor, app, function, reading};
use futures::future::join_all;
use std::{sync::Arc, time::Duration};
use tawi_runtime::{
    ledger::{Lost, Op, Outcome},
    model::{Event, FunctionId, Kind, NewEvent, Seq, Subject},
};

/// The readings that the echo function has handled, one for each time that it did.
fn echoed(floor: &Floor) -> Vec<Seq> {
    let echoes = floor.all(Kind::Message).into_iter().filter(|event| event.subject.as_str().starts_with("probe.echo."));
    echoes.map(|event| event.value.to_json()["sequence"].as_u64().unwrap()).collect()
}

fn alerts(count: usize) -> impl Fn(&[Arc<Event>]) -> bool {
    move |events| events.iter().filter(|event| event.subject.as_str().starts_with("alerts.")).count() == count
}

/// Waits until the messages in the log are as they should be.
async fn messages(floor: &Floor, right: impl Fn(&[Arc<Event>]) -> bool) {
    let mut head = floor.ledger.head();
    let wait = async {
        while !right(&floor.all(Kind::Message)) {
            head.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the messages in the log come to be as they should be");
}

async fn pause(floor: &Floor, bytes_max: u64) -> Vec<FunctionId> {
    let end = *floor.ledger.head().borrow() + 1;
    floor.dispatch.pause_laggards(end, bytes_max).await.unwrap()
}

fn lost(floor: &Floor) -> Vec<Lost> {
    floor.ledger.lost(Some(&app("probe-event"))).unwrap().into_iter().map(|(_, lost)| lost).collect()
}

/// What the node says about it, where its author looks.
fn said(floor: &Floor) -> Vec<String> {
    let logs = floor.all(Kind::Log).into_iter().filter(|event| event.subject.as_str() == "log.probe-event.readings");
    logs.map(|event| event.value.to_json()["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_does_not_run_holds_the_log_only_for_so_long_and_what_it_lost_is_known() {
    let floor = Floor::open().await;
    let (slow, quick) = (function("probe-event", "readings"), function("threshold-alert", "alert"));
    floor.deploy("probe-event", ECHO).await;
    floor.deploy("threshold-alert", ALERT).await;
    floor.dispatch.remove(&app("probe-event")).await;
    let early = floor.append((0..10).map(|_| reading("d", "event", "9")).collect()).await;
    messages(&floor, alerts(10)).await;
    floor.settled(&quick).await;
    assert_eq!(floor.ledger.trim(Seq::MAX).await.unwrap(), early[0], "the log is kept for the one that does not run");

    let held = floor.ledger.log_bytes(early[0], *floor.ledger.head().borrow() + 1).unwrap();
    assert_eq!(pause(&floor, held).await, [], "so much it may hold");
    let from_third = floor.ledger.log_bytes(early[2], *floor.ledger.head().borrow() + 1).unwrap();
    assert_eq!(pause(&floor, from_third).await, std::slice::from_ref(&slow), "and the one that keeps up is not touched");
    assert_eq!(pause(&floor, from_third).await, [], "and that once");
    assert!(floor.ledger.trim(early[7]).await.unwrap() == early[7], "nothing is kept for it any more");
    let all: u64 = lost(&floor).iter().map(|lost| lost.events).sum();
    assert_eq!((lost(&floor)[0].from, lost(&floor)[0].to, all), (early[0], early[6], 7));
    assert!(said(&floor).iter().any(|line| line.starts_with("paused: ") && line.contains("tawi resume probe-event readings")));

    // It runs again, as after a restart or a new release, and stays paused: what it has missed is for people to judge.
    floor.reconciler.round().await;
    floor.deploy("probe-event", ECHO).await;
    let later = floor.append(vec![reading("d", "event", "1"), reading("e", "event", "9")]).await;
    messages(&floor, alerts(11)).await;
    floor.settled(&quick).await;
    assert_eq!(echoed(&floor), Vec::<Seq>::new());
    assert_eq!(floor.dispatch.consumer(&slow).unwrap().open(), 0);

    assert!(floor.dispatch.resume(&slow).await.unwrap());
    floor.settled(&slow).await;
    let mut done = echoed(&floor);
    done.sort_unstable();
    assert_eq!(done, [&early[7..], &later].concat(), "from the oldest that is there, each once");
    assert!(said(&floor).iter().any(|line| line.starts_with("resumed: 7 events (")), "{:?}", said(&floor));
    assert!(!floor.dispatch.resume(&slow).await.unwrap(), "it goes on already");
    assert_eq!(lost(&floor).len(), 1, "until somebody takes note");
    let noted = floor.ledger.apply(Op::ForgetLost { function: slow, through: early[6] }).await.unwrap();
    assert!(matches!(noted, Outcome::Applied { .. }) && lost(&floor).is_empty());
}

/// Its position is stored now and then only: that it is old says nothing about the function.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_has_nothing_to_do_is_not_behind() {
    let floor = Floor::open().await;
    let idle = function("probe-event", "readings");
    let elsewhere = || NewEvent { kind: Kind::Message, subject: Subject::new("elsewhere").unwrap(), ..reading("d", "event", "1") };
    floor.deploy("probe-event", ECHO).await;
    let passed = floor.append((0..10).map(|_| elsewhere()).collect()).await;
    let consumer = floor.dispatch.consumer(&idle).unwrap();
    while consumer.scanned() < passed[9] {
        tokio::task::yield_now().await;
    }
    assert_eq!(pause(&floor, 0).await, [], "it has seen all there is");
    assert_eq!(floor.ledger.pause(&idle).unwrap(), None);
}

/// What is counted as lost is not done as well, though calls on it were under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_under_way_when_its_function_was_paused_is_lost_and_not_done() {
    let floor = Floor::open().await;
    let slow = function("probe-event", "readings");
    floor.deploy("probe-event", ECHO).await;
    // With no instance free, its calls wait at their very beginning.
    let instances = join_all((0..floor.engine.instances_max).map(|_| floor.engine.permit())).await;
    let early = floor.append((0..10).map(|n| reading(&format!("d{}", n % 3), "event", "1")).collect()).await;
    while floor.dispatch.consumer(&slow).unwrap().open() < early.len() {
        tokio::task::yield_now().await;
    }
    assert_eq!(pause(&floor, 0).await, std::slice::from_ref(&slow));
    let said = *floor.ledger.head().borrow();
    floor.ledger.trim(said).await.unwrap();
    assert_eq!(lost(&floor).iter().map(|lost| lost.events).sum::<u64>(), 10);
    drop(instances);
    while floor.dispatch.consumer(&slow).unwrap().open() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(floor.dispatch.resume(&slow).await.unwrap());
    let later = floor.append(vec![reading("d0", "event", "1"), reading("d1", "event", "1")]).await;
    floor.settled(&slow).await;
    let mut done = echoed(&floor);
    done.sort_unstable();
    assert_eq!(done, later);
    assert_eq!((floor.ledger.dead_count().unwrap(), floor.ledger.parked(&slow).unwrap().len()), (0, 0));
}

/// What waits for its retry was copied out of the log, so it is tried while the function is paused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_retry_is_tried_while_its_function_is_paused() {
    let floor = Floor::open().await;
    let slow = function("probe-event", "readings");
    floor.deploy("probe-event", ECHO).await;
    let parked = floor.append(vec![reading("d", "event", r#"{"then":"retry","until":2,"after_ms":300}"#)]).await;
    floor.counts_parked(&slow, 1).await;
    floor.settled(&slow).await;
    let pause = Op::Pause { function: slow.clone(), behind: Seq::MAX, now: tawi_runtime::clock::now(), said: vec![] };
    let paused = floor.ledger.apply(pause).await.unwrap();
    assert!(matches!(paused, Outcome::Applied { .. }), "{paused:?}");
    floor.append(vec![reading("d", "event", "1")]).await;
    let floor = Floor::open_in(floor.crash().await).await;
    floor.reconciler.round().await;
    floor.events(Kind::Message, 1).await;
    floor.counts_parked(&slow, 0).await;
    assert_eq!(echoed(&floor), parked);
}
