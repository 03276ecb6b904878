//! Two nodes on one log, in a NATS server.

use super::*;
use crate::ledger::{JetstreamOptions, tests::nats::Server};

async fn house(server: &Server, settings: Settings) -> House {
    let dir = tempfile::tempdir().unwrap();
    let jetstream = JetstreamOptions { intake: false, relay: false, ..JetstreamOptions::default() };
    let config =
        LedgerConfig::Jetstream { dir: dir.path().join("ledger"), url: server.url(), options: LedgerOptions::default(), jetstream };
    House::on(Ledger::open(&config).await.unwrap(), dir, settings, ALL_AT_WORK)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_two_nodes_are_acknowledged_what_is_stored_and_nothing_else() {
    const EACH: u16 = 100;
    let server = Server::start();
    let mut houses = [house(&server, Settings::default()).await, house(&server, Settings::default()).await];
    let mut clients = Vec::new();
    for (house, name) in houses.iter_mut().zip(["one", "other"]) {
        clients.push(house.admitted(lasting(user("ada", name))).await.0);
    }
    // Both at once, and each packet is released before its id is used again.
    let sent = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            for n in 0..EACH {
                let pid = pid(n % 3 + 1);
                client.publish(PUMP, &n.to_string(), QosPid::Level2(pid)).await;
                assert_eq!(client.hear().await, Some(v3::Packet::Pubrec(pid)));
                client.send(v3::Packet::Pubrel(pid)).await;
                assert_eq!(client.hear().await, Some(v3::Packet::Pubcomp(pid)));
            }
            client.subscribe("devices/field/#").await
        })
    });
    for end in sent.collect::<Vec<_>>() {
        assert_eq!(end.await.unwrap(), v3::SubscribeReturnCode::MaxLevel1);
    }
    for house in &houses {
        house.ledger.head().wait_for(|head| *head == 2 * u64::from(EACH)).await.unwrap();
        assert_eq!(house.values(Kind::Reading).len(), 2 * usize::from(EACH));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_connection_writes_counts_no_more_when_its_client_has_come_to_another_node() {
    let server = Server::start();
    let mut here = house(&server, Settings::default()).await;
    let mut there = house(&server, Settings::default()).await;
    let (mut stale, _) = here.admitted(lasting(user("ada", "c"))).await;
    stale.publish(PUMP, "1", QosPid::Level2(pid(1))).await;
    assert_eq!(stale.hear().await, Some(v3::Packet::Pubrec(pid(1))));
    // Its line is dead, and the node does not know it. The other node knows what is stored, wherever its view stood.
    let (mut client, present) = there.admitted(lasting(user("ada", "c"))).await;
    assert!(present);
    client.publish(PUMP, "1", QosPid::Level2(pid(1))).await;
    assert_eq!(client.hear().await, Some(v3::Packet::Pubrec(pid(1))));
    client.subscribe("devices/field/sensors/+/value").await;
    // What is still on its way on the old line is not stored, so that it can be sent again on the new one.
    stale.publish(PUMP, "2", QosPid::Level2(pid(2))).await;
    assert_eq!(stale.hear().await, None);
    client.publish(PUMP, "2", QosPid::Level2(pid(2))).await;
    assert_eq!(client.hear().await, Some(v3::Packet::Pubrec(pid(2))));
    assert_eq!(there.values(Kind::Reading), ["1", "2"]);
    // The old node has put its session away: that changes nothing.
    while here.broker.metrics.mqtt_clients.get() > 0 {
        tokio::task::yield_now().await;
    }
    drop(client);
    while there.broker.metrics.mqtt_clients.get() > 0 {
        tokio::task::yield_now().await;
    }
    here.reading("field", 7).await;
    let (mut client, present) = here.admitted(lasting(user("ada", "c"))).await;
    assert!(present);
    assert_eq!(client.delivery().await.0, 7);
    client.publish(PUMP, "2", QosPid::Level2(pid(2))).await;
    assert_eq!(client.hear().await, Some(v3::Packet::Pubrec(pid(2))));
    assert_eq!(here.values(Kind::Reading).len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_finds_out_that_its_client_is_elsewhere() {
    let server = Server::start();
    let soon = Duration::from_millis(1);
    let mut here = house(&server, Settings { keep: soon, seen: soon, ..Settings::default() }).await;
    let mut there = house(&server, Settings::default()).await;
    let (mut stale, _) = here.admitted(lasting(user("ada", "c"))).await;
    let (mut client, _) = there.admitted(lasting(user("ada", "c"))).await;
    assert_eq!(stale.hear().await, None);
    client.send(v3::Packet::Pingreq).await;
    assert_eq!(client.hear().await, Some(v3::Packet::Pingresp));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_command_is_known_on_every_node() {
    let server = Server::start();
    let mut here = house(&server, Settings::default()).await;
    let mut there = house(&server, Settings::default()).await;
    let (mut app, _) = there.admitted(user("ada", "app")).await;
    app.publish("devices/pump/actuators/motor/value", "true", QosPid::Level1(pid(1))).await;
    app.hear().await;
    let (mut device, _) = here.admitted(user("ada", "pump")).await;
    device.subscribe("devices/pump/actuators/+/value").await;
    assert_eq!(device.delivery().await.0, true);
    for house in [&here, &there] {
        commands::until_states(house, &[CommandState::Delivered]).await;
    }
}
