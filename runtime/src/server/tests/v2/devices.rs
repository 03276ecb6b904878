//! Devices and their sensors: registered, seen, changed, deleted.

use super::{Node, TEXT, ids, station};
use serde_json::json;

#[tokio::test]
async fn a_device_is_registered_seen_changed_and_deleted() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    assert!(node.v2(&ada, "POST", "/devices", &station("MyDevice", "public")).await.is(204).body.is_empty());
    node.v2(&ada, "POST", "/devices/MyDevice/sensors/TC1/value", r#"{"value":25.60,"timestamp":"2016-06-08T18:20:27.873Z"}"#).await.is(204);
    let answer = node.v2(&ada, "GET", "/devices/MyDevice", "").await.is(200);
    assert!(String::from_utf8_lossy(&answer.body).contains("\"value\":25.60"), "the digits that were sent");
    let mut device = answer.json();
    let received = device["sensors"][0]["value"]["date_received"].take();
    assert!(received.as_str().unwrap().ends_with('Z'));
    for date in ["date_created", "date_modified"] {
        assert!(device[date].as_str().unwrap().ends_with('Z'), "{device}");
        for part in ["/sensors/0", "/actuators/0"] {
            device.pointer_mut(part).unwrap().as_object_mut().unwrap().remove(date).unwrap();
        }
        device.as_object_mut().unwrap().remove(date);
    }
    assert_eq!(
        device,
        json!({
            "id": "MyDevice", "gateway_id": "MyGW", "name": "My weather station", "domain": "waziup", "visibility": "public", "owner": "ada",
            "location": { "latitude": 5.36, "longitude": 4.0083 }, "deployed": null, "meta": {},
            "sensors": [{
                "id": "TC1", "name": "Outside", "sensor_kind": "Thermometer", "quantity_kind": "AirTemperature", "unit": "DegreeCelsius",
                "value": { "value": 25.6, "timestamp": "2016-06-08T18:20:27.873Z", "date_received": null }, "meta": {},
            }],
            "actuators": [{
                "id": "Act1", "name": "My buzzer", "actuator_kind": "Buzzer", "actuator_value_type": "bool", "value": null, "meta": {},
            }],
        })
    );

    for (field, body, shown) in [
        ("name", "Pond 1", json!("Pond 1")),
        ("gateway_id", "OtherGW", json!("OtherGW")),
        ("visibility", "private", json!("private")),
        ("deployed", "true", json!(true)),
        ("meta", r#"{"codec":"lpp"}"#, json!({"codec": "lpp"})),
        ("location", r#"{"latitude":1.5,"longitude":-2}"#, json!({"latitude": 1.5, "longitude": -2.0})),
    ] {
        assert!(node.put_text(&ada, &format!("/devices/MyDevice/{field}"), body).await.is(204).body.is_empty());
        assert_eq!(node.v2(&ada, "GET", "/devices/MyDevice", "").await.is(200).json()[field], shown);
        node.put_json(&ada, &format!("/devices/MyDevice/{field}"), &shown.to_string()).await.is(204);
        assert_eq!(node.v2(&ada, "GET", "/devices/MyDevice", "").await.is(200).json()[field], shown);
    }
    node.put_json(&ada, "/devices/MyDevice/location", "null").await.is(204);
    node.put_text(&ada, "/devices/MyDevice/gateway_id", "").await.is(204);
    let device = node.v2(&ada, "GET", "/devices/MyDevice", "").await.is(200).json();
    assert!(device.get("location").is_none() && device.get("gateway_id").is_none(), "{device}");

    assert!(node.v2(&ada, "DELETE", "/devices/MyDevice", "").await.is(204).body.is_empty());
    assert_eq!(node.v2(&ada, "GET", "/devices/MyDevice", "").await.problem(404).0, "unknown-device");
    node.v2(&ada, "DELETE", "/devices/MyDevice", "").await.problem(404);
}

#[tokio::test]
async fn each_refusal_has_the_status_that_clients_of_the_cloud_expect() {
    let node = Node::start().await;
    let (ada, bob) = (node.user("ada", false).await, node.user("bob", false).await);
    node.v2(&ada, "POST", "/devices", &station("Open", "public")).await.is(204);
    node.v2(&ada, "POST", "/devices", &station("Closed", "private")).await.is(204);
    // Twice, also by somebody else.
    assert_eq!(node.v2(&ada, "POST", "/devices", &station("Open", "public")).await.problem(422).0, "exists");
    node.v2(&bob, "POST", "/devices", &station("Closed", "public")).await.problem(422);
    // Malformed.
    for (body, field) in
        [("{", ""), ("{}", "id"), (r#"{"id":"a b"}"#, ""), (r#"{"id":"x","location":{"latitude":100,"longitude":0}}"#, "location")]
    {
        assert_eq!(node.v2(&ada, "POST", "/devices", body).await.problem(400).1, field, "{body}");
    }
    // What one may not see is forbidden, what is not there is missing, and who is nobody is told so.
    for (who, what) in [(&bob, "Closed"), (&bob, "Open")] {
        node.v2(who, "DELETE", &format!("/devices/{what}"), "").await.problem(403);
        node.put_text(who, &format!("/devices/{what}/name"), "mine").await.problem(403);
    }
    for path in [
        "/devices/Closed",
        "/devices/Closed/sensors",
        "/devices/Closed/sensors/TC1",
        "/devices/Closed/actuators/Act1",
        "/devices/Closed/sensors/TC1/values",
    ] {
        node.v2(&bob, "GET", path, "").await.problem(403);
        node.guest("GET", path, "").await.problem(403);
        node.v2("tawi_wrong", "GET", path, "").await.problem(401);
    }
    node.guest("GET", "/devices/Open", "").await.is(200);
    node.guest("GET", "/devices/Nowhere", "").await.problem(404);
    assert_eq!(node.guest("GET", "/devices/Open/sensors/TC2", "").await.problem(404).0, "unknown-sensor");
    assert_eq!(node.put_text(&ada, "/devices/Open/visibility", "secret").await.problem(400).1, "visibility");
    // Hers to give away, to somebody who is there.
    assert_eq!(node.put_text(&ada, "/devices/Open/owner", "nobody").await.problem(400).1, "owner");
    node.put_text(&ada, "/devices/Open/owner", "bob").await.is(204);
    node.put_text(&ada, "/devices/Open/name", "still mine").await.problem(403);
    node.put_text(&bob, "/devices/Open/name", "mine").await.is(204);
}

#[tokio::test]
async fn a_list_holds_what_its_reader_may_see_in_pages() {
    let node = Node::start().await;
    let (ada, bob) = (node.user("ada", false).await, node.user("bob", false).await);
    for (who, id, visibility) in [(&ada, "a1", "public"), (&ada, "a2", "private"), (&bob, "b1", "public"), (&bob, "b2", "private")] {
        node.v2(who, "POST", "/devices", &station(id, visibility)).await.is(204);
    }
    let answer = node.guest("GET", "/devices", "").await.is(200);
    assert_eq!((ids(&answer.json()), &answer.headers["tawi-total"]), (vec!["a1", "b1"], &"2".parse().unwrap()));
    assert_eq!(ids(&node.v2(&ada, "GET", "/devices", "").await.is(200).json()), ["a1", "a2", "b1"]);
    assert_eq!(ids(&node.v2(&ada, "GET", "/devices?limit=1&offset=1", "").await.is(200).json()), ["a2"]);
    assert_eq!(ids(&node.v2(&bob, "GET", "/devices?q=owner==bob", "").await.is(200).json()), ["b1", "b2"]);
    assert_eq!(ids(&node.ask("GET", "/api/v2/devices?q=&limit=&full=true", "").await.is(200).json()), ["a1", "a2", "b1", "b2"]);
    // A client that asks for more than there may be gets that.
    node.ask("GET", "/api/v2/devices?limit=100000", "").await.is(200);
    assert_eq!(node.guest("GET", "/devices?limit=many", "").await.problem(400).1, "limit");
    assert_eq!(node.guest("GET", "/devices?owner=ada", "").await.problem(400).1, "owner");
}

#[tokio::test]
async fn sensors_come_and_go_and_are_described() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    node.v2(&ada, "POST", "/devices", &station("d", "public")).await.is(204);
    node.v2(&ada, "POST", "/devices/d/sensors", r#"{"id":"SM","sensor_kind":"SoilMoistureSensor","value":{"value":7}}"#).await.is(204);
    node.v2(&ada, "POST", "/devices/d/sensors", r#"{"id":"SM"}"#).await.problem(422);
    node.guest("POST", "/devices/d/sensors", r#"{"id":"SX"}"#).await.problem(403);
    assert_eq!(node.v2(&ada, "POST", "/devices/d/sensors", r#"{"name":"x"}"#).await.problem(400).1, "id");
    for (field, body) in [("name", "Bed 3"), ("sensor_kind", "Tensiometer"), ("quantity_kind", "SoilWaterTension"), ("unit", "Centibar")] {
        node.put_text(&ada, &format!("/devices/d/sensors/SM/{field}"), body).await.is(204);
        assert_eq!(node.v2(&ada, "GET", "/devices/d/sensors/SM", "").await.is(200).json()[field], body);
    }
    node.put_json(&ada, "/devices/d/sensors/SM/meta", r#"{"depth":30}"#).await.is(204);
    let calib =
        r#"{"linear":{"enabled":true,"value_min":{"sensor_value":900,"real_value":100},"value_max":{"sensor_value":300,"real_value":0}}}"#;
    node.put_json(&ada, "/devices/d/sensors/SM/calib", calib).await.is(204);
    let sensor = node.v2(&ada, "GET", "/devices/d/sensors/SM", "").await.is(200).json();
    assert_eq!((&sensor["meta"]["depth"], &sensor["calib"]["linear"]["value_min"]["sensor_value"]), (&json!(30), &json!(900)));
    assert!(sensor.get("value").is_none(), "nothing was sent: {sensor}");
    assert_eq!(node.put_json(&ada, "/devices/d/sensors/SM/calib", r#"{"linear":{"value_min":1}}"#).await.problem(400).1, "calib");
    node.put_json(&ada, "/devices/d/sensors/SM/calib", "null").await.is(204);
    node.put_text(&ada, "/devices/d/sensors/none/name", "x").await.problem(404);
    assert_eq!(ids(&node.guest("GET", "/devices/d/sensors", "").await.is(200).json()), ["TC1", "SM"]);

    node.v2(&ada, "POST", "/devices/d/sensors/SM/value", "21").await.is(204);
    node.v2(&ada, "DELETE", "/devices/d/sensors/SM", "").await.is(204);
    node.v2(&ada, "GET", "/devices/d/sensors/SM", "").await.problem(404);
    node.v2(&ada, "DELETE", "/devices/d/sensors/SM", "").await.problem(404);
    assert_eq!(ids(&node.guest("GET", "/devices/d/sensors", "").await.is(200).json()), ["TC1"]);
}

#[tokio::test]
async fn what_somebody_may_do_is_told_thing_by_thing() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    node.v2(&ada, "POST", "/devices", &station("MyDevice", "public")).await.is(204);
    node.v2(&ada, "POST", "/devices", &station("Secret", "private")).await.is(204);
    node.v2(&ada, "POST", "/gateways", r#"{"id":"MyGW"}"#).await.is(204);
    let scopes = node.guest("GET", "/auth/permissions/devices", "").await.is(200).json();
    let guest = ["devices:create", "devices:view", "devices-data:create", "devices-data:view"];
    assert_eq!(scopes, json!([{ "resource": "MyDevice", "scopes": guest }]));
    let scopes = node.v2(&ada, "GET", "/auth/permissions/devices", "").await.is(200).json();
    assert_eq!(scopes[1]["resource"], "Secret");
    assert_eq!(scopes[1]["scopes"].as_array().unwrap().len(), 6);
    let scopes = node.guest("GET", "/auth/permissions/gateways", "").await.is(200).json();
    assert_eq!(scopes[0]["resource"], "MyGW");
    assert_eq!(node.guest("GET", "/auth/permissions/projects", "").await.is(200).json(), json!([]));
    node.guest("GET", "/auth/permissions/users", "").await.problem(404);
}

#[tokio::test]
async fn a_text_is_taken_as_it_is_and_a_form_for_what_it_holds() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    node.v2(&ada, "POST", "/devices", &station("d", "public")).await.is(204);
    let form = ("content-type", "application/x-www-form-urlencoded");
    for (header, body, name) in [(form, "My pond", "My pond"), (form, "\"My pond 2\"", "My pond 2"), (TEXT, "\"quoted\"", "\"quoted\"")] {
        node.ask_as(&ada, "PUT", "/api/v2/devices/d/name", &[header], body).await.is(204);
        assert_eq!(node.guest("GET", "/devices/d", "").await.is(200).json()["name"], name);
    }
    node.put_json(&ada, "/devices/d/name", "My pond").await.problem(400);
    assert_eq!(node.put_text(&ada, "/devices/d/name", &"x".repeat(10_000)).await.problem(400).1, "name");
}
