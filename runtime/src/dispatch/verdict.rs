//! What a failed attempt comes to. Pure.

use crate::{
    engine::Failure,
    model::{Micros, manifest::Delivery},
};

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

/// `attempt` is the number of the attempt of `call` that just ended, 1 for the first.
pub fn verdict(result: &Result<(), Failure>, call: &str, attempt: u32, delivery: &Delivery, now: Micros) -> Verdict {
    let asked = match result {
        Ok(()) => return Verdict::Done,
        Err(Failure::Reject(_)) => return Verdict::Dead,
        Err(_) if attempt > delivery.retry => return Verdict::Dead,
        Err(Failure::Retry { after, .. }) => *after,
        Err(_) => None,
    };
    let wait = delivery.wait(attempt, call, asked);
    Verdict::Retry { due: now.plus_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::BackoffPolicy;
    use std::time::Duration;

    const NOW: Micros = Micros(1_000_000);

    fn policy(backoff_policy: BackoffPolicy) -> Delivery {
        let (backoff_delay, retry_after_max) = (Duration::from_secs(2), Duration::from_secs(5));
        Delivery { retry: 3, backoff_policy, backoff_delay, retry_after_max, jitter_percent: 0 }
    }

    fn trap() -> Result<(), Failure> {
        Err(Failure::Trap("unreachable".into()))
    }

    fn again(after: Duration) -> Result<(), Failure> {
        Err(Failure::Retry { after: Some(after), reason: "busy".into() })
    }

    #[test]
    fn waits_grow_to_their_limit_and_end_in_the_dead_letters() {
        let wait = |attempt, backoff| match verdict(&trap(), "c", attempt, &policy(backoff), NOW) {
            Verdict::Retry { due } => due.millis_since(NOW),
            other => unreachable!("{other:?}"),
        };
        assert_eq!([1, 2, 3].map(|n| wait(n, BackoffPolicy::Exponential)), [2_000, 4_000, 5_000]);
        assert_eq!([1, 2, 3].map(|n| wait(n, BackoffPolicy::Linear)), [2_000, 4_000, 5_000]);
        assert_eq!(verdict(&trap(), "c", 4, &policy(BackoffPolicy::Linear), NOW), Verdict::Dead);
        let once = Delivery { retry: 0, ..policy(BackoffPolicy::Linear) };
        assert_eq!(verdict(&trap(), "c", 1, &once, NOW), Verdict::Dead, "no retry is one attempt");
    }

    #[test]
    fn a_handler_decides_its_own_wait_but_not_the_number_of_tries() {
        let again = again(Duration::from_millis(10));
        assert_eq!(verdict(&again, "c", 1, &policy(BackoffPolicy::Linear), NOW), Verdict::Retry { due: Micros(1_010_000) });
        assert_eq!(verdict(&again, "c", 4, &policy(BackoffPolicy::Linear), NOW), Verdict::Dead);
    }

    #[test]
    fn a_rejected_event_is_dead_at_once() {
        assert_eq!(verdict(&Err(Failure::Reject("no".into())), "c", 1, &policy(BackoffPolicy::Linear), NOW), Verdict::Dead);
        assert_eq!(verdict(&Ok(()), "c", 1, &policy(BackoffPolicy::Linear), NOW), Verdict::Done);
    }

    /// When the poison among the good ones is out of their way, were every attempt to run out of its time.
    fn blocked(failure: &Result<(), Failure>, delivery: &Delivery, timeout: Duration) -> Duration {
        let mut now = NOW;
        let took = |now: Micros| now.plus_millis(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        for attempt in 1.. {
            now = took(now);
            match verdict(failure, "main-7-on", attempt, delivery, now) {
                Verdict::Retry { due } => now = due,
                Verdict::Dead => break,
                Verdict::Done => unreachable!("it always fails"),
            }
        }
        Duration::from_millis(now.millis_since(NOW))
    }

    #[test]
    fn a_poison_message_blocks_its_key_no_longer_than_its_policy_allows() {
        let (timeout, day) = (Duration::from_secs(3), Duration::from_secs(24 * 3600));
        for retry in [0, 1, 7, 100] {
            for backoff in [BackoffPolicy::Linear, BackoffPolicy::Exponential] {
                for jitter_percent in [0, 20, 100] {
                    let delivery = Delivery { retry, jitter_percent, ..policy(backoff) };
                    let most = delivery.blocks_at_most(timeout);
                    assert!(blocked(&trap(), &delivery, timeout) <= most, "{delivery:?}");
                    assert_eq!(blocked(&again(day), &delivery, timeout), most, "a handler that asks for all it can get: {delivery:?}");
                }
            }
        }
        let rejects = Err(Failure::Reject("no".into()));
        assert_eq!(blocked(&rejects, &policy(BackoffPolicy::Linear), timeout), timeout, "who says that it is hopeless waits for nothing");
    }
}
