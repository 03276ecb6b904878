//! Write functions for Tawi, the serverless platform for IoT.
//!
//! An app is one crate: a function for events, a function for HTTP requests, one for each [trigger of time](mod@trigger), a
//! [`codec`](mod@codec), or several of them, and a `tawi.toml` that says what reaches them and what they may do. `git push` builds and
//! runs it.
//!
//! ```
//! use tawi::{Event, config, json, publish};
//!
//! #[tawi::event]
//! fn alert(event: Event) -> tawi::Result {
//!     let reading = event.reading()?;
//!     let threshold = config::get::<f64>("threshold")?.unwrap_or(8.0);
//!     match event.number() {
//!         Some(value) if value > threshold => {
//!             publish(&format!("alerts.{}", reading.device), &json!({ "value": value, "measured": reading.measured }))
//!         }
//!         _ => Ok(()),
//!     }
//! }
//!
//! # fn main() -> tawi::Result {
//! // A unit test needs no node: off wasm every capability goes to a fake host.
//! let host = tawi::testing::Host::new();
//! host.config("threshold", "9");
//! host.run(alert, host.event("reading.fridge1.temp", 9.5))?;
//! assert_eq!(host.published()[0].subject, "alerts.fridge1");
//! # Ok(())
//! # }
//! ```
//!
//! # What a call promises
//!
//! [`publish`](mod@publish), [`command`] and [`state`] only *list* what is to be done. It is done, all of it and once, when the
//! handler returns `Ok`, and none of it when it returns an error, traps, or runs out of time. Then the event is tried again as the
//! manifest says, and put with the dead letters in the end. Reads of state see the writes of the same call, and the calls of an app
//! act as if they had run one after another. [`http::fetch`] alone happens at once and is not undone.
//!
//! # Modules
//!
//! One per capability, named as its line under `[grant]` in `tawi.toml` and its file in the contract (`wit/`):
//! [`publish`](mod@publish), [`command`], [`state`], [`history`], [`config`], [`secrets`], [`http`](mod@http), and [`log`], which is
//! always granted. One per trigger of time: [`schedule`](mod@schedule), [`batch`](mod@batch), [`window`](mod@window),
//! [`silence`](mod@silence), [`change`](mod@change), [`threshold`](mod@threshold); [`trigger`] is what they have in common. [`testing`] is
//! the fake host.

#![warn(missing_docs)]

pub mod batch;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[allow(missing_docs)]
pub mod bindings;
pub mod change;
pub mod codec;
pub mod command;
pub mod config;
mod error;
pub mod event;
pub mod history;
mod host;
pub mod http;
mod limit;
pub mod log;
pub mod publish;
pub mod schedule;
pub mod secrets;
pub mod silence;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod threshold;
mod time;
pub mod trigger;
mod value;
pub mod window;

pub use batch::Batch;
pub use change::Change;
pub use codec::{Sample, Uplink};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, Reading};
pub use publish::publish;
pub use schedule::Tick;
/// Any JSON, where no type of your own says more.
pub use serde_json::Value as Json;
pub use serde_json::json;
pub use silence::Silence;
pub use tawi_macros::{batch, change, codec, event, http, schedule, silence, threshold, window};
pub use threshold::Crossing;
pub use time::{TimeError, Timestamp};
pub use value::Value;
pub use window::Window;
