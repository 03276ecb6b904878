//! What fired, as its function is told of it: real engine, real guest, events made by hand. When something fires is tried elsewhere.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value as Json, json};
use std::{sync::Arc, time::Duration};
use support::guest;
use tawi_runtime::{
    engine::{Attempt, Engine, EngineOptions, Failure, Loaded, Outcome, Wasi},
    host::Nothing,
    model::{
        AppId, Digest, Event, Id, Kind, Manifest, Micros, NewEvent, Release, Subject, Value,
        id::default_tenant,
        manifest::{Difference, Missed, Per, Rule, Schedule, Shape, Threshold, Trigger, Window},
        trigger::{Aggregate, Batch, Change, Crossing, Fired, Percentile, Sampled, Silence, Tick, WindowResult},
    },
};

/// Triggers by the name of their function, which is that of the export that they need.
const KINDS: [&str; 8] = ["schedule", "batch", "window", "silence", "change", "threshold", "every", "event"];
const SECOND: i64 = Micros::SECOND;

/// The position of what fired in the log; its readings have others.
const FIRED: u64 = 99;

struct Probe {
    engine: Engine,
    loaded: Loaded,
    _dir: tempfile::TempDir,
}

fn engine() -> Engine {
    Engine::open(&EngineOptions { instances_max: 4, ..EngineOptions::default() }).unwrap()
}

fn trigger(kind: &str, plain: &Trigger) -> Trigger {
    let Trigger::Event { subject, order, .. } = plain.clone() else { panic!("{plain:?}") };
    let hour = Duration::from_secs(3_600);
    let rule = match kind {
        "schedule" => {
            let (cron, zone) = ("0 6 * * *".to_owned(), "UTC".to_owned());
            return Trigger::Schedule(Schedule { cron, zone, jitter: Duration::ZERO, missed: Missed::Skip });
        }
        "batch" => Some(Rule::Batch { max: 10, within: hour }),
        "window" => Some(Rule::Window(Window {
            shape: Shape::Tumbling { length: hour },
            per: Per::Sensor,
            lateness: hour,
            ahead: hour,
            idle: hour,
            readings: true,
            percentiles: vec![50.0],
        })),
        "silence" => Some(Rule::Silence { after: hour }),
        "change" => Some(Rule::Change(Difference::Any)),
        "threshold" => Some(Rule::Threshold(Threshold { above: true, limit: 8.0, hysteresis: 0.5, hold: Duration::ZERO })),
        "every" => Some(Rule::Every { n: 3 }),
        _ => None,
    };
    Trigger::Event { subject, order, select: None, rule }
}

/// A manifest with these triggers.
fn manifest(kinds: &[&str]) -> Manifest {
    let entries: String = kinds.iter().map(|kind| format!("[[on]]\nname = \"{kind}\"\nsubject = \"reading.>\"\n")).collect();
    let mut manifest = Manifest::parse(&format!("[app]\nname = \"told\"\n{entries}[grant]\npublish = [\"told.>\"]\n")).unwrap();
    for function in &mut manifest.functions {
        function.trigger = trigger(function.name.as_str(), &function.trigger);
    }
    manifest
}

impl Probe {
    fn open(component: &[u8], kinds: &[&str]) -> Probe {
        let (engine, manifest) = (engine(), manifest(kinds));
        engine.verify(component, &manifest).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("code.cwasm");
        std::fs::write(&path, engine.precompile(component).unwrap()).unwrap();
        let app = AppId::new(default_tenant(), manifest.app.clone());
        let (artifact, created) = (Digest::of(component), Micros(0));
        let release = Release { number: 1, artifact, manifest, commit: String::new(), summary: String::new(), created, rollback_of: None };
        let loaded = engine.load(Wasi::P2, &path, app, Arc::new(release)).unwrap();
        Probe { engine, loaded, _dir: dir }
    }

    async fn call(&self, function: &str, event: &Event, number: u32) -> Outcome {
        let function = self.loaded.release.manifest.function(function).unwrap();
        let attempt = Attempt { function, event, call: "call".into(), number, now: Micros(0) };
        self.engine.call(&self.engine.permit().await, &self.loaded, attempt, Arc::new(Nothing)).await
    }

    /// What the function says that it was told, and where it says so.
    async fn told(&self, function: &str, fired: &Fired) -> (String, Json) {
        let outcome = self.call(function, &event(Kind::Trigger, fired.to_value()), 1).await;
        assert_eq!(outcome.result, Ok(()), "{function}");
        let [message] = outcome.collected.effects.messages.as_slice() else { panic!("{:?}", outcome.collected.effects) };
        (message.subject.as_str().to_owned(), message.value.to_json())
    }

    async fn failure(&self, function: &str, value: Value, number: u32) -> Failure {
        self.call(function, &event(Kind::Trigger, value), number).await.result.unwrap_err()
    }
}

fn id(text: &str) -> Option<Id> {
    Some(Id::new(text).unwrap())
}

fn event(kind: Kind, value: Value) -> Event {
    let now = Micros(1_000 * SECOND);
    let reading = NewEvent::reading(&default_tenant(), &id("pond1").unwrap(), &id("oxygen").unwrap(), now, now, value);
    Event { seq: FIRED, body: NewEvent { kind, subject: Subject::new("trigger.told.f").unwrap(), sensor: None, ..reading } }
}

/// The `n`th reading, with its value as the JSON it came in.
fn reading(n: u64, value: &str) -> Sampled {
    let at = Micros(i64::try_from(n).unwrap() * SECOND);
    let subject = "reading.pond1.oxygen".into();
    let value = Value::json(value).unwrap();
    Sampled { subject, device: id("pond1"), sensor: id("oxygen"), value, measured: at, received: Micros(at.0 + 500_000), sequence: n }
}

fn shown(n: u64, value: &str) -> Json {
    json!({
        "subject": "reading.pond1.oxygen", "device": "pond1", "sensor": "oxygen", "value": { "json": value },
        "measured": format!("1970-01-01T00:00:{n:02}Z"), "received": format!("1970-01-01T00:00:{n:02}.500Z"), "sequence": n,
    })
}

fn delivered(mut said: Json, function: &str) -> Json {
    said["delivery"] = json!({ "function": function, "id": format!("main-{FIRED}"), "sequence": FIRED, "attempt": 1 });
    said
}

fn window() -> WindowResult {
    let aggregate = Aggregate {
        readings: 3,
        count: 2,
        sum: Some(0.1 + 0.2),
        mean: Some(-0.0),
        min: Some(f64::MIN),
        max: Some(f64::MAX),
        first: Some(5e-324),
        last: Some(1.0),
        percentiles: vec![Percentile { percent: 99.9, value: 8.25 }, Percentile { percent: 0.0, value: -1.0 }],
    };
    let (start, end) = (Micros(-3_600 * SECOND), Micros(0));
    let (device, sensor) = (id("pond1"), id("oxygen"));
    WindowResult { device, sensor, start, end, revision: 2, replaces: vec![Micros(0), Micros(1)], aggregate, readings: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_trigger_is_told_whole_to_the_handler_of_its_kind() {
    let probe = Probe::open(&guest("probe-time"), &KINDS);
    let silence = Silence { device: id("pond1"), sensor: None, since: Micros(2 * SECOND), back: None };
    let back = Silence { sensor: id("oxygen"), back: Some(reading(7, "7")), ..silence.clone() };
    let (since, at_2) = (Micros(2 * SECOND), "1970-01-01T00:00:02Z");
    let bytes = Sampled { value: Value::Bytes(vec![0, 255].into()), device: None, sensor: None, ..reading(4, "0") };
    let mut shown_bytes = shown(4, "0");
    (shown_bytes["value"], shown_bytes["device"], shown_bytes["sensor"]) = (json!({ "bytes": [0, 255] }), Json::Null, Json::Null);
    for (kind, fired, said) in [
        ("schedule", Fired::Schedule(Tick { scheduled: since, missed: u64::MAX }), json!({ "scheduled": at_2, "missed": u64::MAX })),
        (
            "batch",
            Fired::Batch(Batch { readings: vec![reading(3, "61.10"), bytes, reading(1, "\"warm\"")] }),
            json!({ "readings": [shown(3, "61.10"), shown_bytes, shown(1, "\"warm\"")] }),
        ),
        ("silence", Fired::Silence(silence), json!({ "device": "pond1", "sensor": null, "since": at_2, "back": null })),
        ("silence", Fired::Silence(back), json!({ "device": "pond1", "sensor": "oxygen", "since": at_2, "back": shown(7, "7") })),
        (
            "change",
            Fired::Change(Change { reading: reading(5, "{\"a\": [1]}"), previous: None }),
            json!({ "reading": shown(5, "{\"a\": [1]}"), "previous": null }),
        ),
        (
            "change",
            Fired::Change(Change { reading: reading(6, "2"), previous: Some(reading(5, "1")) }),
            json!({ "reading": shown(6, "2"), "previous": shown(5, "1") }),
        ),
        (
            "threshold",
            Fired::Threshold(Crossing { reading: reading(8, "9"), beyond: true, since }),
            json!({ "reading": shown(8, "9"), "beyond": true, "since": at_2 }),
        ),
        (
            "threshold",
            Fired::Threshold(Crossing { reading: reading(8, "7"), beyond: false, since }),
            json!({ "reading": shown(8, "7"), "beyond": false, "since": at_2 }),
        ),
    ] {
        assert_eq!(probe.told(kind, &fired).await, (format!("told.{kind}.{kind}"), delivered(said, kind)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_is_told_with_its_numbers_and_with_its_readings_where_it_has_them() {
    let probe = Probe::open(&guest("probe-time"), &KINDS);
    let (subject, said) = probe.told("window", &Fired::Window(window())).await;
    assert_eq!(subject, "told.window.window");
    let aggregate = json!({
        "readings": 3, "count": 2, "sum": 0.1 + 0.2, "mean": -0.0, "min": f64::MIN, "max": f64::MAX, "first": 5e-324, "last": 1.0,
        "percentiles": [[99.9, 8.25], [0.0, -1.0]],
    });
    let expected = json!({
        "device": "pond1", "sensor": "oxygen", "start": "1969-12-31T23:00:00Z", "end": "1970-01-01T00:00:00Z",
        "revision": 2, "replaces": ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000001Z"], "aggregate": aggregate, "readings": null,
    });
    assert_eq!(said, delivered(expected, "window"));
    let words = WindowResult {
        sensor: None,
        aggregate: Aggregate { readings: 2, ..Aggregate::default() },
        readings: Some(vec![reading(1, "\"a\""), reading(2, "\"b\"")]),
        ..window()
    };
    let (_, said) = probe.told("window", &Fired::Window(words)).await;
    assert_eq!((&said["sensor"], &said["readings"]), (&Json::Null, &json!([shown(1, "\"a\""), shown(2, "\"b\"")])));
    let none = json!({
        "readings": 2, "count": 0, "sum": null, "mean": null, "min": null, "max": null, "first": null, "last": null, "percentiles": [],
    });
    assert_eq!(said["aggregate"], none);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_every_n_is_the_reading_it_is_under_the_id_of_what_fired() {
    let probe = Probe::open(&guest("probe-time"), &KINDS);
    let said = delivered(json!({ "reading": { "sequence": FIRED } }), "every");
    let mut reading_shown = shown(9, "9.5");
    reading_shown["sequence"] = json!(FIRED);
    let (subject, told) = probe.told("every", &Fired::Every(reading(9, "9.5"))).await;
    assert_eq!((subject.as_str(), &told["delivery"], &told["reading"]), ("told.event.every", &said["delivery"], &reading_shown));
    // And what is no trigger goes to the same handler, as it always did.
    let plain = event(Kind::Reading, Value::json("1").unwrap());
    let outcome = probe.call("event", &plain, 1).await;
    assert_eq!((outcome.result, outcome.collected.effects.messages[0].subject.as_str()), (Ok(()), "told.event.event"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_asks_for_another_try_refuses_or_traps_as_one_of_events_does() {
    let probe = Probe::open(&guest("probe-time"), &KINDS);
    let ordered = |order: &str| reading(1, order);
    for kind in ["batch", "window", "silence", "change", "threshold", "every"] {
        let told = |order: &str| match kind {
            "batch" => Fired::Batch(Batch { readings: vec![ordered("1"), ordered(order)] }).to_value(),
            "window" => Fired::Window(WindowResult { readings: Some(vec![ordered(order)]), ..window() }).to_value(),
            "silence" => Fired::Silence(Silence { device: None, sensor: None, since: Micros(0), back: Some(ordered(order)) }).to_value(),
            "change" => Fired::Change(Change { reading: ordered(order), previous: None }).to_value(),
            "threshold" => Fired::Threshold(Crossing { reading: ordered(order), beyond: true, since: Micros(0) }).to_value(),
            _ => Fired::Every(ordered(order)).to_value(),
        };
        let again = |after| Failure::Retry { after, reason: "as told".to_owned() };
        assert_eq!(probe.failure(kind, told(r#"{"then": "retry"}"#), 1).await, again(None), "{kind}");
        let waits = told(r#"{"then": "retry", "after_ms": 250, "until": 3}"#);
        assert_eq!(probe.failure(kind, waits.clone(), 2).await, again(Some(Duration::from_millis(250))), "{kind}");
        assert_eq!(probe.call(kind, &event(Kind::Trigger, waits), 3).await.result, Ok(()), "{kind}: it is told its attempt");
        assert_eq!(probe.failure(kind, told(r#"{"then": "reject"}"#), 1).await, Failure::Reject("as told".to_owned()), "{kind}");
        let trap = probe.failure(kind, told(r#"{"then": "trap"}"#), 1).await;
        assert!(matches!(trap, Failure::Trap(_)), "{kind}: {trap}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_read_or_handle_any_more_is_rejected_at_once() {
    let probe = Probe::open(&guest("probe-event"), &["event"]);
    for value in [Value::json("{\"eclipse\": {}}").unwrap(), Value::Bytes(vec![1].into())] {
        let Failure::Reject(why) = probe.failure("event", value, 1).await else { panic!("it would be tried again") };
        assert_eq!(
            why,
            "what fired for `event` can't be read from the value of event `main-99`: a node of another version may have written it"
        );
    }
    // A release has lost its schedule while a moment of it waited for another try.
    let Failure::Reject(why) = probe.failure("event", Fired::Schedule(Tick { scheduled: Micros(0), missed: 0 }).to_value(), 2).await else {
        panic!("it would be tried again")
    };
    assert_eq!(why, "the release has no schedule handler any more (in Rust: a function with `#[tawi::schedule]`)");
}

#[test]
fn a_manifest_that_asks_for_a_trigger_needs_the_export_of_its_kind() {
    let engine = engine();
    let error = engine.verify(&guest("codec-example"), &manifest(&KINDS)).unwrap_err().to_string();
    for kind in KINDS {
        let attribute = if kind == "every" { "event" } else { kind };
        let said = format!(
            "[[on]] `{kind}` needs the component to export tawi:app/{attribute}-handler (in Rust: a function with `#[tawi::{attribute}]`)"
        );
        assert!(error.contains(&said), "{kind}: {error}");
    }
    // Who handles events handles one of every N, and nothing else of these.
    engine
        .verify(&guest("threshold-alert"), &{
            let mut it = manifest(&["every"]);
            it.grant.config = true;
            it
        })
        .unwrap();
    let exports = engine.verify(&guest("probe-time"), &manifest(&KINDS)).unwrap();
    assert!(exports.event && exports.schedule && exports.threshold && !exports.http && !exports.codec);
}

#[test]
fn apps_that_are_there_to_be_read_handle_what_their_manifests_ask_for() {
    let engine = engine();
    for name in ["probe-time", "pond-watch"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions").join(name).join("tawi.toml");
        let manifest = Manifest::parse(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        engine.verify(&guest(name), &manifest).unwrap();
    }
}
