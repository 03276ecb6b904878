//! Rules that make sensors of others, from the registry to what does it: wiring.

use crate::{
    devices::{Devices, DevicesError, Registry},
    dispatch::{Derivation, Dispatch},
    ledger::Ledger,
    model::{AppId, FunctionId, Id, Pattern, Tenant},
    preprocess::{Derived, Name, Of},
    server::RulesChanged,
    telemetry::chain,
};
use futures::FutureExt;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How soon a rule is at work here that another node set, and what ended is begun again.
const LOOK: Duration = Duration::from_secs(5);
/// Whose the rules are that no app says; no app is named so.
const BY_HAND: &str = "~clean";

/// Keeps what makes readings of readings as the registry says.
pub(super) struct Deriver {
    pub tenant: Tenant,
    pub registry: Registry,
    pub devices: Devices,
    pub ledger: Ledger,
    pub dispatch: Arc<Dispatch>,
    /// One at a time: what was read first must not be done last.
    pub turn: tokio::sync::Mutex<()>,
}

impl Deriver {
    pub fn changed(self: &Arc<Self>) -> RulesChanged {
        let deriver = self.clone();
        Arc::new(move || {
            let deriver = deriver.clone();
            async move { deriver.round().await }.boxed()
        })
    }

    pub async fn run(&self, stop: CancellationToken) {
        loop {
            self.round().await;
            if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }

    async fn round(&self) {
        let _turn = self.turn.lock().await;
        // Before it is known what is wanted: what another node has put there since is none of those that are wanted no more.
        let places = self.dispatch.derived_places();
        if let Err(error) = self.reach().await {
            tracing::warn!(error = chain(&error), "the registry is behind: rules of derived sensors stay as they are for now");
            return;
        }
        let wanted = self.registry.derived().into_iter().map(|rule| self.derivation(&rule)).collect();
        let done = match places {
            Ok(mut places) => {
                // A later Tawi has said it, and knows what it says.
                let unreadable: Vec<FunctionId> = self.registry.unreadable_rules().iter().map(|name| self.target(name)).collect();
                places.retain(|place| !unreadable.contains(&place.target));
                self.dispatch.derive(wanted, &places).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::warn!(error = chain(&error), "derived sensors are not as their rules say, trying again");
        }
    }

    /// Up to all that is in the log: a rule whose place is there already is not taken for one that is gone.
    async fn reach(&self) -> Result<(), DevicesError> {
        let head = *self.ledger.head().borrow();
        // Alone, a node has its own changes in the index.
        let mut is_there = self.devices.position() >= head || !self.ledger.is_shared();
        while !is_there {
            let (devices, ledger) = (self.devices.clone(), self.ledger.clone());
            is_there = tokio::task::spawn_blocking(move || devices.reach(&ledger, head)).await??;
        }
        Ok(())
    }

    fn target(&self, name: &Name) -> FunctionId {
        let app = name.app.clone().unwrap_or_else(|| Id::new(BY_HAND).unwrap_or_else(|e| unreachable!("{e}")));
        FunctionId { app: AppId::new(self.tenant.clone(), app), function: name.name.clone() }
    }

    fn derivation(&self, rule: &Arc<Derived>) -> Derivation {
        let (registry, of) = (self.registry.clone(), rule.clone());
        Derivation {
            target: self.target(&rule.name),
            derive: rule.derive.clone(),
            pattern: pattern(&rule.of),
            takes: Arc::new(move |event| registry.is_derived_from(&of, event)),
            print: print(&rule.document).into(),
        }
    }
}

/// A rule as text, which is the same in whatever order its fields are written.
fn print(document: &serde_json::Value) -> String {
    match document {
        serde_json::Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(name, _)| *name != "name").collect();
            fields.sort_by_key(|(name, _)| *name);
            format!("{{{}}}", fields.iter().map(|(name, value)| format!("{name}={};", print(value))).collect::<String>())
        }
        serde_json::Value::Array(items) => format!("[{}]", items.iter().map(|item| format!("{},", print(item))).collect::<String>()),
        other => other.to_string(),
    }
}

fn pattern(of: &Of) -> Pattern {
    let text = match of {
        Of::Sensor(of) => format!("reading.{}.{}", of.device.to_token(), of.sensor.to_token()),
        Of::Select(_) => "reading.>".to_owned(),
    };
    // Two encoded ids are a subject.
    Pattern::new(&text).unwrap_or_else(|e| unreachable!("{e}"))
}
