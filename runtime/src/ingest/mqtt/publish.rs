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
    preprocess::{self, Envelope, Sample},
};
use std::{convert::Infallible, sync::Arc};
use tokio::sync::{mpsc, oneshot};

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
    /// Another connection of the client is there, and it is that one's to answer.
    TakenOver,
    /// More than the ledger takes at once: why, the packet's id, and whether it is of QoS 2.
    TooLarge(String, u16, bool),
}

/// Why a publish is not stored.
enum Refusal {
    /// It never will be: it is acknowledged and dropped, because the client would send it for ever. The word is for `/metrics`.
    Never(Reason, &'static str, String),
    TooLarge(String),
    Away(LedgerError),
    TakenOver,
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Refusal {
        Refusal::Never(Reason::PayloadInvalid, "mqtt-payload", error.to_string())
    }
}

impl From<IngestError> for Refusal {
    fn from(error: IngestError) -> Refusal {
        match error {
            IngestError::Ledger(error @ LedgerError::TooLarge { .. }) => Refusal::TooLarge(error.to_string()),
            IngestError::Ledger(error) => Refusal::Away(error),
            IngestError::NoRoom(_) => Refusal::Never(Reason::Quota, "mqtt-no-room", error.to_string()),
            IngestError::UnknownDevice(_) | IngestError::UnknownSensor { .. } => {
                Refusal::Never(Reason::NotAuthorized, "mqtt-unknown-device", error.to_string())
            }
            IngestError::Stopped => Refusal::Away(LedgerError::Closed),
            IngestError::TakenOver => Refusal::TakenOver,
            error => Refusal::Never(Reason::PayloadInvalid, "mqtt-payload", error.to_string()),
        }
    }
}

/// The publishes of a client go into the log in the order in which they came: one after another into the queue of the ledger, and
/// then all of them at once through it. Those that are marked, as of QoS 2 and in a session that lasts, and the others go through it on two ways
/// that may overtake each other: who goes the other way than the one before waits until that is durable.
pub struct Turns {
    /// Ends when the last one is in the queue.
    last: oneshot::Receiver<()>,
    is_marked: bool,
    /// Those that went the same way as the last one, with it: each holds one until it is durable.
    row: Held,
    row_ends: End,
}

type Held = mpsc::Sender<Infallible>;
/// Ends when nobody of a row holds it any more.
type End = mpsc::Receiver<Infallible>;

pub struct Turn {
    is_marked: bool,
    /// Ends when the one before is in the queue.
    before: oneshot::Receiver<()>,
    /// Those that went the other way.
    others: Option<End>,
    /// Dropped when this one is in the queue.
    after: oneshot::Sender<()>,
    /// Dropped when this one is durable.
    row: Held,
}

impl Default for Turns {
    fn default() -> Turns {
        let (row, row_ends) = mpsc::channel(1);
        Turns { last: oneshot::channel().1, is_marked: false, row, row_ends }
    }
}

impl Turns {
    /// Behind all that came before.
    pub fn next(&mut self, is_marked: bool) -> Turn {
        let mut others = None;
        if is_marked != self.is_marked {
            let (row, row_ends) = mpsc::channel(1);
            (self.row, self.is_marked) = (row, is_marked);
            others = Some(std::mem::replace(&mut self.row_ends, row_ends));
        }
        let (after, next) = oneshot::channel();
        Turn { is_marked, before: std::mem::replace(&mut self.last, next), others, after, row: self.row.clone() }
    }
}

impl Turn {
    /// Behind nobody.
    pub fn alone() -> Turn {
        Turns::default().next(false)
    }

    /// Waits until it is this one's turn.
    async fn comes(before: oneshot::Receiver<()>, others: Option<End>) {
        // An error is that it was dropped: it is in the queue.
        let _ = before.await;
        if let Some(mut others) = others {
            while others.recv().await.is_some() {}
        }
    }
}

impl Publish {
    /// Whether an entry in the ledger says that it was taken.
    pub fn is_marked(&self, session: &Session) -> bool {
        matches!(self.delivery, Delivery::ExactlyOnce(_)) && session.keeps()
    }
}

/// Stores it, durably, and says what the client is to be told.
pub async fn store(broker: Arc<Broker>, session: Arc<Session>, publish: Publish, turn: Turn) -> Answer {
    let Turn { is_marked, before, others, after, row: _row } = turn;
    Turn::comes(before, others).await;
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
            is_marked.then(|| {
                // From here on there may be one, whatever is heard of it.
                state.marked.insert(pid);
                broker.store.mark(session.holder(), pid)
            })
        }
        _ => None,
    };
    let refusal = match into_log(&broker, &session, &publish, mark, after).await {
        Ok(()) => return publish.delivery.answer(Reason::Success),
        Err(refusal) => refusal,
    };
    if let Delivery::ExactlyOnce(pid) = publish.delivery {
        session.state.lock().received.remove(&pid);
    }
    let (word, why) = match &refusal {
        Refusal::Away(error) => return Answer::Away(error.to_string()),
        Refusal::TakenOver => return Answer::TakenOver,
        Refusal::TooLarge(why) => ("mqtt-too-large", why),
        Refusal::Never(_, word, why) => (*word, why),
    };
    broker.metrics.refuse(word);
    broker.say(&session, &publish.topic, why);
    match (refusal, publish.delivery) {
        (Refusal::Never(reason, ..), delivery) => delivery.answer(reason),
        (Refusal::TooLarge(why), Delivery::AtLeastOnce(pid)) => Answer::TooLarge(why, pid, false),
        (Refusal::TooLarge(why), Delivery::ExactlyOnce(pid)) => Answer::TooLarge(why, pid, true),
        (_, _) => Answer::Nothing,
    }
}

impl Delivery {
    fn answer(self, reason: Reason) -> Answer {
        match self {
            Delivery::AtMostOnce => Answer::Nothing,
            Delivery::AtLeastOnce(pid) => Answer::Puback(pid, reason),
            Delivery::ExactlyOnce(pid) => Answer::Pubrec(pid, reason),
        }
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
    let may_send = broker.door.may_send(&session.principal, &target.device);
    // Only what is stored makes a device.
    if !may_send && (target.is_actuator || session.principal.user().is_none()) {
        return Err(target.forbidden());
    }
    if may_send && !target.is_actuator && !broker.door.may_add(&session.principal, &target.device, &target.id) {
        return Err(target.forbidden());
    }
    let values = match target.many {
        true => parse::values(&publish.payload)?,
        false => vec![parse::value(Format::Json, &publish.payload)?],
    };
    let sample = |(measured, value)| Sample { device: target.device.clone(), sensor: target.id.clone(), measured, value };
    if !may_send {
        let samples = values.iter().cloned().map(sample).collect();
        preprocess::readings(Envelope { tenant: session.key.tenant.clone(), received: clock::now(), samples })
            .map_err(IngestError::from)?;
        if values.is_empty() || !broker.ingest.make(&session.principal, &target.device).await? {
            return Err(target.forbidden());
        }
    }
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
    let envelope = Envelope { tenant, received: now, samples: values.into_iter().map(sample).collect() };
    broker.ingest.store_in_turn(envelope, mark, turn).await?;
    Ok(())
}

impl Target {
    fn forbidden(&self) -> Refusal {
        Refusal::Never(Reason::NotAuthorized, "mqtt-forbidden", format!("who sends it may not send to `{}`", self.device))
    }
}

/// The client has heard that its packet was taken: its id is free.
pub async fn release(broker: Arc<Broker>, session: Arc<Session>, pid: u16) -> Answer {
    let (known, is_marked) = {
        let mut state = session.state.lock();
        (state.received.remove(&pid), state.marked.contains(&pid))
    };
    if is_marked {
        // Before the client may use the id for another packet.
        if let Err(error) = broker.store.release(session.holder(), pid).await {
            return error.into();
        }
        session.state.lock().marked.remove(&pid);
    }
    Answer::Pubcomp(pid, known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::pin::pin;

    /// The ledger in a NATS server keeps what goes one way in order, and not what goes two.
    #[test]
    fn a_publish_that_goes_another_way_than_those_before_it_waits_until_they_are_durable() {
        let mut turns = Turns::default();
        let [first, second, other, last] = [true, true, false, false].map(|is_marked| turns.next(is_marked));
        assert!(Turn::comes(first.before, first.others).now_or_never().is_some());
        let mut waits = pin!(Turn::comes(second.before, second.others));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(first.after);
        assert!(waits.now_or_never().is_some(), "behind one that goes the same way it is enough that this is in the queue");
        drop(second.after);
        let mut waits = pin!(Turn::comes(other.before, other.others));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(second.row);
        assert!(waits.as_mut().now_or_never().is_none(), "the first is not durable yet");
        drop(first.row);
        assert!(waits.now_or_never().is_some());
        drop(other.after);
        assert!(Turn::comes(last.before, last.others).now_or_never().is_some());
    }
}
