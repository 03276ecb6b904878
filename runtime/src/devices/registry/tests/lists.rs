//! Who sees what of a list, and in which order.

use super::*;
use crate::{
    devices::{Query, RegistryError, registry::Inner},
    identity::{Deed, Identity, Role, may},
};
use serde_json::json;
use std::{cell::Cell, sync::Arc};

/// Devices of three owners and of nobody, private and public, as the ledger would hold them.
fn many(inner: &Inner, count: usize) {
    let mut index = inner.index.write();
    // Not in their order.
    for n in (0..count).map(|n| n * 7 % count) {
        let mut text = json!({ "id": format!("d{n:06}"), "visibility": if n % 3 == 0 { "private" } else { "public" }, "name": format!("n{}", n % 10) });
        if n % 4 > 0 {
            text["owner"] = json!(["", "ada", "bob", "eve"][n % 4]);
        }
        let device = Arc::new(device(text));
        index.set_document(&device.id.clone(), Some(device));
    }
}

fn asking() -> Vec<Principal> {
    let token = |role| Principal::Token(Identity { tenant: default_tenant(), token: "t".into(), name: "n".into(), role });
    let device = |name| Principal::Device { tenant: default_tenant(), id: id(name) };
    let roles = [Role::Admin, Role::Read, Role::Send, Role::Deploy { app: id("app") }].map(token);
    [guest(), user("ada"), user("bob"), user("nobody"), admin(), device("d000003"), device("else")].into_iter().chain(roles).collect()
}

#[tokio::test]
async fn everybody_sees_what_she_may_in_the_order_of_ids_and_how_many_there_are() {
    let (node, _dir) = Node::alone().await;
    many(&node.registry.0, 5_001);
    for who in asking() {
        for text in ["", "name==n3", "owner==ada", "name==none"] {
            let query = Query::parse(text).unwrap();
            let index = node.registry.0.index.read();
            let all = index.behind(None).filter(|entry| may(&who, Deed::View, entry.resource()) && query.fits(&entry.shown, &Cell::new(0)));
            let expected: Vec<Id> = all.map(|entry| entry.id.clone()).collect();
            drop(index);
            assert!(expected.is_sorted());
            for (limit, offset) in [(10, 0), (1_000, 0), (1_000, 2_900), (10, 100_000), (0, 0), (10_000, 3)] {
                let (page, total) = node.registry.list(&who, &query, limit, offset).unwrap();
                let page: Vec<Id> = page.iter().map(|device| device.id.clone()).collect();
                let wanted: Vec<Id> = expected.iter().skip(offset).take(limit).cloned().collect();
                assert_eq!((page, total), (wanted, expected.len()), "{who:?} {text} {limit} {offset}");
            }
        }
    }
}

#[tokio::test]
async fn a_list_is_right_after_devices_came_changed_and_went() {
    let (node, _dir) = Node::alone().await;
    many(&node.registry.0, 500);
    let mut index = node.registry.0.index.write();
    for n in (0..500).step_by(3) {
        index.set_document(&id(&format!("d{n:06}")), None);
    }
    for n in (0..500).step_by(4) {
        let changed = device(json!({ "id": format!("d{n:06}"), "owner": "eve", "visibility": "private" }));
        index.set_document(&changed.id.clone(), Some(Arc::new(changed)));
    }
    let expected: Vec<usize> = (0..500).filter(|n| n % 4 == 0 || n % 3 > 0).collect();
    drop(index);
    let (page, total) = node.registry.list(&admin(), &Query::all(), 1_000, 0).unwrap();
    assert_eq!(total, expected.len());
    assert!(page.iter().map(|device| device.id.to_string()).eq(expected.iter().map(|n| format!("d{n:06}"))));
    let eves = expected.iter().filter(|n| *n % 4 == 0 || *n % 4 == 3).count();
    assert_eq!(node.registry.list(&user("eve"), &Query::parse("owner==eve").unwrap(), 10, 0).unwrap().1, eves);
    let public = expected.iter().filter(|n| *n % 4 > 0).count();
    assert_eq!(node.registry.list(&guest(), &Query::all(), 10, 0).unwrap().1, public);
}

#[tokio::test]
async fn a_question_takes_only_so_many_comparisons_and_nobody_waits_for_it() {
    let (node, _dir) = Node::alone().await;
    let sensors: Vec<_> = (0..512).map(|n| json!({ "id": format!("s{n}"), "name": "none of them" })).collect();
    let mut index = node.registry.0.index.write();
    for n in 0..200 {
        let device = Arc::new(device(json!({ "id": format!("d{n}"), "sensors": sensors })));
        index.set_document(&device.id.clone(), Some(device));
    }
    drop(index);
    let names: Vec<String> = (0..250).map(|n| format!("n{n}")).collect();
    let slow = Query::parse(&format!("sensors.name=={}", names.join(","))).unwrap();
    assert!(matches!(node.registry.list(&admin(), &slow, 10, 0), Err(RegistryError::TooSlow)));
    let quick = Query::parse(&format!("id==d7;sensors.name=={}", names.join(","))).unwrap();
    assert_eq!(node.registry.list(&admin(), &quick, 10, 0).unwrap().1, 0);
    // What is tested is tested while others may change it.
    let mut last = None;
    let (devices, _) = node.registry.step(&admin(), &mut last);
    assert!(node.registry.0.index.try_write().is_some() && devices.len() == 200);
}
