//! Where in a segment the newest runs are: what a question for twenty of ten million looks at first, and mostly alone.
//!
//! The documents of a segment that was merged are not in the order of the log, but pieces of it are. So each some thousand documents
//! are known by their newest sequence and by the times that they span; questions visit them from the newest on.

use parking_lot::Mutex;
use std::{collections::HashMap, ops::Range, sync::Arc};
use tantivy::{DocId, SegmentReader, index::SegmentId};

/// Documents of one zone: small beside a segment, large beside what it costs to begin with one.
const ZONE_DOCS: u32 = 4_096;

#[derive(Debug, Clone)]
pub(super) struct Zone {
    pub docs: Range<DocId>,
    pub seq_max: u64,
    pub start_min: i64,
    pub start_max: i64,
}

/// The zones of the segments that were asked about.
#[derive(Debug, Default)]
pub(super) struct Zones(Mutex<HashMap<SegmentId, Arc<Vec<Zone>>>>);

impl Zones {
    pub fn of(&self, segment: &SegmentReader) -> tantivy::Result<Arc<Vec<Zone>>> {
        if let Some(known) = self.0.lock().get(&segment.segment_id()) {
            return Ok(known.clone());
        }
        let zones = Arc::new(measure(segment)?);
        self.0.lock().insert(segment.segment_id(), zones.clone());
        Ok(zones)
    }

    /// Forgets segments that are no more.
    pub fn keep(&self, segments: &[SegmentReader]) {
        let mut known = self.0.lock();
        if known.len() > segments.len() {
            known.retain(|id, _| segments.iter().any(|segment| segment.segment_id() == *id));
        }
    }
}

fn measure(segment: &SegmentReader) -> tantivy::Result<Vec<Zone>> {
    let (seqs, starts) = (segment.fast_fields().u64("seq")?, segment.fast_fields().i64("start")?);
    let (mut zones, mut first) = (Vec::new(), 0);
    let (mut some_seqs, mut some_starts) = (Vec::new(), Vec::new());
    while first < segment.max_doc() {
        let end = segment.max_doc().min(first.saturating_add(ZONE_DOCS));
        let len = (end - first) as usize;
        some_seqs.resize(len, 0);
        some_starts.resize(len, 0);
        seqs.values.get_range(u64::from(first), &mut some_seqs);
        starts.values.get_range(u64::from(first), &mut some_starts);
        zones.push(Zone {
            docs: first..end,
            seq_max: some_seqs.iter().copied().max().unwrap_or(0),
            start_min: some_starts.iter().copied().min().unwrap_or(i64::MIN),
            start_max: some_starts.iter().copied().max().unwrap_or(i64::MAX),
        });
        first = end;
    }
    Ok(zones)
}
