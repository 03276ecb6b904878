//! Every notification in memory, and by whose readings it is looked at. No IO.
//!
//! What is kept of one grows with the devices it is about plus the sensors it names, never with their product.

use super::{Expression, Name, Notification, fire::names_of};
use crate::model::Id;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

/// A notification, ready to be looked at.
#[derive(Debug)]
pub struct Entry {
    pub notification: Notification,
    pub expression: Expression,
    /// What the action fills in.
    pub filled: Vec<Name>,
    devices: HashSet<Id>,
    /// Sensors of its devices whose readings it is looked at for.
    sensors: HashSet<Id>,
    /// Sensors of other devices, or of one of its own alone, that it is looked at for.
    elsewhere: HashSet<Name>,
}

#[derive(Default)]
pub struct Index {
    by_id: BTreeMap<Id, Arc<Entry>>,
    /// Whose readings may be looked at.
    by_device: HashMap<Id, BTreeSet<Id>>,
    owned: HashMap<Option<Id>, usize>,
    asked: Asked,
}

/// What somebody asks for the value of, with how many do.
#[derive(Default)]
struct Asked {
    /// Of the devices that notifications are about, the sensors that notifications name: some pairs too many, which are remembered for nothing.
    devices: HashMap<Id, usize>,
    sensors: HashMap<Id, usize>,
    elsewhere: HashMap<Name, usize>,
}

impl Entry {
    /// None when the expression, which was checked when it came, can't be read: of a later version, say.
    pub fn of(notification: Notification) -> Option<Entry> {
        let expression = Expression::parse(&notification.condition.expression).ok()?;
        let condition = &notification.condition;
        let named: HashSet<Name> = names_of(&notification.action).into_iter().collect();
        let (mut sensors, mut elsewhere): (HashSet<Id>, _) = (condition.sensors.iter().cloned().collect(), HashSet::new());
        if sensors.is_empty() {
            let (on, off): (Vec<&Name>, Vec<&Name>) = expression.names().iter().partition(|name| name.device.is_none());
            sensors = on.into_iter().map(|name| name.sensor.clone()).collect();
            elsewhere = off.into_iter().cloned().collect();
        }
        let devices = condition.devices.iter().cloned().collect();
        Some(Entry { filled: named.into_iter().collect(), devices, sensors, elsewhere, notification, expression })
    }

    /// What condition and action ask for.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.expression.names().iter().chain(&self.filled)
    }

    /// The devices that it is looked at for when this sensor says something: that one; or each that it is about, when it names the sensor
    /// with its device, the sender before the others.
    fn subjects(&self, device: &Id, sensor: &Id) -> Vec<Id> {
        let is_about = self.devices.contains(device);
        let named = Name { device: Some(device.clone()), sensor: sensor.clone() };
        if self.elsewhere.contains(&named) {
            let others = self.notification.condition.devices.iter().filter(|other| *other != device);
            return is_about.then_some(device).into_iter().chain(others).cloned().collect();
        }
        if is_about && self.sensors.contains(sensor) { vec![device.clone()] } else { Vec::new() }
    }

    /// Every device whose values it sees when it is looked at for one.
    pub fn sees(&self, subject: &Id) -> HashSet<Id> {
        self.names().filter_map(|name| name.device.clone()).chain([subject.clone()]).collect()
    }

    fn heard_of(&self) -> impl Iterator<Item = &Id> {
        self.devices.iter().chain(self.elsewhere.iter().filter_map(|name| name.device.as_ref()))
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
        for device in entry.heard_of() {
            self.by_device.entry(device.clone()).or_default().insert(entry.notification.id.clone());
        }
        self.asked.count(entry, true);
        count(&mut self.owned, entry.notification.owner.clone(), true);
    }

    fn unlink(&mut self, entry: &Entry) {
        for device in entry.heard_of() {
            let Some(ids) = self.by_device.get_mut(device) else { continue };
            ids.remove(&entry.notification.id);
            if ids.is_empty() {
                self.by_device.remove(device);
            }
        }
        self.asked.count(entry, false);
        count(&mut self.owned, entry.notification.owner.clone(), false);
    }

    pub fn get(&self, id: &Id) -> Option<Arc<Entry>> {
        self.by_id.get(id).cloned()
    }

    /// Those to look at for a reading, each with the devices to look at it for.
    pub fn of(&self, device: &Id, sensor: &Id) -> Vec<(Arc<Entry>, Vec<Id>)> {
        let entries = self.by_device.get(device).into_iter().flatten().filter_map(|id| self.get(id));
        entries.map(|entry| (entry.clone(), entry.subjects(device, sensor))).filter(|(_, subjects)| !subjects.is_empty()).collect()
    }

    /// Whether somebody may ask for the value of a sensor.
    pub fn names(&self, device: &Id, sensor: &Id) -> bool {
        let asked = &self.asked;
        (asked.devices.contains_key(device) && asked.sensors.contains_key(sensor))
            || (!asked.elsewhere.is_empty() && asked.elsewhere.contains_key(&Name { device: Some(device.clone()), sensor: sensor.clone() }))
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

impl Asked {
    fn count(&mut self, entry: &Entry, is_there: bool) {
        for device in &entry.devices {
            count(&mut self.devices, device.clone(), is_there);
        }
        for name in entry.names() {
            match name.device {
                None => count(&mut self.sensors, name.sensor.clone(), is_there),
                Some(_) => count(&mut self.elsewhere, name.clone(), is_there),
            }
        }
    }
}

fn count<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: K, is_there: bool) {
    let now = counts.get(&key).copied().unwrap_or_default();
    match if is_there { now + 1 } else { now.saturating_sub(1) } {
        0 => drop(counts.remove(&key)),
        after => drop(counts.insert(key, after)),
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
            let found = index.of(&id(device), &id(sensor)).into_iter();
            found
                .map(|(entry, on)| format!("{} on {}", entry.notification.id, on.iter().map(Id::as_str).collect::<Vec<_>>().join(" ")))
                .collect()
        };
        assert_eq!(of(&index, "a", "temp"), ["one on a", "two on a"]);
        // A sensor that is named with its device concerns each device that the notification is about.
        assert_eq!(of(&index, "c", "rain"), ["two on a b"]);
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
        assert!(of(&index, "a", "temp").is_empty() && of(&index, "a", "hum") == ["two on a"]);
        index.set(&id("two"), None);
        assert!(index.is_empty() && index.by_device.is_empty() && index.owned.is_empty());
        let asked = &index.asked;
        assert!(asked.devices.is_empty() && asked.sensors.is_empty() && asked.elsewhere.is_empty());
    }

    #[test]
    fn what_is_kept_of_a_notification_grows_with_its_devices_and_its_names_and_not_with_their_product() {
        let (devices, sensors): (Vec<Id>, Vec<Id>) =
            (0..100).map(|n| (Id::new(&format!("d{n}")).unwrap(), Id::new(&format!("s{n}")).unwrap())).unzip();
        let mut wide = notification("wide", &[], "s1 > 1 && s2 > 1 && s3 > 1");
        (wide.condition.devices, wide.condition.sensors) = (devices, sensors);
        let (id, mut index) = (wide.id.clone(), Index::default());
        index.set(&id, Some(wide));
        let kept = index.by_device.values().map(BTreeSet::len).sum::<usize>()
            + index.asked.devices.len()
            + index.asked.sensors.len()
            + index.asked.elsewhere.len();
        assert!(kept < 2 * 100 + 2 * 5, "{kept}");
        assert_eq!(index.of(&Id::new("d99").unwrap(), &Id::new("s99").unwrap()).len(), 1);
    }
}
