//! What an answer looks like: its order, its pages, its window, its hits.

use super::{Dice, find, history_of, id, log_line, micros, reading, seqs};
use crate::{
    history::{History, HistoryError, HistoryOptions, Query, Sort, Source},
    model::{
        Event, Kind, Micros, Value,
        event::Cause,
        id::default_tenant,
        limit::{HISTORY_HITS_MAX, HISTORY_OFFSET_MAX},
    },
};
use std::{sync::Arc, time::Duration};

const HOUR: i64 = 3_600 * Micros::SECOND;

#[test]
fn pages_are_newest_first_and_cover_everything_once() {
    let start = micros("2025-11-15T00:00:00Z");
    let mut dice = Dice(3);
    // Half a year in disorder; some share a measured time.
    let events: Vec<_> = (1..=500)
        .map(|seq| reading(seq, "pond", "temp", Micros(start.0 + i64::try_from(dice.roll(200)).unwrap() * 24 * HOUR), "1"))
        .collect();
    let mut wanted: Vec<(i64, u64)> = events.iter().map(|e| (e.measured.0, e.seq)).collect();
    wanted.sort_unstable();
    wanted.reverse();
    let place = history_of(&events);
    let (mut got, mut offset) = (vec![], 0);
    loop {
        let page = place.history.search(&Query { limit: 37, offset, ..Query::new(default_tenant(), "device:pond") }).unwrap();
        assert_eq!(page.total, 500);
        offset += page.hits.len();
        if page.hits.is_empty() {
            break;
        }
        got.extend(page.hits.iter().map(|hit| (hit.measured.0, hit.seq)));
    }
    assert_eq!(got, wanted);
}

#[test]
fn pages_come_oldest_first_for_who_wants_them_so() {
    let start = micros("2025-11-15T00:00:00Z");
    // Three months, two events of each measured time.
    let events: Vec<_> =
        (0..60).map(|n| reading(n + 1, "pond", "temp", Micros(start.0 + i64::try_from(n / 2).unwrap() * 72 * HOUR), "1")).collect();
    let place = history_of(&events);
    let page = |offset| {
        let query = Query { limit: 25, offset, sort: Sort::OldestFirst, ..Query::new(default_tenant(), "") };
        seqs(&place.history.search(&query).unwrap())
    };
    let got: Vec<u64> = [page(0), page(25), page(50)].concat();
    assert_eq!(got, (1..=60).collect::<Vec<u64>>());
}

#[test]
fn devices_and_sensors_are_a_filter_beside_the_text() {
    let at = micros("2026-01-01T00:00:00Z");
    let place = history_of(&[
        reading(1, "a\"b", "x", at, "1"),
        reading(2, "pond", "x", at, "1"),
        reading(3, "pond", "y", at, "1"),
        reading(4, "lake", "y", at, "1"),
    ]);
    let of = |devices: Option<&[&str]>, sensors: Option<&[&str]>| {
        let ids = |names: &[&str]| names.iter().map(|name| id(name)).collect::<Vec<_>>();
        let sources = devices.map(|names| ids(names).into_iter().map(|device| Source { device, since: None }).collect());
        let query = Query { sources, sensors: sensors.map(ids), ..Query::new(default_tenant(), "") };
        assert_eq!(place.history.count(&query).unwrap(), place.history.search(&query).unwrap().total);
        seqs(&place.history.search(&query).unwrap())
    };
    assert_eq!(of(Some(&["pond", "a\"b"]), None), [3, 2, 1]);
    assert_eq!(of(Some(&["pond", "lake"]), Some(&["y"])), [4, 3]);
    assert_eq!(of(None, Some(&["x"])), [2, 1]);
    assert_eq!(of(Some(&[]), None), Vec::<u64>::new());
    assert_eq!(of(Some(&["po"]), None), Vec::<u64>::new());
}

#[test]
fn a_device_is_meant_from_a_time_of_receipt_on() {
    let at = micros("2026-01-01T00:00:00Z");
    let place = history_of(&[reading(1, "pond", "x", at, "1"), reading(2, "lake", "x", at, "1"), reading(3, "pond", "x", at, "1")]);
    // What was received with 3 or later, and measured whenever.
    let since = Some(Micros(1_790_000_000_000_003));
    let of =
        |sources: Vec<Source>| seqs(&place.history.search(&Query { sources: Some(sources), ..Query::new(default_tenant(), "") }).unwrap());
    assert_eq!(of(vec![Source { device: id("pond"), since }]), [3]);
    assert_eq!(of(vec![Source { device: id("pond"), since }, Source { device: id("lake"), since: None }]), [3, 2]);
    assert_eq!(of(vec![Source { device: id("lake"), since }]), Vec::<u64>::new());
}

#[test]
fn a_window_has_its_start_and_not_its_end() {
    let start = micros("2026-01-31T20:00:00Z");
    let events: Vec<_> = (0..10).map(|n| reading(n + 1, "pond", "temp", Micros(start.0 + i64::try_from(n).unwrap() * HOUR), "1")).collect();
    let place = history_of(&events);
    let window = |from: Option<i64>, to: Option<i64>| {
        let at = |hour: i64| Micros(start.0 + hour * HOUR);
        let query = Query { from: from.map(at), to: to.map(at), ..Query::new(default_tenant(), "") };
        assert_eq!(place.history.count(&query).unwrap(), place.history.search(&query).unwrap().total);
        seqs(&place.history.search(&query).unwrap())
    };
    assert_eq!(window(Some(2), Some(6)), [6, 5, 4, 3]);
    // Midnight is hour 4: a whole month on either side.
    assert_eq!(window(None, Some(4)), [4, 3, 2, 1]);
    assert_eq!(window(Some(4), None), [10, 9, 8, 7, 6, 5]);
    assert_eq!(window(Some(3), Some(3)), Vec::<u64>::new());
    assert_eq!(window(Some(6), Some(2)), Vec::<u64>::new());
    assert_eq!(window(None, None).len(), 10);
}

#[test]
fn two_readings_of_one_measured_time_are_two() {
    let at = micros("2026-01-01T00:00:00Z");
    let place = history_of(&[reading(1, "pond", "temp", at, "1"), reading(2, "pond", "temp", at, "1")]);
    assert_eq!(seqs(&find(&place.history, "")), [2, 1]);
}

#[test]
fn a_hit_has_all_that_the_event_had() {
    let (measured, received) = (micros("2026-01-01T00:00:00.25Z"), micros("2026-01-02T00:00:00Z"));
    let mut event = Event::clone(&reading(1, "gw.7", "cam", measured, "1"));
    event.body.value = Value::Bytes(vec![0, 255, 16].into());
    event.body.raw = Some(Box::new(Value::json(r#"{"a":[1, 2]}"#).unwrap()));
    event.body.received = received;
    event.body.cause =
        Some(Box::new(Cause { app: id("shop"), function: id("f"), seq: 40, call: "c1".to_owned(), place: Default::default() }));
    let place = history_of(&[Arc::new(event.clone())]);
    let hit = find(&place.history, "device:gw.7").hits.remove(0);
    assert_eq!(hit.value, event.value);
    assert_eq!(hit.raw, event.raw.as_deref().cloned());
    assert_eq!((hit.measured, hit.received, hit.seq, hit.kind), (measured, received, 1, Kind::Reading));
    assert_eq!(hit.subject, "reading.gw%2E7.cam");
    assert_eq!((hit.device, hit.sensor, hit.app, hit.function), (Some(id("gw.7")), Some(id("cam")), Some(id("shop")), Some(id("f"))));
    assert_eq!((hit.call.as_deref(), hit.cause), (Some("c1"), Some(40)));
}

#[test]
fn a_log_line_is_shown_as_one() {
    let place = history_of(&[log_line(9, "shop", "f", "c1", micros("2026-01-01T00:00:00Z"), "error", "no \"milk\" left")]);
    let page = find(&place.history, "level:error milk");
    let hit = &page.hits[0];
    assert_eq!((hit.level.as_deref(), hit.message.as_deref()), (Some("error"), Some("no \"milk\" left")));
    assert_eq!((hit.call.as_deref(), hit.measured, &hit.device), (Some("c1"), micros("2026-01-01T00:00:00Z"), &None));
}

#[test]
fn kinds_are_a_filter_beside_the_text() {
    let at = micros("2026-01-01T00:00:00Z");
    let place = history_of(&[reading(1, "shop", "f", at, "1"), log_line(2, "shop", "f", "c1", at, "info", "x")]);
    let of = |kinds: &[Kind]| {
        let query = Query { kinds: Some(kinds.to_vec()), ..Query::new(default_tenant(), "shop") };
        seqs(&place.history.search(&query).unwrap())
    };
    assert_eq!(of(&[Kind::Log]), [2]);
    assert_eq!(of(&[Kind::Reading, Kind::Log]), [2, 1]);
    assert_eq!(of(&[]), Vec::<u64>::new());
}

#[test]
fn a_page_has_a_size_and_an_offset_an_end() {
    let at = micros("2026-01-01T00:00:00Z");
    let events: Vec<_> = (1..=1_100).map(|seq| reading(seq, "pond", "temp", at, "1")).collect();
    let place = history_of(&events);
    let page = place.history.search(&Query { limit: usize::MAX, ..Query::new(default_tenant(), "") }).unwrap();
    assert_eq!((page.total, page.hits.len()), (1_100, HISTORY_HITS_MAX));
    let none = place.history.search(&Query { limit: 0, ..Query::new(default_tenant(), "") }).unwrap();
    assert_eq!((none.total, none.hits.len()), (1_100, 0));
    let beyond = Query { offset: HISTORY_OFFSET_MAX, ..Query::new(default_tenant(), "") };
    assert_eq!(place.history.search(&beyond).unwrap().hits, []);
    let error = place.history.search(&Query { offset: HISTORY_OFFSET_MAX + 1, ..beyond }).unwrap_err();
    assert!(matches!(error, HistoryError::Offset(_)), "{error}");
}

#[tokio::test]
async fn who_asks_when_too_many_do_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let options = HistoryOptions { searches_max: 1, search_wait: Duration::from_millis(20), ..HistoryOptions::default() };
    let history = History::open(dir.path(), options).unwrap();
    let turn = history.searches.clone().acquire_owned().await.unwrap();
    let refused = history.ask(Query::new(default_tenant(), "")).await;
    assert!(matches!(refused, Err(HistoryError::Busy(_))), "{refused:?}");
    assert!(matches!(history.ask_count(Query::new(default_tenant(), "")).await, Err(HistoryError::Busy(_))));
    drop(turn);
    for _ in 0..3 {
        assert_eq!(history.ask(Query::new(default_tenant(), "")).await.unwrap().total, 0);
    }
}

#[test]
fn a_question_that_takes_too_long_is_given_up() {
    let start = micros("2025-11-15T00:00:00Z");
    let events: Vec<_> =
        (0..3).map(|n| reading(n + 1, "pond", "temp", Micros(start.0 + i64::try_from(n).unwrap() * 31 * 24 * HOUR), "1")).collect();
    let dir = tempfile::tempdir().unwrap();
    let options = HistoryOptions { search_time: Duration::ZERO, ..HistoryOptions::default() };
    let history = History::open(dir.path(), options).unwrap();
    history.index(&events).unwrap();
    history.commit().unwrap();
    let query = Query::new(default_tenant(), "");
    for refused in [history.search(&query).map(drop), history.count(&query).map(drop)] {
        let error = refused.unwrap_err();
        assert!(matches!(error, HistoryError::Slow(_)) && error.to_string().contains("`from` and `to`"), "{error}");
    }
}
