//! How calls went: what is found, in which order, and without the readings around it.

use super::{Dice, History, HistoryOptions, find, history_of, id, micros, reading};
use crate::{
    history::{HistoryError, RunPage, RunQuery},
    model::{Event, Kind, Micros, NewEvent, Run, RunOutcome, Subject, id::default_tenant},
};
use std::sync::Arc;

fn run(function: &str, device: &str, outcome: RunOutcome, start: Micros, took_micros: u64) -> Run {
    Run {
        app: id("shop"),
        function: id(function),
        release: 1,
        call: String::new(),
        event: 7,
        subject: format!("reading.{device}.temp"),
        device: Some(id(device)),
        sensor: Some(id("temp")),
        trigger: "reading".to_owned(),
        attempt: 1,
        start,
        took_micros,
        cpu_micros: took_micros / 2,
        memory_bytes: 1 << 20,
        outcome,
        error: outcome.is_error().then(|| "trapped: no more tea".to_owned()),
        writes: 1,
        messages: 0,
        commands: 0,
        effects: Vec::new(),
        request: None,
        skipped: 0,
        replay: false,
    }
}

fn record(seq: u64, run: &Run) -> Arc<Event> {
    let reading = NewEvent::reading(&default_tenant(), &id("x"), &id("y"), run.start, run.start, run.to_value());
    let subject = Subject::new(&format!("run.{}.{}", run.app, run.function)).unwrap();
    Arc::new(Event { seq, body: NewEvent { kind: Kind::Run, subject, ..reading } })
}

fn runs(history: &History, text: &str) -> RunPage {
    history.runs(&RunQuery { limit: 1_000, ..RunQuery::new(default_tenant(), text) }).unwrap()
}

fn seqs(page: &RunPage) -> Vec<u64> {
    page.hits.iter().map(|hit| hit.seq).collect()
}

#[test]
fn the_language_of_runs() {
    let at = |day: u32| micros(&format!("2026-03-{day:02}T12:00:00Z"));
    let http =
        Run { trigger: "http".into(), device: None, subject: String::new(), ..run("page", "-", RunOutcome::Failed, at(5), 9_000_000) };
    let place = history_of(&[
        record(1, &run("alert", "fridge1", RunOutcome::Done, at(1), 150)),
        record(2, &Run { release: 2, ..run("alert", "fridge1", RunOutcome::Retry, at(2), 100_000) }),
        record(3, &Run { release: 2, attempt: 2, ..run("alert", "fridge1", RunOutcome::Dead, at(3), 2_500_000) }),
        reading(4, "fridge1", "temp", at(4), "9.5"),
        record(5, &http.with_request("GET", "/cellar/door", 0)),
        record(6, &run("alert", "fridge2", RunOutcome::Retry, at(6), 100_000)),
        record(7, &Run { event: 6, call: "main-6-daily".into(), messages: 4, ..run("daily", "fridge2", RunOutcome::Done, at(7), 99_000) }),
    ]);
    let table: &[(&str, &[u64])] = &[
        ("", &[7, 6, 5, 3, 2, 1]),
        ("function:alert AND outcome:error AND device:fridge1", &[3, 2]),
        ("outcome:dead", &[3]),
        ("outcome:(done OR failed)", &[7, 5, 1]),
        ("NOT outcome:done", &[6, 5, 3, 2]),
        ("duration:>100", &[5, 3]),
        ("duration:>=100ms", &[6, 5, 3, 2]),
        ("duration:>1s", &[5, 3]),
        ("duration:<1", &[1]),
        ("duration:150us", &[1]),
        ("cpu:[1 TO 50]", &[7, 6, 2]),
        ("release:2", &[3, 2]),
        ("release:<2 function:alert", &[6, 1]),
        ("attempt:>1", &[3]),
        ("app:shop function:da*", &[7]),
        ("trigger:http", &[5]),
        ("device:*", &[7, 6, 3, 2, 1]),
        ("event:6", &[7]),
        ("effects:5", &[7]),
        ("memory:>=1048576 effects:<5", &[6, 5, 3, 2, 1]),
        ("call:main-6-daily", &[7]),
        ("error:tea outcome:retry", &[6, 2]),
        ("\"more tea\" device:fridge2", &[6]),
        ("cellar", &[5]),
        ("start:2026-03-02", &[2]),
        ("start:>2026-03-05", &[7, 6]),
        ("seq:>6", &[7]),
        ("fridge2", &[7, 6]),
    ];
    for (text, found) in table {
        let page = runs(&place.history, text);
        assert_eq!(seqs(&page), *found, "{text}");
        let count = place
            .history
            .partitions
            .count_runs(&RunQuery::new(default_tenant(), text), &super::super::Clock::new(std::time::Duration::MAX));
        assert_eq!(count.unwrap(), found.len() as u64, "{text}");
    }
    let window = RunQuery { from: Some(at(2)), to: Some(at(5)), ..RunQuery::new(default_tenant(), "") };
    assert_eq!(seqs(&place.history.runs(&window).unwrap()), [3, 2], "the first moment is in it, the last is not");
    assert_eq!(find(&place.history, "").total, 1, "runs are no part of the history of readings");
    let hit = &runs(&place.history, "outcome:dead").hits[0];
    assert_eq!(hit.run.error.as_deref(), Some("trapped: no more tea"));
    assert_eq!(hit.to_json()["duration_ms"], 2_500.0);
}

#[test]
fn what_is_wrong_with_a_question_about_runs_is_named() {
    let place = history_of(&[record(1, &run("alert", "d", RunOutcome::Done, Micros(0), 1))]);
    for (text, said) in [
        ("value:>8", "there is no field `value`, only app, function, outcome"),
        ("outcome:good", "`good` is not an outcome: done, retry, dead, failed, error"),
        ("duration:>soon", "`soon` is not a time such as `100`"),
        ("duration:>-1", "is not a time"),
        ("release:first", "`first` is not a whole number"),
        ("function:>a", "`function` has no ranges; those that have: release, duration"),
    ] {
        let error = place.history.runs(&RunQuery::new(default_tenant(), text)).unwrap_err();
        assert!(matches!(error, HistoryError::Query(_)) && error.to_string().contains(said), "{text}: {error}");
    }
}

/// Segments come and go under the questions, pieces of them in any order.
#[test]
fn the_newest_come_first_however_the_index_was_merged() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), HistoryOptions::default()).unwrap();
    let (mut dice, start) = (Dice(7), micros("2026-03-20T00:00:00Z"));
    let mut all: Vec<(u64, Run)> = Vec::new();
    for _ in 0..40 {
        let next = all.len() as u64 + 1;
        let some: Vec<(u64, Run)> = (next..next + 1 + dice.roll(1_000))
            .map(|seq| {
                // Over the end of a month.
                let start = start.plus_millis(seq * 60_000);
                let outcome = if dice.roll(2_000) == 0 { RunOutcome::Dead } else { RunOutcome::Done };
                (seq, run(if dice.roll(3) == 0 { "alert" } else { "daily" }, "d", outcome, start, dice.roll(100_000)))
            })
            .collect();
        history.index(&some.iter().map(|(seq, run)| record(*seq, run)).collect::<Vec<_>>()).unwrap();
        history.commit().unwrap();
        all.extend(some);
    }
    assert!(all.len() > 3 * 4_096, "more than a few zones");
    let from = start.plus_millis(3_000 * 60_000);
    type Fits = fn(&Run) -> bool;
    let questions: [(&str, Fits); 4] = [
        ("", |_| true),
        ("function:alert", |run| run.function.as_str() == "alert"),
        ("outcome:dead", |run| run.outcome == RunOutcome::Dead),
        ("function:daily duration:>99", |run| run.function.as_str() == "daily" && run.took_micros > 99_000),
    ];
    for (text, fits) in questions {
        for (offset, limit, after) in [(0, 20, None), (0, 1_000, None), (5_000, 10, None), (0, 1_000, Some(all.len() as u64 - 300))] {
            let query = RunQuery { from: Some(from), limit, offset, after, ..RunQuery::new(default_tenant(), text) };
            let page = history.runs(&query).unwrap();
            let expected: Vec<u64> = all
                .iter()
                .rev()
                .filter(|(seq, run)| fits(run) && run.start >= from && after.is_none_or(|after| *seq > after))
                .map(|(seq, _)| *seq)
                .collect();
            let on_page: Vec<u64> = expected.iter().copied().skip(offset).take(limit).collect();
            assert_eq!(seqs(&page), on_page, "{text} {offset} {limit} {after:?}");
            assert_eq!(page.more, expected.len() > offset + limit, "{text} {offset} {limit}");
        }
    }
}

#[test]
fn retention_drops_old_runs_and_another_tenants_are_nobodys() {
    let (old, new) = (micros("2026-01-31T23:00:00Z"), micros("2026-02-01T01:00:00Z"));
    let mut foreign = Event::clone(&record(3, &run("alert", "d", RunOutcome::Done, new, 1)));
    foreign.body.tenant = id("other");
    let place = history_of(&[
        record(1, &run("alert", "d", RunOutcome::Done, old, 1)),
        record(2, &run("alert", "d", RunOutcome::Done, new, 1)),
        Arc::new(foreign),
    ]);
    assert_eq!(seqs(&runs(&place.history, "")), [2, 1]);
    assert!(place.dir.path().join("runs-2026-01").is_dir());
    assert_eq!(place.history.retain(micros("2026-02-01T00:00:00Z")).unwrap(), 1);
    assert_eq!(seqs(&runs(&place.history, "")), [2]);
    assert!(!place.dir.path().join("runs-2026-01").exists());
    drop(place.history);
    let again = History::open(place.dir.path(), HistoryOptions::default()).unwrap();
    assert_eq!(seqs(&runs(&again, "alert")), [2], "as it was, after a restart");
}

#[test]
fn a_page_of_runs_has_a_size() {
    let start = micros("2026-03-20T00:00:00Z");
    let events: Vec<_> = (1..=1_500).map(|seq| record(seq, &run("alert", "d", RunOutcome::Done, start, 1))).collect();
    let place = history_of(&events);
    let page = place.history.runs(&RunQuery { limit: usize::MAX, ..RunQuery::new(default_tenant(), "") }).unwrap();
    assert_eq!((page.hits.len(), page.more), (crate::model::limit::RUNS_MAX, true));
    let last = RunQuery { limit: 1_000, offset: 1_000, ..RunQuery::new(default_tenant(), "") };
    let page = place.history.runs(&last).unwrap();
    assert_eq!((page.hits.len(), page.more), (500, false));
    let beyond = RunQuery { offset: 200_000, ..RunQuery::new(default_tenant(), "") };
    assert!(matches!(place.history.runs(&beyond), Err(HistoryError::Offset(_))));
}
