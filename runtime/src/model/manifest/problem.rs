//! What is wrong with a manifest, and where.

use std::{fmt, ops::Range};

/// Everything that is wrong with one manifest, in the order of its lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    pub problems: Vec<Problem>,
}

/// One mistake, shown with the line it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub message: String,
    pub hint: Option<String>,
    /// The line as it stands in the file.
    pub text: String,
    /// How many characters of the line are meant; 0 for a point or the whole file.
    pub width: usize,
}

impl Problem {
    pub(super) fn at(source: &str, span: Range<usize>, message: String, hint: Option<String>) -> Problem {
        let start = floor(source, span.start);
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
        let end = floor(source, span.end).clamp(start, line_end);
        Problem {
            line: source[..start].matches('\n').count() + 1,
            column: source[line_start..start].chars().count() + 1,
            message,
            hint,
            text: source[line_start..line_end].trim_end().to_owned(),
            width: source[start..end].chars().count(),
        }
    }
}

/// The nearest character boundary at or before `at`, inside the text.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { line, column, message, .. } = self;
        write!(f, "{}:{line}:{column}: {message}", super::MANIFEST_FILE)?;
        if !self.text.is_empty() {
            let margin = " ".repeat(line.to_string().len());
            // Tabs before the mistake stay tabs, so that the marks stand under it.
            let indent: String = self.text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n  {line} | {}\n  {margin} | {indent}{}", self.text, "^".repeat(self.width.max(1)))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}
