//! The product seen from outside, one file a story. `crash`, `pilots` and `disk_full` are the promises; the rest is what a user does all day.
#![allow(clippy::unwrap_used)]

mod backup;
mod bad_input;
mod clean;
mod codec;
mod command;
mod config;
mod crash;
mod deploy;
mod devices;
mod disk_full;
mod event;
mod fetch;
mod history;
mod http;
mod limits;
mod log;
mod misbehave;
mod mqtt;
mod nats;
mod node;
mod notify;
mod owners;
mod pilots;
mod publish;
mod push;
mod record;
mod refused;
mod replay;
mod retry;
mod secrets;
mod state;
mod tokens;
mod torture;
mod triggers;
mod waziup;
