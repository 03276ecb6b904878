//! What was, run again: the same function over the same readings, as they came and out of the history.

use super::{EVENTS_THROUGH, GUEST, MANIFEST, embedded, median, readings, settled, spread, two_cores};
use crate::support::{Floor, function};
use std::time::{Duration, Instant};
use tawi_platform_tests::results::{Figure, Results};
use tawi_runtime::{
    history::{History, HistoryOptions},
    ledger::{Append, Op},
    model::id::default_tenant,
    replay::{Parts, Replays, State, Wanted},
};
use tokio_util::sync::CancellationToken;

const BATCH: usize = 500;
const INDEXED: usize = 10_000;

/// Calls a second: live, out of the log, out of the history.
async fn round() -> (f64, f64, f64) {
    let dir = tempfile::tempdir().unwrap();
    let config = embedded(dir.path());
    let floor = Floor::open_on(dir, config).await;
    floor.deploy(GUEST, MANIFEST).await;
    let own = function(GUEST, "own");
    let begin = Instant::now();
    for from in (0..EVENTS_THROUGH).step_by(BATCH) {
        let append = Append { tenant: default_tenant(), events: readings(BATCH, from), dedup: None, intake: None };
        floor.ledger.apply(Op::Append(append)).await.unwrap();
    }
    settled(&floor, &own).await;
    let live = EVENTS_THROUGH as f64 / begin.elapsed().as_secs_f64();

    let history = History::open(&floor.dir.path().join("history"), HistoryOptions::default()).unwrap();
    let head = *floor.ledger.head().borrow();
    let mut from = 1;
    while from <= head {
        let page = floor.ledger.events(from, INDEXED, usize::MAX).unwrap();
        from = page.last().unwrap().seq + 1;
        history.index(&page).unwrap();
    }
    history.commit().unwrap();
    // Only what is measured runs.
    floor.dispatch.remove(&own.app).await;
    let logged = again(&floor, &history).await;
    while floor.ledger.trim(head + 1).await.unwrap() <= head {
        floor.ledger.apply(Op::Unregister { function: own.clone() }).await.unwrap();
    }
    let stored = again(&floor, &history).await;
    (live, logged, stored)
}

async fn again(floor: &Floor, history: &History) -> f64 {
    let Floor { ledger, dispatch, store, reconciler, .. } = floor;
    let (ledger, dispatch, store, reconciler) = (ledger.clone(), dispatch.clone(), store.clone(), reconciler.clone());
    let parts = Parts { ledger, history: history.clone(), dispatch, store, reconciler, disk_free_bytes_min: 0 };
    let replays = Replays::open(&floor.dir.path().join("replays"), parts).unwrap();
    let own = function(GUEST, "own");
    let wanted = Wanted { app: own.app.clone(), function: own.function, release: 1, from: None, to: None, by_measured: false };
    let stop = CancellationToken::new();
    let running = tokio::spawn(replays.clone().run(stop.clone()));
    let begin = Instant::now();
    let job = replays.start(wanted).unwrap();
    let over = loop {
        let now = replays.get(&own.app, job.number).unwrap();
        if now.is_over() {
            break now;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    let took = begin.elapsed();
    // Each event has one message, and one key of the state.
    assert_eq!((&over.state, over.failed), (&State::Done, 0));
    assert!(over.lines as usize >= EVENTS_THROUGH, "{} lines", over.lines);
    stop.cancel();
    running.await.unwrap();
    EVENTS_THROUGH as f64 / took.as_secs_f64()
}

pub fn replay(results: &mut Results) {
    let rounds: Vec<(f64, f64, f64)> = (0..3).map(|_| two_cores().block_on(round())).collect();
    let what = [("replay out of the history, two cores", 2), ("replay out of the log, two cores", 1)];
    for (name, which) in what {
        let pairs: Vec<(f64, f64)> = rounds.iter().map(|(live, logged, stored)| ([*logged, *stored][which - 1], *live)).collect();
        let note = spread(&pairs);
        let (ours, theirs) = median(pairs);
        let figure = Figure::at_least(name, ours, "1/s", 0.8);
        results.add(figure.beside("the same events when they were live", theirs).note(note));
    }
}
