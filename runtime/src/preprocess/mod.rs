//! In: an envelope, what one delivery of a device held, decoded. Out: readings, or which sample is refused and why.
//! Never: IO, a clock, a look at other envelopes but through what it kept of them.
//!
//! Runs once per envelope, before the log of readings, so that functions, current values and history see the same
//! reading. Without a rule a value passes as it was sent (a quoted number stays quoted; [`Value::as_f64`] reads it), the
//! measured time defaults to the received one, and a time too far ahead to be a time is refused. A [`Rule`] is what somebody wants
//! done to the readings of a sensor: it is a [`chain`] of steps, which calculate and judge.

pub mod chain;
mod clean;
mod declared;
mod derived;
mod fields;
mod name;
mod rule;
mod unit;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use declared::{Declared, check};
pub use derived::{Derived, circle, circle_error};
pub use fields::RuleError;
pub use name::Name;
pub use rule::{Of, Rule};

use crate::model::{Id, Micros, NewEvent, Tenant, Value, limit::MEASURED_AHEAD_MAX_DAYS};

/// One delivery, whatever protocol it came by.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    pub tenant: Tenant,
    /// By the clock of the node.
    pub received: Micros,
    pub samples: Vec<Sample>,
}

/// One value of one sensor as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub device: Id,
    pub sensor: Id,
    /// By the clock of the device, if it has one.
    pub measured: Option<Micros>,
    pub value: Value,
}

/// One bad sample refuses its whole envelope: a device is answered for all of it or for nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("sample {index} was measured at {measured}, more than {MEASURED_AHEAD_MAX_DAYS} days from now")]
pub struct TooFarAhead {
    /// Position in the envelope, from 0.
    pub index: usize,
    pub measured: Micros,
}

/// The readings of an envelope, in its order.
pub fn readings(envelope: Envelope) -> Result<Vec<NewEvent>, TooFarAhead> {
    let Envelope { tenant, received, samples } = envelope;
    let latest = Micros(received.0.saturating_add(MEASURED_AHEAD_MAX_DAYS * 86_400 * Micros::SECOND));
    let mut readings = Vec::with_capacity(samples.len());
    for (index, sample) in samples.into_iter().enumerate() {
        let measured = sample.measured.unwrap_or(received);
        if measured > latest {
            return Err(TooFarAhead { index, measured });
        }
        readings.push(NewEvent::reading(&tenant, &sample.device, &sample.sensor, measured, received, sample.value));
    }
    Ok(readings)
}
