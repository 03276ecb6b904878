//! Questions about how calls went: the newest that fit, without a look at all the others.

use super::{
    error::HistoryError,
    part::Part,
    partition::{Partition, Partitions},
    query::{Node, RUNS, compile, parse},
    run_schema::{RunFields, millis},
    search::{Clock, window},
    zones::Zone,
};
use crate::model::{
    Micros, Run, Seq, Tenant,
    limit::{HISTORY_OFFSET_MAX, RUNS_MAX},
};
use std::{cmp::Reverse, sync::Arc};
use tantivy::{
    DocAddress, DocSet, Searcher, TERMINATED, TantivyDocument, Term,
    collector::Count,
    query::{AllQuery, BooleanQuery, EnableScoring, Query as TantivyQuery, TermQuery, Weight},
    schema::IndexRecordOption,
};

/// Zones that are looked into at first; four times as many each time that they were not enough.
const ZONES_FIRST: usize = 4;

/// A question about calls.
#[derive(Debug, Clone)]
pub struct RunQuery {
    pub tenant: Tenant,
    /// In the language of `docs/guide/search.md`; empty: all.
    pub text: String,
    /// Begun at or after this.
    pub from: Option<Micros>,
    /// Begun before this.
    pub to: Option<Micros>,
    /// Only those whose records came after this one.
    pub after: Option<Seq>,
    /// At most [`RUNS_MAX`]; more is taken for that.
    pub limit: usize,
    /// At most [`HISTORY_OFFSET_MAX`].
    pub offset: usize,
}

/// Newest first: by month of their begin, then as they came into the log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunPage {
    pub hits: Vec<RunHit>,
    /// There are others behind these.
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RunHit {
    /// Of the record.
    pub seq: Seq,
    pub run: Run,
}

impl RunQuery {
    pub fn new(tenant: Tenant, text: &str) -> RunQuery {
        RunQuery { tenant, text: text.to_owned(), from: None, to: None, after: None, limit: 100, offset: 0 }
    }

    /// Whether a call that began then, with a record of this sequence, is in what is asked for.
    fn has(&self, start: i64, seq: Seq) -> bool {
        self.after.is_none_or(|after| seq > after) && self.from.is_none_or(|from| start >= from.0) && self.to.is_none_or(|to| start < to.0)
    }

    fn may_have(&self, zone: &Zone) -> bool {
        self.after.is_none_or(|after| zone.seq_max > after)
            && self.from.is_none_or(|from| zone.start_max >= from.0)
            && self.to.is_none_or(|to| zone.start_min < to.0)
    }
}

impl RunHit {
    /// As the API shows it: times in RFC 3339, durations in milliseconds.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(&self.run).unwrap_or_default();
        if let Some(entries) = json.as_object_mut() {
            entries.insert("sequence".to_owned(), self.seq.into());
            entries.insert("start".to_owned(), self.run.start.to_string().into());
            entries.remove("took_micros");
            entries.remove("cpu_micros");
            entries.insert("duration_ms".to_owned(), millis(self.run.took_micros).into());
            entries.insert("cpu_ms".to_owned(), millis(self.run.cpu_micros).into());
        }
        json
    }
}

impl Partitions {
    pub fn runs(&self, query: &RunQuery, clock: &Clock) -> Result<RunPage, HistoryError> {
        if query.offset > HISTORY_OFFSET_MAX {
            return Err(HistoryError::Offset(query.offset));
        }
        let node = parse(&query.text, &RUNS)?;
        let limit = query.limit.min(RUNS_MAX);
        // One more than is wanted tells whether there are more.
        let wanted = query.offset + limit + 1;
        let (mut page, mut seen) = (RunPage::default(), 0);
        for part in self.asked_runs(query) {
            clock.check()?;
            // Dropped since the list was made.
            let Some(partition) = self.get(part)? else { continue };
            let newest = Newest { question: Question::new(partition, &self.run_fields, query, &node)?, query, clock };
            let found = newest.find(wanted - seen)?;
            let skipped = query.offset.saturating_sub(seen);
            seen += found.len();
            for (seq, address) in found.iter().skip(skipped).take(limit - page.hits.len()) {
                page.hits.push(RunHit { seq: *seq, run: newest.question.run(&self.run_fields, *address)? });
            }
            if seen >= wanted {
                page.more = true;
                break;
            }
        }
        Ok(page)
    }

    pub fn count_runs(&self, query: &RunQuery, clock: &Clock) -> Result<u64, HistoryError> {
        let node = parse(&query.text, &RUNS)?;
        let mut total = 0;
        for part in self.asked_runs(query) {
            clock.check()?;
            if let Some(partition) = self.get(part)? {
                total += Question::new(partition, &self.run_fields, query, &node)?.count(&self.run_fields, query)?;
            }
        }
        Ok(total)
    }

    fn asked_runs(&self, query: &RunQuery) -> Vec<Part> {
        let mut parts = self.parts();
        parts.retain(|part| part.has_runs(query.from, query.to));
        parts.reverse();
        parts
    }
}

/// A query put to one partition as it is now, its window of time left out.
struct Question {
    partition: Arc<Partition>,
    searcher: Searcher,
    query: Box<dyn TantivyQuery>,
}

impl Question {
    fn new(partition: Arc<Partition>, fields: &RunFields, query: &RunQuery, node: &Node) -> Result<Question, HistoryError> {
        let searcher = partition.searcher()?;
        let words = partition.index.tokenizer_for_field(words_of(fields)).map_err(|e| partition.error("read the words", e))?;
        let tenant = Term::from_field_text(fields.tenant, query.tenant.as_str());
        let ours = searcher.doc_freq(&tenant).map_err(|e| partition.error("count in the index", e))?;
        let mut all: Vec<Box<dyn TantivyQuery>> = Vec::new();
        // Where all are of one tenant, as on most nodes, there is nothing to compare with.
        if ours < searcher.num_docs() {
            all.push(Box::new(TermQuery::new(tenant, IndexRecordOption::Basic)));
        }
        if *node != Node::All {
            all.push(compile(node, fields, &words)?);
        }
        let query: Box<dyn TantivyQuery> = match all.len() {
            0 => Box::new(AllQuery),
            1 => all.swap_remove(0),
            _ => Box::new(BooleanQuery::intersection(all)),
        };
        Ok(Question { partition, searcher, query })
    }

    fn count(&self, fields: &RunFields, query: &RunQuery) -> Result<u64, HistoryError> {
        let all: Box<dyn TantivyQuery> = match window(fields.start, self.partition.part.month, query.from, query.to) {
            Some(window) => Box::new(BooleanQuery::intersection(vec![window, self.query.box_clone()])),
            None => self.query.box_clone(),
        };
        let count = self.searcher.search(&all, &Count).map_err(|e| self.partition.error("count in the index", e))?;
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    fn run(&self, fields: &RunFields, address: DocAddress) -> Result<Run, HistoryError> {
        let doc: TantivyDocument = self.searcher.doc(address).map_err(|e| self.partition.error("search the index", e))?;
        let name = || self.partition.part.to_string();
        fields.run(&doc).ok_or_else(|| HistoryError::Format { name: name(), why: "the stored record of a call is not one".to_owned() })
    }
}

fn words_of(fields: &RunFields) -> tantivy::schema::Field {
    use super::query::{Field, Indexed as _};
    // The text of a run is one of its fields.
    fields.of(Field::Text).unwrap_or(fields.tenant)
}

/// A place to look at: a zone of a segment.
struct Place {
    segment: usize,
    zone: Zone,
}

/// The walk from the newest zone on.
struct Newest<'a> {
    question: Question,
    query: &'a RunQuery,
    clock: &'a Clock,
}

impl Newest<'_> {
    /// The newest that fit, at most so many, newest first.
    fn find(&self, wanted: usize) -> Result<Found, HistoryError> {
        self.walk(wanted).map_err(|error| match error {
            Walk::Index(error) => self.question.partition.error("search the index", error),
            Walk::Slow(error) => error,
        })
    }

    fn walk(&self, wanted: usize) -> Result<Found, Walk> {
        let searcher = &self.question.searcher;
        let weight = self.question.query.weight(EnableScoring::disabled_from_searcher(searcher))?;
        let mut places = self.places()?;
        // Taken from the end.
        places.sort_unstable_by_key(|place| place.zone.seq_max);
        let (mut found, mut some) = (Vec::new(), ZONES_FIRST);
        while !places.is_empty() {
            self.clock.check().map_err(Walk::Slow)?;
            let now = places.split_off(places.len().saturating_sub(some));
            self.look(&*weight, now, wanted, &mut found)?;
            let newest_left = places.last().map_or(0, |place| place.zone.seq_max);
            if found.len() >= wanted && found.last().is_none_or(|(seq, _)| *seq >= newest_left) {
                break;
            }
            some *= 4;
        }
        Ok(found)
    }

    fn places(&self) -> tantivy::Result<Vec<Place>> {
        let (zones, segments) = (&self.question.partition.zones, self.question.searcher.segment_readers());
        zones.keep(segments);
        let mut places = Vec::new();
        for (segment, reader) in segments.iter().enumerate() {
            let of_segment = zones.of(reader)?;
            let may_have = of_segment.iter().filter(|zone| self.query.may_have(zone));
            places.extend(may_have.map(|zone| Place { segment, zone: zone.clone() }));
        }
        Ok(places)
    }

    /// What fits in these zones. Each segment is gone through in the order of its documents, which is the only one there is.
    fn look(&self, weight: &dyn Weight, mut places: Vec<Place>, wanted: usize, found: &mut Found) -> tantivy::Result<()> {
        places.sort_unstable_by_key(|place| (place.segment, place.zone.docs.start));
        for of_one in places.chunk_by(|one, next| one.segment == next.segment) {
            let Some(segment) = of_one.first().map(|place| place.segment) else { continue };
            let reader = self.question.searcher.segment_reader(segment as u32);
            let (seqs, starts) = (reader.fast_fields().u64("seq")?, reader.fast_fields().i64("start")?);
            let mut fit = weight.scorer(reader, 1.0)?;
            for Place { zone, .. } in of_one {
                let mut doc = if fit.doc() < zone.docs.start { fit.seek(zone.docs.start) } else { fit.doc() };
                while doc < zone.docs.end && doc != TERMINATED {
                    let seq = seqs.values.get_val(doc);
                    if self.query.has(starts.values.get_val(doc), seq) {
                        found.push((seq, DocAddress::new(segment as u32, doc)));
                    }
                    doc = fit.advance();
                }
                // So that what is held is bounded, however much fits.
                if found.len() > 2 * wanted + FOUND_MIN {
                    newest(found, wanted);
                }
            }
        }
        newest(found, wanted);
        Ok(())
    }
}

type Found = Vec<(Seq, DocAddress)>;

/// How many may be held, whatever is wanted, before the oldest are let go.
const FOUND_MIN: usize = 8_192;

fn newest(found: &mut Found, wanted: usize) {
    found.sort_unstable_by_key(|(seq, _)| Reverse(*seq));
    found.truncate(wanted);
}

/// Why a walk ended early.
enum Walk {
    Index(tantivy::TantivyError),
    Slow(HistoryError),
}

impl From<tantivy::TantivyError> for Walk {
    fn from(error: tantivy::TantivyError) -> Walk {
        Walk::Index(error)
    }
}
