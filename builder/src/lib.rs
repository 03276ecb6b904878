//! In: a `git push`, by git's smart HTTP protocol, and the source that comes with it. Out: a release in the store, or the reasons why
//! there is none, line by line into the push.
//! Never: running an app, deciding who may push, knowing the engine (it is asked through [`Checks`]).
//!
//! A push is accepted only after its commit was built: the `pre-receive` hook asks the node, the node builds and stages, git moves the
//! ref, the `post-receive` hook asks again, and the staged build becomes the release. Whatever stops in between, [`Builder::open`] makes
//! refs and releases agree.

mod builder;
mod cargo;
mod cgi;
mod confine;
mod error;
mod gate;
mod hook;
mod http;
mod keeper;
pub mod limit;
mod log;
mod options;
mod pipeline;
mod process;
mod push;
mod repo;
mod session;
mod source;
mod toolchain;

pub use builder::Builder;
pub use confine::confine_main;
pub use error::BuildError;
pub use hook::hook_main;
pub use http::{Access, CheckAccess};
pub use keeper::keep_main;
pub use limit::BuildLimits;
pub use options::{BuilderOptions, Checks, OpenError, Program};
pub use toolchain::{TARGET, TOOLCHAIN_VARIABLE, Toolchain, ToolchainError};
