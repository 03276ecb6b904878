//! Why the ledger could not do something.

use std::sync::Arc;

/// Cheap to clone: one failed sync fails every operation of its group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    #[error("no room for `{what}`: {reason}")]
    Full { what: &'static str, reason: String },
    /// The queue before the writer is full; [`super::Ledger::apply`] waits instead.
    #[error("the ledger's queue is full: more is submitted than the disk takes")]
    Busy,
    #[error("the ledger can't be reached: {0}")]
    Unavailable(String),
    #[error("an operation of {bytes} bytes is too large, at most {max} fit")]
    TooLarge { bytes: usize, max: usize },
    #[error("the ledger is closed")]
    Closed,
    /// Only when the ledger is closed while it is away: the operation may turn up as applied, or not.
    #[error("the ledger was closed before it knew what became of the operation")]
    Unknown,
    #[error("failed to {doing}")]
    Storage {
        doing: &'static str,
        #[source]
        source: Arc<redb::Error>,
    },
    #[error("failed to {doing} `{path}`")]
    File {
        doing: &'static str,
        path: std::path::PathBuf,
        #[source]
        source: Arc<std::io::Error>,
    },
    /// What is stored is not what this version of Tawi writes.
    #[error("can't read {0}")]
    Format(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    Full,
    Busy,
    Unavailable,
    TooLarge,
    Closed,
    Unknown,
    Storage,
}

impl LedgerError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            LedgerError::Full { .. } => ErrorKind::Full,
            LedgerError::Busy => ErrorKind::Busy,
            LedgerError::Unavailable(_) => ErrorKind::Unavailable,
            LedgerError::TooLarge { .. } => ErrorKind::TooLarge,
            LedgerError::Closed => ErrorKind::Closed,
            LedgerError::Unknown => ErrorKind::Unknown,
            LedgerError::Storage { .. } | LedgerError::File { .. } | LedgerError::Format(_) => ErrorKind::Storage,
        }
    }

    /// An error of redb: out of room has a name of its own, because it passes.
    pub(super) fn storage(doing: &'static str, source: redb::Error) -> LedgerError {
        if let redb::Error::Io(io) = &source
            && is_full(io)
        {
            return LedgerError::Full { what: doing, reason: io.to_string() };
        }
        LedgerError::Storage { doing, source: Arc::new(source) }
    }

    pub(super) fn file(doing: &'static str, path: &std::path::Path, source: std::io::Error) -> LedgerError {
        if is_full(&source) {
            return LedgerError::Full { what: doing, reason: source.to_string() };
        }
        LedgerError::File { doing, path: path.to_owned(), source: Arc::new(source) }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
