//! What one series of readings is called: those of a sensor, of a device, or of a subject.

use crate::model::{Event, Id, manifest::Per};
use std::fmt::Write;

/// Names stay well below what a key of the state may have.
const SUBJECT_BYTES: usize = 160;

/// `DEVICE/SENSOR`, or `DEVICE`; for messages, which have no sensor, `DEVICE//SUBJECT`. Ids hold no slash; those of subjects become
/// spaces, which no subject holds.
pub(super) fn write(event: &Event, per: Per, name: &mut String) {
    name.clear();
    let device = event.device.as_ref();
    name.push_str(device.map_or("", Id::as_str));
    match (per, &event.sensor) {
        (Per::Device, _) if device.is_some() => {}
        (_, Some(sensor)) => {
            name.push('/');
            name.push_str(sensor.as_str());
        }
        _ => {
            name.push_str("//");
            write_subject(event.subject.as_str(), name);
        }
    }
}

/// A long one is cut, and what is cut stands for itself by a hash.
fn write_subject(subject: &str, name: &mut String) {
    let end = subject.floor_char_boundary(SUBJECT_BYTES);
    name.extend(subject[..end].chars().map(|c| if c == '/' { ' ' } else { c }));
    if end < subject.len() {
        // FNV-1a: the same on every machine and in every release.
        let hash = subject.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let _ = write!(name, " {hash:016x}");
    }
}

pub(super) fn ids(name: &str) -> (Option<Id>, Option<Id>) {
    let (device, sensor) = name.split_once('/').unwrap_or((name, ""));
    // What begins with a slash is a subject, and that is no id.
    (Id::new(device).ok(), Id::new(sensor).ok())
}

/// What order is kept for.
pub(super) fn order(name: &str) -> String {
    match name.split_once('/') {
        None => name.to_owned(),
        Some(("", subject)) => subject.trim_start_matches('/').replace(' ', "/"),
        Some((device, _)) => device.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::{Kind, Micros, NewEvent, Subject, Value, id::default_tenant, limit::STATE_KEY_BYTES_MAX};

    fn named(device: &str, sensor: Option<&str>, subject: Option<&str>, per: Per) -> String {
        let id = |text: &str| Id::new(text).unwrap();
        let value = Value::json("1").unwrap();
        let mut body = NewEvent::reading(&default_tenant(), &id("d"), &id("s"), Micros(0), Micros(0), value);
        body.device = (!device.is_empty()).then(|| id(device));
        body.sensor = sensor.map(id);
        if let Some(subject) = subject {
            (body.subject, body.kind) = (Subject::new(subject).unwrap(), Kind::Message);
        }
        let mut name = "left over".to_owned();
        write(&Event { seq: 1, body }, per, &mut name);
        name
    }

    #[test]
    fn a_series_is_a_sensor_a_device_or_a_subject_and_its_name_leads_back_to_them() {
        let id = |text: &str| Some(Id::new(text).unwrap());
        let sensor = named("fridge.1", Some("temp"), None, Per::Sensor);
        assert_eq!((sensor.as_str(), ids(&sensor), order(&sensor)), ("fridge.1/temp", (id("fridge.1"), id("temp")), "fridge.1".into()));
        let device = named("fridge.1", Some("temp"), None, Per::Device);
        assert_eq!((device.as_str(), ids(&device), order(&device)), ("fridge.1", (id("fridge.1"), None), "fridge.1".into()));
        let message = named("fridge.1", None, Some("alerts.a/b"), Per::Sensor);
        assert_eq!((message.as_str(), ids(&message), order(&message)), ("fridge.1//alerts.a b", (id("fridge.1"), None), "fridge.1".into()));
        let nobody = named("", None, Some("alerts.a/b"), Per::Device);
        assert_eq!((nobody.as_str(), ids(&nobody), order(&nobody)), ("//alerts.a b", (None, None), "alerts.a/b".into()));
    }

    #[test]
    fn however_long_a_subject_is_its_name_fits_a_key_and_is_its_own() {
        let long = |end: &str| named(&"d".repeat(128), None, Some(&format!("{}{end}", "é".repeat(500))), Per::Sensor);
        assert_ne!(long("a"), long("b"));
        assert!(long("a").len() + 64 < STATE_KEY_BYTES_MAX, "{}", long("a").len());
        let ids = named(&"d".repeat(128), Some(&"s".repeat(128)), None, Per::Sensor);
        assert!(ids.len() + 64 < STATE_KEY_BYTES_MAX);
    }
}
