//! The bounded queue between callers and the one writer, and the answer that is awaited.

use super::{LedgerError, Op, Outcome};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

/// Operations that wait for the writer: some ten groups of it.
const QUEUE_OPS_MAX: usize = 8 * 1024;
/// Bytes that wait for the writer. An idle node holds none of it.
const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The largest operation: one message of NATS at the 8 MiB we ask of a server, less room for headers and estimate.
pub(super) const OP_BYTES_MAX: usize = 7 * 1024 * 1024;

pub(super) type Answer = Result<Outcome, LedgerError>;

/// An operation on its way, and who waits for it.
pub(super) struct Job {
    pub op: Op,
    pub bytes: usize,
    answer: oneshot::Sender<Answer>,
    _room: OwnedSemaphorePermit,
}

pub(super) enum Message {
    Job(Box<Job>),
    /// Finish what came before, then stop.
    Close,
}

pub(super) struct Queue {
    sender: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    closed: AtomicBool,
}

/// The answer to a submitted operation, once it is durable and visible. Dropping it does not take the operation back.
#[must_use = "an operation that nobody awaits may fail unseen"]
pub struct Pending(State);

enum State {
    Refused(Option<LedgerError>),
    Waiting(oneshot::Receiver<Answer>),
}

pub(super) fn queue() -> (Queue, mpsc::Receiver<Message>) {
    // One slot more than there can be jobs, so that `Close` always finds room.
    let (sender, receiver) = mpsc::channel(QUEUE_OPS_MAX + 1);
    (Queue { sender, room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)), closed: AtomicBool::new(false) }, receiver)
}

impl Queue {
    /// Queues at once, or refuses.
    pub(super) fn submit(&self, op: Op) -> Pending {
        Pending(match self.prepare(&op).and_then(|cost| self.try_room(cost)).and_then(|room| self.send(op, room)) {
            Ok(receiver) => State::Waiting(receiver),
            Err(error) => State::Refused(Some(error)),
        })
    }

    /// Waits for room, then queues.
    pub(super) async fn submit_when_room(&self, op: Op) -> Pending {
        let room = match self.prepare(&op) {
            Ok(cost) => self.room.clone().acquire_many_owned(cost).await.map_err(|_| LedgerError::Closed),
            Err(error) => Err(error),
        };
        Pending(match room.and_then(|room| self.send(op, room)) {
            Ok(receiver) => State::Waiting(receiver),
            Err(error) => State::Refused(Some(error)),
        })
    }

    /// No operation is taken from here on; the writer ends after those it has.
    pub(super) fn close(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.room.close();
            // Refused only when the writer is gone already.
            let _ = self.sender.try_send(Message::Close);
        }
    }

    /// What the operation takes of the queue: its bytes, and never less than its share of the places.
    fn prepare(&self, op: &Op) -> Result<u32, LedgerError> {
        let bytes = op.size_bytes();
        if bytes > OP_BYTES_MAX {
            return Err(LedgerError::TooLarge { bytes, max: OP_BYTES_MAX });
        }
        let cost = bytes.max(QUEUE_BYTES_MAX / QUEUE_OPS_MAX);
        Ok(u32::try_from(cost).unwrap_or(u32::MAX))
    }

    fn try_room(&self, cost: u32) -> Result<OwnedSemaphorePermit, LedgerError> {
        self.room.clone().try_acquire_many_owned(cost).map_err(|error| match error {
            TryAcquireError::NoPermits => LedgerError::Busy,
            TryAcquireError::Closed => LedgerError::Closed,
        })
    }

    fn send(&self, op: Op, room: OwnedSemaphorePermit) -> Result<oneshot::Receiver<Answer>, LedgerError> {
        let (answer, receiver) = oneshot::channel();
        let job = Job { bytes: op.size_bytes(), op, answer, _room: room };
        self.sender.try_send(Message::Job(Box::new(job))).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LedgerError::Busy,
            mpsc::error::TrySendError::Closed(_) => LedgerError::Closed,
        })?;
        Ok(receiver)
    }
}

/// What is left of a job once its operation was taken out.
pub(super) struct Waiter {
    answer: oneshot::Sender<Answer>,
    /// Given back with the answer: the queue counts what is being written too.
    _room: OwnedSemaphorePermit,
}

impl Waiter {
    pub(super) fn answer(self, answer: Answer) {
        // Whoever submitted may have gone; the operation stands all the same.
        let _ = self.answer.send(answer);
    }

    /// False when whoever submitted the operation has gone.
    pub(super) fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }
}

impl Job {
    pub(super) fn split(self) -> (Op, Waiter) {
        (self.op, Waiter { answer: self.answer, _room: self._room })
    }
}

impl Future for Pending {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        match &mut self.0 {
            State::Refused(error) => Poll::Ready(Err(error.take().unwrap_or(LedgerError::Closed))),
            State::Waiting(receiver) => Pin::new(receiver).poll(context).map(|got| got.unwrap_or(Err(LedgerError::Unknown))),
        }
    }
}
