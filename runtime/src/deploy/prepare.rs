//! From a component to code that this machine runs, and whether it does.

use super::{DeployError, Store, StoreError};
use crate::{
    engine::{Engine, Wasi},
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
    let code = prepare(store, engine, artifact, || Ok(component.to_vec()))?;
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
    let loaded = engine.load(code.wasi, &code.path, manifest.app_id(tenant), Arc::new(release)).map_err(failed)?;
    tokio::runtime::Handle::current().block_on(engine.probe(&loaded)).map_err(failed)
}

/// Code of an artifact that is ready for an engine.
pub(super) struct Code {
    pub wasi: Wasi,
    pub path: PathBuf,
}

/// The precompiled code of an artifact, for that of this node's engines which runs it; made from `component` when there is none.
pub(super) fn prepare(
    store: &Store,
    engine: &Engine,
    artifact: &Digest,
    component: impl FnOnce() -> Result<Vec<u8>, StoreError>,
) -> Result<Code, DeployError> {
    let compiled = |wasi| -> Result<_, DeployError> {
        let compatibility = engine.compatibility(wasi).map_err(|source| DeployError::Compile { artifact: *artifact, source })?;
        let path = store.cache_path(artifact, &compatibility);
        Ok((compatibility, path.exists().then_some(Code { wasi, path })))
    };
    // Asked first, without a look at the component: most are of this kind.
    if let (_, Some(code)) = compiled(Wasi::P2)? {
        return Ok(code);
    }
    let component = component().map_err(|source| DeployError::Artifact { artifact: *artifact, source })?;
    let wasi = Wasi::of(&component);
    let (compatibility, code) = compiled(wasi)?;
    if let Some(code) = code {
        return Ok(code);
    }
    let code = engine.precompile(&component).map_err(|source| DeployError::Compile { artifact: *artifact, source })?;
    let path = store.put_cache(artifact, &compatibility, &code).map_err(|source| DeployError::Artifact { artifact: *artifact, source })?;
    Ok(Code { wasi, path })
}
