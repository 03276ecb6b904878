//! Which sensors fit a selector: one look at each row, which most of them don't pass, and at the document of the others.

use super::{
    Inner, Registry,
    index::{Entry, Index},
    rows::Row,
};
use crate::{
    identity::{Deed, Principal, may},
    model::{
        Id, Micros, Selector, Sensor, SensorRef,
        selector::{Circle, mark},
    },
};

/// A selector as rows are asked.
struct Sieve<'a> {
    selector: &'a Selector,
    who: &'a Principal,
    kind: u32,
    quantity: u32,
    unit: u32,
    tags: u64,
    circle: Option<Circle>,
    /// Heard no earlier.
    since: Micros,
}

impl Registry {
    /// The sensors that fit at `now`, of those whose values `who` may see, in no order.
    pub fn select(&self, selector: &Selector, who: &Principal, now: Micros) -> Vec<SensorRef> {
        let since = selector.seen_within.map(|window| earlier(now, window));
        let mut found = Vec::new();
        let index = self.0.index.read();
        self.0.fits(&index, selector, who, since, |entry, sensor, _| {
            found.push(SensorRef { device: entry.id.clone(), sensor: sensor.id.clone() });
        });
        found
    }

    /// Whether this very sensor fits, whenever it was heard: asked for a reading of it that has just come in.
    pub fn fits(&self, selector: &Selector, who: &Principal, device: &Id, sensor: &Id) -> bool {
        let index = self.0.index.read();
        let in_project = |project| index.projects.get(project).is_some_and(|group| group.members.contains(device));
        if *who.tenant() != self.0.tenant || !selector.project.as_ref().is_none_or(in_project) {
            return false;
        }
        let row = index.get(device).and_then(|entry| entry.row(sensor)).and_then(|row| index.rows.get(row));
        let mut fits = false;
        row.inspect(|row| Sieve::of(&index, selector, who, None).pass(&index, row, &mut |_, _, _| fits = true));
        fits
    }
}

pub(super) fn earlier(now: Micros, window: std::time::Duration) -> Micros {
    // What was never heard was heard at 0.
    Micros(now.0.saturating_sub(i64::try_from(window.as_micros()).unwrap_or(i64::MAX)).max(1))
}

impl Inner {
    /// Every sensor that fits and was heard no earlier than `since`, with when that was.
    pub fn fits<'i>(
        &self,
        index: &'i Index,
        selector: &Selector,
        who: &Principal,
        since: Option<Micros>,
        mut each: impl FnMut(&'i Entry, &'i Sensor, Micros),
    ) {
        if *who.tenant() != self.tenant {
            return;
        }
        let sieve = Sieve::of(index, selector, who, since);
        let Some(project) = &selector.project else {
            return index.rows.all().for_each(|row| sieve.pass(index, row, &mut each));
        };
        let members = index.projects.get(project).into_iter().flat_map(|group| &group.members);
        for entry in members.filter_map(|device| index.get(device)) {
            entry.rows.iter().filter_map(|row| index.rows.get(*row)).for_each(|row| sieve.pass(index, row, &mut each));
        }
    }

    /// Those of one device.
    pub fn fits_of<'i>(
        &self,
        index: &'i Index,
        entry: &'i Entry,
        selector: &Selector,
        who: &Principal,
        since: Option<Micros>,
        mut each: impl FnMut(&'i Entry, &'i Sensor, Micros),
    ) {
        let in_project = |project| index.projects.get(project).is_some_and(|group| group.members.contains(&entry.id));
        if *who.tenant() != self.tenant || !selector.project.as_ref().is_none_or(in_project) {
            return;
        }
        let sieve = Sieve::of(index, selector, who, since);
        entry.rows.iter().filter_map(|row| index.rows.get(*row)).for_each(|row| sieve.pass(index, row, &mut each));
    }
}

impl<'a> Sieve<'a> {
    fn of(index: &Index, selector: &'a Selector, who: &'a Principal, since: Option<Micros>) -> Sieve<'a> {
        Sieve {
            selector,
            who,
            kind: index.rows.hash(selector.kind.as_deref()),
            quantity: index.rows.hash(selector.quantity.as_deref()),
            unit: index.rows.hash(selector.unit.as_deref()),
            tags: selector.tags.iter().fold(0, |marks, tag| marks | mark(tag)),
            circle: selector.within.map(|within| within.circle()),
            since: since.unwrap_or_default(),
        }
    }

    fn pass<'i>(&self, index: &'i Index, row: &Row, each: &mut impl FnMut(&'i Entry, &'i Sensor, Micros)) {
        let is = |wanted: u32, has: u32| wanted == 0 || wanted == has;
        if !(is(self.kind, row.kind) && is(self.quantity, row.quantity) && is(self.unit, row.unit)) {
            return;
        }
        let seen = row.seen();
        let Some(entry) = index.at(row.device).filter(|_| seen >= self.since) else { return };
        let owner = &self.selector.owner;
        if entry.tags & self.tags != self.tags || !(owner.is_none() || *owner == entry.owned.owner) {
            return;
        }
        if !self.circle.is_none_or(|circle| entry.spot.is_some_and(|spot| circle.holds(spot))) {
            return;
        }
        let Some(sensor) = entry.shown.sensors.get(row.nth as usize) else { return };
        // A hash and a mark tell who does not fit, not who does.
        if self.selector.fits_sensor(&entry.shown, sensor) && may(self.who, Deed::ViewData, entry.resource()) {
            each(entry, sensor, seen);
        }
    }
}
