//! The readings of a trace, sent as they came.
//!
//! The file is read twice: once to find every mistake before anything is sent, once to send. A recording may be larger than memory.

use super::{Context, replay};
use crate::{
    failure::{Done, Failure},
    out,
    pace::{self, Group, Grouping, Pace, Speed},
    progress::Progress,
    trace::{Event, HEAD, Reader},
};
use serde_json::{Value as Json, json};
use std::{
    fs::File,
    io::{self, BufReader, Seek},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};
use tawi_runtime::model::{Digest, Kind, Micros, Value};

/// Mistakes of a file that are told; who has made more mends those first.
const MISTAKES_SHOWN_MAX: usize = 20;

pub struct Play {
    pub file: PathBuf,
    pub speed: Option<Speed>,
    pub now: bool,
    pub once: bool,
    pub batch: u32,
}

/// What is in a file.
#[derive(Debug, Default, PartialEq)]
struct Contents {
    readings: usize,
    /// Messages and commands: what is sent makes its own.
    others: usize,
    /// Readings of bytes: the node takes them without a time only.
    bytes: usize,
    /// When the last reading came, and when it is due.
    last: Option<(Micros, Duration)>,
}

pub fn run(context: &Context, what: Play) -> Done {
    let name = what.file.display().to_string();
    let unreadable = |e: io::Error| Failure::because(format!("can't read `{name}`"), &e);
    let mut file = open(&what.file).map_err(unreadable)?;
    let speed = what.speed.unwrap_or(Speed::Max);
    let contents = look(&file, speed).map_err(|mistakes| refuse(&name, &mistakes))?;
    file.rewind().map_err(unreadable)?;
    let client = context.client()?;
    let shift = if what.now { contents.shift(Micros(jiff::Timestamp::now().as_microsecond())) } else { 0 };

    let (progress, started) = (Progress::new(contents.readings, "readings"), Instant::now());
    let (run, mut number, mut sent, mut repeated) = (replay::unique(), 0, 0, 0);
    let send = |group: Group| {
        let key = if what.once { identity(number, &group) } else { format!("{run}-{number}") };
        let duplicate = replay::send(&client, &group.body, &key).map_err(|failure| {
            progress.abandon();
            failure.hint(format!("{sent} of {} readings were stored; `--once` makes a repeat harmless", contents.readings))
        })?;
        number += 1;
        sent += group.readings;
        repeated += if duplicate && what.once { group.readings } else { 0 };
        progress.done(group.readings);
        Ok(())
    };
    pace::keep(Groups::of(&file, &name, speed, shift, what.batch), || started.elapsed(), thread::sleep, send)?;
    progress.finish();
    report(context, &contents, sent, repeated, started.elapsed().as_secs_f64())
}

fn report(context: &Context, contents: &Contents, sent: usize, repeated: usize, seconds: f64) -> Done {
    let skipped = contents.others + contents.bytes;
    if context.global.json {
        let read = contents.readings + skipped;
        return Ok(out::json(&json!({ "read": read, "sent": sent, "repeated": repeated, "skipped": skipped, "seconds": seconds }))?);
    }
    let again = if repeated > 0 { format!(" ({repeated} of them were there already)") } else { String::new() };
    let bytes = if contents.bytes > 0 { format!(" and {} readings of bytes", contents.bytes) } else { String::new() };
    Ok(out::line(&format!("{sent} readings sent{again}, {} other events{bytes} left out, in {seconds:.1} s", contents.others))?)
}

/// A file that can be read twice: what comes out of a pipe is copied first.
fn open(path: &Path) -> io::Result<File> {
    let copy = |from: &mut dyn io::Read| {
        let mut file = tempfile::tempfile()?;
        io::copy(from, &mut file)?;
        file.rewind()?;
        Ok(file)
    };
    if path.as_os_str() == "-" {
        return copy(&mut io::stdin().lock());
    }
    let mut file = File::open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { copy(&mut file) }
}

fn look(file: &File, speed: Speed) -> Result<Contents, Vec<String>> {
    let (mut contents, mut pace, mut mistakes) = (Contents::default(), Pace::new(speed), Vec::new());
    for event in Reader::new(BufReader::new(file)) {
        match event {
            Err(mistake) => mistakes.push(mistake.to_string()),
            Ok(event) if event.kind != Kind::Reading => contents.others += 1,
            Ok(event) if sent_as(&event).is_none() => contents.bytes += 1,
            Ok(event) => {
                contents.readings += 1;
                contents.last = Some((event.received, pace.due(event.received)));
            }
        }
    }
    if mistakes.is_empty() { Ok(contents) } else { Err(mistakes) }
}

fn refuse(name: &str, mistakes: &[String]) -> Failure {
    let shown: String = mistakes.iter().take(MISTAKES_SHOWN_MAX).map(|mistake| format!("\n  {mistake}")).collect();
    let more = match mistakes.len().saturating_sub(MISTAKES_SHOWN_MAX) {
        0 => String::new(),
        more => format!("\n  and {more} more"),
    };
    let is_trace = !mistakes.iter().any(|mistake| mistake.contains(HEAD));
    let hint = if is_trace { "nothing was sent" } else { "nothing was sent; a CSV file needs `--device` and `--sensor`" };
    Failure::new(format!("`{name}` can't be replayed:{shown}{more}")).hint(hint)
}

impl Contents {
    /// By how much times are moved so that the last reading is as if it had come at the moment in which it is sent. None is in the future
    /// then, at whatever speed, and at `1x` each is sent as it would have come.
    fn shift(&self, now: Micros) -> i64 {
        let due = |due: Duration| i64::try_from(due.as_micros()).unwrap_or(i64::MAX);
        self.last.map_or(0, |(received, at)| now.0.saturating_add(due(at)).saturating_sub(received.0))
    }
}

/// What the device sent, as JSON: the node's own rules change it as those of the node did that it was recorded from. None: bytes.
fn sent_as(event: &Event) -> Option<&str> {
    match event.raw.as_ref().unwrap_or(&event.value) {
        Value::Json(text) => Some(text),
        Value::Bytes(_) => None,
    }
}

/// One object, as `POST /api/v1/readings` takes them; none of what is not sent.
fn line(event: &Event, shift: i64) -> Option<String> {
    if event.is_made {
        return None;
    }
    let (Kind::Reading, Some(device), Some(sensor), Some(value)) = (event.kind, &event.device, &event.sensor, sent_as(event)) else {
        return None;
    };
    let (device, sensor) = (Json::from(device.as_str()), Json::from(sensor.as_str()));
    let measured = Micros(event.measured.0.saturating_add(shift));
    let value = value.replace(['\n', '\r'], " ");
    Some(format!("{{\"device\":{device},\"sensor\":{sensor},\"timestamp\":\"{measured}\",\"value\":{value}}}"))
}

/// The same for the same readings at the same place.
fn identity(number: usize, group: &Group) -> String {
    Digest::of(format!("{number}\n{}", group.body).as_bytes()).hex()
}

/// The requests that a file is.
struct Groups<'a> {
    events: Reader<BufReader<&'a File>>,
    name: &'a str,
    pace: Pace,
    grouping: Grouping,
    shift: i64,
}

impl Groups<'_> {
    fn of<'a>(file: &'a File, name: &'a str, speed: Speed, shift: i64, batch: u32) -> Groups<'a> {
        let events = Reader::new(BufReader::new(file));
        Groups { events, name, pace: Pace::new(speed), grouping: Grouping::of(batch as usize), shift }
    }
}

impl Iterator for Groups<'_> {
    type Item = Done<Group>;

    fn next(&mut self) -> Option<Done<Group>> {
        for event in self.events.by_ref() {
            let event = match event {
                Ok(event) => event,
                // It was sound a moment ago.
                Err(mistake) => return Some(Err(Failure::new(format!("`{}` has changed meanwhile: {mistake}", self.name)))),
            };
            let Some(line) = line(&event, self.shift) else { continue };
            if let Some(group) = self.grouping.add(self.pace.due(event.received), &line) {
                return Some(Ok(group));
            }
        }
        self.grouping.end().map(Ok)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(lines: &[&str]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        write!(file, "{HEAD}\n{}\n", lines.join("\n")).unwrap();
        file.rewind().unwrap();
        file
    }

    const LINES: [&str; 4] = [
        r#"{"kind":"reading","device":"d\"1","sensor":"s","value":6.10,"raw":"61,0","measured":"2026-05-01T08:00:00Z","received":"2026-05-01T06:00:00Z"}"#,
        r#"{"kind":"message","subject":"alerts.d","value":1,"received":"2026-05-01T06:05:00Z"}"#,
        r#"{"kind":"reading","device":"d","sensor":"cam","value":{"bytes":"00ff"},"encoding":"hex","received":"2026-05-01T06:09:00Z"}"#,
        r#"{"kind":"reading","device":"d\"1","sensor":"s","value":7.20,"received":"2026-05-01T06:10:00Z"}"#,
    ];

    #[test]
    fn readings_are_sent_as_the_device_sent_them_at_their_distances() {
        let file = file(&LINES);
        let speed = Speed::Times(10.0);
        let contents = look(&file, speed).unwrap();
        assert_eq!((contents.readings, contents.others, contents.bytes), (2, 1, 1));
        (&file).rewind().unwrap();
        let groups: Vec<Group> = Groups::of(&file, "x", speed, 0, 1_000).map(Result::unwrap).collect();
        assert_eq!(groups[0].body, "{\"device\":\"d\\\"1\",\"sensor\":\"s\",\"timestamp\":\"2026-05-01T08:00:00Z\",\"value\":\"61,0\"}\n");
        assert_eq!((groups.len(), groups[1].due.as_secs()), (2, 60));
        assert_eq!(tawi_runtime::ingest::parse::readings(groups[0].body.as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn with_now_the_last_one_comes_when_it_is_sent_and_none_is_of_the_future() {
        let now = Micros::parse("2026-11-01T12:00:00Z").unwrap();
        let measured = |speed: Speed| {
            let file = file(&LINES);
            let shift = look(&file, speed).unwrap().shift(now);
            (&file).rewind().unwrap();
            let bodies: String = Groups::of(&file, "x", speed, shift, 1_000).map(|group| group.unwrap().body).collect();
            bodies
                .lines()
                .map(|line| serde_json::from_str::<Json>(line).unwrap()["timestamp"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        // The first one's device is two hours ahead, and stays so.
        assert_eq!(measured(Speed::Max), ["2026-11-01T13:50:00Z", "2026-11-01T12:00:00Z"]);
        assert_eq!(measured(Speed::Times(10.0)), ["2026-11-01T13:51:00Z", "2026-11-01T12:01:00Z"]);
        assert_eq!(measured(Speed::Times(1.0)), ["2026-11-01T14:00:00Z", "2026-11-01T12:10:00Z"]);
    }

    #[test]
    fn every_mistake_is_found_before_anything_is_sent() {
        let file = file(&[LINES[0], "{", LINES[1], "{\"kind\":\"reading\"}"]);
        let mistakes = look(&file, Speed::Max).unwrap_err();
        assert!(mistakes[0].starts_with("line 3: ") && mistakes[1].starts_with("line 5: "), "{mistakes:?}");
        let refused = refuse("x", &vec!["line 2: no".to_owned(); 25]).to_string();
        assert!(refused.ends_with("and 5 more") && refused.matches("line 2").count() == 20, "{refused}");
    }

    #[test]
    fn once_means_the_same_keys_for_the_same_readings_in_the_same_places() {
        let group = |body: &str| Group { due: Duration::ZERO, readings: 1, body: body.to_owned() };
        assert_eq!(identity(0, &group("a")), identity(0, &group("a")));
        assert_ne!(identity(0, &group("a")), identity(1, &group("a")));
        assert_ne!(identity(0, &group("a")), identity(0, &group("b")));
    }
}
