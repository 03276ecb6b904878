//! How calls went, and an event of the past run again: a real function behind the API.

use super::Node;
use crate::{
    deploy::Draft,
    ledger::{Append, Op, Outcome},
    model::{Digest, Id, Kind, Manifest, Micros, NewEvent, Seq, Value, id::default_tenant},
};
use serde_json::json;
use std::{path::PathBuf, time::Duration};

const ALERT: &str = "[app]\nname = \"threshold-alert\"\n[[on]]\nname = \"alert\"\nsubject = \"reading.>\"\n\
                     [grant]\npublish = [\"alerts.>\"]\nconfig = true\n[config]\nthreshold = \"LIMIT\"\n";

pub async fn release(node: &Node, threshold: &str) {
    let guest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../functions/target/guests/threshold-alert.wasm");
    let artifact = node.rooms.store.put_artifact(&std::fs::read(guest).unwrap()).unwrap();
    let (manifest, commit) = (Manifest::parse(&ALERT.replace("LIMIT", threshold)).unwrap(), Digest::of(b"").hex()[..40].to_owned());
    let draft = Draft { artifact, manifest, commit, summary: String::new(), created: Micros(1), rollback_of: None };
    node.rooms.store.add_release(&node.app("threshold-alert"), draft).unwrap();
    assert!(!node.rooms.reconciler.round().await);
}

pub async fn reading(node: &Node, value: &str) -> Seq {
    let id = |text| Id::new(text).unwrap();
    let now = crate::clock::now();
    let event = NewEvent::reading(&default_tenant(), &id("fridge1"), &id("temp"), now, now, Value::json(value).unwrap());
    let op = Op::Append(Append { tenant: default_tenant(), events: vec![event], dedup: None, intake: None });
    match node.rooms.ledger.apply(op).await.unwrap() {
        Outcome::Applied { seqs, .. } => seqs[0],
        other => panic!("{other:?}"),
    }
}

fn count(node: &Node, kind: Kind) -> usize {
    let events = node.rooms.ledger.events(1, usize::MAX, usize::MAX).unwrap();
    events.iter().filter(|event| event.kind == kind).count()
}

/// Waits until so many calls are recorded, and lets history take them.
async fn recorded(node: &Node, calls: usize) {
    let mut head = node.rooms.ledger.head();
    let wait = async {
        while count(node, Kind::Run) < calls {
            head.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
    node.index();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_found_by_what_became_of_them() {
    let node = Node::start().await;
    release(&node, "8").await;
    let seq = reading(&node, "9.5").await;
    recorded(&node, 1).await;
    let found = node.ask("GET", "/api/v1/runs?q=function:alert%20device:fridge1%20duration:%3E0", "").await.is(200).json();
    let run = &found["hits"][0];
    assert_eq!((&run["event"], &run["release"], &run["outcome"], &run["messages"]), (&json!(seq), &json!(1), &json!("done"), &json!(1)));
    assert_eq!(found["more"], false);
    assert_eq!(node.ask("GET", "/api/v1/runs?q=outcome:error", "").await.is(200).json()["hits"], json!([]));
    assert_eq!(node.ask("GET", "/api/v1/runs/count?q=app:threshold-alert", "").await.is(200).json()["total"], 1);
    let after = format!("/api/v1/runs?after={}", run["sequence"]);
    assert_eq!(node.ask("GET", &after, "").await.is(200).json()["hits"], json!([]));
    let wrong = node.ask("GET", "/api/v1/runs?q=outcome:good", "").await.is(400).json();
    assert!(wrong["detail"].as_str().unwrap().contains("`good` is not an outcome"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_run_again_beside_what_came_of_it_and_nothing_is_done_unless_it_is_asked_for() {
    let node = Node::start().await;
    release(&node, "8").await;
    let seq = reading(&node, "9.5").await;
    recorded(&node, 1).await;
    release(&node, "20").await;
    let path = "/api/v1/apps/threshold-alert/replay";
    let head = *node.rooms.ledger.head().borrow();

    let same = node.ask("POST", path, &json!({ "event": seq, "release": 1 }).to_string()).await.is(200).json();
    assert_eq!((&same["effects"][0]["when"], same["effects"].as_array().unwrap().len()), (&json!("both"), 1), "{same}");
    assert_eq!((&same["now"]["outcome"], &same["then"]["release"], &same["applied"]), (&json!("done"), &json!(1), &json!(false)));
    let other = node.ask("POST", path, &json!({ "event": format!("main-{seq}"), "release": 2 }).to_string()).await.is(200).json();
    assert_eq!(other["effects"][0]["when"], "then", "the next release is content with 9.5: {other}");
    assert_eq!(*node.rooms.ledger.head().borrow(), head, "nothing is in the log of either");

    let applied = node.ask("POST", path, &json!({ "event": seq, "release": 1, "apply": true }).to_string()).await.is(200).json();
    assert_eq!(applied["applied"], true);
    assert_eq!((count(&node, Kind::Message), count(&node, Kind::Run)), (2, 2));
    node.index();
    let runs = node.ask("GET", "/api/v1/runs", "").await.is(200).json();
    assert_eq!((&runs["hits"][0]["replay"], &runs["hits"][0]["event"]), (&json!(true), &json!(seq)));

    // Of the call as it was in the first place, whatever was replayed since.
    let again = node.ask("POST", path, &json!({ "event": seq, "release": 1 }).to_string()).await.is(200).json();
    assert_eq!(again["effects"].as_array().unwrap().len(), 1, "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_log_has_no_more_is_run_from_the_history_and_one_that_is_nowhere_is_said_to_be_gone() {
    let node = Node::start().await;
    release(&node, "8").await;
    let seq = reading(&node, "9.5").await;
    recorded(&node, 1).await;
    let head = *node.rooms.ledger.head().borrow();
    // The function has settled it, durably: its record is in the same commit.
    assert!(node.rooms.ledger.trim(head + 1).await.unwrap() > seq);
    let path = "/api/v1/apps/threshold-alert/replay";
    let same = node.ask("POST", path, &json!({ "event": seq, "release": 1 }).to_string()).await.is(200).json();
    assert_eq!(same["effects"][0]["when"], "both", "{same}");
    for (event, release, status, said) in [
        (head + 100, 1, 404, "the last one is"),
        (seq, 9, 404, "there is no release 9, only 1"),
        (head, 1, 404, "is none that a function of this app gets"),
    ] {
        let problem = node.ask("POST", path, &json!({ "event": event, "release": release }).to_string()).await.is(status).json();
        assert!(problem["detail"].as_str().unwrap().contains(said), "{problem}");
    }
    let named = json!({ "event": seq, "function": "nobody" }).to_string();
    let problem = node.ask("POST", path, &named).await.is(409).json();
    assert!(problem["detail"].as_str().unwrap().contains("only `alert`"), "{problem}");
    // Long after, when retention has had its turn.
    node.rooms.history.retain(crate::clock::now().plus_millis(62 * 86_400_000)).unwrap();
    let problem = node.ask("POST", path, &json!({ "event": seq }).to_string()).await.is(404).json();
    let said = problem["detail"].as_str().unwrap();
    assert!(said.contains("is gone: the log begins with event") && said.contains("the history is empty"), "{problem}");
}
