//! Where a ledger lies: files in a directory, or in tests a disk that loses power or runs full.

use super::LedgerError;
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The file of the view inside the ledger's directory.
pub(super) const FILE: &str = "ledger.redb";
/// The directory of the journal inside it, and what its segments are called.
const JOURNAL: &str = "journal";
const SEGMENT_SUFFIX: &str = ".journal";
/// Written at once when a segment is filled with zeros.
const ZEROS_BYTES: usize = 256 * 1024;

pub(super) trait Disk: Send + Sync + 'static {
    /// Opens the database, repairs it if need be, makes it if there is none. Called again after every failed write.
    fn open(&self) -> Result<redb::Database, LedgerError>;
    /// Room left for ordinary users.
    fn free_bytes(&self) -> Result<u64, LedgerError>;
    /// The numbers of the journal's segments, ascending.
    fn segments(&self) -> Result<Vec<u64>, LedgerError>;
    fn segment(&self, number: u64) -> Result<Arc<dyn Segment>, LedgerError>;
    /// A segment of zeros whose room on the disk is its own from here on. It is there, durably, or it is not.
    fn make_segment(&self, number: u64, bytes: u64) -> Result<Arc<dyn Segment>, LedgerError>;
    /// Durable when it returns; what the segment holds stays.
    fn rename_segment(&self, from: u64, to: u64) -> Result<Arc<dyn Segment>, LedgerError>;
    /// Perhaps not durable: a power cut may bring it back.
    fn remove_segment(&self, number: u64) -> Result<(), LedgerError>;
    /// Passes the time between two tries at something that has failed.
    fn wait(&self, time: Duration) {
        pause(time);
    }
}

pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A file of a fixed length that is written from its beginning to its end.
pub(super) trait Segment: Send + Sync {
    fn len(&self) -> Result<u64, LedgerError>;
    /// All of `into`, or an error.
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LedgerError>;
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), LedgerError>;
    fn sync(&self) -> Result<(), LedgerError>;
}

pub(super) struct FileDisk {
    database: PathBuf,
    journal: PathBuf,
    cache_bytes: usize,
}

struct FileSegment {
    file: File,
    path: PathBuf,
}

impl FileDisk {
    pub(super) fn new(dir: &Path, cache_bytes: usize) -> Result<FileDisk, LedgerError> {
        if !dir.exists() {
            fs::create_dir_all(dir).map_err(|e| LedgerError::file("make the directory", dir, e))?;
            // What is synced inside of it is lost all the same when its own name is.
            sync_dir_of(dir)?;
        }
        Ok(FileDisk { database: dir.join(FILE), journal: dir.join(JOURNAL), cache_bytes })
    }

    fn builder(&self) -> redb::Builder {
        let mut builder = redb::Database::builder();
        builder.set_cache_size(self.cache_bytes);
        builder
    }

    /// A database appears under its name only when it is whole: a crash in the middle must not leave half a header.
    fn create(&self) -> Result<(), LedgerError> {
        let new = self.database.with_extension("new");
        if let Err(error) = fs::remove_file(&new)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(LedgerError::file("remove", &new, error));
        }
        drop(self.builder().create(&new).map_err(|e| LedgerError::storage("make the ledger's file", e.into()))?);
        sync_file(&new)?;
        fs::rename(&new, &self.database).map_err(|e| LedgerError::file("rename", &new, e))?;
        sync_dir_of(&self.database)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.journal.join(format!("{number:012}{SEGMENT_SUFFIX}"))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), LedgerError> {
        fs::rename(from, to).map_err(|e| LedgerError::file("rename", from, e))?;
        sync_dir_of(to)
    }
}

impl Disk for FileDisk {
    fn open(&self) -> Result<redb::Database, LedgerError> {
        if !self.database.exists() {
            self.create()?;
        }
        self.builder().open(&self.database).map_err(|e| LedgerError::storage("open the ledger's file", e.into()))
    }

    fn free_bytes(&self) -> Result<u64, LedgerError> {
        let dir = self.database.parent().unwrap_or(Path::new("."));
        let found = rustix::fs::statvfs(dir).map_err(|e| LedgerError::file("ask for the free space of", dir, e.into()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn segments(&self) -> Result<Vec<u64>, LedgerError> {
        let failed = |e| LedgerError::file("list", &self.journal, e);
        let entries = match fs::read_dir(&self.journal) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            found.extend(name.to_str().and_then(|name| name.strip_suffix(SEGMENT_SUFFIX)?.parse::<u64>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    fn segment(&self, number: u64) -> Result<Arc<dyn Segment>, LedgerError> {
        let path = self.path(number);
        let file = File::options().read(true).write(true).open(&path);
        Ok(Arc::new(FileSegment { file: file.map_err(|e| LedgerError::file("open", &path, e))?, path }))
    }

    fn make_segment(&self, number: u64, bytes: u64) -> Result<Arc<dyn Segment>, LedgerError> {
        if !self.journal.exists() {
            fs::create_dir_all(&self.journal).map_err(|e| LedgerError::file("make the directory", &self.journal, e))?;
            sync_dir_of(&self.journal)?;
        }
        let new = self.journal.join("new");
        // Written rather than allocated: an allocated block that was never written makes the file system write its own
        // journal at each sync, which is what the zeros save us.
        let filled = File::create(&new).and_then(|mut file| {
            let zeros = [0; ZEROS_BYTES];
            let mut left = usize::try_from(bytes).map_err(std::io::Error::other)?;
            while left > 0 {
                let step = left.min(ZEROS_BYTES);
                file.write_all(&zeros[..step])?;
                left -= step;
            }
            file.sync_all()
        });
        if let Err(error) = filled {
            // Half a segment must not hold the room that is missing.
            let _ = fs::remove_file(&new);
            return Err(LedgerError::file("make", &new, error));
        }
        self.rename(&new, &self.path(number))?;
        self.segment(number)
    }

    fn rename_segment(&self, from: u64, to: u64) -> Result<Arc<dyn Segment>, LedgerError> {
        self.rename(&self.path(from), &self.path(to))?;
        self.segment(to)
    }

    fn remove_segment(&self, number: u64) -> Result<(), LedgerError> {
        let path = self.path(number);
        fs::remove_file(&path).map_err(|e| LedgerError::file("remove", &path, e))
    }
}

impl Segment for FileSegment {
    fn len(&self) -> Result<u64, LedgerError> {
        Ok(self.file.metadata().map_err(|e| LedgerError::file("ask for the size of", &self.path, e))?.len())
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LedgerError> {
        self.file.read_exact_at(into, offset).map_err(|e| LedgerError::file("read", &self.path, e))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), LedgerError> {
        self.file.write_all_at(bytes, offset).map_err(|e| LedgerError::file("write", &self.path, e))
    }

    fn sync(&self) -> Result<(), LedgerError> {
        self.file.sync_data().map_err(|e| LedgerError::file("sync", &self.path, e))
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
