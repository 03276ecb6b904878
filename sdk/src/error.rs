//! Why a call failed, and what is to become of its event.

use std::time::Duration;

/// What a handler returns, and every capability.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Why a call failed, and whether trying the event again is of any use.
///
/// `?` makes one of every standard error, and that one says *retry*: a cause that nobody thought of may pass. An error of a
/// capability says *retry* when the node could not answer just now, and *reject* when asking again would be refused again.
///
/// ```
/// use std::time::Duration;
/// use tawi::Error;
///
/// fn parse(text: &str) -> tawi::Result<u32> {
///     Ok(text.parse::<u32>()?)
/// }
///
/// assert!(parse("x").unwrap_err().is_retry());
/// assert!(!Error::reject("no such unit").is_retry());
/// assert_eq!(Error::retry("busy").retry_after(Duration::from_secs(3)).after(), Some(Duration::from_secs(3)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    retry: bool,
    after: Option<Duration>,
    reason: String,
}

/// Who refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The manifest does not grant this; the text names the line to add.
    Denied,
    /// An argument is malformed; the text says which and how.
    Invalid,
    /// A limit of this call is reached; the text names the limit.
    Limit,
    /// The node could not answer just now.
    Unavailable,
    /// The function itself.
    Function,
}

impl Error {
    /// The event is tried again after a while, as the manifest's `delivery` says. The effects of this call are dropped.
    pub fn retry(reason: impl ToString) -> Error {
        Error { kind: ErrorKind::Function, retry: true, after: None, reason: reason.to_string() }
    }

    /// The event goes to the dead letters at once: trying it again is useless. The effects of this call are dropped.
    pub fn reject(reason: impl ToString) -> Error {
        Error { kind: ErrorKind::Function, retry: false, after: None, reason: reason.to_string() }
    }

    /// Makes it a retry after exactly `wait`, up to `retry-after-max` of the manifest. How many there are stays the manifest's.
    pub fn retry_after(self, wait: Duration) -> Error {
        Error { retry: true, after: Some(wait), ..self }
    }

    /// Who refused; [`ErrorKind::Function`] for what the function made itself.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the event is to be tried again.
    pub fn is_retry(&self) -> bool {
        self.retry
    }

    /// How long to wait before the next attempt, where the function said so.
    pub fn after(&self) -> Option<Duration> {
        self.after
    }

    /// What is shown in the log, and with the dead letter.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) fn of(kind: ErrorKind, reason: impl ToString) -> Error {
        Error { kind, retry: matches!(kind, ErrorKind::Unavailable), after: None, reason: reason.to_string() }
    }

    pub(crate) fn invalid(reason: impl ToString) -> Error {
        Error::of(ErrorKind::Invalid, reason)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

// `Error` is no `std::error::Error` itself: it could not take every one of them by `?` then.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Error {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            reason.push_str(": ");
            reason.push_str(&error.to_string());
            cause = error.source();
        }
        Error::retry(reason)
    }
}
