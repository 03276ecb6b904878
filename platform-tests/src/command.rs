//! Running programs to their end, with everything they said.

use serde_json::Value;
use std::{
    fmt,
    process::{Command, ExitStatus},
};

/// A program that has ended.
#[derive(Debug)]
pub struct Ran {
    pub line: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn run(command: &mut Command) -> Ran {
        let line = format!("{command:?}");
        let out = command.output().unwrap_or_else(|e| panic!("could not run `{line}`: {e}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { line, status: out.status, stdout: text(&out.stdout), stderr: text(&out.stderr) }
    }

    #[track_caller]
    pub fn ok(self) -> Ran {
        assert!(self.status.success(), "failed: {self}");
        self
    }

    /// Ended with an error of its own, not by a signal or a panic.
    #[track_caller]
    pub fn refused(self) -> Ran {
        assert!(matches!(self.status.code(), Some(1..=100)), "was to be refused: {self}");
        self
    }

    /// What it wrote to stdout, as JSON: one document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {self}"))
    }

    /// The rows of a `--json` listing: one document with a list in it, or one row a line.
    #[track_caller]
    pub fn rows(&self) -> Vec<Value> {
        if let Ok(Value::Array(rows)) = serde_json::from_str(&self.stdout) {
            return rows;
        }
        let rows = self.stdout.lines().filter(|l| !l.trim().is_empty()).map(serde_json::from_str);
        rows.collect::<Result<_, _>>().unwrap_or_else(|e| panic!("not rows of JSON ({e}): {self}"))
    }

    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ended with {}\n--- stdout\n{}--- stderr\n{}", self.line, self.status, begin(&self.stdout), begin(&self.stderr))
    }
}

/// The beginning of a long output: enough to see what it is.
fn begin(text: &str) -> String {
    const CHARS: usize = 3000;
    if text.chars().count() <= CHARS { text.to_owned() } else { text.chars().take(CHARS).chain("…\n".chars()).collect() }
}
