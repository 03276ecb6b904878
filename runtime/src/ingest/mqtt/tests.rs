//! What clients live through, over a stream in memory.

mod commands;
mod gates;
mod limits;
mod nodes;
mod sessions;
mod values;

use super::*;
use crate::{
    devices::{CommandState, Devices, Registry},
    identity::{Identity, Principal, Role},
    ingest::Ingest,
    ledger::{Ledger, LedgerConfig, LedgerOptions},
    model::{Device, Id, Kind, Micros, id::default_tenant},
    preprocess::{Envelope, Sample},
    telemetry::Metrics,
};
use bytes::Bytes;
use futures::FutureExt;
use mqtt_proto::{Pid, QoS, QosPid, TopicFilter, TopicName, v3, v5};
use std::sync::atomic::AtomicBool;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

struct House {
    dir: tempfile::TempDir,
    ledger: Ledger,
    ingest: Ingest,
    broker: Arc<Broker>,
    registry: Registry,
    /// Whether those who have come may stay.
    stays: Arc<AtomicBool>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// What is at work in a house beside the clients.
#[derive(Clone, Copy)]
struct AtWork {
    follower: bool,
    projection: bool,
}

const ALL_AT_WORK: AtWork = AtWork { follower: true, projection: true };

/// What belongs to whom: `pump` and `field` are Ada's, and `pump` is private.
fn hers(device: &Id) -> Option<Arc<Device>> {
    let visibility = match device.as_str() {
        "pump" => "private",
        "field" => "public",
        _ => return None,
    };
    let document = serde_json::json!({
        "id": device, "owner": "ada", "visibility": visibility, "gateway_id": "gw", "date_created": 0, "date_modified": 0,
        "sensors": [{ "id": "s", "date_created": 0, "date_modified": 0 }],
    });
    Some(Arc::new(serde_json::from_value(document).unwrap()))
}

fn door(registry: &Registry, stays: &Arc<AtomicBool>) -> Door {
    let (devices, gateways, stays) = (registry.clone(), registry.clone(), stays.clone());
    Door {
        identify: Arc::new(move |username, password| {
            let tenant = default_tenant();
            let who = match (username.as_deref(), password.as_deref()) {
                (None, _) => Ok(Principal::Guest { tenant }),
                (Some("machine"), Some(b"secret")) => {
                    Ok(Principal::Token(Identity { tenant, token: "t1".into(), name: "m".into(), role: Role::Admin }))
                }
                (Some(name), Some(b"secret")) => Ok(Principal::User { tenant, id: Id::new(name).unwrap(), admin: false }),
                _ => Err(Refused::Unknown),
            };
            let stays = stays.clone();
            let stays = Arc::new(move || stays.load(Ordering::Relaxed));
            std::future::ready(who.map(|who| Known { who, stays })).boxed()
        }),
        device: Arc::new(move |_, device| hers(device).or_else(|| devices.device(device))),
        gateway: Arc::new(move |_, gateway| gateways.gateway(gateway)),
        connected: Arc::new(|_, client, is_there| assert!(client != "bomb" || !is_there, "a test asked for it")),
    }
}

impl House {
    async fn open() -> House {
        House::with(tempfile::tempdir().unwrap(), Settings::default()).await
    }

    async fn with(dir: tempfile::TempDir, settings: Settings) -> House {
        let config = LedgerConfig::Embedded { dir: dir.path().join("ledger"), options: LedgerOptions::default() };
        House::on(Ledger::open(&config).await.unwrap(), dir, settings, ALL_AT_WORK)
    }

    async fn with_work(at_work: AtWork) -> House {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig::Embedded { dir: dir.path().join("ledger"), options: LedgerOptions::default() };
        House::on(Ledger::open(&config).await.unwrap(), dir, Settings::default(), at_work)
    }

    fn on(ledger: Ledger, dir: tempfile::TempDir, settings: Settings, at_work: AtWork) -> House {
        let devices = Devices::open(&dir.path().join("devices")).unwrap();
        let (metrics, stays) = (Metrics::new(), Arc::new(AtomicBool::new(true)));
        let registry = Registry::open(ledger.clone(), devices.clone(), &default_tenant()).unwrap();
        let ingest = Ingest::new(ledger.clone(), registry.clone(), metrics.clone(), true);
        let door = door(&registry, &stays);
        let broker = Arc::new(Broker::new(door, ingest.clone(), ledger.clone(), devices.clone(), metrics, settings));
        let mut house = House { dir, ledger, ingest, broker, registry, stays, stop: CancellationToken::new(), tasks: JoinSet::new() };
        if at_work.follower {
            house.follow();
        }
        if at_work.projection {
            let (log, end) = (house.ledger.clone(), house.stop.clone());
            house.tasks.spawn(async move { devices.run(log, end).await.unwrap() });
        }
        house
    }

    fn follow(&mut self) {
        self.tasks.spawn(self.broker.clone().follow(self.stop.clone()));
    }

    /// One of version 5, and what it is told first.
    async fn five(&mut self, connect: v5::Connect) -> (Client, v5::Packet) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.tasks.spawn(connection::serve(Box::new(theirs), self.broker.clone(), self.stop.clone()));
        let mut client = Client { stream: ours };
        client.say(v5::Packet::Connect(connect)).await;
        let welcome = client.listen().await;
        (client, welcome)
    }

    /// The node stops, and another one starts on what it left.
    async fn restart(mut self) -> House {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.ledger.close().await;
        drop((self.ingest, self.broker, self.registry, self.ledger));
        House::with(self.dir, Settings::default()).await
    }

    async fn client(&mut self, connect: v3::Connect) -> Client {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (broker, stop) = (self.broker.clone(), self.stop.clone());
        self.tasks.spawn(connection::serve(Box::new(theirs), broker, stop));
        let mut client = Client { stream: ours };
        client.send(connect.into()).await;
        client
    }

    /// One that is let in; whether something was kept of it.
    async fn admitted(&mut self, connect: v3::Connect) -> (Client, bool) {
        let mut client = self.client(connect).await;
        match client.hear().await {
            Some(v3::Packet::Connack(v3::Connack { code: v3::ConnectReturnCode::Accepted, session_present })) => (client, session_present),
            other => panic!("{other:?}"),
        }
    }

    /// Values in the log of one kind, in order.
    fn values(&self, kind: Kind) -> Vec<String> {
        let events = self.ledger.events(1, 10_000, usize::MAX).unwrap();
        events.iter().filter(|e| e.kind == kind).map(|e| e.value.to_json().to_string()).collect()
    }

    /// A reading that comes in by another door.
    async fn reading(&self, device: &str, value: u32) {
        let id = |text| Id::new(text).unwrap();
        let value = crate::model::Value::json(&value.to_string()).unwrap();
        let sample = Sample { device: id(device), sensor: id("s"), measured: None, value };
        self.ingest.store(Envelope { tenant: default_tenant(), received: Micros(1), samples: vec![sample] }, None).await.unwrap();
    }
}

struct Client {
    stream: DuplexStream,
}

impl Client {
    /// In version 5.
    async fn say(&mut self, packet: v5::Packet) {
        self.stream.write_all(packet.encode().unwrap().as_ref()).await.unwrap();
    }

    async fn listen(&mut self) -> v5::Packet {
        v5::Packet::decode(&self.frame().await.unwrap()).unwrap().unwrap()
    }

    async fn send(&mut self, packet: v3::Packet) {
        self.stream.write_all(packet.encode().unwrap().as_ref()).await.unwrap();
    }

    /// The next packet; none when the connection has ended.
    async fn hear(&mut self) -> Option<v3::Packet> {
        let all = self.frame().await?;
        v3::Packet::decode(&all).unwrap()
    }

    async fn frame(&mut self) -> Option<Vec<u8>> {
        let read = async {
            let mut all = vec![self.stream.read_u8().await.ok()?, self.stream.read_u8().await.ok()?];
            let mut length = usize::from(all[1] & 0x7f);
            if all[1] & 0x80 != 0 {
                all.push(self.stream.read_u8().await.ok()?);
                length |= usize::from(all[2]) << 7;
            }
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await.ok()?;
            all.extend(body);
            Some(all)
        };
        tokio::time::timeout(WAIT, read).await.expect("the node says nothing")
    }

    async fn publish(&mut self, topic: &str, payload: &str, qos_pid: QosPid) {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        self.send(v3::Publish::new(qos_pid, TopicName::try_from(topic).unwrap(), payload).into()).await;
    }

    async fn subscribe(&mut self, filter: &str) -> v3::SubscribeReturnCode {
        let topics = vec![(TopicFilter::try_from(filter).unwrap(), QoS::Level1)];
        self.send(v3::Subscribe::new(pid(9), topics).into()).await;
        loop {
            match self.hear().await.unwrap() {
                v3::Packet::Suback(ack) => return ack.topics[0],
                v3::Packet::Publish(early) => panic!("{early:?} before its subscription"),
                _ => {}
            }
        }
    }

    /// The next delivery, which is acknowledged: its value.
    async fn delivery(&mut self) -> (serde_json::Value, v3::Publish) {
        match self.hear().await {
            Some(v3::Packet::Publish(publish)) => {
                if let QosPid::Level1(pid) = publish.qos_pid {
                    self.send(v3::Packet::Puback(pid)).await;
                }
                let body: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
                (body.get("value").cloned().unwrap_or(body), publish)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn pid(number: u16) -> Pid {
    Pid::try_from(number).unwrap()
}

fn guest(id: &str) -> v3::Connect {
    v3::Connect::new(id.into(), 60)
}

fn user(name: &str, id: &str) -> v3::Connect {
    let mut connect = guest(id);
    (connect.username, connect.password) = (Some(name.into()), Some(Bytes::from_static(b"secret")));
    connect
}

fn five(name: &str, id: &str, expiry: u32) -> v5::Connect {
    let mut connect = v5::Connect::new(id.into(), 60);
    (connect.username, connect.password) = (Some(name.into()), Some(Bytes::from_static(b"secret")));
    connect.clean_start = false;
    connect.properties.session_expiry_interval = Some(expiry);
    connect
}

fn lasting(mut connect: v3::Connect) -> v3::Connect {
    connect.clean_session = false;
    connect
}

const WAIT: Duration = Duration::from_secs(20);
const PUMP: &str = "devices/pump/sensors/s/value";
const FIELD: &str = "devices/field/sensors/s/value";

#[tokio::test]
async fn a_publish_is_acknowledged_when_it_is_in_the_log_in_the_order_it_came() {
    let mut house = House::open().await;
    let (mut client, _) = house.admitted(user("ada", "c")).await;
    for n in 1..=200 {
        client.publish(PUMP, &format!("{{\"value\":{n}}}"), QosPid::Level1(pid(n))).await;
    }
    for n in 1..=200 {
        assert_eq!(client.hear().await, Some(v3::Packet::Puback(pid(n))));
        assert!(house.values(Kind::Reading).len() >= usize::from(n), "acknowledged before it was stored");
    }
    client.publish("devices/pump/sensors/s/values", "[{\"value\":201},{\"value\":202}]", QosPid::Level1(pid(1))).await;
    client.hear().await;
    let wanted: Vec<String> = (1..=202).map(|n| n.to_string()).collect();
    assert_eq!(house.values(Kind::Reading), wanted);
}

#[tokio::test]
async fn what_may_not_or_can_not_be_stored_is_acknowledged_and_dropped() {
    let mut house = House::open().await;
    let (mut client, _) = house.admitted(guest("c")).await;
    let bad = [
        (PUMP, "1"),
        ("devices/nobodys/sensors/s/value", "1"),
        (FIELD, "{"),
        (FIELD, ""),
        ("devices/field", "1"),
        ("devices/fie ld/sensors/s/value", "1"),
    ];
    for (n, (topic, payload)) in (1..).zip(bad) {
        client.publish(topic, payload, QosPid::Level1(pid(n))).await;
        assert_eq!(client.hear().await, Some(v3::Packet::Puback(pid(n))), "{topic} {payload}");
    }
    client.publish(FIELD, "7", QosPid::Level1(pid(100))).await;
    assert_eq!(client.hear().await, Some(v3::Packet::Puback(pid(100))));
    assert_eq!(house.values(Kind::Reading), ["7"]);
}

#[tokio::test]
async fn who_shows_a_wrong_password_is_not_let_in() {
    let mut house = House::open().await;
    let mut wrong = user("ada", "c");
    wrong.password = Some(Bytes::from_static(b"wrong"));
    let mut client = house.client(wrong).await;
    let refused = v3::Connack::new(false, v3::ConnectReturnCode::BadUserNameOrPassword);
    assert_eq!(client.hear().await, Some(v3::Packet::Connack(refused)));
    assert_eq!(client.hear().await, None);
    let mut client = house.client(guest(&"x".repeat(10_000))).await;
    let refused = v3::Connack::new(false, v3::ConnectReturnCode::IdentifierRejected);
    assert_eq!(client.hear().await, Some(v3::Packet::Connack(refused)));
}

#[tokio::test]
async fn subscribers_get_what_came_by_any_door_and_only_what_they_may_see() {
    let mut house = House::open().await;
    let (mut ada, _) = house.admitted(user("ada", "a")).await;
    let (mut stranger, _) = house.admitted(guest("g")).await;
    assert_eq!(ada.subscribe("devices/+/sensors/+/value").await, v3::SubscribeReturnCode::MaxLevel1);
    stranger.subscribe("#").await;
    house.reading("pump", 1).await;
    house.reading("field", 2).await;
    assert_eq!(ada.delivery().await.0, 1);
    let (value, publish) = ada.delivery().await;
    assert_eq!((value, &*publish.topic_name, publish.retain), (2.into(), FIELD, false));
    assert_eq!(stranger.delivery().await.0, 2, "a private device is not shown");
}

#[tokio::test]
async fn a_guest_sends_to_the_sensors_that_a_device_has_and_adds_none_to_it() {
    let mut house = House::open().await;
    let (mut stranger, _) = house.admitted(guest("g")).await;
    for (sensor, value) in [("mine", "1"), ("s", "2")] {
        stranger.publish(&format!("devices/field/sensors/{sensor}/value"), value, QosPid::Level1(pid(7))).await;
        assert_eq!(stranger.hear().await, Some(v3::Packet::Puback(pid(7))));
    }
    assert_eq!(house.values(Kind::Reading), ["2"]);
    let (mut ada, _) = house.admitted(user("ada", "a")).await;
    ada.publish("devices/field/sensors/hers/value", "3", QosPid::Level1(pid(7))).await;
    assert_eq!(ada.hear().await, Some(v3::Packet::Puback(pid(7))));
    assert_eq!(house.values(Kind::Reading), ["2", "3"]);
}

#[tokio::test]
async fn who_subscribes_gets_the_current_values_first() {
    let mut house = House::open().await;
    for n in 0..300 {
        house.reading("field", n).await;
    }
    house.reading("pump", 5).await;
    while house.broker.devices.position() < *house.ledger.head().borrow() {
        tokio::task::yield_now().await;
    }
    let (mut client, _) = house.admitted(guest("c")).await;
    client.subscribe("devices/+/sensors/#").await;
    let (value, publish) = client.delivery().await;
    assert_eq!((value, publish.retain), (299.into(), true));
    house.reading("field", 300).await;
    let (value, publish) = client.delivery().await;
    assert_eq!((value, publish.retain), (300.into(), false));
}

#[tokio::test]
async fn a_client_that_comes_again_gets_what_it_missed_even_from_another_node() {
    let mut house = House::open().await;
    let (mut client, present) = house.admitted(lasting(user("ada", "c"))).await;
    assert!(!present);
    client.subscribe("devices/pump/sensors/s/value").await;
    house.reading("pump", 1).await;
    assert_eq!(client.delivery().await.0, 1);
    // The second is delivered and not acknowledged.
    house.reading("pump", 2).await;
    let Some(v3::Packet::Publish(second)) = client.hear().await else { panic!() };
    drop(client);
    for n in 3..=600 {
        house.reading("pump", n).await;
        house.reading("field", n).await;
    }
    let mut house = house.restart().await;
    let (mut client, present) = house.admitted(lasting(user("ada", "c"))).await;
    assert!(present);
    let (value, again) = client.delivery().await;
    assert_eq!((value, again.dup, again.qos_pid), (2.into(), true, second.qos_pid));
    for n in 3..=600 {
        assert_eq!(client.delivery().await.0, n);
    }
    house.reading("pump", 601).await;
    assert_eq!(client.delivery().await.0, 601, "and then what happens");
    // Somebody else who calls himself the same has nothing of it.
    let (_, present) = house.admitted(lasting(user("bob", "c"))).await;
    assert!(!present);
    // Who begins anew has nothing of it either, now and later.
    let (again, present) = house.admitted(user("ada", "c")).await;
    assert!(!present);
    drop(again);
    let (_, present) = house.admitted(lasting(user("ada", "c"))).await;
    assert!(!present);
}

#[tokio::test]
async fn a_packet_of_quality_2_counts_once_until_it_is_released_and_then_its_id_is_another_packets() {
    let mut house = House::open().await;
    let (mut client, _) = house.admitted(lasting(user("ada", "c"))).await;
    client.publish(PUMP, "1", QosPid::Level2(pid(5))).await;
    assert_eq!(client.hear().await, Some(v3::Packet::Pubrec(pid(5))));
    drop(client);
    let mut house = house.restart().await;
    let (mut client, _) = house.admitted(lasting(user("ada", "c"))).await;
    for _ in 0..3 {
        client.publish(PUMP, "1", QosPid::Level2(pid(5))).await;
        assert_eq!(client.hear().await, Some(v3::Packet::Pubrec(pid(5))));
    }
    client.send(v3::Packet::Pubrel(pid(5))).await;
    assert_eq!(client.hear().await, Some(v3::Packet::Pubcomp(pid(5))));
    drop(client);
    let mut house = house.restart().await;
    let (mut client, _) = house.admitted(lasting(user("ada", "c"))).await;
    client.publish(PUMP, "1", QosPid::Level2(pid(5))).await;
    assert_eq!(client.hear().await, Some(v3::Packet::Pubrec(pid(5))));
    assert_eq!(house.values(Kind::Reading), ["1", "1"]);
}

#[tokio::test]
async fn members_of_a_group_share_what_comes_and_take_over_from_who_goes() {
    let mut house = House::open().await;
    let (mut one, _) = house.admitted(user("ada", "one")).await;
    let (mut other, _) = house.admitted(user("ada", "other")).await;
    one.subscribe("$share/pumps/devices/pump/#").await;
    other.subscribe("$share/pumps/devices/pump/#").await;
    for n in 0..6 {
        house.reading("pump", n).await;
    }
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(one.delivery().await.0.as_u64().unwrap());
        // This one takes and does not acknowledge.
        let Some(v3::Packet::Publish(taken)) = other.hear().await else { panic!() };
        assert!(matches!(taken.qos_pid, QosPid::Level1(_)));
    }
    drop(other);
    for _ in 0..3 {
        all.push(one.delivery().await.0.as_u64().unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_will_is_published_when_its_client_is_lost_and_not_when_it_says_goodbye() {
    let mut house = House::open().await;
    let with_will = |id: &str| {
        let mut connect = user("ada", id);
        let topic = TopicName::try_from("devices/pump/sensors/alive/value").unwrap();
        connect.last_will = Some(v3::LastWill::new(QoS::Level1, topic, Bytes::copy_from_slice(format!("\"{id} is lost\"").as_bytes())));
        connect
    };
    let (mut watcher, _) = house.admitted(user("ada", "watcher")).await;
    watcher.subscribe("devices/pump/#").await;
    let (mut polite, _) = house.admitted(with_will("polite")).await;
    polite.send(v3::Packet::Disconnect).await;
    assert_eq!(polite.hear().await, None);
    let (lost, _) = house.admitted(with_will("lost")).await;
    drop(lost);
    assert_eq!(watcher.delivery().await.0, "lost is lost");
}

#[tokio::test]
async fn a_command_goes_down_as_its_value_alone() {
    let mut house = House::open().await;
    let (mut device, _) = house.admitted(user("ada", "pump")).await;
    device.subscribe("devices/pump/actuators/+/value").await;
    let (mut app, _) = house.admitted(user("ada", "app")).await;
    app.publish("devices/pump/actuators/motor/value", "{\"value\":true}", QosPid::Level1(pid(1))).await;
    assert_eq!(app.hear().await, Some(v3::Packet::Puback(pid(1))));
    let (value, publish) = device.delivery().await;
    assert_eq!((value, &*publish.topic_name), (true.into(), "devices/pump/actuators/motor/value"));
    assert_eq!(&publish.payload[..], b"true");
    let commands = house.values(Kind::Command);
    assert!(commands.len() == 1 && commands[0].contains("\"id\":\"mqtt-"), "{commands:?}");
}

#[tokio::test]
async fn a_second_connection_of_a_client_ends_its_first() {
    let mut house = House::open().await;
    let (mut first, _) = house.admitted(user("ada", "c")).await;
    let (mut second, _) = house.admitted(user("ada", "c")).await;
    assert_eq!(first.hear().await, None);
    second.send(v3::Packet::Pingreq).await;
    assert_eq!(second.hear().await, Some(v3::Packet::Pingresp));
}

#[tokio::test]
async fn one_of_version_5_is_told_why_and_what_is_allowed() {
    let mut house = House::open().await;
    let (mut client, v5::Packet::Connack(welcome)) = house.five(v5::Connect::new("".into(), 0)).await else { panic!() };
    let allowed = welcome.properties;
    assert!(allowed.assigned_client_id.is_some_and(|id| id.starts_with("mqtt-")));
    assert_eq!((allowed.receive_max, allowed.server_keep_alive), (Some(64), Some(3_600)));
    let publish = v5::Publish::new(QosPid::Level1(pid(1)), TopicName::try_from(PUMP).unwrap(), Bytes::from_static(b"1"));
    client.say(v5::Packet::Publish(publish)).await;
    let answer = client.listen().await;
    assert_eq!(answer, v5::Puback::new(pid(1), v5::PubackReasonCode::NotAuthorized).into());
}
