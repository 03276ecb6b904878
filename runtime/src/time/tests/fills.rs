//! Sensors without gaps, against a few lines that go through everything.

use super::{
    stream::{Chance, Step, any_fill, steps},
    *,
};
use crate::time::Trouble;

fn filling(every: i64, method: Method, max_gap: i64) -> Rule {
    Rule::Fill(Fill { every: micros(every), method, max_gap: micros(max_gap), ahead: micros(HOUR) })
}

/// When, what, and whether it was made up.
fn told(firings: Vec<Firing>) -> Vec<(i64, f64, bool)> {
    let one = |firing: Firing| match firing.fired {
        Fired::Filled(Filled { value, gap }) => (firing.measured.0, value.as_f64().unwrap(), gap.is_some()),
        other => panic!("{other:?}"),
    };
    firings.into_iter().map(one).collect()
}

#[test]
fn each_reading_passes_and_before_it_stands_what_is_missing() {
    let mut bench = Bench::new(&filling(10 * MINUTE, Method::Linear, HOUR));
    let at = |minute: i64| MONDAY + minute * MINUTE;
    assert_eq!(told(bench.number(10.0, at(0), at(0))), [(at(0), 10.0, false)]);
    assert_eq!(told(bench.number(12.0, at(11), at(11))), [(at(11), 12.0, false)], "a minute late is no gap");
    let filled = told(bench.number(18.0, at(41), at(41)));
    assert_eq!(filled, [(at(21), 14.0, true), (at(31), 16.0, true), (at(41), 18.0, false)]);
    assert!(bench.value("fridge", "temp", "\"broken\"", at(50), at(50)).is_empty(), "what is no number has no place on a line");
    assert_eq!(told(bench.number(15.0, at(30), at(51))), [(at(30), 15.0, false)], "what comes late passes, and nothing is told again");
    assert_eq!(told(bench.number(19.0, at(51), at(51))), [(at(51), 19.0, false)]);
    assert_eq!(told(bench.value("fridge", "hum", "1", at(90), at(90))), [(at(90), 1.0, false)], "each sensor for itself");
}

#[test]
fn a_gap_that_is_too_long_stays_one_and_is_said() {
    let mut bench = Bench::new(&filling(SECOND, Method::Trend, 10_080 * SECOND));
    bench.number(1.0, MONDAY - SECOND, MONDAY - SECOND);
    bench.number(2.0, MONDAY, MONDAY);
    let year = MONDAY + 365 * DAY;
    assert_eq!(told(bench.number(3.0, year, year)), [(year, 3.0, false)]);
    let troubles = bench.rules.trouble();
    let [Trouble::Gaps { gaps: 1, values: 31_535_999, .. }] = &troubles[..] else { panic!("{troubles:?}") };
    assert_eq!(
        troubles[0].to_string(),
        "`fridge/temp` was away for longer than `max_gap`, once, and nothing fills that: the last gap is from 2026-03-02T00:00:00Z to 2027-03-02T00:00:00Z, where 31535999 values are missing"
    );
    assert!(bench.rules.trouble().is_empty());
    // The trend of before is not that of now.
    assert_eq!(told(bench.number(9.0, year + 3 * SECOND, year + 3 * SECOND))[0], (year + SECOND, 3.0, true));
}

#[test]
fn a_long_gap_is_told_in_pieces_each_once_whenever_memory_is_lost() {
    let (mut bench, mut all) = (Bench::new(&filling(MINUTE, Method::Linear, 7 * DAY)), Vec::new());
    all.extend(bench.number(0.0, MONDAY, MONDAY));
    let end = MONDAY + 7 * DAY;
    let first = bench.number(10_080.0, end, end);
    assert!((1..100).contains(&first.len()), "{}", first.len());
    all.extend(first);
    while bench.rules.next().is_some() {
        bench.reload();
        let mut out = Vec::new();
        bench.rules.tick_some(Micros(end), &mut bench.shelf, &mut out);
        assert!(out.iter().map(|firing| firing.fired.size_bytes() + 1_024).sum::<usize>() < 4 << 20, "it fits a commit");
        all.extend(out);
    }
    let told = told(all);
    assert_eq!(told.len(), 10_081);
    for (minute, (time, value, made)) in told.into_iter().enumerate() {
        assert_eq!((time, made), (MONDAY + minute as i64 * MINUTE, minute != 0 && minute != 10_080));
        assert!((value - minute as f64).abs() < 1e-6, "{minute}: {value}");
    }
}

#[test]
fn a_late_reading_of_a_clock_that_is_behind_ends_a_long_gap_and_tells_none_of_it_twice() {
    let mut bench = Bench::new(&filling(MINUTE, Method::Linear, 7 * DAY));
    let end = MONDAY + 600 * MINUTE;
    let mut all = bench.number(0.0, MONDAY, MONDAY);
    all.extend(bench.number(600.0, end, end));
    assert!(all.len() < 600, "the rest waits: {}", all.len());
    // Of another node, and measured before: it is told behind what waited.
    all.extend(bench.number(5.5, MONDAY + 5 * MINUTE + SECOND, end - 1));
    while bench.rules.next().is_some() {
        all.extend(bench.tick(end + SECOND));
    }
    all.extend(bench.number(601.0, end + MINUTE, end + MINUTE));
    let times: Vec<i64> = told(all).into_iter().map(|(time, ..)| time).collect();
    assert_eq!(times.len(), 601 + 1 + 1);
    assert_eq!(times.iter().collect::<std::collections::BTreeSet<_>>().len(), times.len(), "each once");
}

#[test]
fn what_fills_a_gap_is_what_a_look_at_all_readings_gives() {
    for seed in 0..150 {
        let mut chance = Chance(seed);
        let fill = any_fill(&mut chance);
        let mut bench = Bench::new(&Rule::Fill(fill.clone()));
        let mut series: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
        for step in steps(&mut chance, 300, false) {
            let found = told(bench.step(&step));
            let Step::Reading(event) = step else { continue };
            // What is left of a long gap.
            let found: Vec<_> = found.into_iter().chain(told(bench.tick(event.received.0 + SECOND))).collect();
            let Some(value) = event.value.as_f64() else { continue };
            let time = crate::time::span::event_time_of(&event, i64::try_from(fill.ahead.as_micros()).unwrap()).0;
            let known = series.entry(event.subject.as_str().to_owned()).or_default();
            let expected = expected(&fill, known, (time, value));
            assert_eq!(found.len(), expected.len(), "seed {seed}: {found:?} {expected:?}");
            for (is, should) in found.iter().zip(&expected) {
                assert!(is.0 == should.0 && (is.1 - should.1).abs() < 1e-6 * should.1.abs().max(1.0), "seed {seed}: {is:?} {should:?}");
            }
            if known.last().is_none_or(|(last, _)| *last < time) {
                known.push((time, value));
            }
        }
    }
}

/// `known`: those that were later than all before them.
fn expected(fill: &Fill, known: &[(i64, f64)], next: (i64, f64)) -> Vec<(i64, f64)> {
    let (every, longest) = (fill.every.as_micros() as i64, fill.max_gap.as_micros() as i64);
    let Some(&(last, value)) = known.last().filter(|(last, _)| *last < next.0) else { return vec![next] };
    if next.0 - last > longest {
        return vec![next];
    }
    let mut all = Vec::new();
    let mut time = last + every;
    // As long as it is nearer to the reading before than to the one that came.
    while 2 * (next.0 - time) >= every {
        let value = match fill.method {
            Method::Hold => value,
            Method::Linear => value + (next.1 - value) * (time - last) as f64 / (next.0 - last) as f64,
            Method::Trend => {
                let begins = known.windows(2).rposition(|two| two[1].0 - two[0].0 > longest).map_or(0, |at| at + 1);
                let recent = &known[begins.max(known.len().saturating_sub(8))..];
                // In seconds since the first of them.
                let point = |(at, value): &(i64, f64)| ((at - recent[0].0) as f64 / 1e6, *value);
                let points: Vec<(f64, f64)> = recent.iter().map(point).collect();
                let count = points.len() as f64;
                let (x, y) = (points.iter().map(|p| p.0).sum::<f64>() / count, points.iter().map(|p| p.1).sum::<f64>() / count);
                let width: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
                let slope = if width > 0.0 { points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / width } else { 0.0 };
                y + slope * ((time - recent[0].0) as f64 / 1e6 - x)
            }
        };
        all.push((time, value));
        time += every;
    }
    all.push(next);
    all
}
