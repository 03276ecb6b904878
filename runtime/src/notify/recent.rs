//! What sensors said last, of those that somebody asks for: as of the event that is looked at, which the projection may be ahead of.

use super::index::Index;
use crate::model::{Id, Micros, Value};
use std::collections::HashMap;

/// Beyond this all of it is forgotten: the projection knows it too, though perhaps some events ahead.
const RECENT_BYTES_MAX: usize = 16 << 20;
/// What a value takes beside itself.
const BESIDE_BYTES: usize = 128;

/// By device, then sensor.
pub(super) type Sensors<T> = HashMap<Id, HashMap<Id, T>>;

/// A value, and when it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    pub value: Value,
    pub received: Micros,
}

#[derive(Debug, Default)]
pub(super) struct Recent(Sensors<Known>);

impl Recent {
    pub fn get(&self, device: &Id, sensor: &Id) -> Option<&Known> {
        self.0.get(device)?.get(sensor)
    }

    pub fn insert(&mut self, device: &Id, sensor: &Id, known: Known) {
        self.0.entry(device.clone()).or_default().insert(sensor.clone(), known);
    }

    /// Takes over what came later, and forgets what nobody asks for any more.
    pub fn take(&mut self, later: Recent, index: &Index) {
        for (device, sensors) in later.0 {
            self.0.entry(device).or_default().extend(sensors);
        }
        let mut bytes = 0;
        self.0.retain(|device, sensors| {
            sensors.retain(|sensor, _| index.names(device, sensor));
            bytes += sensors.values().map(|known| known.value.len_bytes() + BESIDE_BYTES).sum::<usize>();
            !sensors.is_empty()
        });
        if bytes > RECENT_BYTES_MAX {
            self.0.clear();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_has_an_end() {
        let stored = serde_json::json!({
            "id": "one", "throttling": 1, "status": "active", "date_created": 0, "date_modified": 0,
            "condition": {"devices": ["a"], "sensors": ["t"], "expression": "t > 1"},
            "action": {"type": "SocialAction", "value": {"channels": ["log"], "message": "${picture}"}},
        });
        let id = |text: &str| Id::new(text).unwrap();
        let (mut index, mut recent) = (Index::default(), Recent::default());
        index.set(&id("one"), Some(serde_json::from_value(stored).unwrap()));
        let said = |sensor: &str, bytes: usize| {
            let mut later = Recent::default();
            let known = Known { value: Value::Bytes(vec![0; bytes].into()), received: Micros(1) };
            later.insert(&id("a"), &id(sensor), known);
            later
        };
        recent.take(said("t", 10), &index);
        recent.take(said("nobody", 10), &index);
        assert!(recent.get(&id("a"), &id("t")).is_some() && recent.get(&id("a"), &id("nobody")).is_none());
        recent.take(said("picture", RECENT_BYTES_MAX), &index);
        assert!(recent.0.is_empty());
    }
}
