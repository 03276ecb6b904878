//! A reading as rules keep it.

use crate::model::{Event, Id, Micros, Value, event::Seq, trigger::Sampled};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a function is told of a reading, and how many events led to it. Unlike [`Sampled`] it has all of its fields in every format,
/// so that formats without names can hold it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    subject: Arc<str>,
    device: Option<Id>,
    sensor: Option<Id>,
    pub value: Value,
    pub measured: Micros,
    pub received: Micros,
    pub sequence: Seq,
    pub hops: u16,
}

impl Sample {
    pub fn of(event: &Event) -> Sample {
        let Sampled { subject, device, sensor, value, measured, received, sequence } = Sampled::of(event);
        Sample { subject, device, sensor, value, measured, received, sequence, hops: event.hops() }
    }

    pub fn told(self) -> Sampled {
        let Sample { subject, device, sensor, value, measured, received, sequence, hops: _ } = self;
        Sampled { subject, device, sensor, value, measured, received, sequence }
    }

    /// What it takes at most as it is told: bytes have two digits each.
    pub fn told_bytes(event: &Event) -> usize {
        let value = match &event.value {
            Value::Json(text) => text.len(),
            Value::Bytes(bytes) => 2 * bytes.len() + 16,
        };
        let ids = [&event.device, &event.sensor].into_iter().flatten().map(|id| 2 * id.as_str().len()).sum::<usize>();
        192 + 2 * event.subject.as_str().len() + ids + value
    }
}
