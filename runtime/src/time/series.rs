//! A rule over many series: what is known of each, and one timer for each.

use super::{
    Firing, Shelf, ShelfError,
    desk::{Desk, LOOK_BYTES, Look, Troubles, encode},
    name,
    span::{self, BEFORE, CLOCK_BACK, GRACE, NEVER},
};
use crate::model::{
    Event, Micros,
    limit::{RULE_SERIES_MAX, RULE_STATE_BYTES_MAX},
    manifest::Per,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// Series that are looked at in one go because their time has come: what they fire together fits a few commits.
const TURNS_MAX: usize = 64;
/// Series of a clock that was wrong that are set right in one go: their states fit a commit.
const SET_BACK_MAX: usize = 1_000;

/// One kind of rule, which looks at one series at a time.
pub(super) trait Follow {
    type State: Serialize + DeserializeOwned + Default;
    /// Whether its timers wait, after a start, for devices to come back.
    const PATIENT: bool;

    fn per(&self) -> Per {
        Per::Sensor
    }

    /// Whether the state is another one now. What puts off the rest of it ([`Desk::put_off`]) is given the same event again.
    fn take(&self, state: &mut Self::State, event: &Event, desk: &mut Desk<'_>) -> bool;

    /// When [`Follow::due`] is wanted, of a series that was heard last at `last`.
    fn deadline(&self, _state: &Self::State, _last: Micros) -> Option<Micros> {
        None
    }

    /// The receive clock has come to `at`, the deadline. Afterwards there is a later one, or none, or the same for what is left.
    fn due(&self, _state: &mut Self::State, _at: Micros, _desk: &mut Desk<'_>) {}

    /// Nothing was measured from `measured` on, and nothing will come any more.
    fn finish(&self, _state: &mut Self::State, _measured: Micros, _desk: &mut Desk<'_>) {}

    /// The receive clock was wrong by more than a day when the series was heard last; `now` counts as if it had been heard now.
    fn set_back(&self, _state: &mut Self::State, _now: Micros, _desk: &mut Desk<'_>) {}
}

pub(super) struct Series<F: Follow> {
    pub follow: F,
    known: HashMap<Arc<str>, Slot>,
    /// One entry for each series that has a deadline, or had one: when it comes up, the deadline may have moved on.
    queue: BTreeSet<(Micros, Arc<str>)>,
    /// The latest of all `last`.
    newest: Micros,
    /// From when until when no timer fires.
    grace: Option<(Micros, Micros)>,
    pub troubles: Troubles,
    scratch: String,
    /// Series that are still to end, the next one last.
    ending: Option<Vec<Arc<str>>>,
}

struct Slot {
    last: Micros,
    /// Where it stands in the queue.
    queued: Micros,
    /// The state as it is on the shelf, which is half as large as it is at work. Empty: there is none yet. None: large, and on the shelf alone.
    state: Option<Box<[u8]>>,
}

/// The state of a part of the shelf, before which it says when the series was heard last.
fn state_in(part: &[u8]) -> Option<Box<[u8]>> {
    let kept = (part.len() <= RULE_STATE_BYTES_MAX).then(|| postcard::take_from_bytes::<Micros>(part));
    kept.and_then(Result::ok).map(|(_, state)| state.into())
}

impl<F: Follow> Series<F> {
    pub fn new(follow: F) -> Series<F> {
        Series {
            follow,
            known: HashMap::new(),
            queue: BTreeSet::new(),
            newest: BEFORE,
            grace: None,
            troubles: Troubles::default(),
            scratch: String::new(),
            ending: None,
        }
    }

    /// Where nothing is known yet, nobody has to come back.
    pub fn grace(&mut self, now: Micros) {
        self.grace = (!self.known.is_empty()).then(|| (now, span::later(now, GRACE)));
    }

    pub fn reload(&mut self, shelf: &mut dyn Shelf) -> Result<(), ShelfError> {
        (self.known, self.queue, self.newest, self.troubles) = Default::default();
        self.ending = None;
        self.newest = BEFORE;
        for (part, bytes) in shelf.list("s/") {
            let decoded = postcard::from_bytes::<(Micros, F::State)>(&bytes);
            let (last, state) = decoded.map_err(|source| ShelfError { part: part.clone(), source })?;
            let name: Arc<str> = part.get(2..).unwrap_or_default().into();
            let mut slot = Slot { last, queued: NEVER, state: None };
            enqueue(&mut self.queue, &mut slot, &name, self.follow.deadline(&state, last));
            slot.state = state_in(&bytes);
            self.newest = self.newest.max(last);
            self.known.insert(name, slot);
        }
        Ok(())
    }

    /// True when it was looked at in part only, and is to be given again.
    pub fn take(&mut self, event: &Event, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) -> bool {
        let received = span::bounded(event.received);
        if self.run(received, shelf, out) {
            return true;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        name::write(event, self.follow.per(), &mut scratch);
        let again = match self.known.get_key_value(scratch.as_str()).map(|(name, _)| name.clone()) {
            Some(name) => self.take_of(&name, event, received, shelf, out),
            None if self.known.len() >= RULE_SERIES_MAX => {
                self.troubles.full += 1;
                false
            }
            None => {
                let name: Arc<str> = scratch.as_str().into();
                self.known.insert(name.clone(), Slot { last: BEFORE, queued: NEVER, state: Some(Box::default()) });
                self.take_of(&name, event, received, shelf, out)
            }
        };
        self.scratch = scratch;
        again
    }

    fn take_of(&mut self, name: &Arc<str>, event: &Event, received: Micros, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) -> bool {
        let look = self.turn(name, shelf, out, |follow, state, desk| {
            let changed = follow.take(state, event, desk);
            // What is in memory is what is on the shelf.
            (changed, if changed { desk.last.max(received) } else { desk.last })
        });
        self.newest = self.known.get(name).map_or(self.newest, |slot| slot.last.max(self.newest));
        look.again
    }

    /// Fires what is due, in the order of its deadlines, then of names; some of it. True when there may be more.
    pub fn run(&mut self, at: Micros, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) -> bool {
        let at = span::bounded(at);
        if self.newest.0 - at.0 > CLOCK_BACK && self.set_back(at, shelf, out) {
            return true;
        }
        if let Some((from, until)) = self.grace.filter(|_| F::PATIENT)
            && at >= from
        {
            if at < until {
                return false;
            }
            self.grace = None;
        }
        let mut bytes = 0;
        for _ in 0..TURNS_MAX {
            if bytes >= LOOK_BYTES {
                return true;
            }
            if self.queue.first().is_none_or(|(due, _)| *due > at) {
                return false;
            }
            let Some((due, name)) = self.queue.pop_first() else { return false };
            if let Some(slot) = self.known.get_mut(&name) {
                slot.queued = NEVER;
            }
            let look = self.turn(&name, shelf, out, |follow, state, desk| {
                let deadline = follow.deadline(state, desk.last).filter(|deadline| *deadline <= due);
                if let Some(deadline) = deadline {
                    follow.due(state, deadline, desk);
                }
                (deadline.is_some(), desk.last)
            });
            bytes += look.bytes();
        }
        true
    }

    /// Ends some series, by name. True when there may be more.
    pub fn finish(&mut self, measured: Micros, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) -> bool {
        let mut names = self.ending.take().unwrap_or_else(|| {
            let mut names: Vec<Arc<str>> = self.known.keys().cloned().collect();
            names.sort_unstable_by(|one, other| other.cmp(one));
            names
        });
        let mut bytes = 0;
        for _ in 0..TURNS_MAX {
            if bytes >= LOOK_BYTES {
                break;
            }
            let Some(name) = names.pop() else { return false };
            let look = self.turn(&name, shelf, out, |follow, state, desk| {
                follow.finish(state, measured, desk);
                (true, desk.last)
            });
            bytes += look.bytes();
            if look.again {
                names.push(name);
                break;
            }
        }
        self.ending = (!names.is_empty()).then_some(names);
        self.ending.is_some()
    }

    pub fn next(&self) -> Option<Micros> {
        let (due, _) = self.queue.first()?;
        let until = self.grace.filter(|_| F::PATIENT).map_or(BEFORE, |(_, until)| until);
        Some(until.max(*due))
    }

    /// Those that were heard in what is the future now were heard now; some of them. True when there are more.
    fn set_back(&mut self, now: Micros, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) -> bool {
        let of_the_future = self.known.iter().filter(|(_, slot)| slot.last.0 - now.0 > CLOCK_BACK);
        let mut names: Vec<Arc<str>> = of_the_future.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        let mut bytes = 0;
        for (n, name) in names.iter().enumerate() {
            if n >= SET_BACK_MAX || bytes >= LOOK_BYTES {
                return true;
            }
            let look = self.turn(name, shelf, out, |follow, state, desk| {
                follow.set_back(state, now, desk);
                (true, if desk.look.again { desk.last } else { now })
            });
            if look.again {
                return true;
            }
            bytes += look.bytes();
        }
        self.newest = self.known.values().map(|slot| slot.last).max().unwrap_or(BEFORE);
        false
    }

    /// One look at one series: `look` says whether its state changed, and when it was heard last.
    fn turn(
        &mut self,
        name: &Arc<str>,
        shelf: &mut dyn Shelf,
        out: &mut Vec<Firing>,
        look: impl FnOnce(&F, &mut F::State, &mut Desk<'_>) -> (bool, Micros),
    ) -> Look {
        let Some(slot) = self.known.get_mut(name) else { return Look::default() };
        let part = || format!("s/{name}");
        let kept = match &slot.state {
            Some(state) if state.is_empty() => Ok(F::State::default()),
            Some(state) => postcard::from_bytes::<F::State>(state),
            None => postcard::from_bytes::<(Micros, F::State)>(&shelf.get(&part()).unwrap_or_default()).map(|(_, state)| state),
        };
        let mut state = kept.unwrap_or_else(|_| {
            self.troubles.unreadable.push(part());
            F::State::default()
        });
        let mut desk = Desk { name, last: slot.last, shelf, out, troubles: &mut self.troubles, look: Look::default() };
        let (changed, last) = look(&self.follow, &mut state, &mut desk);
        slot.last = last;
        enqueue(&mut self.queue, slot, name, self.follow.deadline(&state, last));
        if changed {
            let bytes = encode(&(last, &state));
            slot.state = state_in(&bytes);
            desk.shelf.put(&part(), Some(bytes));
        }
        desk.look
    }
}

/// A later deadline leaves the entry where it is, so that a sensor that sends often costs the queue nothing.
fn enqueue(queue: &mut BTreeSet<(Micros, Arc<str>)>, slot: &mut Slot, name: &Arc<str>, deadline: Option<Micros>) {
    let Some(deadline) = deadline.filter(|deadline| *deadline < slot.queued) else { return };
    if slot.queued != NEVER {
        queue.remove(&(slot.queued, name.clone()));
    }
    queue.insert((deadline, name.clone()));
    slot.queued = deadline;
}
