//! The node: a cloud worker or a gateway, decided by config alone. `docs/ARCHITECTURE.md` is the map of its rooms.

pub mod clock;
pub mod config;
pub mod deploy;
pub mod devices;
pub mod dispatch;
pub mod egress;
pub mod engine;
pub mod fault;
mod heap;
pub mod history;
pub mod host;
pub mod identity;
pub mod ingest;
pub mod ledger;
pub mod model;
pub mod node;
pub mod notify;
pub mod preprocess;
pub mod records;
pub mod replay;
pub mod server;
pub mod shutdown;
pub mod sources;
pub mod telemetry;
pub mod time;
