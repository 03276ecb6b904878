//! Releases, artifacts, configuration and secrets on disk. A method that has returned is durable; one that has not, by a crash or an
//! error, has happened whole or not at all.
//!
//! Methods that write block for some syncs of the disk: an async caller uses `spawn_blocking`. Reads are from memory.

mod collect;
mod disk;
mod layout;
mod load;
#[cfg(test)]
mod sim;

use crate::model::{AppId, Digest, Manifest, Micros, Release, manifest};
pub use collect::Hold;
use collect::Kept;
use disk::{Disk, FileSystem, ensure_dir, replace};
use layout::{CONFIG, CURRENT, DELETED, Entries, Layout, RELEASES, SECRETS, STAGED};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::watch;

/// Releases kept per app; older ones are forgotten, and their artifacts with them.
pub const RELEASES_KEPT_MAX: usize = 100;
/// One value of config or one secret: a certificate with its chain fits.
pub const CONFIG_VALUE_BYTES_MAX: usize = 64 * 1024;

/// A release before it has a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    pub artifact: Digest,
    pub manifest: Manifest,
    /// The commit it was built from, 40 (or, with SHA-256, 64) hex digits.
    pub commit: String,
    /// The first line of the commit's message.
    pub summary: String,
    pub created: Micros,
    pub rollback_of: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("could not {tried} `{}`", path.display())]
    Io {
        tried: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is damaged: {why}", path.display())]
    Corrupt { path: PathBuf, why: String },
    #[error("there is no app `{0}`")]
    NoApp(AppId),
    #[error("app `{app}` has no release {number}")]
    NoRelease { app: AppId, number: u64 },
    #[error("{0}")]
    Invalid(String),
}

impl StoreError {
    fn io(tried: &'static str, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { tried, path: path.to_owned(), source }
    }

    /// The disk is full, so trying again later may help.
    pub fn is_full(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// Desired state of one app. The last release is the current one: a rollback makes a new one.
#[derive(Debug, Clone, Default)]
struct App {
    releases: Vec<Arc<Release>>,
    /// Builds that wait for their ref to move, by commit.
    staged: BTreeMap<String, Draft>,
    config: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
}

impl App {
    fn is_empty(&self) -> bool {
        self.releases.is_empty() && self.staged.is_empty() && self.config.is_empty() && self.secrets.is_empty()
    }

    fn artifacts(&self) -> impl Iterator<Item = Digest> {
        self.releases.iter().map(|release| release.artifact).chain(self.staged.values().map(|draft| draft.artifact))
    }

    fn names(&self, artifact: &Digest) -> bool {
        self.artifacts().any(|named| named == *artifact)
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    layout: Layout,
    apps: RwLock<BTreeMap<AppId, Arc<App>>>,
    /// Held by whoever writes to the disk.
    writing: Mutex<()>,
    kept: Mutex<Kept>,
    changed: watch::Sender<u64>,
}

impl Store {
    /// Reads what is below `dir` and clears away what a crash left there. One process at a time has it open.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        std::fs::create_dir_all(dir).map_err(|e| StoreError::io("create", dir, e))?;
        Store::open_on(Arc::new(FileSystem), dir)
    }

    fn open_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Store, StoreError> {
        let layout = Layout { root: dir.to_owned() };
        let apps_made = disk.create_dir(&layout.apps());
        apps_made.and_then(|()| ensure_dir(&*disk, dir, &layout.artifacts())).map_err(|e| StoreError::io("create", dir, e))?;
        let apps = load::apps(&*disk, &layout)?;
        load::collect_garbage(&*disk, &layout, &apps)?;
        let (apps, writing, changed) = (RwLock::new(apps), Mutex::new(()), watch::Sender::new(0));
        Ok(Store { inner: Arc::new(Inner { disk, layout, apps, writing, kept: Mutex::default(), changed }) })
    }

    /// Grows with every change that a reconciler must look at: releases, config, secrets, deleted apps.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    // --- artifacts

    /// Keeps a component until a release or a staged build names it; [`Store::discard`] gives it up.
    pub fn put_artifact(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let path = self.artifact_path(&digest);
        let _writing = self.inner.writing.lock();
        // It may be there already; written again, it is certainly whole and synced.
        self.replace(&path, bytes, false)?;
        self.inner.kept.lock().add(digest);
        Ok(digest)
    }

    /// Where the builder keeps the logs of an app's builds. They go with the app.
    pub fn builds_dir(&self, app: &AppId) -> PathBuf {
        self.inner.layout.app(app).join("builds")
    }

    pub fn artifact_path(&self, digest: &Digest) -> PathBuf {
        self.inner.layout.artifact(digest)
    }

    /// The component, checked against its digest.
    pub fn artifact(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.artifact_path(digest);
        let bytes = self.inner.disk.read(&path).map_err(|e| StoreError::io("read", &path, e))?;
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(StoreError::Corrupt { path, why: format!("its content has the digest {found}") }),
        }
    }

    /// Where the compiled form of an artifact is, if it was kept ([`Store::put_cache`]).
    pub fn cache_path(&self, digest: &Digest, compatibility: &str) -> PathBuf {
        self.inner.layout.cache(digest, compatibility)
    }

    /// Keeps the compiled form of an artifact for engines of this compatibility.
    pub fn put_cache(&self, digest: &Digest, compatibility: &str, code: &[u8]) -> Result<PathBuf, StoreError> {
        let path = self.cache_path(digest, compatibility);
        let _writing = self.inner.writing.lock();
        self.replace(&path, code, false)?;
        Ok(path)
    }

    /// Removes compiled forms that belong to another engine.
    pub fn drop_other_caches(&self, compatibility: &str) -> Result<(), StoreError> {
        let (dir, ours) = (self.inner.layout.artifacts(), format!(".{}.cwasm", layout::plain(compatibility)));
        let _writing = self.inner.writing.lock();
        let files = self.inner.disk.list(&dir).map_err(|e| StoreError::io("list", &dir, e))?;
        for file in files.iter().filter(|file| file.ends_with(".cwasm") && !file.ends_with(&ours)) {
            let path = dir.join(file);
            self.inner.disk.remove(&path).map_err(|e| StoreError::io("remove", &path, e))?;
        }
        Ok(())
    }

    // --- releases

    /// Apps with a release, or with config or secrets set ahead of their first one.
    pub fn apps(&self) -> Vec<AppId> {
        self.inner.apps.read().iter().filter(|(_, app)| !app.is_empty()).map(|(id, _)| id.clone()).collect()
    }

    /// Ascending by number; the last one is current.
    pub fn releases(&self, app: &AppId) -> Vec<Arc<Release>> {
        self.app(app).releases.clone()
    }

    pub fn release(&self, app: &AppId, number: u64) -> Option<Arc<Release>> {
        self.app(app).releases.iter().find(|release| release.number == number).cloned()
    }

    pub fn current(&self, app: &AppId) -> Option<Arc<Release>> {
        self.app(app).releases.last().cloned()
    }

    /// Gives the draft the next number and makes it the current release.
    pub fn add_release(&self, app: &AppId, draft: Draft) -> Result<Arc<Release>, StoreError> {
        let _writing = self.inner.writing.lock();
        let artifact = draft.artifact;
        let added = self.add_release_locked(app, draft)?;
        self.inner.kept.lock().named(&artifact);
        Ok(added)
    }

    /// A new release of an old one's artifact and manifest.
    pub fn rollback(&self, app: &AppId, to: u64, now: Micros) -> Result<Arc<Release>, StoreError> {
        let _writing = self.inner.writing.lock();
        let old = self.release(app, to).ok_or_else(|| StoreError::NoRelease { app: app.clone(), number: to })?;
        let Release { artifact, manifest, commit, summary, .. } = (*old).clone();
        self.add_release_locked(app, Draft { artifact, manifest, commit, summary, created: now, rollback_of: Some(to) })
    }

    fn add_release_locked(&self, app: &AppId, draft: Draft) -> Result<Arc<Release>, StoreError> {
        let mut state = (*self.app(app)).clone();
        let number = state.releases.last().map_or(0, |release| release.number) + 1;
        let Draft { artifact, manifest, commit, summary, created, rollback_of } = draft;
        let release = Arc::new(Release { number, artifact, manifest, commit, summary, created, rollback_of });
        let path = self.inner.layout.release(app, number);
        self.make_dir(app, RELEASES)?;
        self.replace_json(&path, &*release, false)?;
        // This rename is the moment of the release; without it, the next start removes the file above.
        self.replace(&self.inner.layout.app(app).join(CURRENT), format!("{number}\n").as_bytes(), false)?;
        state.releases.push(release.clone());
        let old: Vec<Arc<Release>> = state.releases.drain(..state.releases.len().saturating_sub(RELEASES_KEPT_MAX)).collect();
        self.set(app, state);
        for old in &old {
            self.forget(&self.inner.layout.release(app, old.number));
        }
        self.collect_from(&self.inner.layout.app(app).join(RELEASES), old.iter().map(|old| old.artifact));
        Ok(release)
    }

    // --- builds whose ref has not moved yet

    /// Keeps a finished build until its ref has moved. Its artifact is not collected meanwhile.
    pub fn stage(&self, app: &AppId, draft: Draft) -> Result<(), StoreError> {
        let _writing = self.inner.writing.lock();
        let mut state = (*self.app(app)).clone();
        self.make_dir(app, STAGED)?;
        self.replace_json(&self.inner.layout.staged(app, &draft.commit), &draft, false)?;
        let artifact = draft.artifact;
        state.staged.insert(draft.commit.clone(), draft);
        self.inner.apps.write().insert(app.clone(), Arc::new(state));
        self.inner.kept.lock().named(&artifact);
        Ok(())
    }

    pub fn staged(&self, app: &AppId) -> Vec<Draft> {
        self.app(app).staged.values().cloned().collect()
    }

    /// Releases the build staged for `commit`; `None` when there is none. A build that was released before a crash could
    /// tidy up is not released again.
    pub fn release_staged(&self, app: &AppId, commit: &str) -> Result<Option<Arc<Release>>, StoreError> {
        let _writing = self.inner.writing.lock();
        let state = self.app(app);
        let Some(draft) = state.staged.get(commit).cloned() else { return Ok(None) };
        let done = state.releases.iter().find(|release| release.commit == draft.commit && release.created == draft.created).cloned();
        let release = match done {
            Some(release) => release,
            None => self.add_release_locked(app, draft)?,
        };
        self.unstage_locked(app, commit);
        Ok(Some(release))
    }

    /// Drops a build whose ref did not move.
    pub fn unstage(&self, app: &AppId, commit: &str) {
        let _writing = self.inner.writing.lock();
        self.unstage_locked(app, commit);
    }

    fn unstage_locked(&self, app: &AppId, commit: &str) {
        let mut state = (*self.app(app)).clone();
        if let Some(draft) = state.staged.remove(commit) {
            self.forget(&self.inner.layout.staged(app, commit));
            self.inner.apps.write().insert(app.clone(), Arc::new(state));
            self.collect_from(&self.inner.layout.app(app).join(STAGED), [draft.artifact]);
        }
    }

    // --- config and secrets

    /// What the operator has set, without the manifest's defaults.
    pub fn config(&self, app: &AppId) -> BTreeMap<String, String> {
        self.app(app).config.clone()
    }

    /// The manifest's defaults with what the operator has set over them: what a function reads.
    pub fn effective_config(&self, app: &AppId) -> BTreeMap<String, String> {
        let state = self.app(app);
        let mut config = state.releases.last().map(|release| release.manifest.config.clone()).unwrap_or_default();
        config.extend(state.config.clone());
        config
    }

    /// `None` takes the entry away.
    pub fn set_config(&self, app: &AppId, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        self.set_entry(app, CONFIG, key, value)
    }

    pub fn secrets(&self, app: &AppId) -> BTreeMap<String, String> {
        self.app(app).secrets.clone()
    }

    /// `None` takes the secret away.
    pub fn set_secret(&self, app: &AppId, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        self.set_entry(app, SECRETS, key, value)
    }

    fn set_entry(&self, app: &AppId, file: &'static str, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        manifest::check_key(key).map_err(StoreError::Invalid)?;
        if let Some(long) = value.filter(|value| value.len() > CONFIG_VALUE_BYTES_MAX) {
            let message = format!("the value of `{key}` has {} bytes, {CONFIG_VALUE_BYTES_MAX} are allowed", long.len());
            return Err(StoreError::Invalid(message));
        }
        let _writing = self.inner.writing.lock();
        let mut state = (*self.app(app)).clone();
        let private = file == SECRETS;
        let entries = if private { &mut state.secrets } else { &mut state.config };
        match value {
            Some(value) => entries.insert(key.to_owned(), value.to_owned()),
            None => entries.remove(key),
        };
        if entries.len() > manifest::CONFIG_ENTRIES_MAX {
            let message = format!("`{key}` would be one more than the {} entries allowed", manifest::CONFIG_ENTRIES_MAX);
            return Err(StoreError::Invalid(message));
        }
        let entries = entries.clone();
        self.make_dir(app, "")?;
        self.replace_json(&self.inner.layout.app(app).join(file), &Entries { entries }, private)?;
        self.set(app, state);
        Ok(())
    }

    // --- the end of an app

    /// Forgets releases, config and secrets, and artifacts that nobody else needs.
    pub fn delete_app(&self, app: &AppId) -> Result<(), StoreError> {
        let _writing = self.inner.writing.lock();
        if !self.inner.apps.read().contains_key(app) {
            return Err(StoreError::NoApp(app.clone()));
        }
        let dir = self.inner.layout.app(app);
        // From here on it is deleted, even if the node stops before the rest is gone.
        self.replace(&dir.join(DELETED), b"", false)?;
        let gone = self.inner.apps.write().remove(app);
        self.inner.changed.send_modify(|n| *n += 1);
        load::remove_app(&*self.inner.disk, &dir)?;
        self.collect_locked(gone.iter().flat_map(|gone| gone.artifacts()));
        Ok(())
    }

    // --- within

    fn app(&self, app: &AppId) -> Arc<App> {
        self.inner.apps.read().get(app).cloned().unwrap_or_default()
    }

    fn set(&self, app: &AppId, state: App) {
        self.inner.apps.write().insert(app.clone(), Arc::new(state));
        self.inner.changed.send_modify(|n| *n += 1);
    }

    fn make_dir(&self, app: &AppId, below: &str) -> Result<(), StoreError> {
        let (disk, dir) = (&*self.inner.disk, self.inner.layout.app(app));
        // An app of this name may have been deleted, but not altogether.
        if !self.inner.apps.read().contains_key(app) && load::is_deleted(disk, &dir)? {
            load::remove_app(disk, &dir)?;
        }
        ensure_dir(disk, &self.inner.layout.apps(), &dir.join(below)).map_err(|e| StoreError::io("create", &dir, e))
    }

    fn replace(&self, path: &Path, bytes: &[u8], private: bool) -> Result<(), StoreError> {
        replace(&*self.inner.disk, path, bytes, private).map_err(|e| StoreError::io("write", path, e))
    }

    fn replace_json<T: Serialize>(&self, path: &Path, body: &T, private: bool) -> Result<(), StoreError> {
        let bytes = layout::write(body).map_err(|e| StoreError::io("write", path, e.into()))?;
        self.replace(path, &bytes, private)
    }

    /// Collects what files in `dir` named that are gone now. A file that came back without its artifact would be one that lies.
    fn collect_from(&self, dir: &Path, artifacts: impl IntoIterator<Item = Digest>) {
        let garbage: Vec<Digest> =
            artifacts.into_iter().filter(|digest| !self.inner.apps.read().values().any(|app| app.names(digest))).collect();
        if garbage.is_empty() {
            return;
        }
        match self.inner.disk.sync_dir(dir) {
            Ok(()) => self.collect_locked(garbage),
            Err(error) => tracing::warn!(path = %dir.display(), %error, "artifacts that are no longer needed stay until the next start"),
        }
    }

    /// Removes a file that does no harm if it comes back.
    fn forget(&self, path: &Path) {
        if let Err(error) = self.inner.disk.remove(path) {
            tracing::warn!(path = %path.display(), %error, "could not remove a file that is no longer needed");
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
