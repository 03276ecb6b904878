//! Devices that send before, or without, somebody registering them, and who may send what.

use super::{Node, ids, station};
use crate::identity::Role;
use serde_json::json;

const VALUE: &str = "/devices/fridge1/sensors/temp/value";

#[tokio::test]
async fn a_guest_sends_to_what_is_public_and_makes_nothing_by_it() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    assert_eq!(node.guest("POST", VALUE, "1").await.problem(404), ("unknown-device".to_owned(), "device".to_owned()));
    node.v2(&ada, "POST", "/devices", &station("open", "public")).await.is(204);
    node.v2(&ada, "POST", "/devices", &station("closed", "private")).await.is(204);
    node.guest("POST", "/devices/open/sensors/TC1/value", "1").await.is(204);
    node.guest("POST", "/devices/closed/sensors/TC1/value", "1").await.problem(403);
    assert_eq!(node.guest("POST", "/devices/open/sensors/invented/value", "1").await.problem(404).0, "unknown-sensor");
    node.guest("POST", "/devices/open/sensors/invented/values", r#"[{"value":1}]"#).await.problem(404);
    node.v2(&ada, "POST", "/devices/open/sensors/invented/value", "1").await.is(204);
    node.guest("POST", "/devices/open/sensors/invented/value", "1").await.is(204);
    let reader = node.token(Role::Read);
    node.v2(&reader, "POST", "/devices/open/sensors/TC1/value", "1").await.problem(403);
    node.v2(&reader, "POST", VALUE, "1").await.problem(403);
    node.v2(&node.token(Role::Send), "POST", "/devices/closed/sensors/TC1/value", "2").await.is(204);
    assert_eq!(node.v2(&ada, "GET", "/devices/closed/sensors/TC1", "").await.is(200).json()["value"]["value"], 2);
}

#[tokio::test]
async fn where_guests_are_not_allowed_nobody_is_one() {
    let node = Node::with(|config| config.guests = false).await;
    node.guest("GET", "/devices", "").await.problem(401);
    node.guest("POST", VALUE, "1").await.problem(401);
    node.guest("GET", "/ontologies/units", "").await.is(200);
    node.ask("GET", "/api/v2/devices", "").await.is(200);
}

#[tokio::test]
async fn a_device_that_a_users_first_value_makes_is_hers() {
    let node = Node::start().await;
    let (ada, bob) = (node.user("ada", false).await, node.user("bob", false).await);
    node.v2(&ada, "POST", VALUE, "1").await.is(204);
    node.v2(&ada, "POST", &format!("{VALUE}s"), r#"[{"value":2},{"value":3}]"#).await.is(204);
    let device = node.v2(&ada, "GET", "/devices/fridge1", "").await.is(200).json();
    assert_eq!(
        (&device["owner"], &device["visibility"], &device["sensors"][0]["value"]["value"]),
        (&json!("ada"), &json!("private"), &json!(3))
    );
    node.v2(&bob, "POST", VALUE, "4").await.problem(403);
    node.v2(&bob, "GET", "/devices/fridge1", "").await.problem(403);
    // A body that is refused makes nothing.
    for body in ["{", r#"{"value":1,"timestamp":"2300-01-01T00:00:00Z"}"#] {
        node.v2(&bob, "POST", "/devices/fridge2/sensors/temp/value", body).await.problem(400);
    }
    node.v2(&bob, "GET", "/devices/fridge2", "").await.problem(404);
}

#[tokio::test]
async fn without_auto_register_a_user_is_told_404_as_by_the_cloud() {
    let node = Node::with(|config| config.auto_register = false).await;
    let ada = node.user("ada", false).await;
    assert_eq!(node.v2(&ada, "POST", VALUE, "1").await.problem(404).0, "unknown-device");
    node.v2(&ada, "POST", "/devices", r#"{"id":"fridge1"}"#).await.is(204);
    assert_eq!(node.v2(&ada, "POST", VALUE, "1").await.problem(404).0, "unknown-sensor");
    node.v2(&ada, "POST", "/devices/fridge1/sensors", r#"{"id":"temp"}"#).await.is(204);
    node.v2(&ada, "POST", VALUE, "1").await.is(204);
}

#[tokio::test]
async fn what_a_token_found_is_the_nodes_until_somebody_registers_it() {
    let node = Node::start().await;
    let (ada, gateway) = (node.user("ada", false).await, node.token(Role::Send));
    node.v2(&gateway, "POST", VALUE, "1").await.is(204);
    // To others it is not there.
    node.v2(&ada, "GET", "/devices/fridge1", "").await.problem(404);
    node.v2(&ada, "POST", VALUE, "9").await.problem(404);
    node.guest("POST", VALUE, "9").await.problem(404);
    assert_eq!(node.v2(&ada, "GET", "/devices", "").await.is(200).json(), json!([]));
    assert_eq!(ids(&node.ask("GET", "/api/v2/devices", "").await.is(200).json()), ["fridge1"]);
    // Nobody in particular does not take it over for everybody to see.
    node.guest("POST", "/devices", r#"{"id":"fridge1"}"#).await.problem(403);
    node.v2(&ada, "POST", "/devices", r#"{"id":"fridge1","visibility":"private"}"#).await.is(204);
    // What it said before is not hers to know; what it says from now on is.
    let device = node.v2(&ada, "GET", "/devices/fridge1", "").await.is(200).json();
    assert_eq!((ids(&device["sensors"]), device["sensors"][0].get("value")), (vec!["temp"], None));
    assert_eq!(node.v2(&ada, "GET", &format!("{VALUE}s"), "").await.is(200).json(), json!([]));
    node.v2(&gateway, "POST", VALUE, "2").await.is(204);
    let seen =
        |values: serde_json::Value| values.as_array().unwrap().iter().map(|point| point["value"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(seen(node.v2(&ada, "GET", &format!("{VALUE}s"), "").await.is(200).json()), [2]);
    assert_eq!(seen(node.v2(&ada, "GET", "/sensors_data?device_id=fridge1", "").await.is(200).json()), [2]);
    assert_eq!(seen(node.ask("GET", "/api/v2/sensors_data?device_id=fridge1", "").await.is(200).json()), [2, 1]);
    assert_eq!(node.v2(&ada, "GET", "/devices/fridge1/sensors/temp", "").await.is(200).json()["value"]["value"], 2);
}

#[tokio::test]
async fn who_takes_the_id_of_a_deleted_device_does_not_get_what_it_said() {
    let node = Node::start().await;
    let (ada, bob) = (node.user("ada", false).await, node.user("bob", false).await);
    node.v2(&ada, "POST", "/devices", &station("pond", "private")).await.is(204);
    node.v2(&ada, "POST", "/devices/pond/sensors/TC1/value", "1").await.is(204);
    node.v2(&ada, "DELETE", "/devices/pond", "").await.is(204);
    node.v2(&bob, "POST", "/devices", &station("pond", "private")).await.is(204);
    assert_eq!(node.v2(&bob, "GET", "/devices/pond/sensors/TC1/values", "").await.is(200).json(), json!([]));
    assert!(node.v2(&bob, "GET", "/devices/pond/sensors/TC1", "").await.is(200).json().get("value").is_none());
}

impl Node {
    pub async fn secret_of(&self, session: &str, device: &str) -> String {
        let made = self.v2(session, "POST", &format!("/devices/{device}/secrets"), "").await.is(201).json();
        made["secret"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_secret_of_a_device_tells_its_owner_nothing_that_she_may_not_know() {
    let node = Node::start().await;
    let (ada, gateway) = (node.user("ada", false).await, node.token(Role::Send));
    node.v2(&gateway, "POST", VALUE, "1").await.is(204);
    node.v2(&ada, "POST", "/devices", r#"{"id":"fridge1","visibility":"private"}"#).await.is(204);
    let secret = node.secret_of(&ada, "fridge1").await;
    let ask = |path: &'static str| node.as_device("fridge1", &secret, "GET", path, "");
    assert_eq!(ask("/api/v2/devices/fridge1/sensors/temp/values").await.is(200).json(), json!([]));
    assert_eq!(ask("/api/v2/sensors_data?device_id=fridge1").await.is(200).json(), json!([]));
    assert!(ask("/api/v2/devices/fridge1/sensors/temp").await.is(200).json().get("value").is_none());
    node.v2(&gateway, "POST", VALUE, "2").await.is(204);
    assert_eq!(ask("/api/v2/devices/fridge1/sensors/temp/values").await.is(200).json()[0]["value"], 2);
}

#[tokio::test]
async fn what_an_owner_made_for_a_device_and_told_it_goes_with_the_device() {
    let node = Node::start().await;
    let (ada, bob) = (node.user("ada", false).await, node.user("bob", false).await);
    node.v2(&ada, "POST", "/devices", &station("pond", "private")).await.is(204);
    let secret = node.secret_of(&ada, "pond").await;
    let code = node.v2(&ada, "POST", "/devices/pond/claim", "").await.is(201).json();
    node.put_json(&ada, "/devices/pond/actuators/Act1/value", "true").await.is(204);
    assert_eq!(node.v2(&ada, "GET", "/devices/pond/commands", "").await.is(200).json().as_array().unwrap().len(), 1);
    node.as_device("pond", &secret, "GET", "/api/v2/devices/pond", "").await.is(200);
    // Who may not delete it takes nothing away.
    node.v2(&bob, "DELETE", "/devices/pond", "").await.problem(403);
    node.as_device("pond", &secret, "GET", "/api/v2/devices/pond", "").await.is(200);
    node.v2(&ada, "DELETE", "/devices/pond", "").await.is(204);
    node.v2(&bob, "POST", "/devices", &station("pond", "private")).await.is(204);
    node.as_device("pond", &secret, "GET", "/api/v2/devices/pond", "").await.problem(401);
    let body = json!({ "code": code["code"] }).to_string();
    node.v2(&ada, "POST", "/claims", &body).await.problem(404);
    assert_eq!(node.v2(&bob, "GET", "/devices/pond/secrets", "").await.is(200).json(), json!([]));
    assert_eq!(node.v2(&bob, "GET", "/devices/pond/commands", "").await.is(200).json(), json!([]));
}

#[tokio::test]
async fn a_device_is_given_to_nobody_who_is_not_there_and_keeps_its_secrets_when_it_is_given_away() {
    let node = Node::start().await;
    let (ada, bob) = (node.user("ada", false).await, node.user("bob", false).await);
    node.v2(&ada, "POST", "/devices", &station("pond", "private")).await.is(204);
    let secret = node.secret_of(&ada, "pond").await;
    assert_eq!(node.put_text(&ada, "/devices/pond/owner", "eve").await.problem(400).1, "owner");
    node.put_text(&ada, "/devices/pond/owner", "bob").await.is(204);
    // The device in the field goes on; its new owner decides when its secret ends.
    node.as_device("pond", &secret, "GET", "/api/v2/devices/pond", "").await.is(200);
    let id = node.v2(&bob, "GET", "/devices/pond/secrets", "").await.is(200).json()[0]["id"].as_str().unwrap().to_owned();
    node.v2(&ada, "DELETE", &format!("/devices/pond/secrets/{id}"), "").await.problem(403);
    node.v2(&bob, "DELETE", &format!("/devices/pond/secrets/{id}"), "").await.is(204);
    node.as_device("pond", &secret, "GET", "/api/v2/devices/pond", "").await.problem(401);
}
