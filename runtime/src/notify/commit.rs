//! What fires, made durable: decided again on what is stored, and written in one step with what comes of it.

use super::{
    Action, Inner, Notification, NotifyError, Social,
    fire::{Candidate, Fired, Leave, fire},
    outbox,
    wish::recipients,
};
use crate::{
    clock, fault,
    identity::Deed,
    model::{
        Id, Micros, NewEvent,
        limit::{RECIPIENTS_MAX, SOCIALS_PENDING_PER_OWNER_MAX},
    },
    records::{Changes, RecordsError},
};
use std::collections::BTreeMap;

impl Inner {
    /// Makes what fired durable, in as few changes as the size of one allows.
    pub(super) async fn commit(&self, candidates: Vec<Candidate>) -> Result<(), NotifyError> {
        let mut rest = candidates.as_slice();
        while !rest.is_empty() {
            let (some, others) = rest.split_at(self.fit(rest));
            fault::point("notify");
            let socials = self.commit_some(some).await?;
            fault::point("notify");
            self.outbox.take(&socials);
            rest = others;
        }
        Ok(())
    }

    /// How many of them make no more messages than one may: at least one.
    fn fit(&self, candidates: &[Candidate]) -> usize {
        let mut left = RECIPIENTS_MAX;
        let fits = |candidate: &&Candidate| {
            let entry = self.index.read().get(&candidate.id);
            let messages = match entry.as_ref().map(|entry| &entry.notification.action) {
                Some(Action::SocialAction(action)) => recipients(&action.usernames, &action.channels).len(),
                _ => 1,
            };
            let is = messages <= left;
            left = left.saturating_sub(messages);
            is
        };
        candidates.iter().take_while(fits).count().max(1)
    }

    /// Decided on what is stored: another node may have been first, or somebody has changed his mind.
    async fn commit_some(&self, candidates: &[Candidate]) -> Result<Vec<Social>, NotifyError> {
        let now = clock::now();
        let decide = |changes: &mut Changes| {
            let mut after: BTreeMap<Id, Notification> = BTreeMap::new();
            let mut socials = Vec::new();
            for candidate in candidates {
                let stored = match after.remove(&candidate.id) {
                    Some(known) => Some(known),
                    None => self.records.get::<Notification>(&Notification::key(&candidate.id))?,
                };
                let Some(stored) = stored else { continue };
                let due = stored.date_modified == candidate.modified && stored.is_due(candidate.event.seq, candidate.event.received);
                let Fired { notification, socials: made, command } = match due {
                    true => fire(&stored, candidate, &self.leave(&stored, socials.len(), now)),
                    false => Fired { notification: stored, socials: Vec::new(), command: None },
                };
                if due {
                    changes_of(changes, &notification, &made, command)?;
                }
                socials.extend(made);
                after.insert(candidate.id.clone(), notification);
            }
            Ok::<_, RecordsError>(socials)
        };
        Ok(self.records.change(now, decide).await?)
    }

    fn leave(&self, notification: &Notification, more: usize, now: Micros) -> Leave {
        let on_the_way = self.outbox.pending(notification.owner.as_ref()) + more;
        Leave {
            command: self.may_command(notification),
            messages: SOCIALS_PENDING_PER_OWNER_MAX.saturating_sub(on_the_way),
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

fn changes_of(
    changes: &mut Changes,
    notification: &Notification,
    socials: &[Social],
    command: Option<NewEvent>,
) -> Result<(), RecordsError> {
    changes.put(Notification::key(&notification.id), notification)?;
    for social in socials {
        changes.put(Social::key(&social.id), social)?;
    }
    if let Some(command) = command {
        changes.event(command);
    }
    Ok(())
}
