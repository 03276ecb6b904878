//! A range of the past behind the API: who may, what is refused, what is left when an app changes hands.

use super::{
    Node,
    runs::{reading, release},
};
use crate::{identity::Role, model::Id, replay::State};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const REPLAYS: &str = "/api/v1/apps/threshold-alert/replays";

async fn run_all(node: &Node) {
    let (stop, replays) = (CancellationToken::new(), node.rooms.replays.clone());
    let running = tokio::spawn(replays.clone().run(stop.clone()));
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(1));
    while replays.list(&node.app("threshold-alert").tenant).iter().any(|job| !job.is_over()) {
        looks.tick().await;
    }
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_is_asked_for_followed_fetched_and_forgotten() {
    let node = Node::start().await;
    release(&node, "8").await;
    for value in ["9.5", "7", "10.25"] {
        reading(&node, value).await;
    }
    let asked = node.ask("POST", REPLAYS, "{\"function\":\"alert\",\"from\":\"2020-01-01T00:00:00Z\"}").await.is(201).json();
    assert_eq!((&asked["replay"], &asked["state"], &asked["release"]), (&json!(1), &json!("waiting"), &json!(1)));
    run_all(&node).await;
    let done = node.ask("GET", &format!("{REPLAYS}/1"), "").await.is(200).json();
    assert_eq!((&done["state"], &done["lines"], &done["failed"], &done["error"]), (&json!("done"), &json!(2), &json!(0), &json!(null)));

    let whole = node.ask("GET", &format!("{REPLAYS}/1/output"), "").await.is(200);
    assert_eq!(whole.headers["tawi-replay"], "done");
    assert_eq!(whole.body.len() as u64, done["bytes"].as_u64().unwrap());
    let rest = node.ask("GET", &format!("{REPLAYS}/1/output?offset=10"), "").await.is(200);
    assert_eq!(rest.body, whole.body[10..]);
    let behind = node.ask("GET", &format!("{REPLAYS}/1/output?offset=99999999"), "").await.is(200);
    assert!(behind.body.is_empty());

    node.ask("DELETE", &format!("{REPLAYS}/1"), "").await.is(204);
    node.ask("GET", &format!("{REPLAYS}/1"), "").await.is(404);
    node.ask("DELETE", &format!("{REPLAYS}/1"), "").await.is(404);
    assert_eq!(node.ask("GET", REPLAYS, "").await.is(200).json(), json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_operate_an_app_runs_nothing_again_and_what_can_not_be_run_is_named() {
    let node = Node::start().await;
    release(&node, "8").await;
    let ask = "{\"function\":\"alert\"}";
    let other = Role::Deploy { app: Id::new("other").unwrap() };
    for role in [Role::Read, Role::Send, other.clone()] {
        node.ask_as(&node.token(role), "POST", REPLAYS, &[], ask).await.is(403);
    }
    node.ask("POST", REPLAYS, ask).await.is(201);
    node.ask_as(&node.token(other), "GET", &format!("{REPLAYS}/1/output"), &[], "").await.is(403);
    // A number says nothing about an app that it is not of.
    node.ask("GET", "/api/v1/apps/other/replays/1", "").await.is(404);
    for (body, status, word) in [
        ("{\"function\":\"alarm\"}", 409, "no function `alarm`"),
        ("{\"function\":\"alert\",\"release\":7}", 404, "no release 7"),
        ("{\"function\":\"alert\",\"from\":\"yesterday\"}", 400, "yesterday"),
        ("{\"function\":\"alert\",\"from\":\"2026-02-01T00:00:00Z\",\"to\":\"2026-01-01T00:00:00Z\"}", 400, "not before"),
        ("{\"function\":\"alert\",\"until\":1}", 400, "until"),
        ("{}", 400, "function"),
    ] {
        let answer = node.ask("POST", REPLAYS, body).await.is(status);
        let detail = String::from_utf8(answer.body).unwrap();
        assert!(detail.contains(word), "{body}: {detail}");
    }
    reading(&node, "9.5").await;
    node.index();
    let gone = "{\"function\":\"alert\",\"to\":\"2020-01-01T00:00:00Z\"}";
    let refused = String::from_utf8(node.ask("POST", REPLAYS, gone).await.is(409).body).unwrap();
    assert!(refused.contains("the history begins with what was measured at 20") && refused.contains("history-retention"), "{refused}");
    node.ask("POST", "/api/v1/apps/nobody/replays", ask).await.is(404);
    node.ask("GET", &format!("{REPLAYS}/one"), "").await.is(400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_changes_hands_or_goes_takes_its_replays_along() {
    let node = Node::start().await;
    for path in ["/owner", ""] {
        release(&node, "8").await;
        reading(&node, "9.5").await;
        node.ask("POST", REPLAYS, "{\"function\":\"alert\"}").await.is(201);
        run_all(&node).await;
        let tenant = node.app("threshold-alert").tenant;
        assert_eq!(node.rooms.replays.list(&tenant).iter().map(|job| job.state.clone()).collect::<Vec<_>>(), [State::Done]);
        let (method, body) = if path.is_empty() { ("DELETE", "") } else { ("PUT", "{\"owner\":null}") };
        node.ask(method, &format!("/api/v1/apps/threshold-alert{path}"), body).await.is(204);
        assert!(node.rooms.replays.list(&tenant).is_empty());
        assert_eq!(std::fs::read_dir(node.dir.path().join("replays")).unwrap().count(), 0);
    }
}
