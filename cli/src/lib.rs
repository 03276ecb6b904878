//! The `tawi` command: what an author and an operator type, and the node itself (`tawi up`).

mod args;
mod client;
mod commands;
mod failure;
mod login;
mod out;
mod when;

pub use failure::Failure;

use args::Args;
use clap::Parser;
use std::process::ExitCode;

/// Parses, runs, and says what went wrong: 0 done, 1 it could not be done, 2 it was not understood.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match commands::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
