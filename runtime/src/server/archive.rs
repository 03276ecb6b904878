//! A node in a tar archive, and back. The layout is that of the data folder (`docs/formats/backup.md`).
//!
//! What follows the log is copied before the log itself: restored, it is behind, and catches up. The other way round it
//! would take the next events for ones it has had.

use crate::{
    clock,
    deploy::{Hold, Store},
    devices::{Devices, DevicesError},
    history::{History, HistoryError},
    ledger::{Ledger, LedgerError},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};
use tempfile::TempDir;

/// The first entry says what it is, the last one that it is whole.
const HEAD: &str = "tawi-backup.json";
const END: &str = "tawi-backup.end";
const FORMAT: u32 = 1;
/// Copied as they are. In each folder files go before folders, so that what names something is copied before it: a
/// release before its artifact, a ref before its objects. What is made meanwhile is then only more than is named.
const FOLDERS: [&str; 3] = ["apps", "git", "artifacts"];
const FILES: [&str; 2] = ["tokens.json", "secret.json"];
/// Made again from what is there: an engine's compiled artifacts, and files that take another one's place.
const LEFT_OUT: [&str; 3] = [".cwasm", ".lock", ".tmp"];
const TEMPORARY: [&str; 3] = [".new-", ".tmp", ".backup-"];

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    version: String,
    created: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("can't {doing} `{}`", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("can't copy the ledger")]
    Ledger(#[from] LedgerError),
    #[error("can't copy the history")]
    History(#[from] HistoryError),
    #[error("can't copy the devices")]
    Devices(#[from] DevicesError),
    #[error("can't read the archive")]
    Read(#[source] io::Error),
    #[error("this is not a backup of a Tawi node")]
    NotOurs,
    #[error("the backup has format {0}, this version reads {FORMAT}")]
    Format(u32),
    #[error("the backup is not whole: it broke off when it was made or copied")]
    BrokenOff,
    #[error("`{}` in the archive is a link or would be written outside of the folder", .0.display())]
    Outside(PathBuf),
    #[error("`{}` is not empty", .0.display())]
    NotEmpty(PathBuf),
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    move |source| ArchiveError::Io { doing, path: path.to_owned(), source }
}

/// A consistent copy of what changes by itself, beside the node's data until it is written out.
pub struct Copy {
    data: PathBuf,
    /// A release that was copied has its artifact still when the artifacts are.
    _hold: Hold,
    copied: TempDir,
}

impl Copy {
    /// Blocks for about as long as writing the ledger takes.
    pub fn take(data: &Path, store: &Store, ledger: &Ledger, history: &History, devices: &Devices) -> Result<Copy, ArchiveError> {
        // On the same disk, for the links.
        let copied = tempfile::Builder::new()
            .prefix(".backup-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(data)
            .map_err(io_error("make a folder in", data))?;
        let place = |name: &str| -> Result<PathBuf, ArchiveError> {
            let dir = copied.path().join(name);
            fs::create_dir(&dir).map_err(io_error("make", &dir))?;
            Ok(dir)
        };
        devices.backup(&place("devices")?)?;
        let to = place("history")?;
        let from = data.join("history");
        history.at_rest(|| link(&from, &to))?.map_err(io_error("copy", &from))?;
        ledger.backup(&place("ledger")?.join(Ledger::FILE))?;
        Ok(Copy { data: data.to_owned(), _hold: store.hold(), copied })
    }

    /// Writes the archive. Blocks.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(to);
        tar.mode(tar::HeaderMode::Complete);
        tar.follow_symlinks(false);
        let head = Head { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned(), created: clock::now().to_string() };
        small(&mut tar, HEAD, &serde_json::to_vec(&head)?)?;
        for name in ["ledger", "history", "devices"] {
            append(&mut tar, &self.copied.path().join(name), Path::new(name))?;
        }
        for name in FILES {
            append(&mut tar, &self.data.join(name), Path::new(name))?;
        }
        for name in FOLDERS {
            append(&mut tar, &self.data.join(name), Path::new(name))?;
        }
        small(&mut tar, END, b"")?;
        tar.finish()
    }
}

/// Hard links: the files of the history are never written to again, only replaced.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            link(&entry.path(), &target)?;
        } else if fs::hard_link(entry.path(), &target).is_err() {
            // A file system without links.
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn small(tar: &mut tar::Builder<impl Write>, name: &str, contents: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(contents.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(u64::try_from(clock::now().0 / 1_000_000).unwrap_or(0));
    tar.append_data(&mut header, name, contents)
}

/// A file or folder of a node that goes on: what vanishes in the meantime was no longer needed.
fn append(tar: &mut tar::Builder<impl Write>, from: &Path, name: &Path) -> io::Result<()> {
    let vanished = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    let kind = match from.symlink_metadata() {
        Ok(metadata) => metadata.file_type(),
        Err(e) if vanished(&e) => return Ok(()),
        Err(e) => return Err(e),
    };
    if kind.is_file() {
        // Held open, so that its size is that of what is read, whatever takes its name meanwhile.
        return match File::open(from).and_then(|mut file| tar.append_file(name, &mut file)) {
            Err(e) if vanished(&e) => Ok(()),
            done => done,
        };
    }
    if !kind.is_dir() {
        // A node makes no links; what somebody else put there is not its state.
        return Ok(());
    }
    tar.append_dir(name, from)?;
    let mut entries = fs::read_dir(from)?.filter_map(Result::ok).collect::<Vec<_>>();
    entries.sort_by_key(|entry| (entry.file_type().is_ok_and(|kind| kind.is_dir()), before_objects(entry), entry.file_name()));
    for entry in entries {
        let file = entry.file_name();
        let text = file.to_string_lossy();
        if LEFT_OUT.iter().any(|end| text.ends_with(end)) || TEMPORARY.iter().any(|start| text.starts_with(start)) {
            continue;
        }
        append(tar, &entry.path(), &name.join(&file))?;
    }
    Ok(())
}

/// In a repository, everything before the objects.
fn before_objects(entry: &fs::DirEntry) -> bool {
    entry.file_name() == "objects"
}

/// Reads an archive to its end and says whether it is a whole one.
pub fn check(from: impl Read) -> Result<(), ArchiveError> {
    each(from, |_, _| Ok(()))
}

/// Makes a data folder of an archive: all of it or nothing.
pub fn restore(from: impl Read, data: &Path) -> Result<(), ArchiveError> {
    let parent = match data.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(io_error("make", parent))?;
    match fs::read_dir(data).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(ArchiveError::NotEmpty(data.to_owned())),
        Ok(false) => fs::remove_dir(data).map_err(io_error("replace", data))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(io_error("read", data)(e)),
    }
    let partial = tempfile::Builder::new()
        .prefix(".restore-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(io_error("make a folder in", parent))?;
    each(from, |path, entry| {
        let target = partial.path().join(path);
        if path.as_os_str() == HEAD || path.as_os_str() == END {
            return Ok(());
        }
        if let Some(dir) = target.parent() {
            fs::create_dir_all(dir).map_err(io_error("make", dir))?;
        }
        entry.unpack(&target).map_err(io_error("write", &target))?;
        Ok(())
    })?;
    sync(partial.path()).map_err(io_error("sync", partial.path()))?;
    let partial = partial.keep();
    fs::rename(&partial, data).map_err(io_error("make", data))?;
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(io_error("sync", parent))
}

/// Calls `take` with every entry; an error if the archive is not one of ours, whole and with nothing that climbs out.
fn each<R: Read>(from: R, mut take: impl FnMut(&Path, &mut tar::Entry<'_, R>) -> Result<(), ArchiveError>) -> Result<(), ArchiveError> {
    let mut archive = tar::Archive::new(from);
    let (mut begun, mut ended) = (false, false);
    for entry in archive.entries().map_err(ArchiveError::Read)? {
        // Garbage in the first entry is another kind of file; later it is a broken one.
        let mut entry = entry.map_err(|e| if begun { ArchiveError::Read(e) } else { ArchiveError::NotOurs })?;
        let path = entry.path().map_err(ArchiveError::Read)?.into_owned();
        if !begun {
            if path.as_os_str() != HEAD {
                return Err(ArchiveError::NotOurs);
            }
            let head: Head = serde_json::from_reader(&mut entry).map_err(|_| ArchiveError::NotOurs)?;
            if head.format != FORMAT {
                return Err(ArchiveError::Format(head.format));
            }
            begun = true;
            continue;
        }
        let plain = matches!(entry.header().entry_type(), tar::EntryType::Regular | tar::EntryType::GNUSparse | tar::EntryType::Directory);
        if !plain || !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(ArchiveError::Outside(path));
        }
        ended = path.as_os_str() == END;
        take(&path, &mut entry)?;
    }
    match (begun, ended) {
        (true, true) => Ok(()),
        (true, false) => Err(ArchiveError::BrokenOff),
        (false, _) => Err(ArchiveError::NotOurs),
    }
}

/// Files and folders, from the leaves up.
fn sync(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(path)?.sync_all()
}
