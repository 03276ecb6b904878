//! Everybody who is connected, and what each of them is to get.

use super::{
    Settings,
    door::{Door, Known},
    ends::Ends,
    packet::Wish,
    session::{Key, Kick, Message, Parcel, Session, Subscription},
    shares::Shares,
    store::{Found, Kept, Store, StoreError, whose},
    topic::{self, Filter},
    tree::Tree,
};
use crate::{
    clock,
    devices::Devices,
    ingest::Ingest,
    ledger::{Ledger, LedgerError},
    model::{
        Event, Id, Kind, Micros, Seq, Tenant, Value,
        limit::{MQTT_PUBLISHES_BYTES_MAX, MQTT_PUBLISHES_MAX},
    },
    telemetry::Metrics,
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map},
    sync::{Arc, atomic::AtomicUsize},
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
    pub ends: Ends,
    /// Sessions that are kept, as far as is known.
    pub kept: Mutex<Shares>,
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
    /// Who it came as may not stay.
    Revoked,
    Stored(StoreError),
}

impl From<StoreError> for NotNow {
    fn from(error: StoreError) -> NotNow {
        NotNow::Stored(error)
    }
}

impl From<LedgerError> for NotNow {
    fn from(error: LedgerError) -> NotNow {
        NotNow::Stored(error.into())
    }
}

/// A client's place among those who are connected. It is given back whatever becomes of the connection: else nobody could come under its id again.
pub struct Place {
    broker: Arc<Broker>,
    pub session: Arc<Session>,
    /// It was said that the client is there.
    is_told: bool,
}

impl Place {
    pub fn client_came(&mut self) {
        self.is_told = true;
        (self.broker.door.connected)(&self.session.principal, &self.session.key.client, true);
    }

    /// Another connection of the client is there in its place.
    pub fn client_stays(&mut self) {
        self.is_told = false;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Place { broker, session, is_told } = self;
        {
            let mut inner = broker.inner.lock();
            broker.leave(&mut inner, session);
            inner.sessions.remove(&session.key);
        }
        broker.metrics.mqtt_clients.dec();
        session.gone.cancel();
        if *is_told {
            (broker.door.connected)(&session.principal, &session.key.client, false);
        }
    }
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
            ends: Ends::default(),
            kept: Mutex::default(),
            inner: Mutex::new(inner),
        }
    }

    /// The session of a client that has shown who it is, and whether something was kept of it.
    pub async fn admit(self: &Arc<Broker>, key: Key, known: Known, clean: bool, expiry: u32) -> Result<(Place, bool), NotNow> {
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
        let place = Place { broker: self.clone(), session: session.clone(), is_told: false };
        // Who was shut out before it was among those who are here was not found there.
        if !(session.stays)() {
            return Err(NotNow::Revoked);
        }
        let present = self.restore(&session, clean).await?;
        Ok((place, present))
    }

    async fn restore(&self, session: &Arc<Session>, clean: bool) -> Result<bool, NotNow> {
        let before = self.find(session).await?;
        let is_new = before.kept.is_none();
        if is_new && before.received.is_empty() && !session.keeps() {
            return Ok(false);
        }
        if is_new && session.keeps() && !self.kept.lock().take(&session.key.who) {
            return Err(NotNow::Busy);
        }
        session.is_going_to_be_stored();
        self.store.take(session.holder()).await?;
        // Whatever another connection had under way has come to an end in the log before this has, or counts no more.
        let found = self.find(session).await?;
        session.state.lock().marked.clone_from(&found.received);
        let goes_on = found.kept.as_ref().is_some_and(|kept| !clean && !kept.is_over(clock::now()));
        match found.kept.filter(|_| goes_on) {
            Some(kept) => self.resume(session, kept, found.received).await?,
            None if session.keeps() => {
                let next = self.next();
                self.store.begin(session.holder(), &found.received, &session.kept(next, clock::now())).await?;
                session.state.lock().marked.clear();
            }
            None => self.forget(session).await?,
        }
        Ok(goes_on)
    }

    async fn find(&self, session: &Session) -> Result<Found, LedgerError> {
        let (store, key) = (self.store.clone(), session.key.clone());
        blocking(move || store.find(&key)).await
    }

    async fn resume(&self, session: &Arc<Session>, kept: Kept, received: BTreeSet<u16>) -> Result<(), NotNow> {
        self.store.keep(session.holder(), &kept.seen_at(clock::now(), session.expiry())).await?;
        let (ledger, seqs) = (self.ledger.clone(), kept.inflight.clone());
        let events = blocking(move || {
            let events = seqs.iter().map(|(pid, seq)| Ok((*pid, ledger.event(*seq)?)));
            events.collect::<Result<Vec<_>, LedgerError>>()
        });
        let parcel = |(pid, event): (u16, Option<Arc<Event>>)| {
            let message = Arc::new(Message::of(&*event?)?);
            Some((pid, Parcel { message, qos: 1, retain: false, share: None, again: true }))
        };
        let inflight = events.await?.into_iter().filter_map(parcel).collect();
        let mut state = session.state.lock();
        state.resume(inflight);
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

    /// Gives up a connection's place when all of it has ended, and keeps what is to be kept.
    pub async fn release(&self, place: Place) {
        let session = &place.session;
        let next = {
            let mut inner = self.inner.lock();
            self.leave(&mut inner, session);
            inner.next
        };
        let kept = session.kept(next, clock::now());
        for parcel in session.unshared() {
            self.share(&mut self.inner.lock(), parcel);
        }
        let stored = match (session.keeps(), session.may_be_stored()) {
            (true, _) => self.store.keep(session.holder(), &kept).await,
            (false, true) => self.forget(session).await,
            (false, false) => Ok(()),
        };
        match stored {
            // What the other one has stored is what counts.
            Ok(()) | Err(StoreError::TakenOver) => {}
            Err(StoreError::Ledger(error)) => {
                tracing::warn!(%error, client = %session.key.client, "how far a client has read could not be stored; it will get some of it again");
            }
        }
    }

    /// Of a session that ends now nothing is left: its packets' ids are free.
    async fn forget(&self, session: &Session) -> Result<(), StoreError> {
        let marked = std::mem::take(&mut session.state.lock().marked);
        self.store.forget(session.holder(), &marked).await?;
        session.is_forgotten();
        self.kept.lock().give_back(&session.key.who);
        Ok(())
    }

    /// Makes durable what is kept of a client that is connected.
    pub async fn keep(&self, session: &Session) -> Result<(), StoreError> {
        let next = self.inner.lock().next;
        self.store.keep(session.holder(), &session.kept(next, clock::now())).await
    }

    /// Forgets sessions that are over; those of who is here are not, whatever the clock says.
    pub async fn sweep(&self, tenant: &Tenant, now: Micros) -> Result<(), LedgerError> {
        let here: HashSet<String> = self.inner.lock().sessions.keys().filter(|key| key.tenant == *tenant).map(whose).collect();
        let kept = self.store.sweep(tenant, now, |whose| here.contains(whose)).await?;
        *self.kept.lock() = Shares::of(kept);
        Ok(())
    }

    /// Whether a command for this device is for this client.
    pub fn stands_for(&self, session: &Session, device: &Id) -> bool {
        self.door.stands_for(&session.principal, &session.key.client, session.calls_by_name(device), device)
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
            self.wait_for_scans(&mut inner, session);
            Some(qos)
        });
        let granted = granted.collect();
        session.wake.notify_one();
        granted
    }

    /// What was is given before what is: until current values are, what comes waits in the log.
    fn wait_for_scans(&self, inner: &mut Inner, session: &Arc<Session>) {
        let next = inner.next;
        {
            let mut state = session.state.lock();
            if state.scans.is_empty() || state.behind.is_some() {
                return;
            }
            state.behind = Some(next);
        }
        self.leave_own(inner, session);
    }

    pub fn unsubscribe(&self, session: &Arc<Session>, filters: &[Arc<str>]) -> Vec<bool> {
        let mut inner = self.inner.lock();
        let mut state = session.state.lock();
        let gone = filters.iter().map(|text| {
            let Some(place) = state.subscriptions.iter().position(|s| s.filter.text == *text) else { return false };
            let subscription = state.subscriptions.remove(place);
            state.scans.retain(|scan| scan.filter.text != *text);
            inner.tree.remove(subscription.filter.levels(), |e| is_of(e, session, &subscription.filter));
            session.group(&subscription.filter).map(|group| inner.turns.remove(&group));
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
        let about = self.door.about(&event.tenant, &message.device);
        let message = Arc::new(message);
        let (shared, mut own): (Vec<Entry>, Vec<Entry>) = hits.into_iter().partition(|entry| entry.share.is_some());
        // One copy for a client, however many of its filters match: with the best of what they were granted.
        own.sort_by_key(|entry| (Arc::as_ptr(&entry.session) as usize, std::cmp::Reverse(entry.qos)));
        own.dedup_by_key(|entry| Arc::as_ptr(&entry.session) as usize);
        let is_shown = |entry: &Entry| about.is_shown_to(&entry.session.principal, &event.tenant, &message.device, message.received);
        for entry in own.into_iter().filter(is_shown) {
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
        let message = &parcel.message;
        let about = members.first().map(|entry| self.door.about(&entry.session.key.tenant, &message.device));
        members.retain(|entry| {
            let (who, tenant) = (&entry.session.principal, &entry.session.key.tenant);
            about.as_ref().is_some_and(|about| about.is_shown_to(who, tenant, &message.device, message.received))
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
        {
            let mut state = session.state.lock();
            if next < inner.next || !state.scans.is_empty() {
                state.behind = Some(next);
                return false;
            }
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
            // Of a group that goes on, turns begin anew.
            session.group(&s.filter).map(|group| inner.turns.remove(&group));
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
    Arc::ptr_eq(&entry.session, session) && entry.share == session.group(filter)
}

fn insert(tree: &mut Tree<Entry>, session: &Arc<Session>, s: &Subscription) {
    let share = session.group(&s.filter);
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
        Some(Message { topic, payload, seq: event.seq, device, received: event.received, command })
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
