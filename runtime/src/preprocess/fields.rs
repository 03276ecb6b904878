//! The fields of a document, each with the path to it, for who has to find the wrong one. Pure.

use crate::model::manifest;
pub use crate::model::manifest::RuleError;
use serde_json::{Map, Value as Json};
use std::time::Duration;

pub struct Fields<'d> {
    path: String,
    map: &'d Map<String, Json>,
}

impl<'d> Fields<'d> {
    /// Of these names and no others.
    pub fn of(path: &str, json: &'d Json, known: &[&str]) -> Result<Fields<'d>, RuleError> {
        let map = json.as_object().ok_or_else(|| RuleError::new(path, format!("a table is wanted, with {}", known.join(", "))))?;
        let fields = Fields { path: path.to_owned(), map };
        match map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(unknown) => Err(fields
                .wrong(&unknown.chars().take(40).collect::<String>(), "there is no such field")
                .hint(format!("there are {}", known.join(", ")))),
            None => Ok(fields),
        }
    }

    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub fn wrong(&self, key: &str, why: impl Into<String>) -> RuleError {
        RuleError::new(self.path(key), why)
    }

    pub fn get(&self, key: &str) -> Option<&'d Json> {
        self.map.get(key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub fn text(&self, key: &str) -> Result<Option<&'d str>, RuleError> {
        self.get(key).map(|json| json.as_str().ok_or_else(|| self.wrong(key, "a text is wanted"))).transpose()
    }

    pub fn needed(&self, key: &str) -> Result<&'d str, RuleError> {
        self.text(key)?.ok_or_else(|| self.wrong(key, "it is missing"))
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>, RuleError> {
        self.get(key).map(|json| json.as_f64().ok_or_else(|| self.wrong(key, "a number is wanted"))).transpose()
    }

    /// A number above 0.
    pub fn positive(&self, key: &str) -> Result<Option<f64>, RuleError> {
        match self.number(key)? {
            Some(number) if number <= 0.0 => Err(self.wrong(key, format!("a number above 0 is wanted, this is {number}"))),
            number => Ok(number),
        }
    }

    /// A whole number within both ends.
    pub fn count(&self, key: &str, least: usize, most: usize) -> Result<Option<usize>, RuleError> {
        let Some(json) = self.get(key) else { return Ok(None) };
        let count = json.as_u64().and_then(|count| usize::try_from(count).ok()).filter(|count| (least..=most).contains(count));
        count.map(Some).ok_or_else(|| self.wrong(key, format!("a whole number from {least} to {most} is wanted, this is `{json}`")))
    }

    /// Microseconds, at least one millisecond of them.
    pub fn duration(&self, key: &str) -> Result<Option<i64>, RuleError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let time = manifest::duration(text).map_err(|why| self.wrong(key, why))?;
        if time.is_zero() || time > Duration::from_secs(DURATION_SECONDS_MAX) {
            return Err(self.wrong(key, format!("from `1ms` to a year, `8784h`, this is `{text}`")));
        }
        Ok(Some(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
    }

    /// A list of numbers.
    pub fn numbers(&self, key: &str, least: usize, most: usize) -> Result<Option<Vec<f64>>, RuleError> {
        let Some(list) = self.list(key, least, most)? else { return Ok(None) };
        let number = |(n, json): (usize, &Json)| {
            json.as_f64().ok_or_else(|| RuleError::new(format!("{}[{n}]", self.path(key)), "a number is wanted"))
        };
        list.iter().enumerate().map(number).collect::<Result<_, _>>().map(Some)
    }

    /// A list of pairs of numbers.
    pub fn pairs(&self, key: &str, least: usize, most: usize) -> Result<Option<Vec<(f64, f64)>>, RuleError> {
        let Some(list) = self.list(key, least, most)? else { return Ok(None) };
        let pair = |(n, json): (usize, &Json)| {
            match json.as_array().map(Vec::as_slice) {
                Some([said, meant]) => said.as_f64().zip(meant.as_f64()),
                _ => None,
            }
            .ok_or_else(|| RuleError::new(format!("{}[{n}]", self.path(key)), "two numbers are wanted, as in `[900, 100]`"))
        };
        list.iter().enumerate().map(pair).collect::<Result<_, _>>().map(Some)
    }

    pub fn list(&self, key: &str, least: usize, most: usize) -> Result<Option<&'d Vec<Json>>, RuleError> {
        let Some(json) = self.get(key) else { return Ok(None) };
        let list = json.as_array().ok_or_else(|| self.wrong(key, "a list is wanted"))?;
        match (least..=most).contains(&list.len()) {
            true => Ok(Some(list)),
            false => Err(self.wrong(key, format!("{least} to {most} are wanted, these are {}", list.len()))),
        }
    }

    /// One of some words; the first where nothing is said.
    pub fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<T, RuleError> {
        let Some(text) = self.text(key)? else { return Ok(words[0].1) };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, means)| *means);
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        found.ok_or_else(|| self.wrong(key, format!("`{}` is none of {}", text.chars().take(40).collect::<String>(), all.join(", "))))
    }
}

/// A sensor is not compared with what it said longer ago.
const DURATION_SECONDS_MAX: u64 = 366 * 24 * 60 * 60;
