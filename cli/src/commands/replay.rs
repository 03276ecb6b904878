//! Recorded readings from a CSV file, sent as a device would have sent them.
//!
//! The file is read twice: once to find every mistake before anything is sent, once to send.

use super::{Context, play, range, rerun};
use crate::{
    args,
    client::{Client, patiently},
    failure::{Done, Failure},
    out,
    progress::Progress,
    trace,
};
use serde_json::{Value, json};
use std::{io::Read, path::PathBuf, time::Instant};
use tawi_runtime::model::Digest;

/// Where the readings come from, and whose they are.
struct Replay {
    file: PathBuf,
    device: String,
    sensor: String,
    once: bool,
    batch: u32,
}

/// One row that is worth sending.
#[derive(Debug, PartialEq)]
struct Row {
    timestamp: String,
    json: String,
}

#[derive(Debug, Default, PartialEq)]
struct Recording {
    rows: Vec<Row>,
    /// Blank lines and repeated headers.
    skipped: usize,
}

pub fn run(context: &Context, what: args::Replay) -> Done {
    if let (None, Some(function)) = (&what.event, &what.function) {
        let asked = range::Asked { app: what.app, function, from: what.from, to: what.to, by_measured: what.by_measured };
        return range::start(context, asked, what.into.as_deref());
    }
    match (what.event.clone(), what.file, what.device, what.sensor) {
        (Some(event), ..) => rerun::run(context, &event, what.app, what.function, what.release, what.apply),
        (None, Some(file), Some(device), Some(sensor)) => {
            send_file(context, Replay { file, device, sensor, once: what.once, batch: what.batch })
        }
        (None, Some(file), ..) => {
            play::run(context, play::Play { file, speed: what.speed, now: what.now, once: what.once, batch: what.batch })
        }
        _ => Err(Failure::new("it is not said what to replay").hint("`tawi replay --event ID`, or a file")),
    }
}

fn send_file(context: &Context, what: Replay) -> Done {
    let name = what.file.display().to_string();
    let bytes = read(&what).map_err(|e| Failure::because(format!("can't read `{name}`"), &e))?;
    if bytes.starts_with(trace::HEAD.as_bytes()) {
        return Err(Failure::new(format!("`{name}` is a trace, which names its devices")).hint("leave `--device` and `--sensor` out"));
    }
    let recording = parse(&bytes).map_err(|why| Failure::new(format!("`{name}`: {why}")).hint("nothing was sent"))?;
    let client = context.client()?;
    let run = if what.once { identity(&bytes, &what) } else { unique() };

    let progress = Progress::new(recording.rows.len(), "readings");
    let (started, mut sent, mut repeated) = (Instant::now(), 0, 0);
    for (number, rows) in recording.rows.chunks(what.batch as usize).enumerate() {
        let body = batch(&what, rows);
        let duplicate = send(&client, &body, &format!("{run}-{}-{number}", what.batch)).map_err(|failure| {
            progress.abandon();
            failure.hint(format!("{sent} of {} readings were stored; `--once` makes a repeat harmless", recording.rows.len()))
        })?;
        sent += rows.len();
        repeated += if duplicate && what.once { rows.len() } else { 0 };
        progress.done(rows.len());
    }
    progress.finish();
    let seconds = started.elapsed().as_secs_f64();
    if context.global.json {
        let read = recording.rows.len() + recording.skipped;
        let report = json!({ "read": read, "sent": sent, "repeated": repeated, "skipped": recording.skipped, "seconds": seconds });
        return Ok(out::json(&report)?);
    }
    let again = if repeated > 0 { format!(" ({repeated} of them were there already)") } else { String::new() };
    Ok(out::line(&format!("{sent} readings sent{again}, {} lines skipped, in {seconds:.1} s", recording.skipped))?)
}

fn read(what: &Replay) -> std::io::Result<Vec<u8>> {
    if what.file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(&what.file)
}

/// All rows, or the first mistake with its line.
fn parse(bytes: &[u8]) -> Result<Recording, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).has_headers(false).from_reader(bytes);
    // The reader passes over blank lines without a word.
    let blank = bytes.split_inclusive(|b| *b == b'\n').filter(|line| line.trim_ascii().is_empty()).count();
    let mut recording = Recording { rows: Vec::new(), skipped: blank };
    let mut header: Option<Header> = None;
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        match &header {
            None => header = Some(Header::of(record)?),
            Some(header) if record == header.names => recording.skipped += 1,
            Some(header) => recording.rows.push(header.row(&record)?),
        }
    }
    if header.is_none() {
        return Err("there is no header with the columns `timestamp` and `value`".to_owned());
    }
    Ok(recording)
}

/// Where the two columns are that matter.
struct Header {
    names: csv::StringRecord,
    timestamp: usize,
    value: usize,
}

impl Header {
    fn of(names: csv::StringRecord) -> Result<Header, String> {
        let column = |name: &str| {
            let found = names.iter().position(|column| column == name);
            found.ok_or_else(|| format!("there is no column `{name}`, only `{}`", names.iter().collect::<Vec<_>>().join("`, `")))
        };
        let (timestamp, value) = (column("timestamp")?, column("value")?);
        Ok(Header { names, timestamp, value })
    }

    fn row(&self, record: &csv::StringRecord) -> Result<Row, String> {
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |at: usize| record.get(at).ok_or_else(|| format!("line {line} has {} columns, {} are needed", record.len(), at + 1));
        let timestamp = cell(self.timestamp)?;
        if timestamp.parse::<jiff::Timestamp>().is_err() {
            return Err(format!("line {line}: `{timestamp}` is not a time such as `2026-01-31T08:30:00Z`"));
        }
        Ok(Row { timestamp: timestamp.to_owned(), json: json_text(cell(self.value)?) })
    }
}

/// CSV has no numbers, only texts: one that looks like a number is one, with the digits it has.
fn json_text(cell: &str) -> String {
    if serde_json::from_str::<serde_json::Number>(cell).is_ok() {
        return cell.to_owned();
    }
    let digits = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    match cell.parse::<f64>() {
        Ok(number) if number.is_finite() && cell.chars().all(digits) => Value::from(number).to_string(),
        _ => Value::from(cell).to_string(),
    }
}

/// One object a line, as `POST /api/v1/readings` takes them.
fn batch(what: &Replay, rows: &[Row]) -> String {
    let names = format!("{{\"device\":{},\"sensor\":{}", Value::from(what.device.as_str()), Value::from(what.sensor.as_str()));
    let line = |row: &Row| format!("{names},\"timestamp\":\"{}\",\"value\":{}}}\n", row.timestamp, row.json);
    rows.iter().map(line).collect()
}

/// The same for the same file, device and sensor: a repeat is recognised.
fn identity(bytes: &[u8], what: &Replay) -> String {
    let all = format!("{}\n{}\n{}", Digest::of(bytes), what.device, what.sensor);
    Digest::of(all.as_bytes()).hex()
}

/// Another one each time, so that only the retries of this run are recognised.
pub(super) fn unique() -> String {
    let now = jiff::Timestamp::now().as_nanosecond();
    Digest::of(format!("{} {now}", std::process::id()).as_bytes()).hex()
}

/// The key makes a batch that arrived, and whose answer was lost, harmless to send again. True: it was there already.
pub(super) fn send(client: &Client, body: &str, key: &str) -> Done<bool> {
    let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", key)];
    let done = patiently(|| client.call("POST", "/api/v1/readings", &headers, body.as_bytes()));
    done.map(|response| response.headers().contains_key("tawi-duplicate"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const EXPORT: &str = "\n\"date_received\",\"timestamp\",\"value\"\n\"x\",\"2018-05-14T06:34:31.000Z\",\"61.10\"\n\n\
        \"date_received\",\"timestamp\",\"value\"\n\"x\",\"2018-05-14T08:34:31+02:00\",\"warm, rather\"\n";

    fn options() -> Replay {
        Replay { file: "x.csv".into(), device: "d\"1".into(), sensor: "s".into(), once: false, batch: 1_000 }
    }

    #[test]
    fn an_export_with_blank_lines_and_repeated_headers_is_read() {
        let recording = parse(EXPORT.as_bytes()).unwrap();
        assert_eq!((recording.rows.len(), recording.skipped), (2, 3));
        let body = batch(&options(), &recording.rows);
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(lines[0], r#"{"device":"d\"1","sensor":"s","timestamp":"2018-05-14T06:34:31.000Z","value":61.10}"#);
        assert_eq!(tawi_runtime::ingest::parse::readings(body.as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn what_looks_like_a_number_is_one() {
        for (cell, json) in
            [("61.10", "61.10"), ("-3", "-3"), ("007", "7.0"), (".5", "0.5"), ("nan", "\"nan\""), ("1e999", "\"1e999\""), ("", "\"\"")]
        {
            assert_eq!(json_text(cell), json, "{cell}");
        }
    }

    #[test]
    fn a_mistake_names_its_line_or_column() {
        let error = parse(b"timestamp,value\n2018-05-14T06:34:31Z,1\nyesterday,2\n").unwrap_err();
        assert!(error.contains("line 3") && error.contains("`yesterday`"), "{error}");
        assert!(parse(b"time,value\n").unwrap_err().contains("no column `timestamp`"));
        assert!(parse(b"\n\n").unwrap_err().contains("no header"));
        assert!(parse(b"a,timestamp,value\nx,2018-05-14T06:34:31Z\n").unwrap_err().contains("line 2 has 2 columns"));
    }

    #[test]
    fn once_means_the_same_key_for_the_same_file_and_sensor() {
        let (one, mut other) = (options(), options());
        assert_eq!(identity(b"x", &one), identity(b"x", &other));
        other.sensor = "t".into();
        assert_ne!(identity(b"x", &one), identity(b"x", &other));
        assert_ne!(unique(), unique());
    }
}
