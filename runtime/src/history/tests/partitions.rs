//! Months on disk: how many writers, what a restart finds, what retention drops.

use super::{find, history_of, micros, reading, seqs, sorted};
use crate::{
    history::{
        History, HistoryOptions, Query,
        month::Month,
        part::{Class, Part},
    },
    model::{Event, Micros, id::default_tenant},
};
use std::{path::Path, sync::Arc};

const DAY: i64 = 86_400 * Micros::SECOND;

fn months_on_disk(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let dirs = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut names: Vec<_> = dirs.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Two years of days, one reading of each month after the other.
fn interleaved() -> Vec<Arc<Event>> {
    let start = micros("2024-01-01T00:00:00Z");
    let at = |n: u64| Micros(start.0 + i64::try_from((n * 31) % 730).unwrap() * DAY);
    (1..=730).map(|seq| reading(seq, "pond", "temp", at(seq), &seq.to_string())).collect()
}

#[test]
fn a_back_fill_over_two_years_opens_three_writers() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), HistoryOptions::default()).unwrap();
    let events = interleaved();
    for batch in events.chunks(400) {
        history.index(batch).unwrap();
        assert!(history.writers.lock().open_count() <= 3);
    }
    history.commit().unwrap();
    assert_eq!(months_on_disk(dir.path()).len(), 24);
    assert_eq!(find(&history, "").total, 730);
}

#[test]
fn many_small_commits_stay_few_segments() {
    let place = history_of(&[]);
    let start = micros("2026-01-01T00:00:00Z");
    for seq in 1..=100 {
        place.history.index(&[reading(seq, "pond", "temp", Micros(start.0 + i64::try_from(seq).unwrap()), "1")]).unwrap();
        place.history.commit().unwrap();
    }
    // Closing waits for merges.
    place.history.rest().unwrap();
    let partition = place.history.partitions.get(Part { class: Class::Events, month: Month::of(start) }).unwrap().unwrap();
    assert!(partition.segments() < 16, "{} segments", partition.segments());
    assert_eq!(find(&place.history, "").total, 100);
}

#[test]
fn what_is_not_committed_is_taken_again() {
    let events = interleaved();
    let place = history_of(&events[..200]);
    place.history.index(&events[200..500]).unwrap();
    drop(place.history);
    let history = History::open(place.dir.path(), HistoryOptions::default()).unwrap();
    assert_eq!((history.position(), history.next()), (200, 201));
    // The log gives some that it has, too.
    history.index(&events[100..]).unwrap();
    history.commit().unwrap();
    assert_eq!(sorted(&find(&history, "")), (1..=730).collect::<Vec<u64>>());
}

#[test]
fn a_rested_history_has_no_writer_and_still_answers() {
    let events = interleaved();
    let place = history_of(&events[..100]);
    place.history.rest().unwrap();
    assert_eq!(place.history.writers.lock().open_count(), 0);
    assert_eq!(find(&place.history, "").total, 100);
    place.history.index(&events[100..110]).unwrap();
    place.history.commit().unwrap();
    assert_eq!(find(&place.history, "").total, 110);
}

#[test]
fn a_search_begun_before_a_commit_is_undisturbed_and_the_next_one_sees_it() {
    let at = micros("2026-01-01T00:00:00Z");
    let place = history_of(&[reading(1, "pond", "temp", at, "1")]);
    assert_eq!(find(&place.history, "").total, 1);
    place.history.index(&[reading(2, "pond", "temp", at, "1")]).unwrap();
    assert_eq!(find(&place.history, "").total, 1, "not committed");
    place.history.commit().unwrap();
    assert_eq!(seqs(&find(&place.history, "")), [2, 1]);
}

#[test]
fn retention_drops_whole_months() {
    let place = history_of(&interleaved());
    let before = micros("2025-03-10T00:00:00Z");
    assert_eq!(place.history.retain(before).unwrap(), 14);
    let left = months_on_disk(place.dir.path());
    assert_eq!((left.len(), left[0].as_str()), (10, "2025-03"));
    let start = micros("2025-03-01T00:00:00Z");
    let wanted = interleaved().iter().filter(|event| event.measured >= start).count() as u64;
    assert_eq!(find(&place.history, "").total, wanted);
    // A device that wakes up with old readings opens the month again.
    place.history.index(&[reading(731, "pond", "temp", micros("2024-01-15T00:00:00Z"), "1")]).unwrap();
    place.history.commit().unwrap();
    assert_eq!(find(&place.history, "").total, wanted + 1);
    assert_eq!(place.history.retain(before).unwrap(), 1);
}

#[test]
fn a_month_that_was_being_dropped_is_gone_after_a_crash() {
    let place = history_of(&interleaved());
    drop(place.history);
    std::fs::rename(place.dir.path().join("2024-05"), place.dir.path().join("dropped-2024-05")).unwrap();
    let history = History::open(place.dir.path(), HistoryOptions::default()).unwrap();
    assert_eq!(months_on_disk(place.dir.path()).len(), 23);
    let may =
        Query { from: Some(micros("2024-05-01T00:00:00Z")), to: Some(micros("2024-06-01T00:00:00Z")), ..Query::new(default_tenant(), "") };
    assert_eq!(history.count(&may).unwrap(), 0);
}

#[test]
fn what_a_crash_left_over_is_cleared_away() {
    let events = interleaved();
    let place = history_of(&events[..30]);
    drop(place.history);
    let left = place.dir.path().join("2024-01");
    let orphans = ["0123456789abcdef0123456789abcdef.idx", ".tmpAbC123"].map(|name| left.join(name));
    let outside = place.dir.path().join(".tmpXyZ987");
    for path in orphans.iter().chain([&outside]) {
        std::fs::write(path, "half").unwrap();
    }
    let history = History::open(place.dir.path(), HistoryOptions::default()).unwrap();
    history.index(&events[30..]).unwrap();
    history.commit().unwrap();
    history.rest().unwrap();
    assert_eq!(find(&history, "").total, 730);
    assert!(orphans.iter().chain([&outside]).all(|path| !path.exists()));
}

#[test]
fn wild_clocks_are_kept_and_found() {
    let place = history_of(&[
        reading(1, "pond", "temp", Micros(i64::MIN), "1"),
        reading(2, "pond", "temp", Micros(-5), "1"),
        reading(3, "pond", "temp", Micros(i64::MAX - 1), "1"),
        reading(4, "pond", "temp", micros("2026-01-01T00:00:00Z"), "1"),
    ]);
    assert_eq!(seqs(&find(&place.history, "")), [3, 4, 2, 1]);
    assert_eq!(months_on_disk(place.dir.path()), ["1970-01", "2026-01", "9999-12"]);
    let early = Query { to: Some(Micros(-5)), ..Query::new(default_tenant(), "") };
    assert_eq!(seqs(&place.history.search(&early).unwrap()), [1]);
}

#[test]
fn a_position_of_a_later_version_is_refused() {
    let place = history_of(&interleaved()[..3]);
    drop(place.history);
    std::fs::write(place.dir.path().join("position.json"), r#"{"format":2,"position":3}"#).unwrap();
    let error = History::open(place.dir.path(), HistoryOptions::default()).err().unwrap().to_string();
    assert_eq!(error, "can't read `position.json` of the history: it has format 2, this version knows 1");
}
