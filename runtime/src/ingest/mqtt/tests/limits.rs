//! Who takes more than there is for one: that one alone is hung up on, or waits.

use super::super::shares::Shares;
use super::*;
use crate::model::limit::*;

async fn impatient() -> House {
    let soon = Duration::from_millis(50);
    let settings = Settings { connect: soon, stall: soon, packet: soon, ..Settings::default() };
    House::with(tempfile::tempdir().unwrap(), settings).await
}

/// That the client's connection has ended.
async fn is_hung_up_on(client: &mut Client) {
    while client.hear().await.is_some() {}
}

async fn is_served(client: &mut Client) {
    client.send(v3::Packet::Pingreq).await;
    assert_eq!(client.hear().await, Some(v3::Packet::Pingresp));
}

#[tokio::test]
async fn who_comes_on_top_is_hung_up_on() {
    let settings = Settings { connections: 1, ..Settings::default() };
    let mut house = House::with(tempfile::tempdir().unwrap(), settings).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    house.tasks.spawn(serve(Gate { listener, around: Around::Nothing }, house.broker.clone(), house.stop.clone()));
    let hello = v3::Packet::Connect(guest("c")).encode().unwrap();
    let mut first = tokio::net::TcpStream::connect(addr).await.unwrap();
    first.write_all(hello.as_ref()).await.unwrap();
    assert_eq!(first.read_u8().await.unwrap(), 0x20);
    let mut second = tokio::net::TcpStream::connect(addr).await.unwrap();
    assert!(second.read_u8().await.is_err());
    drop(first);
    // The place is free when the first one's session is put away.
    while house.broker.metrics.mqtt_clients.get() > 0 {
        tokio::task::yield_now().await;
    }
    loop {
        let mut third = tokio::net::TcpStream::connect(addr).await.unwrap();
        if third.write_all(hello.as_ref()).await.is_ok() && third.read_u8().await.is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn half_a_first_packet_and_half_a_later_one_are_not_waited_for() {
    let mut house = impatient().await;
    let (mut other, _) = house.admitted(guest("other")).await;
    let (ours, theirs) = tokio::io::duplex(1024);
    house.tasks.spawn(connection::serve(Box::new(theirs), house.broker.clone(), house.stop.clone()));
    let mut half = Client { stream: ours };
    half.stream.write_all(&[0x10, 0x20, 0, 4]).await.unwrap();
    is_hung_up_on(&mut half).await;
    let (mut later, _) = house.admitted(guest("later")).await;
    later.stream.write_all(&[0x30, 0x20, 0]).await.unwrap();
    is_hung_up_on(&mut later).await;
    is_served(&mut other).await;
}

#[tokio::test]
async fn garbage_and_packets_over_the_limit_end_their_connection_alone() {
    let mut house = House::open().await;
    let (mut other, _) = house.admitted(guest("other")).await;
    for bytes in [
        &b"\xff\xff\xff\xff\xff"[..],
        b"GET / HTTP/1.1\r\nhost: somewhere.example\r\naccept: everything there is, and more\r\n\r\n",
        b"\x30\xff\xff\xff\x7f",
        b"\x10\x02\x00\x00",
    ] {
        let (mut client, _) = house.admitted(guest("c")).await;
        client.stream.write_all(bytes).await.unwrap();
        is_hung_up_on(&mut client).await;
    }
    is_served(&mut other).await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_hung_up_on() {
    let mut house = impatient().await;
    let (mut client, _) = house.admitted(guest("c")).await;
    client.subscribe("devices/field/#").await;
    let text = "x".repeat(VALUE_BYTES_MAX / 2);
    let id = |text| Id::new(text).unwrap();
    while house.broker.metrics.mqtt_clients.get() > 0 {
        let value = crate::model::Value::json(&format!("\"{text}\"")).unwrap();
        let sample = Sample { device: id("field"), sensor: id("s"), measured: None, value };
        house.ingest.store(Envelope { tenant: default_tenant(), received: Micros(1), samples: vec![sample] }, None).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_is_slow_is_read_the_log_and_misses_nothing() {
    let mut house = House::open().await;
    let (mut client, _) = house.admitted(guest("c")).await;
    client.subscribe("devices/field/#").await;
    let count = u32::try_from(4 * MQTT_QUEUE_MAX).unwrap() + 2 * u32::try_from(MQTT_OUTPUT_BYTES_MAX).unwrap() / 100;
    for n in 0..count {
        house.reading("field", n).await;
    }
    for n in 0..count {
        assert_eq!(client.delivery().await.0, n);
    }
}

#[tokio::test]
async fn a_client_that_acknowledges_nothing_has_only_so_many_under_way() {
    let mut house = House::open().await;
    let (mut client, _) = house.admitted(guest("c")).await;
    client.subscribe("devices/field/#").await;
    for n in 0..=MQTT_INFLIGHT_MAX {
        house.reading("field", u32::try_from(n).unwrap()).await;
    }
    for _ in 0..MQTT_INFLIGHT_MAX {
        assert!(matches!(client.hear().await, Some(v3::Packet::Publish(_))));
    }
    is_served(&mut client).await;
    client.send(v3::Packet::Puback(pid(1))).await;
    assert!(matches!(client.hear().await, Some(v3::Packet::Publish(_))));
}

#[tokio::test]
async fn who_releases_none_of_its_packets_is_hung_up_on() {
    let mut house = House::open().await;
    let (mut client, _) = house.admitted(guest("c")).await;
    for n in 1..=u16::try_from(MQTT_RECEIVED_MAX).unwrap() {
        client.publish(FIELD, "1", QosPid::Level2(pid(n))).await;
        assert_eq!(client.hear().await, Some(v3::Packet::Pubrec(pid(n))));
    }
    client.publish(FIELD, "1", QosPid::Level2(pid(5_000))).await;
    assert_eq!(client.hear().await, None);
}

#[tokio::test]
async fn a_client_subscribes_to_only_so_many_filters() {
    let mut house = House::open().await;
    let (mut client, _) = house.admitted(guest("c")).await;
    for n in 0..MQTT_SUBSCRIPTIONS_MAX {
        assert_eq!(client.subscribe(&format!("devices/{n}/#")).await, v3::SubscribeReturnCode::MaxLevel1);
    }
    assert_eq!(client.subscribe("devices/more/#").await, v3::SubscribeReturnCode::Failure);
    assert_eq!(client.subscribe("devices/0/#").await, v3::SubscribeReturnCode::MaxLevel1, "one that it has");
    client.send(v3::Unsubscribe::new(pid(1), vec![TopicFilter::try_from("devices/0/#").unwrap()]).into()).await;
    assert_eq!(client.hear().await, Some(v3::Packet::Unsuback(pid(1))));
    assert_eq!(client.subscribe("devices/more/#").await, v3::SubscribeReturnCode::MaxLevel1);
}

#[tokio::test]
async fn what_all_clients_have_under_way_is_bounded() {
    let mut house = House::open().await;
    let (mut client, _) = house.admitted(guest("c")).await;
    for (room, all) in
        [(&house.broker.clone().publishes, MQTT_PUBLISHES_MAX), (&house.broker.clone().publish_bytes, MQTT_PUBLISHES_BYTES_MAX)]
    {
        let taken = room.acquire_many(u32::try_from(all).unwrap()).await.unwrap();
        let before = house.values(Kind::Reading).len();
        client.publish(FIELD, "1", QosPid::Level1(pid(1))).await;
        is_served(&mut client).await;
        assert_eq!(house.values(Kind::Reading).len(), before);
        drop(taken);
        assert_eq!(client.hear().await, Some(v3::Packet::Puback(pid(1))));
    }
}

#[tokio::test]
async fn large_packets_that_are_only_begun_share_bounded_room() {
    let mut house = House::open().await;
    let (mut small, _) = house.admitted(guest("small")).await;
    let (mut large, _) = house.admitted(guest("large")).await;
    house.broker.buffered.fetch_add(MQTT_BUFFERS_BYTES_MAX + 1, Ordering::Relaxed);
    let mut begun = vec![0x30, 0x80, 0x80, 0x02];
    begun.extend(vec![b'x'; 16 * 1024]);
    large.stream.write_all(&begun).await.unwrap();
    is_hung_up_on(&mut large).await;
    is_served(&mut small).await;
    house.broker.buffered.fetch_sub(MQTT_BUFFERS_BYTES_MAX + 1, Ordering::Relaxed);
    while house.broker.metrics.mqtt_clients.get() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(house.broker.buffered.load(Ordering::Relaxed), 0, "what it held is given back");
}

#[tokio::test]
async fn only_so_many_sessions_are_kept_and_none_for_ever() {
    let mut house = House::open().await;
    let (client, _) = house.admitted(lasting(user("ada", "c"))).await;
    drop(client);
    while house.broker.metrics.mqtt_clients.get() > 0 {
        tokio::task::yield_now().await;
    }
    let everybodys = (0..MQTT_SESSIONS_MAX / MQTT_SESSIONS_SHARE_MAX).map(|n| (Arc::from(format!("user:{n}")), MQTT_SESSIONS_SHARE_MAX));
    *house.broker.kept.lock() = Shares::of(everybodys.collect());
    let mut more = house.client(lasting(user("ada", "more"))).await;
    let refused = v3::Connack::new(false, v3::ConnectReturnCode::ServerUnavailable);
    assert_eq!(more.hear().await, Some(v3::Packet::Connack(refused)));
    let sweep = |seconds: u32| {
        let (broker, then) = (house.broker.clone(), crate::clock::now().plus_millis(u64::from(seconds) * 1_000));
        async move {
            broker.sweep(&default_tenant(), then).await.unwrap();
            broker.kept.lock().count()
        }
    };
    assert_eq!(sweep(MQTT_SESSION_SECONDS_MAX - 60).await, 1);
    assert_eq!(sweep(MQTT_SESSION_SECONDS_MAX + 60).await, 0);
    let (_, present) = house.admitted(lasting(user("ada", "c"))).await;
    assert!(!present);
}

#[tokio::test]
async fn a_client_that_begins_anew_takes_no_more_room_than_one() {
    let mut house = House::open().await;
    for n in 0..5 {
        let mut connect = five("ada", "c", 3_600);
        connect.clean_start = true;
        let (mut client, _) = house.five(connect).await;
        assert_eq!(house.broker.kept.lock().count(), 1, "{n}");
        client.say(v5::Disconnect::new_normal().into()).await;
    }
    // One that says at its end that nothing is to be kept gives its room back.
    let (mut client, _) = house.five(five("ada", "c", 3_600)).await;
    let mut last = v5::Disconnect::new_normal();
    last.properties.session_expiry_interval = Some(0);
    client.say(last.into()).await;
    while house.broker.kept.lock().count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_list_that_is_larger_than_the_ledger_takes_is_never_acknowledged_as_stored() {
    let mut house = House::open().await;
    // Long names that stand in each of its readings.
    let (device, sensor) = ("d.".repeat(ID_BYTES_MAX / 2), "s.".repeat(ID_BYTES_MAX / 2));
    let topic = format!("devices/{device}/sensors/{sensor}/values");
    let list = format!("[{}]", vec!["{\"value\":1}"; INGEST_READINGS_MAX].join(","));
    let (mut three, _) = house.admitted(user("machine", "three")).await;
    three.publish(&topic, &list, QosPid::Level1(pid(1))).await;
    assert_eq!(three.hear().await, None, "it can't be told otherwise");
    let (mut five, _) = house.five(five("machine", "five", 0)).await;
    let publish = v5::Publish::new(QosPid::Level1(pid(1)), TopicName::try_from(&*topic).unwrap(), Bytes::from(list));
    five.say(v5::Packet::Publish(publish)).await;
    assert_eq!(five.listen().await, v5::Puback::new(pid(1), v5::PubackReasonCode::QuotaExceeded).into());
    assert_eq!(house.values(Kind::Reading).len(), 0);
}

#[tokio::test]
async fn who_says_nothing_for_longer_than_it_promised_is_hung_up_on() {
    let mut house = House::open().await;
    let mut connect = guest("c");
    connect.keep_alive = 1;
    let (mut silent, _) = house.admitted(connect).await;
    is_hung_up_on(&mut silent).await;
}
