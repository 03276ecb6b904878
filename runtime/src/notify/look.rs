//! Readings, looked at: which of them meet a condition, as far as this node knows.

use super::{
    Inner, Name, Notification, NotifyError, Operand, Social,
    document::Last,
    fire::Candidate,
    index::Entry,
    recent::{Known, Recent, Sensors},
};
use crate::{
    identity::Deed,
    model::{Event, Id, Kind, Micros, Value},
    records::Space,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// A batch of events while it is looked at.
struct Look<'a> {
    inner: &'a Inner,
    /// Of before the batch.
    recent: &'a Recent,
    /// Of the batch, up to the event that is looked at.
    fresh: Recent,
    /// What was looked up; none: it is not known.
    stored: Sensors<Option<Known>>,
    /// The last firings as they are if everything fires that was found.
    last: HashMap<Id, Last>,
    /// Owners that were asked for.
    admins: HashMap<Id, bool>,
    candidates: Vec<Candidate>,
}

impl Inner {
    /// What the events of a batch fire, as far as this node knows, and what their sensors said. `only`: looked at once more, for these alone.
    pub(super) fn look(
        &self,
        events: &[Arc<Event>],
        recent: &Recent,
        only: Option<&BTreeSet<Id>>,
    ) -> Result<(Vec<Candidate>, Recent), NotifyError> {
        let mut look = Look {
            inner: self,
            recent,
            fresh: Recent::default(),
            stored: Sensors::default(),
            last: HashMap::new(),
            admins: HashMap::new(),
            candidates: Vec::new(),
        };
        for event in events.iter().filter(|event| event.tenant == self.tenant) {
            match (event.kind, &event.device, &event.sensor) {
                (Kind::Registry, ..) if only.is_none() => self.refresh(event)?,
                (Kind::Reading, Some(device), Some(sensor)) => look.at(event, device, sensor, only),
                _ => {}
            }
        }
        Ok((look.candidates, look.fresh))
    }

    /// What was changed, here or on another node.
    fn refresh(&self, event: &Event) -> Result<(), NotifyError> {
        for key in Space::Devices.changed(event).unwrap_or_default() {
            if let Some(id) = key.strip_prefix(Notification::PREFIX).and_then(|id| Id::new(id).ok()) {
                let found = self.records.get::<Notification>(&key)?;
                self.index.write().set(&id, found);
            } else if let Some(id) = key.strip_prefix(Social::PREFIX).and_then(|id| Id::new(id).ok()) {
                let found = self.records.get::<Social>(&key)?;
                self.outbox.set(&id, found.as_ref());
            }
        }
        Ok(())
    }
}

impl Look<'_> {
    fn at(&mut self, event: &Arc<Event>, device: &Id, sensor: &Id, only: Option<&BTreeSet<Id>>) {
        let index = self.inner.index.read();
        if index.names(device, sensor) {
            self.fresh.insert(device, sensor, Known { value: event.value.clone(), received: event.received });
        }
        let found = index.of(device, sensor);
        drop(index);
        for (entry, subjects) in found {
            if only.is_none_or(|only| only.contains(&entry.notification.id)) && self.is_due(&entry.notification, event) {
                self.fire(&entry, event, subjects);
            }
        }
    }

    fn is_due(&mut self, notification: &Notification, event: &Event) -> bool {
        let known = notification.last();
        let last = self.last.entry(notification.id.clone()).or_insert(known);
        // Read again since, because of an event between.
        if known.seq > last.seq {
            *last = known;
        }
        notification.is_due_after(*last, event.seq, event.received)
    }

    /// Of several devices the first for which the condition is met.
    fn fire(&mut self, entry: &Entry, event: &Arc<Event>, subjects: Vec<Id>) {
        let (id, modified) = (entry.notification.id.clone(), entry.notification.date_modified);
        let found = subjects.into_iter().find_map(|device| Some((self.meets(entry, event, &device)?, device)));
        if let Some((values, device)) = found {
            self.last.insert(id.clone(), Last { seq: event.seq, received: Some(event.received) });
            self.candidates.push(Candidate { id, modified, event: event.clone(), device, values });
        }
    }

    /// The values that a notification asks for, if they meet its condition and its owner may see them. Most readings meet nothing: so what the
    /// action fills in is looked up, and the owner asked for, only when the condition is met.
    fn meets(&mut self, entry: &Entry, event: &Event, device: &Id) -> Option<BTreeMap<Name, Value>> {
        let mut values = self.values(entry, entry.expression.names(), event, device);
        if !entry.expression.is_met(|name| values.get(name).and_then(Operand::of)) {
            return None;
        }
        let owner = self.inner.acting(entry.notification.owner.as_ref())?;
        if !entry.sees(device).iter().all(|device| self.inner.may(&owner, Deed::ViewData, device)) {
            return None;
        }
        values.extend(self.values(entry, &entry.filled, event, device));
        Some(values)
    }

    fn values(&mut self, entry: &Entry, names: &[Name], event: &Event, subject: &Id) -> BTreeMap<Name, Value> {
        let owner = entry.notification.owner.as_ref();
        let value = |name: &Name| Some((name.clone(), self.value(owner, name.device.as_ref().unwrap_or(subject), &name.sensor, event)?));
        names.iter().filter_map(value).collect()
    }

    /// What a sensor said last at the time of an event, for somebody.
    fn value(&mut self, owner: Option<&Id>, device: &Id, sensor: &Id, event: &Event) -> Option<Value> {
        let known = match event.device.as_ref() == Some(device) && event.sensor.as_ref() == Some(sensor) {
            true => Known { value: event.value.clone(), received: event.received },
            false => self.known(device, sensor, event)?.clone(),
        };
        self.is_theirs(owner, device, known.received).then_some(known.value)
    }

    fn known(&mut self, device: &Id, sensor: &Id, event: &Event) -> Option<&Known> {
        let recent = self.fresh.get(device, sensor).or_else(|| self.recent.get(device, sensor));
        if recent.is_some() {
            return recent;
        }
        let of_device = self.stored.entry(device.clone()).or_default();
        if !of_device.contains_key(sensor) {
            of_device.insert(sensor.clone(), (self.inner.lookup.current)(device, sensor, event.seq));
        }
        of_device.get(sensor)?.as_ref()
    }

    /// Whoever registers a device sees what it says from then on; administrators see all (`docs/decisions/0018`).
    fn is_theirs(&mut self, owner: Option<&Id>, device: &Id, received: Micros) -> bool {
        let Some(owner) = owner else { return true };
        if (self.inner.lookup.registered)(device).is_none_or(|registered| received >= registered.since) {
            return true;
        }
        let ask = || (self.inner.lookup.person)(owner).is_some_and(|person| person.admin);
        *self.admins.entry(owner.clone()).or_insert_with(ask)
    }
}
