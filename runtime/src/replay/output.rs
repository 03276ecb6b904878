//! What came of a replay, as lines of JSON in the order of the events: the same bytes however it ran, and however often it died. Blocks.

use super::{Failure, job::replace};
use crate::{
    ledger::Ledger,
    model::{AppId, Event, FunctionId, Id, Kind, Seq, Value, limit::STATE_ENTRIES_MAX},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Seek, Write},
    path::{Path, PathBuf},
};

pub const OUTPUT: &str = "output.ndjson";
const PLACE: &str = "output.json";
/// Events of the scratch log, and bytes of them, that are read at a time.
const PAGE_EVENTS: usize = 4_096;
const PAGE_BYTES: usize = 4 << 20;
const DEAD_PAGE: usize = 256;

/// How far the output is durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub bytes: u64,
    pub lines: u64,
    pub failed: u64,
    /// What came of the events up to here is in it.
    through: Seq,
    /// Where the scratch log is to be read from for what is not.
    from: Seq,
}

pub struct Output {
    dir: PathBuf,
    file: io::BufWriter<fs::File>,
    function: FunctionId,
    place: Place,
    /// What came of events that others before them are not settled of, by event and index; and where in the scratch log each is.
    held: BTreeMap<(Seq, u32), (Seq, Vec<u8>)>,
    /// The next event of the scratch log.
    next: Seq,
}

/// One line.
#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum Line<'a> {
    Message {
        event: Seq,
        subject: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        device: Option<&'a Id>,
        measured: String,
        value: Box<RawValue>,
    },
    Command {
        event: Seq,
        device: Option<&'a Id>,
        actuator: Option<&'a Id>,
        measured: String,
        value: Box<RawValue>,
    },
    Failed {
        event: Seq,
        #[serde(skip_serializing_if = "Option::is_none")]
        device: Option<&'a Id>,
        measured: String,
        error: &'a str,
    },
    State {
        key: &'a str,
        value: Box<RawValue>,
    },
}

fn raw(value: &Value) -> Box<RawValue> {
    let raw = match value {
        Value::Json(text) => RawValue::from_string(text.to_string()),
        Value::Bytes(_) => serde_json::value::to_raw_value(&value.to_json()),
    };
    raw.unwrap_or_else(|_| RawValue::NULL.to_owned())
}

impl Line<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).unwrap_or_else(|e| unreachable!("names and values are JSON: {e}"));
        bytes.push(b'\n');
        bytes
    }
}

impl Output {
    /// Goes on where it is durable.
    pub fn open(dir: &Path, function: FunctionId) -> Result<Output, Failure> {
        let path = dir.join(PLACE);
        let place = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Place { from: 1, ..Place::default() },
            read => read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)).map_err(|source| Failure::file("read", path, source))?,
        };
        let path = dir.join(OUTPUT);
        let opened = fs::OpenOptions::new().create(true).write(true).truncate(false).open(&path).and_then(|mut file| {
            file.set_len(place.bytes)?;
            file.seek(io::SeekFrom::End(0))?;
            Ok(file)
        });
        let file = opened.map_err(|source| Failure::file("open", path, source))?;
        Ok(Output { dir: dir.to_owned(), file: io::BufWriter::new(file), function, place, held: BTreeMap::new(), next: place.from })
    }

    pub fn place(&self) -> Place {
        self.place
    }

    /// Writes what came of the events up to `through`, all of which were settled before this was asked. Whoever reads the file sees it; what a
    /// crash takes of it is written again, to the byte.
    pub fn advance(&mut self, scratch: &Ledger, through: Seq) -> Result<(), Failure> {
        self.read(scratch)?;
        self.read_dead(scratch, through)?;
        let behind = self.held.split_off(&(through.saturating_add(1), 0));
        let ready = std::mem::replace(&mut self.held, if through == Seq::MAX { BTreeMap::new() } else { behind });
        for (_, line) in ready.into_values() {
            self.write(&line)?;
        }
        self.place.through = self.place.through.max(through);
        self.file.flush().map_err(|source| Failure::file("write to", self.dir.join(OUTPUT), source))
    }

    fn read(&mut self, scratch: &Ledger) -> Result<(), Failure> {
        let head = *scratch.head().borrow();
        while self.next <= head {
            let page = scratch.events(self.next, PAGE_EVENTS, PAGE_BYTES)?;
            self.next = page.last().map_or(head, |event| event.seq) + 1;
            for event in &page {
                self.take(event);
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &Event) {
        let Some(cause) = event.cause.as_ref().filter(|cause| cause.seq > self.place.through) else { return };
        let (seq, measured, value) = (cause.seq, event.measured.to_string(), raw(&event.value));
        let line = match event.kind {
            Kind::Message => Line::Message { event: seq, subject: event.subject.as_str(), device: event.device.as_ref(), measured, value },
            Kind::Command => Line::Command { event: seq, device: event.device.as_ref(), actuator: event.sensor.as_ref(), measured, value },
            _ => return,
        };
        self.held.insert((seq, cause.place.index.into()), (event.seq, line.bytes()));
    }

    /// Calls that failed: they have one line, and no other.
    fn read_dead(&mut self, scratch: &Ledger, through: Seq) -> Result<(), Failure> {
        let mut after = self.place.through;
        loop {
            let page = scratch.dead(Some(&self.function.app), Some(&(self.function.clone(), after)), DEAD_PAGE)?;
            for dead in page.iter().take_while(|dead| dead.seq <= through) {
                let (device, measured) = (dead.event.device.as_ref(), dead.event.measured.to_string());
                let line = Line::Failed { event: dead.seq, device, measured, error: &dead.error };
                self.held.insert((dead.seq, u32::MAX), (Seq::MAX, line.bytes()));
                self.place.failed += 1;
            }
            match page.last().filter(|last| last.seq <= through) {
                Some(last) => after = last.seq,
                None => return Ok(()),
            }
        }
    }

    fn write(&mut self, line: &[u8]) -> Result<(), Failure> {
        self.file.write_all(line).map_err(|source| Failure::file("write to", self.dir.join(OUTPUT), source))?;
        self.place.bytes += line.len() as u64;
        self.place.lines += 1;
        Ok(())
    }

    /// What was written is durable when this returns. From where on the scratch log is still needed.
    pub fn sync(&mut self) -> Result<Seq, Failure> {
        self.place.from = self.held.values().map(|(at, _)| *at).min().unwrap_or(Seq::MAX).min(self.next);
        self.file.get_ref().sync_all().map_err(|source| Failure::file("write to", self.dir.join(OUTPUT), source))?;
        let bytes = serde_json::to_vec(&self.place).map_err(io::Error::from);
        let written = bytes.and_then(|bytes| replace(&self.dir.join(PLACE), &bytes));
        written.map_err(|source| Failure::file("write", self.dir.join(PLACE), source))?;
        Ok(self.place.from)
    }

    /// The app's state, in the order of its keys: the last lines. They count once the replay is over, and are written again until then.
    pub fn finish(mut self, scratch: &Ledger) -> Result<Place, Failure> {
        let app: AppId = self.function.app.clone();
        let mut after: Option<String> = None;
        loop {
            let page = scratch.state_entries(&app, "", after.as_deref(), STATE_ENTRIES_MAX)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, value) in &page {
                let json = std::str::from_utf8(value).ok().and_then(Value::json);
                let line = Line::State { key, value: raw(&json.unwrap_or_else(|| Value::Bytes(value.clone()))) };
                self.write(&line.bytes())?;
            }
        }
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|source| Failure::file("write to", self.dir.join(OUTPUT), source))?;
        Ok(self.place)
    }
}
