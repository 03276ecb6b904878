//! The builder from outside: a real git client pushes to it over HTTP, and real cargo builds. Only the engine is a stand-in.
#![allow(clippy::unwrap_used)]

mod access;
mod keeper;
mod limits;
mod order;
mod refusals;
mod story;
mod world;
