//! Subjects and patterns over them, in the grammar of NATS: tokens between dots, `*` for one token, `>` for the rest.

use super::limit::SUBJECT_BYTES_MAX;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// Subjects that only the node itself writes; an app can't publish under them.
pub const RESERVED: [&str; 9] = ["reading", "command", "log", "registry", "uplink", "tawi", "trigger", "run", "dropped"];

/// A concrete subject inside a tenant, as `reading.fridge1.temp` or `alerts.fridge1`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subject(Arc<str>);

/// A subject, or one with wildcards.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Arc<str>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    #[error("a subject can't be empty or have an empty token (`{0}`)")]
    Empty(String),
    #[error("a subject has at most {SUBJECT_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    #[error("`{1}` can't stand in `{0}`: no control characters or white space, `*` and `>` only as whole tokens of a pattern, `>` last")]
    Character(String, char),
}

fn check(text: &str, wildcards: bool) -> Result<(), SubjectError> {
    if text.len() > SUBJECT_BYTES_MAX {
        return Err(SubjectError::TooLong(text.len()));
    }
    let mut tokens = text.split('.').peekable();
    while let Some(token) = tokens.next() {
        match token {
            "" => return Err(SubjectError::Empty(text.to_owned())),
            "*" if wildcards => continue,
            ">" if wildcards && tokens.peek().is_none() => continue,
            _ => {}
        }
        if let Some(c) = token.chars().find(|c| c.is_control() || c.is_whitespace() || "*>".contains(*c)) {
            return Err(SubjectError::Character(text.to_owned(), c));
        }
    }
    Ok(())
}

impl Subject {
    pub fn new(text: &str) -> Result<Subject, SubjectError> {
        check(text, false)?;
        Ok(Subject(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first token names who writes the subject.
    pub fn is_reserved(&self) -> bool {
        RESERVED.contains(&self.0.split('.').next().unwrap_or_default())
    }
}

impl From<Subject> for Pattern {
    /// That subject alone.
    fn from(subject: Subject) -> Pattern {
        Pattern(subject.0)
    }
}

impl Pattern {
    pub fn new(text: &str) -> Result<Pattern, SubjectError> {
        check(text, true)?;
        Ok(Pattern(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is a subject that both match.
    pub fn meets(&self, other: &Pattern) -> bool {
        let (mut mine, mut others) = (self.0.split('.'), other.0.split('.'));
        loop {
            match (mine.next(), others.next()) {
                (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (Some(one), Some(two)) if one == "*" || two == "*" || one == two => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }

    pub fn matches(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for wanted in self.0.split('.') {
            match (wanted, tokens.next()) {
                (">", Some(_)) => return true,
                (_, None) => return false,
                ("*", Some(_)) => {}
                (wanted, Some(token)) if wanted != token => return false,
                _ => {}
            }
        }
        tokens.next().is_none()
    }
}

macro_rules! text_of {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $type {
            type Error = SubjectError;
            fn try_from(text: String) -> Result<Self, SubjectError> {
                Self::new(&text)
            }
        }
        impl From<$type> for String {
            fn from(it: $type) -> String {
                it.0.to_string()
            }
        }
    };
}
text_of!(Subject);
text_of!(Pattern);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_nats_does() {
        for (pattern, subject, yes) in [
            ("reading.*.temp", "reading.fridge1.temp", true),
            ("reading.*.temp", "reading.fridge1.hum", false),
            ("reading.>", "reading.fridge1.temp", true),
            ("reading.>", "reading", false),
            (">", "a", true),
            ("a.*", "a.b.c", false),
            ("a.b", "a.b", true),
            ("a.b.*", "a.b", false),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(subject), yes, "{pattern} on {subject}");
        }
    }

    #[test]
    fn two_patterns_meet_where_one_subject_is_of_both() {
        for (one, other, yes) in [
            ("alerts.>", "alerts.*", true),
            ("alerts.*", "*.fridge", true),
            ("alerts.>", "alerts", false),
            ("a.*.c", "a.b.>", true),
            ("a.*.c", "a.b", false),
            ("a.b", "a.b", true),
            (">", "x.y", true),
            ("a.>", "b.>", false),
        ] {
            let (one, other) = (Pattern::new(one).unwrap(), Pattern::new(other).unwrap());
            assert_eq!((one.meets(&other), other.meets(&one)), (yes, yes), "{one} and {other}");
        }
    }

    #[test]
    fn a_subject_has_no_wildcards_and_a_pattern_only_whole_ones() {
        assert!(Subject::new("a.*").is_err());
        assert!(Subject::new("a..b").is_err());
        assert!(Pattern::new("a.>.b").is_err());
        assert!(Pattern::new("a.b*").is_err());
        assert!(Subject::new("reading.x").unwrap().is_reserved());
        assert!(!Subject::new("readings.x").unwrap().is_reserved());
    }
}
