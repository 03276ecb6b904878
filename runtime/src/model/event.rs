//! What the log holds.

use super::{id::Id, subject::Subject, time::Micros, value::Value};
use serde::{Deserialize, Serialize};

/// Position in the log of one ledger: starts at 1, grows by one an event, never used twice.
pub type Seq = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// One value of one sensor.
    Reading,
    /// A message that an app, or an outsider, published.
    Message,
    /// A command for an actuator.
    Command,
    /// A log line of a function, or of the node about one.
    Log,
    /// Records of the node (devices, users) were changed: which. For the node alone.
    Registry,
    /// A trigger that time makes: what its function is told ([`Fired`](super::trigger::Fired)). For that function alone.
    Trigger,
    /// How one call went. For the history of runs alone.
    Run,
    /// A reading that pre-processing took out: in the history, with the reason, and nowhere else.
    Dropped,
}

impl Kind {
    /// Whether a function may be told of such an event. The others, of which a busy node writes many, are for people and for the node itself.
    pub fn is_told(self) -> bool {
        matches!(self, Kind::Reading | Kind::Message | Kind::Command | Kind::Trigger)
    }
}

/// An event that is not in the log yet. The last tens of thousands are in memory: what few of them have is small where it is not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewEvent {
    pub tenant: Id,
    pub kind: Kind,
    pub subject: Subject,
    /// What order is kept for: the device, where there is one.
    pub key: String,
    pub device: Option<Id>,
    pub sensor: Option<Id>,
    /// By the clock of the device; equals `received` when it said nothing.
    pub measured: Micros,
    /// By the clock of the node.
    pub received: Micros,
    pub value: Value,
    /// What the device sent, where pre-processing changed it or took it out.
    pub raw: Option<Box<Value>>,
    /// Who wrote it: `APP/FUNCTION` and the event it handled. None for what came from outside.
    pub cause: Option<Box<Cause>>,
}

/// The call whose effect an event is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    pub app: Id,
    pub function: Id,
    /// The event handled, or 0 for an HTTP call.
    pub seq: Seq,
    /// The call's id: the same in every attempt.
    pub call: String,
    pub place: Place,
}

/// Where an event stands among all that came of the same thing outside. In a record it is one number, the index in the lower 16
/// bits and the hops above them: one that was written before hops were counted reads as none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub struct Place {
    /// Position among the effects of its call.
    pub index: u16,
    /// Events between this one and the one from outside, or the HTTP call, at the beginning: one more than the event handled has.
    pub hops: u16,
}

impl From<u32> for Place {
    fn from(number: u32) -> Place {
        Place { index: (number & 0xffff) as u16, hops: (number >> 16) as u16 }
    }
}

impl From<Place> for u32 {
    fn from(place: Place) -> u32 {
        u32::from(place.hops) << 16 | u32::from(place.index)
    }
}

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub seq: Seq,
    pub body: NewEvent,
}

impl std::ops::Deref for Event {
    type Target = NewEvent;
    fn deref(&self) -> &NewEvent {
        &self.body
    }
}

impl NewEvent {
    /// A reading as it goes into the log; key and subject follow from device and sensor.
    pub fn reading(tenant: &Id, device: &Id, sensor: &Id, measured: Micros, received: Micros, value: Value) -> NewEvent {
        let text = format!("reading.{}.{}", device.to_token(), sensor.to_token());
        // Tokens of ids hold nothing that a subject refuses, and two of 128 bytes, encoded, stay under its length.
        let subject = Subject::new(&text).unwrap_or_else(|e| unreachable!("{e}"));
        NewEvent {
            tenant: tenant.clone(),
            kind: Kind::Reading,
            subject,
            key: device.to_string(),
            device: Some(device.clone()),
            sensor: Some(sensor.clone()),
            measured,
            received,
            value,
            raw: None,
            cause: None,
        }
    }

    /// A command that came in by a door, as those of functions go into the log; `id` is the same in every attempt of whoever gives it.
    pub fn command(tenant: &Id, device: &Id, actuator: &Id, id: &str, value: &Value, now: Micros) -> NewEvent {
        let text = format!("command.{}.{}", device.to_token(), actuator.to_token());
        // As with readings: two encoded ids are a subject.
        let subject = Subject::new(&text).unwrap_or_else(|e| unreachable!("{e}"));
        let value = Value::from_json(&serde_json::json!({ "id": id, "value": value.to_json() }));
        NewEvent { kind: Kind::Command, subject, ..NewEvent::reading(tenant, device, actuator, now, now, value) }
    }

    /// A reading that was taken out: what the device sent is `raw`, and the value says why.
    pub fn dropped(self, why: serde_json::Value) -> NewEvent {
        let text = self.subject.as_str().replacen("reading.", "dropped.", 1);
        // The tokens of a subject, of which one has another name.
        let subject = Subject::new(&text).unwrap_or_else(|e| unreachable!("{e}"));
        NewEvent {
            kind: Kind::Dropped,
            subject,
            raw: Some(self.raw.unwrap_or_else(|| Box::new(self.value))),
            value: Value::from_json(&why),
            ..self
        }
    }

    /// How many events led to this one: 0 for what came from outside, and for what an HTTP call published.
    pub fn hops(&self) -> u16 {
        self.cause.as_ref().map_or(0, |cause| cause.place.hops)
    }

    /// About how many bytes it takes in memory and in the log; for limits, not for accounts.
    pub fn size_bytes(&self) -> usize {
        let raw = self.raw.as_ref().map_or(0, |raw| raw.len_bytes());
        160 + self.subject.as_str().len() + self.key.len() + self.value.len_bytes() + raw
    }
}

impl Event {
    /// The id a function and an outsider know this event by.
    pub fn id(&self) -> String {
        format!("{}-{}", self.body.tenant, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node has some fifty thousand of them in memory.
    #[test]
    fn a_reading_is_small() {
        assert!(size_of::<Event>() <= 168, "{} bytes", size_of::<Event>());
    }

    #[test]
    fn hops_are_kept_and_none_where_they_were_not_counted_yet() {
        for place in [Place::default(), Place { index: 999, hops: 16 }, Place { index: u16::MAX, hops: u16::MAX }] {
            assert_eq!(Place::from(u32::from(place)), place);
        }
        assert_eq!(Place::from(999), Place { index: 999, hops: 0 });
    }
}
