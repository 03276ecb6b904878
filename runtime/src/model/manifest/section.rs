//! A table of the manifest while it is read: which keys it may have, what type they are, and where they stand.

use super::{ManifestError, Problem, quantity};
use std::{cell::RefCell, ops::Range, time::Duration};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// After this many the rest adds nothing.
const PROBLEMS_MAX: usize = 20;
/// How alike two keys must be to be taken for one another: 0 is nothing in common, 1 is the same.
const LIKENESS_MIN: f64 = 0.75;

/// Collects problems, so that an author sees all of them after one push.
pub(super) struct Problems<'a> {
    source: &'a str,
    found: RefCell<Vec<Problem>>,
}

impl<'a> Problems<'a> {
    pub fn new(source: &'a str) -> Problems<'a> {
        Problems { source, found: RefCell::default() }
    }

    pub fn add(&self, span: Range<usize>, message: impl Into<String>) {
        self.push(span, message.into(), None);
    }

    pub fn add_with_hint(&self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        self.push(span, message.into(), Some(hint.into()));
    }

    fn push(&self, span: Range<usize>, message: String, hint: Option<String>) {
        self.found.borrow_mut().push(Problem::at(self.source, span, message, hint));
    }

    /// `made` if nothing was found; every check that yields none has said why.
    pub fn or<T>(self, made: Option<T>) -> Result<T, ManifestError> {
        let mut problems = self.found.into_inner();
        match made {
            Some(made) if problems.is_empty() => Ok(made),
            _ => {
                problems.sort_by_key(|p| (p.line, p.column));
                problems.truncate(PROBLEMS_MAX);
                Err(ManifestError { problems })
            }
        }
    }
}

/// A value and where it stands.
pub(super) struct At<T> {
    pub value: T,
    pub span: Range<usize>,
}

pub(super) struct Section<'a> {
    problems: &'a Problems<'a>,
    /// As an author would call it: `[grant]`.
    name: &'static str,
    span: Range<usize>,
    entries: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// Names every key that is not in `known`.
    pub fn open(problems: &'a Problems<'a>, name: &'static str, known: &[&str], span: Range<usize>, entries: &'a DeTable<'a>) -> Self {
        for (key, _) in entries {
            let found = key.get_ref().as_ref();
            if !known.contains(&found) {
                let place = if name.is_empty() { String::new() } else { format!(" in `{name}`") };
                problems.add_with_hint(key.span(), format!("unknown key `{found}`{place}"), suggestion(found, known));
            }
        }
        Section { problems, name, span, entries }
    }

    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Where the value of `key` stands; the section itself where there is none.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.entries.get(key).map_or(self.span(), Spanned::span)
    }

    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = value.get_ref().type_str();
        self.problems.add(value.span(), format!("`{key}` in `{}` must be {wanted}, not {} {found}", self.name, article(found)));
    }

    pub fn string(&self, key: &str) -> Option<At<&'a str>> {
        let value = self.entries.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(At { value: text.as_ref(), span: value.span() }),
            _ => {
                self.wrong_type(key, value, "a string");
                None
            }
        }
    }

    /// Says so when it is missing.
    pub fn required(&self, key: &str, example: &str) -> Option<At<&'a str>> {
        if !self.has(key) {
            self.problems.add_with_hint(self.span(), format!("`{}` has no `{key}`", self.name), format!("add `{example}`"));
        }
        self.string(key)
    }

    pub fn boolean(&self, key: &str) -> bool {
        match self.entries.get(key).map(|value| (value, value.get_ref())) {
            None => false,
            Some((_, DeValue::Boolean(yes))) => *yes,
            Some((value, _)) => {
                self.wrong_type(key, value, "`true` or `false`");
                false
            }
        }
    }

    pub fn integer(&self, key: &str, allowed: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let value = self.entries.get(key)?;
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(key, value, "a whole number");
            return None;
        };
        let number = u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| allowed.contains(n));
        if number.is_none() {
            self.problems.add(value.span(), format!("`{key}` must be from {} to {}", allowed.start(), allowed.end()));
        }
        number
    }

    /// A number that is one: not infinite.
    pub fn number(&self, key: &str) -> Option<f64> {
        let value = self.entries.get(key)?;
        let number = number(value.get_ref());
        if number.is_none() {
            self.wrong_type(key, value, "a number");
        }
        number
    }

    /// The numbers of a list that has at most `max`.
    pub fn numbers(&self, key: &str, max: usize) -> Vec<f64> {
        let Some(value) = self.entries.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, "a list of numbers");
            return Vec::new();
        };
        if items.len() > max {
            self.problems.add(value.span(), format!("`{key}` has {} entries, {max} are allowed", items.len()));
        }
        let read = |item: &Spanned<DeValue<'_>>| {
            let number = number(item.get_ref());
            if number.is_none() {
                self.wrong_type(key, item, "a list of numbers");
            }
            number
        };
        items.iter().filter_map(read).collect()
    }

    pub fn is_boolean(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| matches!(value.get_ref(), DeValue::Boolean(_)))
    }

    pub fn duration(&self, key: &str, max: Duration) -> Option<Duration> {
        let text = self.string(key)?;
        match quantity::duration(text.value) {
            Ok(duration) if duration.is_zero() || duration > max => {
                let max = quantity::duration_text(max);
                self.problems.add(text.span, format!("`{key}` must be more than nothing and at most `{max}`"));
                None
            }
            Ok(duration) => Some(duration),
            Err(message) => {
                self.problems.add(text.span, message);
                None
            }
        }
    }

    /// A share, as in `20%`.
    pub fn percent(&self, key: &str) -> Option<u32> {
        let text = self.string(key)?;
        quantity::percent(text.value).map_err(|message| self.problems.add(text.span, message)).ok()
    }

    /// What stands under `inner` of the table `key`, if all of it is as it should be: for a hint.
    pub fn text_in(&self, key: &str, inner: &str) -> Option<&'a str> {
        self.entries.get(key)?.get_ref().get(inner)?.get_ref().as_str()
    }

    pub fn number_in(&self, key: &str, inner: &str) -> Option<u32> {
        let DeValue::Integer(number) = self.entries.get(key)?.get_ref().get(inner)?.get_ref() else { return None };
        u32::from_str_radix(number.as_str(), number.radix()).ok()
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("`{key}` can't be `{}`", text.value);
            self.problems.add_with_hint(text.span, message, suggestion(text.value, &words));
        }
        found.map(|(_, it)| *it)
    }

    /// The strings of a list that has at most `max`, each once.
    pub fn strings(&self, key: &str, max: usize) -> Vec<At<&'a str>> {
        let Some(value) = self.entries.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, "a list of strings");
            return Vec::new();
        };
        if items.len() > max {
            self.problems.add(value.span(), format!("`{key}` has {} entries, {max} are allowed", items.len()));
        }
        let mut texts: Vec<At<&str>> = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) if texts.iter().any(|other| other.value == text.as_ref()) => {
                    self.problems.add(item.span(), format!("`{text}` stands twice in `{key}`"));
                }
                DeValue::String(text) => texts.push(At { value: text.as_ref(), span: item.span() }),
                _ => self.wrong_type(key, item, "a list of strings"),
            }
        }
        texts
    }

    /// The strings of a list that `check` accepts; the others are problems in its words.
    pub fn checked<T, E: std::fmt::Display>(&self, key: &str, max: usize, check: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        let accept = |text: At<&str>| check(text.value).map_err(|e| self.problems.add(text.span, e.to_string())).ok();
        self.strings(key, max).into_iter().filter_map(accept).collect()
    }

    /// The table `key`, `None` when there is none.
    pub fn table(&self, key: &str, name: &'static str, known: &[&str]) -> Option<Section<'a>> {
        let (span, entries) = self.free_table(key, name)?;
        Some(Section::open(self.problems, name, known, span, entries))
    }

    /// A table whose keys the author chooses.
    pub fn free_table(&self, key: &str, name: &str) -> Option<(Range<usize>, &'a DeTable<'a>)> {
        let value = self.entries.get(key)?;
        match value.get_ref() {
            DeValue::Table(entries) => Some((value.span(), entries)),
            other => {
                let found = other.type_str();
                let message = format!("`{key}` must be a table, not {} {found}", article(found));
                self.problems.add_with_hint(value.span(), message, format!("write `{name}` on a line of its own"));
                None
            }
        }
    }

    /// Every `[[key]]`; `None` when it is something else, and said to be.
    pub fn tables(&self, key: &str, name: &'static str, known: &[&str]) -> Option<Vec<Section<'a>>> {
        let tables = self.open_tables(key, name)?.into_iter();
        Some(tables.map(|(span, table)| Section::open(self.problems, name, known, span, table)).collect())
    }

    /// The same, whatever their keys are.
    pub fn open_tables(&self, key: &str, name: &'static str) -> Option<Vec<(Range<usize>, &'a DeTable<'a>)>> {
        let Some(value) = self.entries.get(key) else { return Some(Vec::new()) };
        let not_a_list = || {
            let message = format!("`{key}` must be a list of tables");
            self.problems.add_with_hint(value.span(), message, format!("write `{name}` with two brackets"));
        };
        let DeValue::Array(items) = value.get_ref() else {
            not_a_list();
            return None;
        };
        let mut tables = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(entries) => tables.push((item.span(), entries)),
                _ => not_a_list(),
            }
        }
        Some(tables)
    }
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    let text = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        DeValue::Float(number) => number.as_str(),
        _ => return None,
    };
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// `did you mean …?` where one of them is close, else all of them.
fn suggestion(found: &str, known: &[&str]) -> String {
    let likeness = |word: &&&str| strsim::jaro_winkler(&found.to_lowercase(), word);
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best {
        Some(word) if likeness(&word) >= LIKENESS_MIN => format!("did you mean `{word}`?"),
        _ => format!("known here: {}", known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")),
    }
}
