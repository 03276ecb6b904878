//! Commands: who takes them, and what is known of them.

use super::*;
use crate::model::Gateway;

async fn until_read(house: &House) {
    while house.broker.devices.position() < *house.ledger.head().borrow() {
        tokio::task::yield_now().await;
    }
}

/// What is known of a device's commands, the newest first.
async fn states(house: &House) -> Vec<CommandState> {
    until_read(house).await;
    let devices = &house.broker.devices;
    let commands = devices.commands(&default_tenant(), Some(&Id::new("pump").unwrap()), 100, crate::clock::now()).unwrap();
    commands.iter().map(|command| command.state).collect()
}

pub(super) async fn until_states(house: &House, wanted: &[CommandState]) {
    let wait = async {
        while states(house).await != wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the commands do not come so far");
}

#[tokio::test]
async fn a_command_waits_for_its_device_and_is_known_to_be_delivered_or_refused() {
    use CommandState::{Delivered, Refused, Waiting};
    let mut house = House::open().await;
    let (mut app, _) = house.admitted(user("ada", "app")).await;
    // Who watches the commands of everybody is no device.
    app.subscribe("devices/+/actuators/+/value").await;
    for (n, value) in [(1, "true"), (2, "false")] {
        app.publish("devices/pump/actuators/motor/value", value, QosPid::Level1(pid(n))).await;
        while !matches!(app.hear().await, Some(v3::Packet::Puback(_))) {}
    }
    assert_eq!(states(&house).await, [Waiting, Waiting]);
    let (mut device, _) = house.admitted(user("ada", "motor-board")).await;
    device.subscribe("devices/pump/actuators/+/value").await;
    let mut got = Vec::new();
    while got.len() < 2 {
        let (value, publish) = device.delivery().await;
        if !publish.retain {
            got.push(value);
        }
    }
    assert_eq!(got, [true, false]);
    until_states(&house, &[Delivered, Delivered]).await;
    drop(device);
    // One of version 5 says no.
    let (mut five, _) = house.five(five("ada", "pump", 0)).await;
    let filter = (TopicFilter::try_from("devices/pump/actuators/other/value").unwrap(), v5::SubscriptionOptions::new(QoS::Level1));
    five.say(v5::Subscribe::new(pid(1), vec![filter]).into()).await;
    five.listen().await;
    app.publish("devices/pump/actuators/other/value", "9", QosPid::Level1(pid(3))).await;
    let v5::Packet::Publish(command) = five.listen().await else { panic!() };
    assert!(command.properties.user_properties.iter().any(|own| &*own.name == "id" && own.value.starts_with("mqtt-")));
    let no = v5::Puback::new(command.qos_pid.pid().unwrap(), v5::PubackReasonCode::ImplementationSpecificError);
    five.say(v5::Packet::Puback(no)).await;
    until_states(&house, &[Refused, Delivered, Delivered]).await;
}

#[tokio::test]
async fn a_command_that_nobody_came_for_expires_and_is_not_delivered_any_more() {
    let mut house = House::open().await;
    let (mut app, _) = house.admitted(user("ada", "app")).await;
    app.publish("devices/pump/actuators/motor/value", "true", QosPid::Level1(pid(1))).await;
    app.hear().await;
    assert_eq!(states(&house).await, [CommandState::Waiting]);
    let (devices, pump) = (&house.broker.devices, Id::new("pump").unwrap());
    let later = crate::clock::now().plus_millis(crate::model::limit::COMMAND_SECONDS_MAX * 1_000 + 1_000);
    assert_eq!(devices.commands(&default_tenant(), Some(&pump), 1, later).unwrap()[0].state, CommandState::Expired);
    assert_eq!(devices.waiting(&default_tenant(), &pump, later).unwrap(), []);
    assert_eq!(devices.waiting(&default_tenant(), &pump, crate::clock::now()).unwrap().len(), 1);
}

#[tokio::test]
async fn who_may_only_look_takes_no_command_in_a_devices_place() {
    use CommandState::{Delivered, Waiting};
    let mut house = House::open().await;
    let field = |state: CommandState| {
        let devices = house.broker.devices.clone();
        let wait = async move {
            let known = || devices.commands(&default_tenant(), Some(&Id::new("field").unwrap()), 1, crate::clock::now()).unwrap();
            while known().first().is_none_or(|command| command.state != state) {
                tokio::task::yield_now().await;
            }
        };
        async move { tokio::time::timeout(WAIT, wait).await.expect("the command does not come so far") }
    };
    let (until_waiting, until_delivered) = (field(Waiting), field(Delivered));
    let gateway = serde_json::json!({ "id": "gw", "owner": "greg", "visibility": "private", "date_created": 0, "date_modified": 0 });
    let greg = Principal::User { tenant: default_tenant(), id: Id::new("greg").unwrap(), admin: false };
    house.registry.create_gateway(&greg, serde_json::from_value::<Gateway>(gateway).unwrap(), Micros(1)).await.unwrap();
    // A guest that names the device, one that calls itself so, a stranger that calls itself as the gateway is called.
    let mut lookers = Vec::new();
    for connect in [guest("g"), guest("field"), user("bob", "gw")] {
        let (mut looker, _) = house.admitted(connect).await;
        looker.subscribe("devices/field/#").await;
        lookers.push(looker);
    }
    let (mut ada, _) = house.admitted(user("ada", "app")).await;
    ada.publish("devices/field/actuators/valve/value", "true", QosPid::Level1(pid(1))).await;
    ada.hear().await;
    for looker in &mut lookers {
        assert_eq!(looker.delivery().await.0, true, "they see it");
        // Answered behind what is noted of its acknowledgement.
        looker.publish("devices/field/sensors/seen/value", "1", QosPid::Level1(pid(1))).await;
        while looker.hear().await != Some(v3::Packet::Puback(pid(1))) {}
    }
    until_read(&house).await;
    until_waiting.await;
    // The gateway that the device is behind asks for everybody's.
    let (mut gateway, _) = house.admitted(user("greg", "gw")).await;
    gateway.subscribe("devices/+/actuators/+/value").await;
    let (value, publish) = gateway.delivery().await;
    assert_eq!((value, publish.retain), (true.into(), true), "what the actuator was told last, which is no command");
    ada.publish("devices/field/actuators/valve/value", "false", QosPid::Level1(pid(2))).await;
    ada.hear().await;
    assert_eq!(gateway.delivery().await.0, false);
    until_delivered.await;
}
