//! CayenneLPP, and XLPP, which is the same with more types and with values measured before. A value's sensor is its type and its
//! channel, as The Things Stack calls it: `temperature_1`.

use super::push;
use crate::model::{Id, Measurement, Micros, Value, limit::XLPP_DEPTH_MAX, payload::BodyError};
use serde_json::{Map, Value as Json, json};

/// How the data of a type lie, big end first.
#[derive(Clone, Copy)]
enum Shape {
    /// A number of so many bytes, of which `per` make one.
    Unsigned(usize, f64),
    Signed(usize, f64),
    Switch,
    /// Three signed numbers of two bytes: x, y, z.
    Axes(f64),
    /// Latitude, longitude and altitude of three bytes each.
    Place,
    Colour,
}

use Shape::{Axes, Colour, Place, Signed, Switch, Unsigned};

/// What both formats have, and what of it the first version of CayenneLPP had not.
const TYPES: &[(u8, &str, Shape)] = &[
    (0, "digital_in", Unsigned(1, 1.0)),
    (1, "digital_out", Unsigned(1, 1.0)),
    (2, "analog_in", Signed(2, 100.0)),
    (3, "analog_out", Signed(2, 100.0)),
    (100, "generic", Unsigned(4, 1.0)),
    (101, "luminosity", Unsigned(2, 1.0)),
    (102, "presence", Unsigned(1, 1.0)),
    (103, "temperature", Signed(2, 10.0)),
    (104, "relative_humidity", Unsigned(1, 2.0)),
    (113, "accelerometer", Axes(1_000.0)),
    (115, "barometric_pressure", Unsigned(2, 10.0)),
    (116, "voltage", Unsigned(2, 100.0)),
    (117, "current", Unsigned(2, 1_000.0)),
    (118, "frequency", Unsigned(4, 1.0)),
    (120, "percentage", Unsigned(1, 1.0)),
    (121, "altitude", Signed(2, 1.0)),
    (125, "concentration", Unsigned(2, 1.0)),
    (128, "power", Unsigned(2, 1.0)),
    (130, "distance", Unsigned(4, 1_000.0)),
    (131, "energy", Unsigned(4, 1_000.0)),
    (132, "direction", Unsigned(2, 1.0)),
    (133, "unix_time", Unsigned(4, 1.0)),
    (134, "gyrometer", Axes(100.0)),
    (135, "colour", Colour),
    (136, "gps", Place),
    (142, "switch", Switch),
];

/// What XLPP alone has.
const MOSQUITO: u8 = 149;
const INTEGER: u8 = 51;
const STRING: u8 = 52;
const TRUE: u8 = 54;
const FALSE: u8 = 55;
const BINARY: u8 = 57;
const NULL: u8 = 58;
const ARRAY: u8 = 91;
const ARRAY_END: u8 = 93;
const OBJECT: u8 = 123;

/// Channels from here on are not of sensors.
const RESERVED: u8 = 250;
/// All that follows was measured so much earlier: hours, minutes, seconds.
const DELAY: u8 = 253;
/// Types of actuators that the device has: each with a channel, or in the order of theirs.
const ACTUATORS: u8 = 252;
const ACTUATORS_WITH_CHANNEL: u8 = 251;

pub fn cayenne(payload: &[u8]) -> Result<Vec<Measurement>, BodyError> {
    let (mut bytes, mut found) = (Bytes { all: payload, at: 0 }, Vec::new());
    while let Some(channel) = bytes.next() {
        let at = bytes.at;
        let kind = bytes.byte("a type")?;
        let (name, shape) = plain(kind).ok_or_else(|| unknown(at, kind, "CayenneLPP"))?;
        let value = Value::from_json(&bytes.shaped(name, shape)?);
        push(&mut found, Measurement { sensor: sensor(name, channel)?, measured: None, value })?;
    }
    Ok(found)
}

/// `now`: when the last value was measured.
pub fn xlpp(payload: &[u8], now: Micros) -> Result<Vec<Measurement>, BodyError> {
    let (mut bytes, mut found, mut delay) = (Bytes { all: payload, at: 0 }, Vec::new(), None);
    while let Some(channel) = bytes.next() {
        match channel {
            DELAY => {
                let more = bytes.take(3, "a delay")?.iter().fold(0, |seconds, part| seconds * 60 + i64::from(*part));
                delay = Some(delay.unwrap_or(0) + more);
            }
            ACTUATORS | ACTUATORS_WITH_CHANNEL => {
                let each = if channel == ACTUATORS { 1 } else { 2 };
                let count = usize::from(bytes.byte("a number of actuators")?);
                bytes.take(count * each, "a list of actuators")?;
            }
            RESERVED.. => return Err(wrong(bytes.at - 1, format!("channel {channel} is reserved"))),
            _ => {
                let at = bytes.at;
                let kind = bytes.byte("a type")?;
                let (name, value) = extended(&mut bytes, at, kind)?;
                let measured = delay.map(|seconds| Micros(now.0.saturating_sub(seconds * Micros::SECOND)));
                push(&mut found, Measurement { sensor: sensor(name, channel)?, measured, value })?;
            }
        }
    }
    Ok(found)
}

fn plain(kind: u8) -> Option<(&'static str, Shape)> {
    TYPES.iter().find(|(code, ..)| *code == kind).map(|(_, name, shape)| (*name, *shape))
}

fn extended(bytes: &mut Bytes<'_>, at: usize, kind: u8) -> Result<(&'static str, Value), BodyError> {
    if kind == BINARY {
        return Ok(("binary", Value::Bytes(bytes.binary()?.to_vec().into())));
    }
    let (name, json) = bytes.json(at, kind, 0)?;
    Ok((name, Value::from_json(&json)))
}

fn sensor(name: &str, channel: u8) -> Result<Id, BodyError> {
    Id::new(&format!("{name}_{channel}")).map_err(|e| BodyError::body(e.to_string()))
}

fn wrong(at: usize, what: String) -> BodyError {
    BodyError::body(format!("byte {at}: {what}"))
}

fn unknown(at: usize, kind: u8, format: &str) -> BodyError {
    wrong(at, format!("{format} has no type {kind}"))
}

/// What is left of a payload, and where it is.
struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.all.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    fn byte(&mut self, what: &str) -> Result<u8, BodyError> {
        let at = self.at;
        self.next().ok_or_else(|| wrong(at, format!("the payload ends where {what} should be")))
    }

    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], BodyError> {
        let left = self.all.get(self.at..).unwrap_or_default();
        let taken = left.get(..count).ok_or_else(|| wrong(self.at, format!("{what} has {count} bytes, {} are left", left.len())))?;
        self.at += count;
        Ok(taken)
    }

    fn shaped(&mut self, name: &str, shape: Shape) -> Result<Json, BodyError> {
        Ok(match shape {
            Unsigned(size, per) => scaled(unsigned(self.take(size, name)?), per),
            Signed(size, per) => scaled(signed(self.take(size, name)?), per),
            Switch => json!(self.byte(name)? != 0),
            Axes(per) => {
                let data = self.take(6, name)?;
                let axis = |at: usize| scaled(signed(data.get(at..at + 2).unwrap_or_default()), per);
                json!({ "x": axis(0), "y": axis(2), "z": axis(4) })
            }
            Place => {
                let data = self.take(9, name)?;
                let part = |at: usize, per| scaled(signed(data.get(at..at + 3).unwrap_or_default()), per);
                json!({ "latitude": part(0, 10_000.0), "longitude": part(3, 10_000.0), "altitude": part(6, 100.0) })
            }
            Colour => {
                let hex: String = self.take(3, name)?.iter().map(|part| format!("{part:02x}")).collect();
                json!(format!("#{hex}"))
            }
        })
    }

    /// A value of XLPP whose type has been read at `at`.
    fn json(&mut self, at: usize, kind: u8, depth: usize) -> Result<(&'static str, Json), BodyError> {
        Ok(match kind {
            MOSQUITO => ("mosquito", json!(self.byte("mosquito")?)),
            INTEGER => {
                let zigzag = self.varint()?;
                ("integer", json!((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)))
            }
            STRING => ("string", json!(self.string("a string")?)),
            TRUE => ("bool", json!(true)),
            FALSE => ("bool", json!(false)),
            NULL => ("null", Json::Null),
            BINARY => ("binary", Value::Bytes(self.binary()?.to_vec().into()).to_json()),
            ARRAY | OBJECT if depth >= XLPP_DEPTH_MAX => {
                return Err(wrong(at, format!("more than {XLPP_DEPTH_MAX} lists and objects inside each other")));
            }
            ARRAY => ("array", self.array(depth + 1)?),
            OBJECT => ("object", self.object(depth + 1)?),
            _ => {
                let (name, shape) = plain(kind).ok_or_else(|| unknown(at, kind, "XLPP"))?;
                (name, self.shaped(name, shape)?)
            }
        })
    }

    fn array(&mut self, depth: usize) -> Result<Json, BodyError> {
        let mut list = Vec::new();
        loop {
            let at = self.at;
            match self.byte("a value or the end of a list")? {
                ARRAY_END => return Ok(Json::Array(list)),
                kind => list.push(self.json(at, kind, depth)?.1),
            }
        }
    }

    /// An empty key ends it.
    fn object(&mut self, depth: usize) -> Result<Json, BodyError> {
        let mut members = Map::new();
        loop {
            let key = self.string("a key or the end of an object")?;
            if key.is_empty() {
                return Ok(Json::Object(members));
            }
            let at = self.at;
            let kind = self.byte("a type")?;
            members.insert(key, self.json(at, kind, depth)?.1);
        }
    }

    /// Up to a zero byte.
    fn string(&mut self, what: &str) -> Result<String, BodyError> {
        let (at, left) = (self.at, self.all.get(self.at..).unwrap_or_default());
        let end = left.iter().position(|byte| *byte == 0).ok_or_else(|| wrong(at, format!("{what} has no end")))?;
        let text = std::str::from_utf8(self.take(end, what)?).map_err(|e| wrong(at + e.valid_up_to(), format!("{what} is not UTF-8")))?;
        self.at += 1;
        Ok(text.to_owned())
    }

    fn binary(&mut self) -> Result<&'a [u8], BodyError> {
        let length = self.varint()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX), "a binary")
    }

    /// Seven bits a byte, the low ones first.
    fn varint(&mut self) -> Result<u64, BodyError> {
        let at = self.at;
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte("a number")?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(wrong(at, "a number has more than 64 bits".to_owned()))
    }
}

fn unsigned(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |number, byte| (number << 8) | i64::from(*byte))
}

fn signed(bytes: &[u8]) -> i64 {
    let bits = 8 * bytes.len() as u32;
    let number = unsigned(bytes);
    if bits > 0 && number >> (bits - 1) & 1 == 1 { number - (1 << bits) } else { number }
}

/// Whole where nothing is divided, and else the nearest number with as few digits as it takes.
fn scaled(number: i64, per: f64) -> Json {
    if per == 1.0 { json!(number) } else { json!(number as f64 / per) }
}

#[cfg(test)]
#[path = "lpp_tests.rs"]
mod tests;
