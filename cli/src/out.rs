//! How output looks: tables, colours on a terminal only, JSON for programs.

use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Paints words, or leaves them alone.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    colours: bool,
}

impl Style {
    pub fn for_stdout() -> Style {
        Style { colours: wanted(io::stdout().is_terminal()) }
    }

    pub fn for_stderr() -> Style {
        Style { colours: wanted(io::stderr().is_terminal()) }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }
}

/// <https://no-color.org>, and terminals that say they can't.
fn wanted(terminal: bool) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// What a function logged may hold escape sequences that would repaint the reader's terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// One line of text to standard output.
pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// The one value that a `--json` listing is.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}

/// Rows under a header, columns aligned. The last column is not padded.
pub struct Table {
    rows: Vec<Vec<String>>,
    /// Columns of numbers, aligned to the right.
    right: Vec<usize>,
}

impl Table {
    pub fn new<const N: usize>(header: [&str; N]) -> Table {
        Table { rows: vec![header.iter().map(|h| (*h).to_owned()).collect()], right: Vec::new() }
    }

    pub fn right(mut self, columns: &[usize]) -> Table {
        self.right = columns.to_vec();
        self
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| clean(cell).replace('\n', " ")).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// Prints it, or `nothing` to standard error when there is no row.
    pub fn print(&self, nothing: &str) -> io::Result<()> {
        if self.is_empty() {
            eprintln!("{nothing}");
            return Ok(());
        }
        let style = Style::for_stdout();
        let mut out = io::stdout().lock();
        for (number, text) in self.lines().iter().enumerate() {
            writeln!(out, "{}", if number == 0 { style.dim(text) } else { text.clone() })?;
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let cell = |column: usize, text: &str| {
            let width = widths[column];
            match (self.right.contains(&column), column + 1 == columns) {
                (true, _) => format!("{text:>width$}"),
                (false, true) => text.to_owned(),
                (false, false) => format!("{text:<width$}"),
            }
        };
        let line =
            |row: &Vec<String>| row.iter().enumerate().map(|(i, text)| cell(i, text)).collect::<Vec<_>>().join("  ").trim_end().to_owned();
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_escape_gets_through() {
        let mut table = Table::new(["APP", "N", "WHAT"]).right(&[1]);
        table.row(["fridge".into(), "7".into(), "a\x1b[31mb\nc".into()]);
        table.row(["é".into(), "12".into(), String::new()]);
        assert_eq!(table.lines(), ["APP      N  WHAT", "fridge   7  a\u{fffd}[31mb c", "é       12"]);
    }
}
