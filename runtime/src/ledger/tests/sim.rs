//! A disk that forgets: what was not synced when the power goes is lost, kept or torn, as the seed decides. It can be full.

use super::super::disk::Disk;
use super::*;
use std::{
    collections::HashSet,
    io::{Error, ErrorKind as Io},
};

/// What a device writes in one piece.
const SECTOR: usize = 512;
const BLOCK: u64 = 4096;

/// Numbers that a seed decides (xorshift); tests need no better ones.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
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

#[derive(Debug)]
struct State {
    /// What is certain to be there after a power cut.
    synced: Vec<u8>,
    /// What a process reads now.
    current: Vec<u8>,
    unsynced: Vec<Change>,
    dice: Dice,
    /// Operations until the power goes.
    countdown: Option<u64>,
    /// A handle of an earlier power-up is dead.
    boot: u64,
    blocks: HashSet<u64>,
    blocks_max: u64,
    locked: bool,
    /// Syncs until one fails, whose writes a process sees all the same.
    sync_fails_in: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct SimDisk(Arc<Mutex<State>>, watch::Sender<bool>);

#[derive(Debug)]
struct Handle {
    disk: SimDisk,
    boot: u64,
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Len(len) => bytes.resize(*len as usize, 0),
        Change::Write(at, data) => {
            let end = *at as usize + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at as usize..end].copy_from_slice(data);
        }
    }
}

impl SimDisk {
    /// With an empty database on it: that one appears whole or not at all is the doing of `FileDisk::create`.
    pub(super) fn new(seed: u64) -> SimDisk {
        let state = State {
            synced: Vec::new(),
            current: Vec::new(),
            unsynced: Vec::new(),
            dice: Dice::new(seed),
            countdown: None,
            boot: 0,
            blocks: HashSet::new(),
            blocks_max: u64::MAX,
            locked: false,
            sync_fails_in: None,
        };
        let disk = SimDisk(Arc::new(Mutex::new(state)), watch::channel(false).0);
        drop(disk.open().unwrap());
        disk
    }

    /// Returns when the power is gone.
    pub(super) async fn power_gone(&self) {
        let _ = self.1.subscribe().wait_for(|gone| *gone).await;
    }

    pub(super) fn cut_power_after(&self, operations: u64) {
        self.0.lock().countdown = Some(operations);
    }

    /// The power is back, on what has survived.
    pub(super) fn power_up(&self) {
        let mut state = self.0.lock();
        state.boot += 1;
        state.countdown = None;
        state.locked = false;
        self.1.send_replace(false);
        let changes = std::mem::take(&mut state.unsynced);
        let mut bytes = std::mem::take(&mut state.synced);
        let mode = state.dice.below(3);
        let keep = state.dice.below(changes.len() as u64 + 1) as usize;
        for (n, mut change) in changes.into_iter().enumerate() {
            let (kept, torn) = match mode {
                0 => (false, false),
                // In order up to a point, the last one torn.
                1 => (n < keep, n + 1 == keep),
                // In any order, each perhaps torn.
                _ => (state.dice.below(2) == 0, state.dice.below(4) == 0),
            };
            if let Change::Write(_, data) = &mut change
                && torn
            {
                let sectors = data.len().div_ceil(SECTOR) as u64;
                data.truncate(state.dice.below(sectors.max(1)) as usize * SECTOR);
            }
            if kept {
                apply(&mut bytes, &change);
            }
        }
        state.current = bytes.clone();
        state.synced = bytes;
    }

    pub(super) fn fail_a_sync_after(&self, syncs: u64) {
        self.0.lock().sync_fails_in = Some(syncs);
    }

    pub(super) fn set_room(&self, blocks: u64) {
        let mut state = self.0.lock();
        state.blocks_max = state.blocks.len() as u64 + blocks;
    }
}

impl Disk for SimDisk {
    fn open(&self) -> Result<redb::Database, LedgerError> {
        let mut state = self.0.lock();
        let dead = || LedgerError::storage("open the ledger's file", redb::Error::Io(Error::other("no power")));
        if state.countdown == Some(0) {
            return Err(dead());
        }
        assert!(!std::mem::replace(&mut state.locked, true), "opened twice");
        let boot = state.boot;
        drop(state);
        let handle = Handle { disk: self.clone(), boot };
        let mut builder = redb::Database::builder();
        builder.set_cache_size(1024 * 1024);
        builder.create_with_backend(handle).map_err(|e| LedgerError::storage("open the ledger's file", e.into()))
    }

    fn free_bytes(&self) -> Result<u64, LedgerError> {
        let state = self.0.lock();
        Ok((state.blocks_max.saturating_sub(state.blocks.len() as u64)).saturating_mul(BLOCK))
    }
}

impl Handle {
    /// Counts down, and fails for ever once the power is gone.
    fn tick<T>(&self, act: impl FnOnce(&mut State) -> Result<T, Error>) -> Result<T, Error> {
        let mut state = self.disk.0.lock();
        if state.boot != self.boot || state.countdown == Some(0) {
            return Err(Error::other("no power"));
        }
        if let Some(left) = &mut state.countdown {
            *left -= 1;
            self.disk.1.send_replace(*left == 0);
        }
        act(&mut state)
    }
}

impl redb::StorageBackend for Handle {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.disk.0.lock().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let state = self.disk.0.lock();
        let found = state.current.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(found.ok_or_else(|| Error::from(Io::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.tick(|state| {
            state.blocks.retain(|block| block * BLOCK < len);
            apply(&mut state.current, &Change::Len(len));
            state.unsynced.push(Change::Len(len));
            Ok(())
        })
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.tick(|state| {
            if state.sync_fails_in == Some(0) {
                state.sync_fails_in = None;
                return Err(Error::other("a bad sector"));
            }
            state.sync_fails_in = state.sync_fails_in.map(|left| left - 1);
            for change in std::mem::take(&mut state.unsynced) {
                apply(&mut state.synced, &change);
            }
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.tick(|state| {
            let blocks = offset / BLOCK..(offset + data.len() as u64).div_ceil(BLOCK);
            let new = blocks.clone().filter(|block| !state.blocks.contains(block)).count() as u64;
            if state.blocks.len() as u64 + new > state.blocks_max {
                return Err(Error::from(Io::StorageFull));
            }
            state.blocks.extend(blocks);
            let change = Change::Write(offset, data.to_vec());
            apply(&mut state.current, &change);
            state.unsynced.push(change);
            Ok(())
        })
    }

    fn close(&self) -> Result<(), Error> {
        let mut state = self.disk.0.lock();
        if state.boot == self.boot {
            state.locked = false;
        }
        Ok(())
    }
}
