//! Why a push was refused, in the words its author reads.

use std::fmt;

/// A mistake of the author, a limit, or trouble of the node. Nothing was released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl BuildError {
    pub fn new(message: impl Into<String>) -> BuildError {
        BuildError { message: message.into(), hint: None }
    }

    pub fn hint(self, hint: impl Into<String>) -> BuildError {
        BuildError { hint: Some(hint.into()), ..self }
    }

    /// Trouble of the node, which the author can do nothing about.
    pub(crate) fn node(tried: &str, error: impl std::error::Error) -> BuildError {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        BuildError::new(format!("the node could not {tried}: {text}")).hint("this is no fault of the push; ask the operator of the node")
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for BuildError {}
