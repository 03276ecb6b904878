//! Payloads of devices and bodies of network servers -> what was measured. Pure: bytes in, values or what is wrong at which byte or
//! member out. The codecs that every node has are named here; the others are functions.

pub mod chirpstack;
mod lpp;
mod object;
pub mod senml;
pub mod ttn;

use crate::model::{
    Id, Measurement, Uplink, Value,
    limit::UPLINK_READINGS_MAX,
    payload::{BodyError, fits},
};
use serde::Deserialize;

/// Codecs that need no app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    CayenneLpp,
    Xlpp,
    SenmlJson,
    SenmlCbor,
    Json,
}

impl Builtin {
    pub const ALL: [Builtin; 5] = [Builtin::CayenneLpp, Builtin::Xlpp, Builtin::SenmlJson, Builtin::SenmlCbor, Builtin::Json];

    /// As a device's `meta.codec` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Builtin::CayenneLpp => "cayenne-lpp",
            Builtin::Xlpp => "xlpp",
            Builtin::SenmlJson => "senml-json",
            Builtin::SenmlCbor => "senml-cbor",
            Builtin::Json => "json",
        }
    }

    pub fn named(name: &str) -> Option<Builtin> {
        Builtin::ALL.into_iter().find(|builtin| builtin.name() == name)
    }

    /// What a content type says about bytes whose device names no codec.
    pub fn of_content_type(content_type: &str) -> Option<Builtin> {
        match essence(content_type).as_str() {
            "application/senml+json" => Some(Builtin::SenmlJson),
            "application/senml+cbor" => Some(Builtin::SenmlCbor),
            "application/x-xlpp" => Some(Builtin::Xlpp),
            "application/x-lpp" => Some(Builtin::CayenneLpp),
            "application/json" => Some(Builtin::Json),
            _ => None,
        }
    }

    pub fn decode(self, uplink: &Uplink) -> Result<Vec<Measurement>, BodyError> {
        match self {
            Builtin::CayenneLpp => lpp::cayenne(&uplink.payload),
            Builtin::Xlpp => lpp::xlpp(&uplink.payload, uplink.measured.unwrap_or(uplink.received)),
            Builtin::SenmlJson => senml::measurements(&senml::json(&uplink.payload)?, &uplink.device, uplink.received),
            Builtin::SenmlCbor => senml::measurements(&senml::cbor(&uplink.payload)?, &uplink.device, uplink.received),
            Builtin::Json => object::measurements(&uplink.payload),
        }
    }
}

/// A content type without its parameters, in lower case.
pub fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// What a network server has passed on.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkUplink {
    /// In lower case; not every device of The Things Stack has one.
    pub dev_eui: Option<String>,
    /// The same for each repeat, and for no other uplink.
    pub id: Option<String>,
    /// `payload`, `port` and `measured` of it; the device's id is that of `dev_eui` until somebody knows better.
    pub uplink: Uplink,
    /// What the server itself has decoded.
    pub decoded: Option<Result<Vec<Measurement>, BodyError>>,
}

/// 16 hex digits in lower case: how a LoRaWAN device is known in all the world.
fn dev_eui(field: &str, text: &str) -> Result<(String, Id), BodyError> {
    let eui = text.to_ascii_lowercase();
    if eui.len() != 16 || !eui.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(BodyError::field(field, format!("`{}` is not a DevEUI: 16 hex digits", shown(text))));
    }
    let id = Id::new(&eui).map_err(|e| BodyError::field(field, e.to_string()))?;
    Ok((eui, id))
}

fn base64(field: &str, text: &str) -> Result<Vec<u8>, BodyError> {
    use base64::{
        Engine as _,
        alphabet::STANDARD,
        engine::{DecodePaddingMode::Indifferent, GeneralPurpose, GeneralPurposeConfig},
    };
    let engine = GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(Indifferent));
    engine.decode(text).map_err(|e| BodyError::field(field, format!("`{field}` is not base64: {e}")))
}

/// RFC 3339, as network servers write it.
fn time(field: &str, text: &str) -> Result<crate::model::Micros, BodyError> {
    let stamp: jiff::Timestamp =
        text.parse().map_err(|_| BodyError::field(field, format!("`{}` is not a time of RFC 3339", shown(text))))?;
    Ok(crate::model::Micros(stamp.as_microsecond()))
}

fn body<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, BodyError> {
    let text = std::str::from_utf8(bytes).map_err(|e| BodyError::body(format!("the body is not UTF-8 at byte {}", e.valid_up_to())))?;
    serde_json::from_str(text).map_err(|e| BodyError::syntax(&e))
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Adds one more, if an uplink may hold so many.
fn push(found: &mut Vec<Measurement>, one: Measurement) -> Result<(), BodyError> {
    if found.len() >= UPLINK_READINGS_MAX {
        return Err(BodyError::too_large(None, format!("more than {UPLINK_READINGS_MAX} values in one uplink")));
    }
    fits(one.value.len_bytes())?;
    found.push(one);
    Ok(())
}

fn number(value: f64) -> Option<Value> {
    serde_json::Number::from_f64(value).map(|number| Value::Json(number.to_string().into()))
}

#[cfg(test)]
#[path = "garbage_tests.rs"]
mod garbage;
