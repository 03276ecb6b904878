//! The partitions on disk: one Tantivy index for each month that something was measured in, or in which calls ran.

use super::{
    disk::{Disk, Partitioned},
    error::HistoryError,
    part::{Class, Part},
    run_schema::RunFields,
    schema::Fields,
    zones::Zones,
};
use crate::model::Seq;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tantivy::{Directory, Index, IndexReader, IndexSettings, ReloadPolicy, Searcher, TantivyError, store::Compressor};

/// A partition that is on its way out carries this before its name, so that a crash half-way leaves nothing that looks whole.
const DROPPED: &str = "dropped-";
/// Blocks of stored documents, 16 KiB each, that a segment's reader keeps uncompressed. A page of hits is read once.
const STORE_CACHE_BLOCKS: usize = 2;

#[derive(Debug)]
pub(super) struct Partitions {
    pub fields: Fields,
    pub run_fields: RunFields,
    disk: Arc<dyn Disk>,
    /// Every partition there is; `None` while nobody has needed it.
    map: Mutex<BTreeMap<Part, Option<Arc<Partition>>>>,
    used: Mutex<Instant>,
}

pub(super) struct Partition {
    pub part: Part,
    pub index: Index,
    /// Of a partition of runs.
    pub zones: Zones,
    reader: Mutex<Option<IndexReader>>,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Partition({})", self.part)
    }
}

impl Partitions {
    /// Finds what is there and clears away what was being dropped.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Partitions, HistoryError> {
        let failed = |source| HistoryError::Disk { doing: "list the partitions", source };
        let mut map = BTreeMap::new();
        for name in disk.names().map_err(failed)? {
            if name.starts_with(DROPPED) {
                disk.remove(&name).map_err(failed)?;
            } else if let Some(part) = Part::parse(&name) {
                map.insert(part, None);
            }
        }
        Ok(Partitions { fields: Fields::new(), run_fields: RunFields::new(), disk, map: Mutex::new(map), used: Mutex::new(Instant::now()) })
    }

    pub fn parts(&self) -> Vec<Part> {
        self.map.lock().keys().copied().collect()
    }

    /// The partition, if there is one.
    pub fn get(&self, part: Part) -> Result<Option<Arc<Partition>>, HistoryError> {
        let mut map = self.map.lock();
        *self.used.lock() = Instant::now();
        match map.get(&part) {
            None => Ok(None),
            Some(Some(open)) => Ok(Some(open.clone())),
            Some(None) => {
                let opened = self.open_one(part)?;
                map.insert(part, Some(opened.clone()));
                Ok(Some(opened))
            }
        }
    }

    /// The partition, made if it must be. Its name is durable before anything is written into it.
    pub fn get_or_create(&self, part: Part) -> Result<Arc<Partition>, HistoryError> {
        if let Some(there) = self.get(part)? {
            return Ok(there);
        }
        let make = || {
            self.disk.create(&part.to_string())?;
            self.disk.root().sync_directory()
        };
        make().map_err(|source| HistoryError::Disk { doing: "make a partition", source })?;
        let made = self.open_one(part)?;
        self.map.lock().insert(part, Some(made.clone()));
        Ok(made)
    }

    fn open_one(&self, part: Part) -> Result<Arc<Partition>, HistoryError> {
        let failed = |source| HistoryError::Disk { doing: "open a partition", source };
        let directory = Partitioned::open(&*self.disk, &part.to_string()).map_err(failed)?;
        // What a commit that failed half-way left visible is taken for written from here on, so it has to be.
        directory.sync_directory().map_err(failed)?;
        let settings =
            IndexSettings { docstore_compression: Compressor::Lz4, docstore_compress_dedicated_thread: false, ..IndexSettings::default() };
        let schema = match part.class {
            Class::Events => self.fields.schema.clone(),
            Class::Runs => self.run_fields.schema.clone(),
        };
        let builder = Index::builder().schema(schema).settings(settings);
        let index = builder.open_or_create(directory).map_err(|e| index_error("open the index", part, e))?;
        Ok(Arc::new(Partition { part, index, zones: Zones::default(), reader: Mutex::new(None) }))
    }

    /// Removes a partition with all that is in it. Searches that run go on to see it.
    pub fn drop_one(&self, part: Part) -> Result<(), HistoryError> {
        let mut map = self.map.lock();
        let (name, dropped) = (part.to_string(), format!("{DROPPED}{part}"));
        let drop_it = || -> io::Result<()> {
            self.disk.rename(&name, &dropped)?;
            self.disk.root().sync_directory()?;
            self.disk.remove(&dropped)
        };
        map.remove(&part);
        drop_it().map_err(|source| HistoryError::Disk { doing: "drop a partition", source })
    }

    /// How long nobody has asked for one that is open; None: none is.
    pub fn since_use(&self) -> Option<Duration> {
        let open = self.map.lock().values().any(Option::is_some);
        open.then(|| self.used.lock().elapsed())
    }

    /// Closes what nobody holds, for a node that has nothing to do.
    pub fn rest(&self) {
        for partition in self.map.lock().values_mut() {
            if partition.as_ref().is_some_and(|open| Arc::strong_count(open) == 1) {
                *partition = None;
            }
        }
    }
}

impl Partition {
    /// The last commit's position: every event of this partition up to here is in it, none after it is.
    pub fn through(&self) -> Result<Seq, HistoryError> {
        let metas = self.index.load_metas().map_err(|e| self.error("read the position", e))?;
        let Some(payload) = metas.payload else { return Ok(0) };
        let wrong = || HistoryError::Format { name: self.part.to_string(), why: format!("its commit says `{payload}`, not a position") };
        payload.parse().map_err(|_| wrong())
    }

    /// What was committed last.
    pub fn searcher(&self) -> Result<Searcher, HistoryError> {
        let mut reader = self.reader.lock();
        let open = match &*reader {
            Some(open) => open,
            None => {
                let builder = self.index.reader_builder();
                let builder = builder.reload_policy(ReloadPolicy::Manual).doc_store_cache_num_blocks(STORE_CACHE_BLOCKS);
                reader.insert(builder.try_into().map_err(|e| self.error("open the reader", e))?)
            }
        };
        Ok(open.searcher())
    }

    /// Shows a commit to the searches that begin after it.
    pub fn reload(&self) -> Result<(), HistoryError> {
        match &*self.reader.lock() {
            Some(reader) => reader.reload().map_err(|e| self.error("reload the reader", e)),
            None => Ok(()),
        }
    }

    pub fn error(&self, doing: &'static str, source: TantivyError) -> HistoryError {
        index_error(doing, self.part, source)
    }

    /// The files of the partition, for tests and for what a dashboard shows.
    #[cfg(test)]
    pub fn segments(&self) -> usize {
        self.index.searchable_segment_ids().map(|ids| ids.len()).unwrap_or(0)
    }
}

fn index_error(doing: &'static str, part: Part, source: TantivyError) -> HistoryError {
    HistoryError::Index { doing, partition: part.to_string(), source: Box::new(source) }
}
