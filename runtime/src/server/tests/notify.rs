//! Notifications and messages at the door.

use super::{Answer, Node};
use crate::identity::Role;
use serde_json::json;

const NOTIFICATIONS: &str = "/api/v2/notifications";

fn wish(expression: &str) -> String {
    let action = json!({ "type": "SocialAction", "value": { "usernames": ["ada"], "channels": ["log"], "message": "Waziup: temperature is ${TC1}" } });
    let condition = json!({ "devices": ["MyDevice"], "sensors": ["TC1"], "expression": expression });
    json!({ "description": "Test", "condition": condition, "action": action, "throttling": 120, "expires": "2100-10-13T14:51:22Z" })
        .to_string()
}

fn text(answer: Answer) -> String {
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    String::from_utf8(answer.body).unwrap()
}

#[tokio::test]
async fn a_notification_is_made_shown_changed_and_deleted_as_waziup_has_it() {
    let node = Node::start().await;
    let id = text(node.ask("POST", NOTIFICATIONS, &wish("TC1>40")).await.is(200));
    let one = format!("{NOTIFICATIONS}/{id}");
    let shown = node.ask("GET", &one, "").await.is(200).json();
    assert_eq!((&shown["condition"]["expression"], &shown["throttling"], &shown["times_sent"]), (&json!("TC1>40"), &json!(120), &json!(0)));
    assert_eq!((&shown["expires"], &shown["status"]), (&json!("2100-10-13T14:51:22Z"), &json!("active")));
    assert_eq!(node.ask("GET", NOTIFICATIONS, "").await.is(200).json()[0]["id"], id.as_str());
    // What a client had back, it may send back.
    node.ask("PATCH", &one, &shown.to_string()).await.is(204);
    node.ask("PATCH", &one, r#"{"throttling":60}"#).await.is(204);
    for (body, status) in [("inactive", "inactive"), (r#""active""#, "active")] {
        node.ask("PUT", &format!("{one}/status"), body).await.is(204);
        assert_eq!(node.ask("GET", &one, "").await.is(200).json()["status"], status);
    }
    assert_eq!(node.ask("GET", &one, "").await.is(200).json()["throttling"], 60);
    assert_eq!(node.ask("PUT", &format!("{one}/status"), "asleep").await.problem(400).1, "status");
    node.ask("DELETE", &one, "").await.is(204);
    assert_eq!(node.ask("GET", &one, "").await.problem(404).0, "unknown-notification");
}

#[tokio::test]
async fn a_condition_that_can_not_be_read_is_refused_with_its_place() {
    let node = Node::start().await;
    let answer = node.ask("POST", NOTIFICATIONS, &wish("TC1 > 40 &&")).await.is(400);
    assert_eq!(answer.json()["detail"], "`condition.expression`: at character 12: the expression ends too early");
    assert_eq!(answer.problem(400).1, "condition.expression");
    for wrong in ["{}", "[]", "{\"condition\":1}", &wish("TC1>40").replace("SocialAction", "Dance")] {
        node.ask("POST", NOTIFICATIONS, wrong).await.problem(400);
    }
    assert_eq!(node.ask("GET", NOTIFICATIONS, "").await.is(200).json(), json!([]));
}

#[tokio::test]
async fn a_notification_is_its_owners_and_administrators() {
    let node = Node::start().await;
    let (ada, bob) = (node.user("ada", false).await, node.user("bob", false).await);
    let id = text(node.ask_as(&ada, "POST", NOTIFICATIONS, &[], &wish("TC1>40")).await.is(200));
    let one = format!("{NOTIFICATIONS}/{id}");
    assert_eq!(node.ask("GET", &one, "").await.is(200).json()["owner"], "ada");
    assert_eq!(node.ask_as(&bob, "GET", NOTIFICATIONS, &[], "").await.is(200).json(), json!([]));
    for (method, path, body) in
        [("GET", one.clone(), ""), ("PATCH", one.clone(), "{}"), ("DELETE", one.clone(), ""), ("PUT", format!("{one}/status"), "inactive")]
    {
        node.ask_as(&bob, method, &path, &[], body).await.problem(404);
    }
    let reader = node.token(Role::Read);
    node.ask_as(&reader, "POST", NOTIFICATIONS, &[], &wish("TC1>40")).await.problem(403);
    assert_eq!(node.ask_as_guest("POST", NOTIFICATIONS, &wish("TC1>40")).await.status, 403);
    node.ask_as(&ada, "DELETE", &one, &[], "").await.is(204);
}

#[tokio::test]
async fn a_message_is_sent_to_one_or_to_many_and_kept_for_who_sent_it() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    let letter = json!({ "username": "bob", "channel": "log", "message": "hello" }).to_string();
    let id = text(node.ask_as(&ada, "POST", "/api/v2/socials", &[], &letter).await.is(200));
    let batch = json!({ "usernames": ["ada", "bob"], "channels": ["log", "twitter"], "message": "all" }).to_string();
    node.ask_as(&ada, "POST", "/api/v2/socials/batch", &[], &batch).await.is(204);
    assert_eq!(node.ask_as(&ada, "POST", "/api/v2/socials", &[], &batch).await.problem(400).1, "channel");
    assert_eq!(node.ask_as(&ada, "GET", "/api/v2/socials?limit=10", &[], "").await.is(200).json().as_array().unwrap().len(), 5);
    let shown = node.ask_as(&ada, "GET", &format!("/api/v2/socials/{id}"), &[], "").await.is(200).json();
    assert_eq!((&shown["message"], &shown["status"]), (&json!("hello"), &json!("pending")));
    let bob = node.user("bob", false).await;
    node.ask_as(&bob, "GET", &format!("/api/v2/socials/{id}"), &[], "").await.problem(404);
    node.ask_as(&ada, "DELETE", &format!("/api/v2/socials/{id}"), &[], "").await.is(204);
    node.ask_as(&ada, "GET", &format!("/api/v2/socials/{id}"), &[], "").await.problem(404);
}
