//! Rules of event time over recorded readings, with their clocks that run ahead and their gaps of weeks: what they tell equals what some
//! lines of Python compute from the files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tawi_platform_tests::sample::{self, Recording};
use tawi_runtime::{
    model::{
        Event, Id, Micros, NewEvent, Value,
        id::default_tenant,
        manifest::{Fill, Method, Per, Rule, Shape, Threshold, Window},
        trigger::{Filled, Fired, WindowResult},
    },
    time::{Firing, Rules, Shelf},
};

#[derive(Deserialize)]
struct Expected {
    hours: BTreeMap<String, Summary>,
    days: BTreeMap<String, Summary>,
    sessions: Vec<(i64, u64)>,
    silences: Vec<i64>,
    crossings: Vec<(u64, bool)>,
    /// By method: when, what, and whether it was made up.
    filled: BTreeMap<String, Vec<(i64, f64, bool)>>,
}

#[derive(Deserialize)]
struct Summary {
    count: u64,
    sum: f64,
    mean: f64,
    min: f64,
    max: f64,
    p95: f64,
}

#[derive(Default)]
struct Map(BTreeMap<String, Bytes>);

impl Shelf for Map {
    fn get(&mut self, part: &str) -> Option<Bytes> {
        self.0.get(part).cloned()
    }

    fn put(&mut self, part: &str, value: Option<Bytes>) {
        match value {
            Some(value) => drop(self.0.insert(part.to_owned(), value)),
            None => drop(self.0.remove(part)),
        }
    }

    fn list(&mut self, prefix: &str) -> Vec<(String, Bytes)> {
        self.0
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const MONTH: Duration = Duration::from_secs(31 * 86_400);

/// What a rule tells of some readings, and once all that was waited for is over.
fn told(rule: &Rule, events: &[Event]) -> Vec<Firing> {
    let (mut rules, mut shelf, mut out) = (Rules::new(rule), Map::default(), Vec::new());
    rules.restore(&mut shelf, events[0].received).unwrap();
    for (at, event) in events.iter().enumerate() {
        // A node that ends now and then.
        if at % 1_000 == 999 {
            rules = Rules::new(rule);
            rules.restore(&mut shelf, event.received).unwrap();
        }
        rules.take(event, &mut shelf, &mut out);
    }
    let year = 366 * 86_400 * Micros::SECOND;
    let end = Micros(events.iter().map(|event| event.received.0).max().unwrap() + year);
    rules.tick(end, &mut shelf, &mut out);
    out
}

fn window(shape: Shape) -> Rule {
    let ahead = Duration::from_secs(300);
    Rule::Window(Window { shape, per: Per::Sensor, lateness: MONTH, ahead, idle: HOUR, readings: false, percentiles: vec![95.0] })
}

/// Of each window the last result that was told, those that were swallowed left out.
fn last_results(firings: Vec<Firing>) -> BTreeMap<i64, WindowResult> {
    let mut last = BTreeMap::new();
    for firing in firings {
        let Fired::Window(result) = firing.fired else { panic!("{:?}", firing.fired) };
        for start in &result.replaces {
            last.remove(&start.0);
        }
        last.insert(result.start.0, result);
    }
    last
}

fn events(recording: &Recording) -> Vec<Event> {
    let (device, sensor) = (Id::new(&recording.device).unwrap(), Id::new(&recording.sensor).unwrap());
    let text = std::fs::read_to_string(&recording.path).unwrap();
    let rows = text.lines().map(|line| line.split(',').map(|cell| cell.trim_matches('"')).collect::<Vec<_>>());
    let rows = rows.filter(|row| row.len() == 3 && row[1] != "timestamp");
    let reading = |(at, row): (usize, Vec<&str>)| {
        let (received, measured) = (Micros::parse(row[0]).unwrap(), Micros::parse(row[1]).unwrap());
        let body = NewEvent::reading(&default_tenant(), &device, &sensor, measured, received, Value::json(row[2]).unwrap());
        Event { seq: at as u64 + 1, body }
    };
    rows.enumerate().map(reading).collect()
}

fn expected(dir: &Path) -> BTreeMap<String, Expected> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pilots_time.py");
    let out = Command::new("python3").arg(script).arg(dir).output().expect("python3");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn close(one: Option<f64>, other: f64) -> bool {
    one.is_some_and(|one| (one - other).abs() <= 1e-9 * other.abs().max(1.0))
}

fn same(sensor: &str, told: &BTreeMap<i64, WindowResult>, expected: &BTreeMap<String, Summary>) {
    let wanted: BTreeMap<i64, &Summary> = expected.iter().map(|(start, summary)| (start.parse().unwrap(), summary)).collect();
    assert_eq!(told.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{sensor}");
    for (start, result) in told {
        let (is, should) = (&result.aggregate, wanted[start]);
        assert_eq!((is.count, is.min, is.max), (should.count, Some(should.min), Some(should.max)), "{sensor} {start}");
        assert!(close(is.sum, should.sum) && close(is.mean, should.mean), "{sensor} {start}: {is:?}");
        assert!(close(is.percentiles.first().map(|it| it.value), should.p95), "{sensor} {start}: {is:?} {}", should.p95);
    }
}

#[test]
fn what_time_makes_of_recorded_readings_is_what_python_computes() {
    let made = tempfile::tempdir().unwrap();
    let dir = sample::pilots_dir().unwrap_or_else(|| {
        sample::make(made.path());
        made.path().to_owned()
    });
    let expected = expected(&dir);
    for recording in sample::recordings(&dir) {
        let sensor = format!("{}-{}", recording.device, recording.sensor);
        let (events, expected) = (events(&recording), &expected[&sensor]);
        same(&sensor, &last_results(told(&window(Shape::Tumbling { length: HOUR }), &events)), &expected.hours);
        same(&sensor, &last_results(told(&window(Shape::Tumbling { length: 24 * HOUR }), &events)), &expected.days);

        let sessions = last_results(told(&window(Shape::Session { gap: HOUR }), &events));
        let sessions: Vec<(i64, u64)> = sessions.iter().map(|(start, result)| (*start, result.aggregate.readings)).collect();
        assert_eq!(sessions, expected.sessions, "{sensor}");

        let silences = told(&Rule::Silence { after: 6 * HOUR }, &events);
        let since = |firing: &Firing| match &firing.fired {
            Fired::Silence(silence) => silence.back.is_none().then_some(silence.since.0),
            other => panic!("{other:?}"),
        };
        assert_eq!(silences.iter().filter_map(since).collect::<Vec<_>>(), expected.silences, "{sensor}");
        assert_eq!(silences.len(), 2 * expected.silences.len() - 1, "each but the last one ends");

        let threshold = Threshold { above: true, limit: 30.0, hysteresis: 0.5, hold: Duration::ZERO };
        let crossings = told(&Rule::Threshold(threshold), &events);
        let crossing = |firing: &Firing| match &firing.fired {
            Fired::Threshold(crossing) => (crossing.reading.sequence - 1, crossing.beyond),
            other => panic!("{other:?}"),
        };
        assert_eq!(crossings.iter().map(crossing).collect::<Vec<_>>(), expected.crossings, "{sensor}");
    }
}

/// The soil moisture among them: of the real ones its sensors were away for minutes and for days.
#[test]
fn recorded_readings_without_their_gaps_are_what_python_computes() {
    let made = tempfile::tempdir().unwrap();
    let dir = sample::pilots_dir().unwrap_or_else(|| {
        sample::make(made.path());
        made.path().to_owned()
    });
    let expected = expected(&dir);
    let mut guessed = 0;
    for recording in sample::recordings(&dir) {
        let (sensor, events) = (format!("{}-{}", recording.device, recording.sensor), events(&recording));
        for method in [Method::Hold, Method::Linear, Method::Trend] {
            let (every, ahead) = (HOUR / 60, Duration::from_secs(300));
            let found = told(&Rule::Fill(Fill { every, method, max_gap: 12 * HOUR, ahead }), &events);
            let wanted = &expected[&sensor].filled[method.name()];
            assert_eq!(found.len(), wanted.len(), "{sensor} {method:?}");
            for (firing, (time, value, is_made)) in found.iter().zip(wanted) {
                let Fired::Filled(Filled { value: is, gap }) = &firing.fired else { panic!("{firing:?}") };
                assert_eq!((firing.measured.0, gap.is_some()), (*time, *is_made), "{sensor} {method:?}");
                assert!(close(is.as_f64(), *value), "{sensor} {method:?} {time}: {is:?}, not {value}");
                guessed += usize::from(*is_made);
            }
        }
    }
    assert!(guessed > 100, "{guessed}");
}
