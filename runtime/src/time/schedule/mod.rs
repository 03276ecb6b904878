//! Moments of the clock at which a function is called. A moment is called once because it has a name, the time that the schedule says,
//! and the last one that was called is stored: whatever the host's clock does in between.

mod moments;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use super::span::{self, CLOCK_BACK, TICK_LATE, later};
use crate::model::{
    Micros,
    limit::TICKS_COUNTED_MAX,
    manifest::{MISSED_ALL_MAX, Missed, Schedule},
    trigger::Tick,
};
use moments::Moments;

/// The schedule of one function at work. It keeps nothing: `last`, which the caller stores, is all there is.
pub struct Ticks {
    moments: Moments,
    jitter: i64,
    missed: Missed,
    seed: u64,
}

/// What is due, and what is stored as `last` together with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    pub ticks: Vec<Tick>,
    pub last: Micros,
}

/// Why a schedule can't be kept that could be when its release was made: another version of the time zones knows its zone no more.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Ticks {
    /// `function`: its full name, which decides the jitter together with the moment.
    pub fn new(schedule: &Schedule, function: &str) -> Result<Ticks, Refused> {
        let moments = Moments::of(schedule).map_err(|unkept| Refused(unkept.what))?;
        // FNV-1a: the same on every machine and in every release.
        let seed = function.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        Ok(Ticks { moments, jitter: span::of(schedule.jitter), missed: schedule.missed, seed })
    }

    /// The calls that are due at `now`. Without a `last` there are none: a schedule begins with its first deployment. A clock that was
    /// set back by more than a day was wrong before, and the schedule goes on from now; by less, it waits until the clock is there again.
    pub fn due(&self, last: Option<Micros>, now: Micros) -> Due {
        let Some(last) = last.filter(|last| !is_set_back(*last, now)) else { return Due { ticks: Vec::new(), last: now } };
        let mut moments = self.moments.newest(last, now, TICKS_COUNTED_MAX);
        // One after another: none is called before those that came first.
        moments.truncate(moments.iter().take_while(|moment| self.called_at(**moment) <= now).count());
        let missed = moments.iter().take_while(|moment| now.0 - self.called_at(**moment).0 > TICK_LATE).count();
        let let_go = match self.missed {
            Missed::Skip => missed,
            Missed::Once if missed == moments.len() => missed.saturating_sub(1),
            Missed::Once => missed,
            Missed::All => moments.len().saturating_sub(MISSED_ALL_MAX as usize),
        };
        let called = moments.split_off(let_go);
        let mut ticks: Vec<Tick> = called.iter().map(|moment| Tick { scheduled: *moment, missed: 0 }).collect();
        if let Some(first) = ticks.first_mut() {
            first.missed = let_go as u64;
        }
        // Where nothing was called, what was let go is told with the next call: it still lies after `last`.
        Due { ticks, last: called.last().copied().unwrap_or(last) }
    }

    /// When [`Ticks::due`] comes to something next. None: never again.
    pub fn next(&self, last: Option<Micros>, now: Micros) -> Option<Micros> {
        let last = last.filter(|last| !is_set_back(*last, now)).unwrap_or(now);
        if !self.due(Some(last), now).ticks.is_empty() {
            return Some(now);
        }
        let waiting = self.moments.newest(last, now, TICKS_COUNTED_MAX).into_iter().find(|moment| self.called_at(*moment) > now);
        let next = waiting.or_else(|| self.moments.after(last.max(now)))?;
        Some(self.called_at(next))
    }

    /// The same on every node, and as if by chance between functions and moments.
    fn called_at(&self, moment: Micros) -> Micros {
        if self.jitter == 0 {
            return moment;
        }
        // The last steps of splitmix64.
        let mixed = self.seed ^ (moment.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        later(moment, ((mixed ^ (mixed >> 31)) % self.jitter as u64) as i64)
    }
}

fn is_set_back(last: Micros, now: Micros) -> bool {
    last.0.saturating_sub(now.0) > CLOCK_BACK
}
