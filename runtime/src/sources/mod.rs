//! In: what apps say they want from elsewhere, answers of other servers, webhooks. Out: readings of devices that are none, and how each source does.
//! Never: asks a host that is not granted, asks twice for one time of the schedule, writes for a device that is somebody's.

mod extract;
mod hook;
mod poll;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use hook::HookError;

use crate::{
    deploy::Store,
    devices::Registry,
    ingest::{Ingest, IngestError, RepeatKey, Stored},
    ledger::Ledger,
    model::{
        AppId, Id, Micros, Owned, Release, Tenant, Visibility,
        manifest::{Source, SourceKind},
    },
    preprocess::{Envelope, Sample},
    records::{Records, RecordsError, Space},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::{collections::HashMap, sync::Arc};

/// How a source does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// The time of the schedule that is next.
    pub next_run: Micros,
    /// Some node is at it until then.
    pub claimed_until: Micros,
    pub last_run: Option<Micros>,
    pub last_success: Option<Micros>,
    /// Why the last run came to nothing; none: it did not.
    pub last_error: Option<String>,
    pub runs: u64,
    pub readings: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("can't store or read how the sources do")]
    Records(#[from] RecordsError),
    #[error("the device `{0}` is somebody's: a source writes for a device that nobody owns, or a public one")]
    Owned(Id),
    #[error(transparent)]
    Ingest(#[from] IngestError),
}

/// The sources of a node's apps. Cheap to clone.
#[derive(Clone)]
pub struct Sources(Arc<Inner>);

struct Inner {
    tenant: Tenant,
    store: Store,
    records: Records,
    registry: Registry,
    ingest: Ingest,
    /// Of webhooks: since the start, on this node. A record for each delivery would cost as much as its readings.
    hooks: Mutex<HashMap<(AppId, Id), Progress>>,
}

impl Sources {
    pub fn new(ledger: Ledger, tenant: &Tenant, store: Store, registry: Registry, ingest: Ingest) -> Sources {
        let records = Records::new(ledger, tenant, Space::Devices);
        let (tenant, hooks) = (tenant.clone(), Mutex::default());
        Sources(Arc::new(Inner { tenant, store, records, registry, ingest, hooks }))
    }

    /// The sources of an app's current release, with how each does. Blocks.
    pub fn list(&self, app: &AppId) -> Result<Vec<Json>, SourceError> {
        let Some(release) = self.0.store.current(app) else { return Ok(Vec::new()) };
        let shown = release.manifest.sources.iter().map(|source| {
            let progress = match &source.kind {
                SourceKind::Http { .. } => self.0.records.get::<Progress>(&key(app, &source.name))?,
                SourceKind::Webhook { .. } => self.0.hooks.lock().get(&(app.clone(), source.name.clone())).cloned(),
            };
            Ok(show(app, source, &progress.unwrap_or_default()))
        });
        shown.collect()
    }
}

impl Inner {
    fn source(&self, app: &AppId, name: &Id) -> Option<(Arc<Release>, Source)> {
        let release = self.store.current(app)?;
        let source = release.manifest.sources.iter().find(|source| source.name == *name).cloned()?;
        Some((release, source))
    }

    /// An app has no owner, so it writes for nobody's device, and for those that everybody may send values to.
    async fn store(
        &self,
        source: &Source,
        samples: Vec<Sample>,
        received: Micros,
        repeat: Option<RepeatKey>,
    ) -> Result<Stored, SourceError> {
        if self.registry.owned(&source.device).is_some_and(|owned| is_somebodys(&owned)) {
            return Err(SourceError::Owned(source.device.clone()));
        }
        Ok(self.ingest.store(Envelope { tenant: self.tenant.clone(), received, samples }, repeat).await?)
    }
}

fn is_somebodys(owned: &Owned) -> bool {
    owned.owner.is_some() && owned.visibility == Visibility::Private
}

/// Beside devices, gateways and projects.
fn key(app: &AppId, source: &Id) -> String {
    format!("f:{}/{source}", app.app)
}

fn show(app: &AppId, source: &Source, progress: &Progress) -> Json {
    let time = |time: Option<Micros>| time.map(|time| time.to_string());
    let mut shown = json!({
        "name": source.name, "device": source.device, "sensors": source.values.keys().collect::<Vec<_>>(),
        "last_run": time(progress.last_run), "last_success": time(progress.last_success), "last_error": progress.last_error,
        "runs": progress.runs, "readings": progress.readings,
    });
    match &source.kind {
        SourceKind::Http { url, every, .. } => {
            // A query may hold what is nobody's business.
            shown["kind"] = json!("http");
            shown["url"] = json!(url.split('?').next());
            shown["every_seconds"] = json!(every.as_secs());
            shown["next_run"] = json!((progress.runs > 0).then(|| progress.next_run.to_string()));
        }
        SourceKind::Webhook { .. } => {
            shown["kind"] = json!("webhook");
            shown["path"] = json!(format!("/api/v1/sources/{}/{}", app.app, source.name));
        }
    }
    shown
}
