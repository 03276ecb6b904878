//! One client as long as it is connected: what it subscribed to, what waits for it, what it has not acknowledged.
//!
//! Little waits in memory. A client that takes slower than things happen, or was away, is *behind*: it reads the log from where
//! it stopped, as fast as it takes, and is *live* again when it has come as far as everybody.

use super::{
    door::Known,
    packet::Retained,
    store::{Holder, Kept},
    topic::Filter,
};
use crate::{
    identity::Principal,
    model::{
        Id, Micros, Seq, Tenant,
        limit::{MQTT_QUEUE_MAX, MQTT_SUBSCRIPTIONS_MAX},
    },
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Whose session it is: ids of clients count for whoever uses them, so that nobody takes another's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub tenant: Tenant,
    pub who: Arc<str>,
    pub client: Arc<str>,
}

/// What is published to subscribers; one for all of them.
#[derive(Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    /// Where it stands in the log; 0 for a current value, which nobody has to get.
    pub seq: Seq,
    pub device: Id,
    pub received: Micros,
    /// The id of a command.
    pub command: Option<Arc<str>>,
}

/// A message for one client.
#[derive(Debug, Clone)]
pub struct Parcel {
    pub message: Arc<Message>,
    pub qos: u8,
    pub retain: bool,
    /// It came by this shared subscription, and may go to another member.
    pub share: Option<Arc<str>>,
    /// It may have been sent before.
    pub again: bool,
}

#[derive(Debug, Clone)]
pub struct Subscription {
    pub filter: Filter,
    pub qos: u8,
    /// Only what came after.
    pub since: Seq,
}

/// Current values that are still to be sent, the devices up to `after` left out.
#[derive(Debug, Clone)]
pub struct Scan {
    pub filter: Filter,
    pub qos: u8,
    pub after: Option<Id>,
    /// Whether current values are wanted, or only the commands that wait.
    pub values: bool,
    /// Values and commands up to here; the others come out of the log.
    pub through: Seq,
    /// Sensors of the next device that were looked at.
    pub sent: usize,
}

/// Why a connection is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kick {
    TakenOver,
    Revoked,
}

/// Whose group of a shared subscription it is: guests have groups of their own, so that nobody without a name takes what others share.
const GUESTS: &str = "guest";

pub struct Session {
    pub key: Key,
    /// As what it holds what is stored of its client: no other connection is called so.
    holder: String,
    /// Something may be stored of it.
    is_stored: AtomicBool,
    pub principal: Principal,
    pub stays: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Something waits for the client.
    pub wake: Notify,
    /// The connection is to end.
    pub kicked: CancellationToken,
    pub why: OnceLock<Kick>,
    /// The connection has ended, and nothing of it is under way.
    pub gone: CancellationToken,
    /// Seconds that it is kept without a connection; 0: it is not.
    expiry: AtomicU32,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub struct State {
    pub subscriptions: Vec<Subscription>,
    queue: VecDeque<Parcel>,
    inflight: VecDeque<(u16, Parcel)>,
    last_pid: u16,
    /// The next event to read, while it is not live.
    pub behind: Option<Seq>,
    pub scans: VecDeque<Scan>,
    /// Packet ids of publishes that are stored and not released.
    pub received: BTreeSet<u16>,
    /// Those for which there may be an entry in the ledger.
    pub marked: BTreeSet<u16>,
}

impl Session {
    pub fn new(key: Key, known: Known, expiry: u32) -> Session {
        Session {
            key,
            holder: super::unique(),
            is_stored: AtomicBool::new(false),
            principal: known.who,
            stays: known.stays,
            wake: Notify::new(),
            kicked: CancellationToken::new(),
            why: OnceLock::new(),
            gone: CancellationToken::new(),
            expiry: AtomicU32::new(expiry),
            state: Mutex::default(),
        }
    }

    pub fn expiry(&self) -> u32 {
        self.expiry.load(Ordering::Relaxed)
    }

    pub fn set_expiry(&self, seconds: u32) {
        self.expiry.store(seconds, Ordering::Relaxed);
    }

    pub fn keeps(&self) -> bool {
        self.expiry() > 0
    }

    pub fn holder(&self) -> Holder<'_> {
        Holder { key: &self.key, name: &self.holder }
    }

    /// From here on something may be stored of it.
    pub fn is_going_to_be_stored(&self) {
        self.is_stored.store(true, Ordering::Relaxed);
    }

    pub fn is_forgotten(&self) {
        self.is_stored.store(false, Ordering::Relaxed);
    }

    pub fn may_be_stored(&self) -> bool {
        self.is_stored.load(Ordering::Relaxed)
    }

    /// Whether it is called as a device, or asked for the device's topics by name. Who looks at the commands of all devices is no device.
    pub fn calls_by_name(&self, device: &Id) -> bool {
        *self.key.client == *device.as_str() || self.state.lock().subscriptions.iter().any(|s| s.filter.device().as_ref() == Some(device))
    }

    /// The group that a shared subscription is of.
    pub fn group(&self, filter: &Filter) -> Option<Arc<str>> {
        let who = if matches!(self.principal, Principal::Guest { .. }) { GUESTS } else { "" };
        // Neither a tenant nor these have a slash.
        filter.is_shared().then(|| format!("{}/{who}/{}", self.key.tenant, filter.text).into())
    }

    pub fn kick(&self, why: Kick) {
        // The first reason stands.
        let _ = self.why.set(why);
        self.kicked.cancel();
    }

    /// The next thing to send, with its packet's id if it is to be acknowledged. At most `window` are not acknowledged at a time.
    pub fn next(&self, window: usize) -> Option<(Parcel, Option<u16>)> {
        let mut state = self.state.lock();
        if state.queue.front()?.qos == 0 {
            return state.queue.pop_front().map(|parcel| (parcel, None));
        }
        if state.inflight.len() >= window {
            return None;
        }
        let parcel = state.queue.pop_front()?;
        let pid = state.free_pid();
        state.inflight.push_back((pid, parcel.clone()));
        Some((parcel, Some(pid)))
    }

    /// None for what was never sent, or acknowledged before.
    pub fn acknowledged(&self, pid: u16) -> Option<Parcel> {
        let mut state = self.state.lock();
        let place = state.inflight.iter().position(|(id, _)| *id == pid)?;
        state.inflight.remove(place).map(|(_, parcel)| parcel)
    }

    /// What was sent and not acknowledged before the connection broke: to be sent again, with the ids it had.
    pub fn unacknowledged(&self) -> Vec<(Parcel, u16)> {
        self.state.lock().inflight.iter().map(|(pid, parcel)| (parcel.clone(), *pid)).collect()
    }

    /// What is to be known of it when it comes again. `live`: the next event for everybody.
    pub fn kept(&self, live: Seq, now: Micros) -> Kept {
        let state = self.state.lock();
        let queued = state.queue.iter().filter(|parcel| parcel.share.is_none()).map(|parcel| parcel.message.seq);
        let next = queued.filter(|seq| *seq > 0).chain([state.behind.unwrap_or(live)]).min().unwrap_or(live);
        let inflight = state.inflight.iter().filter(|(_, parcel)| parcel.message.seq > 0);
        Kept::new(&state.subscriptions, next, inflight.map(|(pid, parcel)| (*pid, parcel.message.seq)).collect(), self.expiry(), now)
    }

    /// What came by shared subscriptions and nobody has acknowledged, for others of their groups.
    pub fn unshared(&self) -> Vec<Parcel> {
        let mut state = self.state.lock();
        let inflight: Vec<Parcel> = match self.keeps() {
            // It is sent again when the client comes again.
            true => Vec::new(),
            false => state.inflight.drain(..).map(|(_, parcel)| Parcel { again: true, ..parcel }).collect(),
        };
        inflight.into_iter().chain(state.queue.drain(..)).filter(|parcel| parcel.share.is_some()).collect()
    }
}

impl State {
    /// False when too much waits.
    pub fn offer(&mut self, parcel: Parcel) -> bool {
        if self.queue.len() >= MQTT_QUEUE_MAX {
            return false;
        }
        self.queue.push_back(parcel);
        true
    }

    /// As much fits, and it is half empty: time to read on.
    pub fn room(&self) -> usize {
        if self.queue.len() > MQTT_QUEUE_MAX / 2 { 0 } else { MQTT_QUEUE_MAX - self.queue.len() }
    }

    /// From the first of what waits on, the log is read again; what came by shared subscriptions stays.
    pub fn fall_behind(&mut self, next: Seq) {
        let first = self.queue.iter().filter(|parcel| parcel.share.is_none() && parcel.message.seq > 0).map(|p| p.message.seq).next();
        self.behind = Some(first.unwrap_or(next));
        self.queue.retain(|parcel| parcel.share.is_some() || parcel.message.seq == 0);
    }

    pub fn resume(&mut self, inflight: Vec<(u16, Parcel)>) {
        self.last_pid = inflight.iter().map(|(pid, _)| *pid).max().unwrap_or(0);
        self.inflight = inflight.into();
    }

    /// Adds or replaces; says whether it is new, or none when there are too many.
    pub fn subscribe(&mut self, subscription: Subscription, retained: Retained) -> Option<bool> {
        let known = self.subscriptions.iter().position(|known| known.filter.text == subscription.filter.text);
        if known.is_none() && self.subscriptions.len() >= MQTT_SUBSCRIPTIONS_MAX {
            return None;
        }
        let wanted = retained == Retained::Always || (retained == Retained::IfNew && known.is_none());
        if wanted || known.is_none() {
            self.scan(&subscription, wanted);
        }
        match known {
            // It goes on where it was.
            Some(place) => self.subscriptions[place].qos = subscription.qos,
            None => self.subscriptions.push(subscription),
        }
        Some(known.is_none())
    }

    /// What is not in the log from here on: current values, and commands that wait.
    pub fn scan(&mut self, subscription: &Subscription, values: bool) {
        let Subscription { filter, qos, since } = subscription.clone();
        if !filter.is_shared() && (values || filter.device().is_some()) {
            self.scans.push_back(Scan { filter, qos, after: None, values, through: since, sent: 0 });
        }
    }

    fn free_pid(&mut self) -> u16 {
        loop {
            self.last_pid = self.last_pid.checked_add(1).unwrap_or(1);
            // There are far fewer in flight than ids.
            if !self.inflight.iter().any(|(pid, _)| *pid == self.last_pid) {
                return self.last_pid;
            }
        }
    }
}
