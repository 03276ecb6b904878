//! What a client publishes: into the log, and only then acknowledged.

use super::{
    broker::Broker,
    packet::{Delivery, Publish, Reason},
    session::Session,
    topic::Target,
};
use crate::{
    clock,
    ingest::{Format, IngestError, Mark, Order, parse},
    ledger::LedgerError,
    model::{
        limit::{MQTT_PUBLISHES_BYTES_MAX, MQTT_RECEIVED_MAX},
        payload::BodyError,
    },
    preprocess::{Envelope, Sample},
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a packet is answered with.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Nothing,
    Puback(u16, Reason),
    Pubrec(u16, Reason),
    Pubcomp(u16, bool),
    Suback(u16, Vec<Option<u8>>),
    Unsuback(u16, Vec<bool>),
    /// Nothing can be said now: the client has to come again and ask again.
    Away(String),
}

/// Why a publish is not stored.
enum Refusal {
    /// It never will be: it is acknowledged and dropped, because the client would send it for ever. The word is for `/metrics`.
    Never(Reason, &'static str, String),
    Away(LedgerError),
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Refusal {
        Refusal::Never(Reason::PayloadInvalid, "mqtt-payload", error.to_string())
    }
}

impl From<IngestError> for Refusal {
    fn from(error: IngestError) -> Refusal {
        match error {
            IngestError::Ledger(error @ LedgerError::TooLarge { .. }) => Refusal::Never(Reason::Quota, "mqtt-payload", error.to_string()),
            IngestError::Ledger(error) => Refusal::Away(error),
            IngestError::NoRoom(_) => Refusal::Never(Reason::Quota, "mqtt-no-room", error.to_string()),
            IngestError::UnknownDevice(_) | IngestError::UnknownSensor { .. } => {
                Refusal::Never(Reason::NotAuthorized, "mqtt-unknown-device", error.to_string())
            }
            IngestError::Stopped => Refusal::Away(LedgerError::Closed),
            error => Refusal::Never(Reason::PayloadInvalid, "mqtt-payload", error.to_string()),
        }
    }
}

/// The publishes of a client go into the log in the order in which they came: one after another into the queue of the ledger, and
/// then all of them at once through it.
pub struct Turn {
    /// Ends when the one before is in the queue.
    before: oneshot::Receiver<()>,
    /// Dropped when this one is.
    after: oneshot::Sender<()>,
}

impl Turn {
    /// Behind the one that `last` was of; `last` is of this one then.
    pub fn behind(last: &mut oneshot::Receiver<()>) -> Turn {
        let (after, next) = oneshot::channel();
        Turn { before: std::mem::replace(last, next), after }
    }

    /// Behind nobody.
    pub fn alone() -> Turn {
        Turn::behind(&mut oneshot::channel().1)
    }
}

/// Stores it, durably, and says what the client is to be told.
pub async fn store(broker: Arc<Broker>, session: Arc<Session>, publish: Publish, turn: Turn) -> Answer {
    // An error is that it was dropped: it is in the queue.
    let _ = turn.before.await;
    let mark = match publish.delivery {
        Delivery::ExactlyOnce(pid) => {
            let mut state = session.state.lock();
            if state.received.contains(&pid) {
                return Answer::Pubrec(pid, Reason::Success);
            }
            if state.received.len() >= MQTT_RECEIVED_MAX {
                return Answer::Away("the client releases none of its packets".to_owned());
            }
            state.received.insert(pid);
            session.keeps().then(|| broker.store.mark(&session.key, pid))
        }
        _ => None,
    };
    let stored = into_log(&broker, &session, &publish, mark, turn.after).await;
    let reason = match stored {
        Ok(()) => Reason::Success,
        Err(refusal) => {
            if let Delivery::ExactlyOnce(pid) = publish.delivery {
                session.state.lock().received.remove(&pid);
            }
            match refusal {
                Refusal::Never(reason, word, why) => {
                    broker.metrics.refuse(word);
                    broker.say(&session, &publish.topic, &why);
                    reason
                }
                Refusal::Away(error) => return Answer::Away(error.to_string()),
            }
        }
    };
    match publish.delivery {
        Delivery::AtMostOnce => Answer::Nothing,
        Delivery::AtLeastOnce(pid) => Answer::Puback(pid, reason),
        Delivery::ExactlyOnce(pid) => Answer::Pubrec(pid, reason),
    }
}

async fn into_log(
    broker: &Broker,
    session: &Session,
    publish: &Publish,
    mark: Option<Mark>,
    turn: oneshot::Sender<()>,
) -> Result<(), Refusal> {
    let target = Target::of(&publish.topic)
        .ok_or_else(|| Refusal::Never(Reason::TopicNameInvalid, "mqtt-topic", "no topic of a sensor or an actuator".to_owned()))?;
    if !broker.door.may_send(&session.principal, &target.device) {
        let why = format!("who sends it may not send to `{}`", target.device);
        return Err(Refusal::Never(Reason::NotAuthorized, "mqtt-forbidden", why));
    }
    let values = match target.many {
        true => parse::values(&publish.payload)?,
        false => vec![parse::value(Format::Json, &publish.payload)?],
    };
    let closed = |_| Refusal::Away(LedgerError::Closed);
    let bytes = u32::try_from(publish.payload.len().clamp(1, MQTT_PUBLISHES_BYTES_MAX)).unwrap_or(u32::MAX);
    let _place = broker.publishes.acquire().await.map_err(closed)?;
    let _room = broker.publish_bytes.acquire_many(bytes).await.map_err(closed)?;
    let (tenant, now) = (session.key.tenant.clone(), clock::now());
    if target.is_actuator {
        let order = |(_, value)| {
            let (tenant, device, actuator) = (tenant.clone(), target.device.clone(), target.id.clone());
            Order { tenant, device, actuator, value, id: super::unique() }
        };
        broker.ingest.command(values.into_iter().map(order).collect(), now, mark, turn).await?;
        return Ok(());
    }
    let sample = |(measured, value)| Sample { device: target.device.clone(), sensor: target.id.clone(), measured, value };
    let envelope = Envelope { tenant, received: now, samples: values.into_iter().map(sample).collect() };
    broker.ingest.store_in_turn(envelope, mark, turn).await?;
    Ok(())
}

/// The client has heard that its packet was taken: its id is free.
pub async fn release(broker: Arc<Broker>, session: Arc<Session>, pid: u16) -> Answer {
    let known = session.state.lock().received.remove(&pid);
    if known && session.keeps() {
        // Before the client may use the id for another packet.
        if let Err(error) = broker.store.release(&session.key, pid).await {
            return Answer::Away(error.to_string());
        }
    }
    Answer::Pubcomp(pid, known)
}
