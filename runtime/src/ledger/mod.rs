//! In: operations (appends, commits) and questions. Out: what became of them, durably.
//! Never: runs a function, knows HTTP, decides a retry.
//!
//! Log and state are one thing. Every change is an [`Op`], applied by one pure function to one redb file, the *view*
//! (`view.rs`). `embedded` makes the file itself durable; `jetstream` makes the operations durable in a stream of
//! nats-server and applies them from there, so that the view can always be made again. Whoever reads sees the view.
pub mod op;

pub use op::*;
