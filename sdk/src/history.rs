//! A look back: every reading and message that passed, searchable. Granted by `[grant] history = true`.
//!
//! The history follows the log within a second, so it does not promise to know the event that is being handled.
//!
//! ```
//! use tawi::history::{self, Query};
//!
//! let host = tawi::testing::Host::new();
//! host.past("fridge1", "temp", 9.5, "2018-05-14T15:49:28Z");
//! let query = Query::new("device:fridge1 AND value:>8").limit(10);
//! for found in history::search(&query)? {
//!     println!("{} {:?}", found.measured, found.value.number());
//! }
//! assert_eq!(history::count(&query)?, 1);
//! # Ok::<(), tawi::Error>(())
//! ```

use crate::{Result, Timestamp, Value, host};

/// What to look for. Made with [`Query::new`], narrowed with the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub(crate) text: String,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    pub(crate) limit: u32,
    pub(crate) offset: u32,
}

/// One reading or message of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// `reading.DEVICE.SENSOR`, or the subject of a message.
    pub subject: String,
    /// The device that measured.
    pub device: Option<String>,
    /// The sensor that measured.
    pub sensor: Option<String>,
    /// What it carried.
    pub value: Value,
    /// When it was measured, by the device's clock.
    pub measured: Timestamp,
    /// When it arrived, by the node's clock.
    pub received: Timestamp,
    /// Position in the node's log.
    pub sequence: u64,
}

impl Query {
    /// In the language of `tawi history`: `device:fridge1 AND value:>8`. An empty text finds everything. 100 results unless said otherwise.
    pub fn new(text: impl Into<String>) -> Query {
        Query { text: text.into(), from: None, to: None, limit: 100, offset: 0 }
    }

    /// Only what was measured at this time or later.
    pub fn from(self, from: Timestamp) -> Query {
        Query { from: Some(from), ..self }
    }

    /// Only what was measured before this time.
    pub fn to(self, to: Timestamp) -> Query {
        Query { to: Some(to), ..self }
    }

    /// At most this many, up to 1,000.
    pub fn limit(self, limit: u32) -> Query {
        Query { limit, ..self }
    }

    /// Skips as many: the next page.
    pub fn offset(self, offset: u32) -> Query {
        Query { offset, ..self }
    }
}

/// What matches, newest measured time first.
pub fn search(query: &Query) -> Result<Vec<Found>> {
    host::search(query)
}

/// How many match, whatever the query's limit.
pub fn count(query: &Query) -> Result<u64> {
    host::count(query)
}
