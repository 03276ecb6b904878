//! In: what a device sent and who it says it is. Out: the sequences of its readings, once they are durable.
//! Never: answers before that, knows HTTP's status codes, decides who may send.

pub mod error;
pub mod parse;

pub use error::{BodyError, BodyErrorKind};
pub use parse::Format;
