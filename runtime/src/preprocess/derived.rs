//! Derived sensors, as people say them: whose readings become whose, and how. Checked whole. Pure.

use super::{
    fields::{Fields, RuleError},
    name::Name,
    rule::{Of, whose},
};
use crate::model::{
    Id, SensorRef,
    derive::{Derive, SENSOR, What},
    limit::{CLEAN_FILLED_MAX, CLEAN_RULE_BYTES_MAX},
    manifest::{
        AHEAD_SECONDS_MAX, Fill, LATENESS_SECONDS_MAX, Method, Per, Rule as Timed, Shape, WINDOW_OVERLAP_MAX, WINDOW_SECONDS_MAX,
        WINDOW_SECONDS_MIN, Window,
    },
};
use serde_json::Value as Json;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const WHATS: [(&str, What); 5] = [("mean", What::Mean), ("min", What::Min), ("max", What::Max), ("sum", What::Sum), ("count", What::Count)];

/// A rule whose readings are those of another sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    pub name: Name,
    pub of: Of,
    /// As it was said.
    pub document: Json,
    pub derive: Derive,
}

impl Derived {
    /// `{"device" and "sensor" or "select", "into": "moisture.filled", "fill": {…} or "aggregate": {…}}`
    pub fn of(name: Name, document: Json) -> Result<Derived, RuleError> {
        let bytes = document.to_string().len();
        if bytes > CLEAN_RULE_BYTES_MAX {
            return Err(RuleError::new("into", format!("a rule has at most {CLEAN_RULE_BYTES_MAX} bytes as JSON, this one has {bytes}")));
        }
        if document.get("steps").is_some() {
            let hint = "make it two rules: a derived sensor is made of what the steps have left";
            return Err(RuleError::new("steps", "a rule cleans a sensor or makes another of it, not both").hint(hint));
        }
        let fields = Fields::of("", &document, &["name", "device", "sensor", "select", "into", "fill", "aggregate"])?;
        if fields.text("name")?.is_some_and(|said| said != name.name.as_str()) {
            return Err(fields.wrong("name", format!("the rule is put under the name `{}`", name.name)));
        }
        let of = whose(&fields)?;
        let into = into(&fields, &of)?;
        let (rule, what) = match (fields.get("fill"), fields.get("aggregate")) {
            (Some(json), None) => (fill(&fields.path("fill"), json)?, What::Value),
            (None, Some(json)) => aggregate(&fields.path("aggregate"), json)?,
            _ => {
                let hint = "as in `fill = { every = \"1h\", method = \"linear\" }` or `aggregate = { window = \"1d\", what = \"mean\" }`";
                return Err(fields.wrong("into", "one of `fill` and `aggregate` says what its readings are").hint(hint));
            }
        };
        Ok(Derived { name, of, derive: Derive { rule, into, what }, document })
    }

    /// The sensor that it reads and the one that it makes, where it names them.
    fn edge(&self) -> Option<(&SensorRef, SensorRef)> {
        let Of::Sensor(of) = &self.of else { return None };
        Some((of, SensorRef { device: of.device.clone(), sensor: self.derive.sensor(&of.sensor)? }))
    }
}

/// A circle of rules of which each reads what the one before it makes. One that selects sensors reads none that a rule made, so it is in no circle.
pub fn circle<'a>(rules: impl Iterator<Item = &'a Derived> + Clone) -> Option<Vec<Name>> {
    let edges: Vec<(&Name, &SensorRef, SensorRef)> =
        rules.filter_map(|rule| rule.edge().map(|(from, to)| (&rule.name, from, to))).collect();
    // Those that lead into no other are in no circle; without them, others are not.
    let mut left: Vec<usize> = (0..edges.len()).collect();
    loop {
        let leads = |at: &usize, left: &[usize]| left.iter().any(|next| *edges[*next].1 == edges[*at].2);
        let next: Vec<usize> = left.iter().copied().filter(|at| leads(at, &left)).collect();
        if next.len() == left.len() {
            break;
        }
        left = next;
    }
    let mut at = *left.first()?;
    let mut path: Vec<usize> = Vec::new();
    while !path.contains(&at) {
        path.push(at);
        at = *left.iter().find(|next| *edges[**next].1 == edges[at].2)?;
    }
    let begin = path.iter().position(|step| *step == at)?;
    Some(path[begin..].iter().map(|step| edges[*step].0.clone()).collect())
}

/// What to say about a circle.
pub fn circle_error(circle: &[Name]) -> RuleError {
    let mut path: Vec<String> = circle.iter().map(Name::to_string).collect();
    path.extend(path.first().cloned());
    RuleError::new("into", format!("rules would feed each other without end: {}", path.join(" → ")))
        .hint("let one of them make another sensor")
}

fn into(fields: &Fields<'_>, of: &Of) -> Result<Id, RuleError> {
    let text = fields.needed("into")?;
    let into = Id::new(text).map_err(|e| fields.wrong("into", e.to_string()))?;
    match of {
        Of::Sensor(of) if text.replace(SENSOR, of.sensor.as_str()) == of.sensor.as_str() => {
            Err(fields.wrong("into", "a sensor can't be made of itself").hint(format!("as in `{}.filled`", of.sensor)))
        }
        Of::Select(_) if text == SENSOR => {
            Err(fields.wrong("into", "a sensor can't be made of itself").hint(format!("as in `{SENSOR}.filled`")))
        }
        Of::Select(_) if !text.contains(SENSOR) => Err(fields
            .wrong("into", "two sensors of one device would become one")
            .hint(format!("`{SENSOR}` stands for the name of each, as in `{SENSOR}.filled`"))),
        _ => Ok(into),
    }
}

fn fill(path: &str, json: &Json) -> Result<Timed, RuleError> {
    let fields = Fields::of(path, json, &["every", "method", "max_gap", "ahead"])?;
    let every = needed(&fields, "every")?;
    let method = fields.word("method", &[("linear", Method::Linear), ("hold", Method::Hold), ("trend", Method::Trend)])?;
    let longest = every * u32::try_from(CLEAN_FILLED_MAX).unwrap_or(u32::MAX);
    let max_gap = match duration(&fields, "max_gap")? {
        Some(gap) if gap <= every => return Err(fields.wrong("max_gap", "a gap is longer than `every`, so nothing would be filled")),
        Some(gap) if gap > longest => {
            let why = format!("at most {CLEAN_FILLED_MAX} values fill a gap, so it is {}s at most", longest.as_secs());
            return Err(fields.wrong("max_gap", why).hint("a longer `every`, or a shorter `max_gap`"));
        }
        Some(gap) => gap,
        None => longest.min(Duration::from_secs(WINDOW_SECONDS_MAX)),
    };
    Ok(Timed::Fill(Fill { every, method, max_gap, ahead: ahead(&fields)? }))
}

fn aggregate(path: &str, json: &Json) -> Result<(Timed, What), RuleError> {
    let fields = Fields::of(path, json, &["window", "every", "what", "lateness", "ahead", "idle"])?;
    let length = needed(&fields, "window")?;
    let shape = match duration(&fields, "every")? {
        None => Shape::Tumbling { length },
        Some(every) if every < Duration::from_secs(WINDOW_SECONDS_MIN) || every > length || length > every * WINDOW_OVERLAP_MAX => {
            let why = format!("it is at most as long as `window`, and a reading is in {WINDOW_OVERLAP_MAX} windows at most");
            return Err(fields.wrong("every", why));
        }
        Some(every) => Shape::Sliding { length, every },
    };
    let (what, percentiles) = what(&fields)?;
    let month = Duration::from_secs(LATENESS_SECONDS_MAX);
    let window = Window {
        shape,
        per: Per::Sensor,
        lateness: at_most(&fields, "lateness", month)?.unwrap_or(HOUR),
        ahead: ahead(&fields)?,
        idle: at_most(&fields, "idle", month)?.unwrap_or(length.clamp(MINUTE, DAY)),
        readings: false,
        percentiles,
    };
    match window.check() {
        Ok(()) => Ok((Timed::Window(window), what)),
        Err(unkept) => Err(RuleError::new(path, unkept.what).hint(unkept.hint)),
    }
}

fn what(fields: &Fields<'_>) -> Result<(What, Vec<f64>), RuleError> {
    let text = fields.needed("what")?;
    if let Some((_, what)) = WHATS.iter().find(|(word, _)| *word == text) {
        return Ok((*what, Vec::new()));
    }
    let percent = text.strip_prefix('p').and_then(|digits| digits.parse::<f64>().ok()).filter(|percent| (0.0..=100.0).contains(percent));
    let percent = percent.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        fields
            .wrong("what", format!("`{shown}` is nothing that is made of readings"))
            .hint("one of mean, min, max, sum, count, or a percentile such as `p95`")
    })?;
    Ok((What::Percentile, vec![percent]))
}

fn needed(fields: &Fields<'_>, key: &str) -> Result<Duration, RuleError> {
    let time = duration(fields, key)?.ok_or_else(|| fields.wrong(key, "it is missing").hint(format!("as in `{key} = \"1h\"`")))?;
    match time.as_secs() >= WINDOW_SECONDS_MIN && time.as_secs() <= WINDOW_SECONDS_MAX {
        true => Ok(time),
        false => Err(fields.wrong(key, "from `1s` to a year, `8784h`")),
    }
}

fn ahead(fields: &Fields<'_>) -> Result<Duration, RuleError> {
    Ok(at_most(fields, "ahead", Duration::from_secs(AHEAD_SECONDS_MAX))?.unwrap_or(5 * MINUTE))
}

fn at_most(fields: &Fields<'_>, key: &str, most: Duration) -> Result<Option<Duration>, RuleError> {
    match duration(fields, key)? {
        Some(time) if time > most => Err(fields.wrong(key, format!("{}s at most", most.as_secs()))),
        time => Ok(time),
    }
}

fn duration(fields: &Fields<'_>, key: &str) -> Result<Option<Duration>, RuleError> {
    Ok(fields.duration(key)?.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
}
