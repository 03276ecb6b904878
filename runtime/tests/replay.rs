//! The past run again, beside what came of it when it was the present: real engine, real guests, ledger and history on disk.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde::Deserialize;
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use support::{Floor, app, function, reading};
use tawi_runtime::{
    history::{History, HistoryOptions},
    model::{Event, Id, Kind, Micros, NewEvent, Seq, Value, limit::REPLAY_PAGE_BYTES_MAX},
    replay::{Job, Parts, Replays, State, Wanted},
};
use tokio_util::sync::CancellationToken;

const ALERT: &str = "[app]\nname = \"alert\"\n[[on]]\nname = \"alert\"\nsubject = \"reading.>\"\n[grant]\npublish = [\"alerts.>\"]\nconfig = true\n[config]\nthreshold = \"8\"\n";
const DAYS: &str = "[app]\nname = \"days\"\n[[on]]\nname = \"count\"\nsubject = \"reading.>\"\n[grant]\nstate = true\n";

/// A line of an output, and what is compared of it: everything, with the value as its text.
#[derive(Debug, Deserialize)]
struct Line {
    kind: String,
    #[serde(default)]
    event: Seq,
    #[serde(default)]
    subject: String,
    device: Option<Id>,
    #[serde(default)]
    measured: String,
    #[serde(default)]
    key: String,
    value: Option<Box<RawValue>>,
    error: Option<String>,
}

struct Past {
    floor: Floor,
    history: History,
}

/// Readings of thirty devices, an hour apart each, of some days; every ninth is too warm, and no value is like the one before.
fn readings(count: usize) -> Vec<NewEvent> {
    let begin = Micros::parse("2026-03-01T00:00:00Z").unwrap().0;
    let one = |n: usize| {
        let at = Micros(begin + i64::try_from(n / 30).unwrap() * 3_600 * Micros::SECOND);
        let body = reading(&format!("fridge{:02}", n % 30), "temp", &format!("{}.{:03}", if n % 9 == 0 { 9 } else { 4 }, n % 1_000));
        NewEvent { measured: at, received: Micros(at.0 + 1_500_000), ..body }
    };
    (0..count).map(one).collect()
}

impl Past {
    async fn open() -> Past {
        let floor = Floor::open().await;
        let history = History::open(&floor.dir.path().join("history"), HistoryOptions::default()).unwrap();
        Past { floor, history }
    }

    async fn live(&self, events: Vec<NewEvent>) {
        for page in events.chunks(500) {
            self.floor.append(page.to_vec()).await;
        }
    }

    /// Brings the history up to the log, and takes from the log all but its last events.
    async fn forget_the_log(&self, but: u64) {
        let head = *self.floor.ledger.head().borrow();
        let mut from = 1;
        while from <= head {
            let page = self.floor.ledger.events(from, 1_000, 1 << 20).unwrap();
            from = page.last().unwrap().seq + 1;
            self.history.index(&page).unwrap();
        }
        self.history.commit().unwrap();
        // Functions store how far they are when they have nothing to do, within seconds.
        while self.floor.ledger.trim(head - but + 1).await.unwrap() < head - but + 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn replays(&self) -> Replays {
        let Floor { ledger, dispatch, store, reconciler, .. } = &self.floor;
        let (ledger, dispatch, store, reconciler) = (ledger.clone(), dispatch.clone(), store.clone(), reconciler.clone());
        let parts = Parts { ledger, history: self.history.clone(), dispatch, store, reconciler };
        Replays::open(&self.floor.dir.path().join("replays"), parts).unwrap()
    }

    /// Messages of an app as they are in the log, in the order of what they are about.
    fn said(&self, name: &str) -> Vec<(Seq, String, Option<Id>, String, String)> {
        let mut all: Vec<Arc<Event>> = self.floor.all(Kind::Message);
        all.retain(|event| event.cause.as_ref().is_some_and(|cause| cause.app.as_str() == name));
        all.sort_by_key(|event| event.cause.as_ref().map(|cause| (cause.seq, cause.place.index)));
        let said = |event: &Arc<Event>| {
            let Value::Json(text) = &event.value else { panic!("{event:?}") };
            let seq = event.cause.as_ref().unwrap().seq;
            (seq, event.subject.to_string(), event.device.clone(), event.measured.to_string(), text.to_string())
        };
        all.iter().map(said).collect()
    }

    fn state(&self, name: &str) -> Vec<(String, String)> {
        let entries = self.floor.ledger.state_entries(&app(name), "", None, usize::MAX).unwrap();
        entries.into_iter().map(|(key, value)| (key, String::from_utf8(value.to_vec()).unwrap())).collect()
    }
}

fn wanted(name: &str, on: &str) -> Wanted {
    let id = function(name, on);
    Wanted { app: id.app, function: id.function, release: 1, from: None, to: None, by_measured: false }
}

fn text(replays: &Replays, job: &Job) -> String {
    let mut all = Vec::new();
    loop {
        let (bytes, _) = replays.output(&job.wanted.app, job.number, all.len() as u64, REPLAY_PAGE_BYTES_MAX).unwrap();
        if bytes.is_empty() {
            return String::from_utf8(all).unwrap();
        }
        all.extend(bytes);
    }
}

fn lines(text: &str) -> Vec<Line> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn messages(lines: &[Line]) -> Vec<(Seq, String, Option<Id>, String, String)> {
    let of = |line: &Line| {
        let value = line.value.as_ref().unwrap().get().to_owned();
        (line.event, line.subject.clone(), line.device.clone(), line.measured.clone(), value)
    };
    lines.iter().filter(|line| line.kind == "message").map(of).collect()
}

fn states(lines: &[Line]) -> Vec<(String, String)> {
    let of = |line: &Line| (line.key.clone(), line.value.as_ref().unwrap().get().to_owned());
    lines.iter().filter(|line| line.kind == "state").map(of).collect()
}

/// Runs what waits until this one is over.
async fn over(replays: &Replays, job: &Job) -> Job {
    let stop = CancellationToken::new();
    let running = tokio::spawn(replays.clone().run(stop.clone()));
    let wait = async {
        loop {
            let now = replays.get(&job.wanted.app, job.number).unwrap();
            if now.is_over() {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let over = tokio::time::timeout(Duration::from_secs(120), wait).await.expect("the replay ends");
    stop.cancel();
    running.await.unwrap();
    over
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_run_again_comes_to_the_same_to_the_byte_from_the_log_and_from_the_history() {
    let past = Past::open().await;
    past.floor.deploy("threshold-alert", ALERT).await;
    past.floor.deploy("daily-average", DAYS).await;
    past.live(readings(3_000)).await;
    for id in [function("alert", "alert"), function("days", "count")] {
        past.floor.settled(&id).await;
    }
    let (said, days) = (past.said("alert"), past.state("days"));
    assert!(said.len() >= 300 && days.len() == 30 * 5, "{} alerts, {} days", said.len(), days.len());

    let replays = past.replays();
    let mut outputs = Vec::new();
    for but in [u64::MAX, 1_500, 0] {
        if but != u64::MAX {
            past.forget_the_log(but).await;
        }
        for (name, on) in [("alert", "alert"), ("days", "count")] {
            let job = replays.start(wanted(name, on)).unwrap();
            let job = over(&replays, &job).await;
            assert_eq!((&job.state, job.failed, job.through), (&State::Done, 0, job.last), "{but}");
            let output = text(&replays, &job);
            let lines = lines(&output);
            assert_eq!(messages(&lines), if name == "alert" { said.clone() } else { Vec::new() }, "{name} {but}");
            assert_eq!(states(&lines), past.state(name), "{name} {but}");
            outputs.push((name, output));
        }
    }
    for name in ["alert", "days"] {
        let mut same = outputs.iter().filter(|(of, _)| *of == name).map(|(_, output)| output);
        let first = same.next().unwrap();
        assert!(same.all(|other| other == first), "{name}: one output from the log, from both and from the history alone");
    }
    let written = past.floor.all(Kind::Message).len();
    assert_eq!(written, 0, "the log was trimmed, and no replay has written into it");
}
