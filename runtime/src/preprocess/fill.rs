//! What a sensor would have said in a gap. Made later than any reading, over readings that are in the log. Pure.

use crate::model::{Micros, limit::CLEAN_FILLED_MAX};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// The last value goes on.
    Hold,
    /// On the line from the last value to the next one.
    Linear,
    /// On the line that the values before the gap are nearest to (least squares); with one of them, as `Hold`.
    Trend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a gap of {} s is {count} values of one in {} s, at most {CLEAN_FILLED_MAX} are filled in", .micros / 1_000_000, .interval / 1_000_000)]
pub struct GapTooLong {
    pub micros: i64,
    pub interval: i64,
    pub count: i64,
}

/// A value for each `interval` behind the last of `previous`, and before `next`. Both are by the time of measurement, `previous` ascending.
pub fn fill(previous: &[(Micros, f64)], next: (Micros, f64), interval: Micros, how: Fill) -> Result<Vec<(Micros, f64)>, GapTooLong> {
    let Some(&(last, value)) = previous.last() else { return Ok(Vec::new()) };
    let gap = next.0.0.saturating_sub(last.0);
    if interval.0 <= 0 || gap <= interval.0 {
        return Ok(Vec::new());
    }
    let count = (gap - 1) / interval.0;
    if count > CLEAN_FILLED_MAX as i64 {
        return Err(GapTooLong { micros: gap, interval: interval.0, count });
    }
    let (start, slope) = match how {
        Fill::Hold => (value, 0.0),
        // Each by the gap before they are subtracted: a difference may be larger than a number can be.
        Fill::Linear => (value, next.1 / gap as f64 - value / gap as f64),
        Fill::Trend => trend(previous, last),
    };
    let at = |n: i64| {
        let behind = n * interval.0;
        (Micros(last.0 + behind), start + slope * behind as f64)
    };
    Ok((1..=count).map(at).filter(|(_, value)| value.is_finite()).collect())
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

    fn filled(previous: &[(i64, f64)], next: (i64, f64), every: i64, how: Fill) -> Vec<(i64, f64)> {
        let next = (Micros(next.0 * MINUTE), next.1);
        let found = fill(&at(previous), next, Micros(every * MINUTE), how).unwrap();
        found.into_iter().map(|(time, value)| (time.0 / MINUTE, (value * 1e9).round() / 1e9)).collect()
    }

    #[test]
    fn a_gap_is_filled_by_holding_on_by_a_line_and_by_the_trend_before_it() {
        let before = [(0, 10.0), (10, 12.0), (20, 14.0)];
        assert_eq!(filled(&before, (50, 20.0), 10, Fill::Hold), [(30, 14.0), (40, 14.0)]);
        assert_eq!(filled(&before, (50, 20.0), 10, Fill::Linear), [(30, 16.0), (40, 18.0)]);
        assert_eq!(filled(&before, (50, 99.0), 10, Fill::Trend), [(30, 16.0), (40, 18.0)]);
        // Not what was measured last: what all of them come to.
        assert_eq!(filled(&[(0, 1.0), (10, 0.0), (20, 1.0), (30, 0.0)], (50, 9.0), 10, Fill::Trend), [(40, 0.0)]);
        assert_eq!(filled(&[(20, 14.0)], (50, 20.0), 10, Fill::Trend), [(30, 14.0), (40, 14.0)]);
    }

    #[test]
    fn what_is_no_gap_is_not_filled() {
        for (previous, next) in [(vec![(0, 1.0)], (10, 2.0)), (vec![(0, 1.0)], (-10, 2.0)), (vec![], (10, 2.0))] {
            assert_eq!(filled(&previous, next, 10, Fill::Hold), []);
        }
        assert_eq!(filled(&[(0, 1.0)], (100, 2.0), 0, Fill::Hold), [], "an interval of nothing");
    }

    #[test]
    fn a_gap_of_centuries_is_refused_and_not_filled() {
        let year_2300 = Micros(10_413_792_000 * Micros::SECOND);
        let refused = fill(&at(&[(0, 1.0)]), (year_2300, 2.0), Micros(MINUTE), Fill::Hold).unwrap_err();
        assert_eq!(refused.count, 173_563_199);
        let far = fill(&[(Micros(i64::MIN), 1.0)], (Micros(i64::MAX), 2.0), Micros(1), Fill::Linear);
        assert!(far.is_err());
        let longest = (Micros((CLEAN_FILLED_MAX as i64 + 1) * MINUTE), 2.0);
        assert_eq!(fill(&at(&[(0, 1.0)]), longest, Micros(MINUTE), Fill::Trend).unwrap().len(), CLEAN_FILLED_MAX);
    }
}
