//! Rules of pre-processing by the API.

use super::Node;
use crate::identity::Role;
use serde_json::json;

const RULE: &str = r#"{"device":"pond1","sensor":"temp","steps":[{"unit":{"from":"[degF]","to":"Cel"}},{"range":{"max":40}}]}"#;

#[tokio::test]
async fn a_rule_is_set_read_and_removed_and_is_for_the_next_reading() {
    let node = Node::start().await;
    assert_eq!(node.ask("GET", "/api/v1/clean", "").await.is(200).json(), json!([]));
    node.ask("PUT", "/api/v1/clean/pond", RULE).await.is(204);
    for value in ["50", "212"] {
        node.ask("POST", "/api/v2/devices/pond1/sensors/temp/value", value).await.is(204);
    }
    let kinds = || {
        let log = node.rooms.ledger.events(1, 100, usize::MAX).unwrap();
        log.iter().filter(|event| event.device.is_some()).map(|event| (event.kind, event.value.to_json())).collect::<Vec<_>>()
    };
    let logged = kinds();
    assert_eq!(logged[0], (crate::model::Kind::Reading, json!(10)));
    assert_eq!((logged[1].0, &logged[1].1["reason"]), (crate::model::Kind::Dropped, &json!("100 is above 40")));
    let shown = node.ask("GET", "/api/v1/clean/pond", "").await.is(200).json();
    assert_eq!((&shown["name"], &shown["steps"][1]), (&json!("pond"), &json!({ "range": { "max": 40 } })));
    node.rooms.devices.reach(&node.rooms.ledger, *node.rooms.ledger.head().borrow()).unwrap();
    let mut listed = shown.clone();
    listed["sensors"] = json!(1);
    assert_eq!(node.ask("GET", "/api/v1/clean", "").await.is(200).json(), json!([listed]));
    node.ask("DELETE", "/api/v1/clean/pond", "").await.is(204);
    for method in ["GET", "DELETE"] {
        node.ask(method, "/api/v1/clean/pond", "").await.is(404);
    }
    node.ask("POST", "/api/v2/devices/pond1/sensors/temp/value", "212").await.is(204);
    assert_eq!(kinds()[2], (crate::model::Kind::Reading, json!(212)));
}

#[tokio::test]
async fn a_rule_that_can_not_be_is_refused_whole_with_its_field_and_a_hint() {
    let node = Node::start().await;
    let step = |step: serde_json::Value| json!({ "device": "pond1", "sensor": "temp", "steps": [{ "duplicate": {} }, step] }).to_string();
    for (body, field, said) in [
        (step(json!({ "unit": { "from": "Cel", "to": "m" } })), "steps[1].unit", "measure different things"),
        (step(json!({ "unit": { "from": "Celsius", "to": "K" } })), "steps[1].unit.from", "no unit of UCUM"),
        (step(json!({ "spike": { "window": 0 } })), "steps[1].spike.window", "from 3 to 64"),
        (step(json!({ "spikes": {} })), "steps[1].spikes", "no such field"),
        (json!({ "steps": [{ "duplicate": {} }] }).to_string(), "select", "missing"),
    ] {
        let problem = node.ask("PUT", "/api/v1/clean/pond", &body).await.is(400).json();
        assert_eq!(problem["field"], field, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{problem}");
    }
    let problem = node.ask("PUT", "/api/v1/clean/pond", &step(json!({ "spikes": {} }))).await.is(400).json();
    assert_eq!(problem["hint"], "there are calibrate, unit, range, spike, stuck, duplicate, thin");
    node.ask("PUT", "/api/v1/clean/pond", "{").await.is(400);
    node.ask("PUT", "/api/v1/clean/a%20b", RULE).await.is(400);
    let of_an_app = node.ask("PUT", "/api/v1/clean/farm%2Fpond", RULE).await.is(400).json();
    assert!(of_an_app["detail"].as_str().unwrap().contains("tawi.toml of `farm`"), "{of_an_app}");
    assert_eq!(node.ask("GET", "/api/v1/clean", "").await.is(200).json(), json!([]), "nothing of them is kept");
}

#[tokio::test]
async fn who_may_look_may_see_the_rules_and_only_an_administrator_sets_them() {
    let node = Node::start().await;
    node.ask("PUT", "/api/v1/clean/pond", RULE).await.is(204);
    let (read, send) = (node.token(Role::Read), node.token(Role::Send));
    node.ask_as(&read, "GET", "/api/v1/clean/pond", &[], "").await.is(200);
    for (token, method) in [(&read, "PUT"), (&read, "DELETE"), (&send, "PUT"), (&send, "GET")] {
        node.ask_as(token, method, "/api/v1/clean/pond", &[], RULE).await.is(403);
    }
}
