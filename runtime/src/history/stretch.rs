//! A stretch of the past in the order in which it came, or in which it was measured, for who goes through all of it.

use super::{
    History,
    error::HistoryError,
    partition::Partition,
    query::Node,
    schema::Hit,
    search::{Query, Question},
};
use crate::model::{Micros, Seq};
use std::{
    ops::{Bound, Range},
    sync::Arc,
};
use tantivy::{
    DocAddress, DocId, Score, Searcher, SegmentOrdinal, SegmentReader, TantivyDocument, Term,
    collector::{Collector, SegmentCollector},
    columnar::Column,
    query::{BooleanQuery, Query as TantivyQuery, RangeQuery},
};

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Came,
    /// Of one time, as it came.
    Measured,
}

/// What of some sequences is in the history, as it was when it was asked: what is dropped meanwhile is still read.
pub struct Stretch {
    history: History,
    asked: Vec<(Arc<Partition>, Searcher)>,
    /// In its order: which of those that were asked, and where.
    found: std::vec::IntoIter<(Micros, Seq, usize, DocAddress)>,
}

impl History {
    /// What a question finds among these sequences; its text, its order and its pages are not asked for. Blocks, and takes some tens of
    /// bytes for each that is found.
    pub fn stretch(&self, query: &Query, seqs: Range<Seq>, order: Order) -> Result<Stretch, HistoryError> {
        let fields = &self.partitions.fields;
        let (mut asked, mut found) = (Vec::new(), Vec::new());
        for part in self.partitions.asked(query) {
            // Dropped since the list was made.
            let Some(partition) = self.partitions.get(part)? else { continue };
            let Question { partition, searcher, query } = Question::new(partition, fields, query, &Node::All)?;
            let term = |seq| Term::from_field_u64(fields.seq, seq);
            let among: Box<dyn TantivyQuery> =
                Box::new(RangeQuery::new(Bound::Included(term(seqs.start)), Bound::Excluded(term(seqs.end))));
            let query = BooleanQuery::intersection(vec![among, query]);
            let failed = |e| partition.error("search the index", e);
            let here = searcher.search(&query, &Places).map_err(failed)?;
            found.extend(here.into_iter().map(|(measured, seq, address)| (measured, seq, asked.len(), address)));
            asked.push((partition, searcher));
        }
        match order {
            Order::Came => found.sort_unstable_by_key(|(_, seq, ..)| *seq),
            Order::Measured => found.sort_unstable_by_key(|(measured, seq, ..)| (*measured, *seq)),
        }
        Ok(Stretch { history: self.clone(), asked, found: found.into_iter() })
    }
}

impl Stretch {
    /// How many are left.
    pub fn left(&self) -> usize {
        self.found.len()
    }

    /// The next ones, at most so many and about so many bytes, at least one where there is one. Blocks.
    pub fn next(&mut self, max: usize, bytes_max: usize) -> Result<Vec<Hit>, HistoryError> {
        let (mut hits, mut bytes) = (Vec::new(), 0);
        while hits.len() < max && bytes < bytes_max {
            let Some((_, _, which, address)) = self.found.next() else { break };
            let (partition, searcher) = &self.asked[which];
            let doc: TantivyDocument = searcher.doc(address).map_err(|e| partition.error("read the index", e))?;
            let broken = || HistoryError::Format { name: partition.part.to_string(), why: "a stored event is not one".to_owned() };
            let hit = self.history.partitions.fields.hit(&doc).ok_or_else(broken)?;
            bytes += hit.bytes();
            hits.push(hit);
        }
        Ok(hits)
    }
}

/// Where each document is that is found, with its sequence.
struct Places;

struct PlacesOf {
    seqs: Column<u64>,
    measured: Column<i64>,
    segment: SegmentOrdinal,
    found: Vec<(Micros, Seq, DocAddress)>,
}

impl Collector for Places {
    type Fruit = Vec<(Micros, Seq, DocAddress)>;
    type Child = PlacesOf;

    fn for_segment(&self, segment: SegmentOrdinal, reader: &SegmentReader) -> tantivy::Result<PlacesOf> {
        let columns = reader.fast_fields();
        Ok(PlacesOf { seqs: columns.u64("seq")?, measured: columns.i64("measured")?, segment, found: Vec::new() })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, fruits: Vec<Self::Fruit>) -> tantivy::Result<Self::Fruit> {
        Ok(fruits.concat())
    }
}

impl SegmentCollector for PlacesOf {
    type Fruit = Vec<(Micros, Seq, DocAddress)>;

    fn collect(&mut self, doc: DocId, _: Score) {
        let seq = self.seqs.first(doc).unwrap_or_default();
        let measured = Micros(self.measured.first(doc).unwrap_or_default());
        self.found.push((measured, seq, DocAddress::new(self.segment, doc)));
    }

    fn harvest(self) -> Self::Fruit {
        self.found
    }
}
