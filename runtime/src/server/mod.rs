//! In: HTTP requests. Out: answers, problems, streams.
//! Never: keeps state of its own, runs a function, spawns a task that outlives its request.

pub mod problem;
pub mod run;

pub use problem::Problem;
