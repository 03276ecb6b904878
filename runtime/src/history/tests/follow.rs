//! The history behind a real ledger.

use super::{find, id, micros, sorted};
use crate::{
    history::{History, HistoryOptions},
    ledger::{Append, Ledger, LedgerConfig, LedgerOptions, Op, Outcome},
    model::{Micros, NewEvent, Seq, Value, id::default_tenant},
};
use std::{path::Path, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No story here takes long; one that hangs must not hang the build.
const PATIENCE: Duration = Duration::from_secs(30);

async fn ledger(dir: &Path) -> Ledger {
    Ledger::open(&LedgerConfig::Embedded { dir: dir.join("ledger"), options: LedgerOptions::default() }).await.unwrap()
}

/// Appends readings of the next `count` hours; returns the last sequence.
async fn append(ledger: &Ledger, count: i64) -> Seq {
    let at = |n: i64| Micros(micros("2026-01-01T00:00:00Z").0 + n * 3_600 * Micros::SECOND);
    let reading = |n| NewEvent::reading(&default_tenant(), &id("pond"), &id("temp"), at(n), at(n), Value::json("1").unwrap());
    let events = (0..count).map(reading).collect();
    let append = Append { tenant: default_tenant(), events, dedup: None, intake: None };
    match ledger.apply(Op::Append(append)).await.unwrap() {
        Outcome::Applied { seqs, .. } => *seqs.last().unwrap(),
        outcome => panic!("{outcome:?}"),
    }
}

struct Running {
    history: History,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), crate::history::HistoryError>>,
}

impl Running {
    fn start(dir: &Path, ledger: &Ledger, options: HistoryOptions) -> Running {
        let history = History::open(&dir.join("history"), options).unwrap();
        let shutdown = CancellationToken::new();
        let (running, ledger, token) = (history.clone(), ledger.clone(), shutdown.clone());
        let task = tokio::spawn(async move { running.run(ledger, token).await });
        Running { history, shutdown, task }
    }

    async fn has(&self, seq: Seq) {
        let mut position = self.history.watch();
        let reached = tokio::time::timeout(PATIENCE, position.wait_for(|position| *position >= seq)).await;
        assert!(reached.is_ok(), "the history is at {}, not at {seq}", self.history.position());
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_took_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(dir.path()).await;
    let before = append(&ledger, 100).await;
    let running = Running::start(dir.path(), &ledger, HistoryOptions::default());
    running.has(before).await;
    for _ in 0..5 {
        append(&ledger, 10).await;
    }
    running.has(150).await;
    assert_eq!(sorted(&find(&running.history, "device:pond")), (1..=150).collect::<Vec<_>>());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_on_where_it_was_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(dir.path()).await;
    for round in 1..=4 {
        let running = Running::start(dir.path(), &ledger, HistoryOptions::default());
        let last = append(&ledger, 1_500).await;
        if round % 2 == 0 {
            running.has(last).await;
        }
        // In the odd rounds wherever it happens to be.
        running.stop().await;
    }
    let running = Running::start(dir.path(), &ledger, HistoryOptions::default());
    running.has(6_000).await;
    assert_eq!(find(&running.history, "").total, 6_000);
    assert_eq!(find(&running.history, "seq:[1 TO 1000]").total, 1_000);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_node_closes_its_writers_and_wakes_up() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(dir.path()).await;
    let running =
        Running::start(dir.path(), &ledger, HistoryOptions { rest_after: Duration::from_millis(50), ..HistoryOptions::default() });
    for round in 1..=3 {
        let last = append(&ledger, 10).await;
        running.has(last).await;
        let asleep = async {
            while running.history.writers.lock().open_count() > 0 {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, asleep).await.is_ok(), "it still writes");
        assert_eq!(find(&running.history, "").total, round * 10);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reads_on_when_the_log_was_trimmed_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(dir.path()).await;
    append(&ledger, 100).await;
    assert_eq!(ledger.trim(61).await.unwrap(), 61);
    let running = Running::start(dir.path(), &ledger, HistoryOptions::default());
    running.has(100).await;
    assert_eq!(sorted(&find(&running.history, "")), (61..=100).collect::<Vec<_>>());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_disk_is_waited_out() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(dir.path()).await;
    let disk = super::disk::ForgetfulDisk::default();
    let history = History::on(std::sync::Arc::new(disk.clone()), HistoryOptions::default()).unwrap();
    disk.fail_next_commit();
    let last = append(&ledger, 10).await;
    let shutdown = CancellationToken::new();
    let (follower, token) = (history.clone(), shutdown.clone());
    let task = tokio::spawn(async move { follower.run(ledger, token).await });
    let running = Running { history, shutdown, task };
    running.has(last).await;
    assert_eq!(sorted(&find(&running.history, "")), (1..=10).collect::<Vec<_>>());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_told_and_survived() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(dir.path()).await;
    let disk = super::disk::ForgetfulDisk::default();
    let history = History::on(std::sync::Arc::new(disk.clone()), HistoryOptions::default()).unwrap();
    disk.panic_next_position();
    let last = append(&ledger, 10).await;
    let shutdown = CancellationToken::new();
    let (follower, token) = (history.clone(), shutdown.clone());
    let task = tokio::spawn(async move { follower.run(ledger, token).await });
    let running = Running { history, shutdown, task };
    let told = async {
        loop {
            if let Some(trouble) = running.history.standing().trouble() {
                return trouble;
            }
            tokio::task::yield_now().await;
        }
    };
    let trouble = tokio::time::timeout(PATIENCE, told).await.unwrap();
    assert!(trouble.contains("panicked"), "{trouble}");
    running.has(last).await;
    assert_eq!(sorted(&find(&running.history, "")), (1..=10).collect::<Vec<_>>());
    running.stop().await;
}
