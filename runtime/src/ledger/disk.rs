//! Where the view lies: a file, or in tests a disk that loses power or runs full.

use super::LedgerError;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// The file of the view inside the ledger's directory.
pub(super) const FILE: &str = "ledger.redb";

pub(super) trait Disk: Send + Sync + 'static {
    /// Opens the database, repairs it if need be, makes it if there is none. Called again after every failed write.
    fn open(&self) -> Result<redb::Database, LedgerError>;
    /// Room left for ordinary users.
    fn free_bytes(&self) -> Result<u64, LedgerError>;
}

pub(super) struct FileDisk {
    path: PathBuf,
    cache_bytes: usize,
}

impl FileDisk {
    pub(super) fn new(dir: &Path, cache_bytes: usize) -> Result<FileDisk, LedgerError> {
        fs::create_dir_all(dir).map_err(|e| LedgerError::file("make the directory", dir, e))?;
        Ok(FileDisk { path: dir.join(FILE), cache_bytes })
    }

    fn builder(&self) -> redb::Builder {
        let mut builder = redb::Database::builder();
        builder.set_cache_size(self.cache_bytes);
        builder
    }

    /// A database appears under its name only when it is whole: a crash in the middle must not leave half a header.
    fn create(&self) -> Result<(), LedgerError> {
        let new = self.path.with_extension("new");
        if let Err(error) = fs::remove_file(&new)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(LedgerError::file("remove", &new, error));
        }
        drop(self.builder().create(&new).map_err(|e| LedgerError::storage("make the ledger's file", e.into()))?);
        sync_file(&new)?;
        fs::rename(&new, &self.path).map_err(|e| LedgerError::file("rename", &new, e))?;
        sync_dir_of(&self.path)
    }
}

impl Disk for FileDisk {
    fn open(&self) -> Result<redb::Database, LedgerError> {
        if !self.path.exists() {
            self.create()?;
        }
        self.builder().open(&self.path).map_err(|e| LedgerError::storage("open the ledger's file", e.into()))
    }

    fn free_bytes(&self) -> Result<u64, LedgerError> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let found = rustix::fs::statvfs(dir).map_err(|e| LedgerError::file("ask for the free space of", dir, e.into()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

pub(super) fn sync_file(path: &Path) -> Result<(), LedgerError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| LedgerError::file("sync", path, e))
}

/// A new name lasts only once its directory is synced.
pub(super) fn sync_dir_of(path: &Path) -> Result<(), LedgerError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_file(dir)
}
