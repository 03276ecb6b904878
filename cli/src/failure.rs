//! What a person is told when a command could not be done.

use crate::out;
use std::{fmt, io, process::ExitCode};

/// A sentence, the causes behind it, and what to try.
#[derive(Debug)]
pub struct Failure {
    what: String,
    causes: Vec<String>,
    hint: Option<String>,
    /// Whoever read our output has gone (`tawi logs -f | head`): no reason to say anything.
    silent: bool,
    /// The same request may well succeed in a moment.
    pub passes: bool,
    /// What the node answered, where it did.
    pub status: Option<u16>,
}

pub type Done<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn new(what: impl Into<String>) -> Failure {
        Failure { what: what.into(), causes: Vec::new(), hint: None, silent: false, passes: false, status: None }
    }

    /// With an error and the chain behind it as the reason.
    pub fn because(what: impl Into<String>, error: &(dyn std::error::Error + 'static)) -> Failure {
        let mut causes: Vec<String> = std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect();
        // Many libraries print their source as part of themselves.
        causes.dedup_by(|cause, before| before.contains(cause.as_str()));
        Failure { causes, ..Failure::new(what) }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// What it was about: `line 7`.
    pub fn at(self, place: &str) -> Failure {
        Failure { what: format!("{place}: {}", self.what), ..self }
    }

    pub fn answered(mut self, status: u16) -> Failure {
        self.status = Some(status);
        self
    }

    /// Worth trying again.
    pub fn passing(mut self) -> Failure {
        self.passes = true;
        self
    }

    pub fn report(self) -> ExitCode {
        if self.silent {
            return ExitCode::SUCCESS;
        }
        let style = out::Style::for_stderr();
        eprintln!("{} {}", style.red("error:"), out::clean(&self.what));
        for cause in &self.causes {
            eprintln!("  {} {}", style.dim("because"), out::clean(cause));
        }
        if let Some(hint) = &self.hint {
            eprintln!("{} {}", style.cyan("hint:"), out::clean(hint));
        }
        ExitCode::from(1)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

/// Only writing to standard output fails with a bare `io::Error`; everything else says what it tried.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let silent = error.kind() == io::ErrorKind::BrokenPipe;
        Failure { silent, ..Failure::because("can't write the output", &error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_told_once_and_a_closed_pipe_not_at_all() {
        let inner = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let failure = Failure::because("can't read `x.csv`", &inner);
        assert_eq!(failure.to_string(), "can't read `x.csv`: no such file");
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).silent);
    }
}
