//! A selector that is followed: which sensors begin and cease to fit.
//!
//! A change of a device is compared with what is known of that device, for every watch. What has not been taken yet is kept as the difference to what
//! was taken last, so that it never grows beyond the sensors that there are.

use super::{Inner, Registry, RegistryError};
use crate::{
    clock,
    identity::Principal,
    model::{Id, Micros, Selector, SensorRef, limit::WATCHES_MAX},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::Notify;

/// A clock that is set does not keep a watch from looking at it for longer.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A selector that is followed for as long as this is kept.
pub struct Watch {
    inner: Arc<Inner>,
    feed: Arc<Feed>,
}

/// What has changed since it was asked last: first all that fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    pub added: Vec<SensorRef>,
    pub removed: Vec<SensorRef>,
}

#[derive(Default)]
pub(super) struct Feeds {
    all: Vec<Weak<Feed>>,
    /// Those that every reading may concern.
    timed: Vec<Weak<Feed>>,
}

struct Feed {
    selector: Selector,
    who: Principal,
    state: Mutex<State>,
    woken: Notify,
}

#[derive(Default)]
struct State {
    /// Those that fit, by device, each with when it ceases to be seen within the selector's time.
    members: HashMap<Id, Vec<(Id, Micros)>>,
    /// The same by time, where the selector has one.
    ends: BTreeSet<(Micros, SensorRef)>,
    /// Came (true) or went since it was taken last.
    news: BTreeMap<SensorRef, bool>,
}

impl Registry {
    /// Follows a selector with the eyes of `who`, whose rights are those of this moment.
    pub fn watch(&self, selector: Selector, who: Principal) -> Result<Watch, RegistryError> {
        let mut feeds = self.0.turn.lock();
        feeds.all.retain(|feed| feed.strong_count() > 0);
        feeds.timed.retain(|feed| feed.strong_count() > 0);
        if feeds.all.len() >= WATCHES_MAX {
            return Err(RegistryError::Full { what: "selectors that are followed", max: WATCHES_MAX });
        }
        let feed = Arc::new(Feed { selector, who, state: Mutex::default(), woken: Notify::new() });
        feed.look_at_all(&self.0);
        feeds.all.push(Arc::downgrade(&feed));
        if feed.selector.seen_within.is_some() {
            feeds.timed.push(Arc::downgrade(&feed));
        }
        Ok(Watch { inner: self.0.clone(), feed })
    }
}

impl Watch {
    /// What has changed, as soon as something has.
    pub async fn next(&mut self) -> Delta {
        loop {
            let now = clock::now();
            let delta = self.take(now);
            if !delta.is_empty() {
                return delta;
            }
            let end = self.feed.state.lock().ends.first().map(|(end, _)| *end);
            let wait = end.map_or(LOOK_AGAIN, |end| Duration::from_micros(end.0.saturating_sub(now.0).max(0).unsigned_abs() + 1));
            // In time or woken, it looks again.
            let _ = tokio::time::timeout(wait.min(LOOK_AGAIN), self.feed.woken.notified()).await;
        }
    }

    /// What has changed by now.
    pub fn take(&mut self, now: Micros) -> Delta {
        let mut state = self.feed.state.lock();
        self.feed.drop_silent(&self.inner, &mut state, now);
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for (sensor, came) in std::mem::take(&mut state.news) {
            if came { &mut added } else { &mut removed }.push(sensor);
        }
        Delta { added, removed }
    }
}

impl Delta {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl Feeds {
    pub fn device_changed(&self, inner: &Inner, device: &Id) {
        each(&self.all, |feed| feed.look_at(inner, device));
    }

    pub fn project_changed(&self, inner: &Inner, project: &Id) {
        each(&self.all, |feed| {
            if feed.selector.project.as_ref() == Some(project) {
                feed.look_at_all(inner);
            }
        });
    }

    /// A sensor that is known was heard again: to a watch that is news where it was silent for too long.
    pub fn heard(&self, inner: &Inner, device: &Id, sensor: &Id) {
        each(&self.timed, |feed| {
            if !feed.state.lock().has(device, sensor) {
                feed.look_at(inner, device);
            }
        });
    }
}

fn each(feeds: &[Weak<Feed>], look: impl Fn(&Feed)) {
    feeds.iter().filter_map(Weak::upgrade).for_each(|feed| look(&feed));
}

impl Feed {
    /// The end of a sensor's time; what was silent for too long is not left out here, but found when the watch looks at the clock.
    fn end(&self, seen: Micros) -> Micros {
        let window = self.selector.seen_within.map_or(0, |window| i64::try_from(window.as_micros()).unwrap_or(i64::MAX));
        Micros(seen.0.saturating_add(window))
    }

    fn since(&self) -> Option<Micros> {
        self.selector.seen_within.map(|_| Micros(1))
    }

    fn look_at(&self, inner: &Inner, device: &Id) {
        let mut state = self.state.lock();
        let mut fit = Vec::new();
        let index = inner.index.read();
        if let Some(entry) = index.get(device) {
            let each = |_: &_, sensor: &crate::model::Sensor, seen| fit.push((sensor.id.clone(), self.end(seen)));
            inner.fits_of(&index, entry, &self.selector, &self.who, self.since(), each);
        }
        drop(index);
        self.set(&mut state, device, fit);
    }

    fn look_at_all(&self, inner: &Inner) {
        let mut state = self.state.lock();
        let mut fit: HashMap<Id, Vec<(Id, Micros)>> = HashMap::new();
        let index = inner.index.read();
        inner.fits(&index, &self.selector, &self.who, self.since(), |entry, sensor, seen| {
            fit.entry(entry.id.clone()).or_default().push((sensor.id.clone(), self.end(seen)));
        });
        drop(index);
        let gone: Vec<Id> = state.members.keys().filter(|device| !fit.contains_key(*device)).cloned().collect();
        gone.into_iter().for_each(|device| self.set(&mut state, &device, Vec::new()));
        fit.into_iter().for_each(|(device, sensors)| self.set(&mut state, &device, sensors));
    }

    /// These sensors of a device fit, and no others.
    fn set(&self, state: &mut State, device: &Id, fit: Vec<(Id, Micros)>) {
        let timed = self.selector.seen_within.is_some();
        let old = state.members.remove(device).unwrap_or_default();
        let at = |sensor: &Id| SensorRef { device: device.clone(), sensor: sensor.clone() };
        for (sensor, end) in &old {
            state.ends.remove(&(*end, at(sensor)));
            if !fit.iter().any(|(still, _)| still == sensor) {
                state.tell(at(sensor), false);
            }
        }
        for (sensor, end) in &fit {
            if timed {
                state.ends.insert((*end, at(sensor)));
            }
            if !old.iter().any(|(already, _)| already == sensor) {
                state.tell(at(sensor), true);
            }
        }
        if !fit.is_empty() {
            state.members.insert(device.clone(), fit);
        }
        if !state.news.is_empty() {
            self.woken.notify_one();
        }
    }

    /// Lets go of those that were silent for too long. A reading does not move a sensor's end, so it is looked up when that comes.
    fn drop_silent(&self, inner: &Inner, state: &mut State, now: Micros) {
        while let Some((end, sensor)) = state.ends.first().filter(|(end, _)| *end < now).cloned() {
            state.ends.pop_first();
            let index = inner.index.read();
            let seen = index.get(&sensor.device).and_then(|entry| entry.row(&sensor.sensor)).map(|row| index.rows.seen(row));
            drop(index);
            let later = seen.map(|seen| self.end(seen)).filter(|later| *later >= now && *later != end);
            state.move_end(sensor, later);
        }
    }
}

impl State {
    fn has(&self, device: &Id, sensor: &Id) -> bool {
        self.members.get(device).is_some_and(|sensors| sensors.iter().any(|(has, _)| has == sensor))
    }

    /// None: it fits no more.
    fn move_end(&mut self, sensor: SensorRef, later: Option<Micros>) {
        let Some(sensors) = self.members.get_mut(&sensor.device) else { return };
        match later {
            Some(later) => {
                sensors.iter_mut().filter(|(id, _)| *id == sensor.sensor).for_each(|(_, end)| *end = later);
                self.ends.insert((later, sensor));
            }
            None => {
                sensors.retain(|(id, _)| *id != sensor.sensor);
                if sensors.is_empty() {
                    self.members.remove(&sensor.device);
                }
                self.tell(sensor, false);
            }
        }
    }

    /// What came and went before anybody took note is no news.
    fn tell(&mut self, sensor: SensorRef, came: bool) {
        match self.news.get(&sensor) {
            Some(told) if *told != came => drop(self.news.remove(&sensor)),
            _ => drop(self.news.insert(sensor, came)),
        }
    }
}
