//! In: releases, configuration and secrets that an operator or the builder decided on. Out: the desired state of every app, on disk,
//! and a node that runs it. Never: source code, git, what an event is.

mod plan;
mod reconcile;
pub mod store;

pub use reconcile::{DeployError, Reconciler, orphans, prepare};
pub use store::{Draft, Store, StoreError};
