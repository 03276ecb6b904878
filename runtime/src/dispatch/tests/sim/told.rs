//! What functions with rules must have been told: once, and what a few lines make of the log.
//!
//! When a timer was looked at, nobody can say here: clocks are wrong and nodes are away. But all that was told of a reading, and what it
//! said, follows from the log and from what it names as its source; and in the end nothing is owed any more.

use super::releases::{NUMBERS, function};
use crate::{
    ledger::Ledger,
    model::{Event, Kind, Micros, Seq, trigger::Fired},
};
use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

type Log = BTreeMap<Seq, Arc<Event>>;

/// As the manifests of `releases` say.
const SECOND: i64 = Micros::SECOND;
const LATENESS: i64 = 2 * SECOND;
const AHEAD: i64 = SECOND;
const HOLD: i64 = SECOND;
const BATCH: usize = 3;
const EVERY: usize = 3;
const CHANGE: f64 = 9.0;

/// What there was of one device, and what was told of it with the sources, both in the order of the log.
#[derive(Default)]
struct Story {
    readings: Vec<Arc<Event>>,
    told: Vec<(Seq, Fired)>,
}

pub fn check(log: &Log, ledger: &Ledger) {
    let rules: [(&str, fn(&Story)); 6] =
        [("window", window), ("silence", silence), ("batch", batch), ("threshold", threshold), ("change", change), ("every", every)];
    for (name, rule) in rules {
        let evaluator = function(name).evaluator();
        if ledger.position(&evaluator).unwrap().is_none() {
            continue;
        }
        let lost = ledger.lost(Some(&evaluator.app)).unwrap();
        let lost: Vec<RangeInclusive<Seq>> = lost.into_iter().map(|(_, lost)| lost.from..=lost.to).collect();
        let mut stories: BTreeMap<String, Story> = BTreeMap::new();
        // A batch is of all devices.
        let of = |event: &Event| if name == "batch" { String::new() } else { event.device.as_ref().unwrap().to_string() };
        for event in log.values() {
            let is_reading = event.kind == Kind::Reading && event.sensor.as_ref().is_some_and(|sensor| sensor.as_str() == NUMBERS);
            if is_reading && !lost.iter().any(|lost| lost.contains(&event.seq)) {
                stories.entry(of(event)).or_default().readings.push(event.clone());
            }
            if event.kind == Kind::Trigger && event.subject.as_str() == format!("trigger.sim.{name}") {
                let source = event.cause.as_ref().unwrap().seq;
                stories.entry(of(event)).or_default().told.push((source, Fired::from_value(&event.value).unwrap()));
            }
        }
        stories.values().for_each(rule);
    }
}

fn value(event: &Event) -> f64 {
    event.value.as_f64().unwrap()
}

fn time(event: &Event, ahead: i64) -> i64 {
    if event.measured.0 - event.received.0 > ahead { event.received.0 } else { event.measured.0 }
}

impl Story {
    fn until(&self, seq: Seq) -> impl DoubleEndedIterator<Item = &Arc<Event>> + Clone {
        self.readings.iter().filter(move |reading| reading.seq <= seq)
    }
}

/// Of each window results one after another, each with all that counts up to its source, and the last one with everything.
fn window(story: &Story) {
    let mut counted: BTreeMap<i64, Vec<&Arc<Event>>> = BTreeMap::new();
    let mut watermark = i64::MIN;
    for reading in &story.readings {
        let time = time(reading, AHEAD);
        watermark = watermark.max(time);
        let start = time.div_euclid(SECOND) * SECOND;
        if start + SECOND + LATENESS > watermark {
            counted.entry(start).or_default().push(reading);
        }
    }
    let mut told: BTreeMap<i64, u64> = BTreeMap::new();
    let mut revisions: BTreeMap<i64, u32> = BTreeMap::new();
    for (source, fired) in &story.told {
        let Fired::Window(window) = fired else { panic!("{fired:?}") };
        let of = &window.aggregate;
        let holds: Vec<f64> = counted[&window.start.0].iter().filter(|reading| reading.seq <= *source).map(|r| value(r)).collect();
        let revision = revisions.entry(window.start.0).or_default();
        assert_eq!((window.revision, window.end.0), (*revision, window.start.0 + SECOND), "told again, or one was left out: {window:?}");
        *revision += 1;
        assert_eq!(
            (of.count, of.readings, of.sum),
            (holds.len() as u64, holds.len() as u64, Some(holds.iter().sum())),
            "{window:?}: {holds:?}"
        );
        let before = told.insert(window.start.0, of.count);
        assert!(before.is_none_or(|before| before < of.count), "told again with nothing new: {window:?}");
    }
    let owed: BTreeMap<i64, u64> = counted.iter().map(|(start, readings)| (*start, readings.len() as u64)).collect();
    assert_eq!(told, owed, "windows as they were told last (left), and as they are");
}

/// After each reading that nothing follows for long enough one silence, and with the next one its end.
fn silence(story: &Story) {
    let mut silent = None;
    for (source, fired) in &story.told {
        let Fired::Silence(told) = fired else { panic!("{fired:?}") };
        let back = told.back.as_ref().map(|back| back.sequence);
        let before = story.until(*source).filter(move |reading| Some(reading.seq) != back);
        assert_eq!(Some(told.since), before.clone().map(|reading| reading.received).max(), "{told:?}");
        match back {
            None => {
                assert!(silent.is_none(), "it was silent already: {told:?}");
                silent = before.last().map(|reading| reading.seq);
                assert_eq!(silent, Some(*source), "{told:?}");
            }
            Some(back) => {
                let ended = silent.take().unwrap_or_else(|| panic!("it was not silent: {told:?}"));
                let next = story.readings.iter().find(|reading| reading.seq > ended);
                assert_eq!(next.map(|reading| reading.seq), Some(back), "{told:?}");
            }
        }
    }
    assert_eq!(silent, story.readings.last().map(|reading| reading.seq), "it is silent now");
}

/// All readings, in their order, none twice.
fn batch(story: &Story) {
    let mut told = Vec::new();
    for (source, fired) in &story.told {
        let Fired::Batch(batch) = fired else { panic!("{fired:?}") };
        assert!((1..=BATCH).contains(&batch.readings.len()), "{batch:?}");
        told.extend(batch.readings.iter().map(|reading| (reading.sequence, reading.value.clone())));
        assert_eq!(told.last().map(|(seq, _)| seq), Some(source));
    }
    let owed: Vec<_> = story.readings.iter().map(|reading| (reading.seq, reading.value.clone())).collect();
    assert_eq!(told, owed, "what batches held (left), and what was sent");
}

/// Of each stretch of readings over the limit at most one crossing, certainly where it is long enough or the last; then one back.
fn threshold(story: &Story) {
    let mut told = story.told.iter().map(|(source, fired)| match fired {
        Fired::Threshold(crossing) => (*source, crossing.beyond, crossing.since.0),
        other => panic!("{other:?}"),
    });
    let mut next = told.next();
    let mut at = 0;
    while let Some(first) = story.readings.get(at) {
        if value(first) <= 0.0 {
            at += 1;
            continue;
        }
        let run: Vec<_> = story.readings[at..].iter().take_while(|reading| value(reading) > 0.0).collect();
        at += run.len();
        let (since, back) = (time(first, 0), story.readings.get(at));
        let crossed = next.filter(|(source, beyond, _)| *beyond && run.iter().any(|reading| reading.seq == *source));
        let held = run.iter().any(|reading| time(reading, 0) - since >= HOLD);
        assert!(crossed.is_some() || !held && back.is_some(), "nothing was told of what is over the limit since {}", first.seq);
        if let Some((source, _, from)) = crossed {
            assert_eq!(from, since, "the crossing at {source}");
            next = told.next();
            if let Some(back) = back {
                assert_eq!(next, Some((back.seq, false, time(back, 0))), "it is back");
                next = told.next();
            }
        }
    }
    assert_eq!(next, None, "told of nothing");
}

fn change(story: &Story) {
    let mut owed: Vec<(Seq, Option<Seq>)> = Vec::new();
    let mut last: Option<&Arc<Event>> = None;
    for reading in &story.readings {
        if last.is_none_or(|last| (value(last) - value(reading)).abs() >= CHANGE) {
            owed.push((reading.seq, last.map(|last| last.seq)));
            last = Some(reading);
        }
    }
    let told = story.told.iter().map(|(source, fired)| match fired {
        Fired::Change(change) => {
            assert_eq!(*source, change.reading.sequence);
            (change.reading.sequence, change.previous.as_ref().map(|previous| previous.sequence))
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(told.collect::<Vec<_>>(), owed);
}

fn every(story: &Story) {
    let owed: Vec<Seq> = story.readings.iter().skip(EVERY - 1).step_by(EVERY).map(|reading| reading.seq).collect();
    let told = story.told.iter().map(|(source, fired)| match fired {
        Fired::Every(reading) => {
            assert_eq!(*source, reading.sequence);
            *source
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(told.collect::<Vec<_>>(), owed);
}
