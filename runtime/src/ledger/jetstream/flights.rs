//! What this node has published and does not yet know the end of, and how far the stream is applied.

use super::{
    super::{LedgerError, Op, Outcome, queue::Waiter},
    batch::Stamp,
};
use crate::model::AppId;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// Operations that keep their order among themselves: those that name one app, and appends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Append,
    App(AppId),
}

pub(super) struct Entry {
    pub op: Op,
    pub bytes: usize,
    pub waiter: Waiter,
}

/// One published batch.
pub(super) struct Flight {
    /// None: it carries nothing and only ends what came before it.
    pub lane: Option<Lane>,
    pub entries: Vec<Entry>,
    /// The last message on the lane's subject as the view had it; what the server was told to expect may differ.
    pub fence: u64,
    pub sent: Instant,
    pub acked: bool,
}

pub(super) enum Note {
    /// Applied and answered.
    Settled(Lane),
    /// Never will be applied.
    Lost(Flight),
    /// This node will not learn any more what becomes of anything.
    Broken,
}

/// How far this node's view is, and what keeps it from going on.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    pub applied: u64,
    /// What may pass: the disk of the view is full, or away.
    pub failed: Option<LedgerError>,
    /// What doesn't pass: messages are missing, or can't be read.
    pub broken: Option<LedgerError>,
}

impl Progress {
    pub(super) fn trouble(&self) -> Option<&LedgerError> {
        self.broken.as_ref().or(self.failed.as_ref())
    }
}

pub(super) struct Flights {
    pub node: String,
    pub incarnation: AtomicU64,
    /// By number.
    open: Mutex<BTreeMap<u64, Flight>>,
    pub progress: watch::Sender<Progress>,
    notes: mpsc::UnboundedSender<Note>,
}

impl Flights {
    /// The receiver gets one note for each flight that ends, so it holds no more than there are flights.
    pub(super) fn new(node: String, applied: u64) -> (Flights, mpsc::UnboundedReceiver<Note>) {
        let (notes, receiver) = mpsc::unbounded_channel();
        let progress = watch::channel(Progress { applied, ..Progress::default() }).0;
        let flights = Flights { node, incarnation: AtomicU64::new(0), open: Mutex::default(), progress, notes };
        (flights, receiver)
    }

    pub(super) fn depart(&self, number: u64, flight: Flight) {
        self.open.lock().insert(number, flight);
    }

    pub(super) fn take(&self, number: u64) -> Option<Flight> {
        self.open.lock().remove(&number)
    }

    pub(super) fn take_all(&self) -> Vec<Flight> {
        std::mem::take(&mut *self.open.lock()).into_values().collect()
    }

    pub(super) fn acked(&self, number: u64) {
        if let Some(flight) = self.open.lock().get_mut(&number) {
            flight.acked = true;
        }
    }

    pub(super) fn is_open(&self, number: u64) -> bool {
        self.open.lock().contains_key(&number)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.lock().is_empty()
    }

    /// When the oldest flight was sent that nobody has acknowledged.
    pub(super) fn oldest_unacked(&self) -> Option<Instant> {
        self.open.lock().values().filter(|flight| !flight.acked).map(|flight| flight.sent).min()
    }

    fn is_mine(&self, stamp: &Stamp) -> bool {
        stamp.node == self.node && stamp.incarnation == self.incarnation.load(Ordering::Acquire)
    }

    /// A batch of the stream was applied (with outcomes) or passed over (without). Those of this node that came before it
    /// and were not in the stream will be passed over if they ever come.
    pub(super) fn landed(&self, stamp: &Stamp, outcomes: Option<Vec<Outcome>>) {
        if !self.is_mine(stamp) {
            return;
        }
        let mut open = self.open.lock();
        let later = open.split_off(&(stamp.number + 1));
        let ended = std::mem::replace(&mut *open, later);
        drop(open);
        let mut outcomes = outcomes;
        for (number, flight) in ended {
            match outcomes.take_if(|_| number == stamp.number) {
                Some(outcomes) => self.settle(flight, outcomes),
                None => self.note(Note::Lost(flight)),
            }
        }
    }

    pub(super) fn broken(&self, error: LedgerError) {
        tracing::error!(%error, "the ledger stands still");
        self.progress.send_modify(|progress| progress.broken = Some(error));
        self.note(Note::Broken);
    }

    fn settle(&self, flight: Flight, outcomes: Vec<Outcome>) {
        for (entry, outcome) in flight.entries.into_iter().zip(outcomes) {
            entry.waiter.answer(Ok(outcome));
        }
        if let Some(lane) = flight.lane {
            self.note(Note::Settled(lane));
        }
    }

    fn note(&self, note: Note) {
        // The publisher ends only after it has taken all flights.
        let _ = self.notes.send(note);
    }
}

impl Flight {
    pub(super) fn fail(self, error: &LedgerError) {
        for entry in self.entries {
            entry.waiter.answer(Err(error.clone()));
        }
    }
}
