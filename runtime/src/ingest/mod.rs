//! In: what a device sent and who it says it is. Out: the sequences of its readings, once they are durable.
//! Never: answers before that, knows HTTP's status codes, decides who may send.

mod clean;
mod command;
pub mod error;
pub mod mqtt;
pub mod parse;
pub mod payload;
mod uplink;

pub use crate::model::payload::{BodyError, BodyErrorKind};
pub use command::Order;
pub use error::IngestError;
pub use parse::Format;
pub use uplink::{Arrival, Codecs, Otherwise, Taken, Why};

use crate::{
    devices::{Registry, RegistryError, registry::Known},
    identity::Principal,
    ledger::{self, Append, Dedup, Ledger, LedgerError, Op, Outcome},
    model::{AppId, Digest, Id, Micros, NewEvent, Seq, Tenant, Uplink, Value, Write},
    preprocess::{self, Envelope},
    telemetry::{Metrics, chain},
};
use bytes::Bytes;
use clean::{Cleaned, Turns};
use futures::FutureExt;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a delivery waits to become durable: less than a client waits, more than a restart of a server takes.
const DURABLE_WAIT: Duration = Duration::from_secs(5);

/// The way of every delivery, whatever door it came by. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    ledger: Ledger,
    registry: Registry,
    metrics: Metrics,
    /// Whether a device or a sensor that nobody has heard of may send.
    auto_register: bool,
    codecs: Codecs,
    cleaning: clean::Cleaning,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where its readings are in the log, in their order.
    pub seqs: Vec<Seq>,
    /// It had been stored before, under the same key.
    pub duplicate: bool,
}

/// How a repeat of a delivery is known: by its key, among the deliveries of one sender to one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatKey(String);

/// What becomes durable with a delivery, in one step: that it was taken. Who finds it later knows that the delivery is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub place: AppId,
    pub write: Write,
    /// What is so as long as whoever delivers may: of what comes later nothing is stored.
    pub key: String,
    pub holds: Bytes,
}

impl RepeatKey {
    /// `sender` is the id of a token, `target` the route and the ids in it. A list in JSON, so that no part of it, a key
    /// that a stranger chose least of all, can pass for two others.
    pub fn http(sender: &str, target: &[&str], key: &str) -> RepeatKey {
        let parts: Vec<&str> = ["http", sender].into_iter().chain(target.iter().copied()).chain([key]).collect();
        RepeatKey(serde_json::json!(parts).to_string())
    }

    /// Of an uplink that a network server has given an id: the same from whoever it comes, and for the same bytes.
    pub fn uplink(network: &str, uplink: &Uplink, id: &str) -> RepeatKey {
        RepeatKey::http("", &["uplink", network, uplink.device.as_str(), &RepeatKey::print(uplink)], id)
    }

    /// Of an uplink that a device, or who sends for it, has given a key.
    pub fn http_uplink(sender: &str, uplink: &Uplink, key: &str) -> RepeatKey {
        RepeatKey::http(sender, &["uplink", uplink.device.as_str(), &RepeatKey::print(uplink)], key)
    }

    /// Other bytes under a key that was used are another uplink: what was not stored is never taken for stored.
    fn print(uplink: &Uplink) -> String {
        format!("{:?} {}", uplink.port, Digest::of(&uplink.payload))
    }
}

impl Ingest {
    pub fn new(ledger: Ledger, registry: Registry, metrics: Metrics, auto_register: bool) -> Ingest {
        Ingest { ledger, registry, metrics, auto_register, codecs: uplink::no_codecs(), cleaning: Default::default() }
    }

    /// Stores all samples or none. When it returns Ok they are synced, and every reader sees them. A repeat is one by its
    /// key and by what it holds: other readings under a key that was used are refused, never taken for stored.
    pub async fn store(&self, envelope: Envelope, repeat: Option<RepeatKey>) -> Result<Stored, IngestError> {
        if envelope.samples.is_empty() {
            return Ok(Stored { seqs: Vec::new(), duplicate: false });
        }
        self.check_known(&envelope)?;
        let (tenant, now) = (envelope.tenant.clone(), envelope.received);
        let mut cleaned = self.clean(&tenant, preprocess::readings(envelope)?).await?;
        let events = std::mem::take(&mut cleaned.events);
        let count = events.len();
        let prints = repeat.is_some().then(|| events.iter().map(Print::of).collect::<Vec<_>>());
        let append = Append { tenant, events, dedup: repeat.map(|key| Dedup { key: key.0, now }), intake: None };
        let (op, turns) = cleaned.op(append, None);
        match self.apply_in_turn(op, (), turns).await? {
            Outcome::Applied { seqs, .. } => {
                self.metrics.readings.inc_by(count as u64);
                Ok(Stored { seqs, duplicate: false })
            }
            Outcome::Duplicate { seqs } => self.repeated(seqs, prints.unwrap_or_default()).await,
            // An append reads nothing and names no dead letter.
            other @ (Outcome::Conflict { .. } | Outcome::Missing) => unreachable!("an append came to {other:?}"),
        }
    }

    /// Stores all samples or none, and `mark` with them: for a door that knows repeats by a mark of its own. `turn` is dropped as soon as
    /// nothing that comes later can get before them.
    pub async fn store_in_turn(&self, envelope: Envelope, mark: Option<Mark>, turn: impl Send) -> Result<Stored, IngestError> {
        self.check_known(&envelope)?;
        let tenant = envelope.tenant.clone();
        let cleaned = self.clean(&tenant, preprocess::readings(envelope)?).await?;
        let count = cleaned.events.len();
        let stored = self.take_in(tenant, cleaned, mark, turn).await?;
        self.metrics.readings.inc_by(count as u64);
        Ok(stored)
    }

    /// As their sensors' rules want them. Whoever waits for a turn at a sensor does so for no longer than for the ledger.
    async fn clean(&self, tenant: &Tenant, events: Vec<NewEvent>) -> Result<Cleaned, IngestError> {
        let cleaned = self.cleaning.clean(&self.registry, &self.ledger, tenant, events);
        tokio::time::timeout(DURABLE_WAIT, cleaned).await.unwrap_or_else(|_| {
            let why = format!("what came before it of this sensor was not durable within {DURABLE_WAIT:?}; the readings are not stored");
            Err(LedgerError::Unavailable(why).into())
        })
    }

    /// Cleans what comes by a door that is the ledger's own.
    pub fn cleaner(&self) -> ledger::Clean {
        let ingest = self.clone();
        Arc::new(move |mut append| {
            let ingest = ingest.clone();
            async move {
                let events = std::mem::take(&mut append.events);
                let mut cleaned = ingest.clean(&append.tenant, events).await.map_err(|error| match error {
                    IngestError::Ledger(error) => error,
                    error => LedgerError::Unavailable(chain(&error)),
                })?;
                append.events = std::mem::take(&mut cleaned.events);
                let (op, turns) = cleaned.op(append, None);
                Ok(ledger::Cleaned { op, wait: Box::new(move |pending| turns.wait(pending).boxed()) })
            }
            .boxed()
        })
    }

    async fn take_in(&self, tenant: Tenant, mut cleaned: Cleaned, mark: Option<Mark>, turn: impl Send) -> Result<Stored, IngestError> {
        let append = Append { tenant, events: std::mem::take(&mut cleaned.events), dedup: None, intake: None };
        let (op, turns) = cleaned.op(append, mark);
        match self.apply_in_turn(op, turn, turns).await? {
            Outcome::Applied { seqs, .. } => Ok(Stored { seqs, duplicate: false }),
            // Nothing is stored, so nothing may be acknowledged.
            Outcome::Conflict { .. } | Outcome::Duplicate { .. } | Outcome::Missing => Err(IngestError::TakenOver),
        }
    }

    async fn apply(&self, op: Op) -> Result<Outcome, IngestError> {
        self.apply_in_turn(op, (), Turns::default()).await
    }

    /// Waits until it is durable, or as long as somebody waits for the answer.
    async fn apply_in_turn(&self, op: Op, turn: impl Send, turns: Turns) -> Result<Outcome, IngestError> {
        let started = Instant::now();
        let done = async {
            let pending = self.ledger.submit_when_room(op).await;
            drop(turn);
            turns.wait(pending).await
        };
        // Whoever waits longer has hung up; that it may be stored all the same is what a repeat key is for.
        let outcome = tokio::time::timeout(DURABLE_WAIT, done).await.unwrap_or_else(|_| {
            Err(LedgerError::Unavailable(format!("the ledger did not answer within {DURABLE_WAIT:?}; the readings may be stored or not")))
        })?;
        self.metrics.append_seconds.observe(started.elapsed().as_secs_f64());
        Ok(outcome)
    }

    /// Looks into the log whether what came now is what was stored under the key.
    async fn repeated(&self, seqs: Vec<Seq>, prints: Vec<Print>) -> Result<Stored, IngestError> {
        let ledger = self.ledger.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let first = seqs.first().copied().unwrap_or_default();
            let stored = ledger.events(first, seqs.len(), usize::MAX)?;
            if stored.iter().map(|event| event.seq).ne(seqs.iter().copied()) {
                return Err(IngestError::KeyForgotten);
            }
            let same = stored.len() == prints.len() && stored.iter().zip(&prints).all(|(event, print)| print.is_of(&event.body));
            if same { Ok(Stored { seqs, duplicate: true }) } else { Err(IngestError::KeyReused) }
        });
        asked.await.map_err(|_| IngestError::Stopped)?
    }

    /// Every sensor is known, or may become so. Asks memory, so it is asked for every reading.
    fn check_known(&self, envelope: &Envelope) -> Result<(), IngestError> {
        if envelope.tenant != *self.registry.tenant() && self.auto_register {
            return Ok(());
        }
        let mut last = None;
        for sample in &envelope.samples {
            let sensor = (&sample.device, &sample.sensor);
            // Most deliveries are of one sensor.
            if last.replace(sensor) != Some(sensor) {
                self.check_sensor(&envelope.tenant, sensor.0, sensor.1)?;
            }
        }
        Ok(())
    }

    /// A device that a user's first reading makes is the user's: else it would belong to nobody, and her second reading would be refused. False
    /// where nobody makes it so.
    pub async fn make(&self, who: &Principal, device: &Id) -> Result<bool, IngestError> {
        if !self.auto_register || who.user().is_none() || who.tenant() != self.registry.tenant() {
            return Ok(false);
        }
        match self.registry.make(&self.ledger, who, device, crate::clock::now()).await {
            Ok(is_theirs) => Ok(is_theirs),
            Err(error @ (RegistryError::Records(_) | RegistryError::Devices(_))) => Err(LedgerError::Unavailable(chain(&error)).into()),
            Err(error) => Err(IngestError::NoRoom(error.to_string())),
        }
    }

    fn check_sensor(&self, tenant: &Tenant, device: &Id, sensor: &Id) -> Result<(), IngestError> {
        let known = if tenant == self.registry.tenant() { self.registry.knows(device, sensor) } else { Known::Nothing };
        match (known, self.auto_register) {
            (Known::Sensor, _) => Ok(()),
            (_, true) => self.registry.has_room(device).map_err(|full: RegistryError| IngestError::NoRoom(full.to_string())),
            (Known::Device, false) => Err(IngestError::UnknownSensor { device: device.clone(), sensor: sensor.clone() }),
            (Known::Nothing, false) => Err(IngestError::UnknownDevice(device.clone())),
        }
    }
}

/// What of a reading is the same in a repeat of it.
struct Print {
    /// Whose it is. Not the subject: a rule may take out this time what it did not the first time.
    of: (Option<Id>, Option<Id>),
    measured: Micros,
    /// The device said no time, so it is the time of receipt, which is another one in a repeat.
    silent: bool,
    value: Value,
}

impl Print {
    fn of(event: &NewEvent) -> Print {
        let silent = event.measured == event.received;
        Print { of: (event.device.clone(), event.sensor.clone()), measured: event.measured, silent, value: sent(event).clone() }
    }

    fn is_of(&self, event: &NewEvent) -> bool {
        let measured = self.measured == event.measured || (self.silent && event.measured == event.received);
        self.of.0 == event.device && self.of.1 == event.sensor && measured && self.value == *sent(event)
    }
}

/// As it came in, before pre-processing.
fn sent(event: &NewEvent) -> &Value {
    event.raw.as_deref().unwrap_or(&event.value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        devices::Devices,
        ledger::{LedgerConfig, LedgerOptions},
        model::id::default_tenant,
        preprocess::Sample,
    };

    async fn door(dir: &std::path::Path, auto_register: bool) -> Ingest {
        let config = LedgerConfig::Embedded { dir: dir.join("ledger"), options: LedgerOptions::default() };
        let (ledger, devices) = (Ledger::open(&config).await.unwrap(), Devices::open(&dir.join("devices")).unwrap());
        let registry = Registry::open(ledger.clone(), devices, &default_tenant()).unwrap();
        Ingest::new(ledger, registry, Metrics::new(), auto_register)
    }

    fn delivery(values: &[&str]) -> Envelope {
        let id = |text| Id::new(text).unwrap();
        let sample = |v: &&str| Sample { device: id("d1"), sensor: id("t"), measured: None, value: Value::json(v).unwrap() };
        Envelope { tenant: default_tenant(), received: Micros(1_000_000), samples: values.iter().map(sample).collect() }
    }

    #[tokio::test]
    async fn what_is_stored_can_be_read_at_once_and_a_repeat_is_not_stored_again() {
        let dir = tempfile::tempdir().unwrap();
        let ingest = door(dir.path(), true).await;
        let key = RepeatKey::http("t1", &["value", "d1", "t"], "k1");
        let first = ingest.store(delivery(&["1", "2"]), Some(key.clone())).await.unwrap();
        assert_eq!(first, Stored { seqs: vec![1, 2], duplicate: false });
        assert_eq!(ingest.ledger.events(1, 10, usize::MAX).unwrap().len(), 2);
        let mut later = delivery(&["1", "2"]);
        later.received = Micros(2_000_000);
        let again = ingest.store(later, Some(key)).await.unwrap();
        assert_eq!(again, Stored { seqs: vec![1, 2], duplicate: true });
        assert_eq!(ingest.metrics.readings.get(), 2);
    }

    #[tokio::test]
    async fn other_readings_under_a_used_key_are_refused_and_never_taken_for_stored() {
        let dir = tempfile::tempdir().unwrap();
        let ingest = door(dir.path(), true).await;
        let key = RepeatKey::http("t1", &["readings"], "k1");
        ingest.store(delivery(&["1", "2"]), Some(key.clone())).await.unwrap();
        let mut timed = delivery(&["1", "2"]);
        timed.samples[1].measured = Some(Micros(5));
        let mut elsewhere = delivery(&["1", "2"]);
        elsewhere.samples[0].sensor = Id::new("hum").unwrap();
        for other in [delivery(&["1"]), delivery(&["1", "3"]), delivery(&["1", "2", "3"]), timed, elsewhere] {
            let refused = ingest.store(other, Some(key.clone())).await;
            assert!(matches!(refused, Err(IngestError::KeyReused)), "{refused:?}");
        }
        // What can't be compared any more is not said to be stored either.
        ingest.store(delivery(&["9"]), None).await.unwrap();
        ingest.ledger.trim(3).await.unwrap();
        let refused = ingest.store(delivery(&["1", "2"]), Some(key)).await;
        assert!(matches!(refused, Err(IngestError::KeyForgotten)), "{refused:?}");
        assert_eq!(*ingest.ledger.head().borrow(), 3);
    }

    #[test]
    fn no_key_can_pass_for_another() {
        let key = |sender, target: &[&str], key| RepeatKey::http(sender, target, key);
        assert_ne!(key("t", &["value", "a"], "b:1"), key("t", &["value", "a:b"], "1"));
        assert_ne!(key("t", &["readings"], "a\",\"b"), key("t", &["readings", "a"], "b"));
        assert_ne!(key("t1", &["readings"], "k"), key("t2", &["readings"], "k"));
    }

    #[tokio::test]
    async fn without_auto_register_a_stranger_is_refused_and_nothing_stored() {
        let dir = tempfile::tempdir().unwrap();
        let ingest = door(dir.path(), false).await;
        let refused = ingest.store(delivery(&["1"]), None).await;
        assert!(matches!(refused, Err(IngestError::UnknownDevice(device)) if device.as_str() == "d1"));
        assert_eq!(*ingest.ledger.head().borrow(), 0);
    }

    #[tokio::test]
    async fn without_auto_register_what_somebody_registered_may_send_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let ingest = door(dir.path(), false).await;
        let dates = serde_json::json!({ "date_created": 0, "date_modified": 0 });
        let mut text = serde_json::json!({ "id": "d1", "sensors": [{ "id": "t" }] });
        for part in ["", "/sensors/0"] {
            text.pointer_mut(part).unwrap().as_object_mut().unwrap().extend(dates.as_object().unwrap().clone());
        }
        let who = crate::identity::Principal::Guest { tenant: default_tenant() };
        ingest.registry.create_device(&who, serde_json::from_value(text).unwrap(), Micros(1)).await.unwrap();
        let stored = ingest.store(delivery(&["1", "2"]), None).await.unwrap();
        assert_eq!(stored.seqs.len(), 2);
        let mut other = delivery(&["1", "2"]);
        other.samples[1].sensor = Id::new("hum").unwrap();
        let refused = ingest.store(other, None).await;
        assert!(matches!(&refused, Err(IngestError::UnknownSensor { sensor, .. }) if sensor.as_str() == "hum"), "{refused:?}");
        let mut elsewhere = delivery(&["1"]);
        elsewhere.tenant = Id::new("mainz").unwrap();
        assert!(matches!(ingest.store(elsewhere, None).await, Err(IngestError::UnknownDevice(_))));
    }

    #[tokio::test]
    async fn one_bad_sample_refuses_all() {
        let dir = tempfile::tempdir().unwrap();
        let ingest = door(dir.path(), true).await;
        let mut envelope = delivery(&["1", "2"]);
        envelope.samples[1].measured = Some(Micros(i64::MAX));
        assert!(matches!(ingest.store(envelope, None).await, Err(IngestError::TooFarAhead(e)) if e.index == 1));
        assert_eq!(*ingest.ledger.head().borrow(), 0);
    }
}
