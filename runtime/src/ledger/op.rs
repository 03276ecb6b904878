//! The operations of the ledger. Whatever changes it is one of these, applied whole or not at all, in one order.

use crate::model::{AppId, FunctionId, Micros, NewEvent, Seq, Tenant, Write};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// How often an app has committed on a base or written its state: grows by one with each such commit.
pub type Version = u64;

/// Events that one [`Op::Trim`] drops, so that nobody waits behind it for longer than a few milliseconds.
pub const TRIM_EVENTS_MAX: u64 = 10_000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Op {
    Append(Append),
    Commit(Commit),
    /// Makes a consumer that starts after `start` unless it exists already; `Seq::MAX` is the head at that moment.
    Register {
        function: FunctionId,
        start: Seq,
    },
    /// Forgets a consumer (an `[[on]]` entry that a release no longer has). Its parked events become dead letters. The version of its app
    /// moves on, so that what another node has under way for it does not count.
    Unregister {
        function: FunctionId,
    },
    /// Forgets an app's state, consumers, parked events and dead letters, but for uplinks that it could not decode: those are of their
    /// devices. Its version goes on counting, so that a commit
    /// from before conflicts.
    DeleteApp {
        app: AppId,
    },
    /// Out of the dead letters into the parked events, due at once and out of order.
    ReplayDead {
        function: FunctionId,
        seq: Seq,
        now: Micros,
    },
    DropDead {
        function: FunctionId,
        seq: Seq,
    },
    /// Drops events below `below` that every consumer has passed that is not paused, the oldest [`TRIM_EVENTS_MAX`] of them at most.
    /// What a paused one has not settled of them is noted as [`Lost`].
    Trim {
        below: Seq,
    },
    /// The log is not kept for a consumer any more that has not come as far as `behind`. The version of its app moves on, so that
    /// what it has under way does not count.
    Pause {
        function: FunctionId,
        behind: Seq,
        now: Micros,
        /// Goes into the log with it.
        said: Vec<NewEvent>,
    },
    /// A paused consumer goes on, with the oldest event that is there. The version of its app moves on, as at [`Op::Pause`].
    Resume {
        function: FunctionId,
        said: Vec<NewEvent>,
    },
    /// Somebody has taken note of the ranges that a function lost and that end at `through` or before it.
    ForgetLost {
        function: FunctionId,
        through: Seq,
    },
    /// What came from outside and can't be read: into the log and to the dead letters in one.
    Undecoded(Undecoded),
    /// It can be read now: these events in the place of the dead letter. Without one nothing is done.
    Decoded {
        function: FunctionId,
        seq: Seq,
        events: Vec<NewEvent>,
    },
    /// A commit that counts as long as a key of its app's state is what it was: whoever has lost that place to another is told so by a conflict.
    Guarded(Guarded),
    /// Events from outside, and what the node keeps of them, in one.
    Kept(Kept),
}

/// Of a repeat nothing is kept either: what was kept was of the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub append: Append,
    /// Into the states of apps, or of what has a place beside them. Nothing was read for it.
    pub writes: Vec<(AppId, Vec<Write>)>,
    /// As [`Guarded`] is.
    pub guard: Option<Guard>,
}

/// What has to be so when an operation is applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    pub app: AppId,
    pub key: String,
    pub holds: Bytes,
}

/// Made for who holds a place that another node may take: all that it writes names the place, so that nothing of it counts afterwards, however
/// late it comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guarded {
    pub commit: Commit,
    pub key: String,
    /// What the key has to hold when it is applied.
    pub holds: Bytes,
}

/// Events from outside: all or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Append {
    pub tenant: Tenant,
    pub events: Vec<NewEvent>,
    /// A repeat of the same key within the window appends nothing and answers with the first one's sequences.
    pub dedup: Option<Dedup>,
    /// Where an intake log was read from and up to; an append that doesn't begin where the last one ended does nothing.
    pub intake: Option<Intake>,
}

/// No consumer is asked, as for other dead letters: a codec has no place in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Undecoded {
    /// Its first event is the dead one.
    pub append: Append,
    pub function: FunctionId,
    pub error: String,
    pub log_tail: Vec<String>,
    pub time: Micros,
    pub release: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dedup {
    /// Unique within tenant and scope, such as `http:DEVICE:KEY`.
    pub key: String,
    pub now: Micros,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intake {
    /// Unique within the ledger.
    pub source: String,
    /// The position up to which the source had been read before; 0 at its start. Another one at apply: nothing is done.
    pub after: u64,
    /// The position of the last message in this append.
    pub position: u64,
}

/// What some calls of one app did, in the order in which they count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    pub app: AppId,
    /// The version that the calls' reads were checked against and their events were not settled at; another one at apply is
    /// a conflict. None: the commit rests on nothing.
    pub base: Option<Version>,
    /// Events settled: done, parked or dead.
    pub done: Vec<Done>,
    /// The last write to a key wins.
    pub writes: Vec<Write>,
    pub events: Vec<NewEvent>,
    pub park: Vec<Parked>,
    /// Parked events settled by this commit.
    pub unpark: Vec<(FunctionId, Seq)>,
    pub dead: Vec<DeadLetter>,
    /// For a call that a client may repeat: a repeat within the window commits nothing and answers `Duplicate`.
    pub dedup: Option<Dedup>,
}

/// What a small part of an operation takes.
const SMALL: usize = 128;

impl Commit {
    fn size_bytes(&self) -> usize {
        let events = self.events.iter().map(NewEvent::size_bytes);
        let writes = self.writes.iter().map(|w| 16 + w.key.len() + w.value.as_ref().map_or(0, Bytes::len));
        let done = self.done.iter().map(|d| SMALL + 8 * d.above.len());
        let parked = self.park.iter().map(|p| SMALL + p.event.size_bytes() + p.error.len());
        let dead = self
            .dead
            .iter()
            .map(|d| SMALL + d.event.size_bytes() + d.error.len() + d.log_tail.iter().map(|line| 4 + line.len()).sum::<usize>());
        let settled = SMALL * self.unpark.len() + self.dedup.as_ref().map_or(0, |d| d.key.len());
        settled + events.chain(writes).chain(done).chain(parked).chain(dead).sum::<usize>()
    }

    /// Events and writes from outside of every call: nothing was read for them, so nothing can contradict them.
    pub fn resting_on_nothing(app: AppId, events: Vec<NewEvent>, writes: Vec<Write>) -> Commit {
        Commit { app, base: None, done: Vec::new(), writes, events, park: Vec::new(), unpark: Vec::new(), dead: Vec::new(), dedup: None }
    }
}

/// A consumer has settled `seqs`, and everything up to `through` that is not parked or named here concerns it no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    pub function: FunctionId,
    /// The new watermark: every event up to here is settled. Never goes back.
    pub through: Seq,
    /// Settled events above the watermark, the whole set as first and last of each range, ascending: replaces the stored one.
    pub above: Vec<Seq>,
}

/// An event that waits for a consumer: to be tried again, or behind one of its key that is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parked {
    pub function: FunctionId,
    pub seq: Seq,
    pub event: NewEvent,
    /// Attempts made so far; 0 for one that only waits its turn.
    pub attempts: u32,
    /// Not before this.
    pub due: Micros,
    /// Why the last attempt failed; empty for one that only waits.
    pub error: String,
    /// A replayed dead letter: out of order, waits for nobody and nobody for it.
    pub replay: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub function: FunctionId,
    pub seq: Seq,
    pub event: NewEvent,
    pub attempts: u32,
    pub error: String,
    /// The last log lines of the last attempt.
    pub log_tail: Vec<String>,
    pub time: Micros,
    /// The release whose code failed.
    pub release: u64,
}

/// What applying an operation came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Sequences of the events appended, in order; empty for an op without events.
    Applied { seqs: Vec<Seq>, version: Version },
    /// Append: the same dedup key was seen; these are the sequences it got (none for an intake position that was
    /// passed already). Commit: nothing was done.
    Duplicate { seqs: Vec<Seq> },
    /// The app's state is at `version`, not at the commit's base. Nothing was done.
    Conflict { version: Version },
    /// No such dead letter, or none to replay it to; nothing to pause, to resume or to forget.
    Missing,
}

/// Where a consumer is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    pub through: Seq,
    /// First and last of each settled range above it.
    pub above: Vec<Seq>,
}

/// A consumer that the log is not kept for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Paused {
    pub since: Micros,
    /// It had settled everything up to here, and perhaps some above.
    pub through: Seq,
}

/// Events that were dropped from the log while a consumer that had not settled them was paused.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lost {
    pub from: Seq,
    /// The last of them.
    pub to: Seq,
    /// How many of those between were not settled. The ledger does not know which of them concern the function.
    pub events: u64,
    pub bytes: u64,
    /// When the first and the last were received.
    pub received_from: Micros,
    pub received_to: Micros,
    /// When the pause began in which they were dropped.
    pub paused: Micros,
}

impl Lost {
    /// Both as one, `later` behind this.
    pub(super) fn and(self, later: &Lost) -> Lost {
        let (events, bytes) = (self.events + later.events, self.bytes + later.bytes);
        Lost { to: later.to, events, bytes, received_to: later.received_to, paused: later.paused, ..self }
    }
}

impl Op {
    /// Whether it brings in what nobody has promised to take yet: refused first when room gets short.
    pub(super) fn is_intake(&self) -> bool {
        match self {
            Op::Append(_) | Op::Undecoded(_) | Op::Kept(_) => true,
            Op::Commit(commit) | Op::Guarded(Guarded { commit, .. }) => {
                commit.base.is_none() && commit.done.is_empty() && !commit.events.is_empty()
            }
            _ => false,
        }
    }

    /// Whether what another node has committed for its app can't contradict it: no version is checked for it.
    pub(super) fn rests_on_no_version(&self) -> bool {
        matches!(self, Op::Kept(_) | Op::Commit(Commit { base: None, .. }) | Op::Guarded(Guarded { commit: Commit { base: None, .. }, .. }))
    }

    /// About how many bytes it takes, in memory and as a message.
    pub fn size_bytes(&self) -> usize {
        let events = |events: &[NewEvent]| events.iter().map(NewEvent::size_bytes).sum::<usize>();
        let writes =
            |writes: &[Write]| writes.iter().map(|w| 16 + w.key.len() + w.value.as_ref().map_or(0, bytes::Bytes::len)).sum::<usize>();
        let append = |append: &Append| events(&append.events) + append.dedup.as_ref().map_or(0, |d| d.key.len());
        SMALL
            + match self {
                Op::Append(appended) => append(appended),
                Op::Kept(kept) => append(&kept.append) + kept.writes.iter().map(|(_, kept)| SMALL + writes(kept)).sum::<usize>(),
                // The first event twice: in the log and in its letter.
                Op::Undecoded(Undecoded { append: appended, error, log_tail, .. }) => {
                    append(appended)
                        + appended.events.first().map_or(0, NewEvent::size_bytes)
                        + error.len()
                        + log_tail.iter().map(|line| 4 + line.len()).sum::<usize>()
                }
                Op::Decoded { events: decoded, .. } => events(decoded),
                Op::Guarded(guarded) => guarded.commit.size_bytes() + guarded.key.len() + guarded.holds.len(),
                Op::Commit(commit) => commit.size_bytes(),
                Op::Pause { said, .. } | Op::Resume { said, .. } => events(said),
                _ => SMALL,
            }
    }
}
