//! Who writes: a few open partitions, a batch at a time, each event once.
//!
//! A partition's commit carries a *position*: every event of the partition up to it is in that commit, none after it is.
//! The position file carries the lowest position that all partitions together have. A restart reads the log from there,
//! and each partition skips what its own commit says it has. So no file has to change together with another one.

use super::{
    HistoryOptions,
    disk::Disk,
    error::HistoryError,
    part::{Class, Part},
    partition::{Partition, Partitions},
};
use crate::model::{Event, Kind, Seq};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Instant};
use tantivy::{
    IndexWriter, TantivyError,
    directory::error::OpenReadError,
    indexer::{IndexWriterOptions, LogMergePolicy, NoMergePolicy},
};

const POSITION_FILE: &str = "position.json";
const FORMAT: u32 = 1;

/// Bytes of events handed to Tantivy before a commit is due whatever the time: they wait in queues that count only documents.
const UNCOMMITTED_BYTES_MAX: usize = 32 << 20;
/// Memory of one open writer: the least that Tantivy takes.
const WRITER_BYTES: usize = 15_000_000;
/// Segments of about one size that are merged into one. Eight: each document is rewritten some five times in a partition of ten million.
const MERGE_SEGMENTS: usize = 8;
/// Segments below this count as one size. Low, because a quiet node commits single documents, and each merge writes the whole level again.
const MERGE_LAYER_DOCS: u32 = 1_000;
/// Larger segments are left as they are: merging them would take a small gateway minutes for little gain.
const MERGE_DOCS_MAX: usize = 3_000_000;

#[derive(Debug, Serialize, Deserialize)]
struct Position {
    format: u32,
    position: Seq,
}

pub(super) struct Writers {
    disk: Arc<dyn Disk>,
    partitions: Arc<Partitions>,
    options: HistoryOptions,
    open: Vec<Open>,
    /// Every event up to here is in a commit or in an open writer.
    processed: Seq,
    /// What the position file says.
    stored: Seq,
    uncommitted_bytes: usize,
    last_commit: Instant,
    last_event: Instant,
    batches: u64,
}

/// A partition that is being written to.
struct Open {
    partition: Arc<Partition>,
    writer: IndexWriter,
    /// Its commit has every event up to here: read when it was opened.
    has: Seq,
    /// The position that a commit now may carry.
    through: Seq,
    dirty: bool,
    /// The last batch that had something for it.
    used: u64,
}

impl Writers {
    pub fn new(disk: Arc<dyn Disk>, partitions: Arc<Partitions>, options: HistoryOptions) -> Result<Writers, HistoryError> {
        let stored = read_position(&*disk)?;
        Ok(Writers {
            disk,
            partitions,
            options,
            open: vec![],
            processed: stored,
            stored,
            uncommitted_bytes: 0,
            last_commit: Instant::now(),
            last_event: Instant::now(),
            batches: 0,
        })
    }

    /// Every event up to here has been taken.
    pub fn processed(&self) -> Seq {
        self.processed
    }

    /// Every event up to here is on disk and found by searches.
    pub fn stored(&self) -> Seq {
        self.stored
    }

    pub fn is_dirty(&self) -> bool {
        self.processed > self.stored
    }

    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    pub fn since_commit(&self) -> std::time::Duration {
        self.last_commit.elapsed()
    }

    pub fn since_event(&self) -> std::time::Duration {
        self.last_event.elapsed()
    }

    pub fn is_full(&self) -> bool {
        self.uncommitted_bytes >= UNCOMMITTED_BYTES_MAX
    }

    /// Takes events in ascending order; those taken before are skipped. They are found, and kept, from the next commit on.
    pub fn index(&mut self, events: &[Arc<Event>]) -> Result<(), HistoryError> {
        let result = self.try_index(events);
        self.back_to_the_last_commit_unless(result)
    }

    pub fn commit(&mut self) -> Result<(), HistoryError> {
        let result = self.try_commit();
        self.back_to_the_last_commit_unless(result)
    }

    /// An error leaves open writers in a state nobody knows. What is on disk is known, and the log still has the rest.
    fn back_to_the_last_commit_unless(&mut self, result: Result<(), HistoryError>) -> Result<(), HistoryError> {
        if result.is_err() {
            self.abandon();
        }
        result
    }

    /// Forgets what is not committed and closes the writers.
    pub fn abandon(&mut self) {
        self.open.drain(..).for_each(Open::let_go);
        self.processed = self.stored;
        self.uncommitted_bytes = 0;
    }

    fn try_index(&mut self, events: &[Arc<Event>]) -> Result<(), HistoryError> {
        let new = events.partition_point(|event| event.seq <= self.processed);
        let events = events.get(new..).unwrap_or_default();
        let Some(end) = events.last().map(|event| event.seq) else { return Ok(()) };
        let mut groups: BTreeMap<Part, Vec<&Arc<Event>>> = BTreeMap::new();
        // Which records of the node changed is nobody's history.
        for event in events.iter().filter(|event| !matches!(event.kind, Kind::Registry | Kind::Trigger)) {
            groups.entry(Part::of(event)).or_default().push(event);
            self.uncommitted_bytes += event.size_bytes();
        }
        self.batches += 1;
        self.last_event = Instant::now();
        // Those that are open first: a batch over many months then closes each writer at most once.
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(part, _)| !self.is_open(*part));
        for (part, group) in groups {
            self.add(part, &group, end)?;
        }
        self.processed = end;
        self.open.iter_mut().for_each(|open| open.through = end);
        Ok(())
    }

    /// Adds all that a batch which ends at `end` has for a partition.
    fn add(&mut self, part: Part, events: &[&Arc<Event>], end: Seq) -> Result<(), HistoryError> {
        let (batch, partitions) = (self.batches, self.partitions.clone());
        let open = self.open(part)?;
        open.used = batch;
        for event in events.iter().filter(|event| event.seq > open.has) {
            let document = match part.class {
                Class::Events => Some(partitions.fields.document(event)),
                Class::Runs => partitions.run_fields.document(event),
            };
            let Some(document) = document else {
                tracing::warn!(sequence = event.seq, "the record of a call can't be read, and is left out of the history");
                continue;
            };
            open.dirty = true;
            let added = open.writer.add_document(document);
            added.map_err(|e| open.partition.error("add to the index", e))?;
        }
        open.through = end;
        Ok(())
    }

    fn is_open(&self, part: Part) -> bool {
        self.open.iter().any(|open| open.partition.part == part)
    }

    fn open(&mut self, part: Part) -> Result<&mut Open, HistoryError> {
        let at = match self.open.iter().position(|open| open.partition.part == part) {
            Some(at) => at,
            None => {
                while self.open.len() >= self.options.open_writers_max.max(1) {
                    self.close_least_used()?;
                }
                let partition = self.partitions.get_or_create(part)?;
                self.open.push(Open::new(partition, self.processed)?);
                self.open.len() - 1
            }
        };
        Ok(&mut self.open[at])
    }

    fn close_least_used(&mut self) -> Result<(), HistoryError> {
        let least = self.open.iter().enumerate().min_by_key(|(_, open)| open.used).map(|(at, _)| at);
        match least {
            Some(at) => self.open.swap_remove(at).close(),
            None => Ok(()),
        }
    }

    fn try_commit(&mut self) -> Result<(), HistoryError> {
        for open in &mut self.open {
            open.commit()?;
            crate::fault::point("index");
        }
        self.uncommitted_bytes = 0;
        if self.processed > self.stored {
            write_position(&*self.disk, self.processed)?;
            self.stored = self.processed;
        }
        self.last_commit = Instant::now();
        Ok(())
    }

    /// Commits and closes everything: a node with nothing to write needs no memory for it.
    pub fn rest(&mut self) -> Result<(), HistoryError> {
        self.commit()?;
        for open in self.open.drain(..) {
            open.close()?;
        }
        Ok(())
    }

    /// Lets go of a partition that is about to be dropped, and of what is in it.
    pub fn forget(&mut self, part: Part) -> Result<(), HistoryError> {
        self.commit()?;
        if let Some(at) = self.open.iter().position(|open| open.partition.part == part) {
            self.open.swap_remove(at).let_go();
        }
        Ok(())
    }
}

impl Open {
    fn new(partition: Arc<Partition>, through: Seq) -> Result<Open, HistoryError> {
        let options = IndexWriterOptions::builder();
        let options = options.num_worker_threads(1).num_merge_threads(1).memory_budget_per_thread(WRITER_BYTES).build();
        let writer: IndexWriter = partition.index.writer_with_options(options).map_err(|e| partition.error("write the index", e))?;
        let mut policy = LogMergePolicy::default();
        policy.set_min_num_segments(MERGE_SEGMENTS);
        policy.set_min_layer_size(MERGE_LAYER_DOCS);
        policy.set_max_docs_before_merge(MERGE_DOCS_MAX);
        writer.set_merge_policy(Box::new(policy));
        // Only now that nobody else can commit.
        let has = partition.through()?;
        Ok(Open { partition, writer, has, through, dirty: false, used: 0 })
    }

    fn commit(&mut self) -> Result<(), HistoryError> {
        if !self.dirty {
            return Ok(());
        }
        let position = self.through.max(self.has).to_string();
        let commit = |writer: &mut IndexWriter| -> Result<(), TantivyError> {
            let mut prepared = writer.prepare_commit()?;
            prepared.set_payload(&position);
            prepared.commit()?;
            Ok(())
        };
        commit(&mut self.writer).map_err(|e| self.partition.error("commit the index", e))?;
        self.dirty = false;
        self.partition.reload()
    }

    /// Ends the merge that runs and begins none: one that went on behind our back could replace files that the next
    /// writer of the partition counts on. Whether it succeeds is nobody's concern, nothing depends on a merge.
    fn let_go(self) {
        self.writer.set_merge_policy(Box::new(NoMergePolicy));
        if let Err(error) = self.writer.wait_merging_threads() {
            tracing::debug!(%error, partition = %self.partition.part, "a merge was given up");
        }
    }

    /// Commits, and waits for merges: a writer that is opened for one batch and closed would never finish one.
    fn close(mut self) -> Result<(), HistoryError> {
        self.commit()?;
        self.writer.wait_merging_threads().map_err(|e| self.partition.error("merge the index", e))
    }
}

fn read_position(disk: &dyn Disk) -> Result<Seq, HistoryError> {
    let wrong = |why: String| HistoryError::Format { name: POSITION_FILE.to_owned(), why };
    let bytes = match disk.root().atomic_read(Path::new(POSITION_FILE)) {
        Ok(bytes) => bytes,
        Err(OpenReadError::FileDoesNotExist(_)) => return Ok(0),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let position: Position = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
    if position.format != FORMAT {
        return Err(wrong(format!("it has format {}, this version knows {FORMAT}", position.format)));
    }
    Ok(position.position)
}

/// Durable when it returns: only then may the log be trimmed up to here.
fn write_position(disk: &dyn Disk, position: Seq) -> Result<(), HistoryError> {
    let text = serde_json::json!({ "format": FORMAT, "position": position }).to_string();
    let root = disk.root();
    let write = || {
        root.atomic_write(Path::new(POSITION_FILE), text.as_bytes())?;
        root.sync_directory()
    };
    write().map_err(|source| HistoryError::Disk { doing: "write the position", source })
}
