//! The few things the store does with a disk, so that tests can take it away at any step.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

/// Two that run: the file system, and one in memory that forgets what was not synced (`sim.rs`).
pub trait Disk: Send + Sync {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Names in a directory; none when there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes one level; one that exists already is fine. Its name is durable after [`Disk::sync_dir`] of the parent.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes or replaces a file and syncs its content. Its name is durable after [`Disk::sync_dir`] of its directory.
    /// `private`: nobody but the node's own user may read it.
    fn write_synced(&self, path: &Path, bytes: &[u8], private: bool) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// A file or a whole directory; one that is not there is fine.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes names in `dir` that came, went or changed durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

#[derive(Debug)]
pub struct FileSystem;

impl Disk for FileSystem {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        // A name that is not UTF-8 is none of ours.
        entries.filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose()).collect()
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            made => made,
        }
    }

    fn write_synced(&self, path: &Path, bytes: &[u8], private: bool) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, if private { 0o600 } else { 0o644 });
        let mut file = options.open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(e) => Err(e),
        };
        match removed {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }
}

/// Where a file is written before it takes its name. A crash leaves it behind; [`is_leftover`] finds it.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

pub fn is_leftover(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}

/// After it returns, `path` has this content whatever happens; before, it has the old one or this, never a part.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], private: bool) -> io::Result<()> {
    let (temporary, dir) = (temporary(path), path.parent().unwrap_or(Path::new(".")));
    let renamed = disk.write_synced(&temporary, bytes, private).and_then(|()| disk.rename(&temporary, path));
    if let Err(e) = renamed {
        // The next attempt would replace it anyway, but a full disk needs the room now.
        let _ = disk.remove(&temporary);
        return Err(e);
    }
    disk.sync_dir(dir)
}

/// `dir` below `root`, every level of it made and durable. A level found there may be one that a crash left without a sync,
/// so the way down is synced even where nothing is made.
pub fn ensure_dir(disk: &dyn Disk, root: &Path, dir: &Path) -> io::Result<()> {
    let mut at = root.to_owned();
    for level in dir.strip_prefix(root).unwrap_or(dir).components() {
        let parent = at.clone();
        at.push(level);
        disk.create_dir(&at)?;
        disk.sync_dir(&parent)?;
    }
    Ok(())
}
