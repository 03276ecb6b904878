//! What `bindgen.sh` makes of the contract in `wit/`, and the little that generated code calls.
//! In: wit. Out: Rust functions and types. Never: an edit by hand, but for `rt.rs` and this file.

// Generated; `alloc` and the like are found by names that only the 2018 way of paths knows.
#[allow(warnings, clippy::all)]
pub mod event;
#[allow(warnings, clippy::all)]
pub mod guest;
#[allow(warnings, clippy::all)]
pub mod http;
pub mod rt;
