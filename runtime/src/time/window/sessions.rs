//! Sessions: readings between which there is less than `gap`. A late one may join two of them.

use super::{Content, Record, Terms, Told};
use crate::{
    model::{Event, Micros, event::Seq, limit::SESSIONS_KEPT_MAX, manifest::Per},
    time::{
        desk::Desk,
        series::Follow,
        span::{self, BEFORE, NEVER, REVISION, floor, later},
    },
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub(in crate::time) struct Sessions {
    terms: Terms,
    gap: i64,
}

#[derive(Serialize, Deserialize)]
pub(in crate::time) struct State {
    /// The largest event time.
    watermark: Micros,
    /// The session that reaches furthest; the others are on the shelf, each under its start.
    newest: Option<Session>,
    /// The session that a late reading came into, by its start, and when the first of those was received.
    pending: Option<(Micros, Micros)>,
    /// Of what is before, nothing changes any more.
    settled: Micros,
    source: Seq,
}

impl Default for State {
    fn default() -> State {
        State { watermark: BEFORE, newest: None, pending: None, settled: BEFORE, source: 0 }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Session {
    first: Micros,
    last: Micros,
    content: Content,
    /// It has been told as it is, or is told again when late readings have come.
    closed: bool,
    revision: u32,
    /// Starts under which it, and those that are in it, were told last.
    told: Vec<Micros>,
}

impl Session {
    fn at(time: Micros) -> Session {
        Session { first: time, last: time, content: Content::default(), closed: false, revision: 0, told: Vec::new() }
    }

    /// In the order of time, so that sums come out the same whichever was there first.
    fn join(mut self, other: Session) -> Session {
        if other.first < self.first {
            return other.join(self);
        }
        self.content.merge(&other.content);
        self.told.extend(other.told);
        self.last = self.last.max(other.last);
        self.revision = self.revision.max(other.revision);
        self.closed &= other.closed;
        self
    }

    fn stretch(&mut self, time: Micros) {
        (self.first, self.last) = (self.first.min(time), self.last.max(time));
    }
}

impl Sessions {
    pub fn new(terms: Terms, gap: Duration) -> Sessions {
        Sessions { terms, gap: span::of(gap).max(1) }
    }

    fn end(&self, session: &Session) -> Micros {
        later(session.last, self.gap)
    }

    /// Whether a reading of that time belongs to it.
    fn touches(&self, session: &Session, time: Micros) -> bool {
        time.0 > session.first.0 - self.gap && time < self.end(session)
    }

    fn tell(&self, session: &mut Session, source: Seq, desk: &mut Desk<'_>) {
        let mut records = Vec::new();
        if !session.content.stock.is_empty() {
            for bucket in self.buckets(session) {
                records.extend(desk.list::<Record>('r', Some(bucket)).into_iter().map(|(_, record)| record));
            }
            records.retain(|record| session.first <= record.time && record.time <= session.last);
        }
        let start = session.first;
        let replaces = std::mem::replace(&mut session.told, vec![start]).into_iter().filter(|told| *told != start).collect();
        let told = Told { start, end: self.end(session), revision: session.revision, replaces, source };
        self.terms.tell(told, &session.content, records, desk);
        session.revision += 1;
    }

    /// Readings are kept by stretches of `gap`, of which none inside of a session is empty.
    fn buckets(&self, session: &Session) -> impl Iterator<Item = Micros> + use<> {
        (floor(session.first.0, self.gap)..=session.last.0).step_by(self.gap as usize).map(Micros)
    }

    fn forget(&self, session: &Session, desk: &mut Desk<'_>) {
        desk.remove('p', session.first);
        if session.content.stock.is_empty() {
            return;
        }
        for bucket in self.buckets(session) {
            for (part, record) in desk.list::<Record>('r', Some(bucket)) {
                if session.first <= record.time && record.time <= session.last {
                    desk.shelf.put(&part, None);
                }
            }
        }
    }

    /// Sessions on the shelf, by their start, which still take readings. The others are let go.
    fn kept(&self, watermark: Micros, desk: &mut Desk<'_>) -> Vec<Session> {
        let sessions = desk.list::<Session>('p', None).into_iter().map(|(_, session)| session);
        let (past, kept): (Vec<_>, Vec<_>) = sessions.partition(|session| self.terms.is_past(self.end(session), watermark));
        past.iter().for_each(|session| self.forget(session, desk));
        kept
    }

    /// Room for one more: the oldest are as they are from now on, and so is all before their end.
    fn make_room(&self, state: &mut State, kept: &[Session], desk: &mut Desk<'_>) {
        let over = (kept.len() + 1).saturating_sub(SESSIONS_KEPT_MAX);
        for session in &kept[..over] {
            state.settled = state.settled.max(self.end(session));
            self.forget(session, desk);
        }
    }

    /// The session that reached furthest makes way for one that is after it.
    fn retire(&self, state: &mut State, desk: &mut Desk<'_>) {
        let Some(mut session) = state.newest.take() else { return };
        if !session.closed {
            session.closed = true;
            self.tell(&mut session, state.source, desk);
        }
        let kept = self.kept(state.watermark, desk);
        if self.terms.is_past(self.end(&session), state.watermark) {
            self.forget(&session, desk);
        } else {
            self.make_room(state, &kept, desk);
            desk.store('p', session.first, &session);
        }
    }

    fn tell_pending(&self, state: &mut State, desk: &mut Desk<'_>) {
        let Some((start, _)) = state.pending.take() else { return };
        if let Some(newest) = state.newest.as_mut().filter(|newest| newest.first == start) {
            return self.tell(newest, state.source, desk);
        }
        if let Some(mut session) = desk.load::<Session>('p', start) {
            self.tell(&mut session, state.source, desk);
            desk.store('p', start, &session);
        }
    }

    /// Whether a reading of that time belongs to the session that is to be corrected.
    fn is_pending(&self, state: &State, time: Micros, desk: &mut Desk<'_>) -> bool {
        let Some((start, _)) = state.pending else { return false };
        match state.newest.as_ref().filter(|newest| newest.first == start) {
            Some(newest) => self.touches(newest, time),
            None => desk.load::<Session>('p', start).is_some_and(|session| self.touches(&session, time)),
        }
    }

    /// All sessions that a late reading belongs to, as one, taken from where they are; or, where there is none, one of its own, if that
    /// may be. Also whether it is the one that reaches furthest.
    fn gather(&self, state: &mut State, time: Micros, desk: &mut Desk<'_>) -> Option<(Session, bool)> {
        let newest = state.newest.take_if(|newest| self.touches(newest, time));
        let inside = newest.as_ref().is_some_and(|newest| time >= newest.first);
        let kept = if inside { Vec::new() } else { self.kept(state.watermark, desk) };
        let touched: Vec<Session> = kept.iter().filter(|session| self.touches(session, time)).cloned().collect();
        for session in &touched {
            desk.remove('p', session.first);
        }
        let is_newest = newest.is_some();
        if let Some(session) = touched.into_iter().chain(newest).reduce(Session::join) {
            return Some((session, is_newest));
        }
        if time < state.settled || self.terms.is_past(later(time, self.gap), state.watermark) {
            return None;
        }
        self.make_room(state, &kept, desk);
        Some((Session { closed: true, ..Session::at(time) }, false))
    }

    /// The session of a reading that is ahead of all others: the one that reached furthest, or one after it.
    fn go_on(&self, state: &mut State, time: Micros, desk: &mut Desk<'_>) -> Session {
        state.watermark = time;
        if state.newest.as_ref().is_some_and(|newest| self.end(newest) <= time) {
            self.retire(state, desk);
        }
        let newest = state.newest.take().unwrap_or_else(|| Session::at(time));
        Session { closed: false, ..newest }
    }
}

impl Follow for Sessions {
    type State = State;
    const PATIENT: bool = true;

    fn per(&self) -> Per {
        self.terms.per
    }

    fn take(&self, state: &mut State, event: &Event, desk: &mut Desk<'_>) -> bool {
        let time = self.terms.event_time(event);
        state.source = event.seq;
        if state.pending.is_some() && !self.is_pending(state, time, desk) {
            self.tell_pending(state, desk);
        }
        let found = if time > state.watermark { Some((self.go_on(state, time, desk), true)) } else { self.gather(state, time, desk) };
        let Some((mut session, is_newest)) = found else {
            desk.troubles.late(desk.name, event.measured);
            return true;
        };
        session.stretch(time);
        self.terms.add(&mut session.content, Micros(floor(time.0, self.gap)), event, desk);
        let since = state.pending.take().map_or(span::bounded(event.received), |(_, since)| since);
        state.pending = session.closed.then_some((session.first, since));
        if is_newest {
            state.newest = Some(session);
        } else {
            desk.store('p', session.first, &session);
        }
        true
    }

    fn deadline(&self, state: &State, last: Micros) -> Option<Micros> {
        let open = state.newest.as_ref().filter(|newest| !newest.closed);
        let idle = open.map(|newest| self.end(newest).max(later(last, self.terms.idle)));
        let revised = state.pending.map(|(_, since)| later(since, REVISION));
        idle.into_iter().chain(revised).min()
    }

    fn due(&self, state: &mut State, at: Micros, desk: &mut Desk<'_>) {
        if state.pending.is_some_and(|(_, since)| later(since, REVISION) <= at) {
            self.tell_pending(state, desk);
        }
        let source = state.source;
        let idle = later(desk.last, self.terms.idle) <= at;
        if let Some(newest) = state.newest.as_mut().filter(|newest| idle && !newest.closed && later(newest.last, self.gap) <= at) {
            newest.closed = true;
            self.tell(newest, source, desk);
        }
    }

    fn finish(&self, state: &mut State, measured: Micros, desk: &mut Desk<'_>) {
        self.tell_pending(state, desk);
        let source = state.source;
        if let Some(newest) = state.newest.as_mut().filter(|newest| !newest.closed && later(newest.last, self.gap) <= measured) {
            newest.closed = true;
            self.tell(newest, source, desk);
        }
    }

    /// What was of the future is told, and all begins anew.
    fn set_back(&self, state: &mut State, _now: Micros, desk: &mut Desk<'_>) {
        self.tell_pending(state, desk);
        if let Some(newest) = state.newest.as_mut().filter(|newest| !newest.closed) {
            newest.closed = true;
            self.tell(newest, state.source, desk);
        }
        if !desk.remove_before('p', NEVER) || !desk.remove_before('r', NEVER) {
            return desk.put_off();
        }
        *state = State::default();
    }
}
