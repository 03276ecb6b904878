//! A rule as it is kept: of whichever kind, told apart by what it says.

use super::{
    derived::{Derived, circle, circle_error},
    fields::RuleError,
    name::Name,
    rule::Rule,
};
use crate::model::{Id, manifest::Clean};
use serde_json::Value as Json;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq)]
pub enum Declared {
    /// What is done to the readings of a sensor.
    Clean(Arc<Rule>),
    /// Another sensor, made of them.
    Derive(Arc<Derived>),
}

impl Declared {
    pub fn of(name: impl Into<Name>, document: Json) -> Result<Declared, RuleError> {
        let name = name.into();
        match ["into", "fill", "aggregate"].iter().any(|field| document.get(field).is_some()) {
            true => Ok(Declared::Derive(Arc::new(Derived::of(name, document)?))),
            false => Ok(Declared::Clean(Arc::new(Rule::of(name, document)?))),
        }
    }

    pub fn name(&self) -> &Name {
        match self {
            Declared::Clean(rule) => &rule.name,
            Declared::Derive(rule) => &rule.name,
        }
    }

    pub fn document(&self) -> &Json {
        match self {
            Declared::Clean(rule) => &rule.document,
            Declared::Derive(rule) => &rule.document,
        }
    }

    pub fn clean(&self) -> Option<&Arc<Rule>> {
        match self {
            Declared::Clean(rule) => Some(rule),
            Declared::Derive(_) => None,
        }
    }

    pub fn derived(&self) -> Option<&Arc<Derived>> {
        match self {
            Declared::Clean(_) => None,
            Declared::Derive(rule) => Some(rule),
        }
    }
}

/// What is wrong with the rules of an app, each by its place among them.
pub fn check(app: &Id, rules: &[Clean]) -> Vec<(usize, RuleError)> {
    let of = |rule: &Clean| Declared::of(Name::of_app(app, &rule.name), rule.rule.clone());
    let read: Vec<_> = rules.iter().map(of).collect();
    let circle = circle(read.iter().filter_map(|rule| rule.as_ref().ok()?.derived()).map(|rule| &**rule));
    let in_circle = circle.iter().filter_map(|path| {
        let nth = rules.iter().position(|rule| path.first().is_some_and(|first| first.name == rule.name))?;
        Some((nth, circle_error(path)))
    });
    let wrong: Vec<_> = read.iter().enumerate().filter_map(|(nth, rule)| Some((nth, rule.as_ref().err()?.clone()))).collect();
    wrong.into_iter().chain(in_circle).collect()
}
