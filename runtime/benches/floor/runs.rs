//! Ten million records of calls, and twenty kinds of questions about them.
//!
//! `TAWI_BENCH_RUNS=100000` makes a quick run of fewer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tawi_platform_tests::results::{Figure, Results};
use tawi_runtime::{
    history::{History, HistoryOptions, RunQuery},
    model::{Event, Id, Kind, Micros, NewEvent, Run, RunOutcome, Subject, id::default_tenant},
};

const RUNS: u64 = 10_000_000;
/// Indexed at a time, and committed together.
const BATCH: u64 = 10_000;
const COMMIT: u64 = 100_000;
/// One every 250 ms: ten million are a month of a node with a dozen busy functions.
const EVERY_MICROS: i64 = 250_000;
const START: Micros = Micros(1_767_225_600_000_000);
/// How often each question is asked. The first time counts too: segments are measured then.
const ASKED: usize = 20;

/// Well mixed, and the same each time.
fn roll(n: u64, salt: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn record(seq: u64) -> Arc<Event> {
    let id = |text: String| Id::new(&text).unwrap();
    let (function, device) = (roll(seq, 1) % 12, roll(seq, 2) % 2_000);
    let outcome = match roll(seq, 3) % 1_000 {
        0 => RunOutcome::Dead,
        1..=9 => RunOutcome::Retry,
        _ => RunOutcome::Done,
    };
    // Most take some hundred microseconds, few of them long.
    let took_micros = 100 + roll(seq, 4) % 400 + if roll(seq, 5).is_multiple_of(5_000) { roll(seq, 6) % 2_000_000 } else { 0 };
    let start = Micros(START.0 + seq as i64 * EVERY_MICROS);
    let device = id(format!("device{device}"));
    let run = Run {
        app: id(format!("app{}", function % 4)),
        function: id(format!("function{function}")),
        release: 1 + seq / 1_000_000,
        call: format!("main-{seq}-function{function}"),
        event: seq,
        subject: format!("reading.{device}.temp"),
        device: Some(device.clone()),
        sensor: Some(id("temp".into())),
        trigger: "reading".into(),
        attempt: if outcome == RunOutcome::Done { 1 } else { 1 + (roll(seq, 7) % 4) as u32 },
        start,
        took_micros,
        cpu_micros: took_micros / 2,
        memory_bytes: 1_114_112,
        outcome,
        error: outcome.is_error().then(|| format!("the station {} does not answer", roll(seq, 8) % 100)),
        writes: 1,
        messages: (roll(seq, 9) % 2) as u32,
        commands: 0,
        effects: Vec::new(),
        request: None,
        skipped: 0,
        replay: false,
    };
    let reading = NewEvent::reading(&default_tenant(), &device, &id("temp".into()), start, start, run.to_value());
    Arc::new(Event { seq, body: NewEvent { kind: Kind::Run, subject: Subject::new("run.a.f").unwrap(), ..reading } })
}

/// What people ask: about one function, one device, what failed, what was slow, some hour long ago, what never was.
fn questions(runs: u64) -> Vec<RunQuery> {
    let ask = |text: &str| RunQuery { limit: 20, ..RunQuery::new(default_tenant(), text) };
    let at = |part: u64| Some(Micros(START.0 + (runs / 10 * part) as i64 * EVERY_MICROS));
    let texts = [
        "",
        "function:function3",
        "device:device17",
        "function:function3 AND outcome:error AND device:device17",
        "outcome:error",
        "outcome:dead",
        "outcome:dead duration:>500ms",
        "duration:>1s",
        "duration:>3600s",
        "app:app1 NOT outcome:done",
        "release:3",
        "release:>5 outcome:retry",
        "attempt:>3 app:app2",
        "error:\"station 42\"",
        "function:nobody",
        "(device:device1 OR device:device2) outcome:error",
        "subject:reading.device9*",
    ];
    let mut all: Vec<RunQuery> = texts.into_iter().map(ask).collect();
    all.push(ask(&format!("event:{}", runs / 3)));
    all.push(RunQuery { from: at(2), to: at(3), ..ask("function:function5 outcome:error") });
    all.push(RunQuery { offset: 10_000, ..ask("app:app3") });
    all
}

pub fn runs(results: &mut Results) {
    let runs: u64 = std::env::var("TAWI_BENCH_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(RUNS);
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), HistoryOptions { search_time: Duration::from_secs(60), ..HistoryOptions::default() }).unwrap();
    let begin = Instant::now();
    for from in (1..=runs).step_by(BATCH as usize) {
        let events: Vec<_> = (from..(from + BATCH).min(runs + 1)).map(record).collect();
        history.index(&events).unwrap();
        if (from - 1) % COMMIT == 0 {
            history.commit().unwrap();
        }
    }
    history.rest().unwrap();
    let written = begin.elapsed();
    let mut took: Vec<(f64, String)> = Vec::new();
    for round in 0..ASKED {
        for query in questions(runs) {
            let begin = Instant::now();
            let page = history.runs(&query).unwrap();
            took.push((begin.elapsed().as_secs_f64() * 1_000.0, query.text.clone()));
            assert!(round > 0 || page.hits.len() <= 20);
        }
    }
    took.sort_by(|a, b| a.0.total_cmp(&b.0));
    let p95 = took[took.len() * 95 / 100].0;
    let slowest: Vec<String> = took.iter().rev().take(5).map(|(millis, text)| format!("`{text}` {millis:.0} ms")).collect();
    let note = format!("of {runs} records, written in {:.0} s; the slowest: {}", written.as_secs_f64(), slowest.join(", "));
    results.add(Figure::at_most("a question about calls, p95", p95, "ms", 50.0).note(note));
}
