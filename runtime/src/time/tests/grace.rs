//! A node that was away, and devices that have not come back to it yet.

use super::*;
use crate::model::limit::SILENCE_GRACE_SECONDS;

const GRACE: i64 = SILENCE_GRACE_SECONDS as i64 * SECOND;

fn restored(bench: &mut Bench, now: i64) {
    bench.rules = Rules::new(&bench.rule);
    bench.rules.restore(&mut bench.shelf, Micros(now)).unwrap();
}

#[test]
fn who_comes_back_soon_after_the_node_was_not_silent() {
    let mut bench = Bench::new(&Rule::Silence { after: micros(10 * MINUTE) });
    for device in ["a", "b"] {
        bench.value(device, "temp", "1", MONDAY, MONDAY);
    }
    let start = MONDAY + HOUR;
    restored(&mut bench, start);
    assert_eq!(bench.rules.next(), Some(Micros(start + GRACE)));
    assert!(bench.tick(start + MINUTE).is_empty());
    assert!(bench.value("a", "temp", "1", start + MINUTE, start + MINUTE).is_empty());
    let silent = bench.tick(start + GRACE);
    assert_eq!(silent.iter().map(|firing| firing.key.as_str()).collect::<Vec<_>>(), ["b"]);
}

/// The log goes on where it was left, and in it time passed as it did.
#[test]
fn what_was_silent_before_the_node_went_away_is_told() {
    let mut bench = Bench::new(&Rule::Silence { after: micros(10 * MINUTE) });
    bench.value("a", "temp", "1", MONDAY, MONDAY);
    restored(&mut bench, MONDAY + HOUR);
    assert_eq!(bench.value("b", "temp", "1", MONDAY, MONDAY + 20 * MINUTE).len(), 1);
}

#[test]
fn a_commit_that_was_refused_is_no_start() {
    let mut bench = Bench::new(&Rule::Silence { after: micros(10 * MINUTE) });
    bench.value("a", "temp", "1", MONDAY, MONDAY);
    bench.reload();
    assert_eq!(bench.tick(MONDAY + 10 * MINUTE).len(), 1);
}

#[test]
fn a_batch_waits_for_nobody() {
    let mut bench = Bench::new(&Rule::Batch { max: 10, within: micros(MINUTE) });
    bench.number(1.0, MONDAY, MONDAY);
    restored(&mut bench, MONDAY + HOUR);
    assert_eq!(bench.rules.next(), Some(Micros(MONDAY + MINUTE)));
    assert_eq!(bench.tick(MONDAY + HOUR).len(), 1);
}
