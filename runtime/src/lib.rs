//! The node: a cloud worker or a gateway, decided by config alone. `docs/ARCHITECTURE.md` is the map of its rooms.

pub mod devices;
pub mod history;
pub mod ledger;
pub mod model;
