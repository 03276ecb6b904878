//! Projects.

use super::{Node, ids, station};
use serde_json::json;

#[tokio::test]
async fn a_project_holds_devices_and_gateways() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    node.v2(&ada, "POST", "/devices", &station("d1", "public")).await.is(204);
    node.v2(&ada, "POST", "/devices", &station("d2", "private")).await.is(204);
    node.v2(&ada, "POST", "/gateways", r#"{"id":"MyGW"}"#).await.is(204);
    node.v2(&ada, "POST", "/projects", r#"{"id":"farm","name":"The farm","device_ids":["d1"]}"#).await.is(204);
    node.v2(&ada, "POST", "/projects", r#"{"id":"farm"}"#).await.problem(422);
    node.put_json(&ada, "/projects/farm/device_ids", r#"["d1","d2","gone"]"#).await.is(204);
    node.put_json(&ada, "/projects/farm/gateway_ids", r#"["MyGW"]"#).await.is(204);
    node.put_text(&ada, "/projects/farm/name", "Our farm").await.is(204);
    let project = node.guest("GET", "/projects/farm", "").await.is(200).json();
    assert_eq!(
        (&project["name"], &project["owner"], &project["device_ids"]),
        (&json!("Our farm"), &json!("ada"), &json!(["d1", "d2", "gone"]))
    );
    assert!(project.get("devices").is_none());
    let full = node.guest("GET", "/projects/farm?full=true", "").await.is(200).json();
    assert_eq!((ids(&full["devices"]), ids(&full["gateways"])), (vec!["d1"], vec!["MyGW"]));
    let full = node.v2(&ada, "GET", "/projects?full=true", "").await.is(200).json();
    assert_eq!(ids(&full[0]["devices"]), ["d1", "d2"]);
    node.put_json(&ada, "/projects/farm/device_ids", r#"["a b"]"#).await.problem(400);
    node.guest("DELETE", "/projects/farm", "").await.problem(403);
    node.v2(&ada, "DELETE", "/projects/farm", "").await.is(204);
    node.v2(&ada, "GET", "/projects/farm", "").await.problem(404);
    node.v2(&ada, "GET", "/devices/d1", "").await.is(200);
}
