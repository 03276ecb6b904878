//! A function that was too far behind, as its operator sees it.

use super::{Node, apps::release};
use crate::{
    identity::Role,
    ledger::Op,
    model::{FunctionId, Id, Seq},
};

#[tokio::test]
async fn a_paused_function_is_shown_with_what_it_lost_until_somebody_takes_note() {
    let node = Node::start().await;
    release(&node, "v1");
    // One that another release of the app had, and nobody has taken out of the ledger yet.
    for name in ["warm", "old"] {
        let function = FunctionId { app: node.app("fridge"), function: Id::new(name).unwrap() };
        node.rooms.ledger.apply(Op::Register { function, start: 0 }).await.unwrap();
    }
    for _ in 0..3 {
        node.ask("POST", "/api/v2/devices/d/sensors/temp/value", "9").await.is(204);
    }
    let listed = async || node.ask("GET", "/api/v1/apps/fridge/functions", "").await.is(200).json();
    let shown = async || listed().await[0].clone();
    let well = shown().await;
    assert!(well["paused"].is_null() && well["lost"] == serde_json::json!([]) && well["behind_bytes"].as_u64() > Some(0), "{well}");
    let resume = "/api/v1/apps/fridge/functions/warm/resume";
    node.ask("POST", resume, "").await.problem(409);
    node.ask("POST", "/api/v1/apps/fridge/functions/cold/resume", "").await.problem(404);

    node.rooms.dispatch.pause_laggards(3, 10).await.unwrap();
    node.rooms.ledger.trim(Seq::MAX).await.unwrap();
    let gone = &listed().await[1];
    assert!(gone["function"] == "old" && gone["lost"][0]["from"] == 1, "{gone}");
    let paused = shown().await;
    assert!(paused["paused"]["since"].is_string() && paused["lost"][0]["events"] == 5, "{paused}");
    let status = node.ask("GET", "/api/v1/status", "").await.is(200).json();
    assert_eq!((&status["paused_functions"], &status["lost_events"]), (&2.into(), &10.into()), "three readings, and the lines that say so");
    let metrics = String::from_utf8(node.ask("GET", "/metrics", "").await.is(200).body).unwrap();
    for series in
        ["tawi_function_paused{app=\"fridge\",function=\"warm\"} 1", "tawi_function_lost_events{app=\"fridge\",function=\"warm\"} 5"]
    {
        assert!(metrics.contains(series), "{series} is not in {metrics}");
    }

    let reader = node.token(Role::Read);
    node.ask_as(&reader, "POST", resume, &[], "").await.problem(403);
    node.ask("POST", resume, "").await.is(204);
    assert!(shown().await["paused"].is_null());
    let lost = "/api/v1/apps/fridge/functions/warm/lost";
    let to = paused["lost"][0]["to"].as_u64().unwrap();
    let (seen, less) = (format!("{lost}?through={to}"), format!("{lost}?through={}", to - 1));
    node.ask_as(&reader, "DELETE", &seen, &[], "").await.problem(403);
    node.ask("DELETE", lost, "").await.problem(400);
    node.ask("DELETE", &less, "").await.problem(404);
    node.ask("DELETE", &seen, "").await.is(204);
    node.ask("DELETE", &seen, "").await.problem(404);
    assert_eq!(shown().await["lost"], serde_json::json!([]));
}

#[tokio::test]
async fn what_was_lost_is_shown_where_an_app_has_no_release() {
    let node = Node::start().await;
    let app = node.app("bare");
    node.rooms.store.set_config(&app, "threshold", Some("8")).unwrap();
    let function = FunctionId { app, function: Id::new("old").unwrap() };
    node.rooms.ledger.apply(Op::Register { function, start: 0 }).await.unwrap();
    node.ask("POST", "/api/v2/devices/d/sensors/temp/value", "9").await.is(204);
    node.rooms.dispatch.pause_laggards(2, 0).await.unwrap();
    node.rooms.ledger.trim(2).await.unwrap();
    let listed = node.ask("GET", "/api/v1/apps/bare/functions", "").await.is(200).json();
    assert!(listed[0]["function"] == "old" && listed[0]["lost"][0]["to"] == 1, "{listed}");
}
