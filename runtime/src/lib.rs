//! The node: a cloud worker or a gateway, decided by config alone. `docs/ARCHITECTURE.md` is the map of its rooms.

pub mod clock;
pub mod deploy;
pub mod dispatch;
pub mod engine;
pub mod host;
pub mod ledger;
pub mod model;
