//! Gateways, what is behind them, and whether they live.

use super::{Node, ids, station};
use crate::{
    identity::Principal,
    model::{Id, Micros, id::default_tenant},
    records::{Changes, Records, RecordsError, Space},
};
use serde_json::json;

#[tokio::test]
async fn a_gateway_is_registered_says_that_it_lives_and_is_deleted() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    node.v2(&ada, "POST", "/gateways", r#"{"id":"MyGW","name":"Barn","visibility":"public"}"#).await.is(204);
    node.v2(&ada, "POST", "/gateways", r#"{"id":"MyGW"}"#).await.problem(422);
    let gateway = node.guest("GET", "/gateways/MyGW", "").await.is(200).json();
    assert_eq!((&gateway["owner"], &gateway["connected"], &gateway["heartbeat"]), (&json!("ada"), &json!(false), &json!(null)));
    assert!(gateway.get("devices").is_none());
    let line = Principal::User { tenant: default_tenant(), id: Id::new("ada").unwrap(), admin: false };
    node.rooms.connected.came(&line, "MyGW");
    assert_eq!(node.guest("GET", "/gateways/MyGW", "").await.is(200).json()["connected"], true);
    node.rooms.connected.went(&line, "MyGW");
    assert_eq!(node.guest("GET", "/gateways/MyGW", "").await.is(200).json()["connected"], false);
    node.guest("PUT", "/gateways/MyGW/heartbeat", "").await.problem(403);
    node.v2(&ada, "PUT", "/gateways/MyGW/heartbeat", "").await.is(204);
    let gateway = node.guest("GET", "/gateways/MyGW", "").await.is(200).json();
    assert!(gateway["connected"] == true && gateway["heartbeat"].as_str().unwrap().ends_with('Z'), "{gateway}");
    node.put_text(&ada, "/gateways/MyGW/name", "Stable").await.is(204);
    node.put_json(&ada, "/gateways/MyGW/location", r#"{"latitude":1,"longitude":2}"#).await.is(204);
    let gateway = node.guest("GET", "/gateways/MyGW", "").await.is(200).json();
    assert_eq!((&gateway["name"], &gateway["location"]["longitude"]), (&json!("Stable"), &json!(2.0)));
    let (kind, _) = node.v2(&ada, "GET", "/gateways/MyGW/vpn", "").await.problem(404);
    assert_eq!(kind, "no-vpn");
    node.put_text(&ada, "/gateways/MyGW/owner", "nobody").await.problem(400);
    node.v2(&ada, "DELETE", "/gateways/MyGW", "").await.is(204);
    node.v2(&ada, "PUT", "/gateways/MyGW/heartbeat", "").await.problem(404);
}

#[tokio::test]
async fn a_full_gateway_shows_the_devices_behind_it_that_its_reader_may_see() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    for id in ["MyGW", "OtherGW"] {
        node.v2(&ada, "POST", "/gateways", &json!({ "id": id }).to_string()).await.is(204);
    }
    for (id, visibility) in [("d2", "public"), ("d1", "public"), ("d3", "private")] {
        node.v2(&ada, "POST", "/devices", &station(id, visibility)).await.is(204);
    }
    node.v2(&ada, "POST", "/devices/d1/sensors/TC1/value", "7").await.is(204);
    let full = node.guest("GET", "/gateways?full=true", "").await.is(200).json();
    assert_eq!(ids(&full), ["MyGW", "OtherGW"]);
    assert_eq!((ids(&full[0]["devices"]), ids(&full[1]["devices"])), (vec!["d1", "d2"], vec![]));
    assert_eq!(full[0]["devices"][0]["sensors"][0]["value"]["value"], 7);
    let one = node.v2(&ada, "GET", "/gateways/MyGW?full", "").await.is(200).json();
    assert_eq!(ids(&one["devices"]), ["d1", "d2", "d3"]);
    let short = node.guest("GET", "/gateways?limit=1&offset=1", "").await.is(200).json();
    assert!(ids(&short) == ["OtherGW"] && short[0].get("devices").is_none());
}

#[tokio::test]
async fn a_private_gateway_is_its_owners() {
    let node = Node::start().await;
    let (ada, bob) = (node.user("ada", false).await, node.user("bob", false).await);
    node.v2(&ada, "POST", "/gateways", r#"{"id":"MyGW","visibility":"private"}"#).await.is(204);
    node.v2(&bob, "GET", "/gateways/MyGW", "").await.problem(403);
    node.v2(&bob, "GET", "/gateways/MyGW/vpn", "").await.problem(403);
    assert_eq!(node.v2(&bob, "GET", "/gateways", "").await.is(200).json(), json!([]));
    node.put_text(&ada, "/gateways/MyGW/owner", "bob").await.is(204);
    node.v2(&ada, "GET", "/gateways/MyGW", "").await.problem(403);
    node.v2(&bob, "GET", "/gateways/MyGW", "").await.is(200);
}

#[tokio::test]
async fn a_full_answer_has_so_many_devices() {
    let node = Node::start().await;
    let ids: Vec<String> = (0..1_001).map(|n| format!("d{n:04}")).collect();
    node.ask("POST", "/api/v2/gateways", r#"{"id":"MyGW"}"#).await.is(204);
    let records = Records::new(node.rooms.ledger.clone(), &default_tenant(), Space::Devices);
    for some in ids.chunks(500) {
        let put = |changes: &mut Changes| {
            some.iter().try_for_each(|id| {
                let device = json!({ "id": id, "gateway_id": "MyGW", "visibility": "public", "date_created": 0, "date_modified": 0 });
                changes.put(format!("d:{id}"), &device)
            })
        };
        records.change::<(), RecordsError>(Micros(1), put).await.unwrap();
    }
    node.ask("POST", "/api/v2/projects", &json!({ "id": "all", "device_ids": ids }).to_string()).await.is(204);
    for path in ["/gateways?full=true", "/gateways/MyGW?full=true", "/projects?full=true", "/projects/all?full=true"] {
        assert_eq!(node.ask("GET", &format!("/api/v2{path}"), "").await.problem(400).1, "full", "{path}");
    }
    node.ask("DELETE", "/api/v2/devices/d0000", "").await.is(204);
    for path in ["/gateways/MyGW?full=true", "/projects/all?full=true"] {
        let full = node.ask("GET", &format!("/api/v2{path}"), "").await.is(200).json();
        assert_eq!(full["devices"].as_array().unwrap().len(), 1_000, "{path}");
    }
}
