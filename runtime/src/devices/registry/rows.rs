//! One short row for each sensor: what selectors ask of it. Texts are compared by a hash first, and then as they are, so that nothing is kept
//! of a text that no sensor has any more.

use crate::model::{Micros, Sensor};
use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicI64, Ordering},
};

/// No device: the row is free.
const FREE: u32 = u32::MAX;

#[derive(Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    free: Vec<u32>,
    hasher: RandomState,
}

pub(super) struct Row {
    /// The place of its device in the index.
    pub device: u32,
    /// Which of the device's sensors it is.
    pub nth: u32,
    pub kind: u32,
    pub quantity: u32,
    pub unit: u32,
    /// When it was heard last, 0 is never. Changes with every reading, so it changes without a lock.
    seen: AtomicI64,
}

impl Row {
    pub fn seen(&self) -> Micros {
        Micros(self.seen.load(Ordering::Relaxed))
    }
}

impl Rows {
    pub fn add(&mut self, device: u32, nth: usize, sensor: &Sensor, seen: Micros) -> u32 {
        let row = Row {
            device,
            nth: u32::try_from(nth).unwrap_or(u32::MAX),
            kind: self.hash(sensor.sensor_kind.as_deref()),
            quantity: self.hash(sensor.quantity_kind.as_deref()),
            unit: self.hash(sensor.unit.as_deref()),
            seen: AtomicI64::new(seen.0),
        };
        match self.free.pop() {
            Some(place) => {
                self.rows[place as usize] = row;
                place
            }
            None => {
                self.rows.push(row);
                u32::try_from(self.rows.len() - 1).unwrap_or(FREE)
            }
        }
    }

    pub fn remove(&mut self, place: u32) {
        if let Some(row) = self.rows.get_mut(place as usize) {
            row.device = FREE;
            self.free.push(place);
        }
    }

    pub fn get(&self, place: u32) -> Option<&Row> {
        self.rows.get(place as usize)
    }

    pub fn all(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.device != FREE)
    }

    pub fn seen(&self, place: u32) -> Micros {
        self.get(place).map(Row::seen).unwrap_or_default()
    }

    /// Events are taken in the order of the log, but not always by one thread: the latest counts.
    pub fn set_seen(&self, place: u32, seen: Micros) -> bool {
        self.get(place).map(|row| row.seen.fetch_max(seen.0, Ordering::Relaxed)).is_some()
    }

    /// 0 is of no text at all.
    pub fn hash(&self, text: Option<&str>) -> u32 {
        text.map_or(0, |text| self.hasher.hash_one(text) as u32 | 1)
    }
}
