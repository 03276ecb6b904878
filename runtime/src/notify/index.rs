//! Every notification in memory, and by whose readings it is looked at. No IO.

use super::{Expression, Name, Notification, fire::names_of};
use crate::model::Id;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// A notification, ready to be looked at.
#[derive(Debug)]
pub struct Entry {
    pub notification: Notification,
    pub expression: Expression,
    /// What condition and action ask for.
    pub names: Vec<Name>,
}

#[derive(Default)]
pub struct Index {
    by_id: BTreeMap<Id, Arc<Entry>>,
    /// Whose readings are looked at: by device, then sensor.
    by_sensor: HashMap<Id, HashMap<Id, Vec<Id>>>,
    owned: HashMap<Option<Id>, usize>,
    /// Sensors whose values somebody asks for, with how many do.
    named: HashMap<(Id, Id), usize>,
}

impl Entry {
    /// None when the expression, which was checked when it came, can't be read: of a later version, say.
    pub fn of(notification: Notification) -> Option<Entry> {
        let expression = Expression::parse(&notification.condition.expression).ok()?;
        let all: HashSet<Name> = expression.names().iter().cloned().chain(names_of(&notification.action)).collect();
        Some(Entry { names: all.into_iter().collect(), notification, expression })
    }

    /// The sensors whose readings it is looked at for.
    fn triggers(&self) -> HashSet<(Id, Id)> {
        let condition = &self.notification.condition;
        if condition.sensors.is_empty() {
            return self.sensors(self.expression.names());
        }
        condition.devices.iter().flat_map(|device| condition.sensors.iter().map(|sensor| (device.clone(), sensor.clone()))).collect()
    }

    fn sensors(&self, names: &[Name]) -> HashSet<(Id, Id)> {
        let devices = &self.notification.condition.devices;
        let of = |name: &Name| -> Vec<(Id, Id)> {
            let on: Vec<Id> = name.device.clone().map_or_else(|| devices.clone(), |device| vec![device]);
            on.into_iter().map(|device| (device, name.sensor.clone())).collect()
        };
        names.iter().flat_map(of).collect()
    }

    /// Every device whose values it sees when a reading of `device` comes.
    pub fn devices(&self, device: &Id) -> HashSet<Id> {
        self.names.iter().filter_map(|name| name.device.clone()).chain([device.clone()]).collect()
    }
}

impl Index {
    pub fn set(&mut self, id: &Id, notification: Option<Notification>) {
        if let Some(old) = self.by_id.remove(id) {
            self.unlink(&old);
        }
        if let Some(entry) = notification.and_then(Entry::of) {
            let entry = Arc::new(entry);
            self.link(&entry);
            self.by_id.insert(id.clone(), entry);
        }
    }

    fn link(&mut self, entry: &Entry) {
        let id = &entry.notification.id;
        for (device, sensor) in entry.triggers() {
            self.by_sensor.entry(device).or_default().entry(sensor).or_default().push(id.clone());
        }
        for sensor in entry.sensors(&entry.names) {
            *self.named.entry(sensor).or_default() += 1;
        }
        *self.owned.entry(entry.notification.owner.clone()).or_default() += 1;
    }

    fn unlink(&mut self, entry: &Entry) {
        let id = &entry.notification.id;
        for (device, sensor) in entry.triggers() {
            let Some(sensors) = self.by_sensor.get_mut(&device) else { continue };
            if let Some(ids) = sensors.get_mut(&sensor) {
                ids.retain(|known| known != id);
            }
            sensors.retain(|_, ids| !ids.is_empty());
            if sensors.is_empty() {
                self.by_sensor.remove(&device);
            }
        }
        for sensor in entry.sensors(&entry.names) {
            less(&mut self.named, sensor);
        }
        less(&mut self.owned, entry.notification.owner.clone());
    }

    pub fn get(&self, id: &Id) -> Option<Arc<Entry>> {
        self.by_id.get(id).cloned()
    }

    /// Those to look at for a reading.
    pub fn of(&self, device: &Id, sensor: &Id) -> Vec<Arc<Entry>> {
        let ids = self.by_sensor.get(device).and_then(|sensors| sensors.get(sensor));
        ids.into_iter().flatten().filter_map(|id| self.get(id)).collect()
    }

    /// Whether somebody asks for the value of a sensor.
    pub fn names(&self, device: &Id, sensor: &Id) -> bool {
        !self.named.is_empty() && self.named.contains_key(&(device.clone(), sensor.clone()))
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_id.values()
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn owned_by(&self, owner: Option<&Id>) -> usize {
        self.owned.get(&owner.cloned()).copied().unwrap_or_default()
    }
}

fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let std::collections::hash_map::Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn notification(id: &str, sensors: &[&str], expression: &str) -> Notification {
        let stored = serde_json::json!({
            "id": id, "owner": "ada", "throttling": 1, "status": "active", "date_created": 0, "date_modified": 0,
            "condition": {"devices": ["a", "b"], "sensors": sensors, "expression": expression},
            "action": {"type": "SocialAction", "value": {"channels": ["log"], "message": "${hum} at ${c.wind}"}},
        });
        serde_json::from_value(stored).unwrap()
    }

    #[test]
    fn a_reading_is_looked_at_by_those_that_name_it_and_by_nobody_else() {
        let id = |text: &str| Id::new(text).unwrap();
        let mut index = Index::default();
        index.set(&id("one"), Some(notification("one", &["temp"], "temp > 1 && ph > 2")));
        index.set(&id("two"), Some(notification("two", &[], "temp > 1 || c.rain")));
        let of = |index: &Index, device: &str, sensor: &str| -> Vec<String> {
            index.of(&id(device), &id(sensor)).iter().map(|entry| entry.notification.id.to_string()).collect()
        };
        assert_eq!(of(&index, "a", "temp"), ["one", "two"]);
        assert_eq!(of(&index, "c", "rain"), ["two"]);
        for (device, sensor) in [("a", "ph"), ("a", "hum"), ("c", "temp"), ("c", "wind"), ("d", "temp")] {
            assert!(of(&index, device, sensor).is_empty(), "{device}.{sensor}");
        }
        // Their values are asked for all the same.
        for (device, sensor, is) in [("b", "ph", true), ("b", "hum", true), ("c", "wind", true), ("c", "ph", false)] {
            assert_eq!(index.names(&id(device), &id(sensor)), is, "{device}.{sensor}");
        }
        assert_eq!(index.owned_by(Some(&id("ada"))), 2);
        index.set(&id("one"), None);
        index.set(&id("two"), Some(notification("two", &["hum"], "temp > 1")));
        assert!(of(&index, "a", "temp").is_empty() && of(&index, "a", "hum") == ["two"]);
        index.set(&id("two"), None);
        assert!(index.is_empty() && index.by_sensor.is_empty() && index.named.is_empty() && index.owned.is_empty());
    }
}
