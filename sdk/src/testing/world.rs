//! What the fake host knows, and its rules, which are the node's.
//! In: calls of capabilities. Out: answers and effects. Never: threads, files, clocks.

use super::{Command, Fetch, LogLine, Published, query};
use crate::limit::*;
use crate::{
    Error, ErrorKind, Event, Result, Timestamp, Value,
    history::{Found, Query},
    log::Level,
    trigger::Delivery,
};
use std::collections::BTreeMap;

/// 2026-01-01T12:00:00Z.
const NOON: Timestamp = Timestamp::from_micros(1_767_268_800_000_000);

/// The `[[on]]` entry that everything is for, unless a test says otherwise.
pub const FUNCTION: &str = "test";

pub struct World {
    pub config: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, String>,
    pub past: Vec<Found>,
    pub logs: Vec<LogLine>,
    pub clock: Timestamp,
    /// None: everything.
    pub publish_grants: Option<Vec<String>>,
    /// Who answers outbound requests; none: nobody may make one.
    pub answer: Option<Fetch>,
    /// Effects that were kept.
    pub kept: Effects,
    /// What takes back the call that is running.
    before: Option<Undo>,
    call: Call,
    sequence: u64,
}

#[derive(Default)]
pub struct Effects {
    pub state: BTreeMap<String, Vec<u8>>,
    pub published: Vec<Published>,
    pub commands: Vec<Command>,
}

/// How much there was before a call, and each value of the state that it wrote over, in order: a copy of all for each event of a long
/// trace would be too much.
struct Undo {
    published: usize,
    commands: usize,
    state: Vec<(String, Option<Vec<u8>>)>,
}

/// What the limits of one call are counted in.
#[derive(Default)]
struct Call {
    id: String,
    effects: usize,
    effect_bytes: usize,
    commands: usize,
    log_lines: usize,
    log_bytes: usize,
}

impl Default for World {
    fn default() -> World {
        World {
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
            past: Vec::new(),
            logs: Vec::new(),
            clock: NOON,
            publish_grants: None,
            answer: None,
            kept: Effects::default(),
            before: None,
            call: Call::default(),
            sequence: 0,
        }
    }
}

impl World {
    pub fn next_id(&mut self) -> String {
        self.sequence += 1;
        format!("test-{}", self.sequence)
    }

    pub fn begin(&mut self, id: &str) {
        self.before = Some(Undo { published: self.kept.published.len(), commands: self.kept.commands.len(), state: Vec::new() });
        self.call = Call { id: id.to_owned(), ..Call::default() };
    }

    pub fn end(&mut self, keep: bool) {
        if let Some(before) = self.before.take().filter(|_| !keep) {
            self.kept.published.truncate(before.published);
            self.kept.commands.truncate(before.commands);
            for (key, value) in before.state.into_iter().rev() {
                match value {
                    Some(value) => self.kept.state.insert(key, value),
                    None => self.kept.state.remove(&key),
                };
            }
        }
        self.call = Call::default();
    }

    pub fn event(&mut self, subject: &str, value: Value) -> Event {
        let tokens: Vec<&str> = subject.split('.').collect();
        let (device, sensor) = match tokens[..] {
            ["reading", device, sensor] => (Some(id(device)), Some(id(sensor))),
            ["reading", ..] => panic!("`{subject}` is no reading: it has a device and a sensor, dots in them written `%2E`"),
            _ => (None, None),
        };
        Event {
            function: FUNCTION.to_owned(),
            id: self.next_id(),
            subject: subject.to_owned(),
            device,
            sensor,
            value,
            measured: self.clock,
            received: self.clock,
            sequence: self.sequence,
            attempt: 1,
        }
    }

    pub fn delivery(&mut self) -> Delivery {
        Delivery { function: FUNCTION.to_owned(), id: self.next_id(), sequence: self.sequence, attempt: 1 }
    }

    /// Counts an effect, and refuses one too many.
    fn effect(&mut self, bytes: usize) -> Result {
        // What a test does outside of a call is a call of its own.
        if self.before.is_none() {
            self.call = Call::default();
        }
        if self.call.effects == EFFECTS_MAX {
            return Err(limit(format!("a call has at most {EFFECTS_MAX} effects")));
        }
        if self.call.effect_bytes + bytes > EFFECTS_BYTES_MAX {
            return Err(limit(format!("the effects of a call have at most {EFFECTS_BYTES_MAX} bytes")));
        }
        self.call.effects += 1;
        self.call.effect_bytes += bytes;
        Ok(())
    }

    pub fn publish(&mut self, subject: &str, value: Value) -> Result {
        check_subject(subject)?;
        check_value(&value)?;
        let first = subject.split('.').next().unwrap_or_default();
        if RESERVED.contains(&first) {
            return Err(denied(format!("`{subject}`: only the node itself writes subjects under `{first}`")));
        }
        if self.publish_grants.as_ref().is_some_and(|grants| !grants.iter().any(|pattern| matches(pattern, subject))) {
            return Err(denied(format!("publishing on `{subject}` is not granted: add it to `publish` under [grant] in tawi.toml")));
        }
        self.effect(subject.len() + value.bytes().len())?;
        self.kept.published.push(Published { subject: subject.to_owned(), value });
        Ok(())
    }

    pub fn command(&mut self, device: &str, actuator: &str, value: Value) -> Result<String> {
        check_id(device)?;
        check_id(actuator)?;
        check_value(&value)?;
        self.effect(device.len() + actuator.len() + value.bytes().len())?;
        let id = format!("{}-{}", self.call.id, self.call.commands);
        self.call.commands += 1;
        let command = Command { device: device.to_owned(), actuator: actuator.to_owned(), value, id: id.clone() };
        self.kept.commands.push(command);
        Ok(id)
    }

    pub fn state_get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        Ok(self.kept.state.get(key).cloned())
    }

    pub fn state_write(&mut self, key: &str, value: Option<&[u8]>) -> Result {
        check_key(key)?;
        let len = value.map_or(0, <[u8]>::len);
        if len > STATE_VALUE_BYTES_MAX {
            return Err(limit(format!("a value of the state has at most {STATE_VALUE_BYTES_MAX} bytes, the one of `{key}` has {len}")));
        }
        self.effect(key.len() + len)?;
        let old = match value {
            Some(value) => self.kept.state.insert(key.to_owned(), value.to_vec()),
            None => self.kept.state.remove(key),
        };
        if let Some(before) = &mut self.before {
            before.state.push((key.to_owned(), old));
        }
        Ok(())
    }

    pub fn state_entries(&self, prefix: &str, after: Option<&str>, limit: u32) -> Vec<(String, Vec<u8>)> {
        let entries = self.kept.state.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        let entries = entries.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        let mut bytes = 0;
        let entries = entries.take(limit.min(STATE_ENTRIES_MAX) as usize).take_while(|(key, value)| {
            bytes += key.len() + value.len();
            bytes <= STATE_PAGE_BYTES_MAX
        });
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub fn search(&self, query: &Query) -> Result<Vec<Found>> {
        if query.limit > HISTORY_HITS_MAX {
            return Err(limit(format!("a query has at most {HISTORY_HITS_MAX} results, {} were asked for", query.limit)));
        }
        let mut found = query::find(&self.past, query)?;
        found.sort_by_key(|it| std::cmp::Reverse((it.measured, it.sequence)));
        Ok(found.into_iter().skip(query.offset as usize).take(query.limit as usize).cloned().collect())
    }

    pub fn count(&self, query: &Query) -> Result<u64> {
        Ok(query::find(&self.past, query)?.len() as u64)
    }

    /// Cuts and drops what is over, as the node does.
    pub fn log(&mut self, level: Level, context: &str, message: &str) {
        let mut end = message.len().min(LOG_LINE_BYTES_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        if self.before.is_some() {
            if self.call.log_lines == LOG_LINES_MAX || self.call.log_bytes + end > LOG_BYTES_MAX {
                return;
            }
            self.call.log_lines += 1;
            self.call.log_bytes += end;
        }
        self.logs.push(LogLine { level, context: context.to_owned(), message: message[..end].to_owned() });
    }
}

fn denied(text: String) -> Error {
    Error::of(ErrorKind::Denied, text)
}

fn limit(text: String) -> Error {
    Error::of(ErrorKind::Limit, text)
}

fn check_key(key: &str) -> Result {
    match key.len() {
        0 => Err(Error::invalid("a key of the state can't be empty")),
        len if len > STATE_KEY_BYTES_MAX => {
            Err(limit(format!("a key of the state has at most {STATE_KEY_BYTES_MAX} bytes, this one has {len}")))
        }
        _ => Ok(()),
    }
}

pub fn check_value(value: &Value) -> Result {
    let len = value.bytes().len();
    if len > VALUE_BYTES_MAX {
        return Err(limit(format!("a value has at most {VALUE_BYTES_MAX} bytes, this one has {len}")));
    }
    match value {
        Value::Json(text) => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::invalid(format!("the value is not JSON: {error}"))),
        },
        Value::Bytes(_) => Ok(()),
    }
}

pub fn check_id(id: &str) -> Result {
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(Error::invalid(format!("an id has 1 to {ID_BYTES_MAX} bytes, this one has {}", id.len())));
    }
    match id.chars().find(|c| c.is_control() || c.is_whitespace() || "/+#*>".contains(*c)) {
        Some(c) => Err(Error::invalid(format!("`{c}` can't stand in an id (`{id}`)"))),
        None => Ok(()),
    }
}

pub fn check_subject(subject: &str) -> Result {
    if subject.len() > SUBJECT_BYTES_MAX {
        return Err(Error::invalid(format!("a subject has at most {SUBJECT_BYTES_MAX} bytes, this one has {}", subject.len())));
    }
    if subject.split('.').any(str::is_empty) {
        return Err(Error::invalid(format!("a subject can't be empty or have an empty token (`{subject}`)")));
    }
    match subject.chars().find(|c| c.is_control() || c.is_whitespace() || "*>".contains(*c)) {
        Some(c) => Err(Error::invalid(format!("`{c}` can't stand in the subject `{subject}`"))),
        None => Ok(()),
    }
}

/// Whether a pattern of the manifest covers a subject: `*` is one token, `>` at the end one or more.
pub fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in pattern.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            (_, None) => return false,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted != token => return false,
            _ => {}
        }
    }
    tokens.next().is_none()
}

/// The id that [`token`](crate::publish::token) wrote.
fn id(token: &str) -> String {
    token.replace("%2E", ".").replace("%25", "%")
}
