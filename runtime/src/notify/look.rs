//! Readings, looked at: which of them meet a condition, as far as this node knows.

use super::{Inner, Name, Notification, NotifyError, Operand, Social, fire::Candidate, index::Entry};
use crate::{
    identity::Deed,
    model::{Event, Id, Kind, Value},
    records::Space,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// What sensors said last, of those that somebody asks for: as of the event that is looked at, which the projection may be ahead of.
pub(super) type Recent = HashMap<(Id, Id), Value>;

impl Inner {
    /// What the events of a batch fire, as far as this node knows.
    pub(super) fn look(&self, events: &[Arc<Event>], recent: &mut Recent) -> Result<Vec<Candidate>, NotifyError> {
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut fired: HashMap<Id, Notification> = HashMap::new();
        for event in events.iter().filter(|event| event.tenant == self.tenant) {
            match (event.kind, &event.device, &event.sensor) {
                (Kind::Registry, ..) => self.refresh(event)?,
                (Kind::Reading, Some(device), Some(sensor)) => {
                    let index = self.index.read();
                    if index.names(device, sensor) {
                        recent.insert((device.clone(), sensor.clone()), event.value.clone());
                    }
                    let entries = index.of(device, sensor);
                    drop(index);
                    for entry in entries {
                        let now = fired.entry(entry.notification.id.clone()).or_insert_with(|| entry.notification.clone());
                        if now.is_due(event.seq, event.received)
                            && let Some(values) = self.meets(&entry, event, device, recent)
                        {
                            (now.state.last_seq, now.state.last_notif) = (event.seq, Some(event.received));
                            let (id, modified) = (entry.notification.id.clone(), entry.notification.date_modified);
                            candidates.push(Candidate { id, modified, event: event.clone(), values });
                        }
                    }
                }
                _ => {}
            }
        }
        let index = self.index.read();
        recent.retain(|(device, sensor), _| index.names(device, sensor));
        Ok(candidates)
    }

    /// The values that a notification asked for, if they meet its condition and its owner may see them.
    fn meets(&self, entry: &Entry, event: &Event, device: &Id, recent: &Recent) -> Option<BTreeMap<Name, Value>> {
        let value = |name: &Name| {
            let of = name.device.as_ref().unwrap_or(device);
            if of == device && event.sensor.as_ref() == Some(&name.sensor) {
                return Some(event.value.clone());
            }
            let known = recent.get(&(of.clone(), name.sensor.clone())).cloned();
            known.or_else(|| (self.lookup.current)(of, &name.sensor, event.seq))
        };
        let values: BTreeMap<Name, Value> = entry.names.iter().filter_map(|name| Some((name.clone(), value(name)?))).collect();
        if !entry.expression.is_met(|name| values.get(name).and_then(Operand::of)) {
            return None;
        }
        // Asked last, because most readings meet nothing.
        let owner = self.acting(entry.notification.owner.as_ref())?;
        entry.devices(device).iter().all(|device| self.may(&owner, Deed::ViewData, device)).then_some(values)
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
