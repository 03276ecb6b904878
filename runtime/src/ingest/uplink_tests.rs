#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    devices::{Devices, Registry},
    identity::Principal,
    ledger::{Ledger, LedgerConfig, LedgerOptions},
    model::{Micros, Value, id::default_tenant, limit::PARTS_PER_DEVICE_MAX},
    telemetry::Metrics,
};
use parking_lot::Mutex;
use serde_json::json;

const SENT: Micros = Micros(1_700_000_000_000_000);
const RECEIVED: Micros = Micros(1_700_000_060_000_000);

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn admin() -> Principal {
    Principal::User { tenant: default_tenant(), id: id("root"), admin: true }
}

/// None: nobody has time.
type Says = Option<Result<Vec<Measurement>, String>>;

/// A door, and what the codecs of all apps say.
struct Door {
    ingest: Ingest,
    ledger: Ledger,
    says: Arc<Mutex<Says>>,
    _dir: tempfile::TempDir,
}

impl Door {
    /// With the device `d1`, where it names a codec.
    async fn open(named: Option<&str>, auto_register: bool) -> Door {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig::Embedded { dir: dir.path().join("ledger"), options: LedgerOptions::default() };
        let (ledger, devices) = (Ledger::open(&config).await.unwrap(), Devices::open(&dir.path().join("devices")).unwrap());
        let registry = Registry::open(ledger.clone(), devices, &default_tenant()).unwrap();
        let says = Arc::new(Mutex::new(Some(Ok(vec![one("temp", "21.5", None)]))));
        let said = says.clone();
        let codecs: Codecs = Arc::new(move |_, _, _| {
            let result = said.lock().clone();
            Box::pin(async { result.map(Decoded::silently) })
        });
        let ingest = Ingest::new(ledger.clone(), registry, Metrics::new(), auto_register).with_codecs(codecs);
        let door = Door { ingest, ledger, says, _dir: dir };
        if let Some(named) = named {
            door.register("d1", json!({ "codec": named })).await;
        }
        door
    }

    async fn register(&self, device: &str, meta: serde_json::Value) {
        let document = json!({ "id": device, "meta": meta, "date_created": 0, "date_modified": 0 });
        let document = serde_json::from_value(document).unwrap();
        self.ingest.registry.create_device(&admin(), document, Micros(self.head() as i64)).await.unwrap();
    }

    async fn name_codec(&self, codec: &str) {
        let wish = |device: &mut crate::model::Device| {
            device.meta.insert("codec".to_owned(), codec.into());
            Ok(())
        };
        self.ingest.registry.update_device(&admin(), &id("d1"), Micros(2), wish).await.unwrap();
    }

    fn head(&self) -> Seq {
        *self.ledger.head().borrow()
    }

    async fn take(&self, payload: &'static [u8], key: &str, otherwise: Otherwise) -> Result<Taken, IngestError> {
        let uplink = uplink(payload);
        let repeat = Some(RepeatKey::http_uplink("t1", &uplink, key));
        self.ingest.uplink(Arrival { tenant: default_tenant(), uplink, repeat, otherwise }).await
    }

    fn readings(&self) -> Vec<(String, String, Micros, Micros)> {
        let events = self.ledger.events(1, usize::MAX, usize::MAX).unwrap();
        let readings = events.iter().filter(|event| event.sensor.is_some());
        let shown = |event: &NewEvent| (event.sensor.clone().unwrap().to_string(), event.value.to_json().to_string());
        readings.map(|event| (shown(event).0, shown(event).1, event.measured, event.received)).collect()
    }

    fn letter(&self) -> DeadLetter {
        self.ledger.dead(None, None, 10).unwrap().pop().unwrap()
    }

    async fn decode_again(&self, letter: &DeadLetter) -> Result<Vec<Seq>, IngestError> {
        let uplink = Uplink::of(&letter.event, &letter.function).unwrap();
        self.ingest.decode_again(letter, uplink).await
    }
}

fn uplink(payload: &'static [u8]) -> Uplink {
    Uplink { device: id("d1"), port: Some(2), payload: payload.into(), measured: Some(SENT), received: RECEIVED }
}

fn one(sensor: &str, json: &str, measured: Option<Micros>) -> Measurement {
    Measurement { sensor: id(sensor), measured, value: Value::json(json).unwrap() }
}

fn row(sensor: &str, value: &str, measured: Micros) -> (String, String, Micros, Micros) {
    (sensor.to_owned(), value.to_owned(), measured, RECEIVED)
}

#[tokio::test]
async fn what_a_device_sends_in_bytes_is_readings_by_the_codec_that_it_names() {
    let door = Door::open(Some("cayenne-lpp"), true).await;
    let taken = door.take(b"\x03\x67\x01\x10\x05\x67\x00\xff", "k1", Otherwise::Nothing).await.unwrap();
    let first = taken.stored.seqs.clone();
    assert_eq!(taken, Taken { stored: Stored { seqs: vec![first[0], first[0] + 1], duplicate: false }, undecoded: None });
    assert_eq!(door.readings(), [row("temperature_3", "27.2", SENT), row("temperature_5", "25.5", SENT)]);
    let again = door.take(b"\x03\x67\x01\x10\x05\x67\x00\xff", "k1", Otherwise::Nothing).await.unwrap();
    assert_eq!(again.stored, Stored { seqs: first.clone(), duplicate: true });
    // The same key for other bytes is no repeat, and is not taken for one.
    let other = door.take(b"\x03\x67\x01\x11", "k1", Otherwise::Nothing).await.unwrap();
    assert_eq!(other.stored, Stored { seqs: vec![first[1] + 1], duplicate: false });
}

#[tokio::test]
async fn the_codec_of_an_app_says_when_each_value_was_measured() {
    let door = Door::open(Some("elsys"), true).await;
    *door.says.lock() = Some(Ok(vec![one("temp", "1", None), one("temp", "2", Some(Micros(5)))]));
    door.take(b"x", "k1", Otherwise::Nothing).await.unwrap();
    assert_eq!(door.readings(), [row("temp", "1", SENT), row("temp", "2", Micros(5))]);
    *door.says.lock() = Some(Ok(Vec::new()));
    let nothing = door.take(b"heartbeat", "k2", Otherwise::Nothing).await.unwrap();
    assert_eq!((nothing.stored.seqs.len(), nothing.undecoded), (0, None), "a frame may hold nothing");
}

/// The promise: what can't be decoded is kept whole, and comes into the log once, when it can.
#[tokio::test]
async fn an_undecodable_uplink_is_kept_whole_and_decoded_once_when_its_codec_is_mended() {
    let door = Door::open(Some("elsys/v2"), true).await;
    *door.says.lock() = Some(Err("byte 3: what is this".into()));
    let taken = door.take(b"\x00\xff\x01", "k1", Otherwise::Nothing).await.unwrap();
    let why = taken.undecoded.unwrap();
    assert_eq!((why.function.to_string(), why.error.as_str()), ("main/elsys/codec".to_owned(), "byte 3: what is this"));
    let again = door.take(b"\x00\xff\x01", "k1", Otherwise::Nothing).await.unwrap();
    assert!(again.stored.duplicate, "a webhook that is sent again leaves no second letter");
    assert_eq!((door.ledger.dead_count().unwrap(), door.readings().len()), (1, 0));

    let letter = door.letter();
    assert_eq!(Uplink::of(&letter.event, &letter.function), Some(uplink(b"\x00\xff\x01")), "with its port and both of its times");
    assert!(matches!(door.decode_again(&letter).await, Err(IngestError::Undecoded(why)) if why.contains("byte 3")));
    assert_eq!(door.ledger.dead_count().unwrap(), 1, "it stays as long as nobody can read it");

    *door.says.lock() = Some(Ok(vec![one("temp", "21.5", None)]));
    door.decode_again(&letter).await.unwrap();
    assert_eq!(door.readings(), [row("temp", "21.5", SENT)], "as if it had been read when it came");
    assert!(matches!(door.decode_again(&letter).await, Err(IngestError::NoLetter)));
    let late = door.take(b"\x00\xff\x01", "k1", Otherwise::Nothing).await.unwrap();
    assert!(late.stored.duplicate, "the sender may still not know that it arrived");
    assert_eq!((door.ledger.dead_count().unwrap(), door.readings().len()), (0, 1));
}

#[tokio::test]
async fn the_device_s_codec_goes_before_what_others_know_of_an_uplink() {
    let known = || Otherwise::Decoded(Ok(vec![one("by_server", "1", None)]));
    let door = Door::open(None, true).await;
    door.take(b"a", "k1", known()).await.unwrap();
    door.take(br#"{"by_type":2}"#, "k2", Otherwise::Builtin(Builtin::Json)).await.unwrap();
    door.register("d1", json!({ "codec": "json" })).await;
    door.take(br#"{"by_device":3}"#, "k3", known()).await.unwrap();
    assert_eq!(door.readings().iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["by_server", "by_type", "by_device"]);
}

#[tokio::test]
async fn what_came_before_anybody_named_a_codec_is_decoded_by_the_one_that_is_named_later() {
    let door = Door::open(None, true).await;
    let taken = door.take(br#"{"temp":20}"#, "k1", Otherwise::Nothing).await.unwrap();
    assert_eq!(taken.undecoded.unwrap().function.to_string(), "main/uplink/codec");
    door.register("d1", json!({})).await;
    for wrong in ["no such app!", "a/b c", ""] {
        door.name_codec(wrong).await;
        assert!(matches!(door.decode_again(&door.letter()).await, Err(IngestError::Undecoded(_))), "{wrong}");
    }
    door.name_codec("json").await;
    door.decode_again(&door.letter()).await.unwrap();
    assert_eq!(door.readings(), [row("temp", "20", SENT)]);
}

#[tokio::test]
async fn a_reading_that_can_t_be_one_makes_a_dead_letter_of_all_of_its_uplink() {
    let door = Door::open(Some("elsys"), true).await;
    *door.says.lock() = Some(Ok(vec![one("temp", "1", None), one("temp", "2", Some(Micros(i64::MAX)))]));
    let why = door.take(b"x", "k1", Otherwise::Nothing).await.unwrap().undecoded.unwrap();
    assert!(why.error.contains("sample 1 was measured at"), "{}", why.error);
    assert!(door.readings().is_empty());
}

#[tokio::test]
async fn nothing_is_stored_of_a_stranger_nor_while_nobody_has_time_to_decode() {
    let stranger = Door::open(None, false).await;
    assert!(matches!(stranger.take(b"x", "k1", Otherwise::Nothing).await, Err(IngestError::UnknownDevice(_))));
    assert_eq!(stranger.head(), 0);
    let busy = Door::open(Some("elsys"), true).await;
    let before = busy.head();
    *busy.says.lock() = None;
    assert!(matches!(busy.take(b"x", "k1", Otherwise::Nothing).await, Err(IngestError::Busy)));
    assert_eq!(busy.head(), before);
}

/// A registered device is one whose owner wants what its codec finds, whatever else may not register itself.
#[tokio::test]
async fn new_sensors_come_with_what_is_decoded() {
    let door = Door::open(Some("elsys"), false).await;
    door.take(b"x", "k1", Otherwise::Nothing).await.unwrap();
    assert_eq!(door.readings(), [row("temp", "21.5", SENT)], "the first value counts");
}

#[tokio::test]
async fn a_dev_eui_stands_for_the_device_that_has_it_and_else_for_itself() {
    let door = Door::open(None, true).await;
    door.register("roof", json!({ "dev_eui": "01010101010101AB" })).await;
    // Nobody else is called so, and nobody else says it.
    for (thief, eui) in [("a-thief", "01010101010101ab"), ("01010101010101ab", "0303030303030303")] {
        let document = json!({ "id": thief, "meta": { "dev_eui": eui }, "date_created": 0, "date_modified": 0 });
        let refused = door.ingest.registry.create_device(&admin(), serde_json::from_value(document).unwrap(), Micros(1)).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("`roof`")));
    }
    let passed_on = |eui: &str| NetworkUplink {
        dev_eui: Some(eui.to_owned()),
        id: Some("7".to_owned()),
        uplink: Uplink { device: id(eui), ..uplink(b"x") },
        decoded: Some(Ok(vec![one("temp", "1", None)])),
    };
    for eui in ["01010101010101ab", "0202020202020202"] {
        for duplicate in [false, true] {
            let taken = door.ingest.network_uplink(default_tenant(), "chirpstack", passed_on(eui)).await.unwrap();
            assert_eq!(taken.stored.duplicate, duplicate, "{eui}");
        }
    }
    let events = door.ledger.events(1, usize::MAX, usize::MAX).unwrap();
    let devices: Vec<_> = events.iter().filter(|event| event.sensor.is_some()).map(|event| event.key.as_str()).collect();
    assert_eq!(devices, ["roof", "0202020202020202"]);
    door.ingest.registry.delete_device(&admin(), &id("roof"), Micros(2)).await.unwrap();
    door.register("shed", json!({ "dev_eui": "01010101010101ab" })).await;
    assert_eq!(door.ingest.registry.device_of_eui("01010101010101ab"), Some(id("shed")), "it is free again");
}

/// The largest that a codec may find, under names as long as they may be.
#[tokio::test]
async fn an_uplink_that_decodes_to_more_than_the_ledger_takes_is_kept_as_it_came() {
    let door = Door::open(None, true).await;
    let many = (0..PARTS_PER_DEVICE_MAX).map(|n| one(&format!("{n:.<127}"), &format!("\"{}\"", "x".repeat(60_000)), None)).collect();
    let taken = door.take(b"x", "k1", Otherwise::Decoded(Ok(many))).await.unwrap();
    let why = taken.undecoded.unwrap().error;
    assert!(why.contains("is too large"), "{why}");
    assert_eq!((door.readings(), door.ledger.dead_count().unwrap()), (Vec::new(), 1));
}
