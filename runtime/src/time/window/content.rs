//! The readings of a window one by one, where a function wants them or percentiles: each is a part of its own on the shelf.

use super::Terms;
use crate::{
    model::{
        Event, Micros,
        limit::{FIRED_BYTES_MAX, WINDOW_NUMBERS_MAX, WINDOW_READINGS_MAX},
        trigger::{Percentile, Sampled},
    },
    time::sample::Sample,
};
use serde::{Deserialize, Serialize};

/// One reading as it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    /// By which it counts.
    pub time: Micros,
    /// Where percentiles are wanted.
    number: Option<f64>,
    /// Where readings are wanted, with its bytes as it is told.
    sample: Option<(usize, Sample)>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Stock {
    readings: u32,
    bytes: u32,
    numbers: u32,
}

impl Stock {
    pub fn merge(&mut self, other: &Stock) {
        self.readings += other.readings;
        self.bytes += other.bytes;
        self.numbers += other.numbers;
    }

    pub fn is_empty(&self) -> bool {
        self.readings == 0 && self.numbers == 0
    }
}

impl Terms {
    /// What is kept of one more reading: nothing when there is enough.
    pub(super) fn record(&self, stock: &mut Stock, time: Micros, number: Option<f64>, event: &Event) -> Option<Record> {
        let bytes = Sample::told_bytes(event);
        let room = (stock.readings as usize) < WINDOW_READINGS_MAX && stock.bytes as usize + bytes <= FIRED_BYTES_MAX;
        let sample = (self.readings && room).then(|| (bytes, Sample::of(event)));
        let number = number.filter(|_| !self.percentiles.is_empty() && (stock.numbers as usize) < WINDOW_NUMBERS_MAX);
        if sample.is_none() && number.is_none() {
            return None;
        }
        stock.numbers += u32::from(number.is_some());
        if sample.is_some() {
            stock.readings += 1;
            stock.bytes += u32::try_from(bytes).unwrap_or(u32::MAX);
        }
        Some(Record { time, number, sample })
    }

    /// Whether more of the readings would be shown, or counted, than those of a first part.
    pub(super) fn wants_more(&self, so_far: &Stock) -> bool {
        self.readings && (so_far.readings as usize) < WINDOW_READINGS_MAX
            || !self.percentiles.is_empty() && (so_far.numbers as usize) < WINDOW_NUMBERS_MAX
    }

    /// The first of the readings, as many as are shown, and percentiles of all numbers or none.
    pub(super) fn show(&self, count: u64, records: Vec<Record>) -> (Option<Vec<Sampled>>, Vec<Percentile>) {
        let mut numbers: Vec<f64> = records.iter().filter_map(|record| record.number).collect();
        let all_there = numbers.len() <= WINDOW_NUMBERS_MAX && numbers.len() as u64 == count;
        numbers.sort_unstable_by(f64::total_cmp);
        let percentiles = self.percentiles.iter().filter(|_| all_there).filter_map(|percent| {
            let value = percentile(&numbers, *percent)?;
            Some(Percentile { percent: *percent, value })
        });
        let percentiles = percentiles.collect();
        (self.readings.then(|| shown(records)), percentiles)
    }
}

/// By the time at which they count, then by the log.
fn shown(records: Vec<Record>) -> Vec<Sampled> {
    let mut samples: Vec<_> = records.into_iter().filter_map(|record| Some((record.time, record.sample?))).collect();
    samples.sort_by_key(|(time, (_, sample))| (*time, sample.sequence));
    let mut bytes = 0;
    let fits = |(_, (told_bytes, _)): &(Micros, (usize, Sample))| {
        bytes += told_bytes;
        bytes <= FIRED_BYTES_MAX
    };
    samples.into_iter().take(WINDOW_READINGS_MAX).take_while(fits).map(|(_, (_, sample))| sample.told()).collect()
}

/// By linear interpolation between the closest ranks, to the last bit as numpy does by default.
fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let rank = percent / 100.0 * (sorted.len().checked_sub(1)? as f64);
    let below = rank.floor();
    let (a, b) = (*sorted.get(below as usize)?, *sorted.get(rank.ceil() as usize)?);
    let (apart, part) = (b - a, rank - below);
    let value = if part >= 0.5 { b - apart * (1.0 - part) } else { a + apart * part };
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_the_closest_ranks() {
        // The same formula in Python, printed with `repr`.
        let numbers = [1.0, 2.5, 2.5, 7.0, 11.25, 19.0, 23.5];
        for (percent, value) in [
            (0.0, 1.0),
            (10.0, 1.9000000000000001),
            (25.0, 2.5),
            (33.0, 2.5),
            (50.0, 7.0),
            (95.0, 22.15),
            (99.0, 23.229999999999997),
            (100.0, 23.5),
        ] {
            assert_eq!(percentile(&numbers, percent), Some(value), "{percent}");
        }
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(percentile(&[4.0], 99.9), Some(4.0));
        assert_eq!(percentile(&[-f64::MAX, f64::MAX], 50.0), None, "what is too far apart has nothing in between");
    }
}
