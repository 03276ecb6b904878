//! What `bindgen.sh` makes of the contract in `wit/`, and the little that generated code calls.
//! In: wit. Out: Rust functions and types. Never: an edit by hand, but for `rt.rs` and this file.

// Generated: left exactly as `bindgen.sh --check` wants it.
#[rustfmt::skip]
#[allow(warnings, clippy::all)]
pub mod batch;
#[rustfmt::skip]
#[allow(warnings, clippy::all)]
pub mod change;
#[rustfmt::skip]
#[allow(warnings, clippy::all)]
pub mod decoder;
#[rustfmt::skip]
#[allow(warnings, clippy::all)]
pub mod event;
#[rustfmt::skip]
#[allow(warnings, clippy::all)]
pub mod guest;
#[rustfmt::skip]
#[allow(warnings, clippy::all)]
pub mod http;
#[rustfmt::skip]
#[allow(warnings, clippy::all)]
pub mod schedule;
#[rustfmt::skip]
#[allow(warnings, clippy::all)]
pub mod silence;
#[rustfmt::skip]
#[allow(warnings, clippy::all)]
pub mod threshold;
#[rustfmt::skip]
#[allow(warnings, clippy::all)]
pub mod window;
pub mod rt;
