//! The API of the WAZIUP cloud, story by story.

mod actuators;
mod bad;
mod data;
mod devices;
mod found;
mod gateways;
mod projects;

use super::{Answer, Node};
use serde_json::{Value, json};

pub const JSON: (&str, &str) = ("content-type", "application/json");
pub const TEXT: (&str, &str) = ("content-type", "text/plain;charset=utf-8");

/// A device as clients of the cloud register one.
pub fn station(id: &str, visibility: &str) -> String {
    json!({
        "id": id, "name": "My weather station", "domain": "waziup", "visibility": visibility, "gateway_id": "MyGW",
        "location": { "latitude": 5.36, "longitude": 4.0083 }, "meta": {},
        "sensors": [{ "id": "TC1", "name": "Outside", "sensor_kind": "Thermometer", "quantity_kind": "AirTemperature", "unit": "DegreeCelsius" }],
        "actuators": [{ "id": "Act1", "name": "My buzzer", "actuator_kind": "Buzzer", "actuator_value_type": "bool" }],
    })
    .to_string()
}

impl Node {
    /// A request under `/api/v2`.
    pub async fn v2(&self, session: &str, method: &str, path: &str, body: &str) -> Answer {
        self.ask_as(session, method, &format!("/api/v2{path}"), &[], body).await
    }

    pub async fn guest(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_as_guest(method, &format!("/api/v2{path}"), body).await
    }

    pub async fn put_text(&self, session: &str, path: &str, body: &str) -> Answer {
        self.ask_as(session, "PUT", &format!("/api/v2{path}"), &[TEXT], body).await
    }

    pub async fn put_json(&self, session: &str, path: &str, body: &str) -> Answer {
        self.ask_as(session, "PUT", &format!("/api/v2{path}"), &[JSON], body).await
    }
}

pub fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_words_and_the_document_are_served_to_everybody() {
    let node = Node::start().await;
    let kinds = node.guest("GET", "/ontologies/sensor_kinds", "").await.is(200).json();
    let thermometer = kinds.as_array().unwrap().iter().find(|kind| kind["id"] == "Thermometer").unwrap();
    assert!(thermometer["quantity_kinds"].as_array().unwrap().contains(&json!("AirTemperature")));
    let units = node.guest("GET", "/ontologies/units", "").await.is(200).json();
    let celsius = units.as_array().unwrap().iter().find(|unit| unit["id"] == "DegreeCelsius").unwrap();
    assert_eq!((&celsius["label"], &celsius["ucum"]), (&json!("°C"), &json!("Cel")));
    for name in ["actuator_kinds", "quantity_kinds"] {
        assert!(!node.guest("GET", &format!("/ontologies/{name}"), "").await.is(200).json().as_array().unwrap().is_empty());
    }
    let document = node.ask_as_guest("GET", "/docs/openapi.json", "").await.is(200).json();
    assert!(document["paths"]["/api/v2/devices/{device}/sensors/{sensor}/values"]["get"].is_object());
    let page = node.ask_as_guest("GET", "/docs", "").await.is(200);
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
}
