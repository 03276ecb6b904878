//! Questions: which partitions can know, what each is asked, the page that comes of it.

use super::{
    error::HistoryError,
    month::Month,
    part::{Class, Part},
    partition::{Partition, Partitions},
    query::{EVENTS, Node, compile, parse},
    schema::{Fields, Hit, kind_name, tenant_term},
};
use crate::model::{
    Id, Kind, Micros, Tenant,
    limit::{HISTORY_HITS_MAX, HISTORY_OFFSET_MAX},
};
use std::{
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};
use tantivy::{
    Order, Searcher, TantivyDocument, Term,
    collector::{Count, TopDocs, sort_key::SortByStaticFastValue},
    query::{BooleanQuery, Query as TantivyQuery, RangeQuery, TermQuery, TermSetQuery},
    schema::{Field, IndexRecordOption},
};

/// Which end of time comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    NewestFirst,
    OldestFirst,
}

/// A question to the history.
#[derive(Debug, Clone)]
pub struct Query {
    pub tenant: Tenant,
    /// In the language of `docs/guide/search.md`; empty: everything.
    pub text: String,
    /// Measured at or after this.
    pub from: Option<Micros>,
    /// Measured before this.
    pub to: Option<Micros>,
    /// At most [`HISTORY_HITS_MAX`]; more is taken for that.
    pub limit: usize,
    /// At most [`HISTORY_OFFSET_MAX`].
    pub offset: usize,
    pub sort: Sort,
    /// Only these kinds; None: all.
    pub kinds: Option<Vec<Kind>>,
    /// Only of these; None: whatever device, or none.
    pub sources: Option<Vec<Source>>,
    /// Only of these sensors, of whatever device.
    pub sensors: Option<Vec<Id>>,
    /// The page ends before the values on it are more than so many bytes together, with one hit at least. Who asks for pages goes on behind the
    /// hits that came.
    pub bytes_max: usize,
}

/// A device, and from which time of receipt on it is meant; None: from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub device: Id,
    pub since: Option<Micros>,
}

impl Query {
    /// The newest hundred of what `text` finds.
    pub fn new(tenant: Tenant, text: &str) -> Query {
        Query {
            tenant,
            text: text.to_owned(),
            from: None,
            to: None,
            limit: 100,
            offset: 0,
            sort: Sort::default(),
            kinds: None,
            sources: None,
            sensors: None,
            bytes_max: usize::MAX,
        }
    }
}

/// An answer in the order of measured times, of equal times in the order they came in; newest first, or oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// How many there are in all.
    pub total: u64,
    pub hits: Vec<Hit>,
}

/// The time that a question may take.
pub(super) struct Clock {
    started: Instant,
    allowed: Duration,
}

impl Clock {
    pub fn new(allowed: Duration) -> Clock {
        Clock { started: Instant::now(), allowed }
    }

    pub fn check(&self) -> Result<(), HistoryError> {
        if self.started.elapsed() >= self.allowed { Err(HistoryError::Slow(self.allowed)) } else { Ok(()) }
    }
}

impl Partitions {
    pub fn search(&self, query: &Query, clock: &Clock) -> Result<Page, HistoryError> {
        if query.offset > HISTORY_OFFSET_MAX {
            return Err(HistoryError::Offset(query.offset));
        }
        let node = parse(&query.text, &EVENTS)?;
        let mut is_full = false;
        let (mut page, mut skip, limit) = (Page::default(), query.offset, query.limit.min(HISTORY_HITS_MAX));
        for part in self.asked(query) {
            clock.check()?;
            // Dropped since the list was made.
            let Some(partition) = self.get(part)? else { continue };
            let question = Question::new(partition, &self.fields, query, &node)?;
            let found = question.count()?;
            page.total += found;
            let found = usize::try_from(found).unwrap_or(usize::MAX);
            let wanted = limit - page.hits.len();
            if wanted > 0 && skip < found && !is_full {
                is_full = question.top(query, skip, wanted, &self.fields, &mut page.hits)?;
            }
            skip = skip.saturating_sub(found);
        }
        Ok(page)
    }

    pub fn count(&self, query: &Query, clock: &Clock) -> Result<u64, HistoryError> {
        let node = parse(&query.text, &EVENTS)?;
        let mut total = 0;
        for part in self.asked(query) {
            clock.check()?;
            if let Some(partition) = self.get(part)? {
                total += Question::new(partition, &self.fields, query, &node)?.count()?;
            }
        }
        Ok(total)
    }

    /// Partitions that can hold what is asked for, in its order.
    pub fn asked(&self, query: &Query) -> Vec<Part> {
        let mut parts = self.parts();
        parts.retain(|part| part.class == Class::Events && part.month.meets(query.from, query.to));
        if query.sort == Sort::NewestFirst {
            parts.reverse();
        }
        parts
    }
}

/// A query put to one partition as it is now.
pub(super) struct Question {
    pub partition: Arc<Partition>,
    pub searcher: Searcher,
    pub query: Box<dyn TantivyQuery>,
}

impl Question {
    /// The tenant is a condition beside the text's, never part of the text: no parenthesis gets out of it.
    pub fn new(partition: Arc<Partition>, fields: &Fields, query: &Query, node: &Node) -> Result<Question, HistoryError> {
        let searcher = partition.searcher()?;
        let words = partition.index.tokenizer_for_field(fields.text).map_err(|e| partition.error("read the words", e))?;
        let mut all = vec![term(tenant_term(fields, &query.tenant))];
        if *node != Node::All {
            all.push(compile(node, fields, &words)?);
        }
        if let Some(kinds) = &query.kinds {
            let kinds = kinds.iter().map(|kind| term(Term::from_field_text(fields.kind, kind_name(*kind))));
            all.push(Box::new(BooleanQuery::union(kinds.collect())));
        }
        all.extend(query.sources.as_ref().map(|sources| any_source(fields, sources)));
        all.extend(query.sensors.as_ref().map(|sensors| any_of(fields.sensor, sensors.iter())));
        all.extend(window(fields.measured, partition.part.month, query.from, query.to));
        let query: Box<dyn TantivyQuery> = match all.len() {
            1 => all.swap_remove(0),
            _ => Box::new(BooleanQuery::intersection(all)),
        };
        Ok(Question { partition, searcher, query })
    }

    fn count(&self) -> Result<u64, HistoryError> {
        let count = self.searcher.search(&self.query, &Count).map_err(|e| self.partition.error("count in the index", e))?;
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// Whether no more fits the page.
    fn top(&self, query: &Query, skip: usize, wanted: usize, fields: &Fields, hits: &mut Vec<Hit>) -> Result<bool, HistoryError> {
        let failed = |e| self.partition.error("search the index", e);
        let mut bytes: usize = hits.iter().map(Hit::bytes).sum();
        let order = match query.sort {
            Sort::NewestFirst => Order::Desc,
            Sort::OldestFirst => Order::Asc,
        };
        let measured = (SortByStaticFastValue::<i64>::for_field("measured"), order);
        let came = (SortByStaticFastValue::<u64>::for_field("seq"), order);
        let collector = TopDocs::with_limit(wanted).and_offset(skip).order_by((measured, came));
        for (_, address) in self.searcher.search(&self.query, &collector).map_err(failed)? {
            let doc: TantivyDocument = self.searcher.doc(address).map_err(failed)?;
            let name = || self.partition.part.to_string();
            let hit = fields.hit(&doc).ok_or_else(|| HistoryError::Format { name: name(), why: "a stored event is not one".to_owned() })?;
            bytes = bytes.saturating_add(hit.bytes());
            if bytes > query.bytes_max && !hits.is_empty() {
                return Ok(true);
            }
            hits.push(hit);
        }
        Ok(false)
    }
}

/// The window of time, where it cuts through the month.
pub(super) fn window(field: Field, month: Month, from: Option<Micros>, to: Option<Micros>) -> Option<Box<dyn TantivyQuery>> {
    let term = |time: Micros| Term::from_field_i64(field, time.0);
    let from = from.filter(|from| *from > month.start()).map_or(Bound::Unbounded, |from| Bound::Included(term(from)));
    let to = to.filter(|to| *to < month.end()).map_or(Bound::Unbounded, |to| Bound::Excluded(term(to)));
    match (&from, &to) {
        (Bound::Unbounded, Bound::Unbounded) => None,
        _ => Some(Box::new(RangeQuery::new(from, to))),
    }
}

fn term(term: Term) -> Box<dyn TantivyQuery> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

/// However many there are, they are looked up in one pass over the field's terms.
fn any_of<'a>(field: Field, ids: impl Iterator<Item = &'a Id>) -> Box<dyn TantivyQuery> {
    Box::new(TermSetQuery::new(ids.map(|id| Term::from_field_text(field, id.as_str()))))
}

fn any_source(fields: &Fields, sources: &[Source]) -> Box<dyn TantivyQuery> {
    let mut any = vec![any_of(fields.device, sources.iter().filter(|source| source.since.is_none()).map(|source| &source.device))];
    for source in sources {
        let Some(since) = source.since else { continue };
        let device = term(Term::from_field_text(fields.device, source.device.as_str()));
        let received = RangeQuery::new(Bound::Included(Term::from_field_i64(fields.received, since.0)), Bound::Unbounded);
        any.push(Box::new(BooleanQuery::intersection(vec![device, Box::new(received)])));
    }
    Box::new(BooleanQuery::union(any))
}
