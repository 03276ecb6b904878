//! What a client gets when it subscribes, and what its first reading makes.

use super::*;

async fn has_read(house: &House) {
    while house.broker.devices.position() < *house.ledger.head().borrow() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_subscribes_misses_nothing_that_the_projection_has_not_read_yet() {
    let mut house = House::with_work(AtWork { projection: false, ..ALL_AT_WORK }).await;
    house.reading("field", 1).await;
    let (mut app, _) = house.admitted(user("ada", "app")).await;
    app.publish("devices/field/actuators/valve/value", "true", QosPid::Level1(pid(1))).await;
    app.hear().await;
    // Everybody is given what comes from here on.
    while house.broker.next() <= *house.ledger.head().borrow() {
        tokio::task::yield_now().await;
    }
    let (mut client, _) = house.admitted(user("ada", "field")).await;
    client.subscribe("devices/field/#").await;
    house.reading("field", 2).await;
    let mut got = Vec::new();
    for _ in 0..4 {
        let (value, publish) = client.delivery().await;
        got.push((value, publish.retain));
    }
    let wanted: [(serde_json::Value, bool); 4] = [(true.into(), false), (1.into(), true), (true.into(), true), (2.into(), false)];
    assert_eq!(got, wanted, "the command that waits, what was, and then what is");
}

#[tokio::test]
async fn a_value_that_is_newer_than_a_subscription_comes_once_and_as_it_came() {
    let mut house = House::with_work(AtWork { follower: false, projection: true }).await;
    house.reading("field", 1).await;
    has_read(&house).await;
    let (mut client, _) = house.admitted(guest("c")).await;
    client.subscribe("devices/field/#").await;
    client.subscribe("devices/+/sensors/s/value").await;
    // As slow as it may be.
    house.follow();
    house.reading("field", 2).await;
    for n in 1..=2 {
        let (value, publish) = client.delivery().await;
        assert_eq!((value, publish.retain), (n.into(), false));
    }
}

#[tokio::test]
async fn a_users_first_reading_makes_the_device_hers() {
    let mut house = House::open().await;
    let (mut bob, _) = house.admitted(user("bob", "b")).await;
    let (mut eve, _) = house.admitted(user("eve", "e")).await;
    let topic = "devices/pond/sensors/s/value";
    // What is no reading makes none.
    for (n, (topic, payload)) in (1..).zip([(topic, "{"), ("devices/pond/actuators/a/value", "1"), ("devices/pond/sensors/s/values", "[]")])
    {
        bob.publish(topic, payload, QosPid::Level1(pid(n))).await;
        bob.hear().await;
    }
    assert_eq!(house.registry.device(&Id::new("pond").unwrap()), None);
    for n in 1..=3 {
        bob.publish(topic, &n.to_string(), QosPid::Level1(pid(n))).await;
        bob.hear().await;
        eve.publish(topic, "100", QosPid::Level1(pid(n))).await;
        eve.hear().await;
    }
    assert_eq!(house.values(Kind::Reading), ["1", "2", "3"]);
    let pond = house.registry.device(&Id::new("pond").unwrap()).unwrap();
    assert_eq!((pond.owned.owner.as_ref().map(Id::as_str), pond.owned.visibility), (Some("bob"), crate::model::Visibility::Private));
    bob.subscribe("devices/pond/#").await;
    assert_eq!(bob.delivery().await.0, 3);
    // One that was heard before is nobody's, and does not become hers by that.
    let (mut machine, _) = house.admitted(user("machine", "m")).await;
    for (client, n) in [(&mut machine, 1), (&mut eve, 2)] {
        client.publish("devices/found/sensors/s/value", &n.to_string(), QosPid::Level1(pid(n))).await;
        client.hear().await;
    }
    assert_eq!(house.values(Kind::Reading), ["1", "2", "3", "1"]);
    // A guest makes nothing.
    let (mut stranger, _) = house.admitted(guest("g")).await;
    stranger.publish("devices/new/sensors/s/value", "1", QosPid::Level1(pid(1))).await;
    stranger.hear().await;
    assert_eq!(house.values(Kind::Reading).len(), 4);
}

#[tokio::test]
async fn who_registers_a_device_hears_nothing_of_what_it_said_before() {
    let mut house = House::open().await;
    let (mut machine, _) = house.admitted(user("machine", "m")).await;
    let (mut bob, _) = house.admitted(lasting(user("bob", "b"))).await;
    bob.subscribe("devices/+/sensors/+/value").await;
    drop(bob);
    let send = async |machine: &mut Client, n: u16| {
        machine.publish("devices/old/sensors/s/value", &n.to_string(), QosPid::Level1(pid(n))).await;
        machine.hear().await;
    };
    send(&mut machine, 1).await;
    let document = serde_json::json!({ "id": "old", "date_created": 0, "date_modified": 0 });
    let bobs = Principal::User { tenant: default_tenant(), id: Id::new("bob").unwrap(), admin: false };
    house.registry.create_device(&bobs, serde_json::from_value(document).unwrap(), crate::clock::now()).await.unwrap();
    has_read(&house).await;
    // Neither as what it said last, nor out of the log.
    let (mut new, _) = house.admitted(user("bob", "new")).await;
    new.subscribe("devices/old/#").await;
    let (mut bob, _) = house.admitted(lasting(user("bob", "b"))).await;
    send(&mut machine, 2).await;
    assert_eq!(new.delivery().await.0, 2);
    assert_eq!(bob.delivery().await.0, 2);
}
