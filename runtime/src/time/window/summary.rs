//! Sums over the readings of a window, which can be put together from those of its parts.

use crate::model::{Micros, trigger::Aggregate};
use serde::{Deserialize, Serialize};

/// Sums keep what rounding took away beside them (Neumaier), so that a million readings sum up as exactly as two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Summary {
    readings: u64,
    /// Those that are numbers. With none, the rest means nothing.
    count: u64,
    sum: f64,
    lost: f64,
    min: f64,
    max: f64,
    /// The numbers measured first and last; of those measured at once, the one that came first and the one that came last.
    first: (Micros, f64),
    last: (Micros, f64),
}

impl Summary {
    /// In the order of the log.
    pub fn add(&mut self, time: Micros, number: Option<f64>) {
        let one = number.map_or(Summary::default(), |number| Summary {
            count: 1,
            sum: number,
            min: number,
            max: number,
            first: (time, number),
            last: (time, number),
            ..Summary::default()
        });
        self.merge(&Summary { readings: 1, ..one });
    }

    pub fn merge(&mut self, other: &Summary) {
        self.readings += other.readings;
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = Summary { readings: self.readings, ..*other };
            return;
        }
        self.count += other.count;
        self.add_up(other.sum);
        self.lost += other.lost;
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
        if other.first.0 < self.first.0 {
            self.first = other.first;
        }
        if other.last.0 >= self.last.0 {
            self.last = other.last;
        }
    }

    fn add_up(&mut self, number: f64) {
        let sum = self.sum + number;
        self.lost += if self.sum.abs() >= number.abs() { (self.sum - sum) + number } else { (number - sum) + self.sum };
        self.sum = sum;
    }

    /// Without percentiles. A sum that no number of 64 bits holds is none.
    pub fn aggregate(&self) -> Aggregate {
        let any = |value: f64| (self.count > 0 && value.is_finite()).then_some(value);
        let sum = self.sum + self.lost;
        Aggregate {
            readings: self.readings,
            count: self.count,
            sum: any(sum),
            mean: any(sum / self.count as f64),
            min: any(self.min),
            max: any(self.max),
            first: any(self.first.1),
            last: any(self.last.1),
            percentiles: Vec::new(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn over(numbers: &[f64]) -> Aggregate {
        let mut summary = Summary::default();
        for (i, number) in numbers.iter().enumerate() {
            summary.add(Micros(i as i64), Some(*number));
        }
        summary.aggregate()
    }

    #[test]
    fn a_small_number_is_not_lost_among_large_ones() {
        assert_eq!(over(&[1e16, 1.0, -1e16]).sum, Some(1.0));
        assert_eq!(over(&[1.0, 1e100, 1.0, -1e100]).sum, Some(2.0));
        assert_eq!(over(&[0.1; 1_000_000]).sum, Some(100_000.0));
        assert_eq!(over(&[0.1; 1_000_000]).mean, Some(0.1));
    }

    #[test]
    fn a_window_without_numbers_has_none_and_one_with_too_large_a_sum_has_no_sum() {
        let mut words = Summary::default();
        words.add(Micros(1), None);
        assert_eq!(words.aggregate(), Aggregate { readings: 1, ..Aggregate::default() });
        let large = over(&[f64::MAX, f64::MAX, -1.0]);
        assert_eq!((large.sum, large.mean, large.max, large.last), (None, None, Some(f64::MAX), Some(-1.0)));
    }

    #[test]
    fn first_and_last_are_by_measured_time_and_then_by_the_log() {
        let mut summary = Summary::default();
        for (time, number) in [(5, 1.0), (9, 2.0), (5, 3.0), (9, 4.0), (7, 5.0)] {
            summary.add(Micros(time), Some(number));
        }
        let aggregate = summary.aggregate();
        assert_eq!((aggregate.first, aggregate.last, aggregate.readings, aggregate.count), (Some(1.0), Some(4.0), 5, 5));
    }
}
