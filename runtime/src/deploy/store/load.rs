//! What is found at open, and what a crash left behind there.

use super::{
    App, StoreError,
    disk::{Disk, is_leftover},
    layout::{self, CONFIG, CURRENT, DELETED, Layout, RELEASES, SECRETS, STAGED},
};
use crate::model::{AppId, Release};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

/// Every app on the disk. What was never finished is removed: nobody was told that it had happened.
pub fn apps(disk: &dyn Disk, layout: &Layout) -> Result<BTreeMap<AppId, Arc<App>>, StoreError> {
    let mut apps = BTreeMap::new();
    for tenant in list(disk, &layout.apps())? {
        for name in list(disk, &layout.apps().join(&tenant))? {
            let Some(id) = layout::app_of(&tenant, &name) else { continue };
            let dir = layout.app(&id);
            if is_deleted(disk, &dir)? {
                remove_app(disk, &dir)?;
                continue;
            }
            let app = app(disk, layout, &id)?;
            // The builder keeps logs beside; a directory with nothing else is of an app that never was.
            if !app.is_empty() {
                apps.insert(id, Arc::new(app));
            }
        }
    }
    Ok(apps)
}

pub fn is_deleted(disk: &dyn Disk, dir: &Path) -> Result<bool, StoreError> {
    Ok(list(disk, dir)?.iter().any(|file| file == DELETED))
}

/// Goes on removing an app that is marked as deleted. The mark goes last: without it the rest would be an app again.
pub fn remove_app(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    for file in list(disk, dir)?.iter().filter(|file| *file != DELETED) {
        let path = dir.join(file);
        disk.remove(&path).map_err(|e| StoreError::io("remove", &path, e))?;
    }
    // The directory itself may come back after a crash: with the mark in it, it is removed again.
    disk.sync_dir(dir).and_then(|()| disk.remove(dir)).map_err(|e| StoreError::io("remove", dir, e))
}

fn app(disk: &dyn Disk, layout: &Layout, id: &AppId) -> Result<App, StoreError> {
    let dir = layout.app(id);
    settle(disk, &dir)?;
    let current = read(disk, &dir.join(CURRENT), layout::read_current)?;
    let releases = releases(disk, layout, id, current.unwrap_or(0))?;
    let mut app = App { releases, ..App::default() };
    app.config = read(disk, &dir.join(CONFIG), layout::read_entries)?.unwrap_or_default();
    app.secrets = read(disk, &dir.join(SECRETS), layout::read_entries)?.unwrap_or_default();
    settle(disk, &dir.join(STAGED))?;
    for file in list(disk, &dir.join(STAGED))? {
        let draft = read(disk, &dir.join(STAGED).join(&file), layout::read_draft)?;
        app.staged.extend(draft.map(|draft| (draft.commit.clone(), draft)));
    }
    Ok(app)
}

fn releases(disk: &dyn Disk, layout: &Layout, id: &AppId, current: u64) -> Result<Vec<Arc<Release>>, StoreError> {
    let dir = layout.app(id).join(RELEASES);
    settle(disk, &dir)?;
    let number = |file: &String| file.strip_suffix(".json").and_then(|stem| stem.parse::<u64>().ok());
    let numbers: BTreeSet<u64> = list(disk, &dir)?.iter().filter_map(number).collect();
    let corrupt = |why: String| StoreError::Corrupt { path: dir.clone(), why };
    if current > 0 && !numbers.contains(&current) {
        return Err(corrupt(format!("release {current} is the current one, but it is not there")));
    }
    if let Some(beyond) = numbers.iter().find(|n| **n > current + 1) {
        return Err(corrupt(format!("release {beyond} is there, but {current} is the current one and the newest")));
    }
    let mut releases = Vec::new();
    for n in numbers {
        let path = layout.release(id, n);
        if n > current {
            // Written, but the node stopped before it became the current one.
            disk.remove(&path).map_err(|e| StoreError::io("remove", &path, e))?;
            continue;
        }
        match read(disk, &path, layout::read_release) {
            Ok(release) => releases.extend(release.map(Arc::new)),
            Err(e) if n == current => return Err(e),
            Err(e) => tracing::error!(app = %id, release = n, error = %e, "an old release can't be read; nobody can roll back to it"),
        }
    }
    Ok(releases)
}

/// Removes files that were never finished, and makes the others durable: a killed node may have left names that are visible but
/// not synced, and what is acted on now must not go back later.
fn settle(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let files = list(disk, dir)?;
    for file in files.iter().filter(|file| is_leftover(file)) {
        let path = dir.join(file);
        disk.remove(&path).map_err(|e| StoreError::io("remove", &path, e))?;
    }
    if files.is_empty() { Ok(()) } else { disk.sync_dir(dir).map_err(|e| StoreError::io("sync", dir, e)) }
}

/// Removes artifacts that no release and no staged build needs, and files that were never finished.
pub fn collect_garbage(disk: &dyn Disk, layout: &Layout, apps: &BTreeMap<AppId, Arc<App>>) -> Result<(), StoreError> {
    let released = apps.values().flat_map(|app| app.releases.iter().map(|release| release.artifact));
    let staged = apps.values().flat_map(|app| app.staged.values().map(|draft| draft.artifact));
    let needed: BTreeSet<String> = released.chain(staged).map(|digest| digest.hex()).collect();
    let dir = layout.artifacts();
    for file in list(disk, &dir)? {
        let stem = file.split('.').next().unwrap_or_default();
        if !needed.contains(stem) {
            let path = dir.join(&file);
            disk.remove(&path).map_err(|e| StoreError::io("remove", &path, e))?;
        }
    }
    Ok(())
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, StoreError> {
    disk.list(dir).map_err(|e| StoreError::io("list", dir, e))
}

/// `None` when there is no such file.
fn read<T>(disk: &dyn Disk, path: &Path, parse: impl Fn(&Path, &[u8]) -> Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match disk.read(path) {
        Ok(bytes) => parse(path, &bytes).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("read", path, e)),
    }
}
