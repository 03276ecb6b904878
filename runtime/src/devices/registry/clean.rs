//! Rules of pre-processing, and which of them is for a sensor: the one that names it, or else one whose selector it fits; of several the first by
//! name.

use super::{
    Inner, Registry, RegistryError,
    index::{self, Index},
};
use crate::{
    model::{Device, Id, Micros, Selector, Sensor, limit::CLEAN_RULES_MAX},
    preprocess::{Of, Rule},
    records::{Changes, RecordsError},
};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
};

/// All rules; replaced as a whole.
#[derive(Default, Clone)]
pub(super) struct Rules {
    by_name: BTreeMap<Id, Arc<Rule>>,
    /// Those that name a sensor: by device and sensor, the first by name.
    exact: HashMap<Id, HashMap<Id, Arc<Rule>>>,
    /// The others, by name.
    selecting: Vec<Arc<Rule>>,
}

/// What was found for the sensors of a device, in their order, and when.
#[derive(Default)]
pub(super) struct Known(Mutex<Option<Box<Found>>>);

struct Found {
    moved: u64,
    rules: Vec<Option<Option<Arc<Rule>>>>,
}

impl Registry {
    /// The rule for a sensor. Asked for every reading: where there are no rules it is one look at an empty table.
    pub fn rule_for(&self, device: &Id, sensor: &Id) -> Option<Arc<Rule>> {
        let inner = &self.0;
        let moved = inner.rules_moved.load(Ordering::Acquire);
        let rules = inner.rules.load();
        if rules.by_name.is_empty() {
            return None;
        }
        if let Some(rule) = rules.exact.get(device).and_then(|sensors| sensors.get(sensor)) {
            return Some(rule.clone());
        }
        if rules.selecting.is_empty() {
            return None;
        }
        let index = inner.index.read();
        let Some(entry) = index.get(device) else {
            return rules.selected(&index, &index::device(device, Micros(0), Vec::new()), &index::sensor(sensor, Micros(0)));
        };
        match entry.shown.sensors.iter().position(|known| known.id == *sensor) {
            Some(nth) => entry.rules.of(moved, nth, || rules.selected(&index, &entry.shown, &entry.shown.sensors[nth])),
            // It is about to be heard for the first time.
            None => rules.selected(&index, &entry.shown, &index::sensor(sensor, Micros(0))),
        }
    }

    /// Whether there is any rule at all.
    pub fn has_rules(&self) -> bool {
        !self.0.rules.load().by_name.is_empty()
    }

    /// All rules, in the order of their names.
    pub fn rules(&self) -> Vec<Arc<Rule>> {
        self.0.rules.load().by_name.values().cloned().collect()
    }

    pub fn rule(&self, name: &Id) -> Option<Arc<Rule>> {
        self.0.rules.load().by_name.get(name).cloned()
    }

    /// Makes a rule, or puts another in its place; it is for the next reading.
    pub async fn put_rule(&self, rule: &Rule, now: Micros) -> Result<(), RegistryError> {
        let key = format!("{}{}", Rule::PREFIX, rule.name);
        let put = |changes: &mut Changes| {
            let is_new = self.0.records.get::<IgnoredAny>(&key)?.is_none();
            if is_new && self.0.rules.load().by_name.len() >= CLEAN_RULES_MAX {
                return Err(RegistryError::Full { what: "rules of pre-processing", max: CLEAN_RULES_MAX });
            }
            Ok(changes.put(key.clone(), &rule.document)?)
        };
        self.0.records.change(now, put).await?;
        Ok(self.0.refresh(&key)?)
    }

    pub async fn remove_rule(&self, name: &Id, now: Micros) -> Result<(), RegistryError> {
        let key = format!("{}{name}", Rule::PREFIX);
        let remove = |changes: &mut Changes| {
            if self.0.records.get::<IgnoredAny>(&key)?.is_none() {
                return Err(RegistryError::Unknown { what: "rule", id: name.clone() });
            }
            changes.delete(key.clone());
            Ok(())
        };
        self.0.records.change(now, remove).await?;
        Ok(self.0.refresh(&key)?)
    }
}

impl Inner {
    pub fn read_rules(&self) -> Result<(), RecordsError> {
        let mut documents = Vec::new();
        self.records.scan::<Json>(Rule::PREFIX, |key, document| documents.push((key.to_owned(), document)))?;
        for (key, document) in documents {
            if let Some(name) = key.strip_prefix(Rule::PREFIX).and_then(|name| Id::new(name).ok()) {
                self.set_rule(&name, Some(document));
            }
        }
        Ok(())
    }

    /// Whoever calls it has the turn.
    pub fn set_rule(&self, name: &Id, document: Option<Json>) {
        let rule = document.and_then(|document| {
            let read = Rule::of(name, document);
            // It was checked by who put it: a later Tawi than this one.
            read.inspect_err(|error| tracing::error!(rule = %name, %error, "a rule of pre-processing can't be read, and is not used")).ok()
        });
        let mut rules = Rules::clone(&self.rules.load());
        match rule {
            Some(rule) => drop(rules.by_name.insert(name.clone(), Arc::new(rule))),
            None => drop(rules.by_name.remove(name)),
        }
        self.rules.store(Arc::new(rules.sorted()));
        self.rules_moved();
    }

    pub fn rules_moved(&self) {
        self.rules_moved.fetch_add(1, Ordering::AcqRel);
    }
}

impl Rules {
    fn sorted(mut self) -> Rules {
        self.exact.clear();
        self.selecting.clear();
        for rule in self.by_name.values() {
            match &rule.of {
                Of::Sensor(of) => {
                    self.exact.entry(of.device.clone()).or_default().entry(of.sensor.clone()).or_insert_with(|| rule.clone());
                }
                Of::Select(_) => self.selecting.push(rule.clone()),
            }
        }
        self
    }

    fn selected(&self, index: &Index, device: &Device, sensor: &Sensor) -> Option<Arc<Rule>> {
        let fits = |rule: &&Arc<Rule>| matches!(&rule.of, Of::Select(selector) if is_selected(selector, index, device, sensor));
        self.selecting.iter().find(fits).cloned()
    }
}

fn is_selected(selector: &Selector, index: &Index, device: &Device, sensor: &Sensor) -> bool {
    let in_project = |project| index.projects.get(project).is_some_and(|group| group.members.contains(&device.id));
    selector.fits_device(device) && selector.fits_sensor(device, sensor) && selector.project.as_ref().is_none_or(in_project)
}

impl Known {
    fn of(&self, moved: u64, nth: usize, find: impl FnOnce() -> Option<Arc<Rule>>) -> Option<Arc<Rule>> {
        let mut known = self.0.lock();
        let found = known.get_or_insert_with(|| Box::new(Found { moved, rules: Vec::new() }));
        if found.moved != moved {
            (found.moved, found.rules) = (moved, Vec::new());
        }
        if found.rules.len() <= nth {
            found.rules.resize(nth + 1, None);
        }
        found.rules[nth].get_or_insert_with(find).clone()
    }
}
