//! How large the log is up to where, for whom it is kept no longer, and what of it was lost to them.

use super::{Bytes, Tables, done, failed};
use crate::{
    ledger::{LedgerError, Lost, Outcome, Paused, Position, TRIM_EVENTS_MAX, Version, record},
    model::{FunctionId, Micros, NewEvent, Seq},
};
use redb::{ReadableTable, TableDefinition};
use std::collections::BTreeMap;

/// Bytes of all events before a sequence, for some sequences.
pub(in crate::ledger) const SIZES: TableDefinition<u64, u64> = TableDefinition::new("sizes");
pub(in crate::ledger) const PAUSED: TableDefinition<Bytes, Bytes> = TableDefinition::new("paused");
pub(in crate::ledger) const LOST: TableDefinition<Bytes, Bytes> = TableDefinition::new("lost");

/// Bytes of all events that were ever logged: a key of `meta`.
pub(super) const LOGGED_BYTES: &str = "logged-bytes";

/// Events between two rows of `sizes`: what is between them is counted from the log, and that takes some microseconds.
const SIZES_EVERY: u64 = 256;

/// Ranges remembered for one function until somebody has taken note; what is lost later is added to the last. Each but the first
/// takes somebody who resumes it and takes no note.
const LOST_ROWS_MAX: usize = 64;

/// Paused functions by their key.
type AllPaused = BTreeMap<Vec<u8>, Paused>;

/// Bytes of all events before `seq`. Events of a Tawi that did not count are nothing.
pub(in crate::ledger) fn bytes_before(
    sizes: &impl ReadableTable<u64, u64>,
    log: &impl ReadableTable<u64, Bytes>,
    seq: Seq,
) -> Result<u64, redb::StorageError> {
    let Some(mark) = sizes.range(..=seq)?.next_back() else { return Ok(0) };
    let (at, before) = mark?;
    let mut bytes = before.value();
    for row in log.range(at.value()..seq)?.take(SIZES_EVERY as usize) {
        bytes += row?.1.value().len() as u64;
    }
    Ok(bytes)
}

/// Where the log would have to begin for the events before `below` to take no more than `bytes_max`.
pub(in crate::ledger) fn reaches_back(
    sizes: &impl ReadableTable<u64, u64>,
    log: &impl ReadableTable<u64, Bytes>,
    first: Seq,
    below: Seq,
    bytes_max: u64,
) -> Result<Seq, redb::StorageError> {
    let enough = bytes_before(sizes, log, below)?.saturating_sub(bytes_max);
    let (mut low, mut high) = (first, below.max(first));
    while low < high {
        let middle = low + (high - low) / 2;
        (low, high) = if bytes_before(sizes, log, middle)? < enough { (middle + 1, high) } else { (low, middle) };
    }
    Ok(low)
}

impl Tables<'_> {
    /// Makes what a ledger of an earlier Tawi lacks. What it has logged is counted from here on.
    pub(in crate::ledger) fn prepare_lag(&mut self) -> Result<(), LedgerError> {
        let mut sizes = self.txn.open_table(SIZES).map_err(failed)?;
        self.txn.open_table(PAUSED).map_err(failed)?;
        self.txn.open_table(LOST).map_err(failed)?;
        if sizes.first().map_err(failed)?.is_none() {
            sizes.insert(self.next, self.logged_bytes).map_err(failed)?;
        }
        Ok(())
    }

    /// An event of so many bytes is logged.
    pub(super) fn count(&mut self, seq: Seq, bytes: usize) -> Result<(), LedgerError> {
        if seq.is_multiple_of(SIZES_EVERY) {
            self.txn.open_table(SIZES).map_err(failed)?.insert(seq, self.logged_bytes).map_err(failed)?;
        }
        self.logged_bytes += bytes as u64;
        Ok(())
    }

    pub(super) fn trim(&mut self, below: Seq) -> Result<Outcome, LedgerError> {
        let paused = self.all_paused()?;
        let mut end = below.min(self.next).min(self.first + TRIM_EVENTS_MAX);
        for entry in self.consumers.iter().map_err(failed)? {
            let (key, position) = entry.map_err(failed)?;
            if !paused.contains_key(key.value()) {
                let position: Position = record::decode("a consumer's position", position.value())?;
                end = end.min(position.through + 1);
            }
        }
        if end > self.first {
            self.lose(&paused, end)?;
            self.forget_sizes(end)?;
            self.log.retain_in(self.first..end, |_, _| false).map_err(failed)?;
            self.first = end;
        }
        Ok(done())
    }

    /// The log will begin at `end`, and its size is known from there.
    fn forget_sizes(&mut self, end: Seq) -> Result<(), LedgerError> {
        let mut sizes = self.txn.open_table(SIZES).map_err(failed)?;
        let before = bytes_before(&sizes, &self.log, end).map_err(failed)?;
        if sizes.range(..=end).map_err(failed)?.next().is_some() {
            sizes.insert(end, before).map_err(failed)?;
            sizes.retain_in(..end, |_, _| false).map_err(failed)?;
        }
        Ok(())
    }

    fn all_paused(&self) -> Result<AllPaused, LedgerError> {
        let mut all = AllPaused::new();
        for entry in self.txn.open_table(PAUSED).map_err(failed)?.iter().map_err(failed)? {
            let (key, paused) = entry.map_err(failed)?;
            all.insert(key.value().to_vec(), record::decode("a pause", paused.value())?);
        }
        Ok(all)
    }

    /// Notes what is before `end` and paused functions have not settled.
    fn lose(&mut self, paused: &AllPaused, end: Seq) -> Result<(), LedgerError> {
        if paused.is_empty() {
            return Ok(());
        }
        // Bytes of all rows before each, from the first on.
        let mut before = vec![0];
        for row in self.log.range(self.first..end).map_err(failed)? {
            let bytes = row.map_err(failed)?.1.value().len() as u64;
            before.push(before.last().copied().unwrap_or(0) + bytes);
        }
        let bytes_before = |seq: Seq| usize::try_from(seq - self.first).ok().and_then(|at| before.get(at)).copied().unwrap_or(0);
        for (key, pause) in paused {
            let Some(position) = self.position(key)? else { continue };
            let open = open_ranges(&position, self.first, end);
            let (Some(first), Some(last)) = (open.first(), open.last()) else { continue };
            let (from, to) = (first.0, last.1 - 1);
            let lost = Lost {
                from,
                to,
                events: open.iter().map(|(from, end)| end - from).sum(),
                bytes: open.iter().map(|(from, end)| bytes_before(*end).saturating_sub(bytes_before(*from))).sum(),
                received_from: self.received(from)?.unwrap_or(pause.since),
                received_to: self.received(to)?.unwrap_or(pause.since),
                paused: pause.since,
            };
            self.remember_lost(key, lost)?;
        }
        Ok(())
    }

    fn received(&self, seq: Seq) -> Result<Option<Micros>, LedgerError> {
        let row = self.log.get(seq).map_err(failed)?;
        // One that can't be read is no reason to keep the log for ever.
        Ok(row.and_then(|row| record::decode::<NewEvent>("an event", row.value()).ok()).map(|event| event.received))
    }

    fn remember_lost(&self, function: &[u8], lost: Lost) -> Result<(), LedgerError> {
        let mut table = self.txn.open_table(LOST).map_err(failed)?;
        let end = record::prefix_end(function).unwrap_or_default();
        let mut rows = 0;
        let mut last = None;
        for entry in table.range::<&[u8]>(function..end.as_slice()).map_err(failed)? {
            let (key, row) = entry.map_err(failed)?;
            rows += 1;
            last = Some((key.value().to_vec(), record::decode::<Lost>("a lost range", row.value())?));
        }
        let (key, lost) = match last {
            Some((key, row)) if row.paused == lost.paused || rows >= LOST_ROWS_MAX => (key, row.and(&lost)),
            _ => ([function, &lost.from.to_be_bytes()].concat(), lost),
        };
        let mut buffer = Vec::new();
        table.insert(key.as_slice(), record::encode(&mut buffer, &lost)?).map_err(failed)?;
        Ok(())
    }

    /// The log is not kept for it any more, and what it has under way does not count: so that nothing of what is lost to it is
    /// done by it too.
    pub(super) fn pause(&mut self, function: &FunctionId, behind: Seq, now: Micros, said: Vec<NewEvent>) -> Result<Outcome, LedgerError> {
        let key = record::function_key(function);
        let Some(position) = self.position(&key)?.filter(|position| position.through + 1 < behind) else { return Ok(Outcome::Missing) };
        let paused = Paused { since: now, through: position.through };
        {
            let mut table = self.txn.open_table(PAUSED).map_err(failed)?;
            if table.get(key.as_slice()).map_err(failed)?.is_some() {
                return Ok(Outcome::Missing);
            }
            table.insert(key.as_slice(), record::encode(&mut self.buffer, &paused)?).map_err(failed)?;
        }
        let version = self.move_on(function)?;
        Ok(Outcome::Applied { seqs: self.log(said)?, version })
    }

    /// Whatever a call of its app has under way is refused from here on.
    pub(super) fn move_on(&mut self, function: &FunctionId) -> Result<Version, LedgerError> {
        let app = record::app_key(&function.app);
        let version = self.versions.get(app.as_slice()).map_err(failed)?.map_or(0, |v| v.value()) + 1;
        self.versions.insert(app.as_slice(), version).map_err(failed)?;
        Ok(version)
    }

    /// It goes on with the oldest event that is there. What was under way while it was paused, at a node that has not heard of
    /// the pause, knows another position than this, and does not count.
    pub(super) fn resume(&mut self, function: &FunctionId, said: Vec<NewEvent>) -> Result<Outcome, LedgerError> {
        let key = record::function_key(function);
        let was = self.txn.open_table(PAUSED).map_err(failed)?.remove(key.as_slice()).map_err(failed)?.is_some();
        let Some(position) = self.position(&key)?.filter(|_| was) else { return Ok(Outcome::Missing) };
        let position = begin_at(position, self.first);
        let bytes = record::encode(&mut self.buffer, &position)?;
        self.consumers.insert(key.as_slice(), bytes).map_err(failed)?;
        let version = self.move_on(function)?;
        Ok(Outcome::Applied { seqs: self.log(said)?, version })
    }

    /// Somebody has taken note of what it lost up to `through`. A range that has grown since is not the one that was seen.
    pub(super) fn forget_lost(&mut self, function: &FunctionId, through: Seq) -> Result<Outcome, LedgerError> {
        let mut table = self.txn.open_table(LOST).map_err(failed)?;
        let key = record::function_key(function);
        let end = record::prefix_end(&key).unwrap_or_default();
        let mut seen = Vec::new();
        for entry in table.range::<&[u8]>(key.as_slice()..end.as_slice()).map_err(failed)? {
            let (place, row) = entry.map_err(failed)?;
            if record::decode::<Lost>("a lost range", row.value())?.to <= through {
                seen.push(place.value().to_vec());
            }
        }
        for place in &seen {
            table.remove(place.as_slice()).map_err(failed)?;
        }
        Ok(if seen.is_empty() { Outcome::Missing } else { done() })
    }

    /// What is known of an app's functions goes with it. What one of them lost stays when it alone goes: nobody has taken note.
    pub(super) fn forget_pauses(&mut self, prefix: &[u8], and_lost: bool) -> Result<(), LedgerError> {
        super::remove_prefix(&mut self.txn.open_table(PAUSED).map_err(failed)?, prefix)?;
        match and_lost {
            true => super::remove_prefix(&mut self.txn.open_table(LOST).map_err(failed)?, prefix),
            false => Ok(()),
        }
    }
}

/// First and last of each settled range above the watermark.
fn settled(position: &Position) -> impl Iterator<Item = (Seq, Seq)> {
    position.above.chunks_exact(2).map(|pair| (pair[0], pair[1]))
}

/// What is not settled from `first` on and before `end`: each range with its first and what is behind its last.
fn open_ranges(position: &Position, first: Seq, end: Seq) -> Vec<(Seq, Seq)> {
    let mut open = Vec::new();
    let mut from = first.max(position.through + 1);
    for (start, last) in settled(position) {
        open.push((from, start.min(end)));
        from = from.max(last + 1);
    }
    open.push((from, end));
    open.retain(|(from, end)| from < end);
    open
}

/// The same, with everything before `first` settled.
pub(super) fn begin_at(position: Position, first: Seq) -> Position {
    let mut through = position.through.max(first.saturating_sub(1));
    let mut above = Vec::new();
    for (start, last) in settled(&position) {
        match start <= through + 1 {
            true => through = through.max(last),
            false => above.extend([start, last]),
        }
    }
    Position { through, above }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(through: Seq, above: &[Seq]) -> Position {
        Position { through, above: above.to_vec() }
    }

    #[test]
    fn what_was_settled_ahead_is_not_lost() {
        assert_eq!(open_ranges(&position(3, &[5, 7, 9, 9]), 1, 12), [(4, 5), (8, 9), (10, 12)]);
        assert_eq!(open_ranges(&position(3, &[5, 7, 9, 9]), 6, 9), [(8, 9)]);
        assert_eq!(open_ranges(&position(20, &[]), 1, 12), []);
    }

    #[test]
    fn a_position_never_begins_inside_of_what_is_settled() {
        assert_eq!(begin_at(position(3, &[5, 7, 9, 9]), 7), position(7, &[9, 9]));
        assert_eq!(begin_at(position(3, &[5, 7, 9, 9]), 9), position(9, &[]));
        assert_eq!(begin_at(position(3, &[5, 7]), 1), position(3, &[5, 7]));
    }
}
