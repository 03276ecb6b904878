//! Devices and sensors that nobody registered, and what goes with a device.

use super::*;
use crate::{
    devices::{Query, RegistryError, registry::Known},
    identity::Deed,
    model::{Kind, Subject, limit::PARTS_PER_DEVICE_MAX},
};
use serde_json::json;

#[tokio::test]
async fn a_device_that_only_sent_is_seen_by_administrators_until_somebody_registers_it() {
    let (node, _dir) = Node::alone().await;
    let (ada, pond) = (user("ada"), id("pond"));
    node.send("pond", "temp", NOW).await;
    node.follow();
    assert_eq!(node.sensors("pond"), ["temp"]);
    assert!(!node.registry.is_registered(&pond));
    assert_eq!(node.registry.list(&ada, &Query::all(), 10, 0).unwrap().1, 0);
    assert_eq!(node.registry.list(&admin(), &Query::all(), 10, 0).unwrap().1, 1);
    // To who can't see it, it is not there, and so it can be registered.
    assert!(matches!(node.registry.device_for(&ada, Deed::View, &pond), Err(RegistryError::Unknown { .. })));
    let refused = node.registry.update_device(&ada, &pond, NOW, |_| Ok(())).await;
    assert!(matches!(refused, Err(RegistryError::Unknown { .. })), "{refused:?}");
    node.registry.create_device(&ada, device(json!({ "id": "pond", "sensors": [{ "id": "ph" }] })), NOW).await.unwrap();
    assert_eq!(node.sensors("pond"), ["ph", "temp"], "what was heard is shown with what was registered");
    assert!(node.registry.device_for(&ada, Deed::Update, &pond).is_ok());
    assert_eq!(node.registry.owned(&pond).unwrap().owner, Some(id("ada")));
}

#[tokio::test]
async fn a_found_sensor_is_one_of_its_device_and_is_registered_with_the_next_change() {
    let (node, dir) = Node::alone().await;
    let (ada, pond) = (user("ada"), id("pond"));
    node.registry.create_device(&ada, device(json!({ "id": "pond", "sensors": [{ "id": "ph" }] })), NOW).await.unwrap();
    node.send("pond", "temp", NOW.plus_millis(5)).await;
    assert_eq!(node.registry.knows(&pond, &id("temp")), Known::Device);
    node.follow();
    assert_eq!(node.registry.knows(&pond, &id("temp")), Known::Sensor);
    assert_eq!(node.registry.seen(&pond, &id("temp")), Some(NOW.plus_millis(5)));
    assert_eq!(node.registry.seen(&pond, &id("ph")), None);
    let kind = |device: &mut Device| {
        let temp = device.sensors.iter_mut().find(|sensor| sensor.id == id("temp")).unwrap();
        temp.sensor_kind = Some("Thermometer".into());
        Ok(())
    };
    node.registry.update_device(&ada, &pond, NOW, kind).await.unwrap();
    node.follow();
    // A node that starts afresh and has heard nothing knows it from its document.
    let fresh = Node::on(&node.ledger);
    assert_eq!(fresh.sensors("pond"), ["ph", "temp"]);
    assert_eq!(fresh.registry.seen(&pond, &id("temp")), None);
    fresh.follow();
    assert_eq!(fresh.registry.seen(&pond, &id("temp")), Some(NOW.plus_millis(5)));
    drop(dir);
}

#[tokio::test]
async fn what_was_heard_is_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(dir.path()).await;
    let open = || {
        let devices = Devices::open(&dir.path().join("devices")).unwrap();
        (devices.clone(), Registry::open(ledger.clone(), devices, &default_tenant()).unwrap())
    };
    let node = Node::on(&ledger);
    node.send("pond", "temp", NOW).await;
    let (devices, registry) = open();
    devices.index(&ledger.events(1, 10, usize::MAX).unwrap()).unwrap();
    assert_eq!(registry.len(), 1);
    devices.commit().unwrap();
    drop((devices, registry));
    let (_, registry) = open();
    assert_eq!(registry.seen(&id("pond"), &id("temp")), Some(NOW));
    assert_eq!(registry.device(&id("pond")).unwrap().date_created, NOW);
}

#[tokio::test]
async fn a_deleted_device_is_gone_with_its_values_on_every_node_and_may_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(dir.path()).await;
    let (one, other) = (Node::on(&ledger), Node::on(&ledger));
    let (ada, pond) = (user("ada"), id("pond"));
    one.registry.create_device(&ada, device(json!({ "id": "pond", "sensors": [{ "id": "temp" }] })), NOW).await.unwrap();
    one.send("pond", "temp", NOW).await;
    [&one, &other].into_iter().for_each(Node::follow);
    one.registry.delete_device(&ada, &pond, NOW).await.unwrap();
    assert_eq!(one.registry.device(&pond), None, "at once, where it was deleted");
    // The other reads of the deletion and of what came after it in one go.
    one.send("pond", "ph", NOW.plus_millis(9)).await;
    [&one, &other].into_iter().for_each(Node::follow);
    for node in [&one, &other] {
        assert_eq!(node.sensors("pond"), ["ph"]);
        assert!(!node.registry.is_registered(&pond));
        let values = node.devices.get(&default_tenant(), &pond).unwrap().unwrap();
        assert_eq!(values.sensors.iter().map(|sensor| sensor.id.as_str()).collect::<Vec<_>>(), ["ph"]);
        assert_eq!(values.created, NOW.plus_millis(9));
    }
    one.registry.delete_device(&admin(), &pond, NOW).await.unwrap();
    [&one, &other].into_iter().for_each(Node::follow);
    for node in [&one, &other] {
        assert_eq!((node.registry.len(), node.devices.get(&default_tenant(), &pond).unwrap()), (0, None));
    }
}

#[tokio::test]
async fn a_sensor_that_is_taken_away_takes_its_value_with_it() {
    let (node, _dir) = Node::alone().await;
    let (ada, pond) = (user("ada"), id("pond"));
    node.registry.create_device(&ada, device(json!({ "id": "pond", "sensors": [{ "id": "temp" }, { "id": "ph" }] })), NOW).await.unwrap();
    node.send("pond", "temp", NOW).await;
    node.send("pond", "ph", NOW).await;
    node.follow();
    let changed = node.registry.update_device(&ada, &pond, NOW, |device| {
        device.sensors.retain(|sensor| sensor.id != id("temp"));
        Ok(())
    });
    changed.await.unwrap();
    assert_eq!(node.sensors("pond"), ["ph"]);
    node.follow();
    assert_eq!(node.sensors("pond"), ["ph"]);
    let values = node.devices.get(&default_tenant(), &pond).unwrap().unwrap();
    assert_eq!(values.sensors.iter().map(|sensor| sensor.id.as_str()).collect::<Vec<_>>(), ["ph"]);
}

#[tokio::test]
async fn a_device_that_invents_sensors_takes_bounded_memory() {
    let (node, _dir) = Node::alone().await;
    for n in 0..PARTS_PER_DEVICE_MAX + 20 {
        node.send("pond", &format!("s{n}"), NOW).await;
    }
    node.follow();
    assert_eq!(node.sensors("pond").len(), PARTS_PER_DEVICE_MAX);
    assert!(matches!(node.registry.has_room(&id("pond")), Err(RegistryError::Full { .. })));
    assert!(node.registry.has_room(&id("lake")).is_ok());
}

#[tokio::test]
async fn an_actuator_has_the_value_that_it_was_commanded_last() {
    let (node, _dir) = Node::alone().await;
    for value in [json!({ "id": "c1", "value": true }), json!({ "id": "c2", "value": false }), json!("no command")] {
        let like = NewEvent::reading(&default_tenant(), &id("pond"), &id("pump"), NOW, NOW, Value::from_json(&value));
        let command = NewEvent { kind: Kind::Command, subject: Subject::new("command.pond.pump").unwrap(), ..like };
        let append = Append { tenant: default_tenant(), events: vec![command], dedup: None, intake: None };
        node.ledger.apply(Op::Append(append)).await.unwrap();
    }
    node.follow();
    let actuators = node.devices.actuators(&default_tenant(), &id("pond")).unwrap();
    assert_eq!((actuators.len(), actuators[0].current.value.to_json()), (1, json!(false)));
    assert_eq!(node.devices.get(&default_tenant(), &id("pond")).unwrap(), None, "a command makes no device");
}
