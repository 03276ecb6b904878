//! The journal of the embedded ledger: groups of operations, made durable by one write and one sync each, before the
//! view has them. `docs/formats/ledger.md` describes the files.
//!
//! The view is made durable now and then; after a crash the journal brings it back to where it was. A segment that
//! nobody needs any more is used again, so that a busy journal changes bytes of files and nothing of the file system.

use super::{
    LedgerError, Op,
    disk::{Disk, Segment},
    record,
    tables::Rules,
};
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, sync::Arc};

/// Length of a segment; one that holds a single larger group is longer. Tests have many small ones.
const SEGMENT_BYTES: u64 = if cfg!(test) { 4 * 1024 } else { 4 * 1024 * 1024 };
/// Segments kept for use again: as many as are filled between two checkpoints.
const SPARE_SEGMENTS_MAX: usize = 4;
/// Segments that wait for a checkpoint: more are only there when the view can't be made durable, and each is applied again
/// after a crash.
const FULL_SEGMENTS_MAX: usize = 64;
/// Of the spare ones, kept for [`Journal::void`], which is needed most when the disk is full.
const RESERVED_SEGMENTS: usize = 1;
const MAGIC: &[u8; 8] = b"TAWIJRN1";
/// Magic, number of the segment, number of its first record, checksum; less than a sector, so never torn.
const HEADER_BYTES: usize = 8 + 8 + 8 + 4 + 4;
/// Number of the record, length, checksum of the body, checksum of these three and of the segment's number.
const FRAME_BYTES: usize = 8 + 4 + 4 + 4 + 4;
/// Records begin at multiples of it.
const ALIGN: usize = 8;

/// One group: what is applied in one step of the view, and by which rules.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Group {
    pub rules: Rules,
    pub ops: Vec<Op>,
}

/// The same bytes as [`Group`].
#[derive(Serialize)]
struct Borrowed<'o> {
    rules: Rules,
    ops: &'o [Op],
}

/// Why a group was not made durable.
pub(super) enum Refused {
    /// Nothing was written.
    Clean(LedgerError),
    /// It may be in the file all the same: [`Journal::void`] has to say that it doesn't count.
    Doubtful(LedgerError),
}

pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    current: Option<Current>,
    /// Written before the current one, and needed until a checkpoint.
    full: VecDeque<Full>,
    spare: Vec<u64>,
    /// The number of the next record.
    next: u64,
    next_segment: u64,
    buffer: Vec<u8>,
}

struct Current {
    number: u64,
    file: Arc<dyn Segment>,
    length: u64,
    end: u64,
}

struct Full {
    number: u64,
    last: u64,
}

/// A segment as it was found.
struct Found {
    number: u64,
    first: u64,
    file: Arc<dyn Segment>,
    length: u64,
}

fn damaged(what: String) -> LedgerError {
    LedgerError::Format(format!("the journal: {what}; restore a backup, or ask for help before anything is written"))
}

impl Journal {
    /// A journal whose next record is `next`. The segments that are there are used again, so the view must be durable up to
    /// there.
    pub(super) fn begin(disk: Arc<dyn Disk>, next: u64) -> Result<Journal, LedgerError> {
        let spare = disk.segments()?;
        let next_segment = spare.last().map_or(1, |last| last + 1);
        let mut journal = Journal { disk, current: None, full: VecDeque::new(), spare, next, next_segment, buffer: Vec::new() };
        journal.drop_spare();
        // So that the first append doesn't wait for one. On a full disk they are made when there is room.
        while journal.spare.len() <= RESERVED_SEGMENTS {
            if let Err(error) = journal.make_spare(SEGMENT_BYTES) {
                tracing::warn!(%error, "the journal's first segments can't be made yet");
                break;
            }
        }
        Ok(journal)
    }

    /// Makes a group durable, and says its number.
    pub(super) fn append(&mut self, rules: Rules, ops: &[Op]) -> Result<u64, Refused> {
        let number = self.next;
        let frame = self.frame(&Borrowed { rules, ops }).map_err(Refused::Clean)?;
        if self.current.as_ref().is_none_or(|current| current.end + frame > current.length) {
            self.turn(number, frame, RESERVED_SEGMENTS).map_err(Refused::Clean)?;
        }
        let Some(current) = &mut self.current else { return Err(Refused::Clean(LedgerError::Unknown)) };
        seal(&mut self.buffer, current.number, number);
        let written = current.file.write(current.end, &self.buffer).and_then(|()| current.file.sync());
        self.buffer.clear();
        written.map_err(Refused::Doubtful)?;
        current.end += frame;
        self.next += 1;
        Ok(number)
    }

    /// Takes back every record from `from` on, durably: a segment that begins with that number comes behind them. With
    /// [`Journal::next`] it takes back the doubtful one.
    pub(super) fn void(&mut self, from: u64) -> Result<(), LedgerError> {
        self.turn(from, 0, 0)?;
        if let Some(current) = &self.current {
            current.file.sync()?;
        }
        for full in &mut self.full {
            full.last = full.last.min(from.saturating_sub(1));
        }
        self.next = from;
        Ok(())
    }

    /// The view is durable up to `through`: what only holds records up to there may be written over.
    pub(super) fn checkpoint(&mut self, through: u64) {
        while self.full.front().is_some_and(|full| full.last <= through) {
            self.spare.extend(self.full.pop_front().map(|full| full.number));
        }
        self.drop_spare();
    }

    /// The number of the next record; all before it are durable.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    fn drop_spare(&mut self) {
        while self.spare.len() > SPARE_SEGMENTS_MAX {
            // It is found again when the ledger is opened.
            if let Err(error) = self.disk.remove_segment(self.spare.remove(0)) {
                tracing::warn!(%error, "a segment of the journal that nobody needs stays for now");
            }
        }
    }

    /// Leaves a frame with room for its sums in the buffer, and says how long it is.
    fn frame(&mut self, group: &Borrowed<'_>) -> Result<u64, LedgerError> {
        let mut body = Vec::new();
        std::mem::swap(&mut body, &mut self.buffer);
        // The body is encoded behind its frame: no copy.
        body.clear();
        body.resize(FRAME_BYTES, 0);
        self.buffer = record::encode_behind(body, group)?;
        self.buffer.resize(self.buffer.len().next_multiple_of(ALIGN), 0);
        Ok(self.buffer.len() as u64)
    }

    fn make_spare(&mut self, bytes: u64) -> Result<(), LedgerError> {
        let number = self.next_segment;
        self.disk.make_segment(number, bytes)?;
        self.next_segment += 1;
        self.spare.push(number);
        Ok(())
    }

    /// Goes on in another segment, with record `first` at its beginning and room for `bytes`, and leaves `reserve` spare
    /// ones. Its header is durable with the first record.
    fn turn(&mut self, first: u64, bytes: u64, reserve: usize) -> Result<(), LedgerError> {
        if self.full.len() >= FULL_SEGMENTS_MAX + 1 - reserve {
            let reason =
                format!("the journal has {FULL_SEGMENTS_MAX} segments, and the ledger's file can't be brought up to date with them");
            return Err(LedgerError::Full { what: "a group of operations", reason });
        }
        let wanted = HEADER_BYTES as u64 + bytes;
        let (spare, length) = match self.spare_of(wanted)? {
            Some(found) if self.spare.len() > reserve => found,
            _ => {
                let length = wanted.max(SEGMENT_BYTES);
                self.make_spare(length)?;
                (self.spare.len() - 1, length)
            }
        };
        let number = self.next_segment;
        let file = self.disk.rename_segment(self.spare[spare], number)?;
        self.next_segment += 1;
        self.spare[spare] = number;
        file.write(0, &header(number, first))?;
        self.spare.remove(spare);
        let new = Current { number, file, length, end: HEADER_BYTES as u64 };
        if let Some(old) = self.current.replace(new) {
            self.full.push_back(Full { number: old.number, last: self.next - 1 });
        }
        Ok(())
    }

    fn spare_of(&self, wanted: u64) -> Result<Option<(usize, u64)>, LedgerError> {
        for (place, number) in self.spare.iter().enumerate() {
            let length = self.disk.segment(*number)?.len()?;
            if length >= wanted {
                return Ok(Some((place, length)));
            }
        }
        Ok(None)
    }
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

fn header(segment: u64, first: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&segment.to_le_bytes());
    bytes[16..24].copy_from_slice(&first.to_le_bytes());
    let sum = checksum(&[&bytes[..24]]);
    bytes[24..28].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Fills in the frame of a record that is otherwise complete, padding included.
fn seal(record: &mut [u8], segment: u64, number: u64) {
    let (frame, body) = record.split_at_mut(FRAME_BYTES);
    frame[..8].copy_from_slice(&number.to_le_bytes());
    frame[8..12].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame[12..16].copy_from_slice(&checksum(&[body]).to_le_bytes());
    let sum = checksum(&[&segment.to_le_bytes(), &frame[..16]]);
    frame[16..20].copy_from_slice(&sum.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// The first record's number, if this is the header of segment `number`. One of zeros, or of another number, belongs to
/// a segment that was about to be used: no record in it was ever durable.
fn first_of(number: u64, bytes: &[u8; HEADER_BYTES]) -> Result<Option<u64>, LedgerError> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if bytes[..8] != MAGIC[..] || u32_at(bytes, 24) != checksum(&[&bytes[..24]]) {
        return Err(damaged(format!("the header of segment `{number}` is not one")));
    }
    Ok((u64_at(bytes, 8) == number).then(|| u64_at(bytes, 16)))
}

fn find(disk: &dyn Disk) -> Result<Vec<Found>, LedgerError> {
    let mut found = Vec::new();
    for number in disk.segments()? {
        let file = disk.segment(number)?;
        let length = file.len()?;
        let mut bytes = [0; HEADER_BYTES];
        if length < HEADER_BYTES as u64 {
            return Err(damaged(format!("segment `{number}` has {length} bytes")));
        }
        file.read(0, &mut bytes)?;
        found.extend(first_of(number, &bytes)?.map(|first| Found { number, first, file, length }));
    }
    Ok(found)
}

/// Hands the groups `from..until` to `redo`, in order.
///
/// Segments are read in the order in which they were written. A later one takes back what an earlier one has from its first
/// number on, so each counts up to the smallest first number behind it.
pub(super) fn redo(
    disk: &dyn Disk,
    from: u64,
    until: u64,
    mut redo: impl FnMut(u64, Group) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let segments = find(disk)?;
    let mut next = from;
    for (place, segment) in segments.iter().enumerate() {
        let limit = segments[place + 1..].iter().map(|later| later.first).min().unwrap_or(u64::MAX);
        if limit <= next {
            continue;
        }
        if segment.first > next {
            let Found { number, first, .. } = segment;
            return Err(damaged(format!("records {next} to {} are missing before segment `{number}`", first - 1)));
        }
        let mut reader = Reader { segment, offset: HEADER_BYTES as u64, next: segment.first };
        while reader.next < limit.min(until)
            && let Some(body) = reader.record()?
        {
            if reader.next > next {
                redo(next, record::decode("a group of the journal", &body)?)?;
                next += 1;
            }
        }
        if limit == u64::MAX && until == u64::MAX {
            reader.check_end()?;
        } else if reader.next < limit.min(until) {
            let (number, missing) = (segment.number, reader.next);
            return Err(damaged(format!("record {missing} of segment `{number}` is damaged, later ones are not")));
        }
    }
    Ok(())
}

struct Reader<'s> {
    segment: &'s Found,
    offset: u64,
    /// The number of the record that is to be here.
    next: u64,
}

impl Reader<'_> {
    /// Length of the body and its checksum, if there is the frame of a record at `offset`; with its number.
    fn frame(&self, bytes: &[u8]) -> Option<(u64, u32, u32)> {
        let valid = u32_at(bytes, 16) == checksum(&[&self.segment.number.to_le_bytes(), &bytes[..16]]);
        valid.then(|| (u64_at(bytes, 0), u32_at(bytes, 8), u32_at(bytes, 12)))
    }

    /// The next record with its padding; none where they end.
    fn record(&mut self) -> Result<Option<Vec<u8>>, LedgerError> {
        let body_at = self.offset + FRAME_BYTES as u64;
        if body_at > self.segment.length {
            return Ok(None);
        }
        let mut frame = [0; FRAME_BYTES];
        self.segment.file.read(self.offset, &mut frame)?;
        let Some((number, length, sum)) = self.frame(&frame) else { return Ok(None) };
        if number != self.next || body_at + u64::from(length) > self.segment.length {
            return Ok(None);
        }
        let mut body = vec![0; length as usize];
        self.segment.file.read(body_at, &mut body)?;
        if checksum(&[&body]) != sum {
            return Ok(None);
        }
        self.offset = body_at + u64::from(length);
        self.next += 1;
        Ok(Some(body))
    }

    /// One record at most is written before the last one is durable, so nothing can follow one that is torn. If
    /// something does, the disk has lost what it had promised.
    fn check_end(&self) -> Result<(), LedgerError> {
        let mut rest = vec![0; usize::try_from(self.segment.length - self.offset).unwrap_or(0)];
        self.segment.file.read(self.offset, &mut rest)?;
        for at in (0..rest.len().saturating_sub(FRAME_BYTES)).step_by(ALIGN) {
            if let Some((number, ..)) = self.frame(&rest[at..at + FRAME_BYTES])
                && number > self.next
            {
                let (segment, missing) = (self.segment.number, self.next);
                return Err(damaged(format!("record {missing} of segment `{segment}` is damaged, record {number} is not")));
            }
        }
        Ok(())
    }
}
