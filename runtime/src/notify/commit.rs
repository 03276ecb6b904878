//! What fires, made durable: decided again on what is stored, and written in one step with what comes of it.

use super::{
    Action, Inner, Notification, NotifyError, Social,
    fire::{Candidate, Fired, Leave, fail, fire},
    outbox,
};
use crate::{
    clock, fault,
    identity::Deed,
    model::{
        Id, Micros,
        limit::{FIRING_BYTES_MAX, SOCIALS_PENDING_PER_OWNER_MAX},
    },
    records::{Changes, RecordsError, WRITES_MAX},
    telemetry::chain,
};
use std::collections::{BTreeMap, BTreeSet};

/// Below this much room the log is not asked whether it takes a message: it takes the state of a notification, or nothing.
const ROOM_BYTES_MIN: usize = 16 * 1024;

/// What one change came to.
#[derive(Default)]
struct Made {
    /// Candidates that are settled.
    settled: usize,
    socials: Vec<Social>,
    /// As they are stored now; none: it is gone.
    notifications: BTreeMap<Id, Option<Notification>>,
    /// Those that are not as they were when they were looked at.
    other: BTreeSet<Id>,
    changes: Changes,
}

impl Inner {
    /// Makes what fired durable, in as few changes as the size of one allows. What comes back has to be looked at again: another node
    /// was first with it, or somebody has changed it, so what it was found to fire may be too much or too little.
    pub(super) async fn commit(&self, candidates: &[Candidate]) -> Result<BTreeSet<Id>, NotifyError> {
        let (mut rest, mut room, mut again) = (candidates, FIRING_BYTES_MAX, BTreeSet::new());
        while let Some(first) = rest.first() {
            fault::point("notify");
            let some = match self.commit_some(rest, room, &again).await {
                Ok(some) => some,
                Err(error) if !error.is_too_large() => return Err(error.into()),
                // The same once more would be refused once more, and nobody would be told anything any more. With no room every message is
                // too large, which the notification says.
                Err(_) if room > 0 => {
                    room = if room < ROOM_BYTES_MIN { 0 } else { room / 4 };
                    continue;
                }
                Err(error) => {
                    tracing::warn!(notification = %first.id, error = chain(&error), "the log does not take what became of a notification: it is left out");
                    Made { settled: 1, ..Made::default() }
                }
            };
            fault::point("notify");
            self.outbox.take(&some.socials);
            self.learn(some.notifications);
            again.extend(some.other);
            rest = rest.get(some.settled..).unwrap_or_default();
            room = FIRING_BYTES_MAX;
        }
        Ok(again)
    }

    /// At once, and not when the log tells it: the next readings are looked at before. A change that came after this one is told by the log.
    fn learn(&self, notifications: BTreeMap<Id, Option<Notification>>) {
        let mut index = self.index.write();
        notifications.into_iter().for_each(|(id, stored)| index.set(&id, stored));
    }

    /// Decided on what is stored: another node may have been first, or somebody has changed his mind. At least one candidate is settled.
    async fn commit_some(&self, candidates: &[Candidate], room: usize, again: &BTreeSet<Id>) -> Result<Made, RecordsError> {
        let now = clock::now();
        let decide = |changes: &mut Changes| {
            let mut made = Made::default();
            for candidate in candidates {
                if again.contains(&candidate.id)
                    || made.other.contains(&candidate.id)
                    || self.settle_one(candidate, room, &mut made, now)?
                {
                    made.settled += 1;
                } else {
                    break;
                }
            }
            changes.append(std::mem::take(&mut made.changes));
            Ok::<_, RecordsError>(made)
        };
        self.records.change(now, decide).await
    }

    /// False when there is no room for it beside what is there.
    fn settle_one(&self, candidate: &Candidate, room: usize, made: &mut Made, now: Micros) -> Result<bool, RecordsError> {
        let stored = match made.notifications.get(&candidate.id) {
            Some(known) => known.clone(),
            None => self.records.get::<Notification>(&Notification::key(&candidate.id))?,
        };
        let fires = |stored: &Notification| {
            stored.date_modified == candidate.modified && stored.is_due(candidate.event.seq, candidate.event.received)
        };
        let Some(stored) = stored.clone().filter(fires) else {
            if stored.is_some() {
                made.other.insert(candidate.id.clone());
            }
            made.notifications.insert(candidate.id.clone(), stored);
            return Ok(true);
        };
        let mut fired = fire(&stored, candidate, &self.leave(&stored, &made.socials, now));
        let mut changes = changes_of(&fired)?;
        if changes.size_bytes() > room {
            let why = format!("its messages, or its command, are too large for one step of the log: {} bytes", changes.size_bytes());
            fired = fail(&stored, candidate, now, why);
            changes = changes_of(&fired)?;
        }
        let is_full = made.changes.size_bytes() + changes.size_bytes() > room || made.changes.len() + changes.len() > WRITES_MAX;
        if is_full && !made.changes.is_empty() {
            return Ok(false);
        }
        made.changes.append(changes);
        made.socials.extend(fired.socials);
        made.notifications.insert(candidate.id.clone(), Some(fired.notification));
        Ok(true)
    }

    /// `more`: not in the outbox yet.
    fn leave(&self, notification: &Notification, more: &[Social], now: Micros) -> Leave {
        let owner = notification.owner.as_ref();
        let more = more.iter().filter(|social| social.owner.as_ref() == owner).count();
        Leave {
            command: self.may_command(notification),
            messages: SOCIALS_PENDING_PER_OWNER_MAX.saturating_sub(self.outbox.pending(owner) + more),
            now,
            claimed_until: now.plus_millis(outbox::CLAIM_MILLIS),
        }
    }

    /// Asked at the firing, in the owner's name as it is then.
    fn may_command(&self, notification: &Notification) -> Result<(), String> {
        let Action::ActuationAction(action) = &notification.action else { return Ok(()) };
        let owner = self.acting(notification.owner.as_ref()).ok_or("its owner is gone")?;
        match self.may(&owner, Deed::CreateData, &action.device_id) {
            true => Ok(()),
            false => Err(format!("its owner may not command the device `{}`", action.device_id)),
        }
    }
}

fn changes_of(Fired { notification, socials, command }: &Fired) -> Result<Changes, RecordsError> {
    let mut changes = Changes::default();
    changes.put(Notification::key(&notification.id), notification)?;
    for social in socials {
        changes.put(Social::key(&social.id), social)?;
    }
    if let Some(command) = command {
        changes.event(command.clone());
    }
    Ok(changes)
}
