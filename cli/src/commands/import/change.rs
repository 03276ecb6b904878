//! What has to be sent so that a device that is there becomes what a file says of it.

use super::device::{Actuator, Device, Sensor};
use crate::client::segment;
use serde_json::{Map, Value, json};

/// A request, its path below that of the device.
#[derive(Debug, PartialEq)]
pub struct Change {
    pub method: &'static str,
    pub path: String,
    pub body: Value,
}

/// Of what a file does not say, nothing is changed; nothing is taken away. A device keeps its `domain`: the API has no way to change it.
pub fn between(known: &Value, wanted: &Device) -> Vec<Change> {
    let mut changes = Changes::default();
    changes.fields(
        "",
        known,
        &[("name", json!(wanted.name)), ("gateway_id", json!(wanted.gateway_id)), ("deployed", json!(wanted.deployed))],
    );
    changes.fields("", known, &[("location", json!(wanted.location)), ("visibility", json!(wanted.visibility))]);
    changes.meta("", known, wanted.meta.as_ref());
    for sensor in &wanted.sensors {
        changes.sensor(known, sensor);
    }
    for actuator in &wanted.actuators {
        changes.actuator(known, actuator);
    }
    // Last: who gives a device away can't change it any more.
    changes.fields("", known, &[("owner", json!(wanted.owner))]);
    changes.0
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn put(&mut self, path: String, body: Value) {
        self.0.push(Change { method: "PUT", path, body });
    }

    fn fields(&mut self, below: &str, known: &Value, wanted: &[(&str, Value)]) {
        for (name, value) in wanted.iter().filter(|(name, value)| !value.is_null() && known[*name] != *value) {
            // The one field whose route has another name.
            let route = if *name == "actuator_value_type" { "value_type" } else { name };
            self.put(format!("{below}/{route}"), value.clone());
        }
    }

    /// Keys that the file does not have stay.
    fn meta(&mut self, below: &str, known: &Value, wanted: Option<&Map<String, Value>>) {
        let Some(wanted) = wanted else { return };
        let before = known["meta"].as_object().cloned().unwrap_or_default();
        let mut after = before.clone();
        after.extend(wanted.clone());
        if after != before {
            self.put(format!("{below}/meta"), after.into());
        }
    }

    fn sensor(&mut self, known: &Value, wanted: &Sensor) {
        let Some(known) = part(known, "sensors", wanted.id.as_str()) else {
            return self.0.push(Change { method: "POST", path: "/sensors".to_owned(), body: json!(wanted) });
        };
        let below = format!("/sensors/{}", segment(wanted.id.as_str()));
        let texts = [
            ("name", json!(wanted.name)),
            ("sensor_kind", json!(wanted.sensor_kind)),
            ("quantity_kind", json!(wanted.quantity_kind)),
            ("unit", json!(wanted.unit)),
            ("calib", json!(wanted.calib)),
        ];
        self.fields(&below, known, &texts);
        self.meta(&below, known, wanted.meta.as_ref());
    }

    fn actuator(&mut self, known: &Value, wanted: &Actuator) {
        let Some(known) = part(known, "actuators", wanted.id.as_str()) else {
            return self.0.push(Change { method: "POST", path: "/actuators".to_owned(), body: json!(wanted) });
        };
        let below = format!("/actuators/{}", segment(wanted.id.as_str()));
        let texts = [
            ("name", json!(wanted.name)),
            ("actuator_kind", json!(wanted.actuator_kind)),
            ("actuator_value_type", json!(wanted.actuator_value_type)),
        ];
        self.fields(&below, known, &texts);
        self.meta(&below, known, wanted.meta.as_ref());
    }
}

fn part<'a>(known: &'a Value, list: &str, id: &str) -> Option<&'a Value> {
    known[list].as_array()?.iter().find(|part| part["id"] == id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_sent_and_what_the_file_does_not_say_stays() {
        let known = json!({
            "id": "pond1", "name": "Pond", "owner": "ada", "visibility": "public", "location": { "latitude": 5.36, "longitude": -4.0 },
            "meta": { "depth": 2, "tags": ["river"] }, "sensors": [{ "id": "t", "unit": "Kelvin", "meta": {} }, { "id": "old" }], "actuators": [],
        });
        let wanted = |text: Value| serde_json::from_value::<Device>(text).unwrap();
        assert_eq!(between(&known, &wanted(known.clone())), []);
        assert_eq!(between(&known, &wanted(json!({ "id": "pond1" }))), []);
        let changes = between(
            &known,
            &wanted(json!({
                "id": "pond1", "name": "Pond", "owner": "bob", "visibility": "private", "meta": { "tags": ["lake"] },
                "sensors": [{ "id": "t", "unit": "DegreeCelsius" }, { "id": "a b".replace(' ', "é") }],
                "actuators": [{ "id": "pump" }],
            })),
        );
        let sent: Vec<(&str, &str)> = changes.iter().map(|change| (change.method, change.path.as_str())).collect();
        let expected = [
            ("PUT", "/visibility"),
            ("PUT", "/meta"),
            ("PUT", "/sensors/t/unit"),
            ("POST", "/sensors"),
            ("POST", "/actuators"),
            ("PUT", "/owner"),
        ];
        assert_eq!(sent, expected);
        assert_eq!(changes[1].body, json!({ "depth": 2, "tags": ["lake"] }));
    }
}
