//! What an app needs, said without naming a sensor: kind, unit, place, tags. Pure.
//!
//! Everything that a selector says has to be so. What it says nothing of may be anything.

use super::{
    device::{Device, Location, Sensor},
    id::Id,
    limit::{SELECTOR_BYTES_MAX, SELECTOR_TAGS_MAX},
    manifest::quantity,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::{fmt, time::Duration};

/// The radius of a ball with the surface of the Earth, in kilometres.
const EARTH_KM: f64 = 6_371.007_2;
/// Half of the way around: everywhere.
const KM_MAX: f64 = 20_016.0;
/// A sensor that was silent for longer is not waited for.
const SEEN_WITHIN_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const KEYS: [&str; 8] = ["kind", "quantity", "unit", "owner", "project", "tags", "within", "seen_within"];

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Selector {
    /// `sensor_kind`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `quantity_kind`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Id>,
    /// That the device is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Id>,
    /// The device, or the sensor, has each of them in `meta.tags`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
    /// A reading of it was received no longer ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_within: Option<Duration>,
}

/// A circle on the ground.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Within {
    pub lat: f64,
    pub lon: f64,
    pub km: f64,
}

/// Where a sensor is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SensorRef {
    pub device: Id,
    pub sensor: Id,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` of a selector: {why}")]
pub struct SelectorError {
    pub key: String,
    pub why: String,
}

impl SelectorError {
    fn new(key: impl Into<String>, why: impl Into<String>) -> SelectorError {
        SelectorError { key: key.into(), why: why.into() }
    }
}

impl Selector {
    /// Says nothing, so that every sensor fits.
    pub fn is_empty(&self) -> bool {
        *self == Selector::default()
    }

    /// `kind=Thermometer,unit=DegreeCelsius,tags=river,tags=upstream,within=5.36:-4.01:10,seen_within=1h`. No value has a comma in it; `within` is latitude,
    /// longitude and kilometres.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(SelectorError::new("select", format!("at most {SELECTOR_BYTES_MAX} bytes, these are {}", text.len())));
        }
        let mut selector = Selector::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| SelectorError::new(shown(part), "what it should be is missing: `KEY=VALUE`, commas in between"))?;
            let (key, value) = (key.trim(), value.trim());
            match key {
                "tags" => selector.add_tag(value)?,
                "within" => selector.set_within(circle(value)?)?,
                _ => selector.set(key, value)?,
            }
        }
        Ok(selector)
    }

    /// As in a manifest: `kind = "…"`, `tags = ["…"]`, `within = { lat = 5.36, lon = -4.01, km = 10 }`, `seen_within = "1h"`.
    pub fn from_toml(table: &toml::Table) -> Result<Selector, SelectorError> {
        let mut selector = Selector::default();
        for (key, value) in table {
            match (key.as_str(), value) {
                ("tags", toml::Value::Array(tags)) => {
                    for tag in tags {
                        let tag = tag.as_str().ok_or_else(|| SelectorError::new(key, "a list of texts, as in `[\"river\"]`"))?;
                        selector.add_tag(tag)?;
                    }
                }
                ("tags", _) => return Err(SelectorError::new(key, "a list of texts, as in `[\"river\"]`")),
                ("within", toml::Value::Table(within)) => selector.set_within(circle_of(within)?)?,
                ("within", _) => return Err(SelectorError::new(key, "a table, as in `{ lat = 5.36, lon = -4.01, km = 10 }`")),
                (_, toml::Value::String(text)) => selector.set(key, text)?,
                (known, _) if KEYS.contains(&known) => return Err(SelectorError::new(key, "a text is wanted, in quotes")),
                (unknown, _) => return Err(unknown_key(unknown)),
            }
        }
        Ok(selector)
    }

    /// As [`Selector::from_toml`], of a document in JSON.
    pub fn from_json(json: &Json) -> Result<Selector, SelectorError> {
        let table = toml::Table::try_from(json).map_err(|_| SelectorError::new("select", "a text or a table is wanted, without null"))?;
        Selector::from_toml(&table)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), SelectorError> {
        let id = || Id::new(value).map_err(|error| SelectorError::new(key, error.to_string()));
        let text = || match value.is_empty() || value.len() > SELECTOR_BYTES_MAX {
            true => Err(SelectorError::new(key, format!("a text of 1 to {SELECTOR_BYTES_MAX} bytes is wanted"))),
            false => Ok(value.to_owned()),
        };
        match key {
            "kind" => once(key, &mut self.kind, text()?),
            "quantity" => once(key, &mut self.quantity, text()?),
            "unit" => once(key, &mut self.unit, text()?),
            "owner" => once(key, &mut self.owner, id()?),
            "project" => once(key, &mut self.project, id()?),
            "seen_within" => {
                let time = quantity::duration(value).map_err(|why| SelectorError::new(key, why))?;
                if time.is_zero() || time > SEEN_WITHIN_MAX {
                    return Err(SelectorError::new(key, "from `1ms` to a year, `8784h`"));
                }
                once(key, &mut self.seen_within, time)
            }
            unknown => Err(unknown_key(unknown)),
        }
    }

    fn add_tag(&mut self, tag: &str) -> Result<(), SelectorError> {
        if tag.is_empty() || tag.len() > SELECTOR_BYTES_MAX {
            return Err(SelectorError::new("tags", format!("a tag has 1 to {SELECTOR_BYTES_MAX} bytes")));
        }
        if self.tags.len() == SELECTOR_TAGS_MAX {
            return Err(SelectorError::new("tags", format!("at most {SELECTOR_TAGS_MAX} of them")));
        }
        self.tags.push(tag.to_owned());
        Ok(())
    }

    fn set_within(&mut self, within: Within) -> Result<(), SelectorError> {
        let Within { lat, lon, km } = within;
        // No number is not in any range.
        if !((-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon)) {
            return Err(SelectorError::new("within", format!("{lat}, {lon} is no place: -90 to 90 and -180 to 180 degrees")));
        }
        if !(0.0..=KM_MAX).contains(&km) {
            return Err(SelectorError::new("within", format!("{km} km is no distance on Earth: 0 to {KM_MAX}")));
        }
        once("within", &mut self.within, within)
    }

    /// Whether a device fits what is asked of devices, but for the project it is in.
    pub fn fits_device(&self, device: &Device) -> bool {
        let owner = self.owner.as_ref().is_none_or(|owner| device.owned.owner.as_ref() == Some(owner));
        owner && self.within.is_none_or(|within| device.location.is_some_and(|place| within.circle().holds(Spot::of(place))))
    }

    /// Whether a sensor of such a device fits, but for when it was seen.
    pub fn fits_sensor(&self, device: &Device, sensor: &Sensor) -> bool {
        let is = |wanted: &Option<String>, has: &Option<Box<str>>| wanted.is_none() || wanted.as_deref() == has.as_deref();
        let tagged = |tag: &String| has_tag(&device.meta, tag) || sensor.meta.map().is_some_and(|meta| has_tag(meta, tag));
        is(&self.kind, &sensor.sensor_kind)
            && is(&self.quantity, &sensor.quantity_kind)
            && is(&self.unit, &sensor.unit)
            && self.tags.iter().all(tagged)
    }
}

/// As [`Selector::parse`] takes it.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = [("kind", self.kind.as_deref()), ("quantity", self.quantity.as_deref()), ("unit", self.unit.as_deref())];
        let ids = [("owner", self.owner.as_ref().map(Id::as_str)), ("project", self.project.as_ref().map(Id::as_str))];
        let tags = self.tags.iter().map(|tag| ("tags", Some(tag.as_str())));
        let said = texts.into_iter().chain(ids).chain(tags).filter_map(|(key, text)| Some(format!("{key}={}", text?)));
        let within = self.within.iter().map(|Within { lat, lon, km }| format!("within={lat}:{lon}:{km}"));
        let seen = self.seen_within.iter().map(|time| format!("seen_within={}", quantity::duration_text(*time)));
        f.write_str(&said.chain(within).chain(seen).collect::<Vec<_>>().join(","))
    }
}

impl std::str::FromStr for Selector {
    type Err = SelectorError;
    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        Selector::parse(text)
    }
}

fn once<T>(key: &str, into: &mut Option<T>, value: T) -> Result<(), SelectorError> {
    match into.replace(value) {
        None => Ok(()),
        Some(_) => Err(SelectorError::new(key, "it is there twice")),
    }
}

fn unknown_key(key: &str) -> SelectorError {
    SelectorError::new(shown(key), format!("there is no such key; there are {}", KEYS.join(", ")))
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

fn circle(text: &str) -> Result<Within, SelectorError> {
    let wrong = || SelectorError::new("within", format!("`{}` is not `LATITUDE:LONGITUDE:KILOMETRES`, as in `5.36:-4.01:10`", shown(text)));
    let numbers: Vec<f64> = text.split(':').map(|number| number.trim().parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    match numbers.as_slice() {
        [lat, lon, km] => Ok(Within { lat: *lat, lon: *lon, km: *km }),
        _ => Err(wrong()),
    }
}

fn circle_of(table: &toml::Table) -> Result<Within, SelectorError> {
    let number = |key: &str| match table.get(key) {
        Some(toml::Value::Float(number)) => Ok(*number),
        // Degrees and kilometres that are whole are small.
        Some(toml::Value::Integer(number)) => Ok(*number as f64),
        _ => Err(SelectorError::new(format!("within.{key}"), "a number is wanted")),
    };
    if let Some(unknown) = table.keys().find(|key| !["lat", "lon", "km"].contains(&key.as_str())) {
        return Err(SelectorError::new(format!("within.{}", shown(unknown)), "there is no such key; there are lat, lon, km"));
    }
    Ok(Within { lat: number("lat")?, lon: number("lon")?, km: number("km")? })
}

/// `meta.tags`: a list of texts, or one text.
fn tags(meta: &Map<String, Json>) -> impl Iterator<Item = &str> {
    let (one, many) = match meta.get("tags") {
        Some(Json::String(tag)) => (Some(tag.as_str()), &[][..]),
        Some(Json::Array(tags)) => (None, tags.as_slice()),
        _ => (None, &[][..]),
    };
    one.into_iter().chain(many.iter().filter_map(Json::as_str))
}

fn has_tag(meta: &Map<String, Json>, tag: &str) -> bool {
    tags(meta).any(|has| has == tag)
}

/// One of 64 bits for a tag. Tags may share one: it tells who surely lacks a tag.
pub fn mark(tag: &str) -> u64 {
    let hash = tag.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    1 << (hash >> 58)
}

/// The bits of all tags of a device and its sensors.
pub fn marks(device: &Device) -> u64 {
    let metas = std::iter::once(&device.meta).chain(device.sensors.iter().filter_map(|sensor| sensor.meta.map()));
    metas.flat_map(tags).fold(0, |marks, tag| marks | mark(tag))
}

/// A place as a point of a ball with radius 1, so that distances are compared without an angle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spot([f64; 3]);

/// Those points of the ball that are no further from one than a circle's radius.
#[derive(Debug, Clone, Copy)]
pub struct Circle {
    middle: Spot,
    /// The square of the straight line through the ball: four times the haversine's `a`.
    chord_squared: f64,
}

impl Spot {
    pub fn of(place: Location) -> Spot {
        let (lat, lon) = (place.latitude.to_radians(), place.longitude.to_radians());
        Spot([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()])
    }
}

impl Within {
    pub fn circle(self) -> Circle {
        let middle = Spot::of(Location { latitude: self.lat, longitude: self.lon });
        let half = (self.km / EARTH_KM / 2.0).min(std::f64::consts::FRAC_PI_2).sin();
        Circle { middle, chord_squared: 4.0 * half * half }
    }
}

impl Circle {
    pub fn holds(&self, spot: Spot) -> bool {
        let square = |n: usize| (self.middle.0[n] - spot.0[n]).powi(2);
        // Some millimetres, for what is lost in the last digits of two places that are the same.
        square(0) + square(1) + square(2) <= self.chord_squared + 1e-18
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "selector_tests.rs"]
mod tests;
