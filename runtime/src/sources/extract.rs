//! From what somebody else's server says to readings. Pure.

use crate::{
    model::{Micros, Value, limit::VALUE_BYTES_MAX, manifest::Source},
    preprocess::Sample,
};
use serde_json::Value as Json;

/// The values that a source asks for, as far as they are there.
///
/// # Errors
/// Why there is none, in words.
pub fn samples(source: &Source, body: &[u8]) -> Result<Vec<Sample>, String> {
    let json: Json = serde_json::from_slice(body).map_err(|error| format!("what it says is no JSON: {error}"))?;
    let measured = source.time.as_ref().map(|pointer| time(&json, pointer)).transpose()?;
    let found =
        source.values.iter().filter_map(|(sensor, pointer)| Some((sensor, json.pointer(pointer).filter(|value| !value.is_null())?)));
    let mut samples = Vec::new();
    for (sensor, value) in found {
        let value = Value::from_json(value);
        if value.len_bytes() > VALUE_BYTES_MAX {
            return Err(format!("the value of `{sensor}` has {} bytes, {VALUE_BYTES_MAX} are allowed", value.len_bytes()));
        }
        samples.push(Sample { device: source.device.clone(), sensor: sensor.clone(), measured, value });
    }
    if samples.is_empty() {
        let pointers: Vec<&str> = source.values.values().map(String::as_str).collect();
        return Err(format!("none of `{}` leads to a value", pointers.join("`, `")));
    }
    Ok(samples)
}

fn time(json: &Json, pointer: &str) -> Result<Micros, String> {
    let text = json.pointer(pointer).and_then(Json::as_str).ok_or_else(|| format!("`{pointer}` leads to no time"))?;
    Micros::parse(text).map_err(|error| error.to_string())
}
