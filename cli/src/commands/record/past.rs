//! Events out of the history.
//!
//! It answers by measured time, newest first, a thousand at a time. A trace is in the order of arrival: so it is asked for one range of
//! sequences after the other, each as long as fits one answer, which is sorted here.

use super::{KINDS, TraceFile, Wanted};
use crate::{
    args::Record,
    client::{Client, path, patiently},
    failure::{Done, Failure},
    progress::Progress,
    trace::Event,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::{thread, time::Duration};

/// What one answer holds at most.
const PAGE: u64 = 1_000;
/// History follows the log within a second; a node that is far behind is not waited for.
const LOOKS_MAX: u32 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Deserialize)]
struct Page {
    total: u64,
    hits: Vec<Box<RawValue>>,
}

pub fn record(client: &Client, what: &Record, wanted: &Wanted, file: &mut TraceFile) -> Done {
    let mut ranges = Ranges::up_to(caught_up(client)?);
    let words = wanted.words();
    let time = |t: Option<tawi_runtime::model::Micros>| t.map(|t| t.to_string());
    let query = |(from, to): (u64, u64)| {
        vec![("q", Some(format!("{words} AND seq:[{from} TO {to}]"))), ("from", time(what.from)), ("to", time(what.to))]
    };
    let count: Value = match ranges.next() {
        Some(all) => patiently(|| client.get(&path("/api/v1/history/count", &query(all))))?,
        None => return Ok(()),
    };
    let progress = Progress::new(count["total"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0), "events");
    while let Some(range) = ranges.next() {
        let mut query = query(range);
        query.push(("limit", Some(PAGE.to_string())));
        let page: Page = patiently(|| client.get(&path("/api/v1/history", &query)))?;
        if !ranges.fits(page.hits.len() as u64, page.total) {
            continue;
        }
        for event in &sorted(&page.hits)? {
            if wanted.takes(event) {
                file.add(event)?;
            }
        }
        progress.done(page.hits.len());
    }
    progress.finish();
    Ok(())
}

fn sorted(hits: &[Box<RawValue>]) -> Done<Vec<Event>> {
    let strange =
        |what: String| Failure::new(format!("did not understand the node's answer: {what}")).hint("is it a Tawi node of this version?");
    let mut events = hits.iter().map(|hit| Event::parse(hit.get()).map_err(strange)).collect::<Done<Vec<Event>>>()?;
    events.sort_by_key(|event| event.sequence);
    Ok(events)
}

/// The last event of the log when this was asked, once the history has it.
fn caught_up(client: &Client) -> Done<u64> {
    let look = || -> Done<(u64, u64)> {
        let status: Value = client.get("/api/v1/status")?;
        let number = |name: &str| status[name].as_u64().unwrap_or(0);
        Ok((number("events"), number("events").saturating_sub(number("history_behind"))))
    };
    let (head, mut has) = look()?;
    for _ in 0..LOOKS_MAX {
        if has >= head {
            return Ok(head);
        }
        thread::sleep(LOOK_EVERY);
        has = look()?.1;
    }
    Err(Failure::new(format!("the history is {} events behind the log", head - has))
        .hint("try again when `tawi status` says that it is not")
        .passing())
}

impl Wanted {
    /// As a question to the history; what it can't ask is sorted out by who reads the answer.
    fn words(&self) -> String {
        let mut words = format!("kind:({})", KINDS.join(" OR "));
        if !self.devices.is_empty() {
            let names: Vec<String> = self.devices.iter().map(|device| quoted(device.as_str())).collect();
            words.push_str(&format!(" AND device:({})", names.join(" OR ")));
        }
        let pattern = self.pattern.as_str();
        match pattern.split_once(['*', '>']) {
            None => words.push_str(&format!(" AND subject:{}", quoted(pattern))),
            Some(("", _)) => {}
            Some((prefix, _)) => words.push_str(&format!(" AND subject:{}*", escaped(prefix))),
        }
        words
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A word that means itself, whatever is in it.
fn escaped(text: &str) -> String {
    let escape = |c: char| if c.is_alphanumeric() || "._%".contains(c) { c.to_string() } else { format!("\\{c}") };
    text.chars().map(escape).collect()
}

/// Which sequences to ask for next.
#[derive(Debug)]
struct Ranges {
    next: u64,
    last: u64,
    width: u64,
}

impl Ranges {
    fn up_to(last: u64) -> Ranges {
        Ranges { next: 1, last, width: last }
    }

    /// From, to, both inclusive.
    fn next(&self) -> Option<(u64, u64)> {
        (self.next <= self.last).then(|| (self.next, self.last.min(self.next.saturating_add(self.width.max(1) - 1))))
    }

    /// Whether that was all of the range; then the next one is another, and else it is shorter.
    fn fits(&mut self, hits: u64, total: u64) -> bool {
        let Some((from, to)) = self.next() else { return true };
        let width = to - from + 1;
        // One sequence is one event: there is no shorter one.
        if hits < total && width > 1 {
            // A little less than what fitted, where events lie as close everywhere; they do not, so that it may take another step.
            let fitting = u128::from(width) * u128::from(hits) * 3 / (u128::from(total) * 4);
            self.width = u64::try_from(fitting).unwrap_or(width / 2).clamp(1, width - 1);
            return false;
        }
        self.next = to + 1;
        if total < PAGE / 2 {
            self.width = self.width.saturating_mul(2);
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tawi_runtime::model::{Id, Pattern};

    /// Asks about a log in which these sequences are wanted, as many in an answer as `room` says; how often that was.
    fn asked(wanted: &[u64], last: u64, room: u64) -> usize {
        let (mut ranges, mut seen, mut asked) = (Ranges::up_to(last), Vec::new(), 0);
        while let Some((from, to)) = ranges.next() {
            asked += 1;
            let found: Vec<u64> = wanted.iter().copied().filter(|sequence| (from..=to).contains(sequence)).collect();
            if ranges.fits(room.min(found.len() as u64), found.len() as u64) {
                seen.extend(found);
            }
        }
        assert_eq!(seen, wanted, "each once, in order");
        asked
    }

    #[test]
    fn every_event_is_asked_for_once_in_few_questions_wherever_they_lie() {
        assert_eq!(asked(&[], 0, 1_000), 0);
        assert_eq!(asked(&[1], 1, 1_000), 1);
        let dense: Vec<u64> = (1..=50_000).collect();
        assert!(asked(&dense, 50_000, 1_000) <= 80);
        let sparse: Vec<u64> = (1..=5_000).map(|n| n * 1_000).collect();
        assert!(asked(&sparse, 5_000_000, 1_000) <= 16);
        // An hour in the middle of a month.
        let lump: Vec<u64> = (4_000_000..4_020_000).collect();
        assert!(asked(&lump, 9_000_000, 1_000) <= 100);
        // Large values: an answer ends by its bytes.
        assert!(asked(&dense[..300], 50_000, 3) <= 400);
        assert!(asked(&dense[..30], 50_000, 1) <= 100);
    }

    #[test]
    fn the_question_names_what_is_wanted_and_means_nothing_else() {
        let words = |pattern: &str, devices: &[&str]| {
            let devices = devices.iter().map(|device| Id::new(device).unwrap()).collect();
            Wanted { pattern: Pattern::new(pattern).unwrap(), devices }.words()
        };
        let kinds = "kind:(reading OR message OR command)";
        assert_eq!(words(">", &[]), kinds);
        assert_eq!(words("reading.*.temp", &["a.1", "b\"c"]), format!("{kinds} AND device:(\"a.1\" OR \"b\\\"c\") AND subject:reading.*"));
        assert_eq!(words("alerts.a(b)", &[]), format!("{kinds} AND subject:\"alerts.a(b)\""));
        assert_eq!(words("alerts.a(b.>", &[]), format!("{kinds} AND subject:alerts.a\\(b.*"));
    }
}
