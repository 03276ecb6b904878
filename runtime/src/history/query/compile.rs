//! A Tantivy query of the tree of a query.

use super::{
    Field, Indexed, QueryError,
    parse::{End, Leaf, Node, Test},
};
use crate::{
    history::schema::{KINDS, LEVELS, kind_name},
    model::{Micros, RunOutcome},
};
use std::ops::Bound;
use tantivy::{
    Term,
    query::{AllQuery, BooleanQuery, EmptyQuery, ExistsQuery, InvertedIndexRangeQuery, Occur, PhraseQuery, Query, RangeQuery, TermQuery},
    schema::IndexRecordOption,
    tokenizer::{TextAnalyzer, TokenStream},
};

type Compiled = Result<Box<dyn Query>, QueryError>;

/// `words` cuts a text into words as the index did.
pub(in crate::history) fn compile(node: &Node, fields: &dyn Indexed, words: &TextAnalyzer) -> Compiled {
    Compiler { fields, words }.node(node)
}

struct Compiler<'a> {
    fields: &'a dyn Indexed,
    words: &'a TextAnalyzer,
}

impl Compiler<'_> {
    fn node(&self, node: &Node) -> Compiled {
        Ok(match node {
            Node::All => Box::new(AllQuery),
            Node::And(nodes) => Box::new(BooleanQuery::intersection(self.nodes(nodes)?)),
            Node::Or(nodes) => Box::new(BooleanQuery::union(self.nodes(nodes)?)),
            // Tantivy takes away from something only.
            Node::Not(node) => Box::new(BooleanQuery::new(vec![(Occur::Must, Box::new(AllQuery)), (Occur::MustNot, self.node(node)?)])),
            Node::Leaf(leaf) => self.leaf(leaf)?,
        })
    }

    fn nodes(&self, nodes: &[Node]) -> Result<Vec<Box<dyn Query>>, QueryError> {
        nodes.iter().map(|node| self.node(node)).collect()
    }

    fn leaf(&self, leaf: &Leaf) -> Compiled {
        match leaf.field {
            None => self.anywhere(leaf),
            Some(Field::Text) => self.text(leaf),
            Some(Field::Value) => self.value(leaf),
            Some(field @ (Field::Measured | Field::Received | Field::Start)) => self.time(field, leaf),
            Some(field @ (Field::Duration | Field::Cpu)) => self.millis(field, leaf),
            Some(Field::Level) => self.level(leaf),
            Some(field) if field.is_ordered() => self.count(field, leaf),
            Some(field) => self.name(field, leaf),
        }
    }

    /// A bare word is looked for in the text, and as an id.
    fn anywhere(&self, leaf: &Leaf) -> Compiled {
        match &leaf.test {
            Test::Begins(prefix) if prefix.is_empty() => return Ok(Box::new(AllQuery)),
            Test::Range(..) => return Err(QueryError::new(leaf.column, "a range needs a field, as in `value:[1 TO 5]` or `value:>8`")),
            _ => {}
        }
        let mut either = vec![self.text(leaf)?];
        for field in self.fields.vocabulary().anywhere {
            either.push(term_of(self.index(*field, leaf)?, &leaf.test));
        }
        Ok(Box::new(BooleanQuery::union(either)))
    }

    /// The field's place in the index. A query was parsed for the documents that it is put to, so there is one.
    fn index(&self, field: Field, leaf: &Leaf) -> Result<tantivy::schema::Field, QueryError> {
        self.fields.of(field).ok_or_else(|| QueryError::new(leaf.column, format!("there is no `{}` here", field.name())))
    }

    /// An exact id, or how it begins.
    fn name(&self, field: Field, leaf: &Leaf) -> Compiled {
        let known = match field {
            Field::Kind => KINDS.map(kind_name).to_vec(),
            // What did not end well is an `error`, whatever became of it.
            Field::Outcome => RunOutcome::ALL.map(RunOutcome::name).into_iter().chain(["error"]).collect(),
            _ => Vec::new(),
        };
        match &leaf.test {
            Test::Is(text) | Test::Quoted(text) if !known.is_empty() && !known.contains(&text.as_str()) => {
                let article = if field == Field::Outcome { "an" } else { "a" };
                Err(QueryError::new(leaf.column, format!("`{text}` is not {article} {}: {}", field.name(), known.join(", "))))
            }
            Test::Range(..) => Err(self.no_order(field, leaf)),
            test => Ok(term_of(self.index(field, leaf)?, test)),
        }
    }

    /// One word, some words in a row, or how a word begins.
    fn text(&self, leaf: &Leaf) -> Compiled {
        let index = self.index(Field::Text, leaf)?;
        match &leaf.test {
            Test::Is(text) | Test::Quoted(text) => {
                let mut terms = self.words(index, text);
                Ok(match terms.len() {
                    0 => Box::new(EmptyQuery),
                    1 => term(terms.swap_remove(0).1),
                    _ => Box::new(PhraseQuery::new_with_offset(terms)),
                })
            }
            Test::Begins(prefix) => {
                let mut terms = self.words(index, prefix);
                match terms.len() {
                    0 if prefix.is_empty() => Ok(begins(index, "")),
                    1 => Ok(begins(index, terms.swap_remove(0).1.value().as_str().unwrap_or_default())),
                    _ => Err(QueryError::new(leaf.column, format!("`{prefix}*` is more than the beginning of one word"))),
                }
            }
            Test::Range(..) => Err(self.no_order(Field::Text, leaf)),
        }
    }

    fn words(&self, index: tantivy::schema::Field, text: &str) -> Vec<(usize, Term)> {
        let (mut terms, mut words) = (vec![], self.words.clone());
        let mut stream = words.token_stream(text);
        stream.process(&mut |token| terms.push((token.position, Term::from_field_text(index, &token.text))));
        terms
    }

    /// A number, in quotes or not, or what a sensor says in words: `value:open`.
    fn value(&self, leaf: &Leaf) -> Compiled {
        let index = self.index(Field::Value, leaf)?;
        match &leaf.test {
            Test::Is(text) | Test::Quoted(text) => match number(text) {
                Some(number) => {
                    Ok(range(Bound::Included(Term::from_field_f64(index, number)), Bound::Included(Term::from_field_f64(index, number))))
                }
                None => self.text(leaf),
            },
            Test::Begins(prefix) if prefix.is_empty() => {
                let number: Box<dyn Query> = Box::new(ExistsQuery::new("value".to_owned(), false));
                Ok(Box::new(BooleanQuery::union(vec![number, begins(self.index(Field::Text, leaf)?, "")])))
            }
            Test::Begins(_) => self.text(leaf),
            Test::Range(from, to) => {
                let term = |text: &str| {
                    let wrong = || QueryError::new(leaf.column, format!("`{text}` is not a number"));
                    number(text).map(|number| Term::from_field_f64(index, number)).ok_or_else(wrong)
                };
                between("value", bound(from, term)?, bound(to, term)?)
            }
        }
    }

    fn count(&self, field: Field, leaf: &Leaf) -> Compiled {
        let (name, index) = (field.name(), self.index(field, leaf)?);
        let what = if matches!(field, Field::Seq | Field::Cause | Field::Event) { "a sequence number" } else { "a whole number" };
        let term = |text: &str| {
            let wrong = || QueryError::new(leaf.column, format!("`{text}` is not {what}"));
            text.parse().map(|number| Term::from_field_u64(index, number)).map_err(|_| wrong())
        };
        match &leaf.test {
            Test::Is(text) | Test::Quoted(text) => Ok(range(Bound::Included(term(text)?), Bound::Included(term(text)?))),
            Test::Begins(prefix) if prefix.is_empty() => Ok(Box::new(ExistsQuery::new(name.to_owned(), false))),
            Test::Begins(prefix) => Err(QueryError::new(leaf.column, format!("`{prefix}*` is not {what}"))),
            Test::Range(from, to) => between(name, bound(from, term)?, bound(to, term)?),
        }
    }

    /// How long something took, in milliseconds where no unit stands behind it: `duration:>100`, `duration:>1.5s`.
    fn millis(&self, field: Field, leaf: &Leaf) -> Compiled {
        let (name, index) = (field.name(), self.index(field, leaf)?);
        let wrong = |text: &str| QueryError::new(leaf.column, format!("`{text}` is not a time such as `100`, `100ms`, `1.5s` or `300us`"));
        let term = |text: &str| millis(text).map(|millis| Term::from_field_f64(index, millis)).ok_or_else(|| wrong(text));
        match &leaf.test {
            Test::Is(text) | Test::Quoted(text) => Ok(range(Bound::Included(term(text)?), Bound::Included(term(text)?))),
            Test::Begins(prefix) if prefix.is_empty() => Ok(Box::new(ExistsQuery::new(name.to_owned(), false))),
            Test::Begins(prefix) => Err(wrong(&format!("{prefix}*"))),
            Test::Range(from, to) => between(name, bound(from, term)?, bound(to, term)?),
        }
    }

    /// Times mean a moment, days mean from their start to the start of the next one.
    fn time(&self, field: Field, leaf: &Leaf) -> Compiled {
        let (name, index) = (field.name(), self.index(field, leaf)?);
        let term = |time: Micros| Term::from_field_i64(index, time.0);
        let span = |text: &str| Span::parse(text).ok_or_else(|| QueryError::new(leaf.column, Span::wrong(text)));
        let (from, to) = match &leaf.test {
            Test::Is(text) | Test::Quoted(text) => {
                let span = span(text)?;
                (Bound::Included(span.first), Bound::Included(span.last))
            }
            Test::Begins(prefix) if prefix.is_empty() => return Ok(Box::new(ExistsQuery::new(name.to_owned(), false))),
            Test::Begins(prefix) => return Err(QueryError::new(leaf.column, Span::wrong(&format!("{prefix}*")))),
            Test::Range(from, to) => {
                let from = match from {
                    End::Open => Bound::Unbounded,
                    End::Included(text) => Bound::Included(span(text)?.first),
                    End::Excluded(text) => Bound::Excluded(span(text)?.last),
                };
                let to = match to {
                    End::Open => Bound::Unbounded,
                    End::Included(text) => Bound::Included(span(text)?.last),
                    End::Excluded(text) => Bound::Excluded(span(text)?.first),
                };
                (from, to)
            }
        };
        between(name, from.map(term), to.map(term))
    }

    /// A level, or all from one on: `level:>=warn`.
    fn level(&self, leaf: &Leaf) -> Compiled {
        let place = |text: &str| {
            let wrong = || QueryError::new(leaf.column, format!("`{text}` is not a level: {}", LEVELS.join(", ")));
            LEVELS.iter().position(|level| level.eq_ignore_ascii_case(text)).ok_or_else(wrong)
        };
        let levels = match &leaf.test {
            Test::Begins(prefix) if prefix.is_empty() => 0..LEVELS.len(),
            Test::Begins(text) | Test::Is(text) | Test::Quoted(text) => place(text)?..place(text)? + 1,
            Test::Range(from, to) => {
                let from = match from {
                    End::Open => 0,
                    End::Included(text) => place(text)?,
                    End::Excluded(text) => place(text)? + 1,
                };
                let to = match to {
                    End::Open => LEVELS.len(),
                    End::Included(text) => place(text)? + 1,
                    End::Excluded(text) => place(text)?,
                };
                from..to
            }
        };
        let index = self.index(Field::Level, leaf)?;
        let wanted = LEVELS.iter().take(levels.end).skip(levels.start);
        Ok(Box::new(BooleanQuery::union(wanted.map(|level| term(Term::from_field_text(index, level))).collect())))
    }

    fn no_order(&self, field: Field, leaf: &Leaf) -> QueryError {
        let ordered = self.fields.vocabulary().names(|field| field.is_ordered() || field == Field::Level).join(", ");
        QueryError::new(leaf.column, format!("`{}` has no ranges; those that have: {ordered}", field.name()))
    }
}

/// What a text that stands for a time means: a moment, or a whole day.
struct Span {
    first: Micros,
    last: Micros,
}

impl Span {
    fn parse(text: &str) -> Option<Span> {
        if let Ok(day) = text.parse::<jiff::civil::Date>() {
            let first = Micros::parse(&format!("{day}T00:00:00Z")).ok()?;
            return Some(Span { first, last: Micros(first.0 + 86_400 * Micros::SECOND - 1) });
        }
        let time = Micros::parse(text).ok()?;
        Some(Span { first: time, last: time })
    }

    fn wrong(text: &str) -> String {
        format!("`{text}` is not a time: use a day as `2026-01-31`, RFC 3339 as `2026-01-31T08:30:00Z`, or microseconds since 1970")
    }
}

fn number(text: &str) -> Option<f64> {
    // Adding 0 makes -0 the 0 that the index holds.
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number + 0.0)
}

fn millis(text: &str) -> Option<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1_000.0), ("", 1.0)];
    units.into_iter().find_map(|(unit, millis)| Some(number(text.strip_suffix(unit)?)? * millis)).filter(|millis| *millis >= 0.0)
}

/// Whether a name is this, or begins so.
fn term_of(index: tantivy::schema::Field, test: &Test) -> Box<dyn Query> {
    match test {
        Test::Is(text) | Test::Quoted(text) => term(Term::from_field_text(index, text)),
        Test::Begins(prefix) => begins(index, prefix),
        Test::Range(..) => Box::new(EmptyQuery),
    }
}

fn term(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn range(from: Bound<Term>, to: Bound<Term>) -> Box<dyn Query> {
    Box::new(RangeQuery::new(from, to))
}

/// A range over a column; both ends open is whatever has a value.
fn between(name: &str, from: Bound<Term>, to: Bound<Term>) -> Compiled {
    Ok(match (&from, &to) {
        (Bound::Unbounded, Bound::Unbounded) => Box::new(ExistsQuery::new(name.to_owned(), false)),
        _ => range(from, to),
    })
}

fn bound(end: &End, term: impl Fn(&str) -> Result<Term, QueryError>) -> Result<Bound<Term>, QueryError> {
    Ok(match end {
        End::Open => Bound::Unbounded,
        End::Included(text) => Bound::Included(term(text)?),
        End::Excluded(text) => Bound::Excluded(term(text)?),
    })
}

/// Terms from the prefix on, up to the first that can't begin with it: no UTF-8 holds the byte 0xFF.
fn begins(index: tantivy::schema::Field, prefix: &str) -> Box<dyn Query> {
    let from = Term::from_field_text(index, prefix);
    let mut to = from.clone();
    to.append_bytes(&[0xff]);
    Box::new(InvertedIndexRangeQuery::new(Bound::Included(from), Bound::Excluded(to)))
}
