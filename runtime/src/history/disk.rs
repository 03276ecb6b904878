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

/// The real one, or the one of the tests, which forgets what was not synced.
///
/// As on any POSIX file system, a name that was made, moved or removed is there for good only once its directory is synced.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    fn root(&self) -> Box<dyn Directory>;
    fn names(&self) -> io::Result<Vec<String>>;
    fn create(&self, name: &str) -> io::Result<()>;
    fn open(&self, name: &str) -> io::Result<Box<dyn Directory>>;
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

/// A partition's directory whose `meta.json`, once replaced, stays replaced.
///
/// Tantivy syncs the directory before it moves a new `meta.json` over the old one, not after: a power cut could bring the
/// old one back. That commit was reported, and the position file may have moved on because of it.
#[derive(Debug, Clone)]
pub(crate) struct Durable(pub Arc<dyn Directory>);

impl Directory for Durable {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.0.get_file_handle(path)
    }

    fn open_read(&self, path: &Path) -> Result<FileSlice, OpenReadError> {
        self.0.open_read(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.0.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.0.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        self.0.open_write(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.0.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.0.atomic_write(path, data)?;
        if path == Path::new("meta.json") { self.0.sync_directory() } else { Ok(()) }
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.0.sync_directory()
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        self.0.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.0.watch(callback)
    }
}
