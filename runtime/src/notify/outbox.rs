//! Messages on their way. What is to be sent stands in the records; here is only when to look at which.
//!
//! Of several nodes one sends: it writes its claim into the record first, for longer than an attempt takes. A node that dies with a claim
//! leaves it to whoever finds that its time is over.

use super::{Sending, Social};
use crate::model::{
    Id, Micros,
    limit::{DELIVERY_SECONDS_MAX, SOCIALS_KEPT_PER_OWNER_MAX},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};
use tokio::sync::Notify as Bell;

/// How long a node has a message for itself: an attempt, and the change after it.
pub(super) const CLAIM_MILLIS: u64 = 2 * DELIVERY_SECONDS_MAX * 1_000;
/// How attempts follow each other.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// After the first failure; twice as long after each one more.
    pub first: Duration,
    pub last: Duration,
    /// No other node is on this log: a claim that nobody here is at is one of an earlier life, and not waited for.
    pub is_alone: bool,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { first: Duration::from_secs(10), last: Duration::from_secs(2 * 3_600), is_alone: false }
    }
}

impl Pace {
    pub fn after(&self, attempts: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.last)
    }
}

pub(super) struct Outbox {
    pace: Pace,
    list: Mutex<List>,
    bell: Bell,
}

#[derive(Default)]
struct List {
    /// Every message there is.
    all: HashMap<Id, Line>,
    /// Those to be sent, by when.
    due: BTreeSet<(Micros, Id)>,
    /// Those that an attempt is at.
    busy: HashSet<Id>,
    pending: HashMap<Option<Id>, usize>,
}

struct Line {
    owner: Option<Id>,
    created: Micros,
    /// When to look at it; none: it is sent or given up.
    due: Option<Micros>,
    /// Claimed by this node when it was written: the first attempt needs no claim.
    ours: bool,
}

impl List {
    fn put(&mut self, id: &Id, line: Option<Line>) {
        if let Some(old) = self.all.remove(id)
            && let Some(due) = old.due
        {
            self.due.remove(&(due, id.clone()));
            if let Some(count) = self.pending.get_mut(&old.owner) {
                *count -= 1;
                if *count == 0 {
                    self.pending.remove(&old.owner);
                }
            }
        }
        let Some(line) = line else { return };
        if let Some(due) = line.due {
            self.due.insert((due, id.clone()));
            *self.pending.entry(line.owner.clone()).or_default() += 1;
        }
        self.all.insert(id.clone(), line);
    }
}

impl Line {
    /// `free`: no other node can be at it.
    fn of(social: &Social, ours: bool, free: bool) -> Line {
        let due = match (social.status, ours || free) {
            (Sending::Pending, true) => Some(social.next_attempt),
            (Sending::Pending, false) => Some(social.next_attempt.max(social.claimed_until)),
            _ => None,
        };
        Line { owner: social.owner.clone(), created: social.date_created, due, ours }
    }
}

impl Outbox {
    pub fn new(pace: Pace) -> Outbox {
        Outbox { pace, list: Mutex::default(), bell: Bell::new() }
    }

    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Until there may be something else to do.
    pub async fn changed(&self) {
        self.bell.notified().await;
    }

    /// What the records say of a message; none: it is gone. One that this node has claimed and not begun with stays its own.
    pub fn set(&self, id: &Id, social: Option<&Social>) {
        let mut list = self.list.lock();
        let is_ours = list.all.get(id).is_some_and(|line| line.ours && line.due.is_some());
        let line = social.map(|social| Line::of(social, is_ours && social.attempts == 0, self.pace.is_alone));
        list.put(id, line);
        drop(list);
        self.bell.notify_one();
    }

    /// Messages that this node wrote with its claim in them.
    pub fn take(&self, socials: &[Social]) {
        let mut list = self.list.lock();
        for social in socials {
            // Whoever followed the log may have been faster, and be done with it.
            let is_new = list.all.get(&social.id).is_none_or(|line| line.due.is_some()) && !list.busy.contains(&social.id);
            if is_new {
                list.put(&social.id, Some(Line::of(social, true, true)));
            }
        }
        drop(list);
        self.bell.notify_one();
    }

    pub fn pending(&self, owner: Option<&Id>) -> usize {
        self.list.lock().pending.get(&owner.cloned()).copied().unwrap_or_default()
    }

    /// Ids of messages of those owners, newest first.
    pub fn newest(&self, of: impl Fn(Option<&Id>) -> bool) -> Vec<Id> {
        let list = self.list.lock();
        let mut found: Vec<(Micros, &Id)> =
            list.all.iter().filter(|(_, line)| of(line.owner.as_ref())).map(|(id, line)| (line.created, id)).collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.into_iter().map(|(_, id)| id.clone()).collect()
    }

    /// The next one whose time has come, and whether it is claimed already; or when to look again.
    pub fn next(&self, now: Micros) -> Result<(Id, bool), Option<Duration>> {
        let mut list = self.list.lock();
        let next = list.due.iter().find(|(_, id)| !list.busy.contains(id)).cloned();
        match next {
            Some((due, id)) if due <= now => {
                list.busy.insert(id.clone());
                let ours = list.all.get_mut(&id).is_some_and(|line| std::mem::take(&mut line.ours));
                Ok((id, ours))
            }
            Some((due, _)) => Err(Some(Duration::from_millis(due.millis_since(now) + 1))),
            None => Err(None),
        }
    }

    pub fn done(&self, id: &Id, social: Option<&Social>) {
        let mut list = self.list.lock();
        list.busy.remove(id);
        list.put(id, social.map(|social| Line::of(social, false, self.pace.is_alone)));
    }

    /// Not now: the ledger did not take it, say.
    pub fn postpone(&self, id: &Id, until: Micros) {
        let mut list = self.list.lock();
        list.busy.remove(id);
        let line = list.all.get(id).filter(|line| line.due.is_some());
        let line = line.map(|line| Line { owner: line.owner.clone(), created: line.created, due: Some(until), ours: false });
        if let Some(line) = line {
            list.put(id, Some(line));
        }
    }

    /// Messages that are sent or given up, beyond what is kept of each owner.
    pub fn old(&self) -> Vec<Id> {
        let list = self.list.lock();
        let mut of: HashMap<&Option<Id>, Vec<(Micros, &Id)>> = HashMap::new();
        for (id, line) in list.all.iter().filter(|(_, line)| line.due.is_none()) {
            of.entry(&line.owner).or_default().push((line.created, id));
        }
        let mut old = Vec::new();
        for ids in of.values_mut() {
            ids.sort_unstable_by(|one, other| other.cmp(one));
            old.extend(ids.iter().skip(SOCIALS_KEPT_PER_OWNER_MAX).map(|(_, id)| Id::clone(id)));
        }
        old
    }
}
