//! What an evaluator does with the log and the time: a rule, or a schedule. No ledger but through the shelf.

use super::{
    super::{Eyes, Feed, Fits},
    Takes,
};
use crate::{
    model::{
        Event, FunctionId, Micros,
        manifest::{Schedule, Trigger},
        trigger::Fired,
    },
    time::{Firing, Rules, Shelf, Ticks, Trouble},
};

/// A silence is told of so much later than it began: a reading that was received before may still be on its way into the log.
const ON_THE_WAY_MICROS: i64 = 250_000;
/// The one part that a schedule keeps: the moment that it came to last.
const LAST: &str = "last";

pub(super) enum Work {
    Rule {
        feed: Feed,
        /// Of what is fed to it, what it takes; none: all.
        takes: Option<Takes>,
        rules: Rules,
        rule: crate::model::manifest::Rule,
    },
    Schedule {
        ticks: Ticks,
        last: Option<Micros>,
    },
    /// It is lent to another thread.
    Nothing,
}

impl Work {
    /// None for a trigger that time does not make.
    pub fn of(target: &FunctionId, trigger: &Trigger) -> Option<Work> {
        match trigger {
            Trigger::Event { rule: Some(rule), subject, order, select } => {
                let feed = Feed { triggers: false, pattern: subject.clone(), order: *order, select: select.clone() };
                Some(Work::rule(feed, None, rule))
            }
            Trigger::Schedule(schedule) => Some(Work::Schedule { ticks: ticks(target, schedule)?, last: None }),
            _ => None,
        }
    }

    pub fn rule(feed: Feed, takes: Option<Takes>, rule: &crate::model::manifest::Rule) -> Work {
        Work::Rule { feed, takes, rules: Rules::new(rule), rule: rule.clone() }
    }

    /// Whether it looks at readings at all.
    pub fn follows_the_log(&self) -> bool {
        matches!(self, Work::Rule { .. })
    }

    /// Begins from what is kept: with a grace for devices to come back, or as if it had never been away.
    pub fn restore(&mut self, shelf: &mut dyn Shelf, now: Micros, grace: bool) -> Result<(), String> {
        match self {
            Work::Rule { rules, .. } if !grace => rules.reload(shelf).map_err(|error| error.to_string()),
            Work::Rule { rules, rule, .. } => {
                *rules = Rules::new(rule);
                rules.restore(shelf, now).map_err(|error| error.to_string())
            }
            Work::Schedule { last, .. } => {
                let kept = shelf.get(LAST).and_then(|bytes| Some(i64::from_be_bytes(bytes.as_ref().try_into().ok()?)));
                if kept.is_none() {
                    // What comes after this is owed, also when the node dies before it.
                    shelf.put(LAST, Some(now.0.to_be_bytes().to_vec().into()));
                }
                *last = Some(Micros(kept.unwrap_or(now.0)));
                Ok(())
            }
            Work::Nothing => Err("its evaluator ended by panic".to_owned()),
        }
    }

    pub fn concerns(&self, event: &Event, fits: &Fits, eyes: Option<&dyn Eyes>) -> bool {
        match self {
            Work::Rule { feed, takes, .. } => feed.concerns(event, fits, eyes) && takes.as_ref().is_none_or(|takes| takes(event)),
            Work::Schedule { .. } | Work::Nothing => false,
        }
    }

    pub fn take(&mut self, event: &Event, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) {
        if let Work::Rule { rules, .. } = self {
            rules.take(event, shelf, out);
        }
    }

    /// What is due; everything before `now` was taken. True when there is more than fits one go.
    pub fn tick(&mut self, now: Micros, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) -> bool {
        match self {
            Work::Rule { rules, .. } => rules.tick_some(Micros(now.0.saturating_sub(ON_THE_WAY_MICROS)), shelf, out),
            Work::Schedule { ticks, last } => {
                let due = ticks.due(*last, now);
                if *last != Some(due.last) {
                    *last = Some(due.last);
                    shelf.put(LAST, Some(due.last.0.to_be_bytes().to_vec().into()));
                }
                out.extend(due.ticks.into_iter().map(|tick| Firing {
                    key: String::new(),
                    device: None,
                    sensor: None,
                    measured: tick.scheduled,
                    source: 0,
                    hops: 0,
                    fired: Fired::Schedule(tick),
                }));
                false
            }
            Work::Nothing => false,
        }
    }

    /// What is due by the time of an event that is about to be taken. True when there is more than fits one go.
    pub fn tick_before(&mut self, event: &Event, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) -> bool {
        match self {
            Work::Rule { rules, .. } => rules.tick_some(event.received, shelf, out),
            Work::Schedule { .. } | Work::Nothing => false,
        }
    }

    pub fn next(&self, now: Micros) -> Option<Micros> {
        match self {
            Work::Rule { rules, .. } => rules.next().map(|due| Micros(due.0.saturating_add(ON_THE_WAY_MICROS))),
            Work::Schedule { ticks, last } => ticks.next(*last, now),
            Work::Nothing => None,
        }
    }

    /// What there was to say since this was asked last.
    pub fn trouble(&mut self) -> Vec<Trouble> {
        match self {
            Work::Rule { rules, .. } => rules.trouble(),
            Work::Schedule { .. } | Work::Nothing => Vec::new(),
        }
    }
}

fn ticks(target: &FunctionId, schedule: &Schedule) -> Option<Ticks> {
    match Ticks::new(schedule, &target.to_string()) {
        Ok(ticks) => Some(ticks),
        // It was checked when it was pushed; another version of the time zones may know the zone no more.
        Err(error) => {
            tracing::error!(function = %target, %error, "its schedule can't be kept");
            None
        }
    }
}
