//! Stories about devices that nobody registered.

use super::Devices;
use crate::model::{Event, Id, Kind, Micros, NewEvent, Value, id::default_tenant};
use std::sync::Arc;

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn reading(seq: u64, device: &str, sensor: &str, measured: &str, value: &str) -> Arc<Event> {
    let received = Micros(1_770_000_000_000_000 + i64::try_from(seq).unwrap() * Micros::SECOND);
    let measured = Micros::parse(measured).unwrap();
    let body = NewEvent::reading(&default_tenant(), &id(device), &id(sensor), measured, received, Value::json(value).unwrap());
    Arc::new(Event { seq, body })
}

fn devices_of(events: &[Arc<Event>]) -> (Devices, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let devices = Devices::open(dir.path()).unwrap();
    devices.index(events).unwrap();
    (devices, dir)
}

#[test]
fn a_device_is_there_with_its_first_reading() {
    let (devices, _dir) = devices_of(&[reading(1, "gw.7", "temp", "2026-01-01T00:00:00Z", "9.5")]);
    assert!(devices.known(&default_tenant(), &id("gw.7")).unwrap());
    assert!(!devices.known(&default_tenant(), &id("gw")).unwrap());
    assert!(!devices.known(&id("other"), &id("gw.7")).unwrap());
    let device = devices.get(&default_tenant(), &id("gw.7")).unwrap().unwrap();
    assert_eq!(
        device.to_json(),
        serde_json::json!({
            "id": "gw.7",
            "sensors": [{ "id": "temp", "value": { "value": 9.5, "timestamp": "2026-01-01T00:00:00Z", "date_received": "2026-02-02T02:40:01Z" } }],
            "date_created": "2026-02-02T02:40:01Z",
            "date_modified": "2026-02-02T02:40:01Z",
        })
    );
}

#[test]
fn the_current_value_is_what_arrived_last_whatever_its_clock_says() {
    let (devices, _dir) = devices_of(&[
        reading(1, "pond", "temp", "2026-01-01T00:00:00Z", "1"),
        reading(2, "pond", "temp", "2036-01-01T00:00:00Z", "2"),
        reading(3, "pond", "ph", "2026-01-01T00:00:00Z", "7"),
        reading(4, "pond", "temp", "2026-01-01T00:10:00Z", "3"),
    ]);
    let device = devices.get(&default_tenant(), &id("pond")).unwrap().unwrap();
    let temp = &device.sensor("temp").unwrap().current;
    assert_eq!((temp.value.to_json(), temp.seq), (serde_json::json!(3), 4));
    assert_eq!(temp.measured, Micros::parse("2026-01-01T00:10:00Z").unwrap());
    assert_eq!(device.sensor("ph").unwrap().current.seq, 3);
    assert!(device.modified > device.created);
}

#[test]
fn what_was_taken_before_changes_nothing() {
    let old = reading(1, "pond", "temp", "2026-01-01T00:00:00Z", "1");
    let new = reading(2, "pond", "temp", "2026-01-01T00:00:00Z", "2");
    let (devices, dir) = devices_of(&[old.clone(), new]);
    let before = devices.get(&default_tenant(), &id("pond")).unwrap();
    devices.index(std::slice::from_ref(&old)).unwrap();
    assert_eq!(devices.get(&default_tenant(), &id("pond")).unwrap(), before);
    devices.commit().unwrap();
    drop(devices);
    let devices = Devices::open(dir.path()).unwrap();
    assert_eq!(devices.position(), 2);
    devices.index(&[old]).unwrap();
    assert_eq!(devices.get(&default_tenant(), &id("pond")).unwrap(), before);
}

#[test]
fn after_a_crash_the_log_is_told_from_the_last_sync_on() {
    let events: Vec<_> = (1..=20).map(|seq| reading(seq, "pond", "temp", "2026-01-01T00:00:00Z", &seq.to_string())).collect();
    let dir = tempfile::tempdir().unwrap();
    let devices = Devices::open(dir.path()).unwrap();
    devices.index(&events[..10]).unwrap();
    devices.commit().unwrap();
    devices.index(&events[10..15]).unwrap();
    // What a crash leaves: the file as it is now, never closed.
    let crashed = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join("devices.redb"), crashed.path().join("devices.redb")).unwrap();
    let devices = Devices::open(crashed.path()).unwrap();
    assert_eq!(devices.position(), 10);
    devices.index(&events).unwrap();
    let device = devices.get(&default_tenant(), &id("pond")).unwrap().unwrap();
    assert_eq!(device.sensor("temp").unwrap().current.seq, 20);
    assert_eq!(device.created, events[0].received);
}

#[test]
fn a_list_has_pages_in_the_order_of_ids_and_only_of_its_tenant() {
    let mut events: Vec<_> = (1..=9).map(|n| reading(n, &format!("pond{}", 10 - n), "temp", "2026-01-01T00:00:00Z", "1")).collect();
    let mut other = Event::clone(&reading(10, "spy", "temp", "2026-01-01T00:00:00Z", "1"));
    other.body.tenant = id("mainz");
    events.push(Arc::new(other));
    let (devices, _dir) = devices_of(&events);
    let (page, total) = devices.list(&default_tenant(), 3, 2).unwrap();
    let ids: Vec<_> = page.iter().map(|device| device.id.as_str()).collect();
    assert_eq!((ids, total), (vec!["pond3", "pond4", "pond5"], 9));
    assert_eq!(devices.list(&default_tenant(), 100, 0).unwrap().0.len(), 9);
    assert_eq!(devices.list(&id("mai"), 100, 0).unwrap(), (vec![], 0));
}

#[test]
fn messages_and_logs_make_no_device() {
    let mut event = Event::clone(&reading(1, "pond", "temp", "2026-01-01T00:00:00Z", "1"));
    event.body.kind = Kind::Message;
    let (devices, _dir) = devices_of(&[Arc::new(event)]);
    assert!(!devices.known(&default_tenant(), &id("pond")).unwrap());
    assert_eq!(devices.position(), 1);
}

#[test]
fn bytes_come_back_as_bytes() {
    let mut event = Event::clone(&reading(1, "pond", "cam", "2026-01-01T00:00:00Z", "1"));
    event.body.value = Value::Bytes(vec![1, 0, 255].into());
    let (devices, _dir) = devices_of(&[Arc::new(event.clone())]);
    let device = devices.get(&default_tenant(), &id("pond")).unwrap().unwrap();
    assert_eq!(device.sensor("cam").unwrap().current.value, event.value);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_follows_a_ledger_and_goes_on_after_a_restart() {
    use crate::ledger::{Append, Ledger, LedgerConfig, LedgerOptions, Op};
    use std::time::Duration;
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&LedgerConfig::Embedded { dir: dir.path().join("ledger"), options: LedgerOptions::default() }).await.unwrap();
    for round in 1..=3 {
        let devices = Devices::open(dir.path()).unwrap();
        let shutdown = tokio_util::sync::CancellationToken::new();
        let (follower, log, token) = (devices.clone(), ledger.clone(), shutdown.clone());
        let task = tokio::spawn(async move { follower.run(log, token).await });
        let events =
            (0..50).map(|n| Event::clone(&reading(1, "pond", "temp", "2026-01-01T00:00:00Z", &format!("{}", round * 100 + n))).body);
        let append = Append { tenant: default_tenant(), events: events.collect(), dedup: None, intake: None };
        ledger.apply(Op::Append(append)).await.unwrap();
        let taken = async {
            while devices.position() < round * 50 {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(30), taken).await.is_ok(), "it is at {}", devices.position());
        let device = devices.get(&default_tenant(), &id("pond")).unwrap().unwrap();
        assert_eq!(device.sensor("temp").unwrap().current.value.to_json(), serde_json::json!(round * 100 + 49));
        shutdown.cancel();
        task.await.unwrap().unwrap();
        drop(devices);
    }
    assert_eq!(Devices::open(dir.path()).unwrap().position(), 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_told_and_survived() {
    use crate::ledger::{Append, Ledger, LedgerConfig, LedgerOptions, Op};
    use std::{sync::atomic::Ordering, time::Duration};
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&LedgerConfig::Embedded { dir: dir.path().join("ledger"), options: LedgerOptions::default() }).await.unwrap();
    let devices = Devices::open(dir.path()).unwrap();
    devices.stumbles.store(true, Ordering::SeqCst);
    let reading = Event::clone(&reading(1, "pond", "temp", "2026-01-01T00:00:00Z", "1")).body;
    let append = Append { tenant: default_tenant(), events: vec![reading], dedup: None, intake: None };
    ledger.apply(Op::Append(append)).await.unwrap();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let (follower, token) = (devices.clone(), shutdown.clone());
    let task = tokio::spawn(async move { follower.run(ledger, token).await });
    let (mut told, patience) = (None, Duration::from_secs(30));
    let taken = async {
        while devices.position() < 1 || devices.standing().trouble().is_some() {
            told = devices.standing().trouble().or(told.take());
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(patience, taken).await.is_ok(), "it is at {}", devices.position());
    assert!(told.is_some_and(|trouble| trouble.contains("ended early")));
    shutdown.cancel();
    task.await.unwrap().unwrap();
}
