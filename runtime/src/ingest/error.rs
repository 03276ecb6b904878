//! Why a delivery was not taken. Nothing of it is stored.

use crate::{devices::DevicesError, ledger::LedgerError, model::Id, preprocess::TooFarAhead};
use std::fmt;

/// What is wrong with a body, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyError {
    pub kind: BodyErrorKind,
    /// The member, as `value`, or `[17].timestamp` in a list.
    pub field: Option<String>,
    /// The line, from 1, where lines count.
    pub line: Option<usize>,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyErrorKind {
    Malformed,
    TooLarge,
}

impl BodyError {
    pub fn body(detail: String) -> BodyError {
        BodyError { kind: BodyErrorKind::Malformed, field: None, line: None, detail }
    }

    pub fn field(field: &str, detail: String) -> BodyError {
        BodyError { field: Some(field.to_owned()), ..BodyError::body(detail) }
    }

    pub fn missing(field: &str) -> BodyError {
        BodyError::field(field, format!("`{field}` is missing"))
    }

    pub fn too_large(field: Option<&str>, detail: String) -> BodyError {
        BodyError { kind: BodyErrorKind::TooLarge, field: field.map(str::to_owned), line: None, detail }
    }

    pub fn syntax(error: &serde_json::Error) -> BodyError {
        BodyError {
            line: Some(error.line()).filter(|line| *line > 0),
            ..BodyError::body(format!("the body is not the JSON expected: {error}"))
        }
    }

    /// The same error, of an element of a list.
    pub fn in_element(mut self, index: usize) -> BodyError {
        self.field = Some(match self.field {
            Some(field) => format!("[{index}].{field}"),
            None => format!("[{index}]"),
        });
        self
    }

    /// The same error, of a line of many.
    pub fn on_line(mut self, line: usize) -> BodyError {
        self.line = Some(line);
        self
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.detail)
    }
}

impl std::error::Error for BodyError {}

/// Why a delivery was not stored, once it was understood.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("no device `{0}` is registered, and this node does not register devices by themselves")]
    UnknownDevice(Id),
    #[error(transparent)]
    TooFarAhead(#[from] TooFarAhead),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("can't tell whether the device is registered")]
    Devices(#[from] DevicesError),
    #[error("this idempotency key was used for other readings, which are stored; these are not")]
    KeyReused,
    #[error("this idempotency key was used, and the log no longer has what it was used for: whether this is the same can't be told")]
    KeyForgotten,
    #[error("the node is stopping")]
    Stopped,
}
