//! What was measured: asked for by time, in pages, as JSON or as a table.

use super::{super::Answer, Node, station};
use serde_json::{Value, json};

const VALUES: &str = "/devices/d/sensors/TC1/values";

fn values(answer: Answer) -> Vec<f64> {
    answer.is(200).json().as_array().unwrap().iter().map(|point| point["value"].as_f64().unwrap()).collect()
}

/// Values 1 to 6 of the first days of 2026, sent in disorder.
async fn six_days(node: &Node, session: &str, device: &str, sensor: &str) {
    let day = |n: u32| json!({ "value": n, "timestamp": format!("2026-01-0{n}T00:00:00Z") });
    let list: Value = [4, 1, 6, 2, 5, 3].map(day).into_iter().collect();
    node.v2(session, "POST", &format!("/devices/{device}/sensors/{sensor}/values"), &list.to_string()).await.is(204);
}

#[tokio::test]
async fn values_are_found_by_when_they_were_measured_and_at_once() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    node.v2(&ada, "POST", "/devices", &station("d", "public")).await.is(204);
    assert_eq!(node.guest("GET", VALUES, "").await.is(200).json(), json!([]));
    six_days(&node, &ada, "d", "TC1").await;
    let ask = async |query: &str| node.guest("GET", &format!("{VALUES}{query}"), "").await;
    assert_eq!(values(ask("").await), [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
    assert_eq!(values(ask("?sort=asc").await), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(values(ask("?sort=dsc&limit=2&offset=1").await), [5.0, 4.0]);
    assert_eq!(values(ask("?sort=asc&date_from=2026-01-02T00:00:00Z&date_to=2026-01-04T00:00:00Z").await), [2.0, 3.0, 4.0]);
    assert_eq!(values(ask("?sort=asc&date_from=2026-01-05T01:00:00+01:00").await), [5.0, 6.0]);
    assert_eq!(values(ask("?date_to=1999-01-01T00:00:00Z").await), [0.0; 0]);
    // Back-filled: measured long ago, received now.
    node.v2(&ada, "POST", "/devices/d/sensors/TC1/value", r#"{"value":0.5,"timestamp":"2025-12-31T00:00:00Z"}"#).await.is(204);
    assert_eq!(values(ask("?sort=asc&limit=2").await), [0.5, 1.0]);
    let point = ask("?limit=1").await.is(200).json()[0].take();
    assert_eq!((&point["timestamp"], point.as_object().unwrap().len()), (&json!("2026-01-06T00:00:00Z"), 3));
    for (query, field) in [
        ("?date_from=yesterday", "date_from"),
        ("?sort=up", "sort"),
        ("?offset=1000000", "offset"),
        ("?limit=-1", "limit"),
        ("?calibrated=maybe", "calibrated"),
        ("?from=2026-01-01", "from"),
    ] {
        assert_eq!(ask(query).await.problem(400).1, field, "{query}");
    }
}

#[tokio::test]
async fn a_table_has_the_header_of_the_cloud() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    node.v2(&ada, "POST", "/devices", &station("d", "public")).await.is(204);
    node.v2(
        &ada,
        "POST",
        VALUES,
        r#"[{"value":"quite, warm","timestamp":"2026-01-01T00:00:00Z"},{"value":2.50,"timestamp":"2026-01-02T00:00:00Z"}]"#,
    )
    .await
    .is(204);
    for path in [format!("{VALUES}?sort=asc"), "/sensors_data?device_id=d&sort=asc".to_owned()] {
        let answer = node.ask_as(&ada, "GET", &format!("/api/v2{path}"), &[("accept", "text/csv")], "").await.is(200);
        assert_eq!(answer.headers["content-type"], "text/csv;charset=utf-8");
        let table = String::from_utf8(answer.body).unwrap();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "device_id,sensor_id,value,timestamp,date_received");
        assert!(lines[1].starts_with("d,TC1,\"quite, warm\",2026-01-01T00:00:00Z,2"), "{table}");
        assert!(lines[2].starts_with("d,TC1,2.50,2026-01-02T00:00:00Z,2") && lines.len() == 3, "{table}");
    }
}

#[tokio::test]
async fn a_calibration_is_applied_when_asked_for_and_says_so() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    node.v2(&ada, "POST", "/devices", &station("d", "public")).await.is(204);
    let calib =
        r#"{"linear":{"enabled":true,"value_min":{"sensor_value":900,"real_value":100},"value_max":{"sensor_value":300,"real_value":0}}}"#;
    node.put_json(&ada, "/devices/d/sensors/TC1/calib", calib).await.is(204);
    node.v2(
        &ada,
        "POST",
        VALUES,
        r#"[{"value":600,"timestamp":"2026-01-01T00:00:00Z"},{"value":"dry","timestamp":"2026-01-02T00:00:00Z"}]"#,
    )
    .await
    .is(204);
    let ask = async |query: &str| node.guest("GET", &format!("{VALUES}?sort=asc{query}"), "").await;
    let plain = ask("").await.is(200).json();
    assert_eq!((&plain[0]["value"], plain[0].get("calibrated")), (&json!(600), None));
    let real = ask("&calibrated=true").await.is(200).json();
    assert_eq!((&real[0]["value"], &real[0]["calibrated"]), (&json!(50), &json!(true)));
    assert_eq!((&real[1]["value"], real[1].get("calibrated")), (&json!("dry"), None));
    let data = node.guest("GET", "/sensors_data?device_id=d&calibrated=true&sort=asc", "").await.is(200).json();
    assert_eq!((&data[0]["device_id"], &data[0]["sensor_id"], &data[0]["value"]), (&json!("d"), &json!("TC1"), &json!(50)));
    let table = node.ask_as(&ada, "GET", &format!("/api/v2{VALUES}?calibrated=true&limit=2"), &[("accept", "text/csv")], "").await.is(200);
    let table = String::from_utf8(table.body).unwrap();
    assert!(table.lines().next().unwrap().ends_with(",calibrated") && table.contains(",50,2026-01-01T00:00:00Z,"), "{table}");
    // The line can be switched off without being forgotten.
    node.put_json(&ada, "/devices/d/sensors/TC1/calib", &calib.replace("true", "false")).await.is(204);
    assert_eq!(ask("&calibrated=true").await.is(200).json()[0]["value"], 600);
}

#[tokio::test]
async fn several_sensors_are_asked_at_once_and_those_of_others_are_left_out() {
    let node = Node::start().await;
    let (ada, bob) = (node.user("ada", false).await, node.user("bob", false).await);
    for (who, id, visibility) in [(&ada, "a1", "public"), (&ada, "a2", "private"), (&bob, "b1", "private")] {
        node.v2(who, "POST", "/devices", &station(id, visibility)).await.is(204);
        for sensor in ["TC1", "SM"] {
            node.v2(who, "POST", &format!("/devices/{id}/sensors/{sensor}/value"), r#"{"value":1,"timestamp":"2026-01-01T00:00:00Z"}"#)
                .await
                .is(204);
        }
    }
    async fn whose(node: &Node, session: Option<&str>, query: &str) -> Vec<String> {
        let path = format!("/sensors_data?sort=asc{query}");
        let answer = match session {
            Some(session) => node.v2(session, "GET", &path, "").await,
            None => node.guest("GET", &path, "").await,
        };
        let text = |point: &Value, name: &str| point[name].as_str().unwrap().to_owned();
        answer
            .is(200)
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|point| format!("{}/{}", text(point, "device_id"), text(point, "sensor_id")))
            .collect()
    }
    assert_eq!(whose(&node, None, "").await, ["a1/TC1", "a1/SM"]);
    assert_eq!(whose(&node, Some(&ada), "").await, ["a1/TC1", "a1/SM", "a2/TC1", "a2/SM"]);
    assert_eq!(whose(&node, Some(&ada), "&device_id=a2,b1,nowhere&sensor_id=TC1").await, ["a2/TC1"]);
    assert_eq!(whose(&node, Some(&bob), "&device_id=b1&device_id=a1&sensor_id=SM").await, ["a1/SM", "b1/SM"]);
    assert_eq!(whose(&node, Some(&bob), "&device_id=a2").await, [""; 0]);
    assert_eq!(whose(&node, Some(&node.admin), "&sensor_id=SM").await, ["a1/SM", "a2/SM", "b1/SM"]);
    let many: Vec<String> = (0..101).map(|n| format!("d{n}")).collect();
    assert_eq!(node.guest("GET", &format!("/sensors_data?device_id={}", many.join(",")), "").await.problem(400).1, "device_id");
    assert_eq!(node.guest("GET", "/sensors_data?device_id=a%20b", "").await.problem(400).1, "device_id");
}

#[tokio::test]
async fn who_sees_more_devices_than_one_question_has_names_some() {
    let node = Node::start().await;
    for n in 0..101 {
        node.guest("POST", "/devices", &json!({ "id": format!("d{n}") }).to_string()).await.is(204);
    }
    assert_eq!(node.guest("GET", "/sensors_data", "").await.problem(400).1, "device_id");
    node.guest("GET", "/sensors_data?device_id=d1,d2", "").await.is(200);
    node.ask("GET", "/api/v2/sensors_data", "").await.is(200);
}

#[tokio::test]
async fn a_question_names_so_many_sensors() {
    let node = Node::start().await;
    let named = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    node.ask("GET", &format!("/api/v2/sensors_data?sensor_id={}", named(1_000)), "").await.is(200);
    assert_eq!(node.ask("GET", &format!("/api/v2/sensors_data?sensor_id={}", named(1_001)), "").await.problem(400).1, "sensor_id");
}
