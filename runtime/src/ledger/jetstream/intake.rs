//! Readings and messages that outsiders publish: from their stream into the ledger, each once.
//!
//! The position in their stream moves with the append, so a crash between the two is no loss and no double.

use super::{
    super::{Append, Clean, Cleaned, Cleaner, Intake as Position, JetstreamOptions, LedgerError, Op, Outcome, queue::Queue, view::View},
    file_stream, micros, names,
};
use crate::model::{
    Kind, Micros, NewEvent, Subject, Tenant, Value,
    limit::{MEASURED_AHEAD_MAX_DAYS, VALUE_BYTES_MAX},
    payload::{self, BodyError, Measured},
};
use async_nats::jetstream::{
    Message,
    consumer::{AckPolicy, DeliverPolicy, pull},
    context::Context,
    stream::{Config, DiscardPolicy, Info},
};
use futures::{FutureExt, StreamExt};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Messages of one append.
const BATCH_MESSAGES_MAX: usize = 1_000;
/// Messages of one append whose readings are cleaned: what rules remember of each of their sensors goes with it, which may be 18 KB.
const CLEANED_MESSAGES_MAX: usize = 256;
/// Bytes of one append: a batch of the ledger's stream.
const BATCH_BYTES_MAX: usize = 384 * 1024;
/// Bytes asked for at once.
const PULL_BYTES: usize = 4 * 1024 * 1024;
/// A connection that is silent for twice as long is given up.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// The server forgets a consumer that nobody has read from for so long.
const INACTIVE: Duration = Duration::from_secs(30);
/// After a failure.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// Between two removals of what was taken in.
const PURGE_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Intake {
    context: Context,
    stream: String,
    /// Names the stream and when it was made: another one of its name begins at its own start.
    source: String,
    view: Arc<View>,
    queue: Arc<Queue>,
    tenant: Tenant,
    cleaner: Option<Cleaner>,
    keep: Duration,
    connected: watch::Receiver<bool>,
}

/// Full, it refuses: an outsider without an acknowledgement knows that nothing was taken. What was taken in stays for the
/// window in which the server recognises a repeated `Nats-Msg-Id`, also across a restart.
pub(super) fn config(options: &JetstreamOptions) -> Config {
    let (name, subjects) = (names::intake_stream(&options.tenant), names::intake_subjects(&options.tenant));
    Config {
        description: Some("what outsiders publish to Tawi, until it is in the ledger".to_owned()),
        discard: DiscardPolicy::New,
        duplicate_window: options.duplicate_window,
        max_message_size: i32::try_from(2 * VALUE_BYTES_MAX).unwrap_or(i32::MAX),
        ..file_stream(name, subjects, options.intake_bytes_max, options.replicas)
    }
}

impl Intake {
    pub(super) fn new(
        context: Context,
        info: &Info,
        view: Arc<View>,
        queue: Arc<Queue>,
        options: &JetstreamOptions,
        connected: watch::Receiver<bool>,
    ) -> Intake {
        Intake {
            context,
            stream: info.config.name.clone(),
            source: format!("{}@{}", info.config.name, micros(info.created)),
            view,
            queue,
            tenant: options.tenant.clone(),
            cleaner: options.cleaner.clone(),
            keep: options.duplicate_window,
            connected,
        }
    }

    pub(super) async fn run(self) {
        let mut connected = self.connected.clone();
        let clean = match &self.cleaner {
            Some(cleaner) => Some(cleaner.get().await),
            None => None,
        };
        loop {
            let followed = tokio::select! {
                followed = self.follow(clean.as_ref()) => followed,
                // A server that was restarted has forgotten the consumer.
                _ = connected.changed() => Ok(()),
            };
            match followed {
                Ok(()) => {}
                Err(LedgerError::Closed) => return,
                Err(error) => tracing::warn!(%error, "intake from nats-server pauses"),
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// Reads on from the position in the view, until something fails.
    async fn follow(&self, clean: Option<&Clean>) -> Result<(), LedgerError> {
        let mut after = self.view.intake(&self.source)?;
        let config = pull::Config {
            description: Some("a Tawi node's intake".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        };
        let Ok(consumer) = self.context.create_consumer_on_stream(config, &self.stream).await else { return Ok(()) };
        let messages = consumer.stream().max_messages_per_batch(BATCH_MESSAGES_MAX).max_bytes_per_batch(PULL_BYTES);
        let Ok(mut messages) = messages.heartbeat(HEARTBEAT).messages().await else { return Ok(()) };
        let mut taken: Vec<(u64, Duration)> = Vec::new();
        let mut purged = Instant::now();
        while let Some(Ok(first)) = messages.next().await {
            let mut batch = Batch::new(&self.tenant, after);
            batch.add(&first);
            let most = if clean.is_some() { CLEANED_MESSAGES_MAX } else { BATCH_MESSAGES_MAX };
            while batch.has_room(most)
                && let Some(Some(next)) = messages.next().now_or_never()
            {
                let Ok(next) = next else { break };
                batch.add(&next);
            }
            let Batch { events, position, .. } = batch;
            let intake = Some(Position { source: self.source.clone(), after, position });
            let append = Append { tenant: self.tenant.clone(), events, dedup: None, intake };
            match self.append(append, clean).await? {
                Outcome::Applied { .. } => after = position,
                // Somebody else has moved the position.
                _ => return Ok(()),
            }
            taken.push((position, unix_now()));
            if purged.elapsed() >= PURGE_EVERY {
                purged = Instant::now();
                self.purge(&mut taken).await;
            }
        }
        Ok(())
    }

    /// Where somebody has moved the position, what is kept of the sensors is not moved either.
    async fn append(&self, append: Append, clean: Option<&Clean>) -> Result<Outcome, LedgerError> {
        let Some(clean) = clean else { return self.queue.submit_when_room(Op::Append(append)).await.await };
        let Cleaned { op, wait } = clean(append).await?;
        wait(self.queue.submit_when_room(op).await).await
    }

    /// Removes what was taken in before the duplicate window.
    async fn purge(&self, taken: &mut Vec<(u64, Duration)>) {
        let before = unix_now().saturating_sub(self.keep);
        let old = taken.partition_point(|(_, time)| *time < before);
        let Some((position, _)) = taken.drain(..old).next_back() else { return };
        let Ok(stream) = self.context.get_stream_no_info(&self.stream).await else { return };
        if let Err(error) = stream.purge().sequence(position + 1).await {
            tracing::debug!(%error, "what was taken in stays in nats-server for now");
        }
    }
}

fn unix_now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

struct Batch<'t> {
    tenant: &'t Tenant,
    events: Vec<NewEvent>,
    bytes: usize,
    messages: usize,
    position: u64,
}

impl<'t> Batch<'t> {
    fn new(tenant: &'t Tenant, after: u64) -> Batch<'t> {
        Batch { tenant, events: Vec::new(), bytes: 0, messages: 0, position: after }
    }

    fn has_room(&self, most: usize) -> bool {
        self.messages < most && self.bytes < BATCH_BYTES_MAX
    }

    fn add(&mut self, message: &Message) {
        let Ok(info) = message.info() else { return };
        if info.stream_sequence <= self.position {
            return;
        }
        let received = Micros(i64::try_from(micros(info.published)).unwrap_or(i64::MAX));
        let event = parse(self.tenant, message.subject.as_str(), &message.payload, received)
            .unwrap_or_else(|reason| refused(self.tenant, message.subject.as_str(), &message.payload, received, &reason));
        self.bytes += event.size_bytes();
        self.events.push(event);
        self.messages += 1;
        self.position = info.stream_sequence;
    }
}

/// The event that an outsider's message is, or why it is none.
fn parse(tenant: &Tenant, subject: &str, payload: &[u8], received: Micros) -> Result<NewEvent, String> {
    if let Some(rest) = subject.strip_prefix(&names::reading_prefix(tenant)) {
        let (device, sensor) = rest.split_once('.').ok_or("the subject has no sensor")?;
        let device = names::id_of(device).ok_or_else(|| format!("`{device}` is not the id of a device"))?;
        let sensor = names::id_of(sensor).ok_or_else(|| format!("`{sensor}` is not the id of a sensor"))?;
        let (measured, value) = reading_value(payload).map_err(|e| e.to_string())?;
        payload::fits(value.len_bytes()).map_err(|e| e.to_string())?;
        let measured = measured.unwrap_or(received);
        if measured.0.saturating_sub(received.0) > MEASURED_AHEAD_MAX_DAYS * 86_400 * Micros::SECOND {
            return Err(format!("`timestamp` is `{measured}`, years ahead"));
        }
        return Ok(NewEvent::reading(tenant, &device, &sensor, measured, received, value));
    }
    let rest = subject.strip_prefix(&names::event_prefix(tenant)).ok_or("the subject is not one of intake")?;
    let subject = Subject::new(rest).map_err(|e| e.to_string())?;
    if subject.is_reserved() {
        return Err(format!("only the node writes `{subject}`"));
    }
    let value = value_of(payload).map_err(|e| e.to_string())?;
    payload::fits(value.len_bytes()).map_err(|e| e.to_string())?;
    let key = subject.to_string();
    Ok(message(tenant, Kind::Message, subject, key, received, value))
}

fn message(tenant: &Tenant, kind: Kind, subject: Subject, key: String, received: Micros, value: Value) -> NewEvent {
    NewEvent {
        tenant: tenant.clone(),
        kind,
        subject,
        key,
        device: None,
        sensor: None,
        measured: received,
        received,
        value,
        raw: None,
        cause: None,
    }
}

/// None: the payload is no JSON, so it is bytes.
fn text_of(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload).ok().filter(|text| serde_json::from_str::<&RawValue>(text).is_ok())
}

fn value_of(payload: &[u8]) -> Result<Value, BodyError> {
    match text_of(payload).map(serde_json::from_str::<&RawValue>) {
        Some(Ok(raw)) => payload::json(raw),
        _ => Ok(bytes_of(payload)),
    }
}

/// As a body of JSON that came by HTTP, where it is JSON.
fn reading_value(payload: &[u8]) -> Result<Measured, BodyError> {
    match text_of(payload) {
        Some(text) => payload::value(text),
        None => Ok((None, bytes_of(payload))),
    }
}

fn bytes_of(payload: &[u8]) -> Value {
    Value::Bytes(bytes::Bytes::copy_from_slice(payload))
}

/// A message that is no event is not thrown away: it becomes a log line with the message in it, found by searching.
fn refused(tenant: &Tenant, subject: &str, payload: &[u8], received: Micros, reason: &str) -> NewEvent {
    tracing::warn!(subject, reason, "a message to intake was refused");
    let line = serde_json::json!({
        "level": "warn",
        "context": "intake",
        "message": format!("refused a message on `{subject}`: {reason}"),
    });
    let at = Subject::new("log.tawi.intake").unwrap_or_else(|e| unreachable!("{e}"));
    let mut event = message(tenant, Kind::Log, at, "log.tawi.intake".to_owned(), received, Value::from_json(&line));
    event.raw = Some(Box::new(Value::Bytes(bytes::Bytes::copy_from_slice(&payload[..payload.len().min(VALUE_BYTES_MAX)]))));
    event
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::Id;

    fn parsed(subject: &str, payload: &str) -> Result<NewEvent, String> {
        parse(&Id::new("main").unwrap(), subject, payload.as_bytes(), Micros(7))
    }

    #[test]
    fn a_reading_is_an_envelope_a_value_or_bytes() {
        let json = |text: &str| Value::json(text).unwrap();
        let cases = [
            (r#"{"value":9.5}"#, json("9.5"), Micros(7)),
            (r#"{"value":"x","timestamp":"1970-01-01T00:00:00.000003Z"}"#, json("\"x\""), Micros(3)),
            ("9.50", json("9.50"), Micros(7)),
            // What a member means does not depend on its neighbours, nor on the door.
            (r#"{"value":1,"unit":"C"}"#, json("1"), Micros(7)),
            (r#"{"value":null,"timestamp":null}"#, json("null"), Micros(7)),
            ("{,", Value::Bytes("{,".into()), Micros(7)),
        ];
        for (payload, value, measured) in cases {
            let event = parsed("tawi.v1.main.reading.gw%2E1.temp", payload).unwrap();
            assert_eq!((event.value.clone(), event.measured), (value, measured), "{payload}");
            assert_eq!((event.device.unwrap().as_str(), event.key.as_str(), event.kind), ("gw.1", "gw.1", Kind::Reading));
        }
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        for wrong in ["1e999", r#"{"value":1e999}"#, r#"{"value":1,"timestamp":"1526313600"}"#, r#"{"temp":1}"#, deep.as_str()] {
            let by_http = payload::value(wrong).unwrap_err().to_string();
            assert_eq!(parsed("tawi.v1.main.reading.d.s", wrong).unwrap_err(), by_http);
        }
        let error = parsed("tawi.v1.main.reading.d.s", r#"{"value":1,"timestamp":"yesterday"}"#).unwrap_err();
        assert!(error.contains("`yesterday` is not a time"), "{error}");
        assert!(parsed("tawi.v1.main.reading.d.s", r#"{"value":1,"timestamp":"2400-01-01T00:00:00Z"}"#).is_err());
        assert!(parsed("tawi.v1.main.reading.d.s", &"x".repeat(VALUE_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_message_keeps_its_subject_and_can_not_pose_as_the_node() {
        let event = parsed("tawi.v1.main.event.alerts.fridge1", "[1]").unwrap();
        assert_eq!((event.subject.as_str(), event.kind), ("alerts.fridge1", Kind::Message));
        assert!(parsed("tawi.v1.main.event.alerts.fridge1", "1e999").is_err(), "no function could read it");
        assert!(parsed("tawi.v1.main.event.reading.d.s", "1").unwrap_err().contains("only the node writes"));
    }
}
