//! The node's clock, read in one place: rooms are told the time, except where a wait begins here.

use crate::model::Micros;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
