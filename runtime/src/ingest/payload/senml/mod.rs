//! SenML (RFC 8428), in JSON and in CBOR: records whose base fields hold for all that follow.
//!
//! A record's name is that of its base and its own, and Tawi wants a device and a sensor: the base is the device, and what the record
//! adds the sensor. Where one of the two has no name, the unit tells the sensors of a device apart, as in RFC 8428, 5.1.3.

mod record;

use super::super::parse::{Bounded, not_too_many};
use super::{body, number};
use crate::{
    model::{
        Id, Measurement, Micros, Value,
        payload::{BodyError, fits},
    },
    preprocess::Sample,
};
use record::{Number, Record};

/// Seconds below this count from now on, or back.
const RELATIVE: f64 = (1_u64 << 28) as f64;
/// The version of the format that RFC 8428 describes.
const VERSION: u64 = 10;
/// The sensor of a record with neither a name of its own nor a unit.
const NAMELESS: &str = "value";

pub fn json(bytes: &[u8]) -> Result<Vec<Record>, BodyError> {
    let Bounded(records) = body::<Bounded<Record>>(bytes)?;
    not_too_many(records.len())?;
    Ok(records)
}

pub fn cbor(bytes: &[u8]) -> Result<Vec<Record>, BodyError> {
    use ciborium::de::Error;
    let mut left = bytes;
    let read = ciborium::from_reader::<Bounded<Record>, _>(&mut left);
    let (read_up_to, at) = (bytes.len() - left.len(), |offset: usize, what: String| BodyError::body(format!("byte {offset}: {what}")));
    let Bounded(records) = read.map_err(|error| match error {
        Error::Io(_) => BodyError::body(format!("the body ends after {} bytes, in the middle of a record", bytes.len())),
        Error::Syntax(offset) => at(offset, "this is not CBOR".to_owned()),
        Error::Semantic(offset, what) => at(offset.unwrap_or(read_up_to), what),
        Error::RecursionLimitExceeded => at(read_up_to, "too many values inside each other".to_owned()),
    })?;
    if !left.is_empty() {
        return Err(at(read_up_to, "something follows the records".to_owned()));
    }
    not_too_many(records.len())?;
    Ok(records)
}

/// The values of a body that names its devices itself.
pub fn samples(records: &[Record], received: Micros) -> Result<Vec<Sample>, BodyError> {
    let mut samples = Vec::with_capacity(records.len());
    resolve(records, received, |found| {
        let (device, sensor) = found.device_and_sensor()?;
        samples.push(Sample { device, sensor, measured: Some(found.measured), value: found.value });
        not_too_many(samples.len())
    })?;
    Ok(samples)
}

/// The values of an uplink, which are all of one device, whatever it calls itself.
pub fn measurements(records: &[Record], device: &Id, received: Micros) -> Result<Vec<Measurement>, BodyError> {
    let mut measurements = Vec::with_capacity(records.len());
    resolve(records, received, |found| {
        let sensor = found.sensor_of(device)?;
        super::push(&mut measurements, Measurement { sensor, measured: Some(found.measured), value: found.value })
    })?;
    Ok(measurements)
}

/// One value, with nothing left to be looked up before it.
struct Found<'a> {
    base: &'a str,
    name: &'a str,
    unit: &'a str,
    /// A sum is of another sensor than its value.
    is_sum: bool,
    measured: Micros,
    value: Value,
}

/// What holds until a record says otherwise.
#[derive(Default)]
struct Base<'a> {
    name: &'a str,
    time: f64,
    unit: &'a str,
    value: Option<Number>,
    sum: Option<Number>,
}

fn resolve<'a>(records: &'a [Record], received: Micros, mut each: impl FnMut(Found<'a>) -> Result<(), BodyError>) -> Result<(), BodyError> {
    let mut base = Base::default();
    for (index, record) in records.iter().enumerate() {
        base.take(record);
        one(&base, record, received, &mut each).map_err(|e| e.in_element(index))?;
    }
    Ok(())
}

fn one<'a>(
    base: &Base<'a>,
    record: &'a Record,
    received: Micros,
    each: &mut impl FnMut(Found<'a>) -> Result<(), BodyError>,
) -> Result<(), BodyError> {
    if let Some(version) = record.version.filter(|version| *version > VERSION) {
        return Err(BodyError::field("bver", format!("version {version} of SenML is not known here, only up to {VERSION}")));
    }
    let measured = moment(base.time + record.time.map_or(0.0, Number::as_f64), received)?;
    let name = record.name.as_deref().unwrap_or_default();
    let unit = record.unit.as_deref().unwrap_or(base.unit);
    let found = |is_sum, value| Found { base: base.name, name, unit, is_sum, measured, value };
    let value = record.value(base)?;
    if let Some(value) = &value {
        fits(value.len_bytes())?;
        each(found(false, value.clone()))?;
    }
    let sum = match (record.sum, base.sum) {
        (Some(own), base) => Some(own.plus(base)),
        (None, Some(base)) if value.is_none() => Some(base),
        _ => None,
    };
    match sum {
        Some(sum) => each(found(true, sum.value().ok_or_else(|| infinite("s"))?)),
        None if value.is_none() => Err(BodyError::field("v", "the record has no value: one of `v`, `vs`, `vb`, `vd` or `s`".to_owned())),
        None => Ok(()),
    }
}

fn infinite(field: &str) -> BodyError {
    BodyError::field(field, format!("`{field}` is not a finite number"))
}

fn moment(seconds: f64, received: Micros) -> Result<Micros, BodyError> {
    let micros = (seconds * 1e6).round();
    // Far more than any calendar has, and far less than what a sum could not hold.
    if !micros.is_finite() || micros.abs() > 1e18 {
        return Err(BodyError::field("t", format!("`{seconds}` is not a time in seconds")));
    }
    Ok(Micros(if seconds.abs() < RELATIVE { received.0.saturating_add(micros as i64) } else { micros as i64 }))
}

impl<'a> Base<'a> {
    fn take(&mut self, record: &'a Record) {
        if let Some(name) = &record.base_name {
            self.name = name;
        }
        if let Some(time) = record.base_time {
            self.time = time.as_f64();
        }
        if let Some(unit) = &record.base_unit {
            self.unit = unit;
        }
        self.value = record.base_value.or(self.value);
        self.sum = record.base_sum.or(self.sum);
    }
}

impl Record {
    fn value(&self, base: &Base<'_>) -> Result<Option<Value>, BodyError> {
        let others = [self.text.is_some(), self.flag.is_some(), self.data.is_some()].iter().filter(|is| **is).count();
        if others + usize::from(self.number.is_some()) > 1 {
            return Err(BodyError::field("v", "the record has more than one value".to_owned()));
        }
        if let Some(text) = &self.text {
            return Ok(Some(Value::from_json(&serde_json::Value::from(text.as_str()))));
        }
        if let Some(flag) = self.flag {
            return Ok(Some(Value::from_json(&serde_json::Value::from(flag))));
        }
        if let Some(data) = &self.data {
            return Ok(Some(Value::Bytes(data.clone())));
        }
        let number = match (self.number, base.value) {
            (Some(own), base) => own.plus(base),
            (None, Some(base)) if self.sum.is_none() => base,
            (None, _) => return Ok(None),
        };
        number.value().map(Some).ok_or_else(|| infinite("v"))
    }
}

impl Number {
    fn plus(self, base: Option<Number>) -> Number {
        match (self, base) {
            (one, None) => one,
            (Number::Whole(one), Some(Number::Whole(other))) => {
                one.checked_add(other).map_or(Number::Real(one as f64 + other as f64), Number::Whole)
            }
            (one, Some(other)) => Number::Real(one.as_f64() + other.as_f64()),
        }
    }

    fn value(self) -> Option<Value> {
        match self {
            Number::Whole(whole) => Some(Value::Json(whole.to_string().into())),
            Number::Real(real) => number(real),
        }
    }
}

impl Found<'_> {
    fn device_and_sensor(&self) -> Result<(Id, Id), BodyError> {
        let (base, name) = (bare(self.base), bare(self.name));
        let (device, sensor) = match (base, name) {
            ("", "") => return Err(BodyError::field("n", "the record has no name: neither `bn` nor `n`".to_owned())),
            ("", only) | (only, "") => only.rsplit_once('/').unwrap_or((only, "")),
            both => both,
        };
        let device = Id::new(&plain(bare(device))).map_err(|e| BodyError::field("bn", e.to_string()))?;
        Ok((device, self.sensor(sensor)?))
    }

    /// What the record calls its sensor, where the base says no more than whose it is.
    fn sensor_of(&self, device: &Id) -> Result<Id, BodyError> {
        let base = bare(self.base);
        if base.is_empty() || base == device.as_str() || base.starts_with("urn:") {
            return self.sensor(self.name);
        }
        self.sensor(&format!("{}{}", self.base, self.name))
    }

    fn sensor(&self, name: &str) -> Result<Id, BodyError> {
        let name = match (bare(name), self.unit) {
            ("", "") => NAMELESS,
            ("", unit) => unit,
            (name, _) => name,
        };
        let sum = if self.is_sum { ".sum" } else { "" };
        Id::new(&format!("{}{sum}", plain(name))).map_err(|e| BodyError::field("n", e.to_string()))
    }
}

/// Without what only separates one name from the next.
fn bare(name: &str) -> &str {
    name.trim_matches(['/', ':', '.', '_', '-'])
}

/// A slash can't stand in an id.
fn plain(name: &str) -> String {
    name.replace('/', ".")
}

#[cfg(test)]
mod tests;
