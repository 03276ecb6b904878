//! Messages on their way. What is to be sent stands in the records; here is only when to look at which.
//!
//! Of several nodes one sends: it writes its claim into the record first, for longer than an attempt takes. A node that dies with a claim
//! leaves it to whoever finds that its time is over. Of several owners each has a share of the attempts, so that addresses that do not
//! answer hold up the messages of their owner alone.

use super::{Sending, Social};
use crate::model::{
    Id, Micros,
    limit::{DELIVERIES_PER_OWNER_MAX, DELIVERY_SECONDS_MAX, SOCIALS_KEPT_PER_OWNER_MAX},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
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
    /// Those to be sent of each owner, by when.
    due: HashMap<Option<Id>, BTreeSet<(Micros, Id)>>,
    /// Those that an attempt is at, and whose they are.
    busy: HashMap<Id, Option<Id>>,
}

struct Line {
    owner: Option<Id>,
    created: Micros,
    /// When to look at it; none: it is sent or given up.
    due: Option<Micros>,
    /// Claimed by this node when it was written, until then: the first attempt needs no claim.
    ours: Option<Micros>,
}

impl List {
    fn put(&mut self, id: &Id, line: Option<Line>) {
        if let Some(old) = self.all.remove(id)
            && let Some(due) = old.due
            && let Some(of_owner) = self.due.get_mut(&old.owner)
        {
            of_owner.remove(&(due, id.clone()));
            if of_owner.is_empty() {
                self.due.remove(&old.owner);
            }
        }
        let Some(line) = line else { return };
        if let Some(due) = line.due {
            self.due.entry(line.owner.clone()).or_default().insert((due, id.clone()));
        }
        self.all.insert(id.clone(), line);
    }

    /// The next one of each owner who has an attempt left, with how many are under way for him.
    fn next_of_each(&self) -> impl Iterator<Item = (usize, Micros, &Id)> {
        let mut busy: HashMap<&Option<Id>, usize> = HashMap::new();
        self.busy.values().for_each(|owner| *busy.entry(owner).or_default() += 1);
        self.due.iter().filter_map(move |(owner, lines)| {
            let under_way = busy.get(owner).copied().unwrap_or_default();
            let next = lines.iter().find(|(_, id)| !self.busy.contains_key(id)).filter(|_| under_way < DELIVERIES_PER_OWNER_MAX);
            next.map(|(due, id)| (under_way, *due, id))
        })
    }
}

impl Line {
    /// `ours`: until when this node has it for itself. `is_alone`: no other node can be at it.
    fn of(social: &Social, ours: Option<Micros>, is_alone: bool) -> Line {
        let due = match (social.status, ours.is_some() || is_alone) {
            (Sending::Pending, true) => Some(social.next_attempt),
            (Sending::Pending, false) => Some(social.next_attempt.max(social.claimed_until)),
            _ => None,
        };
        Line { owner: social.owner.clone(), created: social.date_created, due, ours }
    }
}

/// Whether a claim lasts for an attempt that begins now.
pub(super) fn outlasts(claimed_until: Micros, now: Micros) -> bool {
    claimed_until >= now.plus_millis(DELIVERY_SECONDS_MAX * 1_000)
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
        let ours = list.all.get(id).filter(|line| line.due.is_some()).and_then(|line| line.ours);
        let line = social.map(|social| Line::of(social, ours.filter(|_| social.attempts == 0), self.pace.is_alone));
        list.put(id, line);
        drop(list);
        self.bell.notify_one();
    }

    /// Messages that this node wrote with its claim in them.
    pub fn take(&self, socials: &[Social]) {
        let mut list = self.list.lock();
        for social in socials {
            // Whoever followed the log may have been faster, and be done with it.
            let is_new = list.all.get(&social.id).is_none_or(|line| line.due.is_some()) && !list.busy.contains_key(&social.id);
            if is_new {
                list.put(&social.id, Some(Line::of(social, Some(social.claimed_until), true)));
            }
        }
        drop(list);
        self.bell.notify_one();
    }

    pub fn pending(&self, owner: Option<&Id>) -> usize {
        self.list.lock().due.get(&owner.cloned()).map_or(0, BTreeSet::len)
    }

    /// Ids of messages of those owners, newest first.
    pub fn newest(&self, of: impl Fn(Option<&Id>) -> bool) -> Vec<Id> {
        let list = self.list.lock();
        let mut found: Vec<(Micros, &Id)> =
            list.all.iter().filter(|(_, line)| of(line.owner.as_ref())).map(|(id, line)| (line.created, id)).collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.into_iter().map(|(_, id)| id.clone()).collect()
    }

    /// The next one whose time has come, and whether it is claimed already; or when to look again. Of several owners one for whom the fewest
    /// attempts are under way.
    pub fn next(&self, now: Micros) -> Result<(Id, bool), Option<Duration>> {
        let mut list = self.list.lock();
        loop {
            let found = list.next_of_each().filter(|(_, due, _)| *due <= now).min();
            let Some(id) = found.map(|(_, _, id)| id.clone()) else {
                let later = list.next_of_each().map(|(_, due, _)| due).min();
                return Err(later.map(|due| Duration::from_millis(due.millis_since(now) + 1)));
            };
            let Some(line) = list.all.get_mut(&id) else { return Err(None) };
            let (owner, until) = (line.owner.clone(), line.ours.take());
            // It has waited for so long that another node would begin with it before this one is done: it is whose who claims it.
            if let Some(until) = until.filter(|until| !outlasts(*until, now))
                && !self.pace.is_alone
            {
                let line = Line { owner, created: line.created, due: line.due.map(|due| due.max(until)), ours: None };
                list.put(&id, Some(line));
                continue;
            }
            list.busy.insert(id.clone(), owner);
            return Ok((id, until.is_some()));
        }
    }

    pub fn done(&self, id: &Id, social: Option<&Social>) {
        let mut list = self.list.lock();
        list.busy.remove(id);
        list.put(id, social.map(|social| Line::of(social, None, self.pace.is_alone)));
    }

    /// Not now: the ledger did not take it, say.
    pub fn postpone(&self, id: &Id, until: Micros) {
        let mut list = self.list.lock();
        list.busy.remove(id);
        let line = list.all.get(id).filter(|line| line.due.is_some());
        let line = line.map(|line| Line { owner: line.owner.clone(), created: line.created, due: Some(until), ours: None });
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000;

    fn social(id: &str, owner: &str, now: Micros) -> Social {
        let mut social = Social::new(Id::new(id).unwrap(), Some(Id::new(owner).unwrap()), now);
        social.claimed_until = now.plus_millis(CLAIM_MILLIS);
        social
    }

    #[test]
    fn a_claim_that_has_nearly_run_out_is_not_relied_on() {
        let (outbox, now) = (Outbox::new(Pace::default()), Micros(1));
        let (first, late) = (social("first", "ada", now), social("late", "ada", now));
        outbox.take(&[first.clone(), late.clone()]);
        assert_eq!(outbox.next(now.plus_millis(SECOND)), Ok((first.id, true)));
        // Another node would take it over while this one is at it.
        let Err(Some(wait)) = outbox.next(now.plus_millis(CLAIM_MILLIS - SECOND)) else { panic!("it is not this node's any more") };
        assert!(wait >= Duration::from_secs(1));
        assert_eq!(outbox.next(now.plus_millis(CLAIM_MILLIS)), Ok((late.id, false)));
    }

    #[test]
    fn who_has_the_fewest_messages_under_way_is_next() {
        let (outbox, now) = (Outbox::new(Pace::default()), Micros(1));
        let many: Vec<Social> = (0..10).map(|n| social(&format!("a{n}"), "ada", now)).collect();
        outbox.take(&many);
        outbox.take(&[social("b", "bob", now.plus_millis(5))]);
        let now = now.plus_millis(10);
        let next = || outbox.next(now).map(|(id, _)| id.to_string());
        assert_eq!([next(), next(), next()], [Ok("a0".to_owned()), Ok("b".to_owned()), Ok("a1".to_owned())]);
        while next().is_ok() {}
        assert_eq!(outbox.list.lock().busy.len(), 1 + DELIVERIES_PER_OWNER_MAX);
        assert_eq!(outbox.pending(Some(&Id::new("ada").unwrap())), 10);
        outbox.done(&Id::new("a0").unwrap(), None);
        assert_eq!(next(), Ok("a4".to_owned()));
    }
}
