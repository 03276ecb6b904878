//! The loop that follows the log: readings are looked at, what they fire is made durable, and only then counts as looked at.

use super::{
    Action, Inner, Name, Notification, Notify, NotifyError, Operand, POSITION, Social,
    fire::{Candidate, Fired, Leave, fire},
    index::Entry,
    outbox, place,
    wish::recipients,
};
use crate::{
    clock, fault,
    identity::Deed,
    ledger::{Commit, Op},
    model::{
        Event, Id, Kind, Micros, Seq, Value, Write,
        limit::{RECIPIENTS_MAX, SOCIALS_PENDING_PER_OWNER_MAX},
    },
    records::{Changes, RecordsError, Space},
    telemetry::chain,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const STEP_EVENTS: usize = 8_192;
const STEP_BYTES: usize = 4 << 20;
/// The time between two notes of how far the log was read. A crash costs reading so much of it again: what has fired does not fire again.
const NOTE_EVERY: Duration = Duration::from_secs(2);
/// The same on a node without notifications: whose are made later begin with what comes then.
const NOTE_EVERY_IDLE: Duration = Duration::from_secs(60);
/// How long events are let gather before they are looked at.
const GATHER: Duration = Duration::from_millis(20);
/// Pauses after an error, doubled from the first to the last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);

enum Next {
    Now,
    /// When the log has grown, and after this at the latest.
    Grown(Duration),
    Pause(Duration),
}

/// What sensors said last, of those that somebody asks for: as of the event that is looked at, which the projection may be ahead of.
pub(super) type Recent = HashMap<(Id, Id), Value>;

impl Notify {
    /// Follows and sends until the shutdown. What fails is tried again.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::join!(self.follow(shutdown.clone()), self.0.deliver(shutdown));
    }

    async fn follow(&self, shutdown: CancellationToken) {
        let mut head = self.0.ledger.head();
        let (mut pause, mut noted, mut recent) = (RETRY_FIRST, None, Recent::new());
        while !shutdown.is_cancelled() {
            head.borrow_and_update();
            // A commit under way is not given up: whether it counts would not be known.
            let next = match self.step_and_note(&mut recent, &mut noted).await {
                Ok(next) => {
                    self.0.standing.is_well();
                    pause = RETRY_FIRST;
                    next
                }
                Err(error) => {
                    self.0.standing.fails(chain(&error));
                    tracing::warn!(error = chain(&error), "the notifications wait {pause:?} and try again");
                    let next = Next::Pause(pause);
                    pause = (pause * 2).min(RETRY_LAST);
                    next
                }
            };
            let wait = async {
                match next {
                    Next::Now => {}
                    Next::Grown(most) => drop(tokio::time::timeout(most, grown(&mut head)).await),
                    Next::Pause(time) => tokio::time::sleep(time).await,
                }
            };
            tokio::select! {
                () = wait => {}
                () = shutdown.cancelled() => {}
            }
        }
        if let Err(error) = self.note(self.position()).await {
            tracing::warn!(error = chain(&error), "readings that were looked at are looked at again after the next start");
        }
    }

    async fn step_and_note(&self, recent: &mut Recent, noted: &mut Option<(Seq, Instant)>) -> Result<Next, NotifyError> {
        let more = self.step(recent).await?;
        let position = self.position();
        let every = if self.0.index.read().is_empty() { NOTE_EVERY_IDLE } else { NOTE_EVERY };
        if noted.is_none_or(|(seq, at)| seq != position && at.elapsed() >= every) {
            self.note(position).await?;
            *noted = Some((position, Instant::now()));
        }
        let is_noted = noted.is_some_and(|(seq, _)| seq == position);
        Ok(match (more, is_noted) {
            (true, _) => Next::Now,
            (false, true) => Next::Grown(Duration::from_secs(3_600)),
            (false, false) => Next::Grown(every),
        })
    }

    /// One batch of the log. True when there is more.
    pub(super) async fn step(&self, recent: &mut Recent) -> Result<bool, NotifyError> {
        let (inner, from) = (self.0.clone(), self.position() + 1);
        let head = *inner.ledger.head().borrow();
        if from > head {
            return Ok(false);
        }
        let mut known = std::mem::take(recent);
        let looked = tokio::task::spawn_blocking(move || {
            let events = inner.ledger.events(from, STEP_EVENTS, STEP_BYTES)?;
            let candidates = inner.look(&events, &mut known)?;
            Ok::<_, NotifyError>((candidates, events.last().map_or(head, |event| event.seq), known))
        });
        let (candidates, last, known) = looked.await??;
        *recent = known;
        self.0.commit(candidates).await?;
        self.0.position.store(last, Ordering::Release);
        Ok(last < head)
    }

    /// Notes how far the log was read. Any node's note is right for all: what lies before it was looked at, and what that fired is durable.
    pub(super) async fn note(&self, position: Seq) -> Result<(), NotifyError> {
        let value = serde_json::to_vec(&position).unwrap_or_default();
        let commit = Commit {
            app: place(&self.0.tenant),
            base: None,
            done: Vec::new(),
            writes: vec![Write { key: POSITION.to_owned(), value: Some(value.into()) }],
            events: Vec::new(),
            park: Vec::new(),
            unpark: Vec::new(),
            dead: Vec::new(),
            dedup: None,
        };
        self.0.ledger.apply(Op::Commit(commit)).await?;
        Ok(())
    }
}

impl Inner {
    /// What the events of a batch fire, as far as this node knows.
    fn look(&self, events: &[Arc<Event>], recent: &mut Recent) -> Result<Vec<Candidate>, NotifyError> {
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut fired: HashMap<Id, Notification> = HashMap::new();
        for event in events.iter().filter(|event| event.tenant == self.tenant) {
            match (event.kind, &event.device, &event.sensor) {
                (Kind::Registry, ..) => self.refresh(event)?,
                (Kind::Reading, Some(device), Some(sensor)) => {
                    let index = self.index.read();
                    if index.names(device, sensor) {
                        recent.insert((device.clone(), sensor.clone()), event.value.clone());
                    }
                    let entries = index.of(device, sensor);
                    drop(index);
                    for entry in entries {
                        let now = fired.entry(entry.notification.id.clone()).or_insert_with(|| entry.notification.clone());
                        if now.is_due(event.seq, event.received)
                            && let Some(values) = self.meets(&entry, event, device, recent)
                        {
                            (now.state.last_seq, now.state.last_notif) = (event.seq, Some(event.received));
                            let (id, modified) = (entry.notification.id.clone(), entry.notification.date_modified);
                            candidates.push(Candidate { id, modified, event: event.clone(), values });
                        }
                    }
                }
                _ => {}
            }
        }
        let index = self.index.read();
        recent.retain(|(device, sensor), _| index.names(device, sensor));
        Ok(candidates)
    }

    /// The values that a notification asked for, if they meet its condition and its owner may see them.
    fn meets(&self, entry: &Entry, event: &Event, device: &Id, recent: &Recent) -> Option<BTreeMap<Name, Value>> {
        let owner = self.acting(entry.notification.owner.as_ref())?;
        if !entry.devices(device).iter().all(|device| self.may(&owner, Deed::ViewData, device)) {
            return None;
        }
        let value = |name: &Name| {
            let of = name.device.as_ref().unwrap_or(device);
            if of == device && event.sensor.as_ref() == Some(&name.sensor) {
                return Some(event.value.clone());
            }
            let known = recent.get(&(of.clone(), name.sensor.clone())).cloned();
            known.or_else(|| (self.lookup.current)(of, &name.sensor, event.seq))
        };
        let values: BTreeMap<Name, Value> = entry.names.iter().filter_map(|name| Some((name.clone(), value(name)?))).collect();
        entry.expression.is_met(|name| values.get(name).and_then(Operand::of)).then_some(values)
    }

    /// What was changed, here or on another node.
    fn refresh(&self, event: &Event) -> Result<(), NotifyError> {
        for key in Space::Devices.changed(event).unwrap_or_default() {
            if let Some(id) = key.strip_prefix(Notification::PREFIX).and_then(|id| Id::new(id).ok()) {
                let found = self.records.get::<Notification>(&key)?;
                self.index.write().set(&id, found);
            } else if let Some(id) = key.strip_prefix(Social::PREFIX).and_then(|id| Id::new(id).ok()) {
                let found = self.records.get::<Social>(&key)?;
                self.outbox.set(&id, found.as_ref());
            }
        }
        Ok(())
    }

    /// Makes what fired durable, in as few changes as the size of one allows.
    async fn commit(&self, candidates: Vec<Candidate>) -> Result<(), NotifyError> {
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
    command: Option<crate::model::NewEvent>,
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

/// Waits until the log has grown and a batch has gathered.
async fn grown(head: &mut watch::Receiver<Seq>) {
    // An error means that the ledger is gone: then nothing comes any more.
    if head.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(GATHER).await;
}
