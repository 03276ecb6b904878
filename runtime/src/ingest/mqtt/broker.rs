//! Everybody who is connected, and what each of them is to get.

use super::{
    Settings,
    door::{Door, Known, may_view},
    packet::Wish,
    session::{Key, Kick, Message, Parcel, Session, Subscription},
    store::{Kept, Store},
    topic::{self, Filter},
    tree::Tree,
};
use crate::{
    clock,
    devices::Devices,
    ingest::Ingest,
    ledger::{Ledger, LedgerError},
    model::{
        Event, Kind, Seq, Value,
        limit::{MQTT_PUBLISHES_BYTES_MAX, MQTT_PUBLISHES_MAX, MQTT_SESSIONS_MAX},
    },
    telemetry::Metrics,
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap, hash_map},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

/// How long a client's new connection waits for the end of its old one: longer than a delivery takes to become durable.
const TAKEOVER_WAIT: Duration = Duration::from_secs(10);

pub struct Broker {
    pub door: Door,
    pub ingest: Ingest,
    pub store: Store,
    pub ledger: Ledger,
    pub devices: Devices,
    pub metrics: Metrics,
    pub settings: Settings,
    /// Publishes of all clients that are not durable yet.
    pub publishes: Semaphore,
    pub publish_bytes: Semaphore,
    /// Bytes of packets that have not come whole.
    pub buffered: Arc<AtomicUsize>,
    /// Sessions that are kept, as far as is known.
    pub kept: AtomicUsize,
    inner: Mutex<Inner>,
}

struct Inner {
    tree: Tree<Entry>,
    sessions: HashMap<Key, Arc<Session>>,
    /// The next event for everybody who is live.
    next: Seq,
    /// Whose turn it is in each group.
    turns: HashMap<Arc<str>, usize>,
}

#[derive(Clone)]
struct Entry {
    session: Arc<Session>,
    qos: u8,
    share: Option<Arc<str>>,
}

/// Why a client can't have its session.
#[derive(Debug)]
pub enum NotNow {
    /// Its old connection does not end, or too many are kept.
    Busy,
    Ledger(LedgerError),
}

impl Broker {
    pub fn new(door: Door, ingest: Ingest, ledger: Ledger, devices: Devices, metrics: Metrics, settings: Settings) -> Broker {
        let next = *ledger.head().borrow() + 1;
        let inner = Inner { tree: Tree::default(), sessions: HashMap::new(), next, turns: HashMap::new() };
        Broker {
            door,
            ingest,
            store: Store::new(ledger.clone()),
            ledger,
            devices,
            metrics,
            settings,
            publishes: Semaphore::new(MQTT_PUBLISHES_MAX),
            publish_bytes: Semaphore::new(MQTT_PUBLISHES_BYTES_MAX),
            buffered: Arc::default(),
            kept: AtomicUsize::new(0),
            inner: Mutex::new(inner),
        }
    }

    /// The session of a client that has shown who it is, and whether something was kept of it.
    pub async fn admit(&self, key: Key, known: Known, clean: bool, expiry: u32) -> Result<(Arc<Session>, bool), NotNow> {
        let session = Arc::new(Session::new(key.clone(), known, expiry));
        loop {
            let before = match self.inner.lock().sessions.entry(key.clone()) {
                hash_map::Entry::Occupied(before) => before.get().clone(),
                hash_map::Entry::Vacant(place) => {
                    place.insert(session.clone());
                    break;
                }
            };
            before.kick(Kick::TakenOver);
            tokio::time::timeout(TAKEOVER_WAIT, before.gone.cancelled()).await.map_err(|_| NotNow::Busy)?;
        }
        self.metrics.mqtt_clients.inc();
        match self.restore(&session, clean).await {
            Ok(present) => Ok((session, present)),
            Err(error) => {
                self.remove(&session);
                Err(error)
            }
        }
    }

    async fn restore(&self, session: &Arc<Session>, clean: bool) -> Result<bool, NotNow> {
        let (store, key) = (self.store.clone(), session.key.clone());
        let (kept, received) = blocking(move || Ok((store.session(&key)?, store.received(&key)?))).await.map_err(NotNow::Ledger)?;
        let exists = kept.is_some() || !received.is_empty();
        if let Some(kept) = kept.filter(|kept| !clean && !kept.is_over(clock::now())) {
            self.resume(session, kept).await.map_err(NotNow::Ledger)?;
            return Ok(true);
        }
        if exists {
            self.store.forget(&session.key, &received).await.map_err(NotNow::Ledger)?;
        }
        if session.keeps() {
            if self.kept.load(Ordering::Relaxed) >= MQTT_SESSIONS_MAX {
                return Err(NotNow::Busy);
            }
            self.kept.fetch_add(1, Ordering::Relaxed);
            self.keep(session).await.map_err(NotNow::Ledger)?;
        }
        Ok(false)
    }

    async fn resume(&self, session: &Arc<Session>, kept: Kept) -> Result<(), LedgerError> {
        // Whatever the connection before had under way has come to an end in the log before this has.
        self.store.keep(&session.key, &kept.seen_at(clock::now())).await?;
        let (store, ledger, key, seqs) = (self.store.clone(), self.ledger.clone(), session.key.clone(), kept.inflight.clone());
        let (received, events) = blocking(move || {
            let events = seqs.iter().map(|(pid, seq)| Ok((*pid, ledger.event(*seq)?)));
            Ok((store.received(&key)?, events.collect::<Result<Vec<_>, LedgerError>>()?))
        })
        .await?;
        let parcel = |(pid, event): (u16, Option<Arc<Event>>)| {
            let message = Arc::new(Message::of(&*event?)?);
            Some((pid, Parcel { message, qos: 1, retain: false, share: None, again: true }))
        };
        let mut state = session.state.lock();
        state.resume(events.into_iter().filter_map(parcel).collect());
        state.received = received;
        state.subscriptions = kept.subscriptions();
        for subscription in kept.subscriptions() {
            state.scan(&subscription, false);
        }
        state.behind = Some(kept.next);
        drop(state);
        // Shared ones are live at once: what came meanwhile went to others of the group.
        self.enter(&mut self.inner.lock(), session, true);
        Ok(())
    }

    /// Takes a connection's session away when all of it has ended, and keeps what is to be kept.
    pub async fn release(&self, session: &Arc<Session>) {
        let next = {
            let mut inner = self.inner.lock();
            self.leave(&mut inner, session);
            inner.next
        };
        let kept = session.kept(next, clock::now());
        for parcel in session.unshared() {
            self.share(&mut self.inner.lock(), parcel);
        }
        let stored = match session.keeps() {
            true => self.store.keep(&session.key, &kept).await,
            false => Ok(()),
        };
        if let Err(error) = stored {
            tracing::warn!(%error, client = %session.key.client, "how far a client has read could not be stored; it will get some of it again");
        }
        self.remove(session);
    }

    fn remove(&self, session: &Arc<Session>) {
        self.inner.lock().sessions.remove(&session.key);
        self.metrics.mqtt_clients.dec();
        session.gone.cancel();
    }

    /// Makes durable what is kept of a client that is connected.
    pub async fn keep(&self, session: &Session) -> Result<(), LedgerError> {
        let next = self.inner.lock().next;
        self.store.keep(&session.key, &session.kept(next, clock::now())).await
    }

    /// What each filter was granted; none for what is no filter, or one too many.
    pub fn subscribe(&self, session: &Arc<Session>, wishes: &[Wish]) -> Vec<Option<u8>> {
        let granted = wishes.iter().map(|wish| {
            let filter = Filter::new(&wish.filter)?;
            let mut inner = self.inner.lock();
            let qos = wish.qos.min(1);
            let subscription = Subscription { filter, qos, since: inner.next - 1 };
            let (new, is_live) = {
                let mut state = session.state.lock();
                (state.subscribe(subscription.clone(), wish.retained)?, state.behind.is_none())
            };
            if is_live || subscription.filter.is_shared() {
                if !new {
                    inner.tree.remove(subscription.filter.levels(), |e| is_of(e, session, &subscription.filter));
                }
                insert(&mut inner.tree, session, &subscription);
            }
            Some(qos)
        });
        let granted = granted.collect();
        session.wake.notify_one();
        granted
    }

    pub fn unsubscribe(&self, session: &Arc<Session>, filters: &[Arc<str>]) -> Vec<bool> {
        let mut inner = self.inner.lock();
        let mut state = session.state.lock();
        let gone = filters.iter().map(|text| {
            let Some(place) = state.subscriptions.iter().position(|s| s.filter.text == *text) else { return false };
            let subscription = state.subscriptions.remove(place);
            state.scans.retain(|scan| scan.filter.text != *text);
            inner.tree.remove(subscription.filter.levels(), |e| is_of(e, session, &subscription.filter));
            true
        });
        gone.collect()
    }

    /// Gives events, in the order of the log, to everybody who is live.
    pub fn publish(&self, events: &[Arc<Event>]) {
        let mut inner = self.inner.lock();
        for event in events {
            inner.next = event.seq + 1;
            if inner.tree.is_empty() {
                continue;
            }
            let Some(topic) = topic::of(event) else { continue };
            let mut hits: Vec<Entry> = Vec::new();
            inner.tree.each(&topic, |entry| hits.push(entry.clone()));
            if !hits.is_empty() {
                self.give(&mut inner, event, hits);
            }
        }
    }

    fn give(&self, inner: &mut Inner, event: &Event, hits: Vec<Entry>) {
        let Some(message) = Message::of(event) else { return };
        let owned = self.door.owned(&event.tenant, &message.device);
        let message = Arc::new(message);
        let (shared, mut own): (Vec<Entry>, Vec<Entry>) = hits.into_iter().partition(|entry| entry.share.is_some());
        // One copy for a client, however many of its filters match: with the best of what they were granted.
        own.sort_by_key(|entry| (Arc::as_ptr(&entry.session) as usize, std::cmp::Reverse(entry.qos)));
        own.dedup_by_key(|entry| Arc::as_ptr(&entry.session) as usize);
        for entry in own.into_iter().filter(|entry| may_view(&entry.session.principal, &event.tenant, &message.device, &owned)) {
            let parcel = Parcel { message: message.clone(), qos: entry.qos, retain: false, share: None, again: false };
            let taken = entry.session.state.lock().offer(parcel);
            if !taken {
                self.leave_own(inner, &entry.session);
                entry.session.state.lock().fall_behind(event.seq);
            }
            entry.session.wake.notify_one();
        }
        let groups: BTreeSet<Arc<str>> = shared.into_iter().filter_map(|entry| entry.share).collect();
        for share in groups {
            let parcel = Parcel { message: message.clone(), qos: 1, retain: false, share: Some(share), again: false };
            self.share(inner, parcel);
        }
    }

    /// To one member of the group that has room, each in turn.
    fn share(&self, inner: &mut Inner, parcel: Parcel) {
        let Some(share) = parcel.share.clone() else { return };
        let mut members: Vec<Entry> = Vec::new();
        inner.tree.each(&parcel.message.topic, |entry| {
            if entry.share.as_ref() == Some(&share) {
                members.push(entry.clone());
            }
        });
        let owned = members.first().map(|entry| self.door.owned(&entry.session.key.tenant, &parcel.message.device));
        members.retain(|entry| {
            let (who, tenant) = (&entry.session.principal, &entry.session.key.tenant);
            owned.as_ref().is_some_and(|owned| may_view(who, tenant, &parcel.message.device, owned))
        });
        if members.is_empty() {
            return;
        }
        let turn = inner.turns.entry(share).or_default();
        *turn = turn.wrapping_add(1);
        let first = *turn % members.len();
        for entry in members[first..].iter().chain(&members[..first]) {
            if entry.session.state.lock().offer(Parcel { qos: entry.qos, ..parcel.clone() }) {
                entry.session.wake.notify_one();
                return;
            }
        }
        self.metrics.refuse("mqtt-share-full");
    }

    /// True when the session has read as far as everybody: from here on it is given what comes.
    pub fn catch_up(&self, session: &Arc<Session>, next: Seq) -> bool {
        let mut inner = self.inner.lock();
        if next < inner.next {
            session.state.lock().behind = Some(next);
            return false;
        }
        session.state.lock().behind = None;
        self.enter(&mut inner, session, false);
        true
    }

    fn enter(&self, inner: &mut Inner, session: &Arc<Session>, shared: bool) {
        let subscriptions = session.state.lock().subscriptions.clone();
        subscriptions.iter().filter(|s| s.filter.is_shared() == shared).for_each(|s| insert(&mut inner.tree, session, s));
    }

    fn leave(&self, inner: &mut Inner, session: &Arc<Session>) {
        let subscriptions = session.state.lock().subscriptions.clone();
        for s in &subscriptions {
            inner.tree.remove(s.filter.levels(), |entry| Arc::ptr_eq(&entry.session, session));
        }
    }

    fn leave_own(&self, inner: &mut Inner, session: &Arc<Session>) {
        let subscriptions = session.state.lock().subscriptions.clone();
        for s in subscriptions.iter().filter(|s| !s.filter.is_shared()) {
            inner.tree.remove(s.filter.levels(), |entry| is_of(entry, session, &s.filter));
        }
    }

    /// Ends the connections of those who may not stay.
    pub fn look_again(&self) {
        let sessions: Vec<Arc<Session>> = self.inner.lock().sessions.values().cloned().collect();
        sessions.iter().filter(|s| !(s.stays)()).for_each(|s| s.kick(Kick::Revoked));
    }

    pub fn next(&self) -> Seq {
        self.inner.lock().next
    }
}

fn is_of(entry: &Entry, session: &Arc<Session>, filter: &Filter) -> bool {
    Arc::ptr_eq(&entry.session, session) && entry.share.as_deref() == filter.is_shared().then_some(&*filter.text)
}

fn insert(tree: &mut Tree<Entry>, session: &Arc<Session>, s: &Subscription) {
    let share = s.filter.is_shared().then(|| s.filter.text.clone());
    tree.insert(s.filter.levels(), Entry { session: session.clone(), qos: s.qos, share });
}

impl Message {
    /// None for an event that no topic is for.
    pub fn of(event: &Event) -> Option<Message> {
        let (topic, device) = (topic::of(event)?, event.device.clone()?);
        let (payload, command) = match event.kind {
            Kind::Command => commanded(&event.value),
            _ => (body(&event.value, event), None),
        };
        Some(Message { topic, payload, seq: event.seq, device, command })
    }
}

/// What the WAZIUP cloud publishes of a reading.
fn body(value: &Value, event: &Event) -> Bytes {
    let text = match value {
        Value::Json(text) => text.to_string(),
        value => value.to_json().to_string(),
    };
    format!(r#"{{"value":{text},"timestamp":"{}","date_received":"{}"}}"#, event.measured, event.received).into()
}

/// The value of a command alone, as devices expect it, and the command's id.
fn commanded(value: &Value) -> (Bytes, Option<Arc<str>>) {
    let json = value.to_json();
    let id = json.get("id").and_then(serde_json::Value::as_str).map(Arc::from);
    (json.get("value").map(ToString::to_string).unwrap_or_default().into(), id)
}

/// What reads the ledger, off the threads that serve.
pub async fn blocking<T: Send + 'static>(read: impl FnOnce() -> Result<T, LedgerError> + Send + 'static) -> Result<T, LedgerError> {
    tokio::task::spawn_blocking(read).await.unwrap_or(Err(LedgerError::Closed))
}
