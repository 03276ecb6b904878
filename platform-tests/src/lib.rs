//! The product seen from outside: real processes, real git, a real nats-server, and the means to be rude to them.
//!
//! A case starts a [`Node`], pushes an [`App`] to it, sends readings and looks at what came of them. Nothing here knows
//! the code of the product: what a case can see, a user can see.
// A harness that can't do its work ends the test; there is nobody to hand an error to.
#![allow(clippy::unwrap_used)]

pub mod account;
pub mod app;
pub mod command;
pub mod flood;
pub mod http;
pub mod load;
pub mod mqtt;
pub mod nats;
pub mod node;
pub mod operator;
pub mod peer;
pub mod proxy;
pub mod repo;
pub mod results;
pub mod sample;
pub mod stream;
pub mod wait;

pub use app::{App, Push};
pub use command::Ran;
pub use http::{Client, Reply};
pub use nats::Nats;
pub use node::{Launch, Ledger, Node};
pub use operator::Dead;
pub use proxy::Proxy;
pub use stream::Stream;
pub use wait::{wait_for, wait_until};
