//! What fires, how often, and in whose name.

use super::*;
use crate::model::{
    Kind,
    limit::{
        CONDITION_DEVICES_MAX, MESSAGE_BYTES_MAX, NOTIFICATION_NAMES_MAX, NOTIFICATIONS_MAX, NOTIFICATIONS_PER_OWNER_MAX, RECIPIENTS_MAX,
        SOCIALS_PENDING_PER_OWNER_MAX,
    },
};
use crate::{ledger::JetstreamOptions, model::limit::FIRING_BYTES_MAX, notify::NotifyError, records::Space};

fn command(value: Json) -> Json {
    json!({ "type": "ActuationAction", "value": { "device_id": "pump", "actuator_id": "valve", "actuator_value": value } })
}

fn commands(farm: &Farm) -> Vec<Json> {
    farm.events().iter().filter(|event| event.kind == Kind::Command).map(|event| event.value.to_json()).collect()
}

#[tokio::test]
async fn a_notification_fires_when_its_condition_is_met_and_no_more_often_than_its_throttling_says() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    let log = json!({ "type": "SocialAction", "value": { "usernames": ["ada", "bob"], "channels": ["log"], "message": "${TC1} at ${device_id}" } });
    let watched = watch(&node, log).await;
    for (value, seconds) in [("39", 0), ("41", 1), ("42", 2), ("43", 120), ("44", 121), ("\"45.5\"", 242), ("\"warm\"", 400)] {
        farm.reads("pond", "TC1", value, seconds).await;
    }
    farm.reads("lake", "TC1", "50", 500).await;
    farm.reads("pond", "TC2", "50", 500).await;
    looks(&node).await;
    let mut messages: Vec<_> = socials(&node).into_iter().map(|social| (social.message, social.username.unwrap().to_string())).collect();
    messages.sort();
    let both = |text: &str| [(text.to_owned(), "ada".to_owned()), (text.to_owned(), "bob".to_owned())];
    assert_eq!(messages, [both("41 at pond"), both("44 at pond"), both("45.5 at pond")].concat());
    assert_eq!(state(&node, &watched).state.times_sent, 3);
}

#[tokio::test]
async fn the_other_sensors_of_a_condition_count_as_they_were_when_the_reading_came() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    farm.owns("shed", "bob", Visibility::Public);
    farm.said("shed", "fan", "false", Micros(1));
    let wish = json!({
        "condition": { "devices": ["pond"], "sensors": ["TC1"], "expression": "TC1 > HUM && !shed.fan" },
        "action": command(json!("${HUM}")), "throttling": 0,
    });
    farm.owns("pump", "ada", Visibility::Private);
    let watched = create(&node, &user("ada"), wish).await;
    // Nothing is known of HUM; then it is lower; then TC1 is read before it rises; then the fan runs.
    for (device, sensor, value, seconds) in [
        ("pond", "TC1", "30", 1),
        ("pond", "HUM", "20", 2),
        ("pond", "TC1", "30", 3),
        ("pond", "HUM", "40", 4),
        ("pond", "TC1", "30", 5),
        ("pond", "TC1", "50", 6),
        ("shed", "fan", "true", 7),
        ("pond", "TC1", "60", 8),
    ] {
        farm.reads(device, sensor, value, seconds).await;
    }
    looks(&node).await;
    let values: Vec<Json> = commands(&farm).into_iter().map(|command| command["value"].clone()).collect();
    assert_eq!(values, [json!(20), json!(40)]);
    assert_eq!(state(&node, &watched).state.times_sent, 2);
}

#[tokio::test]
async fn a_command_is_given_in_the_owners_name_and_once() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    farm.owns("pump", "ada", Visibility::Private);
    let watched = watch(&node, command(json!("${TC1}"))).await;
    farm.reads("pond", "TC1", "41.5", 1).await;
    looks(&node).await;
    // A node that died before it noted how far it was looks at the same reading again.
    looks(&farm.node(&[])).await;
    let given = farm.events().iter().find(|event| event.kind == Kind::Command).cloned().unwrap();
    assert_eq!(given.subject.as_str(), "command.pump.valve");
    assert_eq!((given.value.to_json()["value"].clone(), given.hops()), (json!(41.5), 1));
    assert_eq!(commands(&farm).len(), 1);
    assert!(state(&node, &watched).state.last_success.is_some());
    // It is somebody else's now.
    farm.owns("pump", "bob", Visibility::Private);
    farm.reads("pond", "TC1", "42", 300).await;
    looks(&node).await;
    let state = state(&node, &watched).state;
    assert_eq!((commands(&farm).len(), state.times_sent), (1, 2));
    assert!(state.last_failure_reason.unwrap().contains("may not command the device `pump`"));
}

#[tokio::test]
async fn nobody_is_told_the_values_of_a_device_that_he_may_not_see() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    farm.owns("shed", "bob", Visibility::Public);
    let spies = |expression: &str| {
        let log = json!({ "type": "SocialAction", "value": { "channels": ["log"], "message": "${pond.TC1}" } });
        json!({ "condition": { "devices": ["shed"], "sensors": ["fan"], "expression": expression }, "action": log, "throttling": 0 })
    };
    let wish = || serde_json::from_value::<Wish>(spies("fan")).unwrap();
    // The message names a sensor of ada's, which is reason enough.
    assert!(matches!(node.create(&user("bob"), wish(), Micros(1)).await, Err(NotifyError::Forbidden(_))));
    farm.owns("pond", "ada", Visibility::Public);
    let watched = node.create(&user("bob"), wish(), Micros(1)).await.unwrap();
    farm.reads("pond", "TC1", "7", 1).await;
    farm.reads("shed", "fan", "true", 2).await;
    looks(&node).await;
    assert_eq!(socials(&node).len(), 1);
    farm.owns("pond", "ada", Visibility::Private);
    farm.reads("shed", "fan", "true", 10).await;
    looks(&node).await;
    assert_eq!(state(&node, &watched).state.times_sent, 1);
    // Nor does a notification outlive its owner.
    farm.owns("pond", "ada", Visibility::Public);
    farm.world.people.lock().remove(&id("bob"));
    farm.reads("shed", "fan", "true", 20).await;
    looks(&node).await;
    assert_eq!(state(&node, &watched).state.times_sent, 1);
}

#[tokio::test]
async fn two_nodes_on_one_log_fire_once() {
    let farm = Farm::new().await;
    let nodes = [farm.node(&[]), farm.node(&[])];
    let log = json!({ "type": "SocialAction", "value": { "channels": ["log"], "message": "${TC1}" } });
    let wish = json!({ "condition": condition("TC1 > 40"), "action": log, "throttling": 0 });
    let watched = create(&nodes[0], &user("ada"), wish).await;
    for n in 0..20 {
        farm.reads("pond", "TC1", &format!("{}", 50 + n), 2 * n).await;
    }
    tokio::join!(looks(&nodes[0]), looks(&nodes[1]));
    let mut messages: Vec<String> = socials(&nodes[1]).into_iter().map(|social| social.message).collect();
    messages.sort();
    assert_eq!(messages, (50..70).map(|value: i32| value.to_string()).collect::<Vec<_>>());
    assert_eq!(state(&nodes[1], &watched).state.times_sent, 20);
}

#[tokio::test]
async fn what_is_switched_off_expired_or_gone_fires_no_more() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    let log = json!({ "type": "SocialAction", "value": { "channels": ["log"], "message": "${TC1}" } });
    let watched = watch(&node, log).await;
    let change = |wish: Json| {
        let node = &node;
        let watched = &watched;
        async move { node.change(&user("ada"), watched, serde_json::from_value::<Wish>(wish).unwrap(), Micros(2)).await.unwrap() }
    };
    change(json!({ "status": "inactive", "throttling": 1 })).await;
    farm.reads("pond", "TC1", "41", 1).await;
    looks(&node).await;
    change(json!({ "status": "active", "expires": crate::clock::now().plus_millis(10_000).to_string() })).await;
    farm.reads("pond", "TC1", "42", 2).await;
    farm.reads("pond", "TC1", "43", 20).await;
    looks(&node).await;
    change(json!({ "expires": null, "condition": condition("TC1 < 40") })).await;
    farm.reads("pond", "TC1", "44", 30).await;
    farm.reads("pond", "TC1", "39", 40).await;
    looks(&node).await;
    node.delete(&user("ada"), &watched, Micros(3)).await.unwrap();
    farm.reads("pond", "TC1", "38", 60).await;
    looks(&node).await;
    let mut messages: Vec<String> = socials(&node).into_iter().map(|social| social.message).collect();
    messages.sort();
    assert_eq!(messages, ["39", "42"]);
}

#[tokio::test]
async fn notifications_have_their_limits() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    let wish = |devices: usize, channels: usize, message: &str| {
        let devices: Vec<String> = (0..devices).map(|n| format!("d{n}")).collect();
        let channels: Vec<String> = (0..channels).map(|n| format!("c{n}")).collect();
        serde_json::from_value::<Wish>(json!({
            "condition": { "devices": devices, "sensors": ["TC1"], "expression": "TC1 > 40" },
            "action": { "type": "SocialAction", "value": { "channels": channels, "message": message } },
        }))
        .unwrap()
    };
    let ada = user("ada");
    // With the one of the condition they are one too many.
    let names: String = (0..NOTIFICATION_NAMES_MAX).map(|n| format!("${{s{n}}} ")).collect();
    for (wrong, field) in [
        (wish(0, 1, ""), "condition.devices"),
        (wish(CONDITION_DEVICES_MAX + 1, 1, ""), "condition.devices"),
        (wish(1, 0, ""), "action.value.channels"),
        (wish(1, RECIPIENTS_MAX + 1, ""), "action.value.channels"),
        (wish(1, 1, &"x".repeat(MESSAGE_BYTES_MAX + 1)), "action.value.message"),
        (wish(1, 1, &names), "action.value"),
        (Wish { throttling: Some(-1.0), ..wish(1, 1, "") }, "throttling"),
        (Wish { expires: Some(Some("soon".into())), ..wish(1, 1, "") }, "expires"),
        (Wish { status: Some("asleep".into()), ..wish(1, 1, "") }, "status"),
    ] {
        let refused = node.create(&ada, wrong, Micros(1)).await;
        assert!(matches!(&refused, Err(NotifyError::Invalid { field: named, .. }) if *named == field), "{field}: {refused:?}");
    }
    for _ in 0..NOTIFICATIONS_PER_OWNER_MAX {
        node.create(&ada, wish(1, 1, ""), Micros(1)).await.unwrap();
    }
    assert!(matches!(node.create(&ada, wish(1, 1, ""), Micros(1)).await, Err(NotifyError::Full { .. })));
    node.create(&user("bob"), wish(1, 1, ""), Micros(1)).await.unwrap();
}

#[tokio::test]
async fn an_owner_has_only_so_many_messages_on_their_way() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    let many: Vec<String> = (0..RECIPIENTS_MAX).map(|n| format!("u{n}")).collect();
    let log = json!({ "type": "SocialAction", "value": { "usernames": many, "channels": ["log"], "message": format!("${{TC1}}{}", "x".repeat(4_000)) } });
    let wish = json!({ "condition": condition("TC1 > 40"), "action": log, "throttling": 0 });
    let watched = create(&node, &user("ada"), wish).await;
    // The values filled in are longer than the text around them.
    let long = format!("\"50{}\"", "0".repeat(200));
    let fit = SOCIALS_PENDING_PER_OWNER_MAX / RECIPIENTS_MAX;
    for n in 0..=fit {
        farm.reads("pond", "TC1", if n == 0 { &long } else { "50" }, 2 * i64::try_from(n).unwrap()).await;
    }
    looks(&node).await;
    let socials = socials(&node);
    assert_eq!(socials.len(), fit * RECIPIENTS_MAX);
    assert!(socials.iter().any(|social| social.message.len() == MESSAGE_BYTES_MAX));
    assert!(socials.iter().all(|social| social.message.len() <= MESSAGE_BYTES_MAX));
    let state = state(&node, &watched).state;
    assert!(state.last_failure_reason.unwrap().contains("too many messages"));
    let letter = json!({ "username": "bob", "channel": "log", "message": "hello" });
    node.send(&user("bob"), serde_json::from_value(letter).unwrap(), Micros(1)).await.unwrap();
}

#[tokio::test]
async fn a_node_has_a_most_of_notifications() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    let log = json!({ "type": "SocialAction", "value": { "channels": ["log"], "message": "" } });
    let wish = json!({ "condition": condition("TC1 > 40"), "action": log });
    let first = create(&node, &user("ada"), wish.clone()).await;
    let one = state(&node, &first);
    for some in 0..NOTIFICATIONS_MAX / 500 {
        let put = |changes: &mut crate::records::Changes| {
            (0..500).try_for_each(|n| {
                let many = Notification { id: id(&format!("n{some}-{n}")), owner: Some(id(&format!("u{some}-{n}"))), ..one.clone() };
                changes.put(Notification::key(&many.id), &many)
            })
        };
        node.0.records.change::<(), crate::records::RecordsError>(Micros(1), put).await.unwrap();
    }
    looks(&node).await;
    let refused = node.create(&user("ada"), serde_json::from_value(wish).unwrap(), Micros(1)).await;
    assert!(matches!(refused, Err(NotifyError::Full { max: NOTIFICATIONS_MAX, .. })), "{refused:?}");
}

/// Bytes of the documents that each change of the records wrote, as they are now.
fn changes(farm: &Farm, node: &Notify) -> Vec<usize> {
    let events = farm.events();
    let keys = events.iter().filter_map(|event| Space::Devices.changed(event));
    let bytes = |key: &String| {
        let stored: Option<Json> = node.0.records.get(key).unwrap();
        stored.map_or(0, |stored| stored.to_string().len())
    };
    keys.map(|keys| keys.iter().map(bytes).sum()).collect()
}

#[tokio::test]
async fn what_fires_is_committed_in_changes_that_fit_one_message_of_the_log() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    let log = |name: &str, text: &str| {
        let names: Vec<String> = (0..16).map(|n| format!("{name}{n}")).collect();
        let action = json!({ "type": "SocialAction", "value": { "usernames": names, "channels": ["log"], "message": text.repeat(MESSAGE_BYTES_MAX) } });
        json!({ "condition": condition("TC1 > 40"), "action": action, "throttling": 0 })
    };
    for n in 0..10 {
        create(&node, &user("ada"), log(&format!("u{n}-"), "x")).await;
    }
    farm.reads("pond", "TC1", "41", 1).await;
    looks(&node).await;
    assert_eq!(socials(&node).len(), 160);
    let bytes = changes(&farm, &node);
    assert!(bytes.iter().all(|bytes| *bytes <= FIRING_BYTES_MAX) && bytes.iter().any(|bytes| *bytes > FIRING_BYTES_MAX / 2), "{bytes:?}");
}

#[tokio::test]
async fn what_is_too_large_for_the_log_is_a_failure_of_its_notification_alone() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    let names: Vec<String> = (0..RECIPIENTS_MAX).map(|n| format!("u{n}")).collect();
    let log = |text: &str| json!({ "type": "SocialAction", "value": { "usernames": names, "channels": ["log"], "message": text } });
    // In JSON such a character is six.
    let wide = watch(&node, log(&"\u{1}".repeat(MESSAGE_BYTES_MAX))).await;
    let small = watch(&node, log("${TC1}")).await;
    farm.reads("pond", "TC1", "41", 1).await;
    looks(&node).await;
    assert_eq!(socials(&node).iter().filter(|social| social.message == "41").count(), RECIPIENTS_MAX);
    assert_eq!(socials(&node).len(), RECIPIENTS_MAX);
    let (wide, small) = (state(&node, &wide).state, state(&node, &small).state);
    assert!(wide.last_failure_reason.unwrap().contains("too large"));
    assert_eq!((wide.times_sent, small.times_sent, small.last_failure), (1, 1, None));
    // Nor does a letter get there.
    let letter = json!({ "usernames": names, "channels": ["log"], "message": "\u{1}".repeat(MESSAGE_BYTES_MAX) });
    let refused = node.send(&user("ada"), serde_json::from_value(letter).unwrap(), Micros(1)).await;
    assert!(matches!(refused, Err(NotifyError::Invalid { field: "message", .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_little_room_for_a_message_stops_no_notification_of_others() {
    let mut server = crate::ledger::tests::nats::Server::start_with("8MB");
    let dir = tempfile::tempdir().unwrap();
    let jetstream = JetstreamOptions { intake: false, relay: false, ..JetstreamOptions::default() };
    let (url, place) = (server.url(), dir.path().to_owned());
    let farm = Farm::on(dir, &LedgerConfig::Jetstream { dir: place, url, options: LedgerOptions::default(), jetstream }).await;
    let node = farm.node(&[]);
    // At a start it would be refused; this one comes back so.
    server.restart_with("64KB");
    let names: Vec<String> = (0..RECIPIENTS_MAX).map(|n| format!("u{n}")).collect();
    let log = |text: &str| json!({ "type": "SocialAction", "value": { "usernames": names, "channels": ["log"], "message": text } });
    let wide = watch(&node, log(&"x".repeat(MESSAGE_BYTES_MAX))).await;
    let small = watch(&node, log("${TC1}")).await;
    farm.reads("pond", "TC1", "41", 1).await;
    let head = *farm.ledger.head().borrow();
    looks(&node).await;
    assert!(node.position() >= head);
    assert_eq!(socials(&node).iter().filter(|social| social.message == "41").count(), RECIPIENTS_MAX);
    assert!(state(&node, &wide).state.last_failure_reason.unwrap().contains("too large"));
    assert_eq!(state(&node, &small).state.last_failure, None);
    farm.ledger.close().await;
}

#[tokio::test]
async fn what_a_message_fills_in_is_looked_up_when_its_condition_is_met_and_once() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    farm.said("pond", "HUM", "20", Micros(1));
    farm.said("pond", "PH", "7", Micros(1));
    let log = json!({ "type": "SocialAction", "value": { "channels": ["log"], "message": "${PH} and ${TC1}" } });
    create(&node, &user("ada"), json!({ "condition": condition("TC1 > HUM"), "action": log, "throttling": 0 })).await;
    let asked = || std::mem::take(&mut *farm.world.asked.lock());
    for n in 0..20 {
        farm.reads("pond", "TC1", "10", 2 * n).await;
    }
    looks(&node).await;
    assert_eq!(asked(), ["pond.HUM"]);
    for n in 20..25 {
        farm.reads("pond", "TC1", "30", 2 * n).await;
    }
    looks(&node).await;
    assert_eq!(asked(), ["pond.HUM", "pond.PH"]);
    assert!(socials(&node).len() == 5 && socials(&node).iter().all(|social| social.message == "7 and 30"));
}

#[tokio::test]
async fn nobody_is_told_what_a_device_said_before_it_was_his() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    farm.world.people.lock().insert(id("root"), Person { admin: true, ..Person::default() });
    farm.owns_since("pond", "ada", Visibility::Private, Micros(crate::clock::now().0 + 100 * Micros::SECOND));
    farm.said("pond", "PH", "7", Micros(1));
    let log = json!({ "type": "SocialAction", "value": { "channels": ["log"], "message": "${PH} ${HUM} ${TC1}" } });
    let wish = json!({ "condition": condition("TC1 > 40 && !(HUM > 90)"), "action": log, "throttling": 0 });
    let root = Principal::User { tenant: default_tenant(), id: id("root"), admin: true };
    let (hers, all) = (create(&node, &user("ada"), wish.clone()).await, create(&node, &root, wish).await);
    for (sensor, value, seconds) in [("HUM", "20", 1), ("TC1", "50", 2), ("TC1", "60", 101), ("HUM", "30", 102), ("TC1", "70", 103)] {
        farm.reads("pond", sensor, value, seconds).await;
    }
    looks(&node).await;
    let of = |notification: &Id| {
        let found = socials(&node).into_iter().filter(|social| social.notification.as_ref() == Some(notification));
        let mut messages: Vec<String> = found.map(|social| social.message).collect();
        messages.sort();
        messages
    };
    // Nothing is known of HUM until it speaks to her.
    assert_eq!(of(&hers), ["? 30 70"]);
    assert_eq!(of(&all), ["7 20 50", "7 20 60", "7 30 70"]);
}

#[tokio::test]
async fn what_is_due_while_a_node_catches_up_is_not_passed_over() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    let log = json!({ "type": "SocialAction", "value": { "channels": ["log"], "message": "${TC1}" } });
    watch(&node, log).await;
    looks(&node).await;
    farm.reads("pond", "TC1", "41", 0).await;
    // More than it looks at in one go.
    let time = crate::clock::now();
    let other = |_| NewEvent::reading(&default_tenant(), &id("lake"), &id("t"), time, time, Value::json("1").unwrap());
    let events = (0..10_000).map(other).collect();
    let append = Append { tenant: default_tenant(), events, dedup: None, intake: None };
    farm.ledger.apply(Op::Append(append)).await.unwrap();
    // Too early, then due: by the firing before, of which the log will tell later.
    farm.reads("pond", "TC1", "42", 60).await;
    farm.reads("pond", "TC1", "43", 121).await;
    looks(&node).await;
    let mut messages: Vec<String> = socials(&node).into_iter().map(|social| social.message).collect();
    messages.sort();
    assert_eq!(messages, ["41", "43"]);
}

#[tokio::test]
async fn what_is_changed_between_a_reading_and_its_firing_is_looked_at_as_it_is_then() {
    let farm = Farm::new().await;
    let [node, other] = [farm.node(&[]), farm.node(&[])];
    let log = |text: &str| json!({ "type": "SocialAction", "value": { "channels": ["log"], "message": text } });
    let watched = watch(&node, log("old ${TC1}")).await;
    looks(&node).await;
    looks(&other).await;
    farm.reads("pond", "TC1", "41", 1).await;
    // This node does not know of it yet when it looks at the reading.
    let wish = serde_json::from_value::<Wish>(json!({ "action": log("new ${TC1}") })).unwrap();
    other.change(&user("ada"), &watched, wish, Micros(2)).await.unwrap();
    looks(&node).await;
    assert_eq!(socials(&node).into_iter().map(|social| social.message).collect::<Vec<_>>(), ["new 41"]);
}

#[tokio::test]
async fn a_sensor_that_is_named_with_its_device_concerns_each_device_of_the_condition() {
    let farm = Farm::new().await;
    let node = farm.node(&[]);
    for device in ["fridge1", "fridge2"] {
        farm.owns(device, "ada", Visibility::Private);
    }
    let log = json!({ "type": "SocialAction", "value": { "channels": ["log"], "message": "${device_id} is at ${temp}, the pond at ${pond.TC1}" } });
    let condition = json!({ "devices": ["fridge1", "fridge2"], "expression": "temp > 8 && pond.TC1 > 20" });
    create(&node, &user("ada"), json!({ "condition": condition, "action": log, "throttling": 0 })).await;
    for (device, sensor, value, seconds) in [
        ("pond", "temp", "50", 1),
        ("fridge1", "temp", "5", 2),
        ("fridge2", "temp", "9", 3),
        ("pond", "TC1", "21", 4),
        ("pond", "TC2", "21", 6),
    ] {
        farm.reads(device, sensor, value, seconds).await;
    }
    looks(&node).await;
    assert_eq!(socials(&node).into_iter().map(|social| social.message).collect::<Vec<_>>(), ["fridge2 is at 9, the pond at 21"]);
}
