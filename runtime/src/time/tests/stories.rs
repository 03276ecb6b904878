//! Windows as people use them.

use super::*;

fn starts(results: &[WindowResult]) -> Vec<(i64, u32, u64)> {
    results.iter().map(|result| ((result.start.0 - MONDAY) / MINUTE, result.revision, result.aggregate.readings)).collect()
}

#[test]
fn an_hour_is_told_when_the_next_one_begins_and_corrected_when_the_rest_of_it_comes() {
    let mut bench = Bench::new(&Rule::Window(tumbling(HOUR, DAY)));
    assert!(bench.number(10.0, MONDAY, MONDAY).is_empty());
    assert!(bench.number(20.0, MONDAY + 59 * MINUTE, MONDAY + 59 * MINUTE).is_empty());
    let told = bench.number(50.0, MONDAY + HOUR, MONDAY + HOUR);
    assert_eq!((told[0].key.as_str(), told[0].source, told[0].measured), ("fridge", 3, Micros(MONDAY + HOUR)));
    let result = &windows(told)[0];
    assert_eq!((result.start, result.end, result.revision), (Micros(MONDAY), Micros(MONDAY + HOUR), 0));
    assert_eq!((result.aggregate.mean, result.aggregate.first, result.aggregate.last), (Some(15.0), Some(10.0), Some(20.0)));
    // What the device had kept, all at once: one correction, when it goes on with what is new.
    for minute in 1..31 {
        assert!(bench.number(30.0, MONDAY + minute * MINUTE, MONDAY + HOUR + MINUTE).is_empty());
    }
    let corrected = windows(bench.number(50.0, MONDAY + HOUR + MINUTE, MONDAY + HOUR + MINUTE));
    assert_eq!(starts(&corrected), [(0, 1, 32)]);
    assert_eq!(corrected[0].aggregate.sum, Some(930.0));
}

#[test]
fn a_correction_that_nothing_follows_is_told_a_second_later() {
    let mut bench = Bench::new(&Rule::Window(tumbling(HOUR, DAY)));
    bench.number(1.0, MONDAY, MONDAY);
    bench.number(1.0, MONDAY + HOUR, MONDAY + HOUR);
    bench.number(1.0, MONDAY + MINUTE, MONDAY + HOUR + 5 * SECOND);
    assert_eq!(bench.rules.next(), Some(Micros(MONDAY + HOUR + 6 * SECOND)));
    assert!(bench.tick(MONDAY + HOUR + 6 * SECOND - 1).is_empty());
    assert_eq!(starts(&windows(bench.tick(MONDAY + HOUR + 6 * SECOND))), [(0, 1, 2)]);
}

#[test]
fn a_sensor_that_stops_has_its_last_hour_told_when_it_is_over_and_nothing_more() {
    let mut bench = Bench::new(&Rule::Window(tumbling(HOUR, DAY)));
    bench.number(1.0, MONDAY + 55 * MINUTE, MONDAY + 55 * MINUTE);
    // The hour is over after five minutes, but the sensor may still be at it: `idle` is ten.
    assert!(bench.tick(MONDAY + 64 * MINUTE).is_empty());
    assert_eq!(starts(&windows(bench.tick(MONDAY + 65 * MINUTE))), [(0, 0, 1)]);
    assert!(bench.tick(MONDAY + 300 * DAY).is_empty());
    assert_eq!(bench.rules.next(), None);
}

#[test]
fn readings_too_late_are_counted_for_their_sensor() {
    let mut bench = Bench::new(&Rule::Window(tumbling(HOUR, HOUR)));
    bench.number(1.0, MONDAY, MONDAY);
    bench.number(1.0, MONDAY + DAY, MONDAY + DAY);
    bench.number(1.0, MONDAY + MINUTE, MONDAY + DAY);
    assert!(bench.number(1.0, MONDAY + 2 * MINUTE, MONDAY + DAY).is_empty());
    let said: Vec<String> = bench.rules.trouble().iter().map(ToString::to_string).collect();
    let expected = "2 readings of `fridge/temp` came later than `lateness` allows, the last one measured at 2026-03-02T00:02:00Z";
    assert_eq!(said, [expected]);
    assert!(bench.rules.trouble().is_empty());
}

#[test]
fn neither_1970_nor_the_year_2300_makes_windows_of_what_is_in_between() {
    for shape in [
        Shape::Tumbling { length: micros(SECOND) },
        Shape::Sliding { length: micros(MINUTE), every: micros(SECOND) },
        Shape::Session { gap: micros(SECOND) },
    ] {
        let mut bench = Bench::new(&Rule::Window(Window { shape, lateness: micros(HOUR), ..tumbling(SECOND, 0) }));
        let year_2300 = 10_413_792_000 * SECOND;
        let mut told = 0;
        for (measured, received) in [
            (0, MONDAY),
            (MONDAY, MONDAY),
            (i64::MIN, MONDAY),
            (year_2300, MONDAY + 1),
            (i64::MAX, MONDAY + 2),
            (year_2300, year_2300),
            (0, year_2300 + 1),
        ] {
            told += bench.number(1.0, measured, received).len();
        }
        told += bench.tick(year_2300 + DAY).len();
        assert!((3..=5 * 60).contains(&told), "{told}");
        // What nobody needs any more goes in pieces, each with a later reading.
        for n in 1..=10 {
            bench.number(1.0, year_2300 + DAY + n, year_2300 + DAY + n);
        }
        assert!(bench.shelf.parts.len() < 70, "{:?}", bench.shelf.parts.keys());
    }
}

#[test]
fn a_clock_that_is_ahead_by_too_much_counts_when_it_was_received() {
    let mut bench = Bench::new(&Rule::Window(tumbling(10 * MINUTE, HOUR)));
    // Half an hour ahead is the device's word, three hours are not.
    bench.number(1.0, MONDAY + 30 * MINUTE, MONDAY);
    bench.number(1.0, MONDAY + 3 * HOUR, MONDAY + 31 * MINUTE);
    assert_eq!(starts(&windows(bench.number(1.0, MONDAY + 40 * MINUTE, MONDAY + 40 * MINUTE))), [(30, 0, 2)]);
}

#[test]
fn sliding_windows_overlap_and_go_on_until_the_last_reading_has_left_them() {
    let shape = Shape::Sliding { length: micros(3 * MINUTE), every: micros(MINUTE) };
    let mut bench = Bench::new(&Rule::Window(Window { shape, idle: micros(0), ..tumbling(MINUTE, 0) }));
    bench.number(1.0, MONDAY, MONDAY);
    let told = windows(bench.number(2.0, MONDAY + 2 * MINUTE, MONDAY + 2 * MINUTE));
    assert_eq!(starts(&told), [(-2, 0, 1), (-1, 0, 1)]);
    let rest = windows(bench.tick(MONDAY + HOUR));
    assert_eq!(starts(&rest), [(0, 0, 2), (1, 0, 1), (2, 0, 1)]);
}

#[test]
fn a_reading_between_two_sessions_joins_them_and_their_results_count_no_more() {
    let shape = Shape::Session { gap: micros(10 * MINUTE) };
    let mut bench = Bench::new(&Rule::Window(Window { shape, readings: true, ..tumbling(MINUTE, DAY) }));
    let minutes = |minute: i64| MONDAY + minute * MINUTE;
    bench.number(1.0, minutes(0), minutes(0));
    bench.number(2.0, minutes(5), minutes(5));
    let first = windows(bench.number(3.0, minutes(20), minutes(20)));
    assert_eq!((starts(&first), first[0].end), (vec![(0, 0, 2)], Micros(minutes(15))));
    let second = windows(bench.number(4.0, minutes(60), minutes(60)));
    assert_eq!(starts(&second), [(20, 0, 1)]);
    bench.number(5.0, minutes(12), minutes(61));
    let both = windows(bench.number(6.0, minutes(62), minutes(62)));
    assert_eq!((starts(&both), both[0].end), (vec![(0, 1, 4)], Micros(minutes(30))));
    assert_eq!(both[0].replaces, [Micros(minutes(20))]);
    let values = both[0].readings.as_ref().unwrap().iter().filter_map(|reading| reading.value.as_f64());
    assert_eq!(values.collect::<Vec<_>>(), [1.0, 2.0, 5.0, 3.0]);
}

#[test]
fn a_window_of_a_device_holds_all_of_its_sensors() {
    let mut bench = Bench::new(&Rule::Window(Window { per: Per::Device, ..tumbling(HOUR, 0) }));
    bench.value("pond", "oxygen", "7", MONDAY, MONDAY);
    bench.value("pond", "ph", "8", MONDAY + MINUTE, MONDAY + MINUTE);
    let told = windows(bench.value("pond", "ph", "8", MONDAY + HOUR, MONDAY + HOUR));
    assert_eq!((told[0].device.as_ref().map(Id::as_str), &told[0].sensor, told[0].aggregate.sum), (Some("pond"), &None, Some(15.0)));
}

/// A node whose clock was in the year 2300 for a moment is not deaf until then.
#[test]
fn a_clock_that_was_wrong_by_years_is_forgotten_when_it_is_right_again() {
    for shape in [Shape::Tumbling { length: micros(HOUR) }, Shape::Session { gap: micros(HOUR) }] {
        let mut bench = Bench::new(&Rule::Window(Window { shape, readings: true, ..tumbling(HOUR, DAY) }));
        bench.number(1.0, MONDAY, MONDAY);
        let year_2300 = 10_413_792_000 * SECOND;
        assert_eq!(bench.number(2.0, year_2300, year_2300).len(), 1);
        assert_eq!(bench.number(3.0, MONDAY + MINUTE, MONDAY + MINUTE).len(), 1, "what is of the year 2300 is over");
        let told = windows(bench.number(4.0, MONDAY + 3 * HOUR, MONDAY + 3 * HOUR));
        assert_eq!(told[0].aggregate.sum, Some(3.0));
        assert!(bench.shelf.parts.keys().all(|part| !part.contains("8024")), "{:?}", bench.shelf.parts.keys());
    }
}
