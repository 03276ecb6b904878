//! Some nodes on one log, for simulations: the stream of the server is a list in memory, the wires between can be cut.
#![allow(clippy::unwrap_used)]

use super::{
    super::{
        Inner, Ledger, LedgerError, LedgerOptions,
        disk::Disk,
        queue,
        tests::{
            append,
            floor::seeded,
            number,
            sim::{Dice, SimDisk},
        },
        view::View,
    },
    CONNECT_TIMEOUT,
    applier::{Applier, Delivered, Start},
    batch::{self, Stamp},
    flights::Flights,
    names,
    publisher::{Parts, Publisher},
    wire::{Stored, Wire},
};
use crate::model::id::default_tenant;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{oneshot, watch};

const PAYLOAD_MAX: usize = 1 << 20;
/// What the server says when its disk is full.
const NO_ROOM: &str = r#"{"code":503,"err_code":10023,"description":"insufficient resources"}"#;

type Answer = oneshot::Sender<Result<(), PublishError>>;

/// A batch on its way to the server.
struct Sent {
    subject: String,
    payload: Bytes,
    fence: Option<u64>,
    answer: Option<Answer>,
}

/// The stream of the server: durable whatever happens.
#[derive(Clone, Default)]
pub(crate) struct Stream(Arc<Mutex<Messages>>);

#[derive(Default)]
struct Messages {
    all: Vec<(String, Bytes)>,
    last_on: BTreeMap<String, u64>,
    /// From wires that were cut: they may arrive yet, long after whoever sent them has given them up.
    late: VecDeque<Sent>,
}

/// One node's connection.
#[derive(Default)]
struct Line {
    out: VecDeque<Sent>,
    back: VecDeque<(Answer, Result<(), PublishError>)>,
    /// Nobody will ever answer them; their senders find out after a while.
    silent: Vec<Answer>,
    /// Batches that the server refuses because it has no room.
    refused: u64,
}

struct SimWire {
    stream: Stream,
    line: Mutex<Line>,
    connected: watch::Sender<bool>,
}

/// A ledger in [`Stream`].
pub(crate) struct Node {
    pub ledger: Ledger,
    applier: Applier,
    flights: Arc<Flights>,
    start: Arc<watch::Sender<Start>>,
    next: Start,
    wire: Arc<SimWire>,
    publisher: Option<BoxFuture<'static, ()>>,
}

impl Stream {
    fn last(&self) -> u64 {
        self.0.lock().all.len() as u64
    }

    fn store(&self, subject: &str, payload: Bytes, fence: Option<u64>) -> Result<(), PublishError> {
        let mut messages = self.0.lock();
        if fence.is_some_and(|fence| fence != messages.last_on.get(subject).copied().unwrap_or(0)) {
            return Err(PublishError::new(PublishErrorKind::WrongLastSequence));
        }
        messages.all.push((subject.to_owned(), payload));
        let number = messages.all.len() as u64;
        messages.last_on.insert(subject.to_owned(), number);
        Ok(())
    }

    /// Something that everybody has forgotten arrives.
    pub(crate) fn late(&self) {
        let late = self.0.lock().late.pop_front();
        if let Some(Sent { subject, payload, fence, .. }) = late {
            let _ = self.store(&subject, payload, fence);
        }
    }

    /// Nothing is on any wire any more.
    pub(crate) fn forget_late(&self) {
        self.0.lock().late.clear();
    }
}

impl Wire for SimWire {
    fn payload_max(&self) -> usize {
        PAYLOAD_MAX
    }

    fn publish(&self, subject: String, payload: Vec<u8>, fence: Option<u64>) -> BoxFuture<'_, Result<Stored, PublishError>> {
        let (answer, answered) = oneshot::channel();
        self.line.lock().out.push_back(Sent { subject, payload: payload.into(), fence, answer: Some(answer) });
        let stored: Stored = Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, answered).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(PublishError::new(PublishErrorKind::BrokenPipe)),
                Err(_) => Err(PublishError::new(PublishErrorKind::TimedOut)),
            }
        });
        Box::pin(async move { Ok(stored) })
    }

    fn last<'w>(&'w self, subject: &'w str) -> BoxFuture<'w, Option<(u64, Option<u64>)>> {
        Box::pin(async move {
            let messages = self.stream.0.lock();
            self.connected.borrow().then(|| (messages.all.len() as u64, messages.last_on.get(subject).copied()))
        })
    }
}

impl SimWire {
    /// The server takes the next batch. False when there is none.
    fn deliver(&self) -> bool {
        let mut line = self.line.lock();
        if !*self.connected.borrow() {
            return false;
        }
        let Some(Sent { subject, payload, fence, answer }) = line.out.pop_front() else { return false };
        let result = match line.refused {
            0 => self.stream.store(&subject, payload, fence),
            _ => {
                line.refused -= 1;
                let said: async_nats::jetstream::Error = serde_json::from_str(NO_ROOM).unwrap();
                Err(PublishError::with_source(PublishErrorKind::Other, said))
            }
        };
        line.back.extend(answer.map(|answer| (answer, result)));
        true
    }

    fn answer(&self) -> bool {
        let next = self.line.lock().back.pop_front();
        let Some((answer, result)) = next else { return false };
        let _ = answer.send(result);
        true
    }

    /// What is on its way is lost, arrives without an answer, or arrives much later.
    fn cut(&self, dice: &mut Dice) {
        let mut line = self.line.lock();
        let Line { out, back, silent, .. } = &mut *line;
        let arrive = dice.below(out.len() as u64 + 1) as usize;
        for (n, mut sent) in out.drain(..).enumerate() {
            let answer = sent.answer.take();
            match dice.below(3) {
                _ if n < arrive => _ = self.stream.store(&sent.subject, sent.payload, sent.fence),
                0 => self.stream.0.lock().late.push_back(sent),
                _ => {}
            }
            if dice.below(2) == 0 {
                silent.extend(answer);
            }
        }
        silent.extend(back.drain(..).map(|(answer, _)| answer).filter(|_| dice.below(2) == 0));
        self.connected.send_replace(false);
    }
}

impl Node {
    /// As the ledger is opened: up to date, and with an incarnation of its own in the stream.
    pub(crate) fn open(disk: &SimDisk, stream: &Stream, name: &str) -> Result<Node, LedgerError> {
        let there: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = LedgerOptions::default();
        let view = Arc::new(seeded(View::open(there)?));
        view.bind(1)?;
        let applied = view.applied()?;
        assert!(applied <= stream.last(), "the view has what nobody has stored");
        let (flights, notes) = Flights::new(name.to_owned(), applied);
        let flights = Arc::new(flights);
        let next = Start { number: 0, sequence: applied + 1 };
        let start = Arc::new(watch::channel(next).0);
        let stop = Arc::new(AtomicBool::new(false));
        let applier = Applier::new(view.clone(), flights.clone(), start.clone(), stop.clone());
        let (queue, jobs) = queue::queue();
        let queue = Arc::new(queue);
        let closed = queue.clone();
        disk.when_power_goes(move || {
            stop.store(true, Ordering::Release);
            closed.close();
        });
        let connected = watch::channel(true).0;
        let wire = Arc::new(SimWire { stream: stream.clone(), line: Mutex::default(), connected });
        let ledger = Ledger(Arc::new(Inner { view: view.clone(), queue, writer: Mutex::new(None), relayed: None }), None);
        let mut node = Node { ledger, applier, flights: flights.clone(), start, next, wire: wire.clone(), publisher: None };
        node.catch_up(disk)?;
        let incarnation = view.batch(name)?.0 + 1;
        flights.incarnation.store(incarnation, Ordering::Release);
        let stamp = Stamp { node: name.to_owned(), incarnation, number: 1 };
        let payload = batch::encode(&stamp, options.rules(), std::iter::empty())?;
        stream.store(&names::append_subject(&default_tenant()), payload.into(), None).unwrap();
        node.catch_up(disk)?;
        let connected = wire.connected.subscribe();
        let parts = Parts { wire, tenant: default_tenant(), view, flights, rules: options.rules(), connected, number: 1 };
        node.publisher = Some(Box::pin(async move { Publisher::new(parts).run(jobs, notes).await }));
        Ok(node)
    }

    fn catch_up(&mut self, disk: &SimDisk) -> Result<(), LedgerError> {
        while self.flights.progress.borrow().applied < self.wire.stream.last() {
            self.feed(usize::MAX);
            if !disk.has_power() {
                return Err(LedgerError::Unknown);
            }
        }
        Ok(())
    }

    /// The task of the node that publishes.
    pub(crate) fn publisher(&mut self) -> BoxFuture<'static, ()> {
        self.publisher.take().unwrap()
    }

    /// The follower brings some messages, and they are applied.
    fn feed(&mut self, most: usize) {
        let start = *self.start.borrow();
        if start.number != self.next.number {
            self.next = start;
        }
        if !*self.wire.connected.borrow() {
            return;
        }
        let from = usize::try_from(self.next.sequence - 1).unwrap();
        let messages: Vec<(String, Bytes)> = self.wire.stream.0.lock().all.iter().skip(from).take(most).cloned().collect();
        let group: Vec<Delivered> = (self.next.sequence..)
            .zip(messages)
            .map(|(sequence, (subject, payload))| Delivered { start: self.next.number, sequence, subject, payload })
            .collect();
        self.next.sequence += group.len() as u64;
        assert!(self.applier.turn(&group, false), "what is in the stream can't be applied");
    }

    pub(crate) fn step(&mut self, dice: &mut Dice) {
        match dice.below(14) {
            0..=3 => _ = self.wire.deliver(),
            4..=5 => _ = self.wire.answer(),
            6..=11 => self.feed(1 + dice.below(3) as usize),
            12 => self.wire.stream.late(),
            _ => _ = self.applier.turn(&[], true),
        }
    }

    pub(crate) fn work(&mut self) {
        while self.wire.deliver() || self.wire.answer() {}
        self.feed(usize::MAX);
    }

    pub(crate) fn is_idle(&self) -> bool {
        let line = self.wire.line.lock();
        line.out.is_empty() && line.back.is_empty() && self.flights.is_empty() && self.next.sequence > self.wire.stream.last()
    }

    pub(crate) fn cut(&self, dice: &mut Dice) {
        self.wire.cut(dice);
    }

    pub(crate) fn connect(&self) {
        self.wire.connected.send_if_modified(|connected| !std::mem::replace(connected, true));
    }

    /// The server has no room for so many batches.
    pub(crate) fn refuse(&self, batches: u64) {
        self.wire.line.lock().refused = batches;
    }
}

/// The view's disk fails in the middle of a step. If the step is in the file after all, it is not published again.
#[tokio::test(start_paused = true)]
async fn what_a_failed_step_has_left_in_the_view_is_answered_and_not_doubled() {
    for sync in 0..10 {
        let mut told = Vec::new();
        let (disk, stream) = (SimDisk::new(sync), Stream::default());
        let mut node = Node::open(&disk, &stream, "node").unwrap();
        let publisher = tokio::spawn(node.publisher());
        // Nothing waits to be made durable, and for so long that the next step is.
        node.applier.turn(&[], true);
        tokio::time::advance(2 * super::applier::DURABLE_EVERY).await;
        disk.fail_a_sync_after(sync);
        for n in 1..4 {
            let mut answer = node.ledger.submit(append([n]));
            // Refused when the disk fails before it is published.
            let mut answered = None;
            for _ in 0..1_000 {
                answered = futures::FutureExt::now_or_never(&mut answer);
                if answered.is_some() {
                    break;
                }
                tokio::time::advance(std::time::Duration::from_millis(10)).await;
                node.work();
            }
            told.extend(answered.is_some_and(|answer| answer.is_ok()).then_some(n));
        }
        let numbers: Vec<u64> = node.ledger.events(1, 100, usize::MAX).unwrap().iter().map(|event| number(event)).collect();
        assert_eq!(numbers, told, "sync {sync} failed");
        publisher.abort();
    }
}
