//! Reads what an `[[on]]` entry says of time: a schedule, or one rule over the readings that it names.

use super::{
    rule::{Difference, Missed, Per, Rule, Schedule, Shape, Threshold, Window},
    schedule::Unkept,
    section::{At, Problems, Section},
};
use std::time::Duration;

pub(super) const RULES: &[&str] = &["batch", "window", "silence", "change", "threshold", "every"];
pub(super) const OF_A_SCHEDULE: &[&str] = &["zone", "jitter", "missed"];

const BATCH: &[&str] = &["max", "within"];
const WINDOW: &[&str] = &["tumbling", "sliding", "every", "session", "per", "lateness", "ahead", "idle", "readings", "percentiles"];
const CHANGE: &[&str] = &["by", "percent"];
const THRESHOLD: &[&str] = &["above", "below", "hysteresis", "hold"];

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Readings of one batch: what one call can take in.
pub const BATCH_READINGS_MAX: u32 = 1_000;
/// How long a batch waits for more.
pub const BATCH_SECONDS_MAX: u64 = 3_600;
/// A window is so long at least: under it, each reading would nearly be a window.
pub const WINDOW_SECONDS_MIN: u64 = 1;
/// And so long at most: a leap year.
pub const WINDOW_SECONDS_MAX: u64 = 366 * 86_400;
/// Sliding windows that hold one reading: each is kept and counted.
pub const WINDOW_OVERLAP_MAX: u32 = 64;
/// How long a window is kept for late readings: a month offline.
pub const LATENESS_SECONDS_MAX: u64 = 31 * 86_400;
/// How far ahead of ours a device's clock may be believed to be.
pub const AHEAD_SECONDS_MAX: u64 = 86_400;
/// Percentiles of a window.
pub const PERCENTILES_MAX: usize = 8;
/// One call in so many readings.
pub const EVERY_MAX: u32 = 1_000_000;
/// The random part of a schedule.
pub const JITTER_SECONDS_MAX: u64 = 3_600;

/// What was wrong was said.
pub(super) struct Said;

/// The one rule of an entry, if it has one.
pub(super) fn read_rule(problems: &Problems<'_>, entry: &Section<'_>) -> Result<Option<Rule>, Said> {
    let said: Vec<&str> = RULES.iter().copied().filter(|key| entry.has(key)).collect();
    let rule = match said.as_slice() {
        [] => return Ok(None),
        [_, second, ..] => {
            let message =
                format!("an `[[on]]` entry has one of {}", RULES.iter().map(|rule| format!("`{rule}`")).collect::<Vec<_>>().join(", "));
            problems.add_with_hint(entry.span_of(second), message, "make it two entries, of two functions");
            return Err(Said);
        }
        ["batch"] => batch(problems, entry),
        ["window"] => window(problems, entry),
        ["silence"] => at_least(problems, entry, "silence", Duration::from_secs(1), Duration::from_secs(WINDOW_SECONDS_MAX))
            .map(|after| Rule::Silence { after }),
        ["change"] => change(problems, entry),
        ["threshold"] => threshold(problems, entry),
        _ => entry.integer("every", 2..=EVERY_MAX).map(|n| Rule::Every { n }),
    };
    rule.map(Some).ok_or(Said)
}

fn at_least(problems: &Problems<'_>, section: &Section<'_>, key: &str, min: Duration, max: Duration) -> Option<Duration> {
    let duration = section.duration(key, max)?;
    if duration < min {
        problems.add(section.span_of(key), format!("`{key}` is {} at least", super::quantity::duration_text(min)));
        return None;
    }
    Some(duration)
}

fn batch(problems: &Problems<'_>, entry: &Section<'_>) -> Option<Rule> {
    let batch = entry.table("batch", "[on.batch]", BATCH)?;
    for key in BATCH {
        if !batch.has(key) {
            problems.add_with_hint(batch.span(), format!("`batch` has no `{key}`"), "write `batch = { max = 100, within = \"10s\" }`");
        }
    }
    let max = batch.integer("max", 1..=BATCH_READINGS_MAX)?;
    let within = batch.duration("within", Duration::from_secs(BATCH_SECONDS_MAX))?;
    Some(Rule::Batch { max, within })
}

fn window(problems: &Problems<'_>, entry: &Section<'_>) -> Option<Rule> {
    let window = entry.table("window", "[on.window]", WINDOW)?;
    let shape = shape(problems, &window)?;
    let length = match shape {
        Shape::Tumbling { length } | Shape::Sliding { length, .. } => length,
        Shape::Session { gap } => gap,
    };
    let month = Duration::from_secs(LATENESS_SECONDS_MAX);
    let or = |key: &str, max: Duration, default: Duration| match window.has(key) {
        true => window.duration(key, max),
        false => Some(default),
    };
    let percentiles = window.numbers("percentiles", PERCENTILES_MAX);
    if let Some(wrong) = percentiles.iter().find(|percent| !(0.0..=100.0).contains(*percent)) {
        problems.add(window.span_of("percentiles"), format!("a percentile is from 0 to 100, not {wrong}"));
    }
    let rule = Window {
        shape,
        per: window.word("per", &[("sensor", Per::Sensor), ("device", Per::Device)]).unwrap_or(Per::Sensor),
        lateness: or("lateness", month, HOUR)?,
        ahead: or("ahead", Duration::from_secs(AHEAD_SECONDS_MAX), 5 * MINUTE)?,
        idle: or("idle", month, length.clamp(MINUTE, DAY))?,
        readings: window.boolean("readings"),
        percentiles,
    };
    if let Err(Unkept { what, hint, .. }) = rule.check() {
        problems.add_with_hint(window.span(), what, hint);
        return None;
    }
    Some(Rule::Window(rule))
}

fn shape(problems: &Problems<'_>, window: &Section<'_>) -> Option<Shape> {
    const HINT: &str = "`window = { tumbling = \"1h\" }`, `{ sliding = \"1h\", every = \"5m\" }` or `{ session = \"10m\" }`";
    let length = |key| at_least(problems, window, key, Duration::from_secs(WINDOW_SECONDS_MIN), Duration::from_secs(WINDOW_SECONDS_MAX));
    let said: Vec<&str> = ["tumbling", "sliding", "session"].into_iter().filter(|key| window.has(key)).collect();
    if window.has("every") && said != ["sliding"] {
        problems.add_with_hint(window.span_of("every"), "only sliding windows begin every so often", HINT);
        return None;
    }
    match said.as_slice() {
        ["tumbling"] => Some(Shape::Tumbling { length: length("tumbling")? }),
        ["session"] => Some(Shape::Session { gap: length("session")? }),
        ["sliding"] => {
            if !window.has("every") {
                problems.add_with_hint(window.span(), "sliding windows begin `every` so often", HINT);
                return None;
            }
            let (length, every) = (length("sliding")?, length("every")?);
            if every > length || length > every * WINDOW_OVERLAP_MAX {
                let message = format!("`every` is at most as long as the window, and a reading is in {WINDOW_OVERLAP_MAX} windows at most");
                problems.add(window.span_of("every"), message);
                return None;
            }
            Some(Shape::Sliding { length, every })
        }
        _ => {
            problems.add_with_hint(window.span(), "a window has one shape: `tumbling`, `sliding` or `session`", HINT);
            None
        }
    }
}

fn change(problems: &Problems<'_>, entry: &Section<'_>) -> Option<Rule> {
    const HINT: &str = "write `change = true`, `change = { by = 0.5 }` or `change = { percent = 10 }`";
    if entry.is_boolean("change") {
        if !entry.boolean("change") {
            problems.add_with_hint(entry.span_of("change"), "`change = false` says nothing", HINT);
            return None;
        }
        return Some(Rule::Change(Difference::Any));
    }
    let change = entry.table("change", "[on.change]", CHANGE)?;
    let difference = match (change.has("by"), change.has("percent")) {
        (true, false) => Difference::Absolute(change.number("by")?),
        (false, true) => Difference::Relative(change.number("percent")? / 100.0),
        _ => {
            problems.add_with_hint(change.span(), "a change is `by` so much or by so many `percent`", HINT);
            return None;
        }
    };
    match difference {
        Difference::Absolute(by) | Difference::Relative(by) if by <= 0.0 => {
            problems.add_with_hint(change.span(), "a change is by more than nothing", "for any change write `change = true`");
            None
        }
        difference => Some(Rule::Change(difference)),
    }
}

fn threshold(problems: &Problems<'_>, entry: &Section<'_>) -> Option<Rule> {
    let threshold = entry.table("threshold", "[on.threshold]", THRESHOLD)?;
    let (above, key) = match (threshold.has("above"), threshold.has("below")) {
        (true, false) => (true, "above"),
        (false, true) => (false, "below"),
        _ => {
            let hint =
                "write `threshold = { above = 8.0 }` or `{ below = 2.0 }`, with `hysteresis = 0.5` and `hold = \"5m\"` where you need them";
            problems.add_with_hint(threshold.span(), "a threshold is `above` or `below` one number", hint);
            return None;
        }
    };
    let limit = threshold.number(key)?;
    let hysteresis = if threshold.has("hysteresis") { threshold.number("hysteresis")? } else { 0.0 };
    if hysteresis < 0.0 {
        problems.add(threshold.span_of("hysteresis"), "`hysteresis` is a distance: not less than nothing");
        return None;
    }
    let hold = if threshold.has("hold") { threshold.duration("hold", DAY)? } else { Duration::ZERO };
    Some(Rule::Threshold(Threshold { above, limit, hysteresis, hold }))
}

pub(super) fn read_schedule(problems: &Problems<'_>, entry: &Section<'_>) -> Option<Schedule> {
    let At { value: cron, span } = entry.string("schedule")?;
    let zone = entry.string("zone");
    let named = zone.as_ref().map_or("UTC", |zone| zone.value).to_owned();
    let jitter = if entry.has("jitter") { entry.duration("jitter", Duration::from_secs(JITTER_SECONDS_MAX))? } else { Duration::ZERO };
    let missed = entry.word("missed", &[("skip", Missed::Skip), ("once", Missed::Once), ("all", Missed::All)]).unwrap_or(Missed::Skip);
    let schedule = Schedule { cron: cron.to_owned(), zone: named, jitter, missed };
    match schedule.check() {
        Ok(()) => Some(schedule),
        Err(wrong) => {
            let place = if wrong.zone { zone.map_or(span.clone(), |zone| zone.span) } else { span };
            problems.add_with_hint(place, wrong.what, wrong.hint);
            None
        }
    }
}
