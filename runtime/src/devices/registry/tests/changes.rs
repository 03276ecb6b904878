//! Who registers, changes and deletes what, and what may not be registered.

use super::*;
use crate::{
    devices::RegistryError,
    identity::Deed,
    model::{
        Visibility,
        limit::{
            DOCUMENT_BYTES_MAX, GATEWAYS_MAX, META_BYTES_MAX, PARTS_PER_DEVICE_MAX, PROJECT_MEMBERS_MAX, PROJECTS_MAX, TEXT_BYTES_MAX,
        },
    },
};
use serde_json::json;

#[tokio::test]
async fn a_user_owns_what_she_registers_and_others_can_not_change_it() {
    let (node, _dir) = Node::alone().await;
    let (ada, bob, pond) = (user("ada"), user("bob"), id("pond"));
    let made = node.registry.create_device(&ada, device(json!({ "id": "pond", "owner": "bob" })), NOW).await.unwrap();
    assert_eq!((made.owned.owner.clone(), made.date_created, made.date_modified), (Some(id("ada")), NOW, NOW));
    let again = node.registry.create_device(&bob, device(json!({ "id": "pond" })), NOW).await;
    assert!(matches!(again, Err(RegistryError::Exists { .. })), "{again:?}");

    let name = |device: &mut Device| {
        device.name = Some("The pond".to_owned());
        Ok(())
    };
    let refused = node.registry.update_device(&bob, &pond, NOW, name).await;
    assert!(matches!(refused, Err(RegistryError::Forbidden { deed: Deed::Update, .. })), "{refused:?}");
    let later = NOW.plus_millis(1_000);
    let changed = node.registry.update_device(&ada, &pond, later, name).await.unwrap();
    assert_eq!((changed.name.as_deref(), changed.date_created, changed.date_modified), (Some("The pond"), NOW, later));
    let same = node.registry.update_device(&ada, &pond, later.plus_millis(1), name).await.unwrap();
    assert_eq!(same.date_modified, later, "what is the same is no change");

    assert!(matches!(node.registry.delete_device(&bob, &pond, NOW).await, Err(RegistryError::Forbidden { .. })));
    node.registry.delete_device(&ada, &pond, NOW).await.unwrap();
    assert_eq!(node.registry.device(&pond), None);
    assert!(matches!(node.registry.delete_device(&ada, &pond, NOW).await, Err(RegistryError::Unknown { .. })));
}

#[tokio::test]
async fn a_sensor_that_changes_has_a_date_of_its_own() {
    let (node, _dir) = Node::alone().await;
    let (ada, pond) = (user("ada"), id("pond"));
    node.registry.create_device(&ada, device(json!({ "id": "pond", "sensors": [{ "id": "a" }, { "id": "b" }] })), NOW).await.unwrap();
    let later = NOW.plus_millis(1_000);
    let changed = node.registry.update_device(&ada, &pond, later, |device| {
        device.sensors[1].unit = Some("DegreeCelsius".into());
        device.sensors.push(sensor("c"));
        Ok(())
    });
    let dates: Vec<_> = changed.await.unwrap().sensors.iter().map(|sensor| (sensor.date_created, sensor.date_modified)).collect();
    assert_eq!(dates, [(NOW, NOW), (NOW, later), (later, later)]);
}

#[tokio::test]
async fn two_nodes_of_one_log_see_each_others_changes_and_one_that_comes_later_too() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(dir.path()).await;
    let (one, other) = (Node::on(&ledger), Node::on(&ledger));
    let (ada, pond) = (user("ada"), id("pond"));
    one.registry.create_device(&ada, device(json!({ "id": "pond", "sensors": [{ "id": "t" }] })), NOW).await.unwrap();
    // A change is decided on what the ledger has, not on what this node has heard of it.
    let twice = other.registry.create_device(&ada, device(json!({ "id": "pond" })), NOW).await;
    assert!(matches!(twice, Err(RegistryError::Exists { .. })), "{twice:?}");
    other.follow();
    assert_eq!(other.registry.device(&pond), one.registry.device(&pond));
    let hide = |device: &mut Device| {
        device.owned.visibility = Visibility::Private;
        Ok(())
    };
    other.registry.update_device(&ada, &pond, NOW, hide).await.unwrap();
    assert_eq!(other.registry.allows(&user("bob"), Deed::View, &pond), Some(false));
    one.follow();
    assert_eq!(one.registry.allows(&user("bob"), Deed::View, &pond), Some(false));
    assert_eq!(one.registry.allows(&ada, Deed::View, &pond), Some(true));
    let late = Node::on(&ledger);
    assert_eq!(late.registry.device(&pond), one.registry.device(&pond));
    one.registry.delete_device(&ada, &pond, NOW).await.unwrap();
    [&other, &late].into_iter().for_each(Node::follow);
    assert_eq!((other.registry.device(&pond), late.registry.device(&pond)), (None, None));
    assert_eq!(other.registry.len(), 0);
}

#[tokio::test]
async fn gateways_and_projects_are_documents_too() {
    let (node, _dir) = Node::alone().await;
    let (ada, bob) = (user("ada"), user("bob"));
    let dates = json!({ "date_created": 0, "date_modified": 0 });
    let with = |mut document: serde_json::Value| {
        document.as_object_mut().unwrap().extend(dates.as_object().unwrap().clone());
        document
    };
    let gateway = serde_json::from_value(with(json!({ "id": "gw", "visibility": "private" }))).unwrap();
    let project = serde_json::from_value(with(json!({ "id": "farm", "name": "Farm", "device_ids": ["pond"] }))).unwrap();
    node.registry.create_gateway(&ada, gateway, NOW).await.unwrap();
    node.registry.create_project(&ada, project, NOW).await.unwrap();
    assert_eq!((node.registry.gateways(&ada).len(), node.registry.gateways(&bob).len(), node.registry.projects(&bob).len()), (1, 0, 1));
    let beat = |gateway: &mut crate::model::Gateway| {
        gateway.heartbeat = Some(NOW);
        Ok(())
    };
    assert!(matches!(node.registry.update_gateway(&bob, &id("gw"), NOW, beat).await, Err(RegistryError::Forbidden { .. })));
    node.registry.update_gateway(&ada, &id("gw"), NOW, beat).await.unwrap();
    assert_eq!(node.registry.gateway(&id("gw")).unwrap().heartbeat, Some(NOW));
    node.registry
        .update_project(&ada, &id("farm"), NOW, |project| {
            project.name = "The farm".into();
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(node.registry.project(&id("farm")).unwrap().name, "The farm");
    node.registry.delete_gateway(&ada, &id("gw"), NOW).await.unwrap();
    node.registry.delete_project(&ada, &id("farm"), NOW).await.unwrap();
    assert_eq!((node.registry.gateway(&id("gw")), node.registry.project(&id("farm"))), (None, None));
}

#[tokio::test]
async fn what_is_too_long_too_much_or_nowhere_is_refused_by_its_field() {
    let (node, _dir) = Node::alone().await;
    let parts = |count: usize, meta: usize| -> Vec<_> {
        (0..count).map(|n| json!({ "id": format!("s{n}"), "meta": { "x": "x".repeat(meta) } })).collect()
    };
    let cases = [
        ("name", json!({ "name": "x".repeat(TEXT_BYTES_MAX + 1) })),
        ("domain", json!({ "domain": "x".repeat(TEXT_BYTES_MAX + 1) })),
        ("meta", json!({ "meta": { "x": "x".repeat(META_BYTES_MAX) } })),
        ("location", json!({ "location": { "latitude": 91, "longitude": 0 } })),
        ("location", json!({ "location": { "latitude": 0, "longitude": -181 } })),
        ("sensors", json!({ "sensors": parts(PARTS_PER_DEVICE_MAX + 1, 0) })),
        ("actuators", json!({ "actuators": parts(PARTS_PER_DEVICE_MAX + 1, 0) })),
        ("sensors", json!({ "sensors": [{ "id": "a" }, { "id": "a" }] })),
        ("sensors.unit", json!({ "sensors": [{ "id": "a", "unit": "x".repeat(TEXT_BYTES_MAX + 1) }] })),
        ("sensors.calib", json!({ "sensors": [{ "id": "a", "calib": "x".repeat(META_BYTES_MAX) }] })),
        ("id", json!({ "sensors": parts(DOCUMENT_BYTES_MAX / 1_000, 1_000) })),
    ];
    for (field, more) in cases {
        let mut whole = json!({ "id": "pond" });
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let refused = node.registry.create_device(&user("ada"), device(whole), NOW).await;
        assert!(matches!(&refused, Err(RegistryError::Invalid { field: at, .. }) if *at == field), "{field}: {refused:?}");
    }
    let ids: Vec<String> = (0..=PROJECT_MEMBERS_MAX).map(|n| n.to_string()).collect();
    let project = json!({ "id": "p", "name": "p", "device_ids": ids, "date_created": 0, "date_modified": 0 });
    let refused = node.registry.create_project(&user("ada"), serde_json::from_value(project).unwrap(), NOW).await;
    assert!(matches!(refused, Err(RegistryError::Invalid { field: "device_ids", .. })), "{refused:?}");
    let fits = device(json!({ "id": "pond", "name": "x".repeat(TEXT_BYTES_MAX), "sensors": parts(PARTS_PER_DEVICE_MAX, 0) }));
    node.registry.create_device(&user("ada"), fits, NOW).await.unwrap();
    let rename = |device: &mut Device| {
        device.id = id("lake");
        Ok(())
    };
    let renamed = node.registry.update_device(&user("ada"), &id("pond"), NOW, rename).await;
    assert!(matches!(renamed, Err(RegistryError::Invalid { field: "id", .. })));
    assert_eq!(node.registry.len(), 1);
}

#[tokio::test]
async fn a_node_has_so_many_devices_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(dir.path()).await;
    let devices = Devices::open(dir.path()).unwrap();
    let registry = Registry::open_for(ledger.clone(), devices.clone(), &default_tenant(), 2).unwrap();
    for name in ["a", "b"] {
        registry.create_device(&user("ada"), device(json!({ "id": name })), NOW).await.unwrap();
    }
    let more = registry.create_device(&user("ada"), device(json!({ "id": "c" })), NOW).await;
    assert!(matches!(more, Err(RegistryError::Full { max: 2, .. })), "{more:?}");
    assert!(registry.has_room(&id("c")).is_err() && registry.has_room(&id("a")).is_ok());
    registry.delete_device(&user("ada"), &id("a"), NOW).await.unwrap();
    registry.create_device(&user("ada"), device(json!({ "id": "c" })), NOW).await.unwrap();
}

#[tokio::test]
async fn a_node_has_so_many_gateways_and_projects() {
    let (node, _dir) = Node::alone().await;
    let text = |id: usize| json!({ "id": id.to_string(), "name": "x", "date_created": 0, "date_modified": 0 });
    let gateway = |id| serde_json::from_value::<crate::model::Gateway>(text(id)).unwrap();
    let project = |id| serde_json::from_value::<crate::model::Project>(text(id)).unwrap();
    let fill = |from: usize, to: usize, into: &dyn Fn(&mut crate::devices::registry::Index, usize)| {
        let mut index = node.registry.0.index.write();
        (from..to).for_each(|n| into(&mut index, n));
    };
    fill(1, GATEWAYS_MAX, &|index, n| index.set_gateway(&id(&n.to_string()), Some(gateway(n).into())));
    fill(1, PROJECTS_MAX, &|index, n| index.set_project(&id(&n.to_string()), Some(project(n).into())));
    node.registry.create_gateway(&admin(), gateway(0), NOW).await.unwrap();
    node.registry.create_project(&admin(), project(0), NOW).await.unwrap();
    let (more, too) = (gateway(GATEWAYS_MAX), project(PROJECTS_MAX));
    assert!(matches!(node.registry.create_gateway(&admin(), more, NOW).await, Err(RegistryError::Full { max: GATEWAYS_MAX, .. })));
    assert!(matches!(node.registry.create_project(&admin(), too, NOW).await, Err(RegistryError::Full { max: PROJECTS_MAX, .. })));
}

#[tokio::test]
async fn many_devices_at_once_are_registered_all_or_none() {
    let (node, _dir) = Node::alone().await;
    let many = |names: &[&str]| names.iter().map(|name| device(json!({ "id": name }))).collect::<Vec<_>>();
    node.registry.create_devices(&user("ada"), many(&["a", "b", "c"]), NOW).await.unwrap();
    for names in [["d", "a"], ["d", "d"]] {
        let refused = node.registry.create_devices(&user("ada"), many(&names), NOW).await;
        assert!(matches!(refused, Err(RegistryError::Exists { .. })), "{refused:?}");
    }
    assert_eq!((node.registry.len(), node.registry.device(&id("d"))), (3, None));
}

#[tokio::test]
async fn a_dev_eui_is_of_one_device_on_every_node() {
    let (here, dir) = Node::alone().await;
    let there = Node::on(&here.ledger);
    let _dir = dir;
    let eui = "a84041ffff123456";
    let create = async |node: &Node, who: &str, text: serde_json::Value| node.registry.create_device(&user(who), device(text), NOW).await;
    let refused = |result: Result<_, RegistryError>, field: &str| match result {
        Err(RegistryError::Invalid { field: wrong, .. }) => assert_eq!(wrong, field),
        other => panic!("{other:?}"),
    };
    create(&here, "ada", json!({ "id": "weather" })).await.unwrap();
    create(&here, "eve", json!({ "id": "old" })).await.unwrap();
    here.registry.update_device(&user("ada"), &id("weather"), NOW, |device| claims(device, eui)).await.unwrap();
    // An older one, a new one, one called so, two at once; and by a node that has not read of it.
    for node in [&here, &there] {
        refused(node.registry.update_device(&user("eve"), &id("old"), NOW, |device| claims(device, &eui.to_uppercase())).await, "meta");
        refused(create(node, "eve", json!({ "id": "new", "meta": { "dev_eui": eui } })).await, "meta");
        refused(create(node, "eve", json!({ "id": eui })).await, "id");
        let twins = ["a", "b"].map(|name| device(json!({ "id": name, "meta": { "dev_eui": "b84041ffff123456" } })));
        refused(node.registry.create_devices(&user("eve"), twins.into(), NOW).await.map(|()| unreachable!()), "meta");
        there.follow();
    }
    // One that is called so has it without saying so.
    create(&here, "ada", json!({ "id": "c84041ffff123456" })).await.unwrap();
    refused(create(&here, "eve", json!({ "id": "new", "meta": { "dev_eui": "c84041ffff123456" } })).await, "meta");
    assert_eq!(here.registry.device_of_eui("c84041ffff123456"), Some(id("c84041ffff123456")));
    // Other changes of its device go on; and when it is given up it is free.
    here.registry
        .update_device(&user("ada"), &id("weather"), NOW, |device| {
            device.name = Some("w".to_owned());
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(here.registry.device_of_eui(eui), Some(id("weather")));
    here.registry
        .update_device(&user("ada"), &id("weather"), NOW, |device| {
            device.meta.clear();
            Ok(())
        })
        .await
        .unwrap();
    create(&there, "eve", json!({ "id": "new", "meta": { "dev_eui": eui } })).await.unwrap();
    assert_eq!(there.registry.device_of_eui(eui), Some(id("new")));
}

fn claims(device: &mut Device, eui: &str) -> Result<(), RegistryError> {
    device.meta.insert("dev_eui".to_owned(), eui.into());
    Ok(())
}

#[tokio::test]
async fn another_tenant_sees_and_does_nothing_here() {
    let (node, _dir) = Node::alone().await;
    node.registry.create_device(&user("ada"), device(json!({ "id": "pond" })), NOW).await.unwrap();
    let stranger = Principal::User { tenant: id("mainz"), id: id("ada"), admin: true };
    assert_eq!(node.registry.allows(&stranger, Deed::View, &id("pond")), Some(false));
    assert_eq!(node.registry.list(&stranger, &crate::devices::Query::all(), 10, 0).unwrap(), (vec![], 0));
    assert!(node.registry.create_device(&stranger, device(json!({ "id": "x" })), NOW).await.is_err());
    assert!(node.registry.delete_device(&stranger, &id("pond"), NOW).await.is_err());
}

#[tokio::test]
async fn a_share_is_counted_as_documents_come_change_and_go() {
    let (node, _dir) = Node::alone().await;
    let (ada, pond) = (user("ada"), id("pond"));
    let shares = |owner: &str| node.registry.0.index.read().shares.of(Some(&id(owner)));
    node.registry.create_device(&ada, device(json!({ "id": "pond" })), NOW).await.unwrap();
    let small = shares("ada");
    let named = |device: &mut Device| {
        device.name = Some("a name".to_owned());
        Ok(())
    };
    node.registry.update_device(&ada, &pond, NOW, named).await.unwrap();
    assert!(shares("ada").1 > small.1 && shares("ada").0 == 1);
    let given = |device: &mut Device| {
        device.owned.owner = Some(id("bob"));
        Ok(())
    };
    node.registry.update_device(&ada, &pond, NOW, given).await.unwrap();
    assert_eq!((shares("ada"), shares("bob").0), ((0, 0), 1));
    let gateway = serde_json::from_value(json!({ "id": "gw", "date_created": 0, "date_modified": 0 })).unwrap();
    node.registry.create_gateway(&user("bob"), gateway, NOW).await.unwrap();
    assert_eq!(shares("bob").0, 2);
    node.registry.delete_gateway(&user("bob"), &id("gw"), NOW).await.unwrap();
    node.registry.delete_device(&user("bob"), &pond, NOW).await.unwrap();
    assert_eq!(shares("bob"), (0, 0));
}

#[tokio::test]
async fn whose_an_app_is_is_the_same_on_every_node_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(dir.path()).await;
    let (one, two) = (Node::on(&ledger), Node::on(&ledger));
    let (app, other) = (id("pumps"), id("other"));
    one.registry.set_app_owner(&app, Some(&id("ada")), NOW).await.unwrap();
    one.registry.set_app_owner(&app, Some(&id("bob")), NOW).await.unwrap();
    assert_eq!((one.registry.app_owner(&app), one.registry.app_owner(&other)), (Some(id("bob")), None));
    two.follow();
    assert_eq!((two.registry.app_owner(&app), Node::on(&ledger).registry.app_owner(&app)), (Some(id("bob")), Some(id("bob"))));
    two.registry.set_app_owner(&app, None, NOW).await.unwrap();
    one.follow();
    assert_eq!(one.registry.app_owner(&app), None);
}
