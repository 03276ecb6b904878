//! What was acknowledged before a question is in its answer.

use super::{id, reading, seqs};
use crate::{
    history::{History, HistoryError, HistoryOptions, Query, Source},
    ledger::{Append, Ledger, LedgerConfig, LedgerOptions, Op},
    model::{Event, Micros, id::default_tenant},
};
use std::time::{Duration, Instant};

async fn ledger(dir: &std::path::Path) -> Ledger {
    let config = LedgerConfig::Embedded { dir: dir.join("ledger"), options: LedgerOptions::default() };
    Ledger::open(&config).await.unwrap()
}

async fn send(ledger: &Ledger, device: &str, value: &str) {
    let event = Event::clone(&reading(1, device, "temp", Micros(0), value)).body;
    let append = Append { tenant: default_tenant(), events: vec![event], dedup: None, intake: None };
    ledger.apply(Op::Append(append)).await.unwrap();
}

fn of(device: &str) -> Query {
    Query { sources: Some(vec![Source { device: id(device), since: None }]), ..Query::new(default_tenant(), "") }
}

#[tokio::test]
async fn what_was_stored_before_the_question_is_in_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (log, options) = (ledger(dir.path()).await, HistoryOptions { commit_interval: Duration::from_millis(5), ..Default::default() });
    let history = History::open(&dir.path().join("history"), options).unwrap();
    for n in 1..=5 {
        send(&log, "pond", "1").await;
        history.reach(&log, &of("pond")).await.unwrap();
        assert_eq!(seqs(&history.search(&of("pond")).unwrap()).len(), n);
    }
}

#[tokio::test]
async fn who_asks_for_what_nobody_sent_just_now_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    // Whoever waited here would wait until the question is given up.
    let options = HistoryOptions { commit_interval: Duration::from_secs(3_600), ..HistoryOptions::default() };
    let (log, history) = (ledger(dir.path()).await, History::open(&dir.path().join("history"), options).unwrap());
    send(&log, "lake", "1").await;
    let started = Instant::now();
    history.reach(&log, &of("pond")).await.unwrap();
    let elsewhen = Query { from: Some(Micros(1)), ..of("lake") };
    history.reach(&log, &elsewhen).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(history.position(), 0, "nothing was committed for it");
}

#[tokio::test]
async fn a_question_waits_for_the_history_for_a_time_and_is_told_so_then() {
    let dir = tempfile::tempdir().unwrap();
    let (hour, reach_time) = (Duration::from_secs(3_600), Duration::from_millis(20));
    let options = HistoryOptions { commit_interval: hour, reach_time, ..HistoryOptions::default() };
    let (log, history) = (ledger(dir.path()).await, History::open(&dir.path().join("history"), options).unwrap());
    send(&log, "pond", "1").await;
    let late = history.reach(&log, &of("pond")).await;
    assert!(matches!(late, Err(HistoryError::Behind(_))), "{late:?}");
}
