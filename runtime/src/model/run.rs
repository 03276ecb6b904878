//! How one call of a function went: the value of an event of [`Kind::Run`], as JSON (`docs/formats/run.md`).

use super::{
    effect::Effects,
    event::{Kind, NewEvent, Seq},
    id::Id,
    limit::{RUN_EFFECTS_MAX, RUN_ERROR_BYTES_MAX, RUN_TEXT_BYTES_MAX},
    time::Micros,
    value::Value,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt};

/// One call, whole in itself: who reads it needs neither the event nor the release that it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub app: Id,
    pub function: Id,
    pub release: u64,
    /// The call's id: the same in every attempt.
    pub call: String,
    /// The event handled; 0 for an HTTP call.
    pub event: Seq,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<Id>,
    /// What called it: `reading`, `message`, `command`, `http`, or the trigger's own word, as `window`.
    pub trigger: String,
    /// 1 for the first.
    pub attempt: u32,
    pub start: Micros,
    pub took_micros: u64,
    pub cpu_micros: u64,
    /// All memory that its instance had when it ended; it never shrinks.
    pub memory_bytes: u64,
    pub outcome: RunOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many effects there are of each kind; a call that failed has none.
    #[serde(default)]
    pub writes: u32,
    #[serde(default)]
    pub messages: u32,
    #[serde(default)]
    pub commands: u32,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<RunEffect>,
    /// What an HTTP call was asked, without its query: that may hold a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RunRequest>,
    /// Calls of this function that went well and were not recorded since the last record on this node.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// It was run again by somebody, out of order.
    #[serde(default, skip_serializing_if = "is_false")]
    pub replay: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    Done,
    /// It failed, and is tried again.
    Retry,
    /// It failed for the last time.
    Dead,
    /// An HTTP call, or a replay, that failed: who asked was told.
    Failed,
}

/// One effect by what tells it from another, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEffect {
    pub kind: EffectKind,
    /// A key of the state, a subject, or `DEVICE/ACTUATOR`.
    pub name: String,
    pub bytes: u64,
    /// The first 16 hex digits of the value's SHA-256; none for what has no value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EffectKind {
    Write,
    Delete,
    Publish,
    Command,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    pub method: String,
    pub path: String,
    /// 0: it was not answered by the function.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub status: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_false(yes: &bool) -> bool {
    !yes
}

impl RunOutcome {
    pub const ALL: [RunOutcome; 4] = [RunOutcome::Done, RunOutcome::Retry, RunOutcome::Dead, RunOutcome::Failed];

    pub fn name(self) -> &'static str {
        match self {
            RunOutcome::Done => "done",
            RunOutcome::Retry => "retry",
            RunOutcome::Dead => "dead",
            RunOutcome::Failed => "failed",
        }
    }

    pub fn is_error(self) -> bool {
        self != RunOutcome::Done
    }
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EffectKind::Write => "write",
            EffectKind::Delete => "delete",
            EffectKind::Publish => "publish",
            EffectKind::Command => "command",
        })
    }
}

impl RunEffect {
    fn new(kind: EffectKind, name: &str, value: &[u8]) -> RunEffect {
        let hash = if kind == EffectKind::Delete { String::new() } else { super::Digest::of(value).hex()[..16].to_owned() };
        RunEffect { kind, name: cut(name, RUN_TEXT_BYTES_MAX).into_owned(), bytes: value.len() as u64, hash }
    }

    pub fn published(subject: &str, value: &Value) -> RunEffect {
        RunEffect::new(EffectKind::Publish, subject, bytes(value))
    }

    /// By its value as the log has it, which is JSON.
    pub fn commanded(device: &Id, actuator: &Id, value: &serde_json::Value) -> RunEffect {
        RunEffect::new(EffectKind::Command, &format!("{device}/{actuator}"), value.to_string().as_bytes())
    }

    /// What a call wants done, in one order: writes, messages, commands.
    pub fn all(effects: &Effects) -> impl Iterator<Item = RunEffect> {
        let writes = effects.writes.iter().map(|write| match &write.value {
            Some(value) => RunEffect::new(EffectKind::Write, &write.key, value),
            None => RunEffect::new(EffectKind::Delete, &write.key, b""),
        });
        let messages = effects.messages.iter().map(|message| RunEffect::published(message.subject.as_str(), &message.value));
        let commands =
            effects.commands.iter().map(|command| RunEffect::commanded(&command.device, &command.actuator, &command.value.to_json()));
        writes.chain(messages).chain(commands)
    }
}

/// What is hashed of a value: its text, or its bytes.
fn bytes(value: &Value) -> &[u8] {
    match value {
        Value::Json(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
    }
}

/// No more of a text than a record holds.
fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return text.into();
    }
    let end = (0..=bytes_max - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end]).into()
}

impl Run {
    /// What the call asked for, as far as it counts.
    pub fn with_effects(mut self, effects: &Effects) -> Run {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        self.writes = count(effects.writes.len());
        self.messages = count(effects.messages.len());
        self.commands = count(effects.commands.len());
        self.effects = RunEffect::all(effects).take(RUN_EFFECTS_MAX).collect();
        self
    }

    pub fn with_error(mut self, error: &str) -> Run {
        self.error = Some(cut(error, RUN_ERROR_BYTES_MAX).into_owned());
        self
    }

    pub fn with_request(mut self, method: &str, path: &str, status: u64) -> Run {
        self.request = Some(RunRequest {
            method: cut(method, RUN_TEXT_BYTES_MAX).into_owned(),
            path: cut(path, RUN_TEXT_BYTES_MAX).into_owned(),
            status,
        });
        self
    }

    /// What a call for this event is called by.
    pub fn trigger_of(event: &NewEvent) -> String {
        let of_time = || match &event.value {
            // The value of such an event is one object with one member, whose name is the trigger's.
            Value::Json(text) => text.split('"').nth(1).unwrap_or("trigger").to_owned(),
            Value::Bytes(_) => "trigger".to_owned(),
        };
        match event.kind {
            Kind::Reading => "reading".to_owned(),
            Kind::Message => "message".to_owned(),
            Kind::Command => "command".to_owned(),
            _ => of_time(),
        }
    }

    pub fn to_value(&self) -> Value {
        // Strings and whole numbers under names of ours: there is nothing that could not be written.
        Value::Json(serde_json::to_string(self).unwrap_or_default().into())
    }

    pub fn from_value(value: &Value) -> Option<Run> {
        match value {
            Value::Json(text) => serde_json::from_str(text).ok(),
            Value::Bytes(_) => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::{Write, effect::Message};

    fn run() -> Run {
        let id = |text| Id::new(text).unwrap();
        Run {
            app: id("shop"),
            function: id("on-order"),
            release: 3,
            call: "main-7-on-order".into(),
            event: 7,
            subject: "reading.d.t".into(),
            device: Some(id("d")),
            sensor: Some(id("t")),
            trigger: "reading".into(),
            attempt: 1,
            start: Micros(5),
            took_micros: 1_500,
            cpu_micros: 900,
            memory_bytes: 1 << 20,
            outcome: RunOutcome::Done,
            error: None,
            writes: 0,
            messages: 0,
            commands: 0,
            effects: Vec::new(),
            request: None,
            skipped: 0,
            replay: false,
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_and_one_with_more_names_is_read_as_well() {
        let one = run().with_request("GET", "/a", 200).with_error("it said no");
        assert_eq!(Run::from_value(&one.to_value()), Some(one.clone()));
        let Value::Json(text) = one.to_value() else { unreachable!() };
        let later = format!("{{\"of a later version\": [1], {}", &text[1..]);
        assert_eq!(Run::from_value(&Value::Json(later.into())), Some(one));
    }

    #[test]
    fn a_record_holds_only_so_much() {
        let writes = (0..1_000).map(|n| Write { key: format!("{n}{}", "é".repeat(400)), value: Some(vec![0; 9].into()) });
        let subject = crate::model::Subject::new("a.b").unwrap();
        let messages = vec![Message { subject, value: Value::json("1").unwrap() }];
        let effects = Effects { writes: writes.collect(), messages, commands: vec![] };
        let one = run().with_effects(&effects).with_error(&"no ".repeat(10_000)).with_request("GET", &"/a".repeat(10_000), 0);
        assert_eq!((one.writes, one.messages, one.effects.len()), (1_000, 1, RUN_EFFECTS_MAX));
        assert!(one.error.as_ref().unwrap().len() <= RUN_ERROR_BYTES_MAX && one.effects[0].name.ends_with('…'));
        assert!(one.to_value().len_bytes() < 16 * 1024, "{}", one.to_value().len_bytes());
    }

    #[test]
    fn what_is_the_same_has_one_hash() {
        let of = |value: &[u8]| RunEffect::new(EffectKind::Write, "k", value);
        assert_eq!(of(b"1"), of(b"1"));
        assert_ne!(of(b"1"), of(b"2"));
        assert_eq!(RunEffect::new(EffectKind::Delete, "k", b"").hash, "");
    }
}
