//! Dispatch over ledgers that fail.
#![allow(clippy::unwrap_used)]

pub(super) mod sim;
