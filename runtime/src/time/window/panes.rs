//! Tumbling and sliding windows, put together from panes: stretches as long as the greatest common measure of `length` and `every`, so
//! that a reading is added to one of them, in however many windows it is.

use super::{Content, Terms, Told};
use crate::{
    model::{
        Event, Micros,
        event::Seq,
        manifest::{Per, rule},
    },
    time::{
        desk::Desk,
        series::Follow,
        span::{self, BEFORE, NEVER, REVISION, ceil, floor, later},
    },
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// So many panes are looked for by name when they may be let go; beyond, it is cheaper to ask for all there are.
const BY_NAME: i64 = 64;

pub(in crate::time) struct Panes {
    terms: Terms,
    length: i64,
    every: i64,
    /// How long a pane is.
    pane: i64,
}

#[derive(Serialize, Deserialize)]
pub(in crate::time) struct State {
    /// The largest event time.
    watermark: Micros,
    /// Windows that end by then have been told, those that there were.
    closed: Micros,
    /// Panes that begin by then have been let go.
    gone: Micros,
    /// The newest pane; the others are on the shelf.
    newest: Option<(Micros, Pane)>,
    /// Panes of windows that are not told yet, by their start.
    open: Vec<Micros>,
    /// Windows that late readings came into, and when the first of those was received.
    pending: Vec<(Micros, Micros)>,
    source: Seq,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(in crate::time) struct Pane {
    content: Content,
    /// How often the window that begins here was told.
    told: u32,
}

impl Default for State {
    fn default() -> State {
        State { watermark: BEFORE, closed: BEFORE, gone: BEFORE, newest: None, open: Vec::new(), pending: Vec::new(), source: 0 }
    }
}

/// Panes that one look has read already.
type Seen = BTreeMap<Micros, Option<Pane>>;

impl Panes {
    pub fn new(terms: Terms, length: Duration, every: Duration) -> Panes {
        let pane = span::of(rule::greatest_measure(length, every)).max(1);
        Panes { terms, length: span::of(length).max(1), every: span::of(every).max(1), pane }
    }

    /// The windows that hold a moment, by their start.
    fn windows_of(&self, time: Micros) -> impl Iterator<Item = Micros> + use<> {
        let (first, last) = (floor(time.0 - self.length, self.every) + self.every, floor(time.0, self.every));
        (first..=last).step_by(self.every as usize).map(Micros)
    }

    fn holds(&self, window: Micros, time: Micros) -> bool {
        window <= time && time < self.end(window)
    }

    fn end(&self, window: Micros) -> Micros {
        later(window, self.length)
    }

    /// The window that ends first of those that hold a pane and are not told.
    fn first_open(&self, state: &State) -> Option<Micros> {
        state.open.iter().find_map(|pane| self.open_window_of(*pane, state.closed))
    }

    fn open_window_of(&self, pane: Micros, closed: Micros) -> Option<Micros> {
        let first_with_it = ceil(pane.0 + self.pane - self.length, self.every);
        let first_open = ceil(closed.0 - self.length + 1, self.every);
        Some(Micros(first_with_it.max(first_open))).filter(|window| *window <= pane)
    }

    /// Tells the windows that end by then, as many as one look tells. True when that was all.
    fn close(&self, state: &mut State, until: Micros, watermark: Micros, desk: &mut Desk<'_>) -> bool {
        let mut seen = Seen::new();
        while let Some(window) = self.first_open(state).filter(|window| self.end(*window) <= until) {
            if desk.is_full() {
                return false;
            }
            self.tell(state, window, watermark, &mut seen, desk);
            state.closed = state.closed.max(self.end(window));
            let closed = state.closed;
            let told = state.open.iter().take_while(|pane| self.open_window_of(**pane, closed).is_none()).count();
            state.open.drain(..told);
        }
        true
    }

    fn tell(&self, state: &mut State, window: Micros, watermark: Micros, seen: &mut Seen, desk: &mut Desk<'_>) {
        let (mut content, mut records) = (Content::default(), Vec::new());
        let end = self.end(window);
        for start in (window.0..end.0).step_by(self.pane as usize).map(Micros) {
            let Some(pane) = pane_at(state, start, seen, desk) else { continue };
            if !pane.content.stock.is_empty() && self.terms.wants_more(&content.stock) {
                records.extend(desk.list('r', Some(start)).into_iter().map(|(_, record)| record));
            }
            content.merge(&pane.content);
        }
        let mut first = pane_at(state, window, seen, desk).unwrap_or_default();
        let told = Told { start: window, end, revision: first.told, replaces: Vec::new(), source: state.source };
        self.terms.tell(told, &content, records, desk);
        first.told += 1;
        // Nobody asks how often a window was told that is not told again.
        if !self.terms.is_past(end, watermark) {
            put_pane(state, window, first, seen, desk);
        }
    }

    /// Lets go of panes in whose windows there will be nothing new; of many, some, and of the others with the next reading.
    fn let_go(&self, state: &mut State, desk: &mut Desk<'_>) {
        let until = Micros(floor(state.watermark.0 - self.length - self.terms.lateness, self.pane));
        let from = state.gone;
        if from == BEFORE || until <= from {
            state.gone = from.max(until);
            return;
        }
        if (until.0 - from.0) / self.pane <= BY_NAME {
            for start in (from.0 + self.pane..=until.0).step_by(self.pane as usize).map(Micros) {
                if desk.has_let_go() {
                    return;
                }
                self.remove(start, desk);
                state.gone = start;
            }
            return;
        }
        if desk.remove_before('p', later(until, 1)) && (!self.terms.keeps() || desk.remove_before('r', later(until, 1))) {
            state.gone = until;
        }
    }

    fn remove(&self, start: Micros, desk: &mut Desk<'_>) {
        desk.remove('p', start);
        if self.terms.keeps() {
            desk.remove_in('r', start);
        }
    }

    /// The watermark moves on, and all windows that end by then are told: panes are let go, and a new one begins.
    fn advance(&self, state: &mut State, time: Micros, desk: &mut Desk<'_>) {
        state.watermark = time;
        state.closed = state.closed.max(time);
        let start = Micros(floor(time.0, self.pane));
        if let Some((old, pane)) = state.newest.filter(|(old, _)| *old < start) {
            state.newest = None;
            if self.terms.is_past(self.end(old), time) {
                self.remove(old, desk);
            } else {
                desk.store('p', old, &pane);
            }
        }
        self.let_go(state, desk);
    }

    /// As many as one look tells. True when that was all.
    fn tell_pending(&self, state: &mut State, desk: &mut Desk<'_>, ready: impl Fn(&(Micros, Micros)) -> bool) -> bool {
        if state.pending.is_empty() {
            return true;
        }
        let (mut now, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut state.pending).into_iter().partition(ready);
        state.pending = rest;
        now.sort_unstable();
        let (mut seen, watermark) = (Seen::new(), state.watermark);
        let mut now = now.into_iter();
        while !desk.is_full()
            && let Some((window, _)) = now.next()
        {
            self.tell(state, window, watermark, &mut seen, desk);
        }
        let all = now.as_slice().is_empty();
        state.pending.extend(now);
        all
    }
}

fn pane_at(state: &State, start: Micros, seen: &mut Seen, desk: &mut Desk<'_>) -> Option<Pane> {
    match &state.newest {
        Some((newest, pane)) if *newest == start => Some(*pane),
        Some((newest, _)) if *newest < start => None,
        _ => *seen.entry(start).or_insert_with(|| desk.load('p', start)),
    }
}

fn put_pane(state: &mut State, start: Micros, pane: Pane, seen: &mut Seen, desk: &mut Desk<'_>) {
    match &mut state.newest {
        Some((newest, kept)) if *newest == start => *kept = pane,
        _ => {
            desk.store('p', start, &pane);
            seen.insert(start, Some(pane));
        }
    }
}

impl Follow for Panes {
    type State = State;
    const PATIENT: bool = true;

    fn per(&self) -> Per {
        self.terms.per
    }

    fn take(&self, state: &mut State, event: &Event, desk: &mut Desk<'_>) -> bool {
        let time = self.terms.event_time(event);
        state.source = event.seq;
        if !self.tell_pending(state, desk, |(window, _)| !self.holds(*window, time)) {
            desk.put_off();
            return true;
        }
        if time > state.watermark {
            if !self.close(state, time, time, desk) {
                desk.put_off();
                return true;
            }
            self.advance(state, time, desk);
        }
        let (past, windows): (Vec<_>, Vec<_>) =
            self.windows_of(time).partition(|window| self.terms.is_past(self.end(*window), state.watermark));
        if !past.is_empty() {
            desk.troubles.late(desk.name, event.measured);
        }
        if windows.is_empty() {
            return true;
        }
        let start = Micros(floor(time.0, self.pane));
        let mut seen = Seen::new();
        if state.newest.is_none_or(|(newest, _)| newest < start) {
            // It is a new one, but after a while between two windows, in which nothing is kept.
            state.newest = Some((start, desk.load('p', start).unwrap_or_default()));
        }
        let mut pane = pane_at(state, start, &mut seen, desk).unwrap_or_default();
        self.terms.add(&mut pane.content, start, event, desk);
        put_pane(state, start, pane, &mut seen, desk);
        let (late, on_time): (Vec<_>, Vec<_>) = windows.into_iter().partition(|window| self.end(*window) <= state.closed);
        for window in late {
            if !state.pending.iter().any(|(pending, _)| *pending == window) {
                state.pending.push((window, span::bounded(event.received)));
            }
        }
        if !on_time.is_empty()
            && let Err(place) = state.open.binary_search(&start)
        {
            state.open.insert(place, start);
        }
        true
    }

    fn deadline(&self, state: &State, last: Micros) -> Option<Micros> {
        let idle = self.first_open(state).map(|window| self.end(window).max(later(last, self.terms.idle)));
        let revised = state.pending.iter().map(|(_, since)| later(*since, REVISION)).min();
        idle.into_iter().chain(revised).min()
    }

    fn due(&self, state: &mut State, at: Micros, desk: &mut Desk<'_>) {
        // What is put off has the same deadline again.
        if self.tell_pending(state, desk, |(_, since)| later(*since, REVISION) <= at) && later(desk.last, self.terms.idle) <= at {
            self.close(state, at, state.watermark, desk);
        }
    }

    fn finish(&self, state: &mut State, measured: Micros, desk: &mut Desk<'_>) {
        if !self.tell_pending(state, desk, |_| true) || !self.close(state, measured, state.watermark, desk) {
            desk.put_off();
        }
    }

    /// What was of the future is told, and all begins anew.
    fn set_back(&self, state: &mut State, _now: Micros, desk: &mut Desk<'_>) {
        let told = self.tell_pending(state, desk, |_| true) && self.close(state, NEVER, state.watermark, desk);
        if !told || !desk.remove_before('p', NEVER) || !desk.remove_before('r', NEVER) {
            return desk.put_off();
        }
        *state = State::default();
    }
}
