//! What a rule has at hand while it looks at one series: where its parts are, and where its firings go.

use super::{Firing, Shelf, Trouble, name, span::digits};
use crate::model::{Micros, event::Seq, limit::LATE_SENSORS_MAX, trigger::Fired};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

pub(super) struct Desk<'a> {
    pub name: &'a str,
    /// When the series was heard last, before the reading that is looked at.
    pub last: Micros,
    pub shelf: &'a mut dyn Shelf,
    pub out: &'a mut Vec<Firing>,
    pub troubles: &'a mut Troubles,
}

impl Desk<'_> {
    pub fn fire(&mut self, fired: Fired, measured: Micros, source: Seq, hops: u16) {
        let (device, sensor) = name::ids(self.name);
        self.out.push(Firing { fired, key: name::order(self.name), device, sensor, measured, source, hops });
    }

    /// A part of this series, one for each moment.
    pub fn load<T: DeserializeOwned>(&mut self, kind: char, at: Micros) -> Option<T> {
        let part = self.part(kind, at);
        let bytes = self.shelf.get(&part)?;
        self.decode(&part, &bytes)
    }

    pub fn store<T: Serialize>(&mut self, kind: char, at: Micros, value: &T) {
        let part = self.part(kind, at);
        self.shelf.put(&part, Some(encode(value)));
    }

    pub fn remove(&mut self, kind: char, at: Micros) {
        let part = self.part(kind, at);
        if self.shelf.get(&part).is_some() {
            self.shelf.put(&part, None);
        }
    }

    /// All parts of a kind, in the order of their moments; with `at`, those under that moment.
    pub fn list<T: DeserializeOwned>(&mut self, kind: char, at: Option<Micros>) -> Vec<(String, T)> {
        let prefix = at.map_or_else(|| format!("{kind}/{}/", self.name), |at| self.part(kind, at) + "/");
        let parts = self.shelf.list(&prefix);
        parts.into_iter().filter_map(|(part, bytes)| Some((self.decode(&part, &bytes)?, part))).map(|(value, part)| (part, value)).collect()
    }

    /// One of many parts of a moment.
    pub fn store_in<T: Serialize>(&mut self, kind: char, at: Micros, sequence: Seq, value: &T) {
        let part = format!("{}/{sequence:016x}", self.part(kind, at));
        self.shelf.put(&part, Some(encode(value)));
    }

    pub fn remove_in(&mut self, kind: char, at: Micros) {
        for (part, _) in self.shelf.list(&(self.part(kind, at) + "/")) {
            self.shelf.put(&part, None);
        }
    }

    /// All parts of moments before that one.
    pub fn remove_before(&mut self, kind: char, at: Micros) {
        let (prefix, first) = (format!("{kind}/{}/", self.name), self.part(kind, at));
        for (part, _) in self.shelf.list(&prefix) {
            if part < first {
                self.shelf.put(&part, None);
            }
        }
    }

    fn part(&self, kind: char, at: Micros) -> String {
        format!("{kind}/{}/{}", self.name, digits(at))
    }

    fn decode<T: DeserializeOwned>(&mut self, part: &str, bytes: &[u8]) -> Option<T> {
        let value = postcard::from_bytes(bytes).ok();
        if value.is_none() {
            self.troubles.unreadable.push(part.to_owned());
        }
        value
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> bytes::Bytes {
    // Numbers, texts and lists of them: there is nothing that could not be written.
    postcard::to_stdvec(value).unwrap_or_default().into()
}

/// What there is to say, until somebody asks.
#[derive(Default)]
pub(super) struct Troubles {
    late: BTreeMap<String, (u64, Micros)>,
    gaps: BTreeMap<String, (u64, Micros, Micros, i64)>,
    pub full: u64,
    pub unreadable: Vec<String>,
}

impl Troubles {
    pub fn late(&mut self, name: &str, measured: Micros) {
        let known = self.late.len() < LATE_SENSORS_MAX || self.late.contains_key(name);
        let (count, latest) = self.late.entry(if known { name } else { "" }.to_owned()).or_insert((0, measured));
        (*count, *latest) = (*count + 1, measured);
    }

    pub fn gap(&mut self, name: &str, from: Micros, to: Micros, values: i64) {
        let known = self.gaps.len() < LATE_SENSORS_MAX || self.gaps.contains_key(name);
        let count = self.gaps.get(if known { name } else { "" }).map_or(0, |(count, ..)| *count);
        self.gaps.insert(if known { name } else { "" }.to_owned(), (count + 1, from, to, values));
    }

    pub fn take(&mut self) -> Vec<Trouble> {
        let Troubles { late, gaps, full, unreadable } = std::mem::take(self);
        let gaps = gaps.into_iter().map(|(name, (gaps, from, to, values))| {
            let (device, sensor) = name::ids(&name);
            Trouble::Gaps { device, sensor, gaps, from, to, values }
        });
        let late = late.into_iter().map(|(name, (readings, latest))| {
            let (device, sensor) = name::ids(&name);
            Trouble::Late { device, sensor, readings, latest }
        });
        let full = (full > 0).then_some(Trouble::Full { readings: full });
        late.chain(gaps).chain(full).chain(unreadable.into_iter().map(|part| Trouble::Unreadable { part })).collect()
    }
}
