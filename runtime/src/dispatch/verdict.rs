//! What a failed attempt comes to. Pure.

use crate::{
    engine::Failure,
    model::{
        Micros,
        manifest::{Backoff, Retry},
    },
};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Done,
    /// Again, not before this time.
    Retry {
        due: Micros,
    },
    /// To the dead letters.
    Dead,
}

/// `attempt` is the number of the attempt that just ended, 1 for the first.
pub fn verdict(result: &Result<(), Failure>, attempt: u32, retry: &Retry, now: Micros) -> Verdict {
    let after = match result {
        Ok(()) => return Verdict::Done,
        Err(Failure::Reject(_)) => return Verdict::Dead,
        Err(_) if attempt >= retry.attempts_max => return Verdict::Dead,
        Err(Failure::Retry { after, .. }) => *after,
        Err(_) => None,
    };
    let wait = after.unwrap_or_else(|| backoff(attempt, retry)).min(retry.delay_max.max(retry.delay));
    Verdict::Retry { due: now.plus_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)) }
}

fn backoff(attempt: u32, retry: &Retry) -> Duration {
    let factor = match retry.backoff {
        Backoff::Linear => attempt,
        Backoff::Exponential => 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX),
    };
    retry.delay.saturating_mul(factor).min(retry.delay_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_000_000);

    fn policy(backoff: Backoff) -> Retry {
        Retry { attempts_max: 4, backoff, delay: Duration::from_secs(2), delay_max: Duration::from_secs(5) }
    }

    fn trap() -> Result<(), Failure> {
        Err(Failure::Trap("unreachable".into()))
    }

    #[test]
    fn waits_grow_to_their_limit_and_end_in_the_dead_letters() {
        let wait = |attempt, backoff| match verdict(&trap(), attempt, &policy(backoff), NOW) {
            Verdict::Retry { due } => due.millis_since(NOW),
            other => unreachable!("{other:?}"),
        };
        assert_eq!([1, 2, 3].map(|n| wait(n, Backoff::Exponential)), [2_000, 4_000, 5_000]);
        assert_eq!([1, 2, 3].map(|n| wait(n, Backoff::Linear)), [2_000, 4_000, 5_000]);
        assert_eq!(verdict(&trap(), 4, &policy(Backoff::Linear), NOW), Verdict::Dead);
    }

    #[test]
    fn a_handler_decides_its_own_wait_but_not_the_number_of_tries() {
        let again = Err(Failure::Retry { after: Some(Duration::from_millis(10)), reason: "busy".into() });
        assert_eq!(verdict(&again, 1, &policy(Backoff::Linear), NOW), Verdict::Retry { due: Micros(1_010_000) });
        assert_eq!(verdict(&again, 4, &policy(Backoff::Linear), NOW), Verdict::Dead);
    }

    #[test]
    fn a_rejected_event_is_dead_at_once() {
        assert_eq!(verdict(&Err(Failure::Reject("no".into())), 1, &policy(Backoff::Linear), NOW), Verdict::Dead);
        assert_eq!(verdict(&Ok(()), 1, &policy(Backoff::Linear), NOW), Verdict::Done);
    }
}
