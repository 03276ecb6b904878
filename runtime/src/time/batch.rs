//! Batch: readings of all sensors together, as soon as there are enough, or a while after the first.

use super::{
    Firing, Shelf, ShelfError,
    desk::encode,
    sample::Sample,
    span::{self, CLOCK_BACK, later},
};
use crate::model::{
    Event, Micros,
    limit::FIRED_BYTES_MAX,
    trigger::{Batch as Told, Fired},
};
use std::time::Duration;

/// What order is kept for: batches come one after another.
const KEY: &str = "batch";

/// What waits is in memory, and each reading in a part of its own.
pub(super) struct Batch {
    max: usize,
    within: i64,
    waiting: Vec<Sample>,
    bytes: usize,
}

impl Batch {
    pub fn new(max: u32, within: Duration) -> Batch {
        Batch { max: max as usize, within: span::of(within), waiting: Vec::new(), bytes: 0 }
    }

    pub fn reload(&mut self, shelf: &mut dyn Shelf) -> Result<(), ShelfError> {
        (self.waiting, self.bytes) = Default::default();
        for (part, bytes) in shelf.list("b/") {
            let decoded = postcard::from_bytes::<(usize, Sample)>(&bytes);
            let (told_bytes, sample) = decoded.map_err(|source| ShelfError { part, source })?;
            self.waiting.push(sample);
            self.bytes += told_bytes;
        }
        Ok(())
    }

    pub fn take(&mut self, event: &Event, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) {
        self.run(event.received, shelf, out);
        let (bytes, sample) = (Sample::told_bytes(event), Sample::of(event));
        if self.bytes + bytes > FIRED_BYTES_MAX {
            self.tell(shelf, out);
        }
        shelf.put(&part(&sample), Some(encode(&(bytes, &sample))));
        self.waiting.push(sample);
        self.bytes += bytes;
        if self.waiting.len() >= self.max {
            self.tell(shelf, out);
        }
    }

    pub fn run(&mut self, at: Micros, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) {
        let Some(first) = self.waiting.first() else { return };
        let since = span::bounded(first.received);
        // A clock that was set back by more than a day was wrong when the first one came.
        let at = span::bounded(at);
        if at >= later(since, self.within) || since.0 - at.0 > CLOCK_BACK {
            self.tell(shelf, out);
        }
    }

    pub fn next(&self) -> Option<Micros> {
        self.waiting.first().map(|first| later(span::bounded(first.received), self.within))
    }

    fn tell(&mut self, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) {
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let Some(last) = waiting.last() else { return };
        let (measured, source) = (last.measured, last.sequence);
        let hops = waiting.iter().map(|sample| sample.hops).max().unwrap_or(0);
        for sample in &waiting {
            shelf.put(&part(sample), None);
        }
        let fired = Fired::Batch(Told { readings: waiting.into_iter().map(Sample::told).collect() });
        out.push(Firing { fired, key: KEY.to_owned(), device: None, sensor: None, measured, source, hops });
    }
}

fn part(sample: &Sample) -> String {
    format!("b/{:016x}", sample.sequence)
}
