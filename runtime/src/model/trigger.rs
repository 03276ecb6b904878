//! What a function is told by a trigger that time makes: the value of an event of [`Kind::Trigger`](super::event::Kind::Trigger),
//! as JSON (`docs/formats/trigger.md`).

use super::{
    event::{Event, Seq},
    id::Id,
    manifest::Method,
    time::Micros,
    value::Value,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

/// Why a function with a trigger of time is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fired {
    Schedule(Tick),
    Batch(Batch),
    Window(WindowResult),
    Silence(Silence),
    Change(Change),
    Threshold(Crossing),
    /// One of every N.
    Every(Sampled),
    /// A reading of a sensor without gaps. No function is told: it becomes a reading.
    Filled(Filled),
}

/// A reading as it came, or one that fills a gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Filled {
    #[serde(with = "plain")]
    pub value: Value,
    /// None: it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
}

/// The gap that is filled: between which readings, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub method: Method,
    pub from: Micros,
    pub to: Micros,
}

/// One reading, or one message, as a trigger saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    pub subject: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<Id>,
    #[serde(with = "plain")]
    pub value: Value,
    /// By the device's clock; may be wrong by days.
    pub measured: Micros,
    pub received: Micros,
    pub sequence: Seq,
}

/// A moment of a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// The moment that the schedule names, not the one at which the call begins.
    pub scheduled: Micros,
    /// Moments since the last call that were let go, as `missed` says; counted up to 10,000.
    pub missed: u64,
}

/// Readings that were collected, in the order of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    pub readings: Vec<Sampled>,
}

/// What one window of event time holds, of one sensor or of one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowResult {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Id>,
    /// None where a window holds all sensors of its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<Id>,
    /// The first moment of the window.
    pub start: Micros,
    /// The first moment that is not of it.
    pub end: Micros,
    /// 0 for the first result; one more each time that late readings correct it.
    pub revision: u32,
    /// Sessions that are part of this one now, by their start, and its own former start: what was told of them counts no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<Micros>,
    pub aggregate: Aggregate,
    /// By the time at which they count, then sequence, where the manifest asks for them; of many, the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readings: Option<Vec<Sampled>>,
}

/// Numbers over the readings of a window. Values that are no number count in `readings` alone; what no `f64` can hold is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// How many readings there are.
    pub readings: u64,
    /// How many of them are numbers. With none of these the other fields are none.
    pub count: u64,
    pub sum: Option<f64>,
    pub mean: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// The number measured first, and the one measured last.
    pub first: Option<f64>,
    pub last: Option<f64>,
    /// As asked for, by linear interpolation between the closest ranks; none of a window with too many numbers for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub percentiles: Vec<Percentile>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Percentile {
    /// From 0 to 100.
    pub percent: f64,
    pub value: f64,
}

/// A sensor that sent nothing for a while, or that is back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<Id>,
    /// When the last reading before the silence was received.
    pub since: Micros,
    /// The reading that ended it. None: it is silent now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Sampled>,
}

/// A value that differs enough from the one that the function was told of last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub reading: Sampled,
    /// None for the first reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Sampled>,
}

/// A value that has gone over its threshold, or come back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Crossing {
    pub reading: Sampled,
    /// Whether it is beyond the threshold now.
    pub beyond: bool,
    /// The measured time from which it has been there; earlier than the reading's where the manifest says `hold`.
    pub since: Micros,
}

impl Sampled {
    pub fn of(event: &Event) -> Sampled {
        Sampled {
            subject: event.subject.as_str().into(),
            device: event.device.clone(),
            sensor: event.sensor.clone(),
            value: event.value.clone(),
            measured: event.measured,
            received: event.received,
            sequence: event.seq,
        }
    }
}

impl Sampled {
    /// About how many bytes it takes as JSON.
    pub fn size_bytes(&self) -> usize {
        const NAMES_AND_TIMES: usize = 160;
        let ids = [&self.device, &self.sensor].into_iter().flatten().map(|id| id.as_str().len()).sum::<usize>();
        // Bytes are written in hex.
        NAMES_AND_TIMES + self.subject.len() + ids + 2 * self.value.len_bytes()
    }
}

impl Fired {
    /// About how many bytes it takes as JSON.
    pub fn size_bytes(&self) -> usize {
        const SMALL: usize = 512;
        let all = |readings: &[Sampled]| readings.iter().map(Sampled::size_bytes).sum::<usize>();
        SMALL
            + match self {
                Fired::Schedule(_) => 0,
                Fired::Batch(batch) => all(&batch.readings),
                Fired::Window(window) => {
                    window.readings.as_deref().map_or(0, all) + 24 * window.replaces.len() + 48 * window.aggregate.percentiles.len()
                }
                Fired::Silence(silence) => silence.back.as_ref().map_or(0, Sampled::size_bytes),
                Fired::Change(change) => change.reading.size_bytes() + change.previous.as_ref().map_or(0, Sampled::size_bytes),
                Fired::Threshold(crossing) => crossing.reading.size_bytes(),
                Fired::Every(reading) => reading.size_bytes(),
                Fired::Filled(filled) => filled.value.len_bytes(),
            }
    }

    pub fn to_value(&self) -> Value {
        // Strings and numbers under names of ours: there is nothing that could not be written. NaN can't come in.
        Value::Json(serde_json::to_string(self).unwrap_or_default().into())
    }

    pub fn from_value(value: &Value) -> Option<Fired> {
        match value {
            Value::Json(text) => serde_json::from_str(text).ok(),
            Value::Bytes(_) => None,
        }
    }
}

/// JSON as it is, and bytes as `{"$bytes": "<hex>"}`; in formats of bytes as the value itself.
mod plain {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Value};
    use serde::{de::Error as _, ser::Error as _};
    use serde_json::value::RawValue;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Hex {
        #[serde(rename = "$bytes")]
        bytes: String,
    }

    pub fn serialize<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return value.serialize(serializer);
        }
        let text = match value {
            Value::Json(text) => text.to_string(),
            Value::Bytes(bytes) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{{\"$bytes\":\"{hex}\"}}")
            }
        };
        RawValue::from_string(text).map_err(S::Error::custom)?.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        if !deserializer.is_human_readable() {
            return Value::deserialize(deserializer);
        }
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let Ok(Hex { bytes }) = serde_json::from_str::<Hex>(raw.get()) else { return Ok(Value::Json(raw.get().into())) };
        let digits = |at: usize| bytes.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
        let decoded: Option<Vec<u8>> = (0..bytes.len()).step_by(2).map(digits).collect();
        decoded.map(|bytes| Value::Bytes(bytes.into())).ok_or_else(|| D::Error::custom("`$bytes` holds hex digits"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sampled(value: Value) -> Sampled {
        let id = |text| Some(Id::new(text).unwrap());
        let (device, sensor) = (id("fridge1"), id("temp"));
        Sampled { subject: "reading.fridge1.temp".into(), device, sensor, value, measured: Micros(1), received: Micros(2), sequence: 3 }
    }

    #[test]
    fn what_a_trigger_says_reads_back_as_it_was_and_a_value_keeps_its_text() {
        for value in [
            Value::json("61.10").unwrap(),
            Value::json("\"61.10\"").unwrap(),
            Value::json("{\"a\": [1]}").unwrap(),
            Value::Bytes(vec![0, 255].into()),
        ] {
            let reading = sampled(value);
            for fired in [
                Fired::Batch(Batch { readings: vec![reading.clone(), reading.clone()] }),
                Fired::Threshold(Crossing { reading: reading.clone(), beyond: true, since: Micros(0) }),
                Fired::Silence(Silence { device: reading.device.clone(), sensor: None, since: Micros(5), back: Some(reading.clone()) }),
                Fired::Every(reading.clone()),
            ] {
                assert_eq!(Fired::from_value(&fired.to_value()), Some(fired));
            }
            let bytes = postcard::to_stdvec(&reading).unwrap();
            assert_eq!(postcard::from_bytes::<Sampled>(&bytes).unwrap(), reading);
        }
        let text = sampled(Value::json("61.10").unwrap());
        assert!(matches!(Fired::Every(text).to_value(), Value::Json(text) if text.contains("61.10")));
    }
}
