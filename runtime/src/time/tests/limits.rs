//! What a rule holds, and what happens beyond.

use super::{
    super::{Trouble, desk::LOOK_BYTES},
    stream::Step,
    *,
};
use crate::model::{
    limit::{
        FIRED_BYTES_MAX, LATE_SENSORS_MAX, RULE_SERIES_MAX, RULE_STATE_BYTES_MAX, SESSIONS_KEPT_MAX, VALUE_BYTES_MAX, WINDOW_NUMBERS_MAX,
        WINDOW_READINGS_MAX,
    },
    manifest::{BATCH_READINGS_MAX, Difference},
};
use std::collections::BTreeSet;

fn text(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

#[test]
fn a_window_shows_its_first_readings_and_sums_up_all() {
    let mut bench = Bench::new(&Rule::Window(Window { readings: true, percentiles: vec![50.0], ..tumbling(HOUR, 0) }));
    let count = WINDOW_READINGS_MAX as i64 + 10;
    for i in 0..count {
        bench.number(i as f64, MONDAY + i, MONDAY + i);
    }
    let result = windows(bench.number(0.0, MONDAY + HOUR, MONDAY + HOUR)).remove(0);
    assert_eq!((result.aggregate.readings, result.aggregate.max), (count as u64, Some(count as f64 - 1.0)));
    assert_eq!(result.aggregate.percentiles[0].value, (count - 1) as f64 / 2.0);
    let readings = result.readings.unwrap();
    assert_eq!(
        (readings.len(), readings[0].sequence, readings.last().unwrap().sequence),
        (WINDOW_READINGS_MAX, 1, WINDOW_READINGS_MAX as u64)
    );
}

#[test]
fn the_readings_that_a_window_shows_have_so_many_bytes() {
    let shape = Shape::Sliding { length: micros(HOUR), every: micros(MINUTE) };
    let mut bench = Bench::new(&Rule::Window(Window { shape, readings: true, ..tumbling(HOUR, 0) }));
    for minute in 0..60 {
        bench.value("fridge", "door", &text(VALUE_BYTES_MAX / 2), MONDAY + minute * MINUTE, MONDAY + minute * MINUTE);
    }
    let fired = bench.value("fridge", "door", "1", MONDAY + HOUR, MONDAY + HOUR).remove(0).fired;
    assert!(fired.to_value().len_bytes() < FIRED_BYTES_MAX + 1024);
    let result = window(fired);
    assert_eq!((result.aggregate.readings, result.readings.unwrap().len()), (60, 7));
}

#[test]
fn percentiles_are_of_all_numbers_or_there_are_none() {
    let mut bench = Bench::new(&Rule::Window(Window { percentiles: vec![50.0], ..tumbling(HOUR, 0) }));
    for (hour, count) in [(0, WINDOW_NUMBERS_MAX), (1, WINDOW_NUMBERS_MAX + 1)] {
        for i in 0..count as i64 {
            let told = windows(bench.number(i as f64, MONDAY + hour * HOUR + i, MONDAY + hour * HOUR + i));
            assert!(told.iter().all(|result| result.aggregate.percentiles.len() == 1));
        }
    }
    let result = windows(bench.number(0.0, MONDAY + DAY, MONDAY + DAY)).remove(0);
    assert_eq!((result.aggregate.count, result.aggregate.percentiles), (WINDOW_NUMBERS_MAX as u64 + 1, vec![]));
}

#[test]
fn of_too_many_sessions_the_oldest_take_no_more_readings() {
    let shape = Shape::Session { gap: micros(SECOND) };
    let mut bench = Bench::new(&Rule::Window(Window { shape, ..tumbling(HOUR, 30 * DAY) }));
    let at = |minute: i64| MONDAY + minute * MINUTE;
    let count = SESSIONS_KEPT_MAX as i64 + 20;
    for minute in 0..count {
        bench.number(1.0, at(minute), at(minute));
    }
    let kept = bench.shelf.parts.keys().filter(|part| part.starts_with("p/")).count();
    assert_eq!(kept, SESSIONS_KEPT_MAX);
    bench.number(1.0, at(1), at(count));
    assert!(matches!(bench.rules.trouble()[..], [Trouble::Late { readings: 1, .. }]));
    bench.number(1.0, at(count - 10) + 1, at(count));
    assert_eq!(windows(bench.tick(at(count + 1)))[0].revision, 1);
    bench.number(1.0, at(count - 10) + MINUTE / 2, at(count + 2));
    assert_eq!(bench.shelf.parts.keys().filter(|part| part.starts_with("p/")).count(), SESSIONS_KEPT_MAX, "late ones count too");
}

#[test]
fn a_batch_has_so_many_bytes() {
    let mut bench = Bench::new(&Rule::Batch { max: BATCH_READINGS_MAX, within: micros(HOUR) });
    let mut told = Vec::new();
    for _ in 0..10 {
        told.extend(bench.value("fridge", "door", &text(VALUE_BYTES_MAX), MONDAY, MONDAY));
    }
    let sizes: Vec<usize> = told.iter().map(|firing| firing.fired.to_value().len_bytes()).collect();
    assert!(sizes.len() == 3 && sizes.iter().all(|size| *size < FIRED_BYTES_MAX), "{sizes:?}");
}

#[test]
fn a_rule_follows_so_many_sensors_and_says_what_it_leaves_out() {
    let mut bench = Bench::new(&Rule::Change(Difference::Any));
    let template = reading(1, "a", "b", "1", MONDAY, MONDAY);
    for i in 0..=RULE_SERIES_MAX as u64 {
        let body = NewEvent { device: Some(Id::new(&i.to_string()).unwrap()), ..template.body.clone() };
        assert_eq!(bench.take(&Event { seq: i, body }).len(), usize::from(i < RULE_SERIES_MAX as u64));
    }
    let said: Vec<String> = bench.rules.trouble().iter().map(ToString::to_string).collect();
    assert_eq!(said, ["1 readings of sensors that are too many to be followed"]);
}

#[test]
fn what_is_large_is_read_when_it_is_needed() {
    let mut bench = Bench::new(&Rule::Change(Difference::Any));
    for bytes in [RULE_STATE_BYTES_MAX / 2, RULE_STATE_BYTES_MAX] {
        let (one, other) = (text(bytes), format!("[{}]", text(bytes)));
        bench.value("fridge", "door", &one, MONDAY, MONDAY);
        assert!(bench.value("fridge", "door", &one, MONDAY, MONDAY).is_empty());
        assert_eq!(bench.value("fridge", "door", &other, MONDAY, MONDAY).len(), 1);
        bench.shelf.parts.remove("s/fridge/door");
        bench.value("fridge", "door", "1", MONDAY, MONDAY);
        let lost = bench.rules.trouble();
        assert_eq!(lost.len(), usize::from(bytes >= RULE_STATE_BYTES_MAX), "{lost:?}");
    }
}

#[test]
fn late_readings_of_very_many_sensors_are_counted_together() {
    let mut bench = Bench::new(&Rule::Window(tumbling(SECOND, 0)));
    for device in 0..LATE_SENSORS_MAX + 2 {
        for measured in [MONDAY + MINUTE, MONDAY] {
            bench.value(&device.to_string(), "temp", "1", measured, MONDAY + MINUTE);
        }
    }
    let counts: Vec<u64> = bench
        .rules
        .trouble()
        .iter()
        .map(|trouble| match trouble {
            Trouble::Late { readings, .. } => *readings,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (LATE_SENSORS_MAX + 1, LATE_SENSORS_MAX as u64 + 2));
}

/// Two parts at most for a reading, in however many windows it is and however much there is of them already.
#[test]
fn a_reading_writes_a_part_or_two() {
    let shape = Shape::Sliding { length: micros(HOUR), every: micros(MINUTE) };
    for (rule, most) in [
        (Rule::Silence { after: micros(HOUR) }, 1),
        (Rule::Every { n: 1000 }, 1),
        (Rule::Change(Difference::Absolute(1e9)), 1),
        (Rule::Batch { max: 1000, within: micros(HOUR) }, 1),
        (Rule::Window(tumbling(DAY, DAY)), 1),
        (Rule::Window(Window { readings: true, percentiles: vec![1.0], ..tumbling(DAY, DAY) }), 2),
        (Rule::Window(Window { shape, ..tumbling(DAY, DAY) }), 1),
        (Rule::Window(Window { shape: Shape::Session { gap: micros(HOUR) }, readings: true, ..tumbling(DAY, DAY) }), 2),
    ] {
        let mut bench = Bench::new(&rule);
        for i in 0..100 {
            let before = bench.shelf.puts;
            bench.number(i as f64, MONDAY + i, MONDAY + i);
            assert!(bench.shelf.puts - before <= most, "{} parts for {rule:?}", bench.shelf.puts - before);
        }
        let longest = bench.shelf.parts.iter().filter(|(part, _)| *part != "rule").map(|(_, value)| value.len()).max();
        assert!(longest.is_none_or(|longest| longest < 300), "{longest:?} bytes for {rule:?}");
    }
}

/// However much a reading, a timer or a clock ends: it is told in pieces, all of it once, also when memory is lost between any two.
#[test]
fn what_is_large_is_told_in_pieces_and_nothing_of_it_twice() {
    let shape = Shape::Sliding { length: micros(64 * MINUTE), every: micros(MINUTE) };
    let rule = Rule::Window(Window { shape, readings: true, ..tumbling(HOUR, HOUR) });
    let sent = |seq, measured, received| Step::Reading(reading(seq, "fridge", "temp", &text(300), measured, received));
    let (two, future) = (MONDAY + 2 * HOUR, MONDAY + 900 * DAY);
    // A reading ends 64 windows and more, a late one corrects as many, and so does the clock, also one that was wrong.
    let steps = [
        sent(1, MONDAY, MONDAY),
        sent(2, two, two),
        sent(3, MONDAY + HOUR, two),
        Step::Tick(two + MINUTE),
        Step::Tick(MONDAY + 5 * HOUR),
        sent(4, future, future),
        Step::Tick(MONDAY + 6 * HOUR),
    ];
    for forgets in [false, true] {
        let (mut bench, mut looks) = (Bench::new(&rule), Vec::new());
        for step in &steps {
            loop {
                if forgets {
                    bench.reload();
                }
                let mut out = Vec::new();
                let more = match step {
                    Step::Reading(event) => bench.rules.take_some(event, &mut bench.shelf, &mut out),
                    Step::Tick(now) => bench.rules.tick_some(Micros(*now), &mut bench.shelf, &mut out),
                };
                looks.push(windows(out));
                if !more {
                    break;
                }
            }
        }
        let sizes = looks.iter().map(|told| told.iter().map(|window| Fired::Window(window.clone()).size_bytes()).sum::<usize>());
        assert!(sizes.clone().all(|size| size < 4 * LOOK_BYTES), "{:?}", sizes.collect::<Vec<_>>());
        let told: Vec<(i64, u32)> = looks.concat().iter().map(|window| (window.start.0, window.revision)).collect();
        let once: BTreeSet<_> = told.iter().collect();
        assert_eq!(once.len(), told.len(), "something was told twice");
        // Of the 64 windows of the late reading 60 were over, and 4 are told with the second one.
        assert_eq!(told.len(), 64 + 60 + 64 + 64, "{told:?}");
        assert_eq!(bench.shelf.parts.keys().collect::<Vec<_>>(), ["rule", "s/fridge/temp"], "nothing is left of what was of the future");
    }
}
