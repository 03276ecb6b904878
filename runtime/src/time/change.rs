//! Change: a value that differs enough from the one that was told last.

use super::{desk::Desk, sample::Sample, series::Follow};
use crate::model::{
    Event, Value,
    manifest::Difference,
    trigger::{Change as Told, Fired, Sampled},
};

pub(super) struct Change {
    pub by: Difference,
}

impl Follow for Change {
    /// The reading that was told last.
    type State = Option<Sample>;
    const PATIENT: bool = false;

    fn take(&self, told: &mut Option<Sample>, event: &Event, desk: &mut Desk<'_>) -> bool {
        let differs = told.as_ref().map_or_else(|| self.counts(&event.value), |told| self.differs(&told.value, &event.value));
        if differs {
            let previous = told.replace(Sample::of(event)).map(Sample::told);
            let change = Told { reading: Sampled::of(event), previous };
            desk.fire(Fired::Change(change), event.measured, event.seq, event.hops());
        }
        differs
    }
}

impl Change {
    /// By how much a word differs from another, or from a number, nobody can say.
    fn counts(&self, value: &Value) -> bool {
        matches!(self.by, Difference::Any) || value.as_f64().is_some()
    }

    fn differs(&self, old: &Value, new: &Value) -> bool {
        let numbers = old.as_f64().zip(new.as_f64());
        match (&self.by, numbers) {
            (Difference::Any, Some((a, b))) => a != b || integers_differ(old, new),
            (Difference::Any, None) => values_differ(old, new),
            (Difference::Absolute(by), Some((a, b))) => by_enough(a, b, *by),
            (Difference::Relative(by), Some((a, b))) => by_enough(a, b, by * a.abs()),
            (_, None) => false,
        }
    }
}

/// 20.3 to 20.4 is a change by 0.1 to everybody but a binary number: what both lose in being one is granted.
fn by_enough(old: f64, new: f64, by: f64) -> bool {
    let (apart, lost) = ((new - old).abs(), (old.abs() + new.abs()) * f64::EPSILON);
    apart > 0.0 && apart + lost >= by
}

/// Counters and ids may have more digits than a floating number keeps.
fn integers_differ(old: &Value, new: &Value) -> bool {
    let integer = |value: &Value| match value {
        Value::Json(text) => text.trim_matches('"').trim().parse::<i128>().ok(),
        Value::Bytes(_) => None,
    };
    integer(old).zip(integer(new)).is_some_and(|(old, new)| old != new)
}

/// As JSON, not as text: neither white space nor the order of fields is a change.
fn values_differ(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Json(a), Value::Json(b)) => a != b && old.to_json() != new.to_json(),
        _ => old != new,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_what_a_person_would_call_one() {
        let differs = |by: &Difference, old: &str, new: &str| {
            Change { by: by.clone() }.differs(&Value::json(old).unwrap(), &Value::json(new).unwrap())
        };
        let any = Difference::Any;
        for (old, new) in [
            ("1", "1.0"),
            ("\"61.10\"", "61.1"),
            ("{\"a\":1,\"b\":2}", "{\"b\": 2, \"a\": 1}"),
            ("\"a\"", "\"\\u0061\""),
            ("[1, 2]", "[1,2]"),
        ] {
            assert!(!differs(&any, old, new), "{old} {new}");
        }
        for (old, new) in [
            ("1", "2"),
            ("true", "false"),
            ("9007199254740993", "9007199254740992"),
            ("\"on\"", "\"off\""),
            ("1", "\"one\""),
            ("null", "0"),
        ] {
            assert!(differs(&any, old, new), "{old} {new}");
        }
        let tenth = Difference::Absolute(0.1);
        assert!(differs(&tenth, "20.3", "20.4") && differs(&tenth, "20.4", "20.3") && !differs(&tenth, "20.3", "20.39"));
        assert!(!differs(&tenth, "20.3", "\"broken\"") && !differs(&tenth, "\"broken\"", "\"worse\""));
        let percent = Difference::Relative(0.1);
        assert!(differs(&percent, "50", "55") && differs(&percent, "-50", "-45") && !differs(&percent, "50", "54"));
        assert!(differs(&percent, "0", "0.001") && !differs(&percent, "0", "0"));
    }

    #[test]
    fn bytes_are_compared_as_bytes() {
        let any = Change { by: Difference::Any };
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec().into());
        assert!(any.differs(&bytes(b"1"), &bytes(b"2")) && !any.differs(&bytes(b"1"), &bytes(b"1")));
        assert!(any.differs(&bytes(b"1"), &Value::json("1").unwrap()));
    }
}
