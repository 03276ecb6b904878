//! Who may do what, at the door.

use super::Node;
use crate::{identity::Role, model::Id};
use axum::body::Body;
use http::Request;

#[tokio::test]
async fn no_token_a_wrong_one_and_one_that_may_not() {
    let node = Node::start().await;
    let stranger = Request::builder().uri("/api/v1/apps").body(Body::empty()).unwrap();
    let answer = node.send(stranger).await;
    assert_eq!(answer.status(), 401);
    assert!(answer.headers().contains_key("www-authenticate"));
    assert_eq!(node.ask_as("tawi_wrong", "GET", "/api/v1/apps", &[], "").await.problem(401).0, "bad-token");

    let device = node.token(Role::Send);
    node.ask_as(&device, "POST", "/api/v1/readings", &[], r#"[{"device":"d","sensor":"s","value":1}]"#).await.is(204);
    for path in ["/api/v1/apps", "/api/v1/history", "/api/v1/subscribe?subject=a", "/api/v1/tokens", "/api/v1/backup", "/metrics"] {
        assert_eq!(node.ask_as(&device, "GET", path, &[], "").await.problem(403).0, "forbidden", "{path}");
    }
    // Nor does it see a device, the one that it sends for included.
    assert_eq!(node.ask_as(&device, "GET", "/api/v2/devices", &[], "").await.is(200).json(), serde_json::json!([]));
    node.ask_as(&device, "GET", "/api/v2/devices/d", &[], "").await.problem(404);
    let reader = node.token(Role::Read);
    node.ask_as(&reader, "GET", "/api/v1/apps", &[], "").await.is(200);
    node.ask_as(&reader, "POST", "/api/v1/readings", &[], "[]").await.problem(403);
    node.ask_as(&reader, "PUT", "/api/v1/apps/a/config/k", &[], r#"{"value":"v"}"#).await.problem(403);
}

#[tokio::test]
async fn a_deploy_token_sees_its_app_alone() {
    let node = Node::start().await;
    let token = node.token(Role::Deploy { app: Id::new("mine").unwrap() });
    node.ask_as(&token, "PUT", "/api/v1/apps/mine/config/k", &[], r#"{"value":"v"}"#).await.is(204);
    node.ask_as(&token, "GET", "/api/v1/apps/mine/releases", &[], "").await.is(200);
    node.ask_as(&token, "GET", "/api/v1/apps/other/releases", &[], "").await.problem(403);
    node.ask_as(&token, "DELETE", "/api/v1/apps/mine", &[], "").await.problem(403);
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked() {
    let node = Node::start().await;
    let made = node.ask("POST", "/api/v1/tokens", r#"{"name":"ci","role":"deploy","app":"mine"}"#).await.is(201).json();
    let secret = made["secret"].as_str().unwrap().to_owned();
    node.ask_as(&secret, "GET", "/api/v1/status", &[], "").await.is(200);
    let list = node.ask("GET", "/api/v1/tokens", "").await.is(200);
    assert!(!String::from_utf8(list.body.clone()).unwrap().contains(&secret));
    let listed = list.json();
    let mine = listed.as_array().unwrap().iter().find(|t| t["app"] == "mine").unwrap();
    assert_eq!(mine["role"], "deploy");
    assert!(mine["created"].as_str().unwrap().ends_with('Z'), "{mine}");
    let id = made["id"].as_str().unwrap();
    node.ask("DELETE", &format!("/api/v1/tokens/{id}"), "").await.is(204);
    node.ask_as(&secret, "GET", "/api/v1/status", &[], "").await.problem(401);
    node.ask("DELETE", &format!("/api/v1/tokens/{id}"), "").await.problem(404);
    assert_eq!(node.ask("POST", "/api/v1/tokens", r#"{"name":"ci","role":"deploy"}"#).await.problem(400).1, "app");
    assert_eq!(node.ask("POST", "/api/v1/tokens", r#"{"name":"ci","role":"king"}"#).await.problem(400).1, "role");
}

#[tokio::test]
async fn health_wants_no_token_and_a_wrong_turn_is_a_problem() {
    let node = Node::start().await;
    for path in ["/health/live", "/health/ready"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        assert_eq!(node.send(request).await.status(), 200, "{path}");
    }
    node.ask("GET", "/api/v1/nothing", "").await.problem(404);
    node.ask("PATCH", "/api/v1/apps", "").await.problem(405);
    assert_eq!(node.ask("GET", "/api/v1/history?form=2026-01-01", "").await.problem(400).1, "form");
}
