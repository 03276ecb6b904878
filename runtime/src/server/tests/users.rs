//! Users at the door: logging in, and what each may see and do.

use super::{Answer, Node};
use crate::model::limit::LOGIN_FAILURES_MAX;
use crate::{
    identity::Principal,
    model::{Id, Micros, id::default_tenant},
};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};

impl Node {
    /// A request of nobody in particular.
    pub async fn ask_as_guest(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
        let (head, body) = self.send(request).await.into_parts();
        Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes().to_vec() }
    }

    /// A request of a device with a secret of its own.
    pub async fn as_device(&self, device: &str, secret: &str, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header("authorization", basic(device, secret));
        let (head, body) = self.send(request.body(Body::from(body.to_owned())).unwrap()).await.into_parts();
        Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes().to_vec() }
    }

    async fn log_in(&self, name: &str, password: &str) -> Answer {
        let body = json!({ "username": name, "password": password }).to_string();
        self.ask_as_guest("POST", "/api/v2/auth/token", &body).await
    }

    /// A device of this user's.
    async fn device(&self, id: &str, owner: Option<&str>, visibility: &str) {
        let device = json!({ "id": id, "visibility": visibility, "date_created": 0, "date_modified": 0 });
        let who = match owner {
            Some(name) => Principal::User { tenant: default_tenant(), id: Id::new(name).unwrap(), admin: false },
            None => Principal::Guest { tenant: default_tenant() },
        };
        self.rooms.registry.create_device(&who, serde_json::from_value(device).unwrap(), Micros(1)).await.unwrap();
    }

    /// A user who has logged in.
    pub async fn user(&self, name: &str, admin: bool) -> String {
        let body = json!({ "username": name, "password": "correct horse", "admin": admin, "email": format!("{name}@example.com") });
        let made = self.ask("POST", "/api/v2/users", &body.to_string()).await.is(200).json();
        assert_eq!(made, name);
        text(self.log_in(name, "correct horse").await.is(200))
    }
}

/// `Basic` with a name and a password.
fn basic(name: &str, password: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let pair = format!("{name}:{password}");
    let text: String = pair
        .as_bytes()
        .chunks(3)
        .flat_map(|three| {
            let bits = three.iter().chain([&0, &0]).take(3).fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
            (0..=three.len()).map(move |nth| char::from(ALPHABET[(bits >> (18 - 6 * nth)) as usize & 63]))
        })
        .collect();
    format!("Basic {text}")
}

fn text(answer: Answer) -> String {
    String::from_utf8(answer.body).unwrap()
}

#[tokio::test]
async fn a_session_is_text_or_json_and_is_had_again_for_itself() {
    let node = Node::start().await;
    node.user("ada", false).await;
    let answer = node.log_in("ada", "correct horse").await.is(200);
    assert_eq!(answer.headers["content-type"], "text/plain;charset=utf-8");
    let session = text(answer);
    let json = [("accept", "application/json")];
    let again: Value = node.ask_as(&session, "POST", "/api/v2/auth/token", &json, "").await.is(200).json();
    let me = node.ask_as(again.as_str().unwrap(), "GET", "/api/v2/users/me", &[], "").await.is(200).json();
    assert_eq!((&me["username"], &me["email"], &me["admin"]), (&json!("ada"), &json!("ada@example.com"), &json!(false)));
    assert!(me.get("password").is_none() && me.get("generation").is_none(), "{me}");
    // As clients have it that neither parse the JSON nor know where a path ends.
    let quoted = format!("\"{session}\"");
    assert_eq!(node.ask_as(&quoted, "GET", "/api/v2/users/me/", &[], "").await.is(200).json(), me);
    assert_eq!(node.ask_as(&quoted, "GET", "/api/v2/users/", &[], "").await.is(200).json()[0]["username"], "ada");
    node.log_in("ada", "wrong horse").await.problem(401);
    node.ask_as("tawi_wrong", "POST", "/api/v2/auth/token", &[], "").await.problem(401);
    node.ask_as(&node.admin, "POST", "/api/v2/auth/token", &[], "").await.problem(401);
    assert_eq!(node.ask_as_guest("POST", "/api/v2/auth/token", r#"{"username":"ada"}"#).await.problem(400).1, "password");
    assert_eq!(node.ask_as_guest("POST", "/api/v2/auth/token", "").await.problem(400).1, "username");
}

#[tokio::test]
async fn who_guesses_passwords_is_told_to_wait() {
    let node = Node::start().await;
    node.user("ada", false).await;
    for _ in 0..LOGIN_FAILURES_MAX {
        node.log_in("ada", "wrong horse").await.problem(401);
    }
    let answer = node.log_in("ada", "wrong horse").await.is(429);
    assert!(answer.headers.contains_key("retry-after"));
    // Her own programs, which showed the right one a moment ago, are not locked out by whoever guesses.
    node.log_in("ada", "correct horse").await.is(200);
}

#[tokio::test]
async fn who_registers_has_no_role_and_sees_of_others_their_names_alone() {
    let node = Node::start().await;
    node.user("ada", false).await;
    let bob = json!({ "username": "bob", "password": "battery staple", "admin": true, "sms_credit": 1_000 }).to_string();
    node.ask_as_guest("POST", "/api/v2/users", &bob).await.is(200);
    assert_eq!(node.ask_as_guest("POST", "/api/v2/users", &bob).await.problem(422).0, "exists");
    assert_eq!(node.ask_as_guest("POST", "/api/v2/users", r#"{"username":"a/b"}"#).await.is(400).status, 400);
    assert_eq!(node.ask_as_guest("POST", "/api/v2/users", r#"{"password":"battery staple"}"#).await.problem(400).1, "username");
    let session = text(node.log_in("bob", "battery staple").await.is(200));
    let me = node.ask_as(&session, "GET", "/api/v2/users/bob", &[], "").await.is(200).json();
    assert_eq!((&me["admin"], &me["sms_credit"]), (&json!(false), &json!(0)));
    let ada = node.ask_as(&session, "GET", "/api/v2/users/ada", &[], "").await.is(200).json();
    assert_eq!(ada, json!({ "id": "ada", "username": "ada" }));
    let all = node.ask_as(&session, "GET", "/api/v2/users?limit=1&offset=1", &[], "").await.is(200).json();
    assert_eq!((all.as_array().unwrap().len(), &all[0]["username"]), (1, &json!("bob")));
    let all = node.ask("GET", "/api/v2/users?username=ad", "").await.is(200).json();
    assert_eq!((all.as_array().unwrap().len(), &all[0]["email"]), (1, &json!("ada@example.com")));
    node.ask_as_guest("GET", "/api/v2/users", "").await.problem(403);
    assert_eq!(node.ask_as_guest("GET", "/api/v2/users/me", "").await.is(200).json()["username"], "guest");
    node.ask("GET", "/api/v2/users/eve", "").await.problem(404);
}

#[tokio::test]
async fn where_guests_are_not_allowed_nobody_comes_in_without_a_name() {
    let node = Node::with(|config| config.guests = false).await;
    node.ask_as_guest("POST", "/api/v2/users", r#"{"username":"bob","password":"battery staple"}"#).await.problem(401);
    node.ask_as_guest("GET", "/api/v2/users/me", "").await.problem(401);
    let session = node.user("ada", false).await;
    node.ask_as(&session, "GET", "/api/v2/users/me", &[], "").await.is(200);
}

#[tokio::test]
async fn a_user_changes_her_password_with_the_old_one_and_an_administrator_anybodys() {
    let node = Node::start().await;
    let (ada, bob) = (node.user("ada", false).await, node.user("bob", false).await);
    let path = "/api/v2/users/ada/password";
    let change = json!({ "password": "battery staple", "old": "correct horse" }).to_string();
    node.ask_as(&bob, "PUT", path, &[], &change).await.problem(403);
    assert_eq!(node.ask_as(&ada, "PUT", path, &[], r#"{"password":"battery staple"}"#).await.problem(400).1, "old");
    node.ask_as(&ada, "PUT", path, &[], r#"{"password":"battery staple","old":"wrong horse"}"#).await.problem(401);
    node.ask_as(&ada, "PUT", path, &[], &change).await.is(204);
    node.ask_as(&ada, "GET", "/api/v2/users/me", &[], "").await.problem(401);
    node.log_in("ada", "battery staple").await.is(200);
    assert_eq!(node.ask("PUT", path, r#"{"password":"short"}"#).await.problem(400).1, "password");
    node.ask("PUT", path, r#"{"password":"once more with feeling"}"#).await.is(204);
    node.log_in("ada", "once more with feeling").await.is(200);
}

#[tokio::test]
async fn credit_and_deletion_are_an_administrators_who_may_what_an_admin_token_may() {
    let node = Node::start().await;
    let (root, ada) = (node.user("root", true).await, node.user("ada", false).await);
    node.ask_as(&ada, "PUT", "/api/v2/users/ada/sms_credit", &[], "100").await.problem(403);
    node.ask_as(&root, "PUT", "/api/v2/users/ada/sms_credit", &[], "100").await.is(204);
    node.ask_as(&root, "PUT", "/api/v2/users/ada/sms_credit", &[], "\"many\"").await.problem(400);
    assert_eq!(node.ask_as(&ada, "GET", "/api/v2/users/me", &[], "").await.is(200).json()["sms_credit"], 100);
    node.ask_as(&ada, "DELETE", "/api/v2/users/root", &[], "").await.problem(403);
    node.ask_as(&root, "DELETE", "/api/v2/users/root", &[], "").await.problem(409);

    node.ask_as(&root, "GET", "/api/v1/tokens", &[], "").await.is(200);
    assert_eq!(node.ask_as(&ada, "GET", "/api/v1/tokens", &[], "").await.problem(403).0, "forbidden");
    node.ask_as_guest("GET", "/api/v1/tokens", "").await.problem(401);
    // printf 'root:correct horse' | base64
    let request = Request::builder().uri("/api/v1/apps").header("authorization", "Basic cm9vdDpjb3JyZWN0IGhvcnNl");
    assert_eq!(node.send(request.body(Body::empty()).unwrap()).await.status(), 200);

    node.ask_as(&ada, "DELETE", "/api/v2/users/ada", &[], "").await.is(204);
    node.ask_as(&ada, "GET", "/api/v2/users/me", &[], "").await.problem(401);
    let ada = json!({ "username": "ada", "password": "correct horse" }).to_string();
    assert_eq!(node.ask_as_guest("POST", "/api/v2/users", &ada).await.problem(422).0, "exists");
}

#[tokio::test]
async fn a_stream_ends_with_the_user_who_asked_for_it() {
    let node = Node::start().await;
    node.user("other", true).await;
    let root = node.user("root", true).await;
    let request = Request::builder().uri("/api/v1/subscribe?subject=alerts").header("authorization", format!("Bearer {root}"));
    let answer = node.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status(), 200);
    let (identify, stop) = (node.rooms.identify.clone(), node.rooms.stopping.clone());
    let follows = tokio::spawn(async move { identify.run(stop).await });
    node.ask("DELETE", "/api/v2/users/root", "").await.is(204);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 0);
    node.rooms.stopping.cancel();
    follows.await.unwrap();
}

#[tokio::test]
async fn permissions_are_listed_for_what_somebody_sees() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    node.device("open", Some("ada"), "public").await;
    node.device("closed", Some("ada"), "private").await;
    let path = "/api/v2/auth/permissions/devices";
    let guest = node.ask_as_guest("GET", path, "").await.is(200).json();
    let scopes = ["devices:create", "devices:view", "devices-data:create", "devices-data:view"];
    assert_eq!(guest, json!([{ "resource": "open", "scopes": scopes }]));
    let hers = node.ask_as(&ada, "GET", path, &[], "").await.is(200).json();
    let resources: Vec<_> =
        hers.as_array().unwrap().iter().map(|perm| (&perm["resource"], perm["scopes"].as_array().unwrap().len())).collect();
    assert_eq!(resources, [(&json!("closed"), 6), (&json!("open"), 6)]);
    let second = node.ask_as(&ada, "GET", &format!("{path}?limit=1&offset=1"), &[], "").await.is(200).json();
    assert_eq!((second.as_array().unwrap().len(), &second[0]["resource"]), (1, &json!("open")));
    for kind in ["gateways", "projects"] {
        assert_eq!(node.ask_as_guest("GET", &format!("/api/v2/auth/permissions/{kind}"), "").await.is(200).json(), json!([]));
    }
    node.ask_as_guest("GET", "/api/v2/auth/permissions/users", "").await.problem(404);
}

#[tokio::test]
async fn an_owner_gives_her_device_a_secret_and_takes_it_away() {
    let node = Node::start().await;
    let (ada, bob) = (node.user("ada", false).await, node.user("bob", false).await);
    node.device("pump", Some("ada"), "public").await;
    let path = "/api/v2/devices/pump/secrets";
    let made = node.ask_as(&ada, "POST", path, &[], "").await.is(201).json();
    let (id, text) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let listed = node.ask_as(&ada, "GET", path, &[], "").await.is(200);
    assert!(!String::from_utf8_lossy(&listed.body).contains(text));
    assert_eq!(listed.json()[0]["id"], id);
    for (method, path) in [("GET", path.to_owned()), ("POST", path.to_owned()), ("DELETE", format!("{path}/{id}"))] {
        node.ask_as(&bob, method, &path, &[], "").await.problem(403);
    }
    node.ask_as(&ada, "POST", "/api/v2/devices/nothing/secrets", &[], "").await.problem(404);
    let pump = crate::identity::Shown::Pair { name: "pump", password: text };
    assert!(node.rooms.identify.who(pump, crate::clock::now()).await.is_ok());
    node.ask_as(&ada, "DELETE", &format!("{path}/{id}"), &[], "").await.is(204);
    node.ask_as(&ada, "DELETE", &format!("{path}/{id}"), &[], "").await.problem(404);
    assert!(node.rooms.identify.who(pump, crate::clock::now()).await.is_err());
}

#[tokio::test]
async fn who_holds_the_code_of_a_device_makes_it_hers_once() {
    let node = Node::start().await;
    let (ada, bob) = (node.user("ada", false).await, node.user("bob", false).await);
    // Nobody registered it: it was heard.
    node.ask("POST", "/api/v2/devices/pump/sensors/flow/value", "1").await.is(204);
    node.ask("GET", "/api/v2/devices/pump", "").await.is(200);
    node.ask_as(&ada, "POST", "/api/v2/devices/pump/claim", &[], "").await.problem(404);
    let code = node.ask("POST", "/api/v2/devices/pump/claim", "").await.is(201).json();
    let body = json!({ "code": code["code"] }).to_string();
    node.ask_as_guest("POST", "/api/v2/claims", &body).await.problem(403);
    node.ask_as(&ada, "POST", "/api/v2/claims", &[], r#"{"code":"AAAAA-AAAAA-AAA"}"#).await.problem(404);
    assert_eq!(node.ask_as(&ada, "POST", "/api/v2/claims", &[], &body).await.is(200).json()["device"], "pump");
    let owner = || node.rooms.registry.owned(&Id::new("pump").unwrap()).unwrap().owner.map(|id| id.to_string());
    assert_eq!(owner().as_deref(), Some("ada"));
    node.ask_as(&bob, "POST", "/api/v2/claims", &[], &body).await.problem(404);
    node.ask_as(&ada, "POST", "/api/v2/claims", &[], &body).await.problem(404);

    // A code that ada made before she gave the device away does not bring it back.
    let old = node.ask_as(&ada, "POST", "/api/v2/devices/pump/claim", &[], "").await.is(201).json();
    let root = Principal::User { tenant: default_tenant(), id: Id::new("root").unwrap(), admin: true };
    let give = |device: &mut crate::model::Device| {
        device.owned.owner = Some(Id::new("bob").unwrap());
        Ok(())
    };
    node.rooms.registry.update_device(&root, &Id::new("pump").unwrap(), Micros(2), give).await.unwrap();
    let body = json!({ "code": old["code"] }).to_string();
    node.ask_as(&ada, "POST", "/api/v2/claims", &[], &body).await.problem(400);
    assert_eq!(owner().as_deref(), Some("bob"));
}
