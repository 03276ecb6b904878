//! In: an envelope, what one delivery of a device held, decoded. Out: readings, or which sample is refused and why.
//! Never: IO, a clock, a look at other envelopes.
//!
//! Runs once per envelope, before the log of readings, so that functions, current values and history see the same
//! reading. For now a value passes as it was sent (a quoted number stays quoted; [`Value::as_f64`] reads it), the
//! measured time defaults to the received one, and a time too far ahead to be a time is refused.

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::id::default_tenant;

    const NOW: Micros = Micros(1_700_000_000_000_000);

    fn envelope(measured: Option<Micros>) -> Envelope {
        let id = |text| Id::new(text).unwrap();
        let sample = Sample { device: id("fridge1"), sensor: id("temp"), measured, value: Value::json("\"61.10\"").unwrap() };
        Envelope { tenant: default_tenant(), received: NOW, samples: vec![sample] }
    }

    #[test]
    fn a_device_without_a_clock_measures_when_we_receive() {
        let readings = readings(envelope(None)).unwrap();
        assert_eq!((readings[0].measured, readings[0].received), (NOW, NOW));
    }

    #[test]
    fn a_value_stays_as_it_was_sent() {
        assert_eq!(readings(envelope(None)).unwrap()[0].value, Value::Json("\"61.10\"".into()));
    }

    #[test]
    fn a_clock_two_hours_ahead_is_kept_and_one_of_the_next_century_refused() {
        let ahead = Micros(NOW.0 + 7_200 * Micros::SECOND);
        assert_eq!(readings(envelope(Some(ahead))).unwrap()[0].measured, ahead);
        let garbage = Micros(NOW.0 + 100 * 366 * 86_400 * Micros::SECOND);
        assert_eq!(readings(envelope(Some(garbage))), Err(TooFarAhead { index: 0, measured: garbage }));
    }
}
