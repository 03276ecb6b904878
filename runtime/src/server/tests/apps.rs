//! Apps, releases, settings, state and dead letters.

use super::Node;
use crate::{
    deploy::Draft,
    identity::Role,
    ledger::{Commit, DeadLetter, Op},
    model::{AppId, Digest, FunctionId, Id, Manifest, Micros, NewEvent, Seq, Value, Write, id::default_tenant},
};
use bytes::Bytes;
use std::{ops::RangeInclusive, time::Duration};
use tokio_util::sync::CancellationToken;

const MANIFEST: &str = "[app]\nname = \"fridge\"\n[[on]]\nname = \"warm\"\nsubject = \"reading.*.temp\"\n[config]\nlimit = \"8\"\n";

/// A release that loads, of a component that is never called here.
pub fn release(node: &Node, summary: &str) {
    release_of(node, summary, "");
}

fn release_of(node: &Node, summary: &str, more: &str) {
    let component = wat::parse_str(format!(
        "(component (core module $m (func (export \"handle\")) (func (export \"{summary}\")) {more}) (core instance $i (instantiate $m))
           (func $h (canon lift (core func $i \"handle\"))) (instance $e (export \"handle\" (func $h)))
           (export \"tawi:app/event-handler@0.1.0\" (instance $e)))"
    ));
    let artifact = node.rooms.store.put_artifact(&component.unwrap()).unwrap();
    let (manifest, commit) = (Manifest::parse(MANIFEST).unwrap(), Digest::of(summary.as_bytes()).hex()[..40].to_owned());
    let draft = Draft { artifact, manifest, commit, summary: summary.into(), created: Micros(1), rollback_of: None };
    node.rooms.store.add_release(&node.app("fridge"), draft).unwrap();
}

/// A commit that leaves state and a dead letter behind.
async fn trouble(node: &Node) -> FunctionId {
    let id = |text| Id::new(text).unwrap();
    let app = AppId::new(default_tenant(), id("fridge"));
    let function = FunctionId { app: app.clone(), function: id("warm") };
    node.ask("POST", "/api/v2/devices/d/sensors/temp/value", "9").await.is(204);
    node.rooms.ledger.apply(Op::Register { function: function.clone(), start: 0 }).await.unwrap();
    let write = |key: &str, value: &'static [u8]| Write { key: key.into(), value: Some(Bytes::from_static(value)) };
    let writes = vec![write("count/d", b"3"), write("note", b"plain"), write("raw", &[0xff])];
    let commit = Commit { writes, ..died(&function, 1..=1) };
    node.rooms.ledger.apply(Op::Commit(commit)).await.unwrap();
    function
}

/// A commit after which a function has given up on these events.
fn died(function: &FunctionId, seqs: RangeInclusive<Seq>) -> Commit {
    let id = |text| Id::new(text).unwrap();
    let letter = |seq| DeadLetter {
        function: function.clone(),
        seq,
        event: NewEvent::reading(&default_tenant(), &id("d"), &id("temp"), Micros(5), Micros(6), Value::Json("9".into())),
        attempts: 5,
        error: "trapped".into(),
        log_tail: vec!["before the end".into()],
        time: Micros(7),
        release: 1,
    };
    Commit {
        app: function.app.clone(),
        base: Some(0),
        done: vec![],
        writes: vec![],
        events: vec![],
        park: vec![],
        unpark: vec![],
        dead: seqs.map(letter).collect(),
        dedup: None,
    }
}

#[tokio::test]
async fn releases_are_listed_and_a_rollback_makes_a_new_one() {
    let node = Node::start().await;
    node.ask("GET", "/api/v1/apps/fridge/releases", "").await.problem(404);
    release(&node, "v1");
    node.ask("POST", "/api/v1/apps/fridge/rollback", "").await.problem(409);
    release(&node, "v2");
    let _running = reconcile(&node);
    let back = node.ask("POST", "/api/v1/apps/fridge/rollback", "{}").await.is(200).json();
    assert_eq!((back["number"].as_u64(), back["rollback_of"].as_u64()), (Some(3), Some(1)));
    let releases = node.ask("GET", "/api/v1/apps/fridge/releases", "").await.is(200).json();
    assert_eq!((&releases[0]["live"], &releases[1]["live"]), (&true.into(), &false.into()), "live once it says so");
    assert_eq!((&releases[0]["summary"], &releases[0]["current"], &releases[1]["current"]), (&"v1".into(), &true.into(), &false.into()));
    node.ask("POST", "/api/v1/apps/fridge/rollback", r#"{"to":9}"#).await.problem(404);
    node.ask("POST", "/api/v1/apps/fridge/rollback", r#"{"two":1}"#).await.problem(400);
    let apps = node.ask("GET", "/api/v1/apps", "").await.is(200).json();
    assert_eq!((&apps[0]["app"], &apps[0]["release"], &apps[0]["url"]), (&"fridge".into(), &3.into(), &"http://node/run/fridge/".into()));
    let functions = node.ask("GET", "/api/v1/apps/fridge/functions", "").await.is(200).json();
    assert_eq!(functions[0]["trigger"], "reading.*.temp, in order per device");
}

/// Follows the releases until it is dropped.
fn reconcile(node: &Node) -> tokio_util::sync::DropGuard {
    let (reconciler, stop) = (node.rooms.reconciler.clone(), CancellationToken::new());
    let stopped = stop.clone();
    tokio::spawn(async move { reconciler.run(stopped).await });
    stop.drop_guard()
}

#[tokio::test]
async fn a_rollback_to_what_does_not_start_says_why_and_what_serves() {
    let node = Node::start().await;
    release_of(&node, "broken", "(func $s unreachable) (start $s)");
    release(&node, "good");
    let _running = reconcile(&node);
    node.rooms.reconciler.wait_live(&node.app("fridge"), 2, Duration::from_secs(60)).await.unwrap();
    let answer = node.ask("POST", "/api/v1/apps/fridge/rollback", "").await.is(409).json();
    assert!(answer["type"].as_str().unwrap().ends_with("not-live"), "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("unreachable"), "{answer}");
    let apps = node.ask("GET", "/api/v1/apps", "").await.is(200).json();
    assert_eq!((&apps[0]["release"], &apps[0]["live"]), (&3.into(), &2.into()));
    assert!(apps[0]["failing"].as_str().unwrap().contains("unreachable"), "{apps}");
    let releases = node.ask("GET", "/api/v1/apps/fridge/releases", "").await.is(200).json();
    let of = |n: usize| (releases[n]["current"].as_bool().unwrap(), releases[n]["live"].as_bool().unwrap());
    assert_eq!((of(0), of(1), of(2)), ((true, false), (false, true), (false, false)));
}

#[tokio::test]
async fn settings_go_over_the_manifest_and_secrets_never_come_out() {
    let node = Node::start().await;
    release(&node, "v1");
    node.ask("PUT", "/api/v1/apps/fridge/config/limit", r#"{"value":"9"}"#).await.is(204);
    let config = node.ask("GET", "/api/v1/apps/fridge/config", "").await.is(200).json();
    assert_eq!(config, serde_json::json!([{"key": "limit", "value": "9", "source": "set"}]));
    node.ask("DELETE", "/api/v1/apps/fridge/config/limit", "").await.is(204);
    let config = node.ask("GET", "/api/v1/apps/fridge/config", "").await.is(200).json();
    assert_eq!(config, serde_json::json!([{"key": "limit", "value": "8", "source": "manifest"}]));
    node.ask("PUT", "/api/v1/apps/fridge/secrets/sms-key", r#"{"value":"hush"}"#).await.is(204);
    let secrets = node.ask("GET", "/api/v1/apps/fridge/secrets", "").await.is(200);
    assert_eq!(secrets.json(), serde_json::json!([{"key": "sms-key"}]));
    node.ask("PUT", "/api/v1/apps/Fridge/config/limit", r#"{"value":"9"}"#).await.problem(400);
    node.ask("PUT", "/api/v1/apps/fridge/config/limit", r#"{"value":9}"#).await.problem(400);
}

#[tokio::test]
async fn state_is_shown_by_key_and_in_pages() {
    let node = Node::start().await;
    trouble(&node).await;
    let entry = node.ask("GET", "/api/v1/apps/fridge/state/count/d", "").await.is(200).json();
    assert_eq!(entry, serde_json::json!({"key": "count/d", "encoding": "json", "value": 3}));
    let page = node.ask("GET", "/api/v1/apps/fridge/state?limit=2&after=count/d", "").await.is(200).json();
    assert_eq!((&page[0]["value"], &page[1]["value"]), (&"plain".into(), &"ff".into()));
    assert_eq!(node.ask("GET", "/api/v1/apps/fridge/state/none", "").await.problem(404).0, "unknown-key");
}

#[tokio::test]
async fn a_dead_letter_is_shown_whole_replayed_and_dropped() {
    let node = Node::start().await;
    trouble(&node).await;
    let list = node.ask("GET", "/api/v1/dead?app=fridge", "").await.is(200).json();
    assert_eq!((&list[0]["function"], &list[0]["sequence"], &list[0]["error"]), (&"warm".into(), &1.into(), &"trapped".into()));
    let letter = node.ask("GET", "/api/v1/apps/fridge/dead/warm/1", "").await.is(200).json();
    assert_eq!((&letter["event"]["value"], &letter["log_tail"][0]), (&9.into(), &"before the end".into()));
    node.ask("POST", "/api/v1/apps/fridge/dead/warm/1/replay", "").await.is(204);
    node.ask("POST", "/api/v1/apps/fridge/dead/warm/1/replay", "").await.problem(404);
    node.ask("DELETE", "/api/v1/apps/fridge/dead/warm/1", "").await.problem(404);
    assert_eq!(node.ask("GET", "/api/v1/dead", "").await.is(200).json(), serde_json::json!([]));
}

#[tokio::test]
async fn dead_letters_have_pages_and_only_those_of_the_tenant_fill_them() {
    let node = Node::start().await;
    let id = |text| Id::new(text).unwrap();
    // Before ours in the order of the ledger, and more than are read at a time.
    for (tenant, app, count) in [("else", "fridge", 300), ("main", "fridge", 3), ("main", "pond", 2), ("other", "pond", 2)] {
        let function = FunctionId { app: AppId::new(id(tenant), id(app)), function: id("warm") };
        node.rooms.ledger.apply(Op::Register { function: function.clone(), start: 0 }).await.unwrap();
        node.rooms.ledger.apply(Op::Commit(died(&function, 1..=count))).await.unwrap();
    }
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = node.ask("GET", &format!("/api/v1/dead?limit=2{after}"), "").await.is(200).json();
        let page: Vec<String> =
            page.as_array().unwrap().iter().map(|l| format!("{}/{}/{}", l["app"], l["function"], l["sequence"]).replace('"', "")).collect();
        let Some(last) = page.last() else { break };
        after = format!("&after={last}");
        found.extend(page);
    }
    assert_eq!(found, ["fridge/warm/1", "fridge/warm/2", "fridge/warm/3", "pond/warm/1", "pond/warm/2"]);
    let rest = node.ask("GET", "/api/v1/dead?app=fridge&after=fridge/warm/2", "").await.is(200).json();
    assert_eq!(rest.as_array().unwrap().len(), 1);
    assert_eq!(node.ask("GET", "/api/v1/dead?after=fridge", "").await.problem(400).1, "after");
}

#[tokio::test]
async fn a_deleted_app_leaves_nothing_and_a_delete_that_broke_off_can_be_repeated() {
    let node = Node::start().await;
    node.ask("DELETE", "/api/v1/apps/fridge", "").await.problem(404);
    release(&node, "v1");
    let function = trouble(&node).await;
    // As if the node had stopped after the first step.
    node.rooms.store.delete_app(&function.app).unwrap();
    node.ask("DELETE", "/api/v1/apps/fridge", "").await.is(204);
    assert_eq!(node.rooms.ledger.state(&function.app, "count/d").unwrap(), None);
    assert_eq!(node.rooms.ledger.dead_count().unwrap(), 0);
    node.ask("DELETE", "/api/v1/apps/fridge", "").await.problem(404);
}

/// What was first to go would be missed at the repeat: nobody would know of a source without an app.
#[tokio::test]
async fn an_app_whose_source_stays_is_not_deleted() {
    let node = Node::start().await;
    release(&node, "v1");
    let function = trouble(&node).await;
    let stuck = node.dir.path().join(super::STUCK);
    std::fs::write(&stuck, "").unwrap();
    node.ask("DELETE", "/api/v1/apps/fridge", "").await.problem(500);
    assert_eq!(node.rooms.store.apps(), std::slice::from_ref(&function.app));
    assert_eq!(node.rooms.ledger.dead_count().unwrap(), 1);
    std::fs::remove_file(&stuck).unwrap();
    node.ask("DELETE", "/api/v1/apps/fridge", "").await.is(204);
    assert!(node.rooms.store.apps().is_empty());
}

#[tokio::test]
async fn a_redeploy_says_what_it_does_and_how_it_ends() {
    let node = Node::start().await;
    node.ask("POST", "/api/v1/apps/fridge/redeploy", "").await.problem(404);
    release(&node, "v1");
    let answer = node.ask("POST", "/api/v1/apps/fridge/redeploy", "").await.is(200);
    assert_eq!(String::from_utf8(answer.body).unwrap(), "{\"line\":\"building\"}\n{\"error\":\"no source\"}\n");
}

#[tokio::test]
async fn an_administrator_gives_an_app_to_a_user_and_takes_it_back() {
    let node = Node::start().await;
    let ada = node.user("ada", false).await;
    let (path, owner) = ("/api/v1/apps/pumps/owner", || node.rooms.registry.app_owner(&Id::new("pumps").unwrap()).map(|id| id.to_string()));
    // Before there is an app of this name: the first release is hers already.
    node.ask("PUT", path, r#"{"owner":"ada"}"#).await.is(204);
    assert_eq!(owner().as_deref(), Some("ada"));
    assert_eq!(node.ask("PUT", path, r#"{"owner":"eve"}"#).await.problem(400).1, "owner");
    node.ask("PUT", path, r#"{"owned":"ada"}"#).await.problem(400);
    node.ask_as(&ada, "PUT", path, &[], r#"{"owner":null}"#).await.problem(403);
    let deploys = node.token(Role::Deploy { app: Id::new("pumps").unwrap() });
    node.ask_as(&deploys, "PUT", path, &[], r#"{"owner":null}"#).await.problem(403);
    node.ask("PUT", "/api/v1/apps/pumps/config/k", r#"{"value":"v"}"#).await.is(204);
    assert_eq!(node.ask("GET", "/api/v1/apps/pumps", "").await.is(200).json()["owner"], "ada");
    node.ask("PUT", path, r#"{"owner":null}"#).await.is(204);
    assert_eq!((owner(), node.ask("GET", "/api/v1/apps/pumps", "").await.is(200).json()["owner"].is_null()), (None, true));
    node.ask("PUT", path, r#"{"owner":"ada"}"#).await.is(204);
    node.ask("DELETE", "/api/v1/apps/pumps", "").await.is(204);
    assert_eq!(owner(), None);
}
