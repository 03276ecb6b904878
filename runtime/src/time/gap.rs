//! What a sensor would have said in a gap. Pure.

use crate::model::{Micros, manifest::Method};

/// A gap between two readings, with as many values in it as readings are missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Missing {
    pub count: i64,
    last: Micros,
    every: i64,
    start: f64,
    slope: f64,
}

impl Missing {
    /// Behind the last of `previous`, and before `next`. Both are by the time at which they count, `previous` ascending. Readings are missing
    /// where the gap is one and a half `every` long: a sensor that is late by a moment has missed nothing.
    pub fn between(previous: &[(Micros, f64)], next: (Micros, f64), every: i64, method: Method) -> Option<Missing> {
        let &(last, value) = previous.last()?;
        let gap = next.0.0.saturating_sub(last.0);
        if every <= 0 || gap <= every {
            return None;
        }
        let count = gap / every - i64::from(gap % every < every - every / 2);
        let (start, slope) = match method {
            Method::Hold => (value, 0.0),
            // Each by the gap before they are subtracted: a difference may be larger than a number can be.
            Method::Linear => (value, next.1 / gap as f64 - value / gap as f64),
            Method::Trend => trend(previous, last),
        };
        (count > 0).then_some(Missing { count, last, every, start, slope })
    }

    /// The nth of them, from 1 on. None where it would be no number.
    pub fn at(&self, nth: i64) -> (Micros, Option<f64>) {
        let behind = nth.saturating_mul(self.every);
        let value = self.start + self.slope * behind as f64;
        (Micros(self.last.0.saturating_add(behind)), Some(value).filter(|value| value.is_finite()))
    }
}

/// Where the line through all of them is at `last`, and by how much it rises in a microsecond.
fn trend(previous: &[(Micros, f64)], last: Micros) -> (f64, f64) {
    let count = previous.len() as f64;
    let before = |time: Micros| time.0.saturating_sub(last.0) as f64;
    let mean_time = previous.iter().map(|(time, _)| before(*time)).sum::<f64>() / count;
    let mean = previous.iter().map(|(_, value)| value / count).sum::<f64>();
    let (mut rise, mut width) = (0.0, 0.0);
    for (time, value) in previous {
        let from_mean = before(*time) - mean_time;
        rise += from_mean * (value - mean);
        width += from_mean * from_mean;
    }
    let slope = if width > 0.0 { rise / width } else { 0.0 };
    (mean - slope * mean_time, slope)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60 * Micros::SECOND;

    fn at(minutes: &[(i64, f64)]) -> Vec<(Micros, f64)> {
        minutes.iter().map(|(minute, value)| (Micros(minute * MINUTE), *value)).collect()
    }

    fn filled(previous: &[(i64, f64)], next: (i64, f64), every: i64, method: Method) -> Vec<(i64, f64)> {
        let next = (Micros(next.0 * MINUTE), next.1);
        let Some(gap) = Missing::between(&at(previous), next, every * MINUTE, method) else { return Vec::new() };
        let value = |nth| gap.at(nth);
        (1..=gap.count).map(value).map(|(time, value)| (time.0 / MINUTE, (value.unwrap() * 1e9).round() / 1e9)).collect()
    }

    #[test]
    fn a_gap_is_filled_by_holding_on_by_a_line_and_by_the_trend_before_it() {
        let before = [(0, 10.0), (10, 12.0), (20, 14.0)];
        assert_eq!(filled(&before, (50, 20.0), 10, Method::Hold), [(30, 14.0), (40, 14.0)]);
        assert_eq!(filled(&before, (50, 20.0), 10, Method::Linear), [(30, 16.0), (40, 18.0)]);
        assert_eq!(filled(&before, (50, 99.0), 10, Method::Trend), [(30, 16.0), (40, 18.0)]);
        // Not what was measured last: what all of them come to.
        assert_eq!(filled(&[(0, 1.0), (10, 0.0), (20, 1.0), (30, 0.0)], (50, 9.0), 10, Method::Trend), [(40, 0.0)]);
        assert_eq!(filled(&[(20, 14.0)], (50, 20.0), 10, Method::Trend), [(30, 14.0), (40, 14.0)]);
    }

    #[test]
    fn what_is_no_gap_is_not_filled() {
        for (previous, next) in
            [(vec![(0, 1.0)], (10, 2.0)), (vec![(0, 1.0)], (-10, 2.0)), (vec![], (10, 2.0)), (vec![(0, 1.0)], (14, 2.0))]
        {
            assert_eq!(filled(&previous, next, 10, Method::Hold), []);
        }
        assert_eq!(filled(&[(0, 1.0)], (100, 2.0), 0, Method::Hold), [], "an interval of nothing");
        // One that comes a little late has missed nothing, one that comes a little early has missed as much.
        assert_eq!(filled(&[(0, 1.0)], (15, 2.0), 10, Method::Hold), [(10, 1.0)]);
        assert_eq!(filled(&[(0, 1.0)], (24, 2.0), 10, Method::Hold), [(10, 1.0)]);
        assert_eq!(filled(&[(0, 1.0)], (26, 2.0), 10, Method::Hold), [(10, 1.0), (20, 1.0)]);
    }

    #[test]
    fn a_gap_of_centuries_is_counted_and_not_gone_through() {
        let year_2300 = Micros(10_413_792_000 * Micros::SECOND);
        let gap = Missing::between(&at(&[(0, 1.0)]), (year_2300, 2.0), MINUTE, Method::Hold).unwrap();
        assert_eq!(gap.count, 173_563_199);
        let far = Missing::between(&[(Micros(i64::MIN), 1.0)], (Micros(i64::MAX), 2.0), 1, Method::Linear).unwrap();
        assert!(far.count > i64::MAX - 2);
        let steep = Missing::between(&at(&[(0, f64::MAX), (1, -f64::MAX)]), (Micros(9 * MINUTE), 0.0), MINUTE, Method::Trend).unwrap();
        assert_eq!(steep.at(8).1, None, "no number");
    }
}
