//! Uplinks, of devices and of the servers that pass them on.

use super::Node;
use crate::{
    deploy::Draft,
    identity::{Principal, Role},
    model::{Digest, Id, Manifest, Micros, id::default_tenant},
};

const CHIRPSTACK: &str = r#"{"deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d", "time": "2022-07-18T09:34:15.775023242+00:00",
    "deviceInfo": {"deviceName": "Test device", "devEui": "0101010101010101"}, "fPort": 1, "data": "qg==", "object": {"temp": 21.5}}"#;
const TTN: &str = r#"{"end_device_ids": {"device_id": "dev1", "dev_eui": "0004A30B001C0530"}, "correlation_ids": ["as:up:01E0"],
    "received_at": "2020-02-12T15:15:46.014773143Z", "uplink_message": {"f_port": 1, "frm_payload": "gkHe",
    "decoded_payload": {"temperature": 1.0}, "received_at": "2020-02-12T15:15:45.806Z"}}"#;

async fn value(node: &Node, device: &str, sensor: &str) -> serde_json::Value {
    let answer = node.ask("GET", &format!("/api/v2/devices/{device}/sensors/{sensor}"), "").await.is(200);
    answer.json()["value"].clone()
}

#[tokio::test]
async fn a_body_of_senml_is_readings_by_either_door() {
    let node = Node::start().await;
    let body = r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},{"n":"current","u":"A","v":1.2}]"#;
    let json = [("content-type", "application/senml+json")];
    for path in ["/api/v1/senml", "/api/v1/readings"] {
        node.ask_as(&node.admin, "POST", path, &json, body).await.is(204);
        assert_eq!(value(&node, "urn:dev:ow:10e2073a01080063", "current").await["value"], 1.2);
    }
    let bad = node.ask("POST", "/api/v1/senml", r#"[{"n":"d/t","v":1},{"n":"d/u"}]"#).await;
    assert_eq!(bad.problem(400), ("bad-request".into(), "[1].v".into()));
    // [{0: "d/t", 2: 7}]
    let cbor = [("content-type", "application/senml+cbor")];
    node.ask_as(&node.admin, "POST", "/api/v1/readings", &cbor, "\u{0}").await.problem(400);
    let bytes = String::from_utf8(vec![0x61, 0x64]).unwrap();
    assert_eq!(node.ask_as(&node.admin, "POST", "/api/v1/senml", &cbor, &bytes).await.problem(400).0, "bad-request");
}

#[tokio::test]
async fn a_webhook_of_chirpstack_counts_once_and_at_the_time_it_tells() {
    let node = Node::start().await;
    let path = "/api/v1/uplinks/chirpstack?event=up";
    let first = node.ask("POST", path, CHIRPSTACK).await.is(204);
    assert_eq!(first.headers["tawi-sequence"], "1");
    let again = node.ask("POST", path, CHIRPSTACK).await.is(204);
    assert_eq!(
        (&again.headers["tawi-sequence"], &again.headers["tawi-duplicate"]),
        (&first.headers["tawi-sequence"], &"true".parse().unwrap())
    );
    let shown = value(&node, "0101010101010101", "temp").await;
    assert_eq!((shown["value"].as_f64(), shown["timestamp"].as_str()), (Some(21.5), Some("2022-07-18T09:34:15.775023Z")));
    node.ask("POST", "/api/v1/uplinks/chirpstack?event=join", "{}").await.is(204);
    let bad = node.ask("POST", path, r#"{"data":"qg=="}"#).await;
    assert_eq!(bad.problem(400), ("bad-request".into(), "deviceInfo.devEui".into()));
    assert_eq!(*node.rooms.ledger.head().borrow(), 1);
}

#[tokio::test]
async fn a_webhook_of_the_things_stack_is_understood_too() {
    let node = Node::start().await;
    node.ask("POST", "/api/v1/uplinks/ttn", TTN).await.is(204);
    node.ask("POST", "/api/v1/uplinks/ttn", TTN).await.is(204);
    assert_eq!(value(&node, "0004a30b001c0530", "temperature").await["value"], 1.0);
    node.ask("POST", "/api/v1/uplinks/ttn", r#"{"join_accept":{}}"#).await.is(204);
    assert_eq!(*node.rooms.ledger.head().borrow(), 1);
}

#[tokio::test]
async fn an_uplink_that_nobody_can_decode_is_taken_and_shown_among_the_dead_letters() {
    let node = Node::start().await;
    let note = node.ask("POST", "/api/v1/devices/d1/uplink?port=3", "abc").await.is(202);
    assert_eq!(note.headers["tawi-sequence"], "1");
    assert_eq!(note.json()["dead_letter"], "uplink/codec/1");
    assert!(note.json()["undecoded"].as_str().unwrap().contains("meta.codec"));
    let letters = node.ask("GET", "/api/v1/dead", "").await.is(200).json();
    assert_eq!((letters[0]["app"].as_str(), letters[0]["subject"].as_str()), (Some("uplink"), Some("uplink.d1.3")));
    let letter = node.ask("GET", "/api/v1/apps/uplink/dead/codec/1", "").await.is(200).json();
    assert_eq!((&letter["event"]["device"], &letter["event"]["value"]), (&"d1".into(), &serde_json::json!({ "bytes": "616263" })));
    let still = node.ask("POST", "/api/v1/apps/uplink/dead/codec/1/replay", "").await;
    assert_eq!(still.problem(422).0, "undecodable");
    node.ask("DELETE", "/api/v1/apps/uplink/dead/codec/1", "").await.is(204);
    node.ask("POST", "/api/v1/apps/uplink/dead/codec/1/replay", "").await.problem(404);
}

#[tokio::test]
async fn a_payload_is_no_larger_than_a_value_and_its_port_is_a_byte() {
    let node = Node::start().await;
    let large = "x".repeat(crate::model::limit::VALUE_BYTES_MAX + 1);
    assert_eq!(node.ask("POST", "/api/v1/devices/d1/uplink", &large).await.problem(413).0, "too-large");
    assert_eq!(node.ask("POST", "/api/v1/devices/d1/uplink?port=256", "x").await.problem(400).1, "port");
    assert_eq!(node.ask("POST", "/api/v1/devices/d%201/uplink", "x").await.problem(400).1, "device");
    let typed = [("content-type", "application/json; charset=utf-8")];
    node.ask_as(&node.admin, "POST", "/api/v1/devices/d1/uplink", &typed, r#"{"temp":3}"#).await.is(204);
    assert_eq!(value(&node, "d1", "temp").await["value"], 3);
    assert_eq!(*node.rooms.ledger.head().borrow(), 1);
}

#[tokio::test]
async fn a_dead_letter_of_an_uplink_is_readings_when_its_device_names_the_right_codec() {
    let node = Node::start().await;
    let admin = Principal::User { tenant: default_tenant(), id: Id::new("root").unwrap(), admin: true };
    let document = r#"{"id": "d1", "meta": {"codec": "cayenne-lpp"}, "date_created": 0, "date_modified": 0}"#;
    node.rooms.registry.create_device(&admin, serde_json::from_str(document).unwrap(), Micros(1)).await.unwrap();
    let note = node.ask("POST", "/api/v1/devices/d1/uplink", r#"{"temp":3}"#).await.is(202).json();
    let sequence = note["dead_letter"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned();
    assert_eq!(note["dead_letter"], format!("cayenne-lpp/codec/{sequence}"));
    let replay = format!("/api/v1/apps/cayenne-lpp/dead/codec/{sequence}/replay");
    node.ask("POST", &replay, "").await.problem(422);

    let json = |device: &mut crate::model::Device| {
        device.meta.insert("codec".to_owned(), "json".into());
        Ok(())
    };
    node.rooms.registry.update_device(&admin, &Id::new("d1").unwrap(), Micros(2), json).await.unwrap();
    node.ask("POST", &replay, "").await.is(204);
    assert_eq!(value(&node, "d1", "temp").await["value"], 3);
    node.ask("POST", &replay, "").await.problem(404);
    assert_eq!(node.ask("GET", "/api/v1/dead", "").await.is(200).json(), serde_json::json!([]));
}

#[tokio::test]
async fn a_codec_is_among_the_functions_of_its_app_with_what_it_could_not_decode() {
    let node = Node::start().await;
    let manifest = Manifest::parse("[app]\nname = \"weather\"\n[codec]\nname = \"station\"\n").unwrap();
    let artifact = Digest::of(b"never loaded");
    let draft = Draft { artifact, manifest, commit: "0".repeat(40), summary: "v1".into(), created: Micros(1), rollback_of: None };
    node.rooms.store.add_release(&node.app("weather"), draft).unwrap();
    let admin = Principal::User { tenant: default_tenant(), id: Id::new("root").unwrap(), admin: true };
    let document = r#"{"id": "d1", "meta": {"codec": "weather/station"}, "date_created": 0, "date_modified": 0}"#;
    node.rooms.registry.create_device(&admin, serde_json::from_str(document).unwrap(), Micros(1)).await.unwrap();
    let note = node.ask("POST", "/api/v1/devices/d1/uplink?port=1", "abc").await.is(202).json();
    assert!(note["dead_letter"].as_str().unwrap().starts_with("weather/codec/"), "{note}");
    let functions = node.ask("GET", "/api/v1/apps/weather/functions", "").await.is(200).json();
    assert_eq!((&functions[0]["function"], &functions[0]["dead"]), (&"codec".into(), &1.into()));
    assert_eq!(functions[0]["trigger"], "uplinks of devices whose codec is `weather` or `weather/station`");
}

#[tokio::test]
async fn a_device_with_a_secret_sends_its_own_uplinks_and_nobody_elses() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    node.v2(&ada, "POST", "/devices", r#"{"id":"d1"}"#).await.is(204);
    let secret = node.secret_of(&ada, "d1").await;
    let body = "[{\"n\":\"temp\",\"v\":3}]";
    let post = |path: &'static str| node.as_device("d1", &secret, "POST", path, body);
    post("/api/v1/devices/d1/uplink").await.is(202);
    post("/api/v1/devices/d2/uplink").await.problem(403);
    post("/api/v1/uplinks/ttn").await.problem(403);
    node.ask_as(&ada, "POST", "/api/v1/devices/d1/uplink", &[], body).await.problem(403);
    node.ask_as_guest("POST", "/api/v1/devices/d1/uplink", body).await.problem(401);
    node.ask_as(&node.token(Role::Read), "POST", "/api/v1/devices/d1/uplink", &[], body).await.problem(403);
    node.ask_as(&node.token(Role::Send), "POST", "/api/v1/devices/d1/uplink", &[], body).await.is(202);
}

#[tokio::test]
async fn a_body_for_a_webhook_that_is_not_there_is_not_read() {
    let node = Node::start().await;
    let never = axum::body::Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = http::Request::builder().method("POST").uri("/api/v1/sources/weather/hook").body(never).unwrap();
    assert_eq!(node.send(request).await.status(), 404);
}
