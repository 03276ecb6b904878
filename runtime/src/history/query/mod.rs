//! In: the text of a query. Out: a Tantivy query, or an error with the column it was found at.
//! Never: opens an index, knows a tenant.
//!
//! `lex` makes words of the text, `parse` a tree of the words, `compile` a Tantivy query of the tree. The grammar is our own and
//! not Tantivy's, because ids hold dots, hyphens and colons that must mean themselves, times are written as times, and an
//! error must name what it is about. `docs/guide/search.md` describes the language.

mod compile;
mod lex;
mod named;
mod parse;

pub(super) use compile::compile;
pub use named::devices_named;
pub(super) use parse::{Node, parse};

use crate::model::limit::{QUERY_BYTES_MAX, QUERY_CONDITIONS_MAX, QUERY_DEPTH_MAX};

/// What is wrong with a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct QueryError {
    /// Counted in characters from 1.
    pub column: usize,
    pub message: String,
}

impl QueryError {
    fn new(column: usize, message: impl Into<String>) -> QueryError {
        QueryError { column, message: message.into() }
    }

    fn too_long(len: usize) -> QueryError {
        QueryError::new(1, format!("a query has at most {QUERY_BYTES_MAX} bytes, this one has {len}"))
    }

    fn too_many(column: usize) -> QueryError {
        QueryError::new(column, format!("a query has at most {QUERY_CONDITIONS_MAX} conditions; ask twice"))
    }

    fn too_deep(column: usize) -> QueryError {
        QueryError::new(column, format!("more than {QUERY_DEPTH_MAX} parentheses or `NOT` inside each other"))
    }
}

/// What can stand before the `:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Kind,
    Device,
    Sensor,
    Subject,
    App,
    Function,
    Call,
    Level,
    Text,
    Value,
    Measured,
    Received,
    Seq,
    Cause,
    Release,
    Trigger,
    Outcome,
    Attempt,
    Duration,
    Cpu,
    Memory,
    Effects,
    Event,
    Start,
}

/// What one kind of documents can be asked for.
#[derive(Debug)]
pub(super) struct Vocabulary {
    pub fields: &'static [Field],
    /// Names in which a bare word is looked for; it is looked for in the text as well.
    pub anywhere: &'static [Field],
    /// Names that the JSON of an answer has for some of them.
    aliases: &'static [(&'static str, Field)],
}

pub(super) static EVENTS: Vocabulary = Vocabulary {
    fields: &[
        Field::Device,
        Field::Sensor,
        Field::Value,
        Field::Measured,
        Field::Received,
        Field::Kind,
        Field::Subject,
        Field::App,
        Field::Function,
        Field::Level,
        Field::Text,
        Field::Call,
        Field::Seq,
        Field::Cause,
    ],
    anywhere: &[Field::Device, Field::Sensor, Field::Subject, Field::App, Field::Function, Field::Call],
    aliases: &[("sequence", Field::Seq), ("message", Field::Text)],
};

pub(super) static RUNS: Vocabulary = Vocabulary {
    fields: &[
        Field::App,
        Field::Function,
        Field::Outcome,
        Field::Device,
        Field::Sensor,
        Field::Subject,
        Field::Release,
        Field::Duration,
        Field::Cpu,
        Field::Memory,
        Field::Effects,
        Field::Attempt,
        Field::Trigger,
        Field::Start,
        Field::Event,
        Field::Call,
        Field::Text,
        Field::Seq,
    ],
    anywhere: &[Field::App, Field::Function, Field::Device, Field::Sensor, Field::Subject, Field::Call, Field::Outcome, Field::Trigger],
    aliases: &[("sequence", Field::Seq), ("error", Field::Text), ("duration_ms", Field::Duration), ("cpu_ms", Field::Cpu)],
};

impl Vocabulary {
    fn named(&self, name: &str) -> Option<Field> {
        let alias = self.aliases.iter().find(|(alias, _)| *alias == name).map(|(_, field)| *field);
        alias.or_else(|| self.fields.iter().copied().find(|field| field.name() == name))
    }

    fn names(&self, which: impl Fn(Field) -> bool) -> Vec<&'static str> {
        self.fields.iter().copied().filter(|field| which(*field)).map(Field::name).collect()
    }
}

/// Documents of one kind, as they are indexed.
pub(super) trait Indexed {
    fn vocabulary(&self) -> &'static Vocabulary;
    /// None: they have no such field.
    fn of(&self, field: Field) -> Option<tantivy::schema::Field>;
}

impl Field {
    pub fn name(self) -> &'static str {
        match self {
            Field::Kind => "kind",
            Field::Device => "device",
            Field::Sensor => "sensor",
            Field::Subject => "subject",
            Field::App => "app",
            Field::Function => "function",
            Field::Call => "call",
            Field::Level => "level",
            Field::Text => "text",
            Field::Value => "value",
            Field::Measured => "measured",
            Field::Received => "received",
            Field::Seq => "seq",
            Field::Cause => "cause",
            Field::Release => "release",
            Field::Trigger => "trigger",
            Field::Outcome => "outcome",
            Field::Attempt => "attempt",
            Field::Duration => "duration",
            Field::Cpu => "cpu",
            Field::Memory => "memory",
            Field::Effects => "effects",
            Field::Event => "event",
            Field::Start => "start",
        }
    }

    /// Of numbers and times, which have an order that ranges can use.
    pub fn is_ordered(self) -> bool {
        use Field::{Attempt, Cause, Cpu, Duration, Effects, Event, Measured, Memory, Received, Release, Seq, Start, Value};
        matches!(self, Value | Measured | Received | Seq | Cause | Release | Attempt | Duration | Cpu | Memory | Effects | Event | Start)
    }
}
