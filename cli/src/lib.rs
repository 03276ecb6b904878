//! The `tawi` command: what an author and an operator type, and the node itself (`tawi up`).

mod args;
mod client;
mod commands;
mod failure;
mod login;
mod node;
mod out;
mod when;

pub use failure::Failure;

use args::Args;
use clap::Parser;
use std::process::ExitCode;

/// Parses, runs, and says what went wrong: 0 done, 1 it could not be done, 2 it was not understood.
pub fn main() -> ExitCode {
    // Not for people: git's hooks call the binary by this word to ask the node that serves the push.
    if std::env::args_os().nth(1).is_some_and(|word| word == "__hook") {
        return tawi_builder::hook_main();
    }
    let args = Args::parse();
    match commands::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
