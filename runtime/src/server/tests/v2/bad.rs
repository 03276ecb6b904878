//! Input that is refused, with the part that is wrong, and of which nothing stays.

use super::{Node, ids, station};
use crate::{
    identity::Role,
    model::{
        Id, Micros,
        id::default_tenant,
        limit::{ANSWER_BYTES_MAX, PERMISSIONS_MAX, VALUE_BYTES_MAX},
    },
};
use serde_json::json;

#[tokio::test]
async fn a_query_has_only_so_many_parameters() {
    let node = Node::start().await;
    let path = |pairs: usize| format!("/devices?{}", "q=id&".repeat(pairs));
    node.guest("GET", &path(64), "").await.is(200);
    node.guest("GET", &path(65), "").await.problem(400);
    node.guest("GET", &path(10_000), "").await.problem(400);
}

#[tokio::test]
async fn a_parameter_of_another_route_is_passed_over_and_one_of_none_is_refused_by_name() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    node.v2(&ada, "POST", "/devices", &station("pond", "public")).await.is(204);
    for path in [
        "/devices",
        "/users",
        "/notifications",
        "/socials",
        "/devices/pond/commands",
        "/gateways",
        "/projects",
        "/auth/permissions/devices",
    ] {
        node.v2(&ada, "GET", &format!("{path}?limit=5&offset=&sort=asc&calibrated=true&date_from="), "").await.is(200);
        assert_eq!(node.v2(&ada, "GET", &format!("{path}?limt=5"), "").await.problem(400).1, "limt", "{path}");
        assert_eq!(node.v2(&ada, "GET", &format!("{path}?limit=five"), "").await.problem(400).1, "limit", "{path}");
    }
}

#[tokio::test]
async fn who_asks_what_she_may_gets_all_of_it_without_pages() {
    let node = Node::start().await;
    let ada = crate::identity::Principal::User { tenant: default_tenant(), id: Id::new("ada").unwrap(), admin: false };
    let device = |n: usize| serde_json::from_value(json!({ "id": format!("d{n}"), "date_created": 0, "date_modified": 0 })).unwrap();
    for batch in 0..4 {
        let devices = (0..500).map(|n| device(batch * 500 + n)).collect();
        node.rooms.registry.create_devices(&ada, devices, Micros(1)).await.unwrap();
    }
    let all = node.guest("GET", "/auth/permissions/devices", "").await.is(200).json();
    assert_eq!(all.as_array().unwrap().len(), 2_000);
    let most = PERMISSIONS_MAX + 1;
    let page = node.guest("GET", &format!("/auth/permissions/devices?limit={most}&offset=1990"), "").await.is(200).json();
    assert_eq!(page.as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn ids_that_can_not_be_are_refused_wherever_they_stand() {
    let node = Node::start().await;
    let long = "x".repeat(10_000);
    for id in ["a%20b", "a%2Fb", "%2A", "a%2B", "%23", "%3E", "a%0Ab", "%C2%A0", &long] {
        for (method, path, field) in [
            ("GET", format!("/devices/{id}"), "device"),
            ("DELETE", format!("/devices/{id}"), "device"),
            ("PUT", format!("/devices/{id}/name"), "device"),
            ("GET", format!("/devices/d/sensors/{id}"), "sensor"),
            ("POST", format!("/devices/d/sensors/{id}/value"), "sensor"),
            ("GET", format!("/devices/{id}/sensors/s/values"), "device"),
            ("PUT", format!("/devices/d/actuators/{id}/value"), "actuator"),
            ("GET", format!("/gateways/{id}"), "gateway"),
            ("PUT", format!("/gateways/{id}/heartbeat"), "gateway"),
            ("GET", format!("/projects/{id}"), "project"),
            ("GET", format!("/sensors_data?device_id={id}"), "device_id"),
            ("GET", format!("/sensors_data?sensor_id={id}"), "sensor_id"),
        ] {
            let answer = node.ask(method, &format!("/api/v2{path}"), "\"x\"").await;
            assert!(answer.body.len() < 4_096, "{method} {path}: a problem is short");
            assert_eq!(answer.problem(400).1, field, "{method} {path}");
        }
        let body = json!({ "id": id.replace("%20", " ").replace("%2F", "/") + " " }).to_string();
        for path in ["/devices", "/gateways", "/projects"] {
            node.ask("POST", &format!("/api/v2{path}"), &body).await.problem(400);
        }
    }
    assert_eq!(*node.rooms.ledger.head().borrow(), 0, "nothing is stored");
}

#[tokio::test]
async fn nonsense_in_a_query_is_an_answer_and_never_a_failure() {
    let node = Node::start().await;
    node.ask("POST", "/api/v2/devices", &station("d", "public")).await.is(204);
    for q in [
        "'; DROP TABLE devices; --",
        "1=1 OR ''=''",
        "owner==ada' OR '1'=='1",
        "{\"$where\": \"sleep(1000)\"}",
        "{\"owner\":{\"$ne\":null}}",
        "owner==\u{0}",
        "owner~=(a+)+$",
        "((((((((((",
        ";;;;;;",
        "==",
        "meta.__proto__==1",
        "%00%ff",
    ] {
        let encoded: String = q.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = node.ask("GET", &format!("/api/v2/devices?q={encoded}"), "").await;
        match answer.status.as_u16() {
            200 => assert!(answer.json().as_array().unwrap().len() <= 1, "{q}"),
            _ => assert_eq!(answer.problem(400).1, "q", "{q}"),
        }
    }
    let long = "owner==a;".repeat(2_000);
    assert_eq!(node.ask("GET", &format!("/api/v2/devices?q={long}"), "").await.problem(400).1, "q");
    node.ask("GET", "/api/v2/devices", "").await.is(200);
}

#[tokio::test]
async fn values_have_a_size_and_times_a_place_on_the_calendar() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    node.v2(&ada, "POST", "/devices", &station("d", "public")).await.is(204);
    let (value, values) = ("/devices/d/sensors/TC1/value", "/devices/d/sensors/TC1/values");
    let huge = format!("\"{}\"", "x".repeat(10 << 20));
    let before = *node.rooms.ledger.head().borrow();
    node.v2(&ada, "POST", value, &huge).await.problem(413);
    node.v2(&ada, "POST", values, &huge).await.problem(413);
    node.put_json(&ada, "/devices/d/actuators/Act1/value", &huge).await.problem(413);
    node.put_json(&ada, "/devices/d/name", &huge).await.problem(413);
    node.v2(&ada, "POST", "/devices", &huge).await.problem(413);
    assert_eq!(node.v2(&ada, "POST", value, r#"{"value":1,"timestamp":"2300-01-01T00:00:00Z"}"#).await.problem(400).1, "timestamp");
    assert_eq!(node.v2(&ada, "POST", values, r#"[{"value":1},{"value":1,"timestamp":"noon"}]"#).await.problem(400).1, "[1].timestamp");
    node.v2(&ada, "POST", values, "[]").await.is(204);
    assert_eq!(*node.rooms.ledger.head().borrow(), before, "nothing is stored");
    // A clock that was never set is kept, and found by what it says.
    node.v2(&ada, "POST", value, r#"{"value":1,"timestamp":"1970-01-01T00:00:00Z"}"#).await.is(204);
    let found = node.v2(&ada, "GET", &format!("{values}?date_to=1971-01-01T00:00:00Z"), "").await.is(200).json();
    assert_eq!(found[0]["timestamp"], "1970-01-01T00:00:00Z");
    node.v2(&ada, "GET", &format!("{values}?date_from=2300-01-01T00:00:00Z"), "").await.is(200);
}

#[tokio::test]
async fn texts_and_lists_of_a_device_have_their_limits() {
    let node = Node::start().await;
    let long = "x".repeat(300);
    for (device, field) in [
        (json!({ "id": "d", "name": long }), "name"),
        (json!({ "id": "d", "meta": { "x": "x".repeat(17 << 10) } }), "meta"),
        (json!({ "id": "d", "sensors": (0..600).map(|n| json!({ "id": n.to_string() })).collect::<Vec<_>>() }), "sensors"),
        (json!({ "id": "d", "sensors": [{ "id": "s" }, { "id": "s" }] }), "sensors"),
        (json!({ "id": "d", "sensors": [{ "id": "s", "calib": { "linear": 1 } }] }), "calib"),
    ] {
        assert_eq!(node.ask("POST", "/api/v2/devices", &device.to_string()).await.problem(400).1, field);
    }
    node.ask("POST", "/api/v2/devices", &json!({ "id": "d", "meta": { "x": "x".repeat(300 << 10) } }).to_string()).await.problem(413);
    node.ask("GET", "/api/v2/devices/d", "").await.problem(404);
}

#[tokio::test]
async fn an_answer_is_only_so_large_whatever_devices_say() {
    let node = Node::start().await;
    let gateway = node.token(Role::Send);
    let value = format!("{:?}", "x".repeat(VALUE_BYTES_MAX - 2));
    // Half of an answer each, and one with more than an answer.
    let sensors = ANSWER_BYTES_MAX / VALUE_BYTES_MAX / 2 + 1;
    for device in ["a", "b", "c"] {
        for sensor in 0..sensors {
            node.v2(&gateway, "POST", &format!("/devices/{device}/sensors/s{sensor}/value"), &value).await.is(204);
        }
    }
    for sensor in 0..2 * sensors {
        node.v2(&gateway, "POST", &format!("/devices/d/sensors/s{sensor:03}/value"), &value).await.is(204);
    }
    let page = |path: &'static str| node.ask("GET", path, "");
    let first = page("/api/v2/devices").await.is(200);
    assert_eq!((ids(&first.json()), &first.headers["tawi-total"].to_str().unwrap()), (vec!["a"], &"4"));
    assert_eq!(ids(&page("/api/v2/devices?offset=1").await.is(200).json()), ["b"]);
    // What one says alone does not keep the others out of the list.
    let last = page("/api/v2/devices?offset=2").await.is(200).json();
    assert_eq!((ids(&last), last[1]["sensors"][0].get("value")), (vec!["c", "d"], None));
    assert_eq!(page("/api/v2/devices/d").await.problem(422).0, "too-much");
    assert_eq!(page("/api/v2/devices/d/sensors").await.problem(422).0, "too-much");
    assert_eq!(page("/api/v2/devices/d/sensors/s000").await.is(200).json()["value"]["value"].as_str().unwrap().len(), VALUE_BYTES_MAX - 2);
    let project = r#"{"id":"p","name":"p","device_ids":["a","b"]}"#;
    node.ask("POST", "/api/v2/projects", project).await.is(204);
    assert_eq!(page("/api/v2/projects/p?full=true").await.problem(422), ("too-much".to_owned(), "full".to_owned()));
    for _ in 0..2 * sensors {
        node.v2(&gateway, "POST", "/devices/a/sensors/s0/value", &value).await.is(204);
    }
    for path in ["/api/v2/devices/a/sensors/s0/values?limit=1000", "/api/v2/sensors_data?limit=1000"] {
        let values = page(path).await.is(200);
        assert!(values.body.len() < ANSWER_BYTES_MAX + ANSWER_BYTES_MAX / 8, "{}", values.body.len());
        assert!(values.json().as_array().unwrap().len() > sensors);
    }
}
