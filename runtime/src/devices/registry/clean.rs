//! Rules of pre-processing, and which of them is for a sensor: the one that names it, or else one whose selector it fits; of several the first by
//! name. A rule of an app that has an owner is for the devices that the owner may change, and for no others.

use super::{
    Inner, Registry, RegistryError,
    index::{self, Entry, Index},
};
use crate::{
    identity::{Deed, Principal, may},
    model::{
        Device, Event, Id, Kind, Micros, Selector, Sensor,
        limit::{CLEAN_DERIVED_MAX, CLEAN_RULES_MAX},
    },
    preprocess::{Declared, Derived, Name, Of, Rule, circle, circle_error},
    records::{Changes, RecordsError},
};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::AddAssign,
    sync::{Arc, atomic::Ordering},
};

/// Sensors that are compared with rules to say which rule goes before which.
const LOOKS_MAX: usize = 1_000_000;

/// Who a user is; none: there is no such user.
pub type People = Arc<dyn Fn(&Id) -> Option<Principal> + Send + Sync>;

/// All rules; replaced as a whole.
#[derive(Default, Clone)]
pub(super) struct Rules {
    by_name: BTreeMap<Name, Declared>,
    /// Those that nobody here can read.
    unreadable: BTreeSet<Name>,
    /// Those that name a sensor: by device and sensor, in the order of their names.
    exact: HashMap<Id, HashMap<Id, Vec<Arc<Rule>>>>,
    /// The others, by name.
    selecting: Vec<Arc<Rule>>,
    /// Those that make sensors of others.
    derived: Vec<Arc<Derived>>,
}

/// What a rule comes to among the others.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Sensors that it is for, of those that are known.
    pub sensors: usize,
    /// Rules that go before it, each at how many sensors that it would be for.
    pub behind: BTreeMap<Name, usize>,
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
        if let Some(named) = rules.exact.get(device).and_then(|sensors| sensors.get(sensor))
            && let Some(rule) =
                named.iter().find(|rule| rule.name.app.is_none() || inner.may_touch(&rule.name, &inner.index.read(), device))
        {
            return Some(rule.clone());
        }
        if rules.selecting.is_empty() {
            return None;
        }
        let index = inner.index.read();
        let Some(entry) = index.get(device) else {
            return inner.selected(&rules, &index, &index::device(device, Micros(0), Vec::new()), &index::sensor(sensor, Micros(0)));
        };
        match entry.shown.sensors.iter().position(|known| known.id == *sensor) {
            Some(nth) => entry.rules.of(moved, nth, || inner.selected(&rules, &index, &entry.shown, &entry.shown.sensors[nth])),
            // It is about to be heard for the first time.
            None => inner.selected(&rules, &index, &entry.shown, &index::sensor(sensor, Micros(0))),
        }
    }

    /// Whether there is any rule at all.
    pub fn has_rules(&self) -> bool {
        !self.0.rules.load().by_name.is_empty()
    }

    /// Rules that make sensors of others.
    pub fn derived(&self) -> Vec<Arc<Derived>> {
        self.0.rules.load().derived.clone()
    }

    /// Whether a reading is one that a rule makes others of. One that selects sensors takes none that a rule made.
    pub fn is_derived_from(&self, rule: &Derived, event: &Event) -> bool {
        let (Some(device), Some(sensor), Kind::Reading) = (&event.device, &event.sensor, event.kind) else { return false };
        let by_hand = rule.name.app.is_none();
        match &rule.of {
            of @ Of::Sensor(_) => of.names(device, sensor) && (by_hand || self.0.may_touch(&rule.name, &self.0.index.read(), device)),
            of @ Of::Select(_) if event.cause.is_none() => {
                let index = self.0.index.read();
                let found =
                    index.get(device).and_then(|entry| Some((entry, entry.shown.sensors.iter().find(|known| known.id == *sensor)?)));
                let fits = match found {
                    Some((entry, sensor)) => is_of(of, &index, &entry.shown, sensor),
                    None => {
                        let new = index::device(device, Micros(0), Vec::new());
                        is_of(of, &index, index.get(device).map_or(&new, |entry| &entry.shown), &index::sensor(sensor, Micros(0)))
                    }
                };
                fits && self.0.may_touch(&rule.name, &index, device)
            }
            Of::Select(_) => false,
        }
    }

    /// All rules, in the order of their names.
    pub fn rules(&self) -> Vec<Declared> {
        self.0.rules.load().by_name.values().cloned().collect()
    }

    /// Those that a later Tawi has said in a way that this one does not know.
    pub fn unreadable_rules(&self) -> Vec<Name> {
        self.0.rules.load().unreadable.iter().cloned().collect()
    }

    pub fn rule(&self, name: &Name) -> Option<Declared> {
        self.0.rules.load().by_name.get(name).cloned()
    }

    /// Who the owners of apps are is asked here, as soon as somebody knows.
    pub fn know(&self, people: People) {
        drop(self.0.people.set(people));
        self.0.rules_moved();
    }

    /// What each rule comes to, and which go before it. None where that takes too long to find out.
    pub fn standings(&self) -> Option<BTreeMap<Name, Standing>> {
        let (inner, index) = (&self.0, self.0.index.read());
        let rules = inner.rules.load();
        let sensors = index.behind(None).map(|entry| entry.shown.sensors.len()).sum::<usize>();
        if sensors.saturating_mul(rules.by_name.len()) > LOOKS_MAX {
            return None;
        }
        let mut standings: BTreeMap<Name, Standing> = rules.by_name.keys().map(|name| (name.clone(), Standing::default())).collect();
        let mut count = |fitting: &mut dyn Iterator<Item = &Arc<Rule>>| {
            let Some(first) = fitting.next() else { return };
            standings.entry(first.name.clone()).or_default().sensors += 1;
            for rule in fitting {
                *standings.entry(rule.name.clone()).or_default().behind.entry(first.name.clone()).or_default() += 1;
            }
        };
        let mut derived: BTreeMap<Name, usize> = BTreeMap::new();
        // Once for each rule, not for each device: others wait for the index.
        let hands: Vec<(&Declared, Option<Option<Principal>>)> =
            rules.by_name.values().map(|rule| (rule, inner.hand_of(rule.name(), &index))).collect();
        for entry in index.behind(None) {
            let touched: Vec<&Declared> =
                hands.iter().filter(|(_, hand)| inner.reaches(hand, &index, &entry.id)).map(|(rule, _)| *rule).collect();
            let cleaning: Vec<&Arc<Rule>> = touched.iter().filter_map(|rule| rule.clean()).collect();
            for sensor in &entry.shown.sensors {
                let named = cleaning.iter().filter(|rule| rule.of.names(&entry.id, &sensor.id));
                let selected = cleaning.iter().filter(|rule| is_of(&rule.of, &index, &entry.shown, sensor));
                count(&mut named.chain(selected).copied());
                // No two of these get into each other's way.
                for rule in touched.iter().filter_map(|rule| rule.derived()) {
                    let fits = rule.of.names(&entry.id, &sensor.id) || is_of(&rule.of, &index, &entry.shown, sensor);
                    derived.entry(rule.name.clone()).or_insert(0_usize).add_assign(usize::from(fits));
                }
            }
        }
        // Those of sensors that nobody has heard of yet.
        for (device, sensors) in &rules.exact {
            let unknown = |sensor: &Id| index.get(device).is_none_or(|entry: &Entry| entry.row(sensor).is_none());
            for (_, named) in sensors.iter().filter(|(sensor, _)| unknown(sensor)) {
                count(&mut named.iter().filter(|rule| inner.may_touch(&rule.name, &index, device)));
            }
        }
        for (name, sensors) in derived {
            standings.entry(name).or_default().sensors = sensors;
        }
        Some(standings)
    }

    /// Makes a rule, or puts another in its place; it is for the next reading.
    pub async fn put_rule(&self, rule: &Declared, now: Micros) -> Result<(), RegistryError> {
        let key = format!("{}{}", Rule::PREFIX, rule.name());
        let put = |changes: &mut Changes| {
            let is_new = self.0.records.get::<IgnoredAny>(&key)?.is_none();
            if is_new && self.0.rules.load().by_name.len() >= CLEAN_RULES_MAX {
                return Err(RegistryError::Full { what: "rules of pre-processing", max: CLEAN_RULES_MAX });
            }
            self.0.rules.load().fit(std::slice::from_ref(rule), |name| name == rule.name())?;
            Ok(changes.put(key.clone(), rule.document())?)
        };
        self.0.records.change(now, put).await?;
        Ok(self.0.refresh(&key)?)
    }

    /// An app has these rules from now on, and no others: in one commit.
    pub async fn set_app_rules(&self, app: &Id, rules: &[Declared], now: Micros) -> Result<(), RegistryError> {
        let inner = &self.0;
        let set = |changes: &mut Changes| {
            let mut there: BTreeMap<String, Json> = BTreeMap::new();
            inner.records.scan::<Json>(&format!("{}{app}/", Rule::PREFIX), |key, document| drop(there.insert(key.to_owned(), document)))?;
            let of_others = inner.rules.load().by_name.keys().filter(|name| name.app.as_ref() != Some(app)).count();
            if of_others + rules.len() > CLEAN_RULES_MAX && rules.len() > there.len() {
                return Err(RegistryError::Full { what: "rules of pre-processing", max: CLEAN_RULES_MAX });
            }
            inner.rules.load().fit(rules, |name| name.app.as_ref() == Some(app))?;
            let mut touched = Vec::new();
            for rule in rules {
                let key = format!("{}{}", Rule::PREFIX, rule.name());
                if there.remove(&key).as_ref() != Some(rule.document()) {
                    changes.put(key.clone(), rule.document())?;
                    touched.push(key);
                }
            }
            for key in there.into_keys() {
                changes.delete(key.clone());
                touched.push(key);
            }
            Ok(touched)
        };
        for key in inner.records.change(now, set).await? {
            inner.refresh(&key)?;
        }
        Ok(())
    }

    /// Apps that have rules.
    pub fn apps_with_rules(&self) -> Vec<Id> {
        let mut apps: Vec<Id> = self.0.rules.load().by_name.keys().filter_map(|name| name.app.clone()).collect();
        apps.dedup();
        apps
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
            if let Some(name) = key.strip_prefix(Rule::PREFIX).and_then(|name| Name::parse(name).ok()) {
                self.set_rule(&name, Some(document));
            }
        }
        Ok(())
    }

    /// Whoever calls it has the turn.
    pub fn set_rule(&self, name: &Name, document: Option<Json>) {
        let is_there = document.is_some();
        let rule = document.and_then(|document| {
            let read = Declared::of(name.clone(), document);
            // It was checked by who put it: a later Tawi than this one.
            read.inspect_err(|error| tracing::error!(rule = %name, %error, "a rule of pre-processing can't be read, and is not used")).ok()
        });
        let mut rules = Rules::clone(&self.rules.load());
        match is_there && rule.is_none() {
            true => drop(rules.unreadable.insert(name.clone())),
            false => drop(rules.unreadable.remove(name)),
        }
        match rule {
            Some(rule) => drop(rules.by_name.insert(name.clone(), rule)),
            None => drop(rules.by_name.remove(name)),
        }
        self.rules.store(Arc::new(rules.sorted()));
        self.rules_moved();
    }

    pub fn rules_moved(&self) {
        self.rules_moved.fetch_add(1, Ordering::AcqRel);
    }

    /// Somebody may be an administrator now, or be gone.
    pub fn people_moved(&self) {
        if self.has_app_owners.load(Ordering::Relaxed) {
            self.rules_moved();
        }
    }

    /// What was set by hand touches every sensor, and so does what an app of the node's own says; others touch what their owner may change.
    fn may_touch(&self, rule: &Name, index: &Index, device: &Id) -> bool {
        self.reaches(&self.hand_of(rule, index), index, device)
    }

    /// Whose hand a rule is: none touches everything. It is looked up, which takes some microseconds.
    fn hand_of(&self, rule: &Name, index: &Index) -> Option<Option<Principal>> {
        let owner = rule.app.as_ref().and_then(|app| index.app_owners.get(app))?;
        Some(self.people.get().and_then(|people| people(owner)))
    }

    fn reaches(&self, hand: &Option<Option<Principal>>, index: &Index, device: &Id) -> bool {
        let Some(who) = hand else { return true };
        who.as_ref().is_some_and(|who| match index.get(device) {
            Some(entry) => *who.tenant() == self.tenant && may(who, Deed::Update, entry.resource()),
            None => who.is_admin(),
        })
    }

    fn selected(&self, rules: &Rules, index: &Index, device: &Device, sensor: &Sensor) -> Option<Arc<Rule>> {
        let fits = |rule: &&Arc<Rule>| is_of(&rule.of, index, device, sensor) && self.may_touch(&rule.name, index, &device.id);
        rules.selecting.iter().find(fits).cloned()
    }
}

impl Rules {
    fn sorted(mut self) -> Rules {
        self.exact.clear();
        self.selecting.clear();
        self.derived.clear();
        for rule in self.by_name.values() {
            let rule = match rule {
                Declared::Clean(rule) => rule,
                Declared::Derive(rule) => {
                    self.derived.push(rule.clone());
                    continue;
                }
            };
            match &rule.of {
                Of::Sensor(of) => {
                    let named = self.exact.entry(of.device.clone()).or_default().entry(of.sensor.clone()).or_default();
                    named.push(rule.clone());
                }
                Of::Select(_) => self.selecting.push(rule.clone()),
            }
        }
        self
    }

    /// Whether these may take the place of some: derived sensors are not too many, and none is made of itself.
    fn fit(&self, new: &[Declared], replaced: impl Fn(&Name) -> bool) -> Result<(), RegistryError> {
        if new.iter().all(|rule| rule.derived().is_none()) {
            return Ok(());
        }
        let stays = self.derived.iter().filter(|rule| !replaced(&rule.name));
        let all: Vec<&Derived> = stays.chain(new.iter().filter_map(Declared::derived)).map(|rule| &**rule).collect();
        if all.len() > CLEAN_DERIVED_MAX {
            return Err(RegistryError::Full { what: "rules that make sensors of others", max: CLEAN_DERIVED_MAX });
        }
        circle(all.iter().copied()).map_or(Ok(()), |path| Err(RegistryError::Rule(circle_error(&path))))
    }
}

/// Whether a rule selects a sensor.
fn is_of(of: &Of, index: &Index, device: &Device, sensor: &Sensor) -> bool {
    matches!(of, Of::Select(selector) if is_selected(selector, index, device, sensor))
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
