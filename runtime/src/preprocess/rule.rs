//! What is done to the readings of a sensor, or of all that fit a selector, as people say it: a document, checked whole.

use super::{
    chain::{Beyond, Chain, Duplicate, Instead, Line, Outside, Range, Spike, State, Step, Stuck, Table, Thin},
    fields::{Fields, RuleError},
    name::Name,
    unit::{self, Which},
};
use crate::model::{
    Id, Selector, SensorRef,
    calibration::Linear,
    limit::{CLEAN_COEFFICIENTS_MAX, CLEAN_RULE_BYTES_MAX, CLEAN_STEPS_MAX, CLEAN_TABLE_POINTS_MAX, CLEAN_WINDOW_MAX},
};
use serde_json::Value as Json;

const STEPS: [&str; 7] = ["calibrate", "unit", "range", "spike", "stuck", "duplicate", "thin"];
/// Readings with which a reading is compared where a rule says nothing: what a device sends again that was not answered.
const DUPLICATE_LAST: usize = 8;
/// Nothing is so many standard deviations away.
const SIGMAS_MAX: f64 = 1_000.0;

/// A rule, ready to be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub name: Name,
    pub of: Of,
    /// As it was said.
    pub document: Json,
    chain: Chain,
    /// Of the steps: what others remembered is of no use to these.
    print: u64,
}

/// Whose readings a rule is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Of {
    Sensor(SensorRef),
    Select(Selector),
}

impl Of {
    /// Whether it says this very sensor.
    pub fn names(&self, device: &Id, sensor: &Id) -> bool {
        matches!(self, Of::Sensor(of) if of.device == *device && of.sensor == *sensor)
    }
}

impl Rule {
    /// Under this key, behind it the name, it is kept.
    pub const PREFIX: &str = "c:";

    /// `{"name"?, "device" and "sensor" or "select", "steps": [{"range": {"min": 0}}, …]}`
    pub fn of(name: impl Into<Name>, document: Json) -> Result<Rule, RuleError> {
        let name = name.into();
        let bytes = document.to_string().len();
        if bytes > CLEAN_RULE_BYTES_MAX {
            return Err(RuleError::new("steps", format!("a rule has at most {CLEAN_RULE_BYTES_MAX} bytes as JSON, this one has {bytes}")));
        }
        let fields = Fields::of("", &document, &["name", "device", "sensor", "select", "steps"])?;
        if fields.text("name")?.is_some_and(|said| said != name.name.as_str()) {
            return Err(fields.wrong("name", format!("the rule is put under the name `{name}`")));
        }
        let of = whose(&fields)?;
        let list = fields.list("steps", 1, CLEAN_STEPS_MAX)?.ok_or_else(|| no_steps(&fields))?;
        let steps: Vec<Step> = list.iter().enumerate().map(|(n, json)| step(&format!("steps[{n}]"), json)).collect::<Result<_, _>>()?;
        let print = mark(Json::Array(list.clone()).to_string().as_bytes());
        Ok(Rule { name, of, chain: Chain::new(steps), print, document })
    }

    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Whether a reading is judged by those before it, so that something has to be kept of them.
    pub fn remembers(&self) -> bool {
        self.chain.remembers()
    }

    /// What was kept of a sensor; of other steps than these: nothing.
    pub fn recall(&self, kept: Option<&[u8]>) -> State {
        let read = kept.and_then(|bytes| postcard::from_bytes::<(u64, State)>(bytes).ok());
        let ours = read.filter(|(print, state)| *print == self.print && self.chain.fits(state));
        ours.map_or_else(|| self.chain.start(), |(_, state)| state)
    }

    pub fn keep(&self, state: &State) -> Vec<u8> {
        postcard::to_allocvec(&(self.print, state)).unwrap_or_else(|e| unreachable!("numbers are written to memory: {e}"))
    }
}

/// One of 64 bits for some bytes (FNV-1a): the same everywhere and always.
pub(super) fn mark(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn no_steps(fields: &Fields<'_>) -> RuleError {
    fields.wrong("steps", "it is missing").hint(format!("a list of steps, of {}", STEPS.join(", ")))
}

pub(super) fn whose(fields: &Fields<'_>) -> Result<Of, RuleError> {
    let id = |key: &str| fields.text(key)?.map(|text| Id::new(text).map_err(|e| fields.wrong(key, e.to_string()))).transpose();
    match (id("device")?, id("sensor")?, fields.get("select")) {
        (Some(device), Some(sensor), None) => Ok(Of::Sensor(SensorRef { device, sensor })),
        (None, None, Some(select)) => selector(fields, select).map(Of::Select),
        (Some(_), None, None) => Err(fields.wrong("sensor", "which sensor of the device is missing")),
        (None, Some(_), None) => Err(fields.wrong("device", "which device the sensor is on is missing")),
        (None, None, None) => Err(fields.wrong("select", "whose readings these are is missing").hint("`device` and `sensor`, or `select`")),
        (_, _, Some(_)) => Err(fields.wrong("select", "either `device` and `sensor`, or `select`")),
    }
}

fn selector(fields: &Fields<'_>, json: &Json) -> Result<Selector, RuleError> {
    let parsed = match json {
        Json::String(text) => Selector::parse(text),
        json => Selector::from_json(json),
    };
    let selector = parsed.map_err(|error| fields.wrong(&format!("select.{}", error.key), error.why))?;
    if selector.is_empty() {
        return Err(fields
            .wrong("select", "it says nothing, so it would be of every sensor")
            .hint("say what they have in common: `kind`, `unit`, `tags`"));
    }
    match selector.seen_within {
        Some(_) => Err(fields.wrong("select.seen_within", "a sensor that sends is one that is seen")),
        None => Ok(selector),
    }
}

fn step(path: &str, json: &Json) -> Result<Step, RuleError> {
    let fields = Fields::of(path, json, &STEPS)?;
    let mut said = STEPS.iter().filter(|name| fields.has(name));
    let (Some(name), None) = (said.next(), said.next()) else {
        return Err(RuleError::new(path, "one step is wanted, by its name").hint("as in `{ range = { min = 0, max = 100 } }`"));
    };
    let (path, json) = (fields.path(name), fields.get(name).unwrap_or(&Json::Null));
    match *name {
        "calibrate" => calibrate(&path, json),
        "unit" => convert(&path, json),
        "range" => range(&path, json),
        "spike" => spike(&path, json),
        "stuck" => stuck(&path, json),
        "duplicate" => duplicate(&path, json),
        _ => thin(&path, json),
    }
}

fn calibrate(path: &str, json: &Json) -> Result<Step, RuleError> {
    let fields = Fields::of(path, json, &["gain", "offset", "points", "polynomial", "table", "beyond"])?;
    let ways = [fields.has("gain") || fields.has("offset"), fields.has("points"), fields.has("polynomial"), fields.has("table")];
    if ways.iter().filter(|said| **said).count() != 1 {
        return Err(RuleError::new(path, "one of `gain` and `offset`, `points`, `polynomial`, `table` is wanted"));
    }
    if fields.has("beyond") && !fields.has("table") {
        return Err(fields.wrong("beyond", "it is said of a table"));
    }
    if let Some(points) = fields.pairs("points", 2, 2)? {
        let line = Linear::through(points[0], points[1]).map_err(|error| fields.wrong("points", error.to_string()))?;
        let (gain, offset) = line.gain_and_offset();
        return linear(&fields, "points", gain, offset);
    }
    if let Some(coefficients) = fields.numbers("polynomial", 1, CLEAN_COEFFICIENTS_MAX)? {
        return Ok(Step::Polynomial(coefficients));
    }
    if let Some(points) = fields.pairs("table", 2, CLEAN_TABLE_POINTS_MAX)? {
        let beyond = fields.word("beyond", &[("hold", Beyond::Hold), ("extend", Beyond::Extend), ("drop", Beyond::Drop)])?;
        let ascending = || fields.wrong("table", "the first numbers of its points have to rise from each point to the next");
        return Table::new(points, beyond).map(Step::Table).ok_or_else(ascending);
    }
    linear(&fields, "gain", fields.number("gain")?.unwrap_or(1.0), fields.number("offset")?.unwrap_or(0.0))
}

fn linear(fields: &Fields<'_>, key: &str, gain: f64, offset: f64) -> Result<Step, RuleError> {
    match gain.is_finite() && offset.is_finite() && gain != 0.0 {
        true => Ok(Step::Line(Line { gain, offset })),
        false => Err(fields.wrong(key, "every reading would come to the same, or to no number")),
    }
}

fn convert(path: &str, json: &Json) -> Result<Step, RuleError> {
    let fields = Fields::of(path, json, &["from", "to"])?;
    let line = unit::line(fields.needed("from")?, fields.needed("to")?);
    line.map(Step::Line).map_err(|error| {
        let field = match error.which {
            Some(Which::From) => fields.path("from"),
            Some(Which::To) => fields.path("to"),
            None => path.to_owned(),
        };
        RuleError { field, why: error.why, hint: error.hint }
    })
}

fn range(path: &str, json: &Json) -> Result<Step, RuleError> {
    let fields = Fields::of(path, json, &["min", "max", "outside"])?;
    let outside = fields.word("outside", &[("drop", Outside::Drop), ("clamp", Outside::Clamp)])?;
    match (fields.number("min")?, fields.number("max")?) {
        (None, None) => Err(RuleError::new(path, "`min`, `max`, or both are wanted")),
        (Some(min), Some(max)) if min >= max => Err(fields.wrong("max", format!("it has to be above `min`, which is {min}"))),
        (min, max) => Ok(Step::Range(Range { min: min.unwrap_or(f64::NEG_INFINITY), max: max.unwrap_or(f64::INFINITY), outside })),
    }
}

fn spike(path: &str, json: &Json) -> Result<Step, RuleError> {
    let fields = Fields::of(path, json, &["window", "sigmas", "at_least", "instead"])?;
    let window = fields.count("window", 3, CLEAN_WINDOW_MAX)?.unwrap_or(7);
    let sigmas = fields.positive("sigmas")?.unwrap_or(3.0);
    if sigmas > SIGMAS_MAX {
        return Err(fields.wrong("sigmas", format!("at most {SIGMAS_MAX}")));
    }
    let at_least = fields.positive("at_least")?.unwrap_or(0.0);
    let instead = fields.word("instead", &[("drop", Instead::Drop), ("median", Instead::Median)])?;
    Ok(Step::Spike(Spike { window, sigmas, at_least, instead }))
}

fn stuck(path: &str, json: &Json) -> Result<Step, RuleError> {
    let fields = Fields::of(path, json, &["readings", "for"])?;
    let readings = fields.count("readings", 2, u32::MAX as usize)?.map(|count| count as u32);
    match (readings, fields.duration("for")?) {
        (None, None) => Err(RuleError::new(path, "`readings`, `for`, or both are wanted")),
        (readings, micros) => Ok(Step::Stuck(Stuck { readings, micros })),
    }
}

fn duplicate(path: &str, json: &Json) -> Result<Step, RuleError> {
    let fields = Fields::of(path, json, &["last"])?;
    let last = fields.count("last", 1, CLEAN_WINDOW_MAX)?.unwrap_or(DUPLICATE_LAST);
    Ok(Step::Duplicate(Duplicate { last }))
}

fn thin(path: &str, json: &Json) -> Result<Step, RuleError> {
    let fields = Fields::of(path, json, &["every", "change"])?;
    let change = fields.number("change")?;
    if change.is_some_and(|change| change < 0.0) {
        return Err(fields.wrong("change", "a change has no sign: 0 is any"));
    }
    match (fields.duration("every")?, change) {
        (None, None) => Err(RuleError::new(path, "`every`, `change`, or both are wanted")),
        (every, change) => Ok(Step::Thin(Thin { every, change })),
    }
}
