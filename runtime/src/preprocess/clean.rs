//! A rule over readings: each passes, is changed, or is taken out. Pure.

use super::{
    chain::{Held, Sample, State, Verdict},
    rule::{Rule, mark},
};
use crate::model::{NewEvent, Value};

impl Rule {
    /// What becomes of a reading. Changed, it has what the device sent beside it; taken out, it says why.
    pub fn clean(&self, state: &mut State, mut reading: NewEvent) -> NewEvent {
        let sample = Sample { measured: reading.measured.0, value: held(&reading.value) };
        match self.chain().apply(state, sample) {
            Verdict::Passed => reading,
            // Finite, so it has a text.
            Verdict::Changed(number) => {
                let value = Value::number(number).unwrap_or_else(|| reading.value.clone());
                reading.raw = Some(Box::new(std::mem::replace(&mut reading.value, value)));
                reading
            }
            Verdict::Dropped(step, reason) => reading.dropped(serde_json::json!({
                "rule": self.name.to_string(),
                "step": format!("steps[{step}]"),
                "code": reason.code(),
                "reason": reason.to_string(),
            })),
        }
    }
}

fn held(value: &Value) -> Held {
    let bytes = match value {
        Value::Json(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
    };
    value.as_f64().map_or_else(|| Held::Other(mark(bytes)), Held::Number)
}
