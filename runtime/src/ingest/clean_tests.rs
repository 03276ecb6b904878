//! Rules at the door: what comes into the log, what is kept, and what of that survives what.

use super::super::{Ingest, RepeatKey, Stored};
use super::*;
use crate::{
    devices::Devices,
    ledger::{LedgerConfig, LedgerOptions},
    model::{Event, Kind, Micros, Value, id::default_tenant, limit::VALUE_BYTES_MAX},
    preprocess::Declared,
    preprocess::{Envelope, Sample},
    telemetry::Metrics,
};
use serde_json::{Value as Json, json};

struct Door {
    ingest: Ingest,
    registry: Registry,
    ledger: Ledger,
}

impl Door {
    async fn open(dir: &std::path::Path) -> Door {
        let config = LedgerConfig::Embedded { dir: dir.join("ledger"), options: LedgerOptions::default() };
        let (ledger, devices) = (Ledger::open(&config).await.unwrap(), Devices::open(&dir.join("devices")).unwrap());
        let registry = Registry::open(ledger.clone(), devices, &default_tenant()).unwrap();
        Door { ingest: Ingest::new(ledger.clone(), registry.clone(), Metrics::new(), true), registry, ledger }
    }

    async fn rule(&self, steps: Json) {
        let rule = Declared::of(&id("r"), json!({ "device": "d1", "sensor": "t", "steps": steps })).unwrap();
        self.registry.put_rule(&rule, Micros(1)).await.unwrap();
    }

    async fn send(&self, values: &[&str]) -> Stored {
        self.ingest.store(delivery(values), None).await.unwrap()
    }

    /// What the log says of the sensor: values of readings, and the codes of what was taken out.
    fn log(&self) -> Vec<String> {
        let said = |event: Arc<Event>| match event.kind {
            Kind::Reading => Some(event.value.to_json().to_string()),
            Kind::Dropped => Some(event.value.to_json()["code"].as_str().unwrap().to_owned()),
            _ => None,
        };
        self.ledger.events(1, 10_000, usize::MAX).unwrap().into_iter().filter_map(said).collect()
    }

    fn under_way(&self) -> usize {
        self.ingest.cleaning.0.lock().len()
    }
}

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

/// Values measured a second apart.
fn delivery(values: &[&str]) -> Envelope {
    let sample = |(n, value): (usize, &&str)| {
        let measured = Some(Micros((n as i64 + 1) * Micros::SECOND));
        Sample { device: id("d1"), sensor: id("t"), measured, value: Value::json(value).unwrap() }
    };
    Envelope { tenant: default_tenant(), received: Micros(9_000_000), samples: values.iter().enumerate().map(sample).collect() }
}

#[tokio::test]
async fn a_reading_passes_is_changed_or_is_taken_out_and_the_device_is_answered_alike() {
    let dir = tempfile::tempdir().unwrap();
    let door = Door::open(dir.path()).await;
    door.rule(json!([{ "unit": { "from": "[degF]", "to": "Cel" } }, { "range": { "min": -40, "max": 60 } }])).await;
    let stored = door.send(&["50", "\"off\"", "999"]).await;
    assert_eq!((stored.seqs.len(), stored.duplicate), (3, false));
    assert_eq!(door.log(), ["10", "\"off\"", "above"]);
    let taken_out = door.ledger.event(stored.seqs[2]).unwrap().unwrap();
    assert_eq!((taken_out.subject.as_str(), taken_out.raw.as_deref()), ("dropped.d1.t", Value::json("999").as_ref()));
    // Nothing is kept of a sensor whose readings stand for themselves.
    assert_eq!(door.ledger.version(&place(&default_tenant())).unwrap(), 0);
    door.registry.remove_rule(&id("r"), Micros(2)).await.unwrap();
    door.send(&["999"]).await;
    assert_eq!(door.log()[3], "999", "without a rule it is a reading");
}

#[tokio::test]
async fn what_a_reading_is_judged_by_is_there_after_a_restart_to_the_last_of_them() {
    let dir = tempfile::tempdir().unwrap();
    {
        let door = Door::open(dir.path()).await;
        door.rule(json!([{ "stuck": { "readings": 4 } }, { "spike": { "window": 3, "at_least": 1 } }])).await;
        door.send(&["8", "8"]).await;
        door.send(&["8"]).await;
        door.ledger.close().await;
    }
    let door = Door::open(dir.path()).await;
    door.send(&["8", "99", "8"]).await;
    assert_eq!(door.log(), ["8", "8", "8", "stuck", "spike", "8"]);
}

#[tokio::test]
async fn a_repeat_under_a_key_is_the_first_one_also_where_a_rule_would_take_it_out_now() {
    let dir = tempfile::tempdir().unwrap();
    let door = Door::open(dir.path()).await;
    let key = |key| Some(RepeatKey::http("t1", &["value", "d1", "t"], key));
    let first = door.ingest.store(delivery(&["1", "2"]), key("before")).await.unwrap();
    door.rule(json!([{ "duplicate": {} }, { "range": { "min": 1.5 } }])).await;
    // It was stored before there was a rule.
    let again = door.ingest.store(delivery(&["1", "2"]), key("before")).await.unwrap();
    assert_eq!(again, Stored { duplicate: true, ..first });
    let second = door.ingest.store(delivery(&["3", "1"]), key("after")).await.unwrap();
    for _ in 0..2 {
        let again = door.ingest.store(delivery(&["3", "1"]), key("after")).await.unwrap();
        assert_eq!(again, Stored { duplicate: true, seqs: second.seqs.clone() });
    }
    assert_eq!(door.log(), ["1", "2", "3", "below"]);
    // Nothing was kept of the repeats: another delivery of the same is the first that is a duplicate.
    door.send(&["3"]).await;
    assert_eq!(door.log()[4..], ["duplicate"]);
}

#[tokio::test]
async fn what_could_not_be_stored_is_not_remembered_so_that_trying_again_is_no_duplicate() {
    let dir = tempfile::tempdir().unwrap();
    let door = Door::open(dir.path()).await;
    door.rule(json!([{ "duplicate": {} }])).await;
    let large = format!("\"{}\"", "x".repeat(VALUE_BYTES_MAX - 2));
    let too_much: Vec<&str> = std::iter::once("1").chain(std::iter::repeat_n(large.as_str(), 120)).collect();
    let refused = door.ingest.store(delivery(&too_much), None).await;
    assert!(matches!(refused, Err(IngestError::Ledger(LedgerError::TooLarge { .. }))), "{refused:?}");
    door.send(&["1"]).await;
    door.send(&["1"]).await;
    assert_eq!(door.log(), ["1", "duplicate"]);
    assert_eq!(door.under_way(), 0, "nothing is held of a sensor that nobody waits for");
}

#[tokio::test]
async fn a_device_that_hangs_up_before_its_answer_and_sends_again_is_judged_by_what_it_sent_before() {
    let dir = tempfile::tempdir().unwrap();
    let door = Door::open(dir.path()).await;
    door.rule(json!([{ "duplicate": {} }])).await;
    let mut first = Box::pin(door.ingest.store(delivery(&["1"]), None));
    assert!(futures::poll!(&mut first).is_pending(), "it is on its way to the disk");
    drop(first);
    door.send(&["1"]).await;
    assert_eq!(door.log(), ["1", "duplicate"]);
    assert_eq!(door.under_way(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_that_come_at_once_are_judged_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let door = Door::open(dir.path()).await;
    let rule =
        |name, sensor| Declared::of(&id(name), json!({ "device": "d1", "sensor": sensor, "steps": [{ "stuck": { "readings": 11 } }] }));
    door.registry.put_rule(&rule("a", "t").unwrap(), Micros(1)).await.unwrap();
    door.registry.put_rule(&rule("b", "u").unwrap(), Micros(1)).await.unwrap();
    // Both sensors, in one order and in the other.
    let both = |n: usize| {
        let mut envelope = delivery(&["5", "5"]);
        envelope.samples[n % 2].sensor = id("u");
        envelope
    };
    let sent = (0..40).map(|n| door.ingest.store(both(n), None));
    for stored in futures::future::join_all(sent).await {
        stored.unwrap();
    }
    let log = door.log();
    assert_eq!(log.iter().filter(|said| *said == "5").count(), 20, "ten of each");
    assert_eq!(log.iter().filter(|said| *said == "stuck").count(), 60);
    assert_eq!(door.under_way(), 0);
}

#[tokio::test]
async fn a_packet_that_is_marked_is_marked_with_what_is_kept_of_its_sensor() {
    let dir = tempfile::tempdir().unwrap();
    let door = Door::open(dir.path()).await;
    door.rule(json!([{ "stuck": { "readings": 2 } }])).await;
    let session = AppId::new(default_tenant(), id("~session"));
    let holder = |who: &'static str| vec![Write { key: "holder".into(), value: Some(who.into()) }];
    let held = |who| door.ledger.apply(Op::Commit(Commit::resting_on_nothing(session.clone(), Vec::new(), holder(who))));
    held("me").await.unwrap();
    let write = || Write { key: "1".into(), value: Some("taken".into()) };
    let mark = || Mark { place: session.clone(), write: write(), key: "holder".into(), holds: "me".into() };
    for _ in 0..2 {
        door.ingest.store_in_turn(delivery(&["5"]), Some(mark()), ()).await.unwrap();
    }
    assert_eq!(door.log(), ["5", "stuck"]);
    assert_eq!(door.ledger.state(&session, "1").unwrap().as_deref(), Some(b"taken".as_slice()));
    // Who has lost its session to another node stores nothing, and nothing of it is remembered.
    held("another").await.unwrap();
    let mut lost = delivery(&["6"]);
    lost.samples[0].sensor = id("t");
    assert!(matches!(door.ingest.store_in_turn(lost, Some(mark()), ()).await, Err(IngestError::TakenOver)));
    door.send(&["6"]).await;
    assert_eq!(door.log(), ["5", "stuck", "6"]);
}
