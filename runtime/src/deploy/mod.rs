//! In: releases, configuration and secrets that an operator or the builder decided on. Out: the desired state of every app, on disk,
//! and a signal when it changed. Never: source code, git, the content of a component.

pub mod store;

pub use store::{Draft, Store, StoreError};
