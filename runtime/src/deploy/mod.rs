//! In: releases, configuration and secrets that an operator or the builder decided on. Out: the desired state of every app, on disk,
//! and a node that runs it. Never: source code, git, what an event is.

mod circles;
mod manifest;
mod plan;
mod prepare;
mod reconcile;
pub mod store;

pub use circles::{Circle, circles};
pub use manifest::read_manifest;
pub use prepare::try_out;
pub use reconcile::{DeployError, Reconciler, SetRules, Trouble, orphans};
pub use store::{Draft, Hold, Store, StoreError};
