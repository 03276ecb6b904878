//! What happened in the ledger, one message each, for outsiders: in the order of the log, each once, however long it stood.
//!
//! Every message expects the one before it to be the last of the stream. So a relay can have many on their way and none can
//! go missing, be doubled or change places; after a failure the stream's last message says where to go on.

use super::{
    super::{JetstreamOptions, LedgerError, view::View},
    file_stream, names,
};
use crate::model::{Event, Kind, Seq, Tenant, Value};
use async_nats::jetstream::{
    context::Context,
    message::PublishMessage,
    stream::{Config, DiscardPolicy},
};
use futures::{StreamExt, stream::FuturesOrdered};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// Events read from the log at once.
const READ_EVENTS_MAX: usize = 256;
const READ_BYTES_MAX: usize = 1024 * 1024;
/// Messages on their way.
const IN_FLIGHT_MAX: usize = 512;
/// After a failure.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// The log's sequence of a message's event.
const SEQUENCE: &str = "Tawi-Sequence";
const MEASURED: &str = "Tawi-Measured";
const RECEIVED: &str = "Tawi-Received";

/// Full, it drops its oldest; it has no age limit, because its last message is the relay's position.
pub(super) fn config(options: &JetstreamOptions) -> Config {
    let (name, subjects) = (names::out_stream(&options.tenant), names::out_subjects(&options.tenant));
    Config {
        description: Some("readings, messages and commands of Tawi, for outsiders".to_owned()),
        discard: DiscardPolicy::Old,
        // The id is for outsiders; what keeps each message single is its place in the row.
        duplicate_window: Duration::from_millis(100),
        allow_direct: true,
        ..file_stream(name, subjects, options.out_bytes_max, options.replicas)
    }
}

pub(super) struct Relay {
    context: Context,
    view: Arc<View>,
    tenant: Tenant,
    /// What was published up to; the log keeps what comes after it.
    relayed: Arc<AtomicU64>,
    connected: watch::Receiver<bool>,
}

/// Why the relay has to begin again.
struct Stopped(String);

impl Relay {
    pub(super) fn new(
        context: Context,
        view: Arc<View>,
        tenant: Tenant,
        relayed: Arc<AtomicU64>,
        connected: watch::Receiver<bool>,
    ) -> Relay {
        relayed.store(0, Ordering::Release);
        Relay { context, view, tenant, relayed, connected }
    }

    pub(super) async fn run(self) {
        let mut connected = self.connected.clone();
        loop {
            let stopped = tokio::select! {
                stopped = self.relay() => stopped,
                // What was on its way is known sooner from the stream than from acknowledgements that may never come.
                _ = connected.changed() => Err(Stopped("the connection was made anew".to_owned())),
            };
            let Err(Stopped(reason)) = stopped else { return };
            tracing::debug!(reason, "the relay to outsiders pauses");
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// The log's sequence of the last message, and that message's number in its stream.
    async fn position(&self) -> Result<(Seq, u64), Stopped> {
        let stream = self.context.get_stream(names::out_stream(&self.tenant)).await.map_err(stopped)?;
        let state = &stream.cached_info().state;
        if state.messages == 0 {
            // Never used, or emptied by hand: then nobody wants what was in it.
            let seq = if state.last_sequence == 0 { self.view.first() - 1 } else { *self.view.head().borrow() };
            return Ok((seq, state.last_sequence));
        }
        let last = stream.get_raw_message(state.last_sequence).await.map_err(stopped)?;
        let seq = last.headers.get(SEQUENCE).and_then(|seq| seq.as_str().parse().ok());
        let seq = seq.ok_or_else(|| Stopped(format!("message `{}` has no `{SEQUENCE}`", state.last_sequence)))?;
        Ok((seq, state.last_sequence))
    }

    /// Ends only when the ledger is closed.
    async fn relay(&self) -> Result<(), Stopped> {
        let (mut seq, mut last) = self.position().await?;
        self.relayed.store(seq, Ordering::Release);
        let mut head = self.view.head();
        let mut acks = FuturesOrdered::new();
        loop {
            let events = match self.view.events(seq + 1, READ_EVENTS_MAX, READ_BYTES_MAX) {
                Ok(events) => events,
                Err(LedgerError::Closed) => return Ok(()),
                Err(error) => return Err(stopped(error)),
            };
            for event in &events {
                seq = event.seq;
                if let Some((subject, message)) = self.message(event) {
                    let message = message.expected_last_sequence(last);
                    let ack = self.context.send_publish(subject, message).await.map_err(stopped)?;
                    last += 1;
                    acks.push_back(async move { ack.await.map(|ack| (seq, ack.duplicate)) });
                }
                while acks.len() >= IN_FLIGHT_MAX {
                    self.landed(acks.next().await)?;
                }
            }
            if events.is_empty() {
                while let Some(ack) = acks.next().await {
                    self.landed(Some(ack))?;
                }
                self.relayed.fetch_max(seq, Ordering::AcqRel);
                if head.wait_for(|head| *head > seq).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    fn landed<E: std::fmt::Display>(&self, ack: Option<Result<(Seq, bool), E>>) -> Result<(), Stopped> {
        let Some(ack) = ack else { return Ok(()) };
        let (seq, duplicate) = ack.map_err(stopped)?;
        if duplicate {
            return Err(Stopped(format!("event `{seq}` was there already")));
        }
        self.relayed.fetch_max(seq, Ordering::AcqRel);
        Ok(())
    }

    fn message(&self, event: &Event) -> Option<(String, PublishMessage)> {
        let prefix = names::out_prefix(&self.tenant, &event.key);
        let subject = match event.kind {
            Kind::Reading | Kind::Command => format!("{prefix}.{}", event.subject),
            Kind::Message => format!("{prefix}.event.{}", event.subject),
            Kind::Log | Kind::Registry | Kind::Trigger | Kind::Run | Kind::Dropped => return None,
        };
        let payload = match &event.value {
            Value::Json(text) if event.kind == Kind::Reading => format!(r#"{{"value":{text},"timestamp":"{}"}}"#, event.measured).into(),
            Value::Json(text) => bytes::Bytes::copy_from_slice(text.as_bytes()),
            Value::Bytes(bytes) => bytes.clone(),
        };
        let message = PublishMessage::build()
            .payload(payload)
            .message_id(event.seq.to_string())
            .header(SEQUENCE, event.seq.to_string())
            .header(MEASURED, event.measured.to_string())
            .header(RECEIVED, event.received.to_string());
        Some((subject, message))
    }
}

fn stopped(error: impl std::fmt::Display) -> Stopped {
    Stopped(error.to_string())
}
