//! Which rules there can be.

use super::span;
use crate::model::{
    limit::{BATCH_READINGS_MAX, PERCENTILES_MAX, RULE_DAYS_MAX, WINDOW_PANES_MAX, WINDOWS_KEPT_MAX},
    manifest::{Difference, Rule, Shape, Threshold, Window},
};
use std::time::Duration;

/// Why a rule or a schedule can't be, for the author who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    pub reason: String,
    pub hint: String,
}

pub(super) fn refused<T>(reason: impl Into<String>, hint: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { reason: reason.into(), hint: hint.into() })
}

pub(super) fn check(rule: &Rule) -> Result<(), Refused> {
    match rule {
        Rule::Batch { max, within } => {
            length("within", *within)?;
            if !(1..=BATCH_READINGS_MAX as u32).contains(max) {
                let reason = format!("a batch can't have at most {max} readings");
                return refused(reason, format!("`max` is from 1 to {BATCH_READINGS_MAX}"));
            }
            Ok(())
        }
        Rule::Window(window) => check_window(window),
        Rule::Silence { after } => length("after", *after),
        Rule::Change(Difference::Any) => Ok(()),
        Rule::Change(Difference::Absolute(by) | Difference::Relative(by)) if by.is_finite() && *by > 0.0 => Ok(()),
        Rule::Change(Difference::Absolute(by) | Difference::Relative(by)) => {
            refused(format!("nothing changes by {by}"), "give a number above 0, or `any`")
        }
        Rule::Threshold(threshold) => check_threshold(threshold),
        Rule::Every { n: 0 } => refused("there is no reading of every 0", "`every` is 1 or more"),
        Rule::Every { .. } => Ok(()),
    }
}

fn check_threshold(threshold: &Threshold) -> Result<(), Refused> {
    at_most("hold", threshold.hold)?;
    if !threshold.limit.is_finite() {
        return refused(format!("nothing is beyond {}", threshold.limit), "give a number");
    }
    if !threshold.hysteresis.is_finite() || threshold.hysteresis < 0.0 {
        return refused(format!("a hysteresis can't be {}", threshold.hysteresis), "give how far it has to come back: 0 or more");
    }
    Ok(())
}

fn check_window(window: &Window) -> Result<(), Refused> {
    for (name, duration) in [("lateness", window.lateness), ("ahead", window.ahead), ("idle", window.idle)] {
        at_most(name, duration)?;
    }
    if let Some(wrong) = window.percentiles.iter().find(|percent| !(0.0..=100.0).contains(*percent)) {
        return refused(format!("there is no percentile {wrong}"), "percentiles are from 0 to 100");
    }
    if window.percentiles.len() > PERCENTILES_MAX {
        return refused(format!("{} percentiles are too many", window.percentiles.len()), format!("there are at most {PERCENTILES_MAX}"));
    }
    match window.shape {
        Shape::Tumbling { length: long } => {
            length("length", long)?;
            check_kept(long, long, window.lateness)
        }
        Shape::Sliding { length: long, every } => {
            length("length", long)?;
            length("every", every)?;
            let pane = super::window::greatest_measure(span::of(long), span::of(every));
            let panes = span::of(long) / pane;
            if panes > WINDOW_PANES_MAX as i64 {
                let reason = format!("a window of {long:?} every {every:?} has {panes} parts");
                let hint = format!(
                    "let `length` be a multiple of `every`, or have a large common measure with it: at most {WINDOW_PANES_MAX} parts"
                );
                return refused(reason, hint);
            }
            check_kept(Duration::from_micros(pane as u64), long, window.lateness)
        }
        Shape::Session { gap } => length("gap", gap),
    }
}

fn check_kept(pane: Duration, length: Duration, lateness: Duration) -> Result<(), Refused> {
    let kept = (span::of(length) + span::of(lateness)) / span::of(pane);
    if kept > WINDOWS_KEPT_MAX as i64 {
        let reason = format!("with a lateness of {lateness:?}, {kept} windows of each sensor would be kept");
        return refused(reason, format!("a shorter `lateness`, or longer windows: at most {WINDOWS_KEPT_MAX} are kept"));
    }
    Ok(())
}

fn length(name: &str, duration: Duration) -> Result<(), Refused> {
    if duration.is_zero() {
        return refused(format!("`{name}` can't be 0"), "give a duration as in `10m`");
    }
    at_most(name, duration)
}

fn at_most(name: &str, duration: Duration) -> Result<(), Refused> {
    let most = Duration::from_secs(RULE_DAYS_MAX * 24 * 60 * 60);
    if duration > most {
        return refused(format!("`{name}` is too long: {duration:?}"), format!("at most `{RULE_DAYS_MAX}d`"));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::manifest::Per;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn window(shape: Shape, lateness: Duration, percentiles: &[f64]) -> Rule {
        let (ahead, idle) = (SECOND, SECOND);
        Rule::Window(Window { shape, per: Per::Sensor, lateness, ahead, idle, readings: false, percentiles: percentiles.to_vec() })
    }

    #[test]
    fn a_rule_that_can_t_be_is_refused_with_a_hint() {
        let threshold = |limit, hysteresis| Rule::Threshold(Threshold { above: true, limit, hysteresis, hold: SECOND });
        for (rule, wrong) in [
            (Rule::Batch { max: 0, within: SECOND }, "0 readings"),
            (Rule::Batch { max: BATCH_READINGS_MAX as u32 + 1, within: SECOND }, "1001 readings"),
            (Rule::Batch { max: 1, within: Duration::ZERO }, "`within` can't be 0"),
            (Rule::Silence { after: Duration::ZERO }, "`after` can't be 0"),
            (Rule::Silence { after: DAY * 367 }, "`after` is too long"),
            (Rule::Change(Difference::Absolute(0.0)), "by 0"),
            (Rule::Change(Difference::Relative(f64::NAN)), "by NaN"),
            (threshold(f64::INFINITY, 0.0), "beyond inf"),
            (threshold(1.0, -1.0), "can't be -1"),
            (Rule::Every { n: 0 }, "every 0"),
            (window(Shape::Tumbling { length: Duration::ZERO }, DAY, &[]), "`length` can't be 0"),
            (window(Shape::Sliding { length: DAY, every: Duration::ZERO }, DAY, &[]), "`every` can't be 0"),
            (window(Shape::Session { gap: Duration::ZERO }, DAY, &[]), "`gap` can't be 0"),
            (window(Shape::Tumbling { length: SECOND }, DAY, &[]), "86401 windows"),
            (window(Shape::Tumbling { length: SECOND }, SECOND, &[101.0]), "percentile 101"),
            (window(Shape::Tumbling { length: SECOND }, SECOND, &[1.0; PERCENTILES_MAX + 1]), "17 percentiles"),
        ] {
            let refused = check(&rule).unwrap_err();
            assert!(refused.reason.contains(wrong) && !refused.hint.is_empty(), "{refused:?}");
        }
        assert_eq!(check(&window(Shape::Tumbling { length: SECOND * 60 }, DAY * 13, &[50.0])), Ok(()));
        assert_eq!(check(&threshold(0.0, 0.0)), Ok(()));
    }

    #[test]
    fn a_sliding_window_has_only_so_many_parts() {
        let sliding = |length, every| check(&window(Shape::Sliding { length, every }, SECOND, &[]));
        assert_eq!(sliding(DAY, SECOND * 60), Ok(()));
        assert_eq!(sliding(SECOND, DAY), Ok(()), "windows with nothing between them");
        assert!(sliding(DAY, SECOND * 59).unwrap_err().reason.ends_with("86400 parts"));
    }
}
