//! Tables in Markdown, between `<!-- name -->` and `<!-- /name -->`.

use std::fs;
use tawi_platform_tests::repo;

pub const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";
pub const LIMITS: &str = "docs/LIMITS.md";

/// The cells of one row, and its line in the file.
#[derive(Debug)]
pub struct Row {
    pub line: usize,
    pub cells: Vec<String>,
}

impl Row {
    /// What stands in backticks in a cell.
    pub fn names(&self, cell: usize) -> Vec<String> {
        let text = self.cells.get(cell).map_or("", String::as_str);
        text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }
}

pub fn read(path: &str) -> String {
    fs::read_to_string(repo::root().join(path)).unwrap_or_else(|e| panic!("can't read `{path}`: {e}"))
}

/// The rows of a table, its head left out.
pub fn table(path: &str, name: &str) -> Vec<Row> {
    let text = read(path);
    let rows = rows_between(&text, name);
    assert!(!rows.is_empty(), "{path} has no table between `<!-- {name} -->` and `<!-- /{name} -->`");
    rows
}

fn rows_between(text: &str, name: &str) -> Vec<Row> {
    let (open, close) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let lines = text.lines().enumerate().skip_while(|(_, l)| l.trim() != open).take_while(|(_, l)| l.trim() != close);
    let rows = lines.filter(|(_, l)| l.starts_with('|')).skip(2);
    rows.map(|(i, l)| {
        let cells = l.trim().trim_matches('|').split(" | ").map(|c| c.trim_matches(['|', ' ']).to_owned()).collect();
        Row { line: i + 1, cells }
    })
    .collect()
}

#[test]
fn a_table_is_read_with_its_line_numbers_and_names() {
    let rows = rows_between("x\n<!-- t -->\n\n| a | b |\n|---|---|\n| `one` `two` | text |\n| `three` | |\n<!-- /t -->\n| no |\n", "t");
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].line, rows[0].names(0)), (6, vec!["one".to_owned(), "two".to_owned()]));
    assert_eq!(rows[1].names(1), Vec::<String>::new());
}
