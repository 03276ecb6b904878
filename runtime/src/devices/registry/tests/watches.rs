//! A selector that is followed hears what begins to fit, and what ceases to.

use super::*;
use crate::{
    clock,
    devices::{RegistryError, registry::Delta},
    model::{Selector, SensorRef, limit::WATCHES_MAX},
};
use serde_json::json;
use std::time::Duration;

fn at(device: &str, sensor: &str) -> SensorRef {
    SensorRef { device: id(device), sensor: id(sensor) }
}

fn added(device: &str, sensor: &str) -> Delta {
    Delta { added: vec![at(device, sensor)], removed: Vec::new() }
}

fn removed(device: &str, sensor: &str) -> Delta {
    Delta { added: Vec::new(), removed: vec![at(device, sensor)] }
}

#[tokio::test]
async fn a_sensor_that_is_registered_on_another_node_is_news_here() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(dir.path()).await;
    let (here, there) = (Node::on(&ledger), Node::on(&ledger));
    let mut watch = here.registry.watch(Selector::parse("kind=Thermometer").unwrap(), guest()).unwrap();
    let waits = tokio::spawn(async move {
        let delta = watch.next().await;
        (watch, delta)
    });
    let pond = json!({ "id": "pond", "sensors": [{ "id": "t", "sensor_kind": "Thermometer" }, { "id": "p", "sensor_kind": "PHMeter" }] });
    there.registry.create_device(&user("ada"), device(pond), NOW).await.unwrap();
    here.follow();
    let (mut watch, delta) = tokio::time::timeout(Duration::from_secs(30), waits).await.unwrap().unwrap();
    assert_eq!(delta, added("pond", "t"));
    assert!(watch.take(NOW).is_empty());
    let retune = |device: &mut Device| {
        device.sensors[0].sensor_kind = Some("PHMeter".into());
        device.sensors[1].sensor_kind = Some("Thermometer".into());
        Ok(())
    };
    there.registry.update_device(&user("ada"), &id("pond"), NOW, retune).await.unwrap();
    here.follow();
    assert_eq!(watch.next().await, Delta { added: vec![at("pond", "p")], removed: vec![at("pond", "t")] });
    there.registry.delete_device(&user("ada"), &id("pond"), NOW).await.unwrap();
    here.follow();
    assert_eq!(watch.next().await, removed("pond", "p"));
}

#[tokio::test]
async fn what_came_and_went_before_anybody_looked_is_no_news() {
    let (node, _dir) = Node::alone().await;
    let mut watch = node.registry.watch(Selector::default(), guest()).unwrap();
    let pond = || device(json!({ "id": "pond", "sensors": [{ "id": "t" }] }));
    node.registry.create_device(&guest(), pond(), NOW).await.unwrap();
    node.registry.delete_device(&admin(), &id("pond"), NOW).await.unwrap();
    assert!(watch.take(NOW).is_empty());
    node.registry.create_device(&guest(), pond(), NOW).await.unwrap();
    assert_eq!(watch.take(NOW), added("pond", "t"));
}

#[tokio::test]
async fn a_sensor_that_falls_silent_goes_and_comes_back_with_its_next_reading() {
    let (node, _dir) = Node::alone().await;
    let pond = json!({ "id": "pond", "sensors": [{ "id": "t" }] });
    node.registry.create_device(&user("ada"), device(pond), NOW).await.unwrap();
    let mut watch = node.registry.watch(Selector::parse("seen_within=10s").unwrap(), guest()).unwrap();
    let second = |n: u64| NOW.plus_millis(n * 1_000);
    assert!(watch.take(NOW).is_empty(), "it never said anything");
    for n in [0, 8, 15] {
        node.send("pond", "t", second(n)).await;
        node.follow();
        let news = watch.take(second(n));
        assert_eq!(news.added.len(), usize::from(n == 0), "after {n} s: {news:?}");
    }
    assert!(watch.take(second(25)).is_empty(), "ten seconds after its last reading it is still there");
    assert_eq!(watch.take(second(26)), removed("pond", "t"));
    node.send("pond", "t", second(40)).await;
    node.follow();
    assert_eq!(watch.take(second(40)), added("pond", "t"));
    // What nobody looked at while it was away and back is nothing new either.
    node.send("pond", "t", second(60)).await;
    node.follow();
    assert!(watch.take(second(60)).is_empty());
}

#[tokio::test]
async fn who_waits_is_told_when_the_time_of_a_sensor_is_over() {
    let (node, _dir) = Node::alone().await;
    let pond = json!({ "id": "pond", "sensors": [{ "id": "t" }] });
    node.registry.create_device(&user("ada"), device(pond), NOW).await.unwrap();
    let heard = clock::now();
    node.send("pond", "t", heard).await;
    node.follow();
    let mut watch = node.registry.watch(Selector::parse("seen_within=300ms").unwrap(), guest()).unwrap();
    assert_eq!(watch.take(heard), added("pond", "t"));
    let last = tokio::time::timeout(Duration::from_secs(30), watch.next()).await;
    assert_eq!(last.unwrap(), removed("pond", "t"));
    assert!(clock::now() > heard.plus_millis(300));
}

#[tokio::test]
async fn a_project_that_changes_is_followed_too() {
    let (node, _dir) = Node::alone().await;
    for name in ["pond", "lake"] {
        node.registry.create_device(&user("ada"), device(json!({ "id": name, "sensors": [{ "id": "t" }] })), NOW).await.unwrap();
    }
    let mut watch = node.registry.watch(Selector::parse("project=farm").unwrap(), guest()).unwrap();
    let farm = json!({ "id": "farm", "name": "Farm", "device_ids": ["pond"], "date_created": 0, "date_modified": 0 });
    node.registry.create_project(&user("ada"), serde_json::from_value(farm).unwrap(), NOW).await.unwrap();
    assert_eq!(watch.take(NOW), added("pond", "t"));
    let swap = |project: &mut crate::model::Project| {
        project.device_ids = vec![id("lake")];
        Ok(())
    };
    node.registry.update_project(&user("ada"), &id("farm"), NOW, swap).await.unwrap();
    assert_eq!(watch.take(NOW), Delta { added: vec![at("lake", "t")], removed: vec![at("pond", "t")] });
    node.registry.delete_project(&user("ada"), &id("farm"), NOW).await.unwrap();
    assert_eq!(watch.take(NOW), removed("lake", "t"));
}

#[tokio::test]
async fn so_many_selectors_are_followed_at_a_time() {
    let (node, _dir) = Node::alone().await;
    let watch = || node.registry.watch(Selector::default(), guest());
    let mut watches: Vec<_> = (0..WATCHES_MAX).map(|_| watch().unwrap()).collect();
    assert!(matches!(watch(), Err(RegistryError::Full { max: WATCHES_MAX, .. })));
    watches.pop();
    assert!(watch().is_ok(), "one that nobody keeps takes no place");
}
