//! From a component to code that this machine runs, and whether it does.

use super::{DeployError, Store, StoreError};
use crate::{
    engine::Engine,
    model::{Digest, Manifest, Micros, Release, Tenant},
};
use std::{path::PathBuf, sync::Arc};

/// Loads a component and makes an instance of it, as its release will be: what a push has to pass. Blocks, on a thread of a runtime
/// where blocking is fine.
pub fn try_out(
    store: &Store,
    engine: &Engine,
    tenant: &Tenant,
    artifact: &Digest,
    component: &[u8],
    manifest: &Manifest,
) -> Result<(), DeployError> {
    let path = prepare(store, engine, artifact, || Ok(component.to_vec()))?;
    let release = Release {
        number: 0,
        artifact: *artifact,
        manifest: manifest.clone(),
        commit: String::new(),
        summary: String::new(),
        created: Micros(0),
        rollback_of: None,
    };
    let failed = |source| DeployError::Start { source };
    let loaded = engine.load(&path, manifest.app_id(tenant), Arc::new(release)).map_err(failed)?;
    tokio::runtime::Handle::current().block_on(engine.probe(&loaded)).map_err(failed)
}

/// The path of an artifact's precompiled code for this engine; made from `component` when there is none.
pub(super) fn prepare(
    store: &Store,
    engine: &Engine,
    artifact: &Digest,
    component: impl FnOnce() -> Result<Vec<u8>, StoreError>,
) -> Result<PathBuf, DeployError> {
    let compatibility = engine.compatibility();
    let path = store.cache_path(artifact, &compatibility);
    if path.exists() {
        return Ok(path);
    }
    let component = component().map_err(|source| DeployError::Artifact { artifact: *artifact, source })?;
    let code = engine.precompile(&component).map_err(|source| DeployError::Compile { artifact: *artifact, source })?;
    store.put_cache(artifact, &compatibility, &code).map_err(|source| DeployError::Artifact { artifact: *artifact, source })
}
