//! Which sensors fit what an app needs.

use super::*;
use crate::{
    identity::{Deed, may},
    model::{Device, Selector, SensorRef, Visibility},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};

const SELECTORS: [&str; 16] = [
    "",
    "kind=Thermometer",
    "kind=Thermometer,unit=DegreeCelsius",
    "quantity=AirTemperature,owner=ada",
    "unit=none",
    "owner=nobody",
    "project=farm",
    "project=farm,kind=PHMeter",
    "project=none",
    "tags=river",
    "tags=river,tags=deep",
    "tags=none",
    "within=5:-4:60",
    "within=5:-4:60,kind=Thermometer,tags=river",
    "seen_within=10s",
    "seen_within=10s,within=5:-4:600,owner=bob",
];

fn pick<'a>(random: &mut StdRng, of: &[&'a str]) -> &'a str {
    of[random.random_range(0..of.len())]
}

fn any_device(random: &mut StdRng, name: &str) -> Device {
    let mut text = json!({ "id": name, "visibility": pick(random, &["public", "private"]), "owner": pick(random, &["ada", "bob"]) });
    if random.random_bool(0.7) {
        text["location"] = json!({ "latitude": random.random_range(4.0..6.0), "longitude": random.random_range(-5.0..-3.0) });
    }
    text["meta"] = match random.random_range(0..4) {
        0 => json!({ "tags": ["river", "deep"] }),
        1 => json!({ "tags": "river" }),
        2 => json!({ "tags": { "river": 1 } }),
        _ => json!({}),
    };
    let sensor = |n: usize, random: &mut StdRng| {
        json!({
            "id": format!("s{n}"), "sensor_kind": pick(random, &["Thermometer", "PHMeter"]), "quantity_kind": pick(random, &["AirTemperature", "PH"]),
            "unit": pick(random, &["DegreeCelsius", "DegreeFahrenheit"]), "meta": { "tags": [pick(random, &["deep", "flat"])] },
        })
    };
    text["sensors"] = (0..random.random_range(0..4)).map(|n| sensor(n, random)).collect();
    device(text)
}

/// The same question, asked of every document one after the other.
fn plainly(node: &Node, selector: &Selector, who: &Principal, now: Micros) -> BTreeSet<SensorRef> {
    let mut found = BTreeSet::new();
    let index = node.registry.0.index.read();
    for entry in index.behind(None) {
        let member = |project: &Id| index.projects.get(project).is_some_and(|group| group.project.device_ids.contains(&entry.id));
        if !may(who, Deed::ViewData, entry.resource()) || !selector.project.as_ref().is_none_or(member) {
            continue;
        }
        for (sensor, row) in entry.shown.sensors.iter().zip(&entry.rows) {
            let seen = index.rows.seen(*row);
            let window = |window: std::time::Duration| seen.0 > 0 && now.0 - seen.0 <= window.as_micros() as i64;
            if selector.fits_device(&entry.shown) && selector.fits_sensor(&entry.shown, sensor) && selector.seen_within.is_none_or(window) {
                found.insert(SensorRef { device: entry.id.clone(), sensor: sensor.id.clone() });
            }
        }
    }
    found
}

#[tokio::test]
async fn whatever_came_changed_and_went_the_index_finds_what_the_documents_say() {
    let (node, _dir) = Node::alone().await;
    let members: Vec<String> = (0..200).step_by(5).map(|n| format!("d{n}")).chain(["gone".to_owned()]).collect();
    let farm = json!({ "id": "farm", "name": "Farm", "device_ids": members, "date_created": 0, "date_modified": 0 });
    node.registry.0.index.write().set_project(&id("farm"), Some(Arc::new(serde_json::from_value(farm).unwrap())));
    let mut random = StdRng::seed_from_u64(1);
    let (mut most, mut watches) = ([0; SELECTORS.len()], Vec::new());
    for (text, who) in SELECTORS.iter().flat_map(|text| [admin(), user("ada"), guest()].map(|who| (*text, who))) {
        watches.push((text, who.clone(), node.registry.watch(Selector::parse(text).unwrap(), who).unwrap(), BTreeSet::new()));
    }
    for round in 0..60_i64 {
        let now = NOW.plus_millis(round.unsigned_abs() * 1_000);
        {
            let feeds = node.registry.0.turn.lock();
            for _ in 0..20 {
                let name = id(&format!("d{}", random.random_range(0..200)));
                let here = random.random_bool(0.8).then(|| Arc::new(any_device(&mut random, name.as_str())));
                node.registry.0.index.write().set_document(&name, here);
                feeds.device_changed(&node.registry.0, &name);
                let heard = (id(&format!("d{}", random.random_range(0..200))), id(&format!("s{}", random.random_range(0..5))));
                node.registry.0.hear(&feeds, &heard.0, &heard.1, now, now);
            }
        }
        for (n, (text, who, watch, known)) in watches.iter_mut().enumerate() {
            let selector = Selector::parse(text).unwrap();
            let found = node.registry.select(&selector, who, now);
            let (count, found) = (found.len(), found.into_iter().collect::<BTreeSet<_>>());
            assert_eq!(count, found.len(), "each once");
            assert_eq!(found, plainly(&node, &selector, who, now), "round {round}: `{text}` of {who:?}");
            let delta = watch.take(now);
            assert!(delta.added.iter().all(|sensor| known.insert(sensor.clone())), "round {round}: `{text}` has twice what it added");
            assert!(delta.removed.iter().all(|sensor| known.remove(sensor)), "round {round}: `{text}` never had what it lost");
            assert_eq!(*known, found, "round {round}: a watch of `{text}` of {who:?}");
            most[n / 3] = most[n / 3].max(found.len());
        }
    }
    for (text, most) in SELECTORS.iter().zip(most) {
        let none = text.contains("none") || text.contains("nobody");
        assert_eq!(most == 0, none, "`{text}` found {most} at most");
    }
}

#[tokio::test]
async fn what_an_owner_keeps_private_is_selected_for_her_alone() {
    let (node, _dir) = Node::alone().await;
    let text = json!({ "id": "pond", "visibility": "private", "sensors": [{ "id": "t", "sensor_kind": "Thermometer" }] });
    node.registry.create_device(&user("ada"), device(text), NOW).await.unwrap();
    let selector = Selector::parse("kind=Thermometer").unwrap();
    let count = |who: &Principal| node.registry.select(&selector, who, NOW).len();
    let stranger = Principal::User { tenant: id("mainz"), id: id("ada"), admin: true };
    assert_eq!([user("ada"), admin(), user("bob"), guest(), stranger].each_ref().map(count), [1, 1, 0, 0, 0]);
    let mut watch = node.registry.watch(selector.clone(), user("bob")).unwrap();
    assert!(watch.take(NOW).is_empty());
    for (visibility, came, went) in [(Visibility::Public, 1, 0), (Visibility::Private, 0, 1)] {
        let change = |device: &mut Device| {
            device.owned.visibility = visibility;
            Ok(())
        };
        node.registry.update_device(&user("ada"), &id("pond"), NOW, change).await.unwrap();
        let delta = watch.take(NOW);
        assert_eq!((delta.added.len(), delta.removed.len()), (came, went), "{visibility:?}");
    }
}
