//! What is kept of a client: as long as it should be, and no longer.

use super::*;

/// Until nobody is connected.
async fn all_have_gone(house: &House) {
    let wait = async {
        while house.broker.metrics.mqtt_clients.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, wait).await.expect("somebody is still there");
}

#[tokio::test]
async fn a_session_is_not_over_while_its_client_is_there() {
    let soon = Duration::from_millis(1);
    let settings = Settings { keep: soon, seen: soon, ..Settings::default() };
    let mut house = House::with(tempfile::tempdir().unwrap(), settings).await;
    let (mut client, _) = house.admitted(lasting(user("ada", "c"))).await;
    client.publish(PUMP, "1", QosPid::Level2(pid(5))).await;
    assert_eq!(client.hear().await, Some(v3::Packet::Pubrec(pid(5))));
    let key = session::Key { tenant: default_tenant(), who: "user:ada".into(), client: "c".into() };
    let seen = || house.broker.store.find(&key).unwrap().kept.unwrap().seen;
    // It does nothing, and it is known all the same that it is there.
    let first = seen();
    let wait = async {
        while seen() == first {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, wait).await.expect("nobody notes that the client is there");
    // By a clock that is far ahead, or after an hour without a note, it is not forgotten either.
    let later = crate::clock::now().plus_millis(1_000 * 1_000 * 1_000);
    house.broker.sweep(&default_tenant(), later).await.unwrap();
    drop(client);
    all_have_gone(&house).await;
    let (mut client, present) = house.admitted(lasting(user("ada", "c"))).await;
    assert!(present);
    client.publish(PUMP, "1", QosPid::Level2(pid(5))).await;
    assert_eq!(client.hear().await, Some(v3::Packet::Pubrec(pid(5))));
    assert_eq!(house.values(Kind::Reading), ["1"], "its packet is known");
    drop(client);
    all_have_gone(&house).await;
    house.broker.sweep(&default_tenant(), later).await.unwrap();
    let (_, present) = house.admitted(lasting(user("ada", "c"))).await;
    assert!(!present, "and then it is over");
}

#[tokio::test]
async fn a_session_that_ends_with_its_connection_leaves_no_packet_ids_behind() {
    let mut house = House::open().await;
    let publish = |value: &'static str| {
        let topic = TopicName::try_from(PUMP).unwrap();
        v5::Packet::Publish(v5::Publish::new(QosPid::Level2(pid(5)), topic, Bytes::from_static(value.as_bytes())))
    };
    let (mut client, _) = house.five(five("ada", "c", 3_600)).await;
    client.say(publish("1")).await;
    assert!(matches!(client.listen().await, v5::Packet::Pubrec(_)));
    let mut last = v5::Disconnect::new_normal();
    last.properties.session_expiry_interval = Some(0);
    client.say(last.into()).await;
    all_have_gone(&house).await;
    // Another session: the id is of another packet.
    for (value, expiry) in [("2", 3_600), ("2", 0)] {
        let (mut client, _) = house.five(five("ada", "c", expiry)).await;
        client.say(publish(value)).await;
        assert!(matches!(client.listen().await, v5::Packet::Pubrec(_)));
        drop(client);
        all_have_gone(&house).await;
        assert_eq!(house.values(Kind::Reading), ["1", "2"], "known as long as the session lasts");
    }
    // The second of these did not last, so what it went on with has ended with it.
    let (mut client, _) = house.five(five("ada", "c", 3_600)).await;
    client.say(publish("3")).await;
    assert!(matches!(client.listen().await, v5::Packet::Pubrec(_)));
    assert_eq!(house.values(Kind::Reading), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_connection_that_panics_keeps_nobody_else_from_its_clients_id() {
    let mut house = House::open().await;
    for _ in 0..2 {
        let mut client = house.client(lasting(user("ada", "bomb"))).await;
        assert_eq!(client.hear().await, None);
        all_have_gone(&house).await;
    }
}

#[tokio::test]
async fn who_may_not_stay_is_not_let_in_and_has_no_will() {
    let mut house = House::open().await;
    let mut connect = user("ada", "c");
    let topic = TopicName::try_from("devices/pump/sensors/alive/value").unwrap();
    connect.last_will = Some(v3::LastWill::new(QoS::Level1, topic, Bytes::from_static(b"\"revoked\"")));
    let (mut kicked, _) = house.admitted(connect.clone()).await;
    connect.client_id = "other".into();
    let (lost, _) = house.admitted(connect).await;
    house.stays.store(false, Ordering::Relaxed);
    house.broker.look_again();
    assert_eq!(kicked.hear().await, None);
    drop(lost);
    all_have_gone(&house).await;
    // One that had shown who it is a moment before.
    let mut late = house.client(user("ada", "late")).await;
    let refused = v3::Connack::new(false, v3::ConnectReturnCode::BadUserNameOrPassword);
    assert_eq!(late.hear().await, Some(v3::Packet::Connack(refused)));
    house.stays.store(true, Ordering::Relaxed);
    let (mut client, _) = house.admitted(user("ada", "c")).await;
    client.publish(PUMP, "1", QosPid::Level1(pid(1))).await;
    client.hear().await;
    assert_eq!(house.values(Kind::Reading), ["1"]);
}

#[tokio::test]
async fn guests_take_nothing_of_what_a_group_of_others_shares() {
    let mut house = House::open().await;
    let (mut ada, _) = house.admitted(user("ada", "a")).await;
    let (mut stranger, _) = house.admitted(guest("g")).await;
    for client in [&mut ada, &mut stranger] {
        client.subscribe("$share/fields/devices/field/#").await;
    }
    for n in 0..4 {
        house.reading("field", n).await;
    }
    for n in 0..4 {
        assert_eq!(ada.delivery().await.0, n);
        assert_eq!(stranger.delivery().await.0, n);
    }
}
