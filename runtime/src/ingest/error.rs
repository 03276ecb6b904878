//! Why a delivery was not taken. Nothing of it is stored.

use crate::{ledger::LedgerError, model::Id, preprocess::TooFarAhead};

/// Why a delivery was not stored, once it was understood.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("no device `{0}` is registered, and this node does not register devices by themselves")]
    UnknownDevice(Id),
    #[error("the device `{device}` has no sensor `{sensor}`, and this node does not register sensors by themselves")]
    UnknownSensor { device: Id, sensor: Id },
    #[error("nothing new can be registered by sending: {0}")]
    NoRoom(String),
    #[error(transparent)]
    TooFarAhead(#[from] TooFarAhead),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// By another connection of the same client; what it delivers is stored, this is not.
    #[error("another connection has taken the place of the one that this came by")]
    TakenOver,
    #[error("this idempotency key was used for other readings, which are stored; these are not")]
    KeyReused,
    #[error("this idempotency key was used, and the log no longer has what it was used for: whether this is the same can't be told")]
    KeyForgotten,
    /// A dead letter that still can't be decoded; it stays.
    #[error("it can't be decoded: {0}")]
    Undecoded(String),
    #[error("the dead letter is not there any more")]
    NoLetter,
    #[error("every instance that could decode it is busy")]
    Busy,
    #[error("the node is stopping")]
    Stopped,
}
