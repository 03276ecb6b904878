//! What becomes of an event whose call fails: how often it is tried again, when, and how long its key waits for it. In the words of
//! Knative's `DeliverySpec` where it has them.

use super::{
    quantity,
    section::{Problems, Section},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;

const DELIVERY: &[&str] = &["retry", "backoff-policy", "backoff-delay", "retry-after-max", "jitter"];

/// An event that fails this often fails for ever.
pub const RETRY_MAX: u32 = 100;
/// An event parked for longer would outlive `log_retention`.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackoffPolicy {
    /// The delay, twice the delay, three times the delay.
    Linear,
    /// The delay, twice that, twice that again.
    Exponential,
}

/// Its serde form is a format (`docs/formats/release.md`), and older than its fields' names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Tries after the first; after the last, the dead letters.
    #[serde(rename = "attempts_max", with = "attempts")]
    pub retry: u32,
    #[serde(rename = "backoff")]
    pub backoff_policy: BackoffPolicy,
    #[serde(rename = "delay_ms", with = "quantity::millis")]
    pub backoff_delay: Duration,
    /// No wait is longer, whoever asks for it.
    #[serde(rename = "delay_max_ms", with = "quantity::millis")]
    pub retry_after_max: Duration,
    /// How much of a backoff may be left out, by chance. A release from before there was such a thing has none.
    #[serde(default)]
    pub jitter_percent: u32,
}

impl Default for Delivery {
    fn default() -> Delivery {
        Delivery {
            retry: 4,
            backoff_policy: BackoffPolicy::Exponential,
            backoff_delay: Duration::from_secs(1),
            retry_after_max: Duration::from_secs(300),
            jitter_percent: 20,
        }
    }
}

impl Delivery {
    /// How long to wait before attempt `attempt + 1` of the call with this id. A wait that the handler `asked` for is kept to
    /// the letter; of another, a part is left out, so that what failed together does not come back together. Which part, id and
    /// attempt decide: it is the same on every node, and as often as it is asked.
    pub fn wait(&self, attempt: u32, call: &str, asked: Option<Duration>) -> Duration {
        match asked {
            Some(asked) => asked.min(self.retry_after_max),
            None => self.without_some(self.backoff(attempt), call, attempt),
        }
    }

    fn backoff(&self, attempt: u32) -> Duration {
        let factor = match self.backoff_policy {
            BackoffPolicy::Linear => attempt,
            BackoffPolicy::Exponential => 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX),
        };
        self.backoff_delay.saturating_mul(factor).min(self.retry_after_max)
    }

    fn without_some(&self, wait: Duration, call: &str, attempt: u32) -> Duration {
        let digest = Sha256::new().chain_update(call).chain_update(attempt.to_be_bytes()).finalize();
        let chance = digest.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
        // In whole numbers, so that it is the same on every machine: `chance` is a part of 2^32.
        let most = wait.saturating_mul(self.jitter_percent.min(100)) / 100;
        let part = (most.as_nanos() * u128::from(chance)) >> 32;
        wait.saturating_sub(Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX)))
    }

    /// How long one event can hold up the others of its key: every attempt runs out of its time, and every wait is as long as a
    /// handler can ask for. What the node adds when it has more to do than it can is not in it.
    pub fn blocks_at_most(&self, timeout: Duration) -> Duration {
        timeout.saturating_mul(self.retry.saturating_add(1)).saturating_add(self.retry_after_max.saturating_mul(self.retry))
    }
}

/// `delivery` of an `[[on]]` entry.
pub(super) fn read(problems: &Problems<'_>, entry: &Section<'_>) -> Delivery {
    refuse_old(problems, entry);
    let Some(table) = entry.table("delivery", "delivery = { ... }", DELIVERY) else { return Delivery::default() };
    let default = Delivery::default();
    let backoff_delay = table.duration("backoff-delay", RETRY_AFTER_MAX).unwrap_or(default.backoff_delay);
    let retry_after_max = table.duration("retry-after-max", RETRY_AFTER_MAX).unwrap_or(default.retry_after_max.max(backoff_delay));
    if backoff_delay > retry_after_max {
        problems.add(table.span_of("retry-after-max"), "`retry-after-max` is less than `backoff-delay`");
    }
    let policies = [("exponential", BackoffPolicy::Exponential), ("linear", BackoffPolicy::Linear)];
    Delivery {
        retry: table.integer("retry", 0..=RETRY_MAX).unwrap_or(default.retry),
        backoff_policy: table.word("backoff-policy", &policies).unwrap_or(default.backoff_policy),
        backoff_delay,
        retry_after_max,
        jitter_percent: table.percent("jitter").unwrap_or(default.jitter_percent),
    }
}

/// The key of before, which counted attempts: says what to write instead, in full.
fn refuse_old(problems: &Problems<'_>, entry: &Section<'_>) {
    if entry.has("retry") {
        let hint = format!("write `delivery = {{ {} }}`", renamed(entry));
        problems.add_with_hint(entry.span_of("retry"), "`retry` is a part of `delivery` now, and counts the tries after the first", hint);
    }
}

fn renamed(entry: &Section<'_>) -> String {
    let names = [("backoff", "backoff-policy"), ("delay", "backoff-delay"), ("delay-max", "retry-after-max")];
    let retry = entry.number_in("retry", "attempts").map(|attempts| format!("retry = {}", attempts.saturating_sub(1)));
    let others = names.iter().filter_map(|(old, new)| entry.text_in("retry", old).map(|text| format!("{new} = \"{text}\"")));
    let all: Vec<String> = retry.into_iter().chain(others).collect();
    if all.is_empty() { "retry = 4".to_owned() } else { all.join(", ") }
}

/// What is stored counts the first attempt too, as manifests did once.
mod attempts {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(retry: &u32, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(retry.saturating_add(1))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        u32::deserialize(from).map(|attempts| attempts.saturating_sub(1))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn millis(durations: impl IntoIterator<Item = Duration>) -> Vec<u128> {
        durations.into_iter().map(|wait| wait.as_millis()).collect()
    }

    fn plain(backoff_policy: BackoffPolicy) -> Delivery {
        let (backoff_delay, retry_after_max) = (Duration::from_secs(2), Duration::from_secs(7));
        Delivery { retry: 4, backoff_policy, backoff_delay, retry_after_max, jitter_percent: 0 }
    }

    #[test]
    fn waits_grow_to_their_limit() {
        let waits = |policy| millis((1..=4).map(|n| plain(policy).wait(n, "c", None)));
        assert_eq!(waits(BackoffPolicy::Linear), [2_000, 4_000, 6_000, 7_000]);
        assert_eq!(waits(BackoffPolicy::Exponential), [2_000, 4_000, 7_000, 7_000]);
        assert_eq!(plain(BackoffPolicy::Exponential).wait(100, "c", None), Duration::from_secs(7), "however often");
    }

    #[test]
    fn a_handler_is_given_the_wait_it_asks_for_up_to_the_limit() {
        let delivery = Delivery { jitter_percent: 100, ..plain(BackoffPolicy::Linear) };
        assert_eq!(delivery.wait(1, "c", Some(Duration::from_millis(10))), Duration::from_millis(10));
        assert_eq!(delivery.wait(1, "c", Some(Duration::from_secs(3600))), Duration::from_secs(7));
        assert_eq!(delivery.wait(3, "c", Some(Duration::ZERO)), Duration::ZERO);
    }

    /// A thousand devices whose calls failed together, because what they ask for was away, come back over a fifth of the wait.
    #[test]
    fn what_failed_together_does_not_come_back_together() {
        let delivery = Delivery { jitter_percent: 20, ..plain(BackoffPolicy::Linear) };
        let waits: Vec<u128> = millis((0..1_000).map(|n| delivery.wait(1, &format!("main-{n}-on"), None)));
        assert!(waits.iter().all(|wait| (1_600..=2_000).contains(wait)), "{waits:?}");
        for tenth in 0..10 {
            let from: u128 = 1_600 + 40 * tenth;
            let here = waits.iter().filter(|wait| (from..from + 40).contains(*wait)).count();
            assert!((60..=140).contains(&here), "{here} of 1,000 from {from} ms on");
        }
        assert_eq!(delivery.wait(1, "main-7-on", None), delivery.wait(1, "main-7-on", None), "another node says the same");
        assert_ne!(delivery.wait(1, "main-7-on", None) * 2, delivery.wait(2, "main-7-on", None), "each wait has its own chance");
    }

    #[test]
    fn how_long_an_event_can_hold_up_its_key_is_known() {
        let second = Duration::from_secs(1);
        assert_eq!(plain(BackoffPolicy::Linear).blocks_at_most(second), 5 * second + 4 * Duration::from_secs(7));
        assert_eq!(Delivery { retry: 0, ..Delivery::default() }.blocks_at_most(second), second);
        assert_eq!(Delivery { retry: u32::MAX, ..Delivery::default() }.blocks_at_most(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn a_release_from_before_means_what_it_meant() {
        let stored = r#"{"attempts_max":3,"backoff":"linear","delay_ms":2000,"delay_max_ms":7000}"#;
        let read: Delivery = serde_json::from_str(stored).unwrap();
        assert_eq!(read, Delivery { retry: 2, ..plain(BackoffPolicy::Linear) });
        let again: Delivery = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(again, read);
    }
}
