//! Publishes operations as batches, lane by lane, and finds out what became of them.
//!
//! A batch ends in one of three ways. The follower brings it back, it is applied and answered. The server refuses it: then
//! it is nowhere. Or a later batch of this node comes back first: then it will be passed over if it ever turns up. In the
//! last two cases it can be published again, or answered with an error, without ever being applied twice.

use super::{
    super::{
        Guarded, Kept, LedgerError, Op, Outcome,
        queue::{Job, Message},
        tables::Rules,
        view::View,
    },
    batch::{self, Stamp},
    flights::{Entry, Flight, Flights, Lane, Note},
    names,
    wire::Wire,
};
use crate::model::Tenant;
use async_nats::jetstream::{
    ErrorCode,
    context::{PublishError, PublishErrorKind},
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// A batch is closed at this size: at 512 kB the sync is a small part of its 1.4 ms.
const BATCH_BYTES_MAX: usize = 512 * 1024;
const BATCH_OPS_MAX: usize = 1_024;
/// Batches of appends on their way at once. More would only make each smaller.
const APPENDS_IN_FLIGHT_MAX: usize = 4;
/// Bytes of a message that are not operations: headers and stamp.
const OVERHEAD_BYTES: usize = 1_024;
/// With the server away for so long, whoever waits to be published is told.
const UNAVAILABLE_AFTER: Duration = Duration::from_secs(2);
/// A batch without acknowledgement for so long is ended by an empty one behind it.
const ACK_LATE: Duration = Duration::from_secs(1);
/// Between two empty batches.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// Between two tries to ask the server about a refused batch.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// What is on its way when the ledger is closed is waited for so long.
const CLOSE_AFTER: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Entry>,
    in_flight: usize,
    /// What the server calls the last message on the subject, where that differs from what the view saw: a stream drops
    /// its oldest messages.
    fence: Option<u64>,
}

enum Link {
    Up,
    Down { since: Instant, reason: String },
}

pub(super) struct Publisher {
    wire: Arc<dyn Wire>,
    tenant: Tenant,
    view: Arc<View>,
    flights: Arc<Flights>,
    rules: Rules,
    connected: watch::Receiver<bool>,
    number: u64,
    lanes: BTreeMap<Lane, Waiting>,
    link: Link,
    probed: Instant,
    acks: FuturesUnordered<BoxFuture<'static, (u64, Result<(), PublishError>)>>,
    /// Refused and lost batches of apps, until it is known why.
    asked: FuturesUnordered<BoxFuture<'static, (Flight, Option<u64>)>>,
}

pub(super) struct Parts {
    pub wire: Arc<dyn Wire>,
    pub tenant: Tenant,
    pub view: Arc<View>,
    pub flights: Arc<Flights>,
    pub rules: Rules,
    pub connected: watch::Receiver<bool>,
    /// The last number used in this incarnation.
    pub number: u64,
}

impl Publisher {
    pub(super) fn new(parts: Parts) -> Publisher {
        Publisher {
            wire: parts.wire,
            tenant: parts.tenant,
            view: parts.view,
            flights: parts.flights,
            rules: parts.rules,
            connected: parts.connected,
            number: parts.number,
            lanes: BTreeMap::new(),
            link: Link::Up,
            probed: Instant::now(),
            acks: FuturesUnordered::new(),
            asked: FuturesUnordered::new(),
        }
    }

    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Message>, mut notes: mpsc::UnboundedReceiver<Note>) {
        let mut closing: Option<Instant> = None;
        let mut connected = self.connected.clone();
        loop {
            self.pump().await;
            let wake = self.wake(closing);
            tokio::select! {
                // What ends before what begins: there are never more of the first than flights, and they make room.
                biased;
                Some(note) = notes.recv() => self.noted(note),
                Some((number, result)) = self.acks.next() => self.acked(number, result),
                Some((flight, fence)) = self.asked.next() => self.answered(flight, fence),
                Ok(()) = connected.changed() => self.connection_changed(*connected.borrow_and_update()),
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.tick().await,
                message = jobs.recv(), if closing.is_none() => {
                    if !self.take(message, &mut jobs) {
                        closing = Some(Instant::now() + CLOSE_AFTER);
                    }
                }
            }
            if let Some(deadline) = closing
                && (self.is_idle() || Instant::now() >= deadline)
            {
                return self.end(jobs, notes);
            }
        }
    }

    /// Takes a job and what else is there; false to close.
    fn take(&mut self, message: Option<Message>, jobs: &mut mpsc::Receiver<Message>) -> bool {
        let mut message = message;
        while let Some(Message::Job(job)) = message {
            self.enqueue(*job);
            match jobs.try_recv() {
                Ok(next) => message = Some(next),
                Err(_) => return true,
            }
        }
        false
    }

    fn enqueue(&mut self, job: Job) {
        let bytes = job.bytes;
        let (op, waiter) = job.split();
        if let Some(error) = self.refusal() {
            return waiter.answer(Err(error));
        }
        self.lanes.entry(lane_of(&op)).or_default().queue.push_back(Entry { op, bytes, waiter });
    }

    /// Why nothing is taken now, if so.
    fn refusal(&self) -> Option<LedgerError> {
        if let Some(trouble) = self.flights.progress.borrow().trouble() {
            return Some(trouble.clone());
        }
        match &self.link {
            Link::Down { since, reason } if since.elapsed() >= UNAVAILABLE_AFTER => Some(LedgerError::Unavailable(reason.clone())),
            _ => None,
        }
    }

    /// Publishes what may be published now.
    async fn pump(&mut self) {
        while matches!(self.link, Link::Up) {
            let ready = |(lane, waiting): (&Lane, &Waiting)| {
                let most = if *lane == Lane::Append { APPENDS_IN_FLIGHT_MAX } else { 1 };
                (!waiting.queue.is_empty() && waiting.in_flight < most).then(|| lane.clone())
            };
            let Some(lane) = self.lanes.iter().find_map(ready) else { return };
            self.publish_from(lane).await;
        }
    }

    async fn publish_from(&mut self, lane: Lane) {
        let payload_max = self.wire.payload_max().saturating_sub(OVERHEAD_BYTES);
        let Some(waiting) = self.lanes.get_mut(&lane) else { return };
        let entries = next_batch(&mut waiting.queue, BATCH_BYTES_MAX.min(payload_max / 2));
        let (subject, fence) = match &lane {
            Lane::Append => (names::append_subject(&self.tenant), None),
            // What rests on no version has its place wherever it comes to stand, so no other node's commit can be in its way: nodes that write for
            // one app all the time would else keep each other waiting.
            Lane::App(app) if entries.iter().all(|entry| entry.op.rests_on_no_version()) => (names::app_subject(&self.tenant, app), None),
            Lane::App(app) => {
                let subject = names::app_subject(&self.tenant, app);
                match self.view.fence(&subject) {
                    Ok(seen) => (subject, Some((seen, waiting.fence.take().unwrap_or(seen)))),
                    Err(error) => return Flight::of(None, entries, 0).fail(&error),
                }
            }
        };
        let flight = Flight::of(Some(lane.clone()), entries, fence.map_or(0, |(seen, _)| seen));
        let payload = match self.payload(&flight.entries) {
            Ok(payload) if payload.len() > payload_max => {
                return flight.fail(&LedgerError::TooLarge { bytes: payload.len(), max: payload_max });
            }
            Ok(payload) => payload,
            Err(error) => return flight.fail(&error),
        };
        if let Some(waiting) = self.lanes.get_mut(&lane) {
            waiting.in_flight += 1;
        }
        self.send(subject, fence.map(|(_, expected)| expected), payload, flight).await;
    }

    fn stamp(&self) -> Stamp {
        let incarnation = self.flights.incarnation.load(Ordering::Acquire);
        Stamp { node: self.flights.node.clone(), incarnation, number: self.number }
    }

    fn payload(&mut self, entries: &[Entry]) -> Result<Vec<u8>, LedgerError> {
        self.number += 1;
        batch::encode(&self.stamp(), self.rules, entries.iter().map(|entry| &entry.op))
    }

    /// Numbers are sent in their order: nothing else sends batches of this node.
    async fn send(&mut self, subject: String, fence: Option<u64>, payload: Vec<u8>, flight: Flight) {
        let number = self.number;
        self.flights.depart(number, flight);
        let kind = super::fault_point(&subject);
        crate::fault::point(kind);
        match self.wire.publish(subject, payload, fence).await {
            Ok(ack) => {
                let stored = async move {
                    let stored = ack.await;
                    // In the server, and nobody here knows it.
                    crate::fault::point(kind);
                    (number, stored)
                };
                self.acks.push(stored.boxed());
            }
            // It never left.
            Err(error) if error.kind() == PublishErrorKind::Other => self.refuse(number, &error),
            Err(error) => self.acked(number, Err(error)),
        }
    }

    /// The server has taken or refused a batch, or said nothing in time.
    fn acked(&mut self, number: u64, result: Result<(), PublishError>) {
        let Err(error) = result else {
            self.flights.acked(number);
            self.link = Link::Up;
            return;
        };
        match error.kind() {
            PublishErrorKind::Other if api_error(&error).is_some() => self.refuse(number, &error),
            PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::WrongLastMessageId => self.refuse(number, &error),
            // Perhaps it was stored: the next empty batch will tell, if it is not known already.
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe | PublishErrorKind::Other => {
                if self.flights.is_open(number) {
                    self.down(&error);
                }
            }
            PublishErrorKind::WrongLastSequence => {
                if let Some(flight) = self.flights.take(number) {
                    self.ask(flight);
                }
            }
            PublishErrorKind::StreamNotFound | PublishErrorKind::MaxAckPending => {
                self.down(&error);
                if let Some(flight) = self.flights.take(number) {
                    self.requeue(flight);
                }
            }
        }
    }

    fn refuse(&mut self, number: u64, error: &PublishError) {
        if let Some(flight) = self.flights.take(number) {
            let error = refused(error);
            tracing::warn!(%error, "the server refused a batch of operations");
            self.fail_with_followers(flight, &error);
        }
    }

    fn down(&mut self, reason: &dyn std::fmt::Display) {
        if matches!(self.link, Link::Up) {
            tracing::warn!(%reason, "nats-server is away");
            self.link = Link::Down { since: Instant::now(), reason: reason.to_string() };
        }
    }

    fn connection_changed(&mut self, connected: bool) {
        match connected {
            // Up only when a batch comes through; see `tick`.
            true => self.probed = Instant::now() - PROBE_EVERY,
            false => self.down(&"nats-server is not connected"),
        }
    }

    fn noted(&mut self, note: Note) {
        match note {
            Note::Settled(lane) => {
                self.link = Link::Up;
                self.landed(&lane);
            }
            Note::Lost(flight) => match flight.lane {
                Some(Lane::App(_)) => self.ask(flight),
                _ => self.requeue(flight),
            },
            Note::Broken => {
                for flight in self.flights.take_all() {
                    flight.fail(&LedgerError::Unknown);
                }
            }
        }
    }

    fn landed(&mut self, lane: &Lane) {
        if let Some(waiting) = self.lanes.get_mut(lane) {
            waiting.in_flight -= 1;
            if waiting.in_flight == 0 && waiting.queue.is_empty() && waiting.fence.is_none() {
                self.lanes.remove(lane);
            }
        }
    }

    /// Back to the front of its lane, without those for whom nobody waits any more.
    fn requeue(&mut self, flight: Flight) {
        let Some(lane) = flight.lane else { return };
        let waiting = self.lanes.entry(lane.clone()).or_default();
        for entry in flight.entries.into_iter().rev().filter(|entry| entry.waiter.is_awaited()) {
            waiting.queue.push_front(entry);
        }
        self.landed(&lane);
    }

    /// What was submitted behind a failed operation of an app must not overtake it.
    fn fail_with_followers(&mut self, flight: Flight, error: &LedgerError) {
        let lane = flight.lane.clone();
        flight.fail(error);
        let Some(lane) = lane else { return };
        if let (Lane::App(_), Some(waiting)) = (&lane, self.lanes.get_mut(&lane)) {
            for entry in waiting.queue.drain(..) {
                entry.waiter.answer(Err(error.clone()));
            }
        }
        self.landed(&lane);
    }

    /// Brings the view up to date behind a refused batch of an app, and asks what the last message on its subject is.
    fn ask(&mut self, flight: Flight) {
        let Some(Lane::App(app)) = &flight.lane else { return };
        let subject = names::app_subject(&self.tenant, app);
        let (wire, mut progress) = (self.wire.clone(), self.flights.progress.subscribe());
        self.asked.push(
            async move {
                loop {
                    if let Some((last, on_subject)) = wire.last(&subject).await {
                        // The publisher outlives the question, so the sender is there.
                        let last = last.max(on_subject.unwrap_or(0));
                        let _ = progress.wait_for(|progress| progress.applied >= last || progress.broken.is_some()).await;
                        return (flight, on_subject);
                    }
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
            .boxed(),
        );
    }

    /// The view knows all that came before: an app that somebody else wrote to has moved its fence.
    fn answered(&mut self, mut flight: Flight, on_subject: Option<u64>) {
        let Some(Lane::App(app)) = flight.lane.clone() else { return };
        let subject = names::app_subject(&self.tenant, &app);
        let (fence, version) = match self.view.fence(&subject).and_then(|fence| Ok((fence, self.view.version(&app)?))) {
            Ok(known) => known,
            Err(error) => return self.fail_with_followers(flight, &error),
        };
        if fence != flight.fence {
            let is_outdated = |entry: &Entry| matches!(entry.op, Op::Commit(_) | Op::Guarded(_)) && !entry.op.rests_on_no_version();
            let (commits, others): (Vec<_>, Vec<_>) = flight.entries.into_iter().partition(is_outdated);
            for entry in commits {
                entry.waiter.answer(Ok(Outcome::Conflict { version }));
            }
            flight.entries = others;
        } else if let Some(waiting) = self.lanes.get_mut(&Lane::App(app)) {
            waiting.fence = Some(on_subject.unwrap_or(0)).filter(|on_subject| *on_subject != fence);
        }
        self.requeue(flight);
    }

    /// When there is something to look after.
    fn wake(&self, closing: Option<Instant>) -> Option<Instant> {
        let late = self.flights.oldest_unacked().map(|sent| sent + ACK_LATE);
        let due = match &self.link {
            Link::Down { .. } => Some(self.probed + PROBE_EVERY),
            Link::Up => late.map(|late| late.max(self.probed + PROBE_EVERY)),
        };
        [due, closing].into_iter().flatten().min()
    }

    async fn tick(&mut self) {
        if let Some(error) = self.refusal() {
            for waiting in self.lanes.values_mut() {
                for entry in waiting.queue.drain(..) {
                    entry.waiter.answer(Err(error.clone()));
                }
            }
        }
        let late = self.flights.oldest_unacked().is_some_and(|sent| sent.elapsed() >= ACK_LATE);
        let down = matches!(self.link, Link::Down { .. });
        if self.probed.elapsed() < PROBE_EVERY {
            return;
        }
        self.probed = Instant::now();
        if (late || down) && *self.connected.borrow() {
            self.probe().await;
        }
    }

    /// An empty batch: shows that the server takes batches again, and ends those before it.
    async fn probe(&mut self) {
        if let Ok(payload) = self.payload(&[]) {
            self.send(names::append_subject(&self.tenant), None, payload, Flight::of(None, Vec::new(), 0)).await;
        }
    }

    fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.asked.is_empty() && self.lanes.values().all(|waiting| waiting.queue.is_empty())
    }

    /// Whoever still waits is told what is known: nothing for what was published, failure for what was not.
    fn end(mut self, mut jobs: mpsc::Receiver<Message>, mut notes: mpsc::UnboundedReceiver<Note>) {
        jobs.close();
        for flight in self.flights.take_all() {
            flight.fail(&LedgerError::Unknown);
        }
        while let Ok(Note::Lost(flight)) = notes.try_recv() {
            flight.fail(&LedgerError::Closed);
        }
        for entry in self.lanes.values_mut().flat_map(|waiting| waiting.queue.drain(..)) {
            entry.waiter.answer(Err(LedgerError::Closed));
        }
        while let Ok(message) = jobs.try_recv() {
            if let Message::Job(job) = message {
                job.split().1.answer(Err(LedgerError::Closed));
            }
        }
    }
}

impl Flight {
    fn of(lane: Option<Lane>, entries: Vec<Entry>, fence: u64) -> Flight {
        Flight { lane, entries, fence, sent: Instant::now(), acked: false }
    }
}

fn lane_of(op: &Op) -> Lane {
    match op {
        Op::Kept(Kept { guard: Some(guard), .. }) => Lane::App(guard.app.clone()),
        Op::Append(_) | Op::Undecoded(_) | Op::Kept(_) | Op::Decoded { .. } | Op::Trim { .. } => Lane::Append,
        Op::Commit(commit) | Op::Guarded(Guarded { commit, .. }) => Lane::App(commit.app.clone()),
        Op::DeleteApp { app } => Lane::App(app.clone()),
        Op::Register { function, .. }
        | Op::Unregister { function }
        | Op::ReplayDead { function, .. }
        | Op::DropDead { function, .. }
        | Op::Pause { function, .. }
        | Op::Resume { function, .. }
        | Op::ForgetLost { function, .. } => Lane::App(function.app.clone()),
    }
}

/// One at least, then as many as fit.
fn next_batch(queue: &mut VecDeque<Entry>, bytes_max: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    while let Some(entry) = queue.front() {
        bytes += entry.bytes;
        if !entries.is_empty() && (bytes > bytes_max || entries.len() >= BATCH_OPS_MAX) {
            break;
        }
        entries.extend(queue.pop_front());
    }
    entries
}

fn api_error(error: &PublishError) -> Option<ErrorCode> {
    let source = std::error::Error::source(error)?;
    Some(source.downcast_ref::<async_nats::jetstream::Error>()?.error_code())
}

/// What the server said against a batch.
fn refused(error: &PublishError) -> LedgerError {
    match api_error(error) {
        Some(ErrorCode::INSUFFICIENT_RESOURCES | ErrorCode::STORAGE_RESOURCES_EXCEEDED | ErrorCode::STREAM_STORE_FAILED) => {
            LedgerError::Full { what: "write the ledger's stream", reason: error.to_string() }
        }
        _ => LedgerError::Unavailable(error.to_string()),
    }
}
