//! Artifacts that nobody needs any more go when the last one that needed them does; what a crash leaves goes at the next start.

use super::{Store, disk::Disk};
use crate::model::Digest;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// What keeps an artifact that no release and no staged build names.
#[derive(Default)]
pub(super) struct Kept {
    /// Written, and about to be named: how many times.
    fresh: BTreeMap<Digest, u32>,
    /// Readers that go through the names first and the artifacts after.
    holds: u32,
    /// Not needed any more, but somebody may be reading.
    waiting: BTreeSet<Digest>,
}

impl Kept {
    pub fn add(&mut self, digest: Digest) {
        *self.fresh.entry(digest).or_default() += 1;
    }

    pub fn named(&mut self, digest: &Digest) {
        if let Some(count) = self.fresh.get_mut(digest) {
            *count -= 1;
            if *count == 0 {
                self.fresh.remove(digest);
            }
        }
    }
}

/// While it lives no artifact is removed: for whoever reads the store's files as they are.
pub struct Hold(Store);

impl Store {
    pub fn hold(&self) -> Hold {
        // Whoever collects has this lock: what is going on now is over when it is had.
        let _writing = self.inner.writing.lock();
        self.inner.kept.lock().holds += 1;
        Hold(self.clone())
    }

    /// Gives up an artifact that was written and will not be named: its build was refused.
    pub fn discard(&self, digest: &Digest) {
        let _writing = self.inner.writing.lock();
        self.inner.kept.lock().named(digest);
        self.collect_locked([*digest]);
    }

    /// Removes those of the artifacts that nothing needs. Whoever calls it has made durable that they are not named.
    pub(super) fn collect_locked(&self, candidates: impl IntoIterator<Item = Digest>) {
        let garbage = {
            let (apps, mut kept) = (self.inner.apps.read(), self.inner.kept.lock());
            let named = |digest: &Digest| apps.values().any(|app| app.names(digest));
            let garbage: BTreeSet<Digest> = candidates.into_iter().filter(|d| !kept.fresh.contains_key(d) && !named(d)).collect();
            if kept.holds > 0 {
                kept.waiting.extend(garbage);
                return;
            }
            garbage
        };
        if garbage.is_empty() {
            return;
        }
        let dir = self.inner.layout.artifacts();
        if let Err(error) = remove(&*self.inner.disk, &dir, &garbage) {
            tracing::warn!(path = %dir.display(), %error, "artifacts that are no longer needed stay until the next start");
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let store = &self.0;
        let _writing = store.inner.writing.lock();
        let waiting = {
            let mut kept = store.inner.kept.lock();
            kept.holds -= 1;
            if kept.holds == 0 { std::mem::take(&mut kept.waiting) } else { BTreeSet::new() }
        };
        store.collect_locked(waiting);
    }
}

/// The components and their compiled forms.
fn remove(disk: &dyn Disk, dir: &Path, garbage: &BTreeSet<Digest>) -> std::io::Result<()> {
    let stems: BTreeSet<String> = garbage.iter().map(Digest::hex).collect();
    for file in disk.list(dir)?.iter().filter(|file| file.split('.').next().is_some_and(|stem| stems.contains(stem))) {
        disk.remove(&dir.join(file))?;
    }
    Ok(())
}
