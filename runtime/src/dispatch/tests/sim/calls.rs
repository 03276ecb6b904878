//! Calls from outside on an app's lane, as an HTTP handler makes them: read, write what depends on it, wait until it counts.

use crate::{
    dispatch::{
        App,
        batch::{Durable, Fold, Lost},
        lane::Refused,
    },
    host::Read,
    ledger::Dedup,
    model::{Kind, Micros, NewEvent, Subject, Value, Write, id::default_tenant},
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};
use tokio::task::yield_now;

/// Tries of one call before its client is told that others were faster.
const TRIES_MAX: usize = 20;
pub const SUBJECT: &str = "http.done";

/// Counts in the key that event functions count in too, and says in the log what it counted.
pub struct Call {
    pub id: u64,
    /// The client's idempotency key.
    pub key: Option<String>,
    /// How long it takes between its read and its end.
    pub yields: u64,
}

/// What the client was told, if anything.
#[derive(Default)]
pub struct Said(Mutex<Option<Told>>);

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Told {
    Done,
    /// A call with its key was done before.
    Repeat,
    /// Nothing was done.
    Failed,
    Unknown,
}

impl Said {
    pub fn told(&self) -> Option<Told> {
        *self.0.lock()
    }
}

enum Step {
    Again,
    End(Told),
}

impl Call {
    pub async fn run(self, app: Option<Arc<App>>, now: Micros, said: Arc<Said>) {
        let mut told = Told::Failed;
        let Some(app) = app else { return *said.0.lock() = Some(told) };
        for run in 0..TRIES_MAX {
            match self.once(&app, now, run > 0).await {
                Step::Again => {}
                Step::End(end) => {
                    told = end;
                    break;
                }
            }
        }
        *said.0.lock() = Some(told);
    }

    async fn once(&self, app: &Arc<App>, now: Micros, alone: bool) -> Step {
        let turn = app.lane.begin(alone).await;
        let dedup = self.key.as_ref().map(|key| Dedup { key: key.clone(), now });
        if let Some(dedup) = &dedup {
            match app.lane.ledger.is_repeat(&app.id, &dedup.key, now) {
                Ok(false) => {}
                Ok(true) => return Step::End(Told::Repeat),
                Err(_) => return Step::End(Told::Failed),
            }
        }
        let Ok(seen) = app.lane.state("hot") else { return Step::End(Told::Failed) };
        let count = seen.value.map_or(0, |bytes| serde_json::from_slice::<u64>(&bytes).unwrap()) + 1;
        for _ in 0..self.yields {
            yield_now().await;
        }
        let fold = Fold {
            reads: BTreeMap::from([(Read::Key("hot".into()), seen.at)]),
            writes: vec![Write { key: "hot".into(), value: Some(count.to_string().into()) }],
            events: vec![self.event(count, now)],
            dedup,
            ..Fold::default()
        };
        match app.lane.fold_or_check(turn.epoch, fold) {
            Err(Refused::Reset | Refused::Stale) if app.lane.is_stopped() => Step::End(Told::Failed),
            Err(_) => Step::Again,
            Ok(folded) => {
                drop(turn);
                let Some(durable) = folded.durable else { return Step::End(Told::Repeat) };
                match durable.await.unwrap_or(Err(Lost::Stopped)) {
                    Ok(Durable::Duplicate) => Step::End(Told::Repeat),
                    Ok(Durable::Committed) if folded.repeat => Step::End(Told::Repeat),
                    Ok(Durable::Committed) => Step::End(Told::Done),
                    Err(Lost::Conflict) => Step::Again,
                    Err(Lost::Stopped) => Step::End(Told::Unknown),
                    Err(Lost::Ledger(error)) => Step::End(super::told_by(&error).map_or(Told::Unknown, |()| Told::Failed)),
                }
            }
        }
    }

    fn event(&self, count: u64, now: Micros) -> NewEvent {
        NewEvent {
            tenant: default_tenant(),
            kind: Kind::Message,
            subject: Subject::new(SUBJECT).unwrap(),
            key: SUBJECT.to_owned(),
            device: None,
            sensor: None,
            measured: now,
            received: now,
            value: Value::from_json(&serde_json::json!({ "call": self.id, "count": count })),
            raw: None,
            cause: None,
        }
    }
}
