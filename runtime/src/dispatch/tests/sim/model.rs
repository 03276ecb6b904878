//! What must be true of every history, whatever failed in it.

use super::{
    calls::{self, Told},
    releases::{app, function},
    told,
};
use crate::{
    ledger::{DeadLetter, Ledger, Lost},
    model::{Event, Kind, NewEvent, Seq},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Readings that a device sent as one, perhaps several times under one key.
pub struct Sent {
    pub numbers: Vec<u64>,
    pub events: Vec<NewEvent>,
    pub key: Option<String>,
    pub answers: Vec<Answer>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Seqs(Vec<Seq>),
    /// Nothing was stored.
    Refused,
    /// Nobody said anything.
    Unknown,
}

#[derive(Default)]
pub struct Model {
    pub sent: Vec<Sent>,
    /// Each call's key, and what its client was told.
    pub calls: BTreeMap<u64, (Option<String>, Option<Told>)>,
    /// All that any node has ever shown.
    pub log: BTreeMap<Seq, Arc<Event>>,
    /// Dead letters that were tried again: they are out of order.
    pub replayed: BTreeSet<(String, Seq)>,
    /// Where each function began.
    pub begun: BTreeMap<String, Seq>,
    /// A release without the function `second` was wanted once.
    pub second_left: bool,
}

/// Effects of one function: the events that it handled, in the order in which they counted.
type Effects<'m> = BTreeMap<(&'m str, &'m str), Vec<Seq>>;

impl Model {
    /// Takes in what a ledger shows behind `from`: never another event than somebody has seen there before.
    pub fn observe(&mut self, ledger: &Ledger, from: Seq) -> Seq {
        let mut last = from;
        // A node whose disk fails shows nothing for a while.
        while let Ok(page) = ledger.events(last + 1, 1_000, usize::MAX)
            && let Some(end) = page.last()
        {
            last = end.seq;
            for event in page {
                let known = self.log.entry(event.seq).or_insert_with(|| event.clone());
                assert_eq!(known.body, event.body, "event {} was another one before", event.seq);
            }
        }
        last
    }

    /// After a start: what was shown is there still, unless it was trimmed.
    pub fn still_shows(&self, ledger: &Ledger) {
        let events = ledger.events(1, usize::MAX, usize::MAX).unwrap();
        let has: BTreeSet<Seq> = events.iter().map(|event| event.seq).collect();
        let first = ledger.first();
        let gone: Vec<Seq> = self.log.keys().copied().filter(|seq| *seq >= first && !has.contains(seq)).collect();
        assert!(gone.is_empty(), "{gone:?} were shown and are gone after a restart; the log begins at {first}");
    }

    pub fn check(&self, ledger: &Ledger) {
        self.log_has_no_gap();
        self.devices();
        let effects = self.effects();
        let dead = ledger.dead(None, None, usize::MAX).unwrap();
        let lost = ledger.lost(None).unwrap();
        for (name, begun) in &self.begun {
            let lost: Vec<Lost> = lost.iter().filter(|(of, _)| *of == function(name)).map(|(_, lost)| *lost).collect();
            self.each_once(name, *begun, &effects, &dead, &lost);
        }
        self.order(&effects);
        seen_in_state(ledger, &effects);
        told::check(&self.log, ledger);
        self.counted(ledger);
        self.clients();
    }

    fn log_has_no_gap(&self) {
        assert!(self.log.keys().copied().eq(1..=self.log.len() as u64), "the log has a gap: {:?}", self.log.keys());
    }

    /// What was acknowledged is there, at its place; what was refused is not; nothing is there in part or twice.
    fn devices(&self) {
        let mut at: BTreeMap<u64, Vec<Seq>> = BTreeMap::new();
        for event in self.log.values().filter(|event| event.kind == Kind::Reading) {
            at.entry(number(event)).or_default().push(event.seq);
        }
        for Sent { numbers, answers, key, .. } in &self.sent {
            let found: Vec<Seq> = numbers.iter().flat_map(|n| at.remove(n).unwrap_or_default()).collect();
            let what = format!("readings {numbers:?} under {key:?}, answered {answers:?}, are at {found:?}");
            assert!(found.is_empty() || found.len() == numbers.len(), "in part or twice: {what}");
            for answer in answers {
                if let Answer::Seqs(seqs) = answer {
                    assert_eq!(*seqs, found, "acknowledged, and not so: {what}");
                }
            }
            if answers.iter().all(|answer| *answer == Answer::Refused) {
                assert!(found.is_empty(), "refused, and there: {what}");
            }
        }
        assert!(at.is_empty(), "nobody sent {at:?}");
    }

    fn effects(&self) -> Effects<'_> {
        let mut effects = Effects::new();
        for event in self.log.values() {
            let Some(name) = event.subject.as_str().strip_prefix("out.") else { continue };
            let cause = event.cause.as_ref().unwrap();
            assert_eq!(cause.function.as_str(), name, "event {} has a wrong cause", event.seq);
            assert_eq!(cause.call, format!("main-{}-{name}", cause.seq), "event {} has a wrong call", event.seq);
            let of = self.log.get(&cause.seq).unwrap_or_else(|| panic!("event {} is of {}, which is not there", event.seq, cause.seq));
            assert_eq!(device(of), device(event), "event {} is of another device", event.seq);
            effects.entry((name, device(event))).or_default().push(cause.seq);
        }
        effects
    }

    /// Each event that concerns a function had its effects once, or is a dead letter, or is counted among those that were dropped while
    /// it was paused.
    fn each_once(&self, name: &str, begun: Seq, effects: &Effects<'_>, dead: &[DeadLetter], lost: &[Lost]) {
        let mut ends: BTreeMap<Seq, Vec<&str>> = BTreeMap::new();
        for ((_, _), seqs) in effects.iter().filter(|((function, _), _)| *function == name) {
            seqs.iter().for_each(|seq| ends.entry(*seq).or_default().push("done"));
        }
        for letter in dead.iter().filter(|letter| letter.function == function(name)) {
            assert_eq!(letter.event, self.log[&letter.seq].body, "dead letter {} of `{name}` is another event", letter.seq);
            ends.entry(letter.seq).or_default().push("dead");
        }
        // One that comes and goes is not there for every event.
        let sure = name != "second" || !self.second_left;
        let mut dropped = vec![0; lost.len()];
        for event in self.log.values() {
            let ended = ends.remove(&event.seq).unwrap_or_default();
            let (may, must) = concerns(name, event);
            let what = format!("event {} came to {ended:?} at `{name}`, which began behind {begun}", event.seq);
            assert!(ended.len() <= 1, "more than once: {what}");
            assert!(ended.is_empty() || (may && event.seq > begun), "not at all its own: {what}");
            let missing = ended.is_empty() && must && sure && event.seq > begun;
            let range = lost.iter().position(|lost| (lost.from..=lost.to).contains(&event.seq));
            assert!(!missing || range.is_some(), "lost: {what}");
            if missing && let Some(range) = range {
                dropped[range] += 1;
            }
        }
        for (lost, dropped) in lost.iter().zip(dropped) {
            let all = lost.to - lost.from + 1;
            assert!((dropped..=all).contains(&lost.events), "{dropped} events are missing of `{name}`, which is told: {lost:?}");
        }
    }

    fn order(&self, effects: &Effects<'_>) {
        for ((name, device), seqs) in effects.iter().filter(|((name, _), _)| *name != "second") {
            let first: Vec<Seq> = seqs.iter().copied().filter(|seq| !self.replayed.contains(&((*name).to_owned(), *seq))).collect();
            assert!(first.is_sorted(), "`{name}` handled the events of `{device}` in another order: {seqs:?}");
        }
    }

    /// Calls are serializable: in the order in which they count, each has read what the one before it wrote.
    fn counted(&self, ledger: &Ledger) {
        let counts: Vec<u64> = self.log.values().filter(|event| event.kind == Kind::Message).filter_map(|event| count(event)).collect();
        assert!(counts.iter().copied().eq(1..=counts.len() as u64), "the key of all was counted {counts:?}");
        let value = ledger.state(&app(), "hot").unwrap().map_or(0, |bytes| serde_json::from_slice::<u64>(&bytes).unwrap());
        assert_eq!(value, counts.len() as u64, "the key of all");
    }

    fn clients(&self) {
        let mut done: BTreeMap<u64, usize> = BTreeMap::new();
        for event in self.log.values().filter(|event| event.subject.as_str() == calls::SUBJECT) {
            *done.entry(event.value.to_json()["call"].as_u64().unwrap()).or_default() += 1;
        }
        let mut keys: BTreeMap<&str, usize> = BTreeMap::new();
        for (id, (key, told)) in &self.calls {
            let times = done.get(id).copied().unwrap_or_default();
            assert!(times <= 1, "call {id} was done {times} times");
            match told {
                Some(Told::Done) => assert_eq!(times, 1, "call {id} was answered and is not in the log"),
                Some(Told::Failed) => assert_eq!(times, 0, "call {id} had failed and is in the log"),
                _ => {}
            }
            if let Some(key) = key {
                *keys.entry(key).or_default() += times;
            }
        }
        for (id, (key, told)) in &self.calls {
            if let (Some(key), Some(told)) = (key, told) {
                let times = keys[key.as_str()];
                assert!(times <= 1, "the calls under `{key}` were done {times} times");
                assert!(*told != Told::Repeat || times == 1 || done.contains_key(id), "call {id} was told of another that was not done");
            }
        }
    }
}

fn device(event: &NewEvent) -> &str {
    event.device.as_ref().map_or("none", |device| device.as_str())
}

/// By which a reading is known.
fn number(event: &NewEvent) -> u64 {
    event.value.as_f64().map_or_else(|| event.value.to_json()["n"].as_u64().unwrap(), |number| number.abs() as u64)
}

fn count(event: &NewEvent) -> Option<u64> {
    event.value.to_json()["count"].as_u64()
}

/// Whether an event may concern a function, and whether it does in every release.
fn concerns(name: &str, event: &Event) -> (bool, bool) {
    let subject = event.subject.as_str();
    match name {
        "first" => (subject.starts_with("reading."), subject.starts_with("reading.")),
        "chain" => (subject == "out.first", subject == "out.first"),
        "window" | "batch" | "silence" | "change" | "threshold" | "every" => {
            let told = subject.strip_prefix("trigger.sim.") == Some(name);
            (told, told)
        }
        _ => (subject.starts_with("reading."), subject.starts_with("reading.") && subject.ends_with(".s1")),
    }
}

/// The state tells the same story as the log.
fn seen_in_state(ledger: &Ledger, effects: &Effects<'_>) {
    let entries = ledger.state_entries(&app(), "seen/", None, usize::MAX).unwrap();
    let seen: BTreeMap<String, Vec<Seq>> = entries.into_iter().map(|(key, value)| (key, serde_json::from_slice(&value).unwrap())).collect();
    let expected: BTreeMap<String, Vec<Seq>> =
        effects.iter().map(|((name, device), seqs)| (format!("seen/{name}/{device}"), seqs.clone())).collect();
    assert_eq!(seen, expected, "what the state says (left) and what the log says (right)");
}
