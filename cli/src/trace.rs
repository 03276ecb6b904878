//! Traces: files of events in the order of their arrival. `docs/formats/trace.md` is the promise; the SDK has a reader of its own.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::{
    fmt,
    io::{self, BufRead, Read},
};
use tawi_runtime::model::{Id, Kind, Micros, Subject, Value, limit::TRACE_LINE_BYTES_MAX, payload};

/// The first line of every trace.
pub const HEAD: &str = r#"{"format":"tawi-trace","version":1}"#;
const FORMAT: &str = "tawi-trace";
const VERSION: u64 = 1;

/// What is wrong with a file, and in which line, from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// One event: what functions and subscribers get.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub kind: Kind,
    pub subject: Subject,
    pub device: Option<Id>,
    pub sensor: Option<Id>,
    pub value: Value,
    /// What the device sent, where pre-processing changed it.
    pub raw: Option<Value>,
    pub measured: Micros,
    pub received: Micros,
    /// Of the log that it was recorded from.
    pub sequence: Option<u64>,
    /// A reading that a rule made of others: where it is played, the rules of that place make theirs.
    pub is_made: bool,
}

/// Its line, which is an event as the API shows it without who wrote it.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sensor: Option<String>,
    value: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    raw: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<String>,
    received: String,
    #[serde(default, skip_serializing)]
    call: Option<String>,
}

/// A `null` that is there is a value.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

impl Event {
    /// Of a line of a trace, or of the API.
    pub fn parse(text: &str) -> Result<Event, String> {
        // A list would do for an object as well.
        if !text.trim_start().starts_with('{') {
            return Err("this is no event: a line is one JSON object".to_owned());
        }
        let line: Line = serde_json::from_str(text).map_err(|e| unreadable(&e))?;
        let kind = match line.kind.as_str() {
            "reading" => Kind::Reading,
            "message" => Kind::Message,
            "command" => Kind::Command,
            other => return Err(format!("`kind` is `{other}`, not `reading`, `message` or `command`")),
        };
        let (device, sensor) = (id(line.device)?, id(line.sensor)?);
        let received = time(&line.received)?;
        Ok(Event {
            kind,
            subject: subject(&line.kind, line.subject, device.as_ref(), sensor.as_ref())?,
            device,
            sensor,
            value: value(&line.value, line.encoding.as_deref())?,
            raw: line.raw.map(|raw| json(&raw)).transpose()?,
            measured: line.measured.as_deref().map_or(Ok(received), time)?,
            received,
            sequence: line.sequence,
            is_made: kind == Kind::Reading && line.call.is_some(),
        })
    }

    /// One line, without its end.
    pub fn to_line(&self) -> String {
        let (kind, subject) = match self.kind {
            // It follows from device and sensor.
            Kind::Reading => ("reading", None),
            Kind::Command => ("command", Some(&self.subject)),
            _ => ("message", Some(&self.subject)),
        };
        let line = Line {
            sequence: self.sequence,
            kind: kind.to_owned(),
            subject: subject.map(ToString::to_string),
            device: self.device.as_ref().map(ToString::to_string),
            sensor: self.sensor.as_ref().map(ToString::to_string),
            value: raw_text(&self.value),
            encoding: matches!(self.value, Value::Bytes(_)).then(|| "hex".to_owned()),
            raw: self.raw.as_ref().map(raw_text),
            measured: Some(self.measured.to_string()),
            received: self.received.to_string(),
            call: None,
        };
        serde_json::to_string(&line).unwrap_or_else(|e| unreachable!("texts and JSON are JSON: {e}"))
    }
}

/// JSON has line ends only between its tokens, where a space does as well.
fn raw_text(value: &Value) -> Box<RawValue> {
    let text = match value {
        Value::Json(text) => text.replace(['\n', '\r'], " "),
        Value::Bytes(_) => value.to_json().to_string(),
    };
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Without the line that the parser counts, which is always its first.
fn unreadable(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!("this is no event: {what} (column {})", error.column())
}

fn id(text: Option<String>) -> Result<Option<Id>, String> {
    text.map(|text| Id::new(&text)).transpose().map_err(|e| e.to_string())
}

fn subject(kind: &str, text: Option<String>, device: Option<&Id>, sensor: Option<&Id>) -> Result<Subject, String> {
    let text = match (kind, text, device, sensor) {
        ("reading", _, Some(device), Some(sensor)) => format!("reading.{}.{}", device.to_token(), sensor.to_token()),
        ("reading", _, None, _) => return Err("a reading has a `device`".to_owned()),
        ("reading", ..) => return Err("a reading has a `sensor`".to_owned()),
        (_, Some(text), ..) => text,
        (kind, None, ..) => return Err(format!("a {kind} has a `subject`")),
    };
    Subject::new(&text).map_err(|e| e.to_string())
}

fn time(text: &str) -> Result<Micros, String> {
    let wrong = |_| format!("`{}` is not a time: use RFC 3339 as in `2026-01-31T08:30:00Z`", text.chars().take(64).collect::<String>());
    text.parse::<jiff::Timestamp>().map(|stamp| Micros(stamp.as_microsecond())).map_err(wrong)
}

fn value(raw: &RawValue, encoding: Option<&str>) -> Result<Value, String> {
    #[derive(Deserialize)]
    struct Hex {
        bytes: String,
    }
    match encoding {
        None => json(raw),
        Some("hex") => {
            let bytes = serde_json::from_str::<Hex>(raw.get()).ok().and_then(|it| unhex(&it.bytes));
            let bytes =
                bytes.ok_or_else(|| "with `encoding` `hex` the value is `{\"bytes\":\"…\"}` with pairs of hex digits".to_owned())?;
            payload::fits(bytes.len()).map_err(|e| e.to_string())?;
            Ok(Value::Bytes(bytes.into()))
        }
        Some(other) => Err(format!("`encoding` is `{other}`, not `hex`")),
    }
}

fn json(raw: &RawValue) -> Result<Value, String> {
    payload::json(raw).map_err(|e| e.to_string())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = |pair: &[u8]| match pair {
        [high, low] => Some((hex_digit(*high)? << 4) | hex_digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(digits).collect()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Reads a trace line by line. What is wrong with one line does not keep the next from being read; a file that does not begin as a
/// trace has nothing else.
pub struct Reader<R> {
    from: R,
    line: usize,
    has_ended: bool,
}

impl<R: BufRead> Reader<R> {
    pub fn new(from: R) -> Reader<R> {
        Reader { from, line: 0, has_ended: false }
    }

    /// The next line, without its end. One that is too long is read to its end and not kept.
    fn text(&mut self) -> Option<Result<String, String>> {
        let mut bytes = Vec::new();
        self.line += 1;
        let most = TRACE_LINE_BYTES_MAX as u64;
        match self.from.by_ref().take(most + 2).read_until(b'\n', &mut bytes) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => {
                self.has_ended = true;
                return Some(Err(format!("it can't be read: {error}")));
            }
        }
        let is_whole = bytes.last() == Some(&b'\n');
        if is_whole {
            bytes.pop();
        }
        if bytes.len() > TRACE_LINE_BYTES_MAX {
            if !is_whole && let Err(error) = skip_line(&mut self.from) {
                self.has_ended = true;
                return Some(Err(format!("it can't be read: {error}")));
            }
            return Some(Err(format!("a line has at most {TRACE_LINE_BYTES_MAX} bytes, this one has more")));
        }
        Some(String::from_utf8(bytes).map_err(|e| format!("it is not UTF-8 at byte {}", e.utf8_error().valid_up_to())))
    }

    fn head(&mut self) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u64,
        }
        let text = self.text().unwrap_or_else(|| Err("it is empty".to_owned()))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        match serde_json::from_str::<Head>(text) {
            Ok(head) if text.starts_with('{') && head.format == FORMAT => match head.version {
                VERSION => Ok(()),
                other => Err(format!("this is a trace of version {other}, and version {VERSION} is what can be read")),
            },
            _ => Err(format!("this is no trace, which begins with `{HEAD}`")),
        }
    }
}

/// To the end of the line, a piece at a time.
fn skip_line(from: &mut impl BufRead) -> io::Result<()> {
    loop {
        let piece = from.fill_buf()?;
        let (length, is_end) = match piece.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (piece.len(), piece.is_empty()),
        };
        from.consume(length);
        if is_end {
            return Ok(());
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Event, Mistake>;

    fn next(&mut self) -> Option<Result<Event, Mistake>> {
        if self.line == 0
            && let Err(what) = self.head()
        {
            self.has_ended = true;
            return Some(Err(Mistake { line: 1, what }));
        }
        while !self.has_ended {
            let text = match self.text()? {
                Ok(text) if text.trim().is_empty() => continue,
                text => text,
            };
            return Some(text.and_then(|text| Event::parse(&text)).map_err(|what| Mistake { line: self.line, what }));
        }
        None
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
