//! A disk that forgets, at a power cut, whatever was not synced.
//!
//! A directory's names are safe once it is synced; until then each change may or may not have happened, whatever came
//! after it. A file's content is safe once the file is synced; until then it may be cut anywhere.

use super::Dice;
use crate::history::disk::Disk;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};
use tantivy::{
    Directory,
    directory::{
        AntiCallToken, DirectoryLock, FileHandle, Lock, OwnedBytes, TerminatingWrite, WatchCallback, WatchHandle, WritePtr,
        error::{DeleteError, LockError, OpenReadError, OpenWriteError},
    },
};

/// One sync that the disk pretends to have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Of a file that Tantivy wrote.
    File,
    /// Of the content of a file that is replaced in one step.
    Replaced,
    /// Of a partition's directory, before its `meta.json` is replaced.
    Segment,
    /// Of a partition's directory, right after its `meta.json` was replaced.
    Commit,
    /// Of the root, right after a partition was made.
    Partition,
    /// Of the root, right after the position was replaced.
    Position,
}

#[derive(Debug, Default)]
struct Switches {
    /// Changes until the power is cut.
    left: Option<u64>,
    /// Cuts the power right after so many changes of that kind.
    cut_at: Option<(Last, u64)>,
    lie: Option<Lie>,
    /// Fails the next sync that follows a new `meta.json`.
    fail_commit: bool,
    /// Panics at the next write of the position.
    panic: bool,
}

#[derive(Debug, Default, Clone)]
pub struct ForgetfulDisk {
    root: Arc<Mutex<Dir>>,
    switches: Arc<Mutex<Switches>>,
}

#[derive(Debug, Clone)]
enum Entry {
    File(Arc<Mutex<File>>),
    Dir(Arc<Mutex<Dir>>),
}

#[derive(Debug, Default, Clone)]
struct File {
    bytes: Vec<u8>,
    synced: bool,
}

/// How it ended.
pub enum End<'a> {
    /// The kernel goes on and writes everything, half-written files as they are.
    Kill,
    PowerCut(&'a mut Dice),
}

impl End<'_> {
    fn keeps(&mut self) -> bool {
        match self {
            End::Kill => true,
            End::PowerCut(dice) => dice.roll(2) == 0,
        }
    }

    fn keeps_bytes(&mut self, len: usize) -> usize {
        match self {
            End::Kill => len,
            End::PowerCut(dice) => usize::try_from(dice.roll(len as u64 + 1)).unwrap(),
        }
    }
}

type Names = BTreeMap<String, Entry>;
/// Names that change together.
type Change = Vec<(String, Option<Entry>)>;

#[derive(Debug, Default)]
struct Dir {
    seen: Names,
    safe: Names,
    unsynced: Vec<Change>,
    last: Last,
    locks: Arc<Mutex<HashSet<PathBuf>>>,
}

/// What was done last in a directory.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    #[default]
    Other,
    Meta,
    Position,
    Made,
}

fn apply(names: &mut Names, change: &Change) {
    for (name, entry) in change {
        match entry {
            Some(entry) => names.insert(name.clone(), entry.clone()),
            None => names.remove(name),
        };
    }
}

impl Dir {
    fn change(&mut self, change: Change, last: Last) {
        apply(&mut self.seen, &change);
        self.unsynced.push(change);
        self.last = last;
    }

    fn after(&self, end: &mut End) -> Dir {
        let mut names = self.safe.clone();
        for change in self.unsynced.iter().filter(|_| end.keeps()) {
            apply(&mut names, change);
        }
        let names = names.into_iter().map(|(name, entry)| (name, entry.after(end)));
        let names: Names = names.collect();
        Dir { seen: names.clone(), safe: names, ..Dir::default() }
    }
}

impl Entry {
    fn after(self, end: &mut End) -> Entry {
        match self {
            Entry::Dir(dir) => Entry::Dir(Arc::new(Mutex::new(dir.lock().after(end)))),
            Entry::File(file) => {
                let mut file = file.lock().clone();
                if !file.synced {
                    let keep = end.keeps_bytes(file.bytes.len());
                    file.bytes.truncate(keep);
                }
                file.synced = true;
                Entry::File(Arc::new(Mutex::new(file)))
            }
        }
    }
}

impl ForgetfulDisk {
    pub fn cut_power_after(&self, changes: u64) {
        self.switches.lock().left = Some(changes);
    }

    /// Right after the change, before the sync that should follow.
    pub fn cut_power_at(&self, last: Last, count: u64) {
        self.switches.lock().cut_at = Some((last, count));
    }

    pub fn lie(&self, lie: Lie) {
        self.switches.lock().lie = Some(lie);
    }

    pub fn fail_next_commit(&self) {
        self.switches.lock().fail_commit = true;
    }

    pub fn panic_next_position(&self) {
        self.switches.lock().panic = true;
    }

    /// The disk as it is found afterwards.
    pub fn after(&self, mut end: End) -> ForgetfulDisk {
        let root = self.root.lock().after(&mut end);
        let switches = Switches { lie: self.switches.lock().lie, ..Switches::default() };
        ForgetfulDisk { root: Arc::new(Mutex::new(root)), switches: Arc::new(Mutex::new(switches)) }
    }

    fn spend(&self) -> io::Result<()> {
        match &mut self.switches.lock().left {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn done(&self, last: Last) {
        let mut switches = self.switches.lock();
        if let Some((wanted, count)) = &mut switches.cut_at
            && *wanted == last
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                switches.left = Some(0);
            }
        }
    }

    fn lies(&self, lie: Lie) -> bool {
        self.switches.lock().lie == Some(lie)
    }

    fn directory(&self, dir: Arc<Mutex<Dir>>, is_root: bool) -> ForgetfulDirectory {
        ForgetfulDirectory { disk: self.clone(), dir, is_root }
    }
}

impl Disk for ForgetfulDisk {
    fn root(&self) -> Box<dyn Directory> {
        Box::new(self.directory(self.root.clone(), true))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.root.lock().seen.iter().filter(|(_, entry)| matches!(entry, Entry::Dir(_))).map(|(name, _)| name.clone()).collect())
    }

    fn create(&self, name: &str) -> io::Result<()> {
        self.spend()?;
        let mut root = self.root.lock();
        if !root.seen.contains_key(name) {
            root.change(vec![(name.to_owned(), Some(Entry::Dir(Arc::default())))], Last::Made);
            self.done(Last::Made);
        }
        Ok(())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Directory>> {
        match self.root.lock().seen.get(name) {
            Some(Entry::Dir(dir)) => Ok(Box::new(self.directory(dir.clone(), false))),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn files(&self, name: &str) -> io::Result<Vec<String>> {
        match self.root.lock().seen.get(name) {
            Some(Entry::Dir(dir)) => Ok(dir.lock().seen.keys().cloned().collect()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.spend()?;
        let mut root = self.root.lock();
        let entry = root.seen.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        root.change(vec![(from.to_owned(), None), (to.to_owned(), Some(entry))], Last::Other);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.spend()?;
        self.root.lock().change(vec![(name.to_owned(), None)], Last::Other);
        Ok(())
    }
}

#[derive(Clone)]
struct ForgetfulDirectory {
    disk: ForgetfulDisk,
    dir: Arc<Mutex<Dir>>,
    is_root: bool,
}

impl fmt::Debug for ForgetfulDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForgetfulDirectory")
    }
}

fn name_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl ForgetfulDirectory {
    fn file(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        match self.dir.lock().seen.get(&name_of(path)) {
            Some(Entry::File(file)) => Ok(file.lock().bytes.clone()),
            _ => Err(OpenReadError::FileDoesNotExist(path.to_owned())),
        }
    }

    /// Which of the syncs this one is.
    fn sync_named(&self, last: Last) -> Option<Lie> {
        match (self.is_root, last) {
            (false, Last::Meta) => Some(Lie::Commit),
            (false, _) => Some(Lie::Segment),
            (true, Last::Made) => Some(Lie::Partition),
            (true, Last::Position) => Some(Lie::Position),
            (true, _) => None,
        }
    }
}

impl Directory for ForgetfulDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        Ok(Arc::new(OwnedBytes::new(self.file(path)?)))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        let io_error = |e| DeleteError::IoError { io_error: Arc::new(e), filepath: path.to_owned() };
        self.disk.spend().map_err(io_error)?;
        let mut dir = self.dir.lock();
        if !dir.seen.contains_key(&name_of(path)) {
            return Err(DeleteError::FileDoesNotExist(path.to_owned()));
        }
        dir.change(vec![(name_of(path), None)], Last::Other);
        Ok(())
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.dir.lock().seen.contains_key(&name_of(path)))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let io_error = |e| OpenWriteError::wrap_io_error(e, path.to_owned());
        self.disk.spend().map_err(io_error)?;
        let mut dir = self.dir.lock();
        if dir.seen.contains_key(&name_of(path)) {
            return Err(OpenWriteError::FileAlreadyExists(path.to_owned()));
        }
        let file = Arc::<Mutex<File>>::default();
        dir.change(vec![(name_of(path), Some(Entry::File(file.clone())))], Last::Other);
        Ok(BufWriter::new(Box::new(Writing { disk: self.disk.clone(), file })))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.file(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let panics = self.is_root && std::mem::take(&mut self.disk.switches.lock().panic);
        assert!(!panics, "a test asked for it");
        self.disk.spend()?;
        let file = File { bytes: data.to_vec(), synced: !self.disk.lies(Lie::Replaced) };
        let last = match name_of(path).as_str() {
            "meta.json" => Last::Meta,
            "position.json" => Last::Position,
            _ => Last::Other,
        };
        self.dir.lock().change(vec![(name_of(path), Some(Entry::File(Arc::new(Mutex::new(file)))))], last);
        self.disk.done(last);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.spend()?;
        let mut dir = self.dir.lock();
        let last = std::mem::take(&mut dir.last);
        if last == Last::Meta && std::mem::take(&mut self.disk.switches.lock().fail_commit) {
            return Err(io::Error::other("the disk has a bad moment"));
        }
        if self.sync_named(last).is_none_or(|sync| !self.disk.lies(sync)) {
            dir.safe = dir.seen.clone();
            dir.unsynced.clear();
        }
        Ok(())
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        let locks = self.dir.lock().locks.clone();
        while !locks.lock().insert(lock.filepath.clone()) {
            if !lock.is_blocking {
                return Err(LockError::LockBusy);
            }
            std::thread::yield_now();
        }
        Ok(DirectoryLock::from(Box::new(Held { locks, path: lock.filepath.clone() })))
    }

    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

/// A lock of a process ends with it, so it is no file here.
struct Held {
    locks: Arc<Mutex<HashSet<PathBuf>>>,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.locks.lock().remove(&self.path);
    }
}

struct Writing {
    disk: ForgetfulDisk,
    file: Arc<Mutex<File>>,
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.spend()?;
        self.file.lock().bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TerminatingWrite for Writing {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        self.disk.spend()?;
        self.file.lock().synced = !self.disk.lies(Lie::File);
        Ok(())
    }
}
