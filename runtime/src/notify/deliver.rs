//! Messages are sent: claimed, tried, and what became of it noted in the message and its notification.

use super::{
    Inner, Notification, NotifyError, Pace, Refusal, Sending, Social,
    outbox::{CLAIM_MILLIS, outlasts},
};
use crate::{
    clock,
    model::{
        Id, Micros,
        limit::{DELIVERIES_MAX, DELIVERY_ATTEMPTS_MAX},
    },
    records::{Changes, RecordsError},
    telemetry::chain,
};
use futures::stream::{FuturesUnordered, StreamExt};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the records are looked through for what nobody needs any more.
const TIDY_EVERY: Duration = Duration::from_secs(300);
/// Messages deleted in one change.
const TIDY_MAX: usize = 500;
/// A wait without end is no wait that a timer takes.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

impl Inner {
    /// Sends what is due until the shutdown. Attempts under way then are ended, as long as the shutdown waits: what was sent and not noted would
    /// be sent again.
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
                () = self.outbox.changed() => {}
                () = tokio::time::sleep(wait.unwrap_or(WAIT_MAX).min(WAIT_MAX)) => {}
                _ = tidy.tick() => self.tidy().await,
                () = shutdown.cancelled() => {}
            }
        }
        while under_way.next().await.is_some() {}
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
        // The change that claimed it may have taken its time.
        if !outlasts(social.claimed_until, clock::now()) && !self.outbox.pace().is_alone {
            self.outbox.done(id, Some(&social));
            return Ok(());
        }
        let sent = self.channels.send(&social).await;
        if let Err(refusal) = &sent {
            tracing::info!(%id, channel = social.channel, why = refusal.why, "a message was not taken");
        }
        let after = self.settle(id, &sent).await?;
        self.outbox.done(id, after.as_ref());
        Ok(())
    }

    /// The message, if it is to be sent and no other node is at it.
    pub(super) async fn claim(&self, id: &Id) -> Result<Option<Social>, NotifyError> {
        let (now, key) = (clock::now(), Social::key(id));
        let claim = |changes: &mut Changes| {
            let is_free = |social: &Social| social.claimed_until <= now || self.outbox.pace().is_alone;
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
            if stored.status == Sending::Sent {
                return Ok(Some(stored));
            }
            let after = after(stored, sent, self.outbox.pace(), now);
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
