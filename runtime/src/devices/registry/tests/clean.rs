//! Which rule is for a sensor, while devices, projects and rules come and go.

use super::*;
use crate::{
    devices::RegistryError,
    identity::Principal,
    model::{Event, Owned, Project, Visibility},
    preprocess::{Declared, Name, Rule},
};
use serde_json::{Value as Json, json};

fn rule(name: &str, mut of: Json) -> Declared {
    of["steps"] = json!([{ "duplicate": {} }]);
    Declared::of(&id(name), of).unwrap()
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
                changes.put(format!("{}r{n}", Rule::PREFIX), &rule("r", json!({ "device": "d", "sensor": "s" })).document())
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

fn rule_of(app: &str, name: &str, mut of: Json) -> Declared {
    if of.get("into").is_none() {
        of["steps"] = json!([{ "stuck": { "readings": 3 } }]);
    }
    Declared::of(Name::of_app(&id(app), &id(name)), of).unwrap()
}

async fn release(node: &Node, app: &str, rules: &[(&str, Json)]) {
    let rules: Vec<Declared> = rules.iter().map(|(name, of)| rule_of(app, name, of.clone())).collect();
    node.registry.set_app_rules(&id(app), &rules, NOW).await.unwrap();
}

fn names(node: &Node) -> Vec<String> {
    node.registry.rules().iter().map(|rule| rule.name().to_string()).collect()
}

#[tokio::test]
async fn the_rules_of_an_app_come_and_go_with_its_release_and_meet_nobody_elses() {
    let (node, _dir) = Node::alone().await;
    let other = Node::on(&node.ledger);
    let exact = json!({ "device": "pond1", "sensor": "t" });
    put(&node, "r", json!({ "select": "tags=pond" })).await;
    release(&node, "farm", &[("r", exact.clone()), ("s", json!({ "device": "pond2", "sensor": "t" }))]).await;
    release(&node, "farm-2", &[("r", exact.clone())]).await;
    assert_eq!(names(&node), ["r", "farm/r", "farm/s", "farm-2/r"], "one name, three rules");
    assert_eq!(name_for(&node, "pond1", "t").as_deref(), Some("farm/r"));
    put(&node, "z", exact.clone()).await;
    assert_eq!(name_for(&node, "pond1", "t").as_deref(), Some("z"), "what an administrator sets goes before what an app says");
    // Another release, the first one again, and then the app is deleted.
    release(&node, "farm", &[("s", exact.clone())]).await;
    assert_eq!(names(&node), ["r", "z", "farm/s", "farm-2/r"]);
    assert_eq!(name_for(&node, "pond2", "t"), None);
    release(&node, "farm", &[("r", exact.clone()), ("s", json!({ "device": "pond2", "sensor": "t" }))]).await;
    assert_eq!(name_for(&node, "pond2", "t").as_deref(), Some("farm/s"));
    release(&node, "farm", &[]).await;
    assert_eq!((names(&node), node.registry.apps_with_rules()), (vec!["r".into(), "z".into(), "farm-2/r".into()], vec![id("farm-2")]));
    other.follow();
    assert_eq!((names(&other), names(&Node::on(&node.ledger))), (names(&node), names(&node)));
}

#[tokio::test]
async fn a_release_that_says_the_same_rules_changes_nothing() {
    let (node, _dir) = Node::alone().await;
    release(&node, "farm", &[("r", json!({ "select": "tags=pond" }))]).await;
    let head = *node.ledger.head().borrow();
    release(&node, "farm", &[("r", json!({ "select": "tags=pond" }))]).await;
    assert_eq!(*node.ledger.head().borrow(), head);
}

#[tokio::test]
async fn the_rule_of_an_app_touches_what_its_owner_may_change_and_nothing_else() {
    let (node, _dir) = Node::alone().await;
    let user = |name: &str, admin| Principal::User { tenant: default_tenant(), id: id(name), admin };
    let people: std::sync::Arc<parking_lot::Mutex<Vec<(&str, bool)>>> = std::sync::Arc::new(vec![("ada", false), ("root", true)].into());
    let of = people.clone();
    node.registry.know(std::sync::Arc::new(move |who| {
        let all = of.lock();
        all.iter().find(|(name, _)| *name == who.as_str()).map(|(name, admin)| user(name, *admin))
    }));
    let public =
        |device: &str| Device { owned: Owned { owner: None, visibility: Visibility::Public }, ..thermometer(device, "Thermometer", &[]) };
    node.registry.create_device(&user("ada", false), public("hers"), NOW).await.unwrap();
    node.registry.create_device(&user("bob", false), public("his"), NOW).await.unwrap();
    release(&node, "farm", &[("kind", json!({ "select": "kind=Thermometer" })), ("exact", json!({ "device": "his", "sensor": "x" }))])
        .await;
    let touched = || ["hers", "his"].map(|device| name_for(&node, device, "t").is_some());
    assert_eq!((touched(), name_for(&node, "his", "x").is_some()), ([true, true], true), "an app of the node's own");
    node.registry.set_app_owner(&id("farm"), Some(&id("ada")), NOW).await.unwrap();
    assert_eq!((touched(), name_for(&node, "his", "x")), ([true, false], None), "she sees what he says, and may not change it");
    put(&node, "by-hand", json!({ "select": "kind=Thermometer" })).await;
    assert_eq!(name_for(&node, "his", "t").as_deref(), Some("by-hand"));
    node.registry.remove_rule(&id("by-hand"), NOW).await.unwrap();
    node.registry.set_app_owner(&id("farm"), Some(&id("root")), NOW).await.unwrap();
    assert_eq!((touched(), name_for(&node, "his", "x").is_some()), ([true, true], true), "an administrator's");
    people.lock().clear();
    node.registry.0.people_moved();
    assert_eq!(touched(), [false, false], "of nobody who is there");
    node.registry.set_app_owner(&id("farm"), None, NOW).await.unwrap();
    assert_eq!(touched(), [true, true]);
}

#[tokio::test]
async fn which_rule_goes_before_which_is_shown() {
    let (node, _dir) = Node::alone().await;
    for device in ["pond1", "pond2"] {
        node.registry.create_device(&admin(), thermometer(device, "Thermometer", &["pond"]), NOW).await.unwrap();
    }
    put(&node, "kind", json!({ "select": "kind=Thermometer" })).await;
    release(&node, "farm", &[("tag", json!({ "select": "tags=pond" })), ("new", json!({ "device": "pond9", "sensor": "t" }))]).await;
    put(&node, "one", json!({ "device": "pond1", "sensor": "t" })).await;
    let all = node.registry.standings().unwrap();
    let standing = |name: &str| {
        let standing = &all[&Name::parse(name).unwrap()];
        (standing.sensors, standing.behind.iter().map(|(name, sensors)| (name.to_string(), *sensors)).collect::<Vec<_>>())
    };
    assert_eq!(standing("one"), (1, vec![]));
    assert_eq!(standing("kind"), (1, vec![("one".to_owned(), 1)]));
    assert_eq!(standing("farm/tag"), (0, vec![("kind".to_owned(), 1), ("one".to_owned(), 1)]));
    assert_eq!(standing("farm/new"), (1, vec![]), "of a sensor that nobody has heard of yet");
}

fn derived(name: &str, of: Json, into: &str) -> Declared {
    let mut document = of;
    document["into"] = into.into();
    document["fill"] = json!({ "every": "1h" });
    Declared::of(&id(name), document).unwrap()
}

#[tokio::test]
async fn rules_that_would_feed_each_other_are_refused_whoever_says_them() {
    let (node, _dir) = Node::alone().await;
    let of = |sensor: &str| json!({ "device": "d", "sensor": sensor });
    for (name, sensor, into) in [("ab", "a", "b"), ("bc", "b", "c")] {
        node.registry.put_rule(&derived(name, of(sensor), into), NOW).await.unwrap();
    }
    let refused = node.registry.put_rule(&derived("ca", of("c"), "a"), NOW).await.unwrap_err();
    assert!(refused.to_string().contains("without end: "), "{refused}");
    let mut closes = of("c");
    closes["into"] = "a".into();
    closes["fill"] = json!({ "every": "1h" });
    let by_app = node.registry.set_app_rules(&id("farm"), &[rule_of("farm", "ca", closes)], NOW).await.unwrap_err();
    assert!(by_app.to_string().contains("farm/ca"), "{by_app}");
    assert_eq!(names(&node), ["ab", "bc"]);
    node.registry.put_rule(&derived("bc", of("x"), "c"), NOW).await.unwrap();
    node.registry.put_rule(&derived("ca", of("c"), "a"), NOW).await.unwrap();
    // One that selects sensors takes nothing that a rule made.
    let all = derived("all", json!({ "select": "tags=pond" }), "{sensor}.filled");
    node.registry.put_rule(&all, NOW).await.unwrap();
    node.registry.create_device(&admin(), thermometer("pond1", "Thermometer", &["pond"]), NOW).await.unwrap();
    let mut reading =
        Event { seq: 9, body: NewEvent::reading(&default_tenant(), &id("pond1"), &id("t"), NOW, NOW, Value::json("1").unwrap()) };
    let rule = all.derived().unwrap();
    assert!(node.registry.is_derived_from(rule, &reading));
    let place = crate::model::event::Place::default();
    reading.body.cause =
        Some(Box::new(crate::model::event::Cause { app: id("~clean"), function: id("all"), seq: 1, call: "derived".into(), place }));
    assert!(!node.registry.is_derived_from(rule, &reading));
}

#[tokio::test]
async fn a_node_makes_so_many_derived_sensors_and_no_more() {
    let (node, _dir) = Node::alone().await;
    let of = |n: usize| derived(&format!("r{n}"), json!({ "device": "d", "sensor": format!("s{n}") }), "{sensor}.filled");
    let most = crate::model::limit::CLEAN_DERIVED_MAX;
    for n in 0..most {
        node.registry.put_rule(&of(n), NOW).await.unwrap();
    }
    assert!(matches!(node.registry.put_rule(&of(most), NOW).await, Err(RegistryError::Full { .. })));
    node.registry.put_rule(&of(0), NOW).await.unwrap();
    put(&node, "steps", json!({ "device": "d", "sensor": "s" })).await;
    assert_eq!(node.registry.derived().len(), most);
}
