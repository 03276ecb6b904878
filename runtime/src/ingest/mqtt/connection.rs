//! One connection from its first byte to its last: what comes in is answered in its order, what goes out waits in the session.

use super::{
    broker::{Broker, NotNow, Place},
    door::Refused,
    io::{Io, Step, Stream},
    packet::{self, Connect, Delivery, Malformed, Packet, Publish, Reason, Version, Welcome, Will, Writer},
    publish::{self, Answer, Turn, Turns},
    refill,
    session::{Key, Kick, Parcel, Session},
    store::StoreError,
};
use crate::{
    clock,
    devices::{CommandState, Ended},
    identity::Principal,
    ledger::LedgerError,
    model::limit::{
        MQTT_CLIENT_ID_BYTES_MAX, MQTT_INFLIGHT_MAX, MQTT_KEEP_ALIVE_SECONDS_MAX, MQTT_OUTPUT_BYTES_MAX, MQTT_PACKET_BYTES_MAX,
        MQTT_PACKETS_PER_SECOND_MAX, MQTT_SESSION_SECONDS_MAX,
    },
    telemetry::chain,
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesOrdered};
use mqtt_proto::{v3::ConnectReturnCode as V3Code, v5::ConnectReasonCode as V5Code, v5::DisconnectReasonCode as Code};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

/// In which packets are counted against their rate.
const SECOND: Duration = Duration::from_secs(1);

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("it said goodbye")]
    Goodbye { with_will: bool },
    #[error("the line is gone")]
    Broken(#[from] std::io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("another connection took its place")]
    TakenOver,
    #[error("who it came as may not stay")]
    Revoked,
    #[error("it said nothing for longer than it promised")]
    Silent,
    #[error("it takes nothing")]
    Stalled,
    #[error("a packet does not come to its end")]
    Unfinished,
    #[error("what it sent can't be stored now: {0}")]
    Away(String),
    #[error("what it sent can't be stored, and it can't be told so otherwise: {0}")]
    TooLarge(String),
    #[error("the node stops")]
    Stopping,
}

/// Serves a connection until it ends.
pub async fn serve(stream: Box<dyn Stream>, broker: Arc<Broker>, stop: CancellationToken) {
    let mut io = Io::new(stream, broker.buffered.clone());
    let wait = broker.settings.connect;
    let first = tokio::select! {
        first = tokio::time::timeout(wait, first(&mut io)) => first,
        () = stop.cancelled() => return,
    };
    let Ok(Some(connect)) = first else { return };
    let (version, will) = (connect.version, connect.will.clone());
    let Some((mut place, welcome)) = enter(&mut io, &broker, &connect).await else {
        let _ = tokio::time::timeout(wait, io.flush()).await;
        return;
    };
    let receive_max = usize::from(connect.receive_max).clamp(1, MQTT_INFLIGHT_MAX);
    Writer { version, to: &mut io.output }.welcome(&welcome);
    place.client_came();
    let session = place.session.clone();
    let keep_alive = welcome.keep_alive.unwrap_or(connect.keep_alive);
    let mut connection = Connection::new(io, broker.clone(), session.clone(), &connect, receive_max, keep_alive);
    let end = connection.run(&stop).await;
    // What is under way is stored, or not, before the client may come again.
    while connection.answers.next().await.is_some() {}
    connection.say(&end).await;
    drop(connection);
    tracing::debug!(client = %session.key.client, %end, "a client has gone");
    if matches!(end, End::TakenOver) {
        place.client_stays();
    }
    broker.release(place).await;
    // Who may not stay has no will either, however the connection came to its end.
    if let Some(will) = will.filter(|_| end.calls_for_the_will() && (session.stays)()) {
        bequeath(&broker, &session, will).await;
    }
}

impl End {
    fn calls_for_the_will(&self) -> bool {
        !matches!(self, End::Goodbye { with_will: false } | End::Stopping | End::Revoked)
    }

    fn code(&self) -> Option<Code> {
        Some(match self {
            End::Goodbye { .. } | End::Broken(_) => return None,
            End::Malformed(Malformed::TooLarge { .. }) | End::TooLarge(_) => Code::PacketTooLarge,
            End::Malformed(Malformed::OutOfPlace) => Code::ProtocolError,
            End::Malformed(_) | End::Unfinished => Code::MalformedPacket,
            End::TakenOver => Code::SessionTakenOver,
            End::Revoked => Code::NotAuthorized,
            End::Silent => Code::KeepAliveTimeout,
            End::Stalled => Code::QuotaExceeded,
            End::Away(_) => Code::ServerBusy,
            End::Stopping => Code::ServerShuttingDown,
        })
    }
}

/// A will is published as its client would have done it.
async fn bequeath(broker: &Arc<Broker>, session: &Arc<Session>, will: Will) {
    let publish = Publish { topic: will.topic, payload: will.payload, delivery: Delivery::AtMostOnce };
    publish::store(broker.clone(), session.clone(), publish, Turn::alone()).await;
}

/// The packet that a connection begins with; none for what is none.
async fn first(io: &mut Io) -> Option<Connect> {
    loop {
        match packet::frame(&mut io.input, MQTT_PACKET_BYTES_MAX) {
            Ok(Some(frame)) => {
                io.settle();
                return match packet::connect(&frame) {
                    Ok(connect) => Some(connect),
                    Err(error) => {
                        if let Malformed::Version(_) = error {
                            Writer { version: Version::V3, to: &mut io.output }
                                .refuse(V3Code::UnacceptableProtocolVersion, V5Code::UnsupportedProtocolVersion);
                            let _ = io.flush().await;
                        }
                        tracing::debug!(%error, "a connection does not begin as one of MQTT does");
                        None
                    }
                };
            }
            Ok(None) => {}
            Err(_) => return None,
        }
        if io.input.first().is_some_and(|byte| byte >> 4 != 1) || !matches!(io.step(true).await, Ok(Step::Read | Step::Written)) {
            return None;
        }
    }
}

/// Who it is, and its session; none for who is not let in, and has been told.
async fn enter(io: &mut Io, broker: &Arc<Broker>, connect: &Connect) -> Option<(Place, Welcome)> {
    let mut writer = Writer { version: connect.version, to: &mut io.output };
    let is_id = connect.client_id.len() <= MQTT_CLIENT_ID_BYTES_MAX && !connect.client_id.chars().any(char::is_control);
    let is_named = !connect.client_id.is_empty();
    // An unnamed client of version 3 can't come again, so it can't want to be known then.
    if !is_id || (!is_named && connect.version == Version::V3 && !connect.clean) {
        broker.metrics.refuse("mqtt-client-id");
        writer.refuse(V3Code::IdentifierRejected, V5Code::ClientIdentifierNotValid);
        return None;
    }
    let known = match (broker.door.identify)(connect.username.clone(), connect.password.clone()).await {
        Ok(known) => known,
        Err(Refused::Unknown) => {
            broker.metrics.refuse("mqtt-unknown-user");
            writer.refuse(V3Code::BadUserNameOrPassword, V5Code::BadUserNameOrPassword);
            return None;
        }
        Err(Refused::Busy) => {
            writer.refuse(V3Code::ServerUnavailable, V5Code::ServerBusy);
            return None;
        }
    };
    let client: Arc<str> = if is_named { connect.client_id.clone() } else { super::unique().into() };
    let key = Key { tenant: known.who.tenant().clone(), who: who(&known.who), client: client.clone() };
    let expiry = connect.expiry.min(MQTT_SESSION_SECONDS_MAX);
    match broker.admit(key, known, connect.clean, expiry).await {
        Ok((place, session_present)) => {
            let limited = connect.keep_alive == 0 || connect.keep_alive > MQTT_KEEP_ALIVE_SECONDS_MAX;
            let welcome = Welcome {
                session_present,
                client_id: (!is_named).then_some(client),
                keep_alive: (limited && connect.version == Version::V5).then_some(MQTT_KEEP_ALIVE_SECONDS_MAX),
                expiry,
                receive_max: u16::try_from(MQTT_INFLIGHT_MAX).unwrap_or(u16::MAX),
                packet_max: u32::try_from(MQTT_PACKET_BYTES_MAX).unwrap_or(u32::MAX),
            };
            Some((place, welcome))
        }
        Err(NotNow::Revoked) => {
            writer.refuse(V3Code::BadUserNameOrPassword, V5Code::BadUserNameOrPassword);
            None
        }
        Err(why) => {
            if let NotNow::Stored(error) = why {
                tracing::warn!(%error, "a client's session can't be read or stored");
            }
            writer.refuse(V3Code::ServerUnavailable, V5Code::ServerUnavailable);
            None
        }
    }
}

/// Whose names of clients they are.
fn who(principal: &Principal) -> Arc<str> {
    match principal {
        Principal::Guest { .. } => "guest".into(),
        Principal::User { id, .. } => format!("user:{id}").into(),
        Principal::Token(identity) => format!("token:{}", identity.token).into(),
        Principal::Device { id, .. } => format!("device:{id}").into(),
    }
}

/// How many packets were read in a second.
struct Rate {
    second: Instant,
    packets: usize,
}

impl Rate {
    fn is_over(&self, now: Instant) -> bool {
        self.packets >= MQTT_PACKETS_PER_SECOND_MAX && now < self.second + SECOND
    }

    fn count(&mut self, now: Instant) {
        if now >= self.second + SECOND {
            (self.second, self.packets) = (now, 0);
        }
        self.packets += 1;
    }
}

type Answering = BoxFuture<'static, Answer>;

struct Connection {
    io: Io,
    broker: Arc<Broker>,
    session: Arc<Session>,
    version: Version,
    /// Deliveries at a time that the client has not acknowledged.
    window: usize,
    packet_max: usize,
    /// None: it may be silent for ever.
    silence: Option<Duration>,
    /// What is answered when it is durable, in the order in which it came.
    answers: FuturesOrdered<Answering>,
    turns: Turns,
    refill: Option<BoxFuture<'static, Result<(), LedgerError>>>,
    /// Since when a packet is on its way.
    begun: Option<Instant>,
    rate: Rate,
    kept: Instant,
    /// Something has changed that is kept.
    changed: bool,
}

impl Connection {
    fn new(io: Io, broker: Arc<Broker>, session: Arc<Session>, connect: &Connect, window: usize, keep_alive: u16) -> Connection {
        let now = Instant::now();
        Connection {
            io,
            broker,
            session,
            version: connect.version,
            window,
            packet_max: usize::try_from(connect.packet_max).unwrap_or(usize::MAX),
            silence: (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1_500)),
            answers: FuturesOrdered::new(),
            turns: Turns::default(),
            refill: None,
            begun: None,
            rate: Rate { second: now, packets: 0 },
            kept: now,
            changed: false,
        }
    }

    async fn run(&mut self, stop: &CancellationToken) -> End {
        for (parcel, pid) in self.session.unacknowledged() {
            self.write(&parcel, Some(pid), true);
        }
        let session = self.session.clone();
        let mut timer = pin!(tokio::time::sleep_until(self.deadline()));
        loop {
            // What is put there from here on, the client has had no time to take.
            if self.io.output.is_empty() {
                self.io.taken = Instant::now();
            }
            if let Err(end) = self.take_packets() {
                return end;
            }
            self.give();
            if self.refill.is_none() && refill::is_wanted(&session) {
                self.refill = Some(refill::more(self.broker.clone(), session.clone()).boxed());
            }
            self.arm(timer.as_mut());
            let may_read = self.may_read();
            let happened = tokio::select! {
                biased;
                () = session.kicked.cancelled() => Err(if session.why.get() == Some(&Kick::Revoked) { End::Revoked } else { End::TakenOver }),
                () = stop.cancelled() => Err(End::Stopping),
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => self.answer(answer),
                step = self.io.step(may_read) => self.stepped(step),
                () = session.wake.notified() => Ok(()),
                read = poll_some(&mut self.refill), if self.refill.is_some() => {
                    self.refill = None;
                    read.map_err(|error| End::Away(error.to_string()))
                }
                () = timer.as_mut() => self.look_at_the_clock().await,
            };
            if let Err(end) = happened {
                return end;
            }
        }
    }

    fn stepped(&mut self, step: std::io::Result<Step>) -> Result<(), End> {
        match step? {
            Step::End => Err(End::Broken(std::io::ErrorKind::UnexpectedEof.into())),
            Step::Read | Step::Written => Ok(()),
        }
    }

    /// Nothing is read that could not be held: answers, or deliveries to the client, have to go out first.
    fn may_read(&self) -> bool {
        self.answers.len() < MQTT_INFLIGHT_MAX && self.io.output.len() < MQTT_OUTPUT_BYTES_MAX && !self.rate.is_over(Instant::now())
    }

    fn take_packets(&mut self) -> Result<(), End> {
        while self.may_read() {
            let Some(frame) = packet::frame(&mut self.io.input, MQTT_PACKET_BYTES_MAX)? else { break };
            self.rate.count(Instant::now());
            self.begun = None;
            let packet = packet::packet(self.version, &frame)?;
            self.take(packet)?;
        }
        self.io.settle();
        let is_whole = matches!(packet::length(&self.io.input), Ok(Some(bytes)) if self.io.input.len() >= bytes);
        if self.io.input.is_empty() || is_whole {
            self.begun = None;
        } else if self.begun.is_none() {
            self.begun = Some(Instant::now());
        }
        Ok(())
    }

    fn take(&mut self, packet: Packet) -> Result<(), End> {
        let (broker, session) = (self.broker.clone(), self.session.clone());
        match packet {
            Packet::Publish(publish) => {
                let turn = self.turns.next(publish.is_marked(&session));
                self.answers.push_back(publish::store(broker, session, publish, turn).boxed());
            }
            Packet::Pubrel(pid) => self.answers.push_back(publish::release(broker, session, pid).boxed()),
            Packet::Puback { pid, refused } => {
                self.changed = true;
                if let Some(parcel) = session.acknowledged(pid) {
                    self.ended(&parcel, if refused { CommandState::Refused } else { CommandState::Delivered });
                }
            }
            Packet::Subscribe { pid, wishes } => {
                let granted = broker.subscribe(&session, &wishes);
                self.answers.push_back(async move { kept(&broker, &session, Answer::Suback(pid, granted)).await }.boxed());
            }
            Packet::Unsubscribe { pid, filters } => {
                let existed = broker.unsubscribe(&session, &filters);
                self.answers.push_back(async move { kept(&broker, &session, Answer::Unsuback(pid, existed)).await }.boxed());
            }
            Packet::Ping => self.writer().pong(),
            Packet::Disconnect { with_will, expiry } => {
                // Who said that nothing is to be kept can't change it now.
                if let Some(expiry) = expiry.filter(|_| session.keeps()) {
                    session.set_expiry(expiry.min(MQTT_SESSION_SECONDS_MAX));
                }
                return Err(End::Goodbye { with_will });
            }
        }
        Ok(())
    }

    fn answer(&mut self, answer: Answer) -> Result<(), End> {
        let version = self.version;
        let mut writer = self.writer();
        match answer {
            Answer::Nothing => {}
            Answer::Puback(pid, reason) => writer.puback(pid, reason),
            Answer::Pubrec(pid, reason) => writer.pubrec(pid, reason),
            Answer::Pubcomp(pid, known) => writer.pubcomp(pid, known),
            Answer::Suback(pid, granted) => writer.suback(pid, &granted),
            Answer::Unsuback(pid, existed) => writer.unsuback(pid, &existed),
            Answer::Away(why) => return Err(End::Away(why)),
            Answer::TakenOver => return Err(End::TakenOver),
            // Version 3 has no word for it but the end: what is acknowledged is stored.
            Answer::TooLarge(why, ..) if version == Version::V3 => return Err(End::TooLarge(why)),
            Answer::TooLarge(_, pid, true) => writer.pubrec(pid, Reason::Quota),
            Answer::TooLarge(_, pid, false) => writer.puback(pid, Reason::Quota),
        }
        Ok(())
    }

    fn writer(&mut self) -> Writer<'_> {
        Writer { version: self.version, to: &mut self.io.output }
    }

    /// As much of what waits as there is room for.
    fn give(&mut self) {
        while self.io.output.len() < MQTT_OUTPUT_BYTES_MAX {
            let Some((parcel, pid)) = self.session.next(self.window) else { return };
            self.changed = true;
            self.write(&parcel, pid, parcel.again);
            if pid.is_none() {
                self.ended(&parcel, CommandState::Delivered);
            }
        }
    }

    /// A command has come to who stands for its device: that is noted beside what else is under way.
    fn ended(&mut self, parcel: &Parcel, state: CommandState) {
        let Some(id) = parcel.message.command.clone().filter(|_| self.broker.stands_for(&self.session, &parcel.message.device)) else {
            return;
        };
        let (broker, tenant, now) = (self.broker.clone(), self.session.key.tenant.clone(), clock::now());
        let noted = async move {
            let end = Ended { id: id.to_string(), state, changed: now };
            if let Err(error) = broker.ends.note(&broker.ledger, tenant, end, now).await {
                tracing::warn!(error = chain(&error), "what became of a command could not be noted; it may be delivered again");
            }
            Answer::Nothing
        };
        self.answers.push_back(noted.boxed());
    }

    fn write(&mut self, parcel: &Parcel, pid: Option<u16>, again: bool) {
        let message = &parcel.message;
        // The client said that it takes no more: it is as if it had been sent and taken.
        if message.payload.len() + message.topic.len() + 64 > self.packet_max {
            if let Some(pid) = pid {
                self.session.acknowledged(pid);
            }
            return;
        }
        let id = message.command.as_deref().map(|id| [("id", id)]);
        let properties = id.as_ref().map_or(&[][..], |id| &id[..]);
        self.writer().publish(&message.topic, &message.payload, pid, parcel.retain, again, properties);
        self.broker.metrics.mqtt_delivered.inc();
    }

    /// When something will have gone on for too long.
    fn deadline(&self) -> Instant {
        let settings = &self.broker.settings;
        let far = Instant::now() + Duration::from_secs(24 * 60 * 60);
        // Who is not read can't be heard.
        let silent = self.silence.filter(|_| self.may_read()).map(|silence| self.io.heard + silence);
        let stalled = (!self.io.output.is_empty()).then(|| self.io.taken + settings.stall);
        let unfinished = self.begun.map(|begun| begun + settings.packet);
        let over_rate = self.rate.is_over(Instant::now()).then(|| self.rate.second + SECOND);
        let keep = self.keep_after().map(|keep| self.kept + keep);
        [silent, stalled, unfinished, over_rate, keep].into_iter().flatten().min().unwrap_or(far)
    }

    /// How long after it was stored what is kept is stored again: because it has changed, or so that it is known that the client is there.
    fn keep_after(&self) -> Option<Duration> {
        let settings = &self.broker.settings;
        let seen = settings.seen.min(Duration::from_secs(u64::from(self.session.expiry())) / 2);
        self.session.keeps().then(|| if self.changed { settings.keep } else { seen.max(settings.keep) })
    }

    /// An earlier deadline is set at once, a later one when the timer comes to its end.
    fn arm(&mut self, timer: std::pin::Pin<&mut Sleep>) {
        let deadline = self.deadline();
        if deadline < timer.deadline() || timer.is_elapsed() {
            timer.reset(deadline);
        }
    }

    async fn look_at_the_clock(&mut self) -> Result<(), End> {
        let settings = &self.broker.settings;
        if self.silence.is_some_and(|silence| self.io.heard.elapsed() >= silence) && self.may_read() {
            return Err(End::Silent);
        }
        if !self.io.output.is_empty() && self.io.taken.elapsed() >= settings.stall {
            return Err(End::Stalled);
        }
        if self.begun.is_some_and(|begun| begun.elapsed() >= settings.packet) {
            return Err(End::Unfinished);
        }
        if self.keep_after().is_some_and(|keep| self.kept.elapsed() >= keep) {
            (self.changed, self.kept) = (false, Instant::now());
            let (broker, session) = (self.broker.clone(), self.session.clone());
            self.answers.push_back(async move { kept(&broker, &session, Answer::Nothing).await }.boxed());
        }
        Ok(())
    }

    /// Tells the client why, if it can still hear it.
    async fn say(&mut self, end: &End) {
        if let Some(code) = end.code() {
            self.writer().disconnect(code);
            let _ = tokio::time::timeout(SECOND, self.io.flush()).await;
        }
    }
}

/// The answer, once what changed of a session is durable, if it is kept at all.
async fn kept(broker: &Broker, session: &Session, answer: Answer) -> Answer {
    match session.keeps() {
        true => broker.keep(session).await.map_or_else(Answer::from, |()| answer),
        false => answer,
    }
}

impl From<StoreError> for Answer {
    fn from(error: StoreError) -> Answer {
        match error {
            StoreError::TakenOver => Answer::TakenOver,
            StoreError::Ledger(error) => Answer::Away(error.to_string()),
        }
    }
}

async fn poll_some(refill: &mut Option<BoxFuture<'static, Result<(), LedgerError>>>) -> Result<(), LedgerError> {
    match refill {
        Some(refill) => refill.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_read_only_so_many_packets_in_a_second() {
        let now = Instant::now();
        let mut rate = Rate { second: now, packets: 0 };
        for _ in 0..MQTT_PACKETS_PER_SECOND_MAX {
            assert!(!rate.is_over(now));
            rate.count(now);
        }
        assert!(rate.is_over(now) && rate.is_over(now + SECOND / 2));
        assert!(!rate.is_over(now + SECOND));
        rate.count(now + SECOND);
        assert!(!rate.is_over(now + SECOND));
    }
}
