//! Readings as the rules for their sensors want them, and what is kept of a sensor so that the next reading is judged by it.
//!
//! What is kept becomes durable with the readings or not at all, and is read from the ledger for each delivery: nothing is remembered here that
//! could be ahead of what is durable. So one delivery at a time is under way for a sensor whose rule remembers; others wait for it, until
//! it is durable or has failed.

use super::{IngestError, Mark};
use crate::{
    devices::Registry,
    ledger::{Append, Commit, Guard, Guarded, Kept, Ledger, LedgerError, Op, Outcome, Pending},
    model::{AppId, Id, NewEvent, SensorRef, Tenant, Write},
    preprocess::{Rule, chain::State},
};
use futures::{FutureExt, future::Shared};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use tokio::sync::OwnedMutexGuard;

/// No app is named so.
const PLACE: &str = "~clean";

/// Who is under way, by sensor. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Cleaning(Arc<Mutex<HashMap<SensorRef, Arc<Slot>>>>);

type Slot = tokio::sync::Mutex<UnderWay>;

/// What was submitted last, where nobody has seen what became of it: whoever did has hung up.
type UnderWay = Option<Shared<Pending>>;

/// The readings of a delivery, each as it is to be in the log.
pub(super) struct Cleaned {
    pub events: Vec<NewEvent>,
    kept: Vec<Write>,
    pub turns: Turns,
}

/// That nobody else is at the sensors of a delivery.
#[derive(Default)]
pub(super) struct Turns(Vec<Turn>);

struct Turn {
    sensor: SensorRef,
    cleaning: Cleaning,
    slot: Option<OwnedMutexGuard<UnderWay>>,
}

impl Cleaning {
    /// Waits for its turn at each sensor that something is kept of.
    pub async fn clean(
        &self,
        registry: &Registry,
        ledger: &Ledger,
        tenant: &Tenant,
        events: Vec<NewEvent>,
    ) -> Result<Cleaned, IngestError> {
        if !registry.has_rules() || tenant != registry.tenant() {
            return Ok(Cleaned::untouched(events));
        }
        let rules: Vec<_> = events.iter().map(|event| rule_for(registry, event)).collect();
        let mut sensors: BTreeMap<SensorRef, (Arc<Rule>, Option<State>)> = BTreeMap::new();
        for (event, rule) in events.iter().zip(&rules) {
            if let (Some(rule), Some(sensor)) = (rule.as_ref().filter(|rule| rule.remembers()), sensor_of(event)) {
                sensors.entry(sensor).or_insert_with(|| (rule.clone(), None));
            }
        }
        let mut turns = Turns::default();
        // In the order of the sensors: two deliveries never wait for each other.
        for (sensor, (rule, state)) in &mut sensors {
            turns.0.push(self.turn(sensor).await);
            let bytes = ledger.state(&place(tenant), &key(sensor)).map_err(IngestError::Ledger)?;
            *state = Some(rule.recall(bytes.as_deref()));
        }
        let cleaned = events.into_iter().zip(rules).map(|(event, rule)| {
            let Some(rule) = rule else { return event };
            match sensor_of(&event).and_then(|sensor| sensors.get_mut(&sensor)) {
                // One delivery is cleaned by one rule, also when it is replaced meanwhile.
                Some((rule, Some(state))) => rule.clean(state, event),
                _ => rule.clean(&mut rule.recall(None), event),
            }
        });
        let events: Vec<NewEvent> = cleaned.collect();
        let keep = |(sensor, (rule, state)): (SensorRef, (Arc<Rule>, Option<State>))| {
            Some(Write { key: key(&sensor), value: Some(rule.keep(&state?).into()) })
        };
        Ok(Cleaned { events, kept: sensors.into_iter().filter_map(keep).collect(), turns })
    }

    async fn turn(&self, sensor: &SensorRef) -> Turn {
        let slot = self.0.lock().entry(sensor.clone()).or_default().clone();
        let mut slot = slot.lock_owned().await;
        if let Some(under_way) = &*slot {
            // What it comes to is not asked: it is in the ledger or it is not.
            let _ = under_way.clone().await;
        }
        *slot = None;
        Turn { sensor: sensor.clone(), cleaning: self.clone(), slot: Some(slot) }
    }
}

fn rule_for(registry: &Registry, event: &NewEvent) -> Option<Arc<Rule>> {
    registry.rule_for(event.device.as_ref()?, event.sensor.as_ref()?)
}

fn sensor_of(event: &NewEvent) -> Option<SensorRef> {
    Some(SensorRef { device: event.device.clone()?, sensor: event.sensor.clone()? })
}

fn place(tenant: &Tenant) -> AppId {
    AppId::new(tenant.clone(), Id::new(PLACE).unwrap_or_else(|e| unreachable!("{e}")))
}

/// No id has a `/`.
fn key(sensor: &SensorRef) -> String {
    format!("{}/{}", sensor.device, sensor.sensor)
}

impl Cleaned {
    pub fn untouched(events: Vec<NewEvent>) -> Cleaned {
        Cleaned { events, kept: Vec::new(), turns: Turns::default() }
    }

    /// An append, with all that has to become durable with it.
    pub fn op(self, append: Append, mark: Option<Mark>) -> (Op, Turns) {
        let Cleaned { kept, turns, .. } = self;
        let op = match (mark, kept.is_empty()) {
            (None, true) => Op::Append(append),
            (Some(Mark { place, write, key, holds }), true) => {
                Op::Guarded(Guarded { commit: Commit::resting_on_nothing(place, append.events, vec![write]), key, holds })
            }
            (mark, false) => {
                let mut writes = vec![(place(&append.tenant), kept)];
                let guard = mark.map(|Mark { place: app, write, key, holds }| {
                    writes.push((app.clone(), vec![write]));
                    Guard { app, key, holds }
                });
                Op::Kept(Kept { append, writes, guard })
            }
        };
        (op, turns)
    }
}

impl Turns {
    /// Waits for what becomes of an operation. Whoever stops waiting leaves it to the next one at these sensors to wait on.
    pub async fn wait(mut self, pending: Pending) -> Result<Outcome, LedgerError> {
        if self.0.is_empty() {
            return pending.await;
        }
        let pending = pending.shared();
        self.set(Some(&pending));
        let outcome = pending.clone().await;
        self.set(None);
        outcome
    }

    fn set(&mut self, under_way: Option<&Shared<Pending>>) {
        for slot in self.0.iter_mut().filter_map(|turn| turn.slot.as_mut()) {
            **slot = under_way.cloned();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut slots = self.cleaning.0.lock();
        let is_over = self.slot.take().is_none_or(|slot| slot.is_none());
        // Taken while the table is held, so nobody begins to wait for it now.
        if is_over && slots.get(&self.sensor).is_some_and(|slot| Arc::strong_count(slot) == 1) {
            slots.remove(&self.sensor);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "clean_tests.rs"]
mod tests;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "clean_sim.rs"]
mod sim;
