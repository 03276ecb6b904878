//! Why the history could not do as asked.

use super::query::QueryError;
use crate::{
    ledger::LedgerError,
    model::limit::{HISTORY_OFFSET_MAX, SEARCHES_MAX},
};
use std::{io, time::Duration};
use tantivy::TantivyError;

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The query is wrong, and says where.
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("a query can skip {HISTORY_OFFSET_MAX} results, not {0}: let `to` be the measured time of the last one seen instead")]
    Offset(usize),
    #[error("{SEARCHES_MAX} questions to the history are being answered, and none was done within {} s", .0.as_secs())]
    Busy(Duration),
    #[error("the history is still reading what came before the question, for {} s now", .0.as_secs())]
    Behind(Duration),
    #[error("the question took longer than {} s: narrow its time with `from` and `to`", .0.as_secs())]
    Slow(Duration),
    #[error("can't {doing} of the history's partition `{partition}`")]
    Index { doing: &'static str, partition: String, source: Box<TantivyError> },
    #[error("can't {doing} of the history")]
    Disk { doing: &'static str, source: io::Error },
    #[error("can't read `{name}` of the history: {why}")]
    Format { name: String, why: String },
    #[error("can't read the ledger for the history")]
    Ledger(#[source] LedgerError),
    #[error("the history's worker ended early")]
    Task(#[from] tokio::task::JoinError),
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryErrorKind {
    /// The question's; asking again changes nothing.
    Query,
    /// Too many ask; later it may be answered.
    Busy,
    /// It asks for more than is looked at for one question.
    Slow,
    /// Ours, or the disk's.
    Storage,
}

impl HistoryError {
    pub fn kind(&self) -> HistoryErrorKind {
        match self {
            HistoryError::Query(_) | HistoryError::Offset(_) => HistoryErrorKind::Query,
            HistoryError::Busy(_) | HistoryError::Behind(_) => HistoryErrorKind::Busy,
            HistoryError::Slow(_) => HistoryErrorKind::Slow,
            _ => HistoryErrorKind::Storage,
        }
    }
}
