//! What the history asks of a disk: a root with the position file, and one directory for each partition.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tantivy::{
    Directory,
    directory::{
        DirectoryLock, FileHandle, FileSlice, Lock, MmapDirectory, WatchCallback, WatchHandle, WritePtr,
        error::{DeleteError, LockError, OpenDirectoryError, OpenReadError, OpenWriteError},
    },
};

/// Tantivy's list of the files that it made.
const LIST: &str = ".managed.json";
const LOCKS: [&str; 2] = [".tantivy-writer.lock", ".tantivy-meta.lock"];
/// How the names of files begin that are written to replace another one.
const TEMPORARY: &str = ".tmp";

/// The real one, or the one of the tests, which forgets what was not synced.
///
/// As on any POSIX file system, a name that was made, moved or removed is there for good only once its directory is synced.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    fn root(&self) -> Box<dyn Directory>;
    fn names(&self) -> io::Result<Vec<String>>;
    fn create(&self, name: &str) -> io::Result<()>;
    fn open(&self, name: &str) -> io::Result<Box<dyn Directory>>;
    /// Names of the files in one directory.
    fn files(&self, name: &str) -> io::Result<Vec<String>>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
}

#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    root: MmapDirectory,
}

impl Folder {
    pub fn open(path: &Path) -> io::Result<Folder> {
        fs::create_dir_all(path)?;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // What was written to take the place of the position file, when a crash came between.
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Folder { path: path.to_owned(), root: MmapDirectory::open(path).map_err(into_io)? })
    }
}

impl Disk for Folder {
    fn root(&self) -> Box<dyn Directory> {
        Box::new(self.root.clone())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = vec![];
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<()> {
        fs::create_dir_all(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Directory>> {
        Ok(Box::new(MmapDirectory::open(self.path.join(name)).map_err(into_io)?))
    }

    fn files(&self, name: &str) -> io::Result<Vec<String>> {
        fs::read_dir(self.path.join(name))?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_dir_all(self.path.join(name))
    }
}

fn into_io(error: OpenDirectoryError) -> io::Error {
    io::Error::other(error)
}

/// A partition's directory as Tantivy sees it, with two things set right.
///
/// Its `meta.json`, once replaced, stays replaced. Tantivy syncs the directory before it moves a new `meta.json` over the
/// old one, not after: a power cut could bring the old one back. That commit was reported, and the position file may
/// have moved on because of it.
///
/// Its list of files is what is there. Tantivy writes and syncs that list (`.managed.json`) before it makes a file, to
/// find what a crash left over; for a segment of seven files this is half of all syncs, and on a memory card half of the time.
#[derive(Debug, Clone)]
pub(crate) struct Partitioned {
    directory: Arc<dyn Directory>,
    files: Arc<Vec<String>>,
}

impl Partitioned {
    pub fn open(disk: &dyn Disk, name: &str) -> io::Result<Partitioned> {
        let mut files = disk.files(name)?;
        files.retain(|file| !LOCKS.contains(&file.as_str()));
        Ok(Partitioned { directory: disk.open(name)?.into(), files: Arc::new(files) })
    }
}

impl Directory for Partitioned {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.directory.get_file_handle(path)
    }

    fn open_read(&self, path: &Path) -> Result<FileSlice, OpenReadError> {
        self.directory.open_read(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.directory.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.directory.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        self.directory.open_write(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        if path == Path::new(LIST) {
            return serde_json::to_vec(&*self.files).map_err(|e| OpenReadError::wrap_io_error(e.into(), path.to_owned()));
        }
        self.directory.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        if path == Path::new(LIST) {
            return Ok(());
        }
        self.directory.atomic_write(path, data)?;
        if path == Path::new("meta.json") { self.directory.sync_directory() } else { Ok(()) }
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_directory()
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        self.directory.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.directory.watch(callback)
    }
}
