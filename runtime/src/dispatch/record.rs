//! Which calls are recorded, and how a record is an event of the log. Pure, but for the counts of a function.

use super::outgoing::Origin;
use crate::{
    host::Spent,
    model::{
        Effects, Event, Kind, Micros, NewEvent, Run, RunOutcome, Subject,
        event::{Cause, Place},
        limit::RUNS_PER_SECOND_MAX,
    },
};
use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// How long one recorded call takes away from what may be recorded.
const INTERVAL: i64 = Micros::SECOND / RUNS_PER_SECOND_MAX;
/// A second's worth may be recorded at once.
const AHEAD_MAX: i64 = INTERVAL * RUNS_PER_SECOND_MAX;

/// What one function records of calls that go well: a bucket with room for a second's, and how many were left out since the last
/// record. Two atomics and no lock, because every call asks.
#[derive(Debug, Default)]
pub struct Recorder {
    /// When the bucket is full again.
    full_at: AtomicI64,
    skipped: AtomicU64,
}

/// Whether a call that went well is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    Skipped,
    /// It also says that so many were left out before.
    Written {
        skipped: u64,
    },
}

impl Recorder {
    /// What fails is always recorded, and takes no place from what goes well.
    pub fn note(&self, failed: bool, now: Micros) -> Noted {
        match failed || self.takes(now.0) {
            true => Noted::Written { skipped: self.skipped.swap(0, Relaxed) },
            false => Noted::Skipped,
        }
    }

    fn takes(&self, now: i64) -> bool {
        let next = |full_at: i64| {
            // Further ahead than it can be: the clock was set back.
            let base = if full_at > now + AHEAD_MAX { now } else { full_at.max(now) };
            Some(base + INTERVAL).filter(|next| *next <= now + AHEAD_MAX)
        };
        self.full_at.try_update(Relaxed, Relaxed, next).is_ok()
    }

    /// The call counts: so it is one that was left out, where it was.
    pub fn counted(&self, noted: Noted) {
        if noted == Noted::Skipped {
            self.skipped.fetch_add(1, Relaxed);
        }
    }

    /// The call does not count: what its record would have said is for the next one to say.
    pub fn lost(&self, noted: Noted) {
        if let Noted::Written { skipped } = noted {
            self.skipped.fetch_add(skipped, Relaxed);
        }
    }
}

/// How a call ended, beside its effects.
pub struct Ended<'a> {
    pub release: u64,
    pub took: Duration,
    pub spent: Spent,
    pub outcome: RunOutcome,
    pub error: Option<&'a str>,
    pub skipped: u64,
    pub replay: bool,
}

impl Origin<'_> {
    pub fn run(&self, ended: &Ended<'_>, effects: &Effects) -> Run {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let run = Run {
            app: self.function.app.app.clone(),
            function: self.function.function.clone(),
            release: ended.release,
            call: self.call.to_owned(),
            event: self.event.map_or(0, |event| event.seq),
            subject: self.event.map(|event| event.subject.to_string()).unwrap_or_default(),
            device: self.event.and_then(|event| event.device.clone()),
            sensor: self.event.and_then(|event| event.sensor.clone()),
            trigger: self.event.map_or_else(|| "http".to_owned(), |event| Run::trigger_of(event)),
            attempt: self.attempt,
            start: self.now,
            took_micros: micros(ended.took),
            cpu_micros: micros(ended.spent.cpu),
            memory_bytes: ended.spent.memory_bytes as u64,
            outcome: ended.outcome,
            error: None,
            writes: 0,
            messages: 0,
            commands: 0,
            effects: Vec::new(),
            request: None,
            skipped: ended.skipped,
            replay: ended.replay,
        };
        let run = run.with_effects(effects);
        match ended.error {
            Some(error) => run.with_error(error),
            None => run,
        }
    }

    /// The record as it goes into the log, with the commit of what the call did.
    pub fn recorded(&self, run: &Run) -> Option<NewEvent> {
        let subject = Subject::new(&format!("run.{}.{}", self.function.app.app.to_token(), self.function.function.to_token())).ok()?;
        let cause = Cause {
            app: run.app.clone(),
            function: run.function.clone(),
            seq: run.event,
            call: run.call.clone(),
            place: Place { index: 0, hops: self.event.map_or(0, |event: &Event| event.hops().saturating_add(1)) },
        };
        Some(NewEvent {
            tenant: self.function.app.tenant.clone(),
            kind: Kind::Run,
            key: subject.to_string(),
            subject,
            device: run.device.clone(),
            sensor: run.sensor.clone(),
            measured: run.start,
            received: self.now,
            value: run.to_value(),
            raw: None,
            cause: Some(Box::new(cause)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: Noted = Noted::Written { skipped: 0 };

    /// How many of so many calls are recorded, one after another.
    fn recorded(recorder: &Recorder, calls: usize, at: impl Fn(usize) -> i64) -> usize {
        let note = |n| {
            let noted = recorder.note(false, Micros(at(n)));
            recorder.counted(noted);
            noted
        };
        (0..calls).filter(|n| note(*n) != Noted::Skipped).count()
    }

    #[test]
    fn so_many_calls_are_recorded_in_a_second_and_the_next_record_says_how_many_were_not() {
        let recorder = Recorder::default();
        let (second, most) = (Micros::SECOND, usize::try_from(RUNS_PER_SECOND_MAX).unwrap_or(0));
        assert_eq!(recorded(&recorder, 1_000, |n| second + n as i64), most, "a second's worth at once");
        let failed = recorder.note(true, Micros(second + 1_000));
        assert_eq!(failed, Noted::Written { skipped: 1_000 - most as u64 }, "what fails is always recorded");
        assert_eq!(recorder.note(false, Micros(3 * second)), WRITTEN, "and after a while there is room again");
        let minute = recorded(&recorder, 60_000, |n| 10 * second + n as i64 * 1_000);
        assert!((59 * most..=61 * most).contains(&minute), "{minute} in a minute");
    }

    #[test]
    fn what_a_lost_call_would_have_said_the_next_one_says() {
        let recorder = Recorder::default();
        recorder.counted(Noted::Skipped);
        let noted = recorder.note(true, Micros(0));
        assert_eq!(noted, Noted::Written { skipped: 1 });
        recorder.lost(noted);
        assert_eq!(recorder.note(true, Micros(0)), noted);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_end_the_records() {
        let recorder = Recorder::default();
        let day = 86_400 * Micros::SECOND;
        assert_eq!(recorder.note(false, Micros(day)), WRITTEN);
        assert_eq!(recorder.note(false, Micros(0)), WRITTEN);
    }
}
