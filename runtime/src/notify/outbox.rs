//! Messages on their way. What is to be sent stands in the records; here is only when to look at which.
//!
//! Of several nodes one sends: it writes its claim into the record first, for longer than an attempt takes. A node that dies with a claim
//! leaves it to whoever finds that its time is over.

use super::{Inner, Notification, NotifyError, Refusal, Sending, Social};
use crate::{
    clock,
    model::{
        Id, Micros,
        limit::{DELIVERIES_MAX, DELIVERY_ATTEMPTS_MAX, DELIVERY_SECONDS_MAX, SOCIALS_KEPT_PER_OWNER_MAX},
    },
    records::{Changes, RecordsError},
    telemetry::chain,
};
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};
use tokio::sync::Notify as Bell;
use tokio_util::sync::CancellationToken;

/// How long a node has a message for itself: an attempt, and the change after it.
pub(super) const CLAIM_MILLIS: u64 = 2 * DELIVERY_SECONDS_MAX * 1_000;
/// How often the records are looked through for what nobody needs any more.
const TIDY_EVERY: Duration = Duration::from_secs(300);
/// Messages deleted in one change.
const TIDY_MAX: usize = 500;
/// A wait without end is no wait that a timer takes.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

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
    fn after(&self, attempts: u32) -> Duration {
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
    fn next(&self, now: Micros) -> Result<(Id, bool), Option<Duration>> {
        let mut list = self.list.lock();
        let next = list.due.iter().find(|(_, id)| !list.busy.contains(id)).cloned();
        match next {
            Some((due, id)) if due <= now => {
                list.busy.insert(id.clone());
                let ours = list.all.get_mut(&id).is_some_and(|line| std::mem::take(&mut line.ours));
                Ok((id, ours))
            }
            Some((due, _)) => Err(Some(Duration::from_millis(due.millis_since(now) + 1).min(WAIT_MAX))),
            None => Err(None),
        }
    }

    fn done(&self, id: &Id, social: Option<&Social>) {
        let mut list = self.list.lock();
        list.busy.remove(id);
        list.put(id, social.map(|social| Line::of(social, false, self.pace.is_alone)));
    }

    /// Not now: the ledger did not take it, say.
    fn postpone(&self, id: &Id, until: Micros) {
        let mut list = self.list.lock();
        list.busy.remove(id);
        let line = list.all.get(id).filter(|line| line.due.is_some());
        let line = line.map(|line| Line { owner: line.owner.clone(), created: line.created, due: Some(until), ours: false });
        if let Some(line) = line {
            list.put(id, Some(line));
        }
    }

    /// Messages that are sent or given up, beyond what is kept of each owner.
    fn old(&self) -> Vec<Id> {
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

impl Inner {
    /// Sends what is due until the shutdown; attempts under way then are begun again after the next start.
    pub(super) async fn deliver(&self, shutdown: CancellationToken) {
        let mut under_way = FuturesUnordered::new();
        let mut tidy = tokio::time::interval(TIDY_EVERY);
        while !shutdown.is_cancelled() {
            let wait = loop {
                if under_way.len() >= DELIVERIES_MAX {
                    break None;
                }
                match self.outbox.next(clock::now()) {
                    Ok((id, ours)) => under_way.push(self.attempt(id, ours)),
                    Err(wait) => break wait,
                }
            };
            tokio::select! {
                Some(()) = under_way.next() => {}
                () = self.outbox.bell.notified() => {}
                () = tokio::time::sleep(wait.unwrap_or(WAIT_MAX)) => {}
                _ = tidy.tick() => self.tidy().await,
                () = shutdown.cancelled() => {}
            }
        }
    }

    async fn attempt(&self, id: Id, ours: bool) {
        if let Err(error) = self.try_once(&id, ours).await {
            tracing::warn!(%id, error = chain(&error), "a message could not be sent, or whether it was could not be stored");
            self.outbox.postpone(&id, clock::now().plus_millis(CLAIM_MILLIS));
        }
    }

    async fn try_once(&self, id: &Id, ours: bool) -> Result<(), NotifyError> {
        let claimed = match ours {
            true => self.records.get::<Social>(&Social::key(id))?.filter(|social| social.status == Sending::Pending),
            false => self.claim(id).await?,
        };
        let Some(social) = claimed else {
            let stored = self.records.get::<Social>(&Social::key(id))?;
            self.outbox.done(id, stored.as_ref());
            return Ok(());
        };
        let sent = self.channels.send(&social).await;
        if let Err(refusal) = &sent {
            tracing::info!(%id, channel = social.channel, why = refusal.why, "a message was not taken");
        }
        let after = self.settle(id, &sent).await?;
        self.outbox.done(id, after.as_ref());
        Ok(())
    }

    /// The message, if it is to be sent and no other node is at it.
    async fn claim(&self, id: &Id) -> Result<Option<Social>, NotifyError> {
        let (now, key) = (clock::now(), Social::key(id));
        let claim = |changes: &mut Changes| {
            let is_free = |social: &Social| social.claimed_until <= now || self.outbox.pace.is_alone;
            let free = |social: &Social| social.status == Sending::Pending && is_free(social) && social.next_attempt <= now;
            let Some(mut social) = self.records.get::<Social>(&key)?.filter(free) else { return Ok(None) };
            social.claimed_until = now.plus_millis(CLAIM_MILLIS);
            changes.put(key.clone(), &social)?;
            Ok::<_, RecordsError>(Some(social))
        };
        Ok(self.records.change(now, claim).await?)
    }

    /// What became of an attempt, in the message and in its notification; none: the message was deleted meanwhile.
    async fn settle(&self, id: &Id, sent: &Result<Option<u16>, Refusal>) -> Result<Option<Social>, NotifyError> {
        let now = clock::now();
        let settle = |changes: &mut Changes| {
            let Some(stored) = self.records.get::<Social>(&Social::key(id))? else { return Ok(None) };
            let after = after(stored, sent, self.outbox.pace, now);
            let notification = after.notification.as_ref().map(|id| self.records.get::<Notification>(&Notification::key(id)));
            if let Some(mut notification) = notification.transpose()?.flatten() {
                tell(&mut notification, sent, now);
                changes.put(Notification::key(&notification.id), &notification)?;
            }
            changes.put(Social::key(id), &after)?;
            Ok::<_, RecordsError>(Some(after))
        };
        Ok(self.records.change(now, settle).await?)
    }

    async fn tidy(&self) {
        let old = self.outbox.old();
        for some in old.chunks(TIDY_MAX) {
            let delete = |changes: &mut Changes| {
                some.iter().for_each(|id| changes.delete(Social::key(id)));
                Ok::<(), RecordsError>(())
            };
            match self.records.change(clock::now(), delete).await {
                Ok(()) => some.iter().for_each(|id| self.outbox.set(id, None)),
                Err(error) => tracing::warn!(error = chain(&error), "old messages stay for now"),
            }
        }
    }
}

fn after(mut social: Social, sent: &Result<Option<u16>, Refusal>, pace: Pace, now: Micros) -> Social {
    social.attempts += 1;
    social.claimed_until = now;
    match sent {
        Ok(code) => (social.status, social.code, social.error, social.date_ended) = (Sending::Sent, *code, None, Some(now)),
        Err(refusal) => {
            (social.error, social.code) = (Some(refusal.why.clone()), refusal.code);
            let wait = u64::try_from(pace.after(social.attempts).as_millis()).unwrap_or(u64::MAX);
            social.next_attempt = now.plus_millis(wait);
            if refusal.is_final || social.attempts >= DELIVERY_ATTEMPTS_MAX {
                (social.status, social.date_ended) = (Sending::Failed, Some(now));
            }
        }
    }
    social
}

fn tell(notification: &mut Notification, sent: &Result<Option<u16>, Refusal>, now: Micros) {
    let state = &mut notification.state;
    match sent {
        Ok(code) => (state.last_success, state.last_success_code) = (Some(now), *code),
        Err(refusal) => (state.last_failure, state.last_failure_reason) = (Some(now), Some(refusal.why.clone())),
    }
}
