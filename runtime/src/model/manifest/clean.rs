//! `[[clean]]`: rules of pre-processing that come and go with a release. What a rule may say is known to who does it; here it is a
//! document, and where its parts stand, so that what is wrong with it can be shown in its line.

use super::section::{At, Problems, Section};
use crate::model::id::Id;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::ops::Range;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Rules of an app.
pub const CLEAN_MAX: usize = 64;

/// One `[[clean]]` entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clean {
    pub name: Id,
    /// As it would be set by hand.
    pub rule: Json,
}

/// What is wrong with a rule, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {why}")]
pub struct RuleError {
    /// As in `steps[2].spike.window`.
    pub field: String,
    pub why: String,
    pub hint: Option<String>,
}

impl RuleError {
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> RuleError {
        RuleError { field: field.into(), why: why.into(), hint: None }
    }

    pub fn hint(self, hint: impl Into<String>) -> RuleError {
        RuleError { hint: Some(hint.into()), ..self }
    }
}

/// What is wrong with the rules of an app, each by its place among them.
pub type CheckRules<'c> = &'c dyn Fn(&Id, &[Clean]) -> Vec<(usize, RuleError)>;

pub(super) fn read_all(problems: &Problems<'_>, top: &Section<'_>, app: Option<&Id>, check: CheckRules<'_>) -> Vec<Clean> {
    let Some(entries) = top.open_tables("clean", "[[clean]]") else { return Vec::new() };
    if entries.len() > CLEAN_MAX {
        problems.add(top.span_of("clean"), format!("{} `[[clean]]` entries, {CLEAN_MAX} are allowed", entries.len()));
        return Vec::new();
    }
    let mut rules: Vec<Clean> = Vec::new();
    let mut places: Vec<(Range<usize>, &DeTable<'_>)> = Vec::new();
    for (span, table) in entries {
        let Some(rule) = read(problems, span.clone(), table) else { continue };
        if rules.iter().any(|other| other.name == rule.name) {
            let at = table.get("name").map_or(span.clone(), Spanned::span);
            problems.add(at, format!("two `[[clean]]` entries are called `{}`", rule.name));
        }
        rules.push(rule);
        places.push((span, table));
    }
    for (nth, error) in app.map(|app| check(app, &rules)).unwrap_or_default() {
        let Some((span, table)) = places.get(nth) else { continue };
        let (at, message) = (place(span.clone(), table, &error.field), error.to_string());
        match error.hint {
            Some(hint) => problems.add_with_hint(at, message, hint),
            None => problems.add(at, message),
        }
    }
    rules
}

fn read(problems: &Problems<'_>, span: Range<usize>, table: &DeTable<'_>) -> Option<Clean> {
    let name = match table.get("name").map(|name| (name.span(), name.get_ref())) {
        Some((span, DeValue::String(text))) => At { value: text.to_string(), span },
        Some((span, _)) => {
            problems.add(span, "`name` in `[[clean]]` must be a string");
            return None;
        }
        None => {
            problems.add_with_hint(span, "`[[clean]]` has no `name`", "add `name = \"celsius\"`");
            return None;
        }
    };
    let name = Id::new(&name.value).map_err(|e| problems.add(name.span, e.to_string())).ok()?;
    let said = table.iter().filter(|(key, _)| key.get_ref() != "name");
    let fields = said.map(|(key, value)| Some((key.get_ref().to_string(), json(problems, value)?)));
    Some(Clean { name, rule: Json::Object(fields.collect::<Option<_>>()?) })
}

/// None where something has no place in JSON, which was said.
fn json(problems: &Problems<'_>, value: &Spanned<DeValue<'_>>) -> Option<Json> {
    let number = |number: Option<serde_json::Number>| {
        if number.is_none() {
            problems.add(value.span(), "this is no number that can be calculated with");
        }
        number.map(Json::Number)
    };
    match value.get_ref() {
        DeValue::String(text) => Some(Json::String(text.to_string())),
        DeValue::Boolean(yes) => Some(Json::Bool(*yes)),
        DeValue::Integer(whole) => number(i64::from_str_radix(whole.as_str(), whole.radix()).ok().map(Into::into)),
        DeValue::Float(float) => number(float.as_str().parse().ok().and_then(serde_json::Number::from_f64)),
        DeValue::Array(items) => items.iter().map(|item| json(problems, item)).collect::<Option<_>>().map(Json::Array),
        DeValue::Table(table) => {
            let fields = table.iter().map(|(key, value)| Some((key.get_ref().to_string(), json(problems, value)?)));
            fields.collect::<Option<_>>().map(Json::Object)
        }
        DeValue::Datetime(_) => {
            problems.add(value.span(), "a rule has no dates");
            None
        }
    }
}

/// Where a field stands, as in `steps[2].spike.window`; as much of it as there is.
fn place(entry: Range<usize>, table: &DeTable<'_>, field: &str) -> Range<usize> {
    let mut names = field.split(['.', '[']).map(|name| name.trim_end_matches(']')).filter(|name| !name.is_empty());
    let Some(mut at) = names.next().and_then(|name| table.get(name)) else { return entry };
    for name in names {
        let inner = match at.get_ref() {
            DeValue::Table(table) => table.get(name),
            DeValue::Array(items) => name.parse::<usize>().ok().and_then(|nth| items.get(nth)),
            _ => None,
        };
        let Some(inner) = inner else { break };
        at = inner;
    }
    at.span()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::Manifest;
    use serde_json::json;

    const APP: &str = "[app]\nname = \"pond\"\n[[on]]\nname = \"f\"\nsubject = \"reading.>\"\n";

    /// Line and column of what is wrong, and what.
    fn wrong(text: &str, check: CheckRules<'_>) -> Vec<(usize, usize, String)> {
        let error = Manifest::parse_checking(&format!("{APP}{text}"), check).unwrap_err();
        error.problems.into_iter().map(|problem| (problem.line - 5, problem.column, problem.message)).collect()
    }

    #[test]
    fn a_rule_is_the_document_that_it_would_be_by_hand_and_is_stored_with_the_release() {
        let text = "[[clean]]\nname = \"celsius\"\ndevice = \"pond1\"\nsensor = \"temp\"
            steps = [{ range = { min = -5, max = 4.5e1 } }, { duplicate = {} }]\n";
        let manifest = Manifest::parse(&format!("{APP}{text}")).unwrap();
        let steps = json!([{ "range": { "min": -5, "max": 45.0 } }, { "duplicate": {} }]);
        let rule = json!({ "device": "pond1", "sensor": "temp", "steps": steps });
        assert_eq!(manifest.clean, [Clean { name: Id::new("celsius").unwrap(), rule }]);
        let stored = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&stored).unwrap(), manifest);
        assert!(
            !serde_json::to_string(&Manifest::parse(APP).unwrap()).unwrap().contains("clean"),
            "a release without rules is what it was"
        );
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_shown_in_its_line() {
        let check: CheckRules<'_> = &|_, _| vec![(0, RuleError::new("steps[1].range.max", "it has to be above `min`").hint("swap them"))];
        let text = "[[clean]]\nname = \"a\"\nsteps = [\n  { duplicate = {} },\n  { range = { min = 9, max = 1 } },\n]\n";
        assert_eq!(wrong(text, check), [(5, 30, "`steps[1].range.max`: it has to be above `min`".to_owned())]);
        let missing: CheckRules<'_> = &|_, _| vec![(0, RuleError::new("select", "it is missing"))];
        assert_eq!(wrong(text, missing)[0].0, 1, "the entry itself, where there is nothing to point at");
        for (text, line, what) in [
            ("[[clean]]\nsteps = []\n", 1, "has no `name`"),
            ("[[clean]]\nname = 7\n", 2, "must be a string"),
            ("[[clean]]\nname = \"a b\"\n", 2, "can't stand in an id"),
            ("[[clean]]\nname = \"a\"\n[[clean]]\nname = \"a\"\n", 4, "two `[[clean]]` entries are called `a`"),
            ("[[clean]]\nname = \"a\"\nsteps = [{ range = { min = nan } }]\n", 3, "no number"),
            ("[[clean]]\nname = \"a\"\nsince = 2026-03-01\n", 3, "a rule has no dates"),
            ("[clean]\n", 1, "must be a list of tables"),
        ] {
            let found = wrong(text, &|_, _| Vec::new());
            assert!(found[0].2.contains(what) && found[0].0 == line, "{text}: {found:?}");
        }
        let many = "[[clean]]\nname = \"a\"\n".repeat(CLEAN_MAX + 1);
        assert!(wrong(&many, &|_, _| Vec::new())[0].2.contains("64 are allowed"));
    }
}
