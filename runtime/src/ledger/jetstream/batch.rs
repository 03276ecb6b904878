//! What one message of the operations' stream holds: `docs/formats/ledger.md`.

use super::super::{LedgerError, Op, record, tables::Rules};
use serde::{Deserialize, Serialize};

/// Whose batch it is. A batch is applied only when it is later than every other of its node: one that was given up, and
/// turns up in the stream all the same, is passed over by everyone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::ledger) struct Stamp {
    pub node: String,
    /// Grows each time the node opens the ledger.
    pub incarnation: u64,
    /// Counts from 1 in each incarnation, in the order of publishing.
    pub number: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Batch {
    pub stamp: Stamp,
    pub rules: Rules,
    pub ops: Vec<Op>,
}

/// The same bytes as [`Batch`], of operations that stay where they are.
#[derive(Serialize)]
struct Borrowed<'a> {
    stamp: &'a Stamp,
    rules: Rules,
    ops: Vec<&'a Op>,
}

pub(super) fn encode<'a>(stamp: &Stamp, rules: Rules, ops: impl Iterator<Item = &'a Op>) -> Result<Vec<u8>, LedgerError> {
    let mut buffer = Vec::new();
    record::encode(&mut buffer, &Borrowed { stamp, rules, ops: ops.collect() })?;
    Ok(buffer)
}

pub(super) fn decode(payload: &[u8]) -> Result<Batch, LedgerError> {
    record::decode("a batch of operations", payload)
}
