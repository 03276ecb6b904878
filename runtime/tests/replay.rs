//! The past run again, beside what came of it when it was the present: real engine, real guests, ledger and history on disk.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use support::{Floor, app, function, reading};
use tawi_runtime::{
    history::{History, HistoryOptions},
    model::{
        Event, Id, Kind, Micros, NewEvent, Seq, Value,
        id::default_tenant,
        limit::{REPLAY_PAGE_BYTES_MAX, REPLAYS_KEPT_MAX, REPLAYS_RUNNING_MAX, REPLAYS_WAITING_MAX},
    },
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
    #[serde(default)]
    error: String,
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
        let body =
            reading(&format!("fridge{:02}", n % 30), "temp", &format!("{}.{:03}", if n.is_multiple_of(9) { 9 } else { 4 }, n % 1_000));
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
        let mut looks = support::looks();
        while self.floor.ledger.trim(head - but + 1).await.unwrap() < head - but + 1 {
            looks.tick().await;
        }
    }

    fn replays(&self) -> Replays {
        self.replays_with(0)
    }

    fn replays_with(&self, disk_free_bytes_min: u64) -> Replays {
        let Floor { ledger, dispatch, store, reconciler, .. } = &self.floor;
        let (ledger, dispatch, store, reconciler) = (ledger.clone(), dispatch.clone(), store.clone(), reconciler.clone());
        let parts = Parts { ledger, history: self.history.clone(), dispatch, store, reconciler, disk_free_bytes_min };
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
    let get = || replays.get(&job.wanted.app, job.number).unwrap();
    support::until("the replay is over", || get().is_over()).await;
    stop.cancel();
    running.await.unwrap();
    get()
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

/// What pond-watch is told of, over two days: the oxygen falls in the night, and one pond says nothing for an hour.
fn ponds() -> Vec<NewEvent> {
    let begin = Micros::parse("2026-05-01T00:00:00Z").unwrap().0;
    let mut all = Vec::new();
    for minute in (0..2 * 24 * 60_i64).step_by(5) {
        for pond in 0..4 {
            if pond == 2 && (600..660).contains(&minute) {
                continue;
            }
            let at = begin + (minute * 60 + pond) * Micros::SECOND;
            let night = if (60..300).contains(&(minute % 1_440)) { 4 } else { 0 };
            let value = format!("{}.{}", 7 - night, (minute / 5 + pond) % 10);
            let body = reading(&format!("pond{pond}"), "oxygen", &value);
            all.push(NewEvent { measured: Micros(at), received: Micros(at + 2 * Micros::SECOND), ..body });
        }
    }
    all
}

const POND: &str = include_str!("../../functions/pond-watch/tawi.toml");

/// As [`Past::said`], without the sequence of the trigger, which is another in another log, in an order of its own.
fn sorted(mut said: Vec<(Seq, String, Option<Id>, String, String)>) -> Vec<(String, Option<Id>, String, String)> {
    said.sort_by(|a, b| (&a.3, &a.1, &a.4).cmp(&(&b.3, &b.1, &b.4)));
    said.into_iter().map(|(_, subject, device, measured, text)| (subject, device, measured, text)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_time_made_of_the_past_it_makes_of_it_again() {
    let past = Past::open().await;
    let schedule = POND.find("# In the morning").unwrap()..POND.find("[grant]").unwrap();
    let manifest = format!("{}{}", &POND[..schedule.start], &POND[schedule.end..]);
    past.floor.deploy("pond-watch", &manifest).await;
    // What was received months ago is read in one go, as by a node that comes back: nobody waits for the present in between.
    let loaded = past.floor.dispatch.app(&app("pond-watch")).unwrap().loaded.load_full();
    past.floor.dispatch.remove(&app("pond-watch")).await;
    past.live(ponds()).await;
    past.floor.dispatch.set(loaded, Default::default()).await.unwrap();
    let ids = ["silent", "daily", "low"].map(|name| function("pond-watch", name));
    for id in &ids {
        let head = *past.floor.ledger.head().borrow();
        support::until("its rule has looked at all", || past.floor.dispatch.evaluated(id).is_some_and(|it| it >= head)).await;
    }
    for id in &ids {
        past.floor.settled(id).await;
    }
    let said = sorted(past.said("pond-watch"));
    let (silent, low): (Vec<_>, Vec<_>) = said.into_iter().partition(|(subject, ..)| subject.ends_with(".silent"));
    assert!(
        low.len() == 16 && silent.len() == 6,
        "two nights of four ponds, on and off, and one that was away, and all at the end: {} {silent:?}",
        low.len()
    );
    let days = past.state("pond-watch");
    assert_eq!(days.len(), 8);

    past.forget_the_log(0).await;
    let replays = past.replays();
    for (on, expected) in [("silent", silent), ("low", low), ("daily", Vec::new())] {
        let job = replays.start(wanted("pond-watch", on)).unwrap();
        let job = over(&replays, &job).await;
        assert_eq!((&job.state, job.failed), (&State::Done, 0), "{on}");
        let lines = lines(&text(&replays, &job));
        assert_eq!(sorted(messages(&lines)), expected, "{on}");
        assert_eq!(states(&lines), if on == "daily" { days.clone() } else { Vec::new() }, "{on}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_stopped_goes_on_where_it_was_and_comes_to_the_same() {
    let past = Past::open().await;
    past.floor.deploy("threshold-alert", ALERT).await;
    past.live(readings(20_000)).await;
    past.floor.settled(&function("alert", "alert")).await;
    let replays = past.replays();
    let whole = over(&replays, &replays.start(wanted("alert", "alert")).unwrap()).await;
    let expected = text(&replays, &whole);
    assert!(expected.lines().count() > 2_000);

    let job = replays.start(wanted("alert", "alert")).unwrap();
    drop(replays);
    let mut stopped: Vec<Seq> = Vec::new();
    loop {
        // As a node does that is started again: all that is known of it is on the disk.
        let replays = past.replays();
        let stop = CancellationToken::new();
        let running = tokio::spawn(replays.clone().run(stop.clone()));
        let scratch = past.floor.dir.path().join("replays").join(job.number.to_string());
        let get = || replays.get(&job.wanted.app, job.number).unwrap();
        let before = stopped.last().copied().unwrap_or(0);
        support::until("it gets on", || get().is_over() || get().through > before).await;
        stop.cancel();
        running.await.unwrap();
        if get().is_over() {
            assert_eq!((&get().state, text(&replays, &get())), (&State::Done, expected));
            assert!(!scratch.join("ledger").exists(), "what it needs no more is gone");
            break;
        }
        assert!(scratch.join("ledger").exists());
        stopped.push(get().through);
    }
    assert!(!stopped.is_empty(), "it was stopped once at least");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_in_the_past_is_said_with_its_event_and_holds_up_nobody() {
    let past = Past::open().await;
    let manifest = "[app]\nname = \"bad\"\n[[on]]\nname = \"trap\"\nsubject = \"reading.fridge01.>\"\ndelivery = { retry = 9 }\n";
    past.floor.release(&support::guest("bad-trap"), manifest);
    past.live(readings(300)).await;
    let replays = past.replays();
    let job = over(&replays, &replays.start(wanted("bad", "trap")).unwrap()).await;
    assert_eq!((&job.state, job.failed, job.lines), (&State::Done, 10, 10));
    let lines = lines(&text(&replays, &job));
    assert!(lines.iter().all(|line| line.kind == "failed" && line.error.contains("unreachable")), "{lines:?}");
    assert!(lines.is_sorted_by_key(|line| line.event));
    assert!(lines.iter().all(|line| line.device.as_ref().is_some_and(|device| device.as_str() == "fridge01")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_is_what_was_measured_in_it_and_what_can_not_be_run_is_refused_at_once() {
    let past = Past::open().await;
    let schedule = "[app]\nname = \"pond-watch\"\n[[on]]\nname = \"report\"\nschedule = \"30 5 * * *\"\n[grant]\npublish = [\">\"]\ncommand = [\"*\"]\nstate = true\n";
    past.floor.release(&support::guest("pond-watch"), schedule);
    past.floor.release(&support::guest("threshold-alert"), ALERT);
    past.live(readings(3_000)).await;
    let replays = past.replays();
    let time = |text: &str| Some(Micros::parse(text).unwrap());
    let range = |from, to| Wanted { from, to, ..wanted("alert", "alert") };
    let (day, next) = (time("2026-03-02T00:00:00Z"), time("2026-03-03T00:00:00Z"));
    let job = over(&replays, &replays.start(range(day, next)).unwrap()).await;
    let of_day = messages(&lines(&text(&replays, &job)));
    // A release that was never live has no consumer either: its function runs over the past all the same.
    assert_eq!(of_day.len(), 24 * 30 / 9);
    assert!(of_day.iter().all(|(_, _, _, measured, _)| measured.starts_with("2026-03-02T")), "{of_day:?}");
    let none = over(&replays, &replays.start(range(time("2031-01-01T00:00:00Z"), None)).unwrap()).await;
    assert_eq!((&none.state, none.lines), (&State::Done, 0));

    let refused = |wanted: Wanted| replays.start(wanted).unwrap_err().to_string();
    assert!(refused(range(next, day)).contains("`from` is not before `to`"));
    assert!(refused(Wanted { release: 9, ..wanted("alert", "alert") }).contains("no release 9"));
    assert!(refused(wanted("alert", "alrt")).contains("no function `alrt`"));
    assert!(refused(wanted("pond-watch", "report")).contains("is for a schedule"));
    assert_eq!(replays.list(&default_tenant()).len(), 2, "nothing is left of what was refused");

    let crowded = past.replays_with(u64::MAX / 2);
    let job = over(&crowded, &crowded.start(wanted("alert", "alert")).unwrap()).await;
    let State::Failed(why) = &job.state else { panic!("{:?}", job.state) };
    assert!(why.contains("are free on the disk"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_imported_at_once_is_run_as_if_it_had_come_when_it_was_measured() {
    let past = Past::open().await;
    let schedule = POND.find("# In the morning").unwrap()..POND.find("[grant]").unwrap();
    past.floor.release(&support::guest("pond-watch"), &format!("{}{}", &POND[..schedule.start], &POND[schedule.end..]));
    let now = tawi_runtime::clock::now();
    past.live(ponds().into_iter().map(|event| NewEvent { received: now, ..event }).collect()).await;
    let replays = past.replays();
    let to = Some(Micros::parse("2026-05-03T00:00:00Z").unwrap());
    for (by_measured, silences) in [(false, 0), (true, 2)] {
        let job = replays.start(Wanted { to, by_measured, ..wanted("pond-watch", "silent") }).unwrap();
        let job = over(&replays, &job).await;
        let lines = lines(&text(&replays, &job));
        let of: Vec<_> = messages(&lines).into_iter().filter(|(_, _, device, ..)| device.as_ref().unwrap().as_str() == "pond2").collect();
        assert_eq!(of.len(), silences, "the hour of the one pond, and that it was back: {of:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replays_run_at_a_time_so_many_wait_and_the_oldest_make_room() {
    let past = Past::open().await;
    past.floor.release(&support::guest("threshold-alert"), ALERT);
    past.live(readings(300)).await;
    let replays = past.replays();
    let standing = || replays.list(&default_tenant()).into_iter().map(|job| job.state).collect::<Vec<_>>();
    for _ in 0..REPLAYS_WAITING_MAX {
        replays.start(wanted("alert", "alert")).unwrap();
    }
    let refused = replays.start(wanted("alert", "alert")).unwrap_err().to_string();
    assert!(refused.contains("32 replays wait or run already"), "{refused}");

    let stop = CancellationToken::new();
    let running = tokio::spawn(replays.clone().run(stop.clone()));
    let mut at_once = 0;
    let mut started = REPLAYS_WAITING_MAX;
    let all = || {
        at_once = at_once.max(standing().iter().filter(|state| **state == State::Running).count());
        if started <= REPLAYS_KEPT_MAX && replays.start(wanted("alert", "alert")).is_ok() {
            started += 1;
        }
        started > REPLAYS_KEPT_MAX && standing().iter().all(|state| *state == State::Done)
    };
    support::until("all are done", all).await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!(at_once, REPLAYS_RUNNING_MAX);
    let numbers: Vec<u64> = replays.list(&default_tenant()).into_iter().map(|job| job.number).collect();
    assert_eq!(numbers, (2..=REPLAYS_KEPT_MAX as u64 + 1).collect::<Vec<_>>(), "the first has made room");
    assert!(!past.floor.dir.path().join("replays/1").exists());

    // What was forgotten is gone from the disk, and its number is not given again.
    replays.forget(&app("alert")).unwrap();
    assert_eq!(std::fs::read_dir(past.floor.dir.path().join("replays")).unwrap().count(), 0);
    assert_eq!(replays.start(wanted("alert", "alert")).unwrap().number, REPLAYS_KEPT_MAX as u64 + 2);
}
