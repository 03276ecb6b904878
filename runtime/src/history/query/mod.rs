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
}

impl Field {
    pub const ALL: [Field; 14] = [
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
    ];

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
        }
    }

    fn named(name: &str) -> Option<Field> {
        // What the JSON of a hit calls them is understood as well.
        let name = match name {
            "sequence" => "seq",
            "message" => "text",
            name => name,
        };
        Field::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Of numbers and times, which have an order that ranges can use.
    pub fn is_ordered(self) -> bool {
        matches!(self, Field::Value | Field::Measured | Field::Received | Field::Seq | Field::Cause)
    }
}
