//! The `tawi` command: what an author and an operator type, and the node itself (`tawi up`).

mod args;
mod client;
mod commands;
mod failure;
mod login;
mod node;
mod out;
mod pace;
mod progress;
mod trace;
mod when;

pub use failure::Failure;

use args::Args;
use clap::Parser;
use std::process::ExitCode;

/// Parses, runs, and says what went wrong: 0 done, 1 it could not be done, 2 it was not understood.
pub fn main() -> ExitCode {
    // Not for people: the node's builder calls the binary by these words, as git's hooks, and to hold the processes of a build and their rights.
    match std::env::args_os().nth(1) {
        Some(word) if word == "__hook" => return tawi_builder::hook_main(),
        Some(word) if word == "__keep" => return tawi_builder::keep_main(std::env::args_os().skip(2)),
        Some(word) if word == "__confine" => return tawi_builder::confine_main(std::env::args_os().skip(2)),
        _ => {}
    }
    let args = Args::parse();
    match commands::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
