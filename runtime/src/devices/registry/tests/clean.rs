//! Which rule is for a sensor, while devices, projects and rules come and go.

use super::*;
use crate::{devices::RegistryError, model::Project, preprocess::Rule};
use serde_json::{Value as Json, json};

fn rule(name: &str, mut of: Json) -> Rule {
    of["steps"] = json!([{ "duplicate": {} }]);
    Rule::of(&id(name), of).unwrap()
}

async fn put(node: &Node, name: &str, of: Json) {
    node.registry.put_rule(&rule(name, of), NOW).await.unwrap();
}

fn name_for(node: &Node, device: &str, sensor: &str) -> Option<String> {
    node.registry.rule_for(&id(device), &id(sensor)).map(|rule| rule.name.to_string())
}

fn thermometer(device_id: &str, kind: &str, tags: &[&str]) -> Device {
    device(json!({ "id": device_id, "meta": { "tags": tags }, "sensors": [{ "id": "t", "sensor_kind": kind }] }))
}

#[tokio::test]
async fn the_rule_that_names_a_sensor_goes_before_one_that_selects_it_and_ties_go_by_name() {
    let (node, _dir) = Node::alone().await;
    node.registry.create_device(&admin(), thermometer("pond1", "Thermometer", &["pond"]), NOW).await.unwrap();
    assert_eq!(name_for(&node, "pond1", "t"), None);
    put(&node, "m-kind", json!({ "select": "kind=Thermometer" })).await;
    assert_eq!(name_for(&node, "pond1", "t").as_deref(), Some("m-kind"));
    assert_eq!(name_for(&node, "pond1", "other"), None, "of no kind");
    put(&node, "a-tag", json!({ "select": "tags=pond" })).await;
    assert_eq!(name_for(&node, "pond1", "t").as_deref(), Some("a-tag"));
    assert_eq!(name_for(&node, "pond1", "other").as_deref(), Some("a-tag"), "a sensor that is heard for the first time is of its device");
    put(&node, "z-exact", json!({ "device": "pond1", "sensor": "t" })).await;
    assert_eq!(name_for(&node, "pond1", "t").as_deref(), Some("z-exact"));
    put(&node, "y-exact", json!({ "device": "pond1", "sensor": "t" })).await;
    assert_eq!(name_for(&node, "pond1", "t").as_deref(), Some("y-exact"));
    for (gone, next) in [("y-exact", Some("z-exact")), ("z-exact", Some("a-tag")), ("a-tag", Some("m-kind")), ("m-kind", None)] {
        node.registry.remove_rule(&id(gone), NOW).await.unwrap();
        assert_eq!(name_for(&node, "pond1", "t").as_deref(), next);
    }
    assert!(matches!(node.registry.remove_rule(&id("m-kind"), NOW).await, Err(RegistryError::Unknown { .. })));
    put(&node, "nobody", json!({ "device": "never-heard", "sensor": "t" })).await;
    assert_eq!(name_for(&node, "never-heard", "t").as_deref(), Some("nobody"), "a sensor that nobody registered");
}

#[tokio::test]
async fn a_sensor_that_changes_has_another_rule_with_its_next_reading() {
    let (node, _dir) = Node::alone().await;
    put(&node, "warm", json!({ "select": "kind=Thermometer" })).await;
    put(&node, "project", json!({ "select": "project=fish" })).await;
    assert_eq!(name_for(&node, "pond1", "t"), None);
    node.registry.create_device(&admin(), thermometer("pond1", "Hygrometer", &[]), NOW).await.unwrap();
    assert_eq!(name_for(&node, "pond1", "t"), None);
    let change = |device: &mut Device| {
        device.sensors[0].sensor_kind = Some("Thermometer".into());
        Ok(())
    };
    node.registry.update_device(&admin(), &id("pond1"), NOW, change).await.unwrap();
    assert_eq!(name_for(&node, "pond1", "t").as_deref(), Some("warm"));
    let project =
        json!({ "id": "fish", "name": "fish", "device_ids": ["pond1"], "gateway_ids": [], "date_created": 0, "date_modified": 0 });
    let project: Project = serde_json::from_value(project).unwrap();
    node.registry.create_project(&admin(), project, NOW).await.unwrap();
    assert_eq!(name_for(&node, "pond1", "t").as_deref(), Some("project"), "before `warm` by name");
    node.registry.delete_project(&admin(), &id("fish"), NOW).await.unwrap();
    assert_eq!(name_for(&node, "pond1", "t").as_deref(), Some("warm"));
    node.registry.delete_device(&admin(), &id("pond1"), NOW).await.unwrap();
    assert_eq!(name_for(&node, "pond1", "t"), None);
}

#[tokio::test]
async fn a_rule_is_there_after_a_restart_and_on_every_node_of_a_log() {
    let (node, _dir) = Node::alone().await;
    let other = Node::on(&node.ledger);
    put(&node, "r", json!({ "device": "pond1", "sensor": "t" })).await;
    other.follow();
    let later = Node::on(&node.ledger);
    for there in [&other, &later] {
        assert_eq!(name_for(there, "pond1", "t").as_deref(), Some("r"));
    }
    node.registry.remove_rule(&id("r"), NOW).await.unwrap();
    other.follow();
    assert_eq!(name_for(&other, "pond1", "t"), None);
    assert!(!other.registry.has_rules());
}

#[tokio::test]
async fn a_node_has_so_many_rules_and_no_more() {
    let (node, _dir) = Node::alone().await;
    let most = crate::model::limit::CLEAN_RULES_MAX;
    // As they are stored, a page of the log at a time.
    for page in (0..most).collect::<Vec<_>>().chunks(500) {
        let put = |changes: &mut crate::records::Changes| {
            page.iter().try_for_each(|n| {
                changes.put(format!("{}r{n}", Rule::PREFIX), &rule("r", json!({ "device": "d", "sensor": "s" })).document)
            })
        };
        let records = crate::records::Records::new(node.ledger.clone(), &default_tenant(), crate::records::Space::Devices);
        records.change::<(), crate::records::RecordsError>(NOW, put).await.unwrap();
    }
    let full = Node::on(&node.ledger);
    let one_more = full.registry.put_rule(&rule("more", json!({ "device": "d", "sensor": "s" })), NOW).await;
    assert!(matches!(one_more, Err(RegistryError::Full { .. })), "{one_more:?}");
    put(&full, "r7", json!({ "device": "d7", "sensor": "s" })).await;
    assert_eq!(name_for(&full, "d7", "s").as_deref(), Some("r7"), "one of them may still be replaced");
}
