//! Recorded events as a test. In: files of `tawi record`. Out: events for handlers, and what each of them caused. Never: writes files.

use super::{Command, Host, LogLine, Published, world};
use crate::{
    Error, Event, Result, Timestamp, Value,
    event::Verdict,
    limit::{TRACE_FILE_BYTES_MAX, TRACE_LINE_BYTES_MAX},
    publish::token,
};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

const HEAD: &str = r#"{"format":"tawi-trace","version":1}"#;
const FORMAT: &str = "tawi-trace";
const VERSION: u64 = 1;
/// Mistakes of a file that are told; who has made more mends those first.
const MISTAKES_SHOWN_MAX: usize = 20;

/// Events that were recorded, in the order in which they arrived.
///
/// `tawi record --device pond1 --for 10m --into tests/pond.ndjson` makes a file of what happens, and one that is written by hand is as good.
/// A test plays it, and sees which event caused what:
///
/// ```
/// use tawi::{Event, publish, testing::{Host, Trace}};
///
/// #[tawi::event]
/// fn alert(event: Event) -> tawi::Result {
///     match event.number() {
///         Some(oxygen) if oxygen < 4.0 => publish("alerts.oxygen", &oxygen),
///         _ => Ok(()),
///     }
/// }
///
/// # fn main() -> tawi::Result {
/// // `Trace::read("tests/pond.ndjson")?` reads a file.
/// let trace = Trace::parse(r#"{"format":"tawi-trace","version":1}
/// {"kind":"reading","device":"pond1","sensor":"oxygen","value":6.10,"measured":"2026-05-01T06:00:00Z","received":"2026-05-01T06:00:02Z"}
/// {"kind":"reading","device":"pond1","sensor":"oxygen","value":3.90,"measured":"2026-05-01T06:10:00Z","received":"2026-05-01T06:10:02Z"}
/// "#)?;
/// let host = Host::new();
/// let steps = host.play(alert, &trace)?;
/// let alerts: Vec<_> = steps.iter().filter(|step| !step.published.is_empty()).map(|step| step.event.measured().to_string()).collect();
/// assert_eq!(alerts, ["2026-05-01T06:10:00Z"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    events: Vec<Event>,
}

/// One event of a trace, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What the handler was given.
    pub event: Event,
    /// What it published, in order.
    pub published: Vec<Published>,
    /// What it commanded, in order.
    pub commands: Vec<Command>,
    /// What it logged, in order.
    pub logs: Vec<LogLine>,
}

impl Trace {
    /// Reads a file. `cargo test` runs in the folder of the crate, so `tests/pond.ndjson` is beside `src`.
    ///
    /// The error names each line that is no event.
    pub fn read(path: impl AsRef<Path>) -> Result<Trace> {
        let path = path.as_ref();
        let wrong = |e: std::io::Error| Error::invalid(format!("can't read `{}`: {e}", path.display()));
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(TRACE_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(wrong)?;
        read(&bytes).map_err(|what| Error::invalid(format!("`{}`: {what}", path.display())))
    }

    /// Reads a text: `include_str!("pond.ndjson")`, or one that stands in the test.
    pub fn parse(text: &str) -> Result<Trace> {
        read(text.as_bytes()).map_err(Error::invalid)
    }

    /// Only the events on a subject, as `subject` of an `[[on]]` entry names it: `reading.*.oxygen`, `alerts.>`.
    pub fn on(mut self, pattern: &str) -> Trace {
        self.events.retain(|event| world::matches(pattern, event.subject()));
        self
    }

    /// The events, for who wants to run them one by one. Their ids name the line, as `trace-7`.
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

impl Host {
    /// Runs an event handler for each event of a trace. State is kept from one to the next, and the clock is when the event was received,
    /// as it is on a node in a first attempt. An error of the handler ends it: its call leaves nothing, those before it what they did.
    pub fn play<V: Verdict>(&self, handler: impl Fn(Event) -> V, trace: &Trace) -> Result<Vec<Step>> {
        trace.events.iter().map(|event| self.step(&handler, event.clone())).collect()
    }

    fn step<V: Verdict>(&self, handler: impl FnOnce(Event) -> V, event: Event) -> Result<Step> {
        let before = self.with(|world| {
            world.clock = event.received;
            (world.kept.published.len(), world.kept.commands.len(), world.logs.len())
        });
        self.run(handler, event.clone()).map_err(|error| {
            let Event { id, subject, .. } = &event;
            Error::of(error.kind(), format!("event `{id}` on `{subject}`: {error}"))
        })?;
        let (published, commands, logs) = before;
        Ok(self.with(|world| Step {
            event,
            published: world.kept.published[published..].to_vec(),
            commands: world.kept.commands[commands..].to_vec(),
            logs: world.logs[logs..].to_vec(),
        }))
    }
}

/// The members of a line that we know, unparsed. By hand, because `derive` would be a crate more in every app.
struct Line<'a>(BTreeMap<&'static str, &'a RawValue>);

/// Those of an event as the API of a node shows it, and of the first line. A function is not told what the device sent (`raw`).
const MEMBERS: [&str; 12] =
    ["format", "version", "sequence", "kind", "subject", "device", "sensor", "value", "encoding", "raw", "measured", "received"];

impl<'de> Deserialize<'de> for Line<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Line<'de>, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Line<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("one JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line<'de>, A::Error> {
                let mut members = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let Some(name) = MEMBERS.into_iter().find(|member| *member == name) else {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    if members.insert(name, map.next_value()?).is_some() {
                        return Err(serde::de::Error::duplicate_field(name));
                    }
                }
                Ok(Line(members))
            }
        }
        from.deserialize_map(Object)
    }
}

impl<'a> Line<'a> {
    fn must(&self, name: &str) -> Result<&'a RawValue, String> {
        self.0.get(name).copied().ok_or_else(|| format!("this is no event: missing field `{name}`"))
    }

    /// A member that may be missing, or null.
    fn may<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        let wrong = |e: serde_json::Error| format!("this is no event: `{name}`: {}", plain(&e));
        self.0.get(name).map_or(Ok(None), |raw| serde_json::from_str(raw.get()).map_err(wrong))
    }
}

/// Without the line that the parser counts, which is always its first.
fn plain(error: &serde_json::Error) -> String {
    error.to_string().split(" at line ").next().unwrap_or_default().to_owned()
}

/// All events, or all mistakes.
fn read(bytes: &[u8]) -> Result<Trace, String> {
    if bytes.len() as u64 > TRACE_FILE_BYTES_MAX {
        return Err(format!("a trace for a test has at most {TRACE_FILE_BYTES_MAX} bytes: record less, or only some of the devices"));
    }
    let mut lines = bytes.split(|byte| *byte == b'\n').enumerate().map(|(at, line)| (at + 1, text(line)));
    let (_, first) = lines.next().unwrap_or((1, Ok("")));
    first
        .and_then(|text| if bytes.is_empty() { Err("it is empty".to_owned()) } else { head(text) })
        .map_err(|what| format!("line 1: {what}"))?;
    let (mut events, mut mistakes) = (Vec::new(), Vec::new());
    for (line, text) in lines {
        match text {
            Ok(text) if text.trim().is_empty() => {}
            text => match text.and_then(|text| event(line, text)) {
                Ok(event) => events.push(event),
                Err(what) => mistakes.push(format!("line {line}: {what}")),
            },
        }
    }
    match mistakes.len().saturating_sub(MISTAKES_SHOWN_MAX) {
        0 if mistakes.is_empty() => return Ok(Trace { events }),
        0 => {}
        more => {
            mistakes.truncate(MISTAKES_SHOWN_MAX);
            mistakes.push(format!("and {more} more"));
        }
    }
    Err(mistakes.join("\n  "))
}

fn text(line: &[u8]) -> Result<&str, String> {
    if line.len() > TRACE_LINE_BYTES_MAX {
        return Err(format!("a line has at most {TRACE_LINE_BYTES_MAX} bytes, this one has more"));
    }
    std::str::from_utf8(line).map_err(|e| format!("it is not UTF-8 at byte {}", e.valid_up_to()))
}

fn head(text: &str) -> Result<(), String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = serde_json::from_str::<Line>(text).unwrap_or_else(|_| Line(BTreeMap::new()));
    match (line.may::<String>("format")?.as_deref(), line.may::<u64>("version")?) {
        (Some(FORMAT), Some(VERSION)) => Ok(()),
        (Some(FORMAT), Some(other)) => Err(format!("this is a trace of version {other}, and version {VERSION} is what can be read")),
        _ => Err(format!("this is no trace, which begins with `{HEAD}`")),
    }
}

fn event(number: usize, text: &str) -> Result<Event, String> {
    if !text.trim_start().starts_with('{') {
        return Err("this is no event: a line is one JSON object".to_owned());
    }
    let unreadable = |e: serde_json::Error| format!("this is no event: {} (column {})", plain(&e), e.column());
    let line: Line = serde_json::from_str(text).map_err(unreadable)?;
    let kind: String = line.may("kind")?.ok_or("this is no event: missing field `kind`")?;
    if !["reading", "message", "command"].contains(&kind.as_str()) {
        return Err(format!("`kind` is `{kind}`, not `reading`, `message` or `command`"));
    }
    let said = |error: Error| error.reason().to_owned();
    let id = |name: &str| {
        let id: Option<String> = line.may(name)?;
        id.as_deref().map_or(Ok(()), world::check_id).map_err(said)?;
        Ok::<_, String>(id)
    };
    let (device, sensor) = (id("device")?, id("sensor")?);
    let received = time(&line.may::<String>("received")?.ok_or("this is no event: missing field `received`")?)?;
    let subject = subject(&kind, line.may("subject")?, device.as_deref(), sensor.as_deref())?;
    world::check_subject(&subject).map_err(said)?;
    let value = value(line.must("value")?, line.may::<String>("encoding")?.as_deref())?;
    world::check_value(&value).map_err(said)?;
    line.0.get("raw").map_or(Ok(()), |raw| json(raw).map(drop))?;
    Ok(Event {
        function: world::FUNCTION.to_owned(),
        id: format!("trace-{number}"),
        subject,
        device,
        sensor,
        value,
        measured: line.may::<String>("measured")?.map_or(Ok(received), |text| time(&text))?,
        received,
        sequence: line.may("sequence")?.unwrap_or(number as u64),
        attempt: 1,
    })
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse::<Timestamp>().map_err(|e| e.to_string())
}

fn subject(kind: &str, subject: Option<String>, device: Option<&str>, sensor: Option<&str>) -> Result<String, String> {
    match (kind, subject, device, sensor) {
        ("reading", _, Some(device), Some(sensor)) => Ok(format!("reading.{}.{}", token(device), token(sensor))),
        ("reading", _, None, _) => Err("a reading has a `device`".to_owned()),
        ("reading", ..) => Err("a reading has a `sensor`".to_owned()),
        (_, Some(subject), ..) => Ok(subject),
        (kind, None, ..) => Err(format!("a {kind} has a `subject`")),
    }
}

fn value(raw: &RawValue, encoding: Option<&str>) -> Result<Value, String> {
    match encoding {
        None => json(raw),
        Some("hex") => {
            let bytes = serde_json::from_str::<serde_json::Value>(raw.get()).ok().and_then(|it| unhex(it.get("bytes")?.as_str()?));
            bytes
                .map(Value::Bytes)
                .ok_or_else(|| "with `encoding` `hex` the value is `{\"bytes\":\"…\"}` with pairs of hex digits".to_owned())
        }
        Some(other) => Err(format!("`encoding` is `{other}`, not `hex`")),
    }
}

/// The text as it is, once it is sure that it can be read.
fn json(raw: &RawValue) -> Result<Value, String> {
    serde_json::from_str::<serde_json::Value>(raw.get()).map_err(|e| format!("the value can't be read: {e}"))?;
    Ok(Value::Json(raw.get().to_owned()))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some((digit(*high)? << 4) | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}
