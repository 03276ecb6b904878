//! What a call did, before any of it has happened.

use super::{id::Id, subject::Subject, time::Micros, value::Value};
use serde::{Deserialize, Serialize};

/// Everything one call wants done, in order. Nothing of it has left the call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    pub writes: Vec<Write>,
    pub messages: Vec<Message>,
    pub commands: Vec<Command>,
}

/// `value: None` deletes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    pub key: String,
    pub value: Option<bytes::Bytes>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub subject: Subject,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub device: Id,
    pub actuator: Id,
    pub value: Value,
    pub id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

/// One line a function wrote, by the log interface, stdout or stderr. Kept for failed attempts too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    pub time: Micros,
    pub level: LogLevel,
    pub context: String,
    pub message: String,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.messages.is_empty() && self.commands.is_empty()
    }

    /// What came after these.
    pub fn extend(&mut self, later: Effects) {
        self.writes.extend(later.writes);
        self.messages.extend(later.messages);
        self.commands.extend(later.commands);
    }
}
