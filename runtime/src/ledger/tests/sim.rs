//! A disk that forgets: what was not synced when the power goes is lost, kept or torn, as the seed decides. It can be full.

use super::super::disk::{Disk, Segment, pause};
use super::*;
use std::{
    collections::{BTreeMap, HashSet},
    io::{Error, ErrorKind as Io},
};

/// What a device writes in one piece.
const SECTOR: usize = 512;
const BLOCK: u64 = 4096;

/// Numbers that a seed decides (xorshift); tests need no better ones.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Len(u64),
}

/// One file.
#[derive(Debug, Default)]
struct Bytes {
    /// What is certain to be there after a power cut.
    synced: Vec<u8>,
    /// What a process reads now.
    current: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug)]
struct State {
    /// The database is file 0, segments go by their number.
    files: BTreeMap<u64, Bytes>,
    /// Removed, which a power cut may undo.
    removed: BTreeMap<u64, Bytes>,
    dice: Dice,
    /// Operations until the power goes.
    countdown: Option<u64>,
    /// A handle of an earlier power-up is dead.
    boot: u64,
    blocks: HashSet<(u64, u64)>,
    blocks_max: u64,
    locked: bool,
    /// Syncs until one fails.
    sync_fails_in: Option<u64>,
    /// Reads of the database that fail once a sync has.
    then_reads_fail: u64,
    /// Waits after which there is room again, in a simulation that passes no time while somebody waits.
    room_after: Option<u64>,
    waits: u64,
    when_gone: Hook,
}

/// What is done at the moment at which the power goes.
#[derive(Default)]
struct Hook(Option<Arc<dyn Fn() + Send + Sync>>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

/// Waits in a row without a change on the disk that would be for ever.
const WAITS_MAX: u64 = 10_000;

const DATABASE: u64 = 0;

#[derive(Debug, Clone)]
pub(crate) struct SimDisk(Arc<Mutex<State>>, watch::Sender<bool>);

#[derive(Debug)]
struct Handle {
    disk: SimDisk,
    boot: u64,
    file: u64,
}

/// Not byte by byte, as `resize` does it without the optimiser: simulations come by here often.
fn set_len(bytes: &mut Vec<u8>, len: usize) {
    match len.checked_sub(bytes.len()) {
        Some(more) => bytes.extend_from_slice(&vec![0; more]),
        None => bytes.truncate(len),
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Len(len) => set_len(bytes, *len as usize),
        Change::Write(at, data) => {
            let end = *at as usize + data.len();
            if bytes.len() < end {
                set_len(bytes, end);
            }
            bytes[*at as usize..end].copy_from_slice(data);
        }
    }
}

impl Bytes {
    /// What a power cut leaves of it.
    fn survive(&mut self, dice: &mut Dice) {
        let changes = std::mem::take(&mut self.unsynced);
        let mode = dice.below(3);
        let keep = dice.below(changes.len() as u64 + 1) as usize;
        for (n, mut change) in changes.into_iter().enumerate() {
            let (kept, torn) = match mode {
                0 => (false, false),
                // In order up to a point, the last one torn.
                1 => (n < keep, n + 1 == keep),
                // In any order, each perhaps torn.
                _ => (dice.below(2) == 0, dice.below(4) == 0),
            };
            if let Change::Write(_, data) = &mut change
                && torn
            {
                let sectors = data.len().div_ceil(SECTOR) as u64;
                data.truncate(dice.below(sectors.max(1)) as usize * SECTOR);
            }
            if kept {
                apply(&mut self.synced, &change);
            }
        }
        self.current = self.synced.clone();
    }
}

impl SimDisk {
    /// With an empty database on it: that one appears whole or not at all is the doing of `FileDisk::create`.
    pub(crate) fn new(seed: u64) -> SimDisk {
        let state = State {
            files: BTreeMap::from([(DATABASE, Bytes::default())]),
            removed: BTreeMap::new(),
            dice: Dice::new(seed),
            countdown: None,
            boot: 0,
            blocks: HashSet::new(),
            blocks_max: u64::MAX,
            locked: false,
            sync_fails_in: None,
            then_reads_fail: 0,
            room_after: None,
            waits: 0,
            when_gone: Hook::default(),
        };
        let disk = SimDisk(Arc::new(Mutex::new(state)), watch::channel(false).0);
        drop(disk.open().unwrap());
        disk
    }

    /// Returns when the power is gone.
    pub(crate) async fn power_gone(&self) {
        let _ = self.1.subscribe().wait_for(|gone| *gone).await;
    }

    pub(crate) fn cut_power_after(&self, operations: u64) {
        self.0.lock().countdown = Some(operations);
    }

    /// The power is back, on what has survived.
    pub(crate) fn power_up(&self) {
        let mut state = self.0.lock();
        state.boot += 1;
        state.countdown = None;
        state.locked = false;
        state.when_gone = Hook::default();
        self.1.send_replace(false);
        let State { files, removed, dice, .. } = &mut *state;
        for (name, file) in std::mem::take(removed) {
            if dice.below(2) == 0 {
                files.entry(name).or_insert(file);
            }
        }
        for file in files.values_mut() {
            file.survive(dice);
        }
    }

    /// A process that has the disk is killed: what it wrote stays in the kernel, nothing more comes from it.
    pub(crate) fn process_dies(&self) {
        let mut state = self.0.lock();
        state.boot += 1;
        state.locked = false;
        state.when_gone = Hook::default();
    }

    pub(crate) fn has_power(&self) -> bool {
        self.0.lock().countdown != Some(0)
    }

    pub(crate) fn when_power_goes(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.0.lock().when_gone = Hook(Some(Arc::new(hook)));
    }

    /// Full but for so many blocks, until somebody has waited so often.
    pub(crate) fn set_room_until(&self, blocks: u64, waits: u64) {
        self.set_room(blocks);
        self.0.lock().room_after = Some(waits);
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        let mut state = self.0.lock();
        (state.blocks_max, state.room_after, state.sync_fails_in, state.then_reads_fail) = (u64::MAX, None, None, 0);
    }

    pub(crate) fn fail_a_sync_after(&self, syncs: u64) {
        self.0.lock().sync_fails_in = Some(syncs);
    }

    /// And so many reads of the database when it has.
    pub(crate) fn then_fail_reads(&self, reads: u64) {
        self.0.lock().then_reads_fail = reads;
    }

    pub(crate) fn set_room(&self, blocks: u64) {
        let mut state = self.0.lock();
        state.blocks_max = state.blocks.len() as u64 + blocks;
    }

    /// Counts down, and fails for ever once the power is gone.
    fn tick<T>(&self, boot: u64, act: impl FnOnce(&mut State) -> Result<T, Error>) -> Result<T, Error> {
        let mut state = self.0.lock();
        if state.boot != boot || state.countdown == Some(0) {
            return Err(Error::other("no power"));
        }
        let mut gone = false;
        if let Some(left) = &mut state.countdown {
            *left -= 1;
            gone = *left == 0;
            self.1.send_replace(gone);
        }
        state.waits = 0;
        let done = act(&mut state);
        let hook = if gone { state.when_gone.0.take() } else { None };
        drop(state);
        if let Some(hook) = hook {
            hook();
        }
        done
    }
}

fn failed(error: Error) -> LedgerError {
    LedgerError::file("use", Path::new("simulated"), error)
}

impl Disk for SimDisk {
    fn open(&self) -> Result<redb::Database, LedgerError> {
        let mut state = self.0.lock();
        if state.countdown == Some(0) {
            return Err(failed(Error::other("no power")));
        }
        assert!(!std::mem::replace(&mut state.locked, true), "opened twice");
        let boot = state.boot;
        drop(state);
        let handle = Handle { disk: self.clone(), boot, file: DATABASE };
        let mut builder = redb::Database::builder();
        builder.set_cache_size(1024 * 1024);
        builder.create_with_backend(handle).map_err(|e| LedgerError::storage("open the ledger's file", e.into()))
    }

    fn free_bytes(&self) -> Result<u64, LedgerError> {
        let state = self.0.lock();
        Ok((state.blocks_max.saturating_sub(state.blocks.len() as u64)).saturating_mul(BLOCK))
    }

    fn segments(&self) -> Result<Vec<u64>, LedgerError> {
        Ok(self.0.lock().files.keys().copied().filter(|name| *name != DATABASE).collect())
    }

    fn segment(&self, number: u64) -> Result<Arc<dyn Segment>, LedgerError> {
        let state = self.0.lock();
        if !state.files.contains_key(&number) {
            return Err(failed(Error::from(Io::NotFound)));
        }
        Ok(Arc::new(Handle { disk: self.clone(), boot: state.boot, file: number }))
    }

    /// That it appears whole or not at all is the doing of `FileDisk`.
    fn make_segment(&self, number: u64, bytes: u64) -> Result<Arc<dyn Segment>, LedgerError> {
        let boot = self.0.lock().boot;
        let made = self.tick(boot, |state| {
            let blocks = bytes.div_ceil(BLOCK);
            if state.blocks.len() as u64 + blocks > state.blocks_max {
                return Err(Error::from(Io::StorageFull));
            }
            state.blocks.extend((0..blocks).map(|block| (number, block)));
            let zeros = vec![0; bytes as usize];
            state.files.insert(number, Bytes { synced: zeros.clone(), current: zeros, unsynced: Vec::new() });
            Ok(())
        });
        made.map_err(failed)?;
        self.segment(number)
    }

    fn rename_segment(&self, from: u64, to: u64) -> Result<Arc<dyn Segment>, LedgerError> {
        let boot = self.0.lock().boot;
        let renamed = self.tick(boot, |state| {
            let file = state.files.remove(&from).ok_or(Error::from(Io::NotFound))?;
            state.files.insert(to, file);
            let blocks: Vec<_> = state.blocks.extract_if(|(name, _)| *name == from).map(|(_, block)| (to, block)).collect();
            state.blocks.extend(blocks);
            Ok(())
        });
        renamed.map_err(failed)?;
        self.segment(to)
    }

    fn remove_segment(&self, number: u64) -> Result<(), LedgerError> {
        let boot = self.0.lock().boot;
        let removed = self.tick(boot, |state| {
            let file = state.files.remove(&number).ok_or(Error::from(Io::NotFound))?;
            state.blocks.retain(|(name, _)| *name != number);
            state.removed.insert(number, file);
            Ok(())
        });
        removed.map_err(failed)
    }

    /// No time passes; but who waits for room may see it come.
    fn wait(&self, time: Duration) {
        let mut state = self.0.lock();
        state.waits += 1;
        let Some(left) = &mut state.room_after else {
            let (waits, simulated) = (state.waits, state.when_gone.0.is_some() || state.countdown == Some(0));
            drop(state);
            assert!(waits < WAITS_MAX, "the disk is waited for without end");
            // Threads of a real ledger, in another test.
            return if !simulated {
                pause(time)
            };
        };
        *left = left.saturating_sub(1);
        if *left == 0 {
            state.blocks_max = u64::MAX;
            state.room_after = None;
        }
    }
}

impl Handle {
    fn file<T>(&self, act: impl FnOnce(&Bytes) -> Result<T, Error>) -> Result<T, Error> {
        let state = self.disk.0.lock();
        let file = state.files.get(&self.file).or_else(|| state.removed.get(&self.file));
        act(file.ok_or_else(|| Error::from(Io::NotFound))?)
    }

    fn change(&self, blocks: std::ops::Range<u64>, change: Change) -> Result<(), Error> {
        self.disk.tick(self.boot, |state| {
            let blocks: Vec<_> = blocks.map(|block| (self.file, block)).filter(|block| !state.blocks.contains(block)).collect();
            if state.blocks.len() as u64 + blocks.len() as u64 > state.blocks_max {
                return Err(Error::from(Io::StorageFull));
            }
            state.blocks.extend(blocks);
            if let Change::Len(len) = &change {
                state.blocks.retain(|(file, block)| *file != self.file || block * BLOCK < *len);
            }
            let file = state.files.get_mut(&self.file).ok_or(Error::from(Io::NotFound))?;
            apply(&mut file.current, &change);
            file.unsynced.push(change);
            Ok(())
        })
    }

    fn put(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let blocks = offset / BLOCK..(offset + data.len() as u64).div_ceil(BLOCK);
        self.change(blocks, Change::Write(offset, data.to_vec()))
    }

    fn flush(&self) -> Result<(), Error> {
        self.disk.tick(self.boot, |state| {
            let file = state.files.get_mut(&self.file).ok_or(Error::from(Io::NotFound))?;
            if state.sync_fails_in == Some(0) {
                state.sync_fails_in = None;
                // The kernel has let go of what it could not write, and will not try again; it may have written some.
                // (What redb does then is redb's.)
                if self.file != DATABASE && state.dice.below(2) == 0 {
                    file.unsynced.clear();
                }
                return Err(Error::other("a bad sector"));
            }
            state.sync_fails_in = state.sync_fails_in.map(|left| left - 1);
            for change in std::mem::take(&mut file.unsynced) {
                apply(&mut file.synced, &change);
            }
            Ok(())
        })
    }
}

impl redb::StorageBackend for Handle {
    fn len(&self) -> Result<u64, Error> {
        self.file(|file| Ok(file.current.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let mut state = self.disk.0.lock();
        if self.file == DATABASE && state.sync_fails_in.is_none() && state.then_reads_fail > 0 {
            state.then_reads_fail -= 1;
            return Err(Error::other("a bad sector"));
        }
        drop(state);
        self.file(|file| {
            let found = file.current.get(offset as usize..offset as usize + out.len());
            out.copy_from_slice(found.ok_or_else(|| Error::from(Io::UnexpectedEof))?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.change(0..0, Change::Len(len))
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.flush()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.put(offset, data)
    }
}

/// As the lock of a file goes with its handle.
impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.disk.0.lock();
        if self.file == DATABASE && state.boot == self.boot {
            state.locked = false;
        }
    }
}

impl Segment for Handle {
    fn len(&self) -> Result<u64, LedgerError> {
        self.file(|file| Ok(file.current.len() as u64)).map_err(failed)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LedgerError> {
        redb::StorageBackend::read(self, offset, into).map_err(failed)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), LedgerError> {
        assert!(offset + bytes.len() as u64 <= Segment::len(self)?, "a segment keeps its length");
        self.put(offset, bytes).map_err(failed)
    }

    fn sync(&self) -> Result<(), LedgerError> {
        self.flush().map_err(failed)
    }
}
