//! Rust source as far as the rules need it: code without comments and strings, and the paths in it.

use std::{
    fs,
    path::{Path, PathBuf},
};
use tawi_platform_tests::repo;

/// One source file.
#[derive(Debug)]
pub struct Source {
    /// From the top of the repository.
    pub path: String,
    /// As it is.
    pub text: String,
    /// The same lines without comments and without the insides of strings.
    pub code: String,
}

impl Source {
    fn read(path: &Path) -> Source {
        let text = fs::read_to_string(path).unwrap();
        let code = strip(&text);
        Source { path: relative(path), text, code }
    }

    /// The code that is in the product: a test module at the end of the file is left out.
    pub fn product_code(&self) -> &str {
        let test = self.code.find("#[cfg(test)]\nmod ").or_else(|| self.code.find("#[cfg(test)]\n#[allow"));
        &self.code[..test.unwrap_or(self.code.len())]
    }

    /// A file that holds tests alone, by its name or because its only user is a test module.
    pub fn is_test(&self) -> bool {
        let path = Path::new(&self.path);
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        stem == "tests" || stem == "conformance" || stem.ends_with("_tests") || self.path.contains("/tests/")
    }

    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }
}

pub fn relative(path: &Path) -> String {
    path.strip_prefix(repo::root()).unwrap_or(path).display().to_string()
}

/// Every Rust file under a folder of the repository.
pub fn sources(folder: &str) -> Vec<Source> {
    rust_files(folder).iter().map(|p| Source::read(p)).collect()
}

pub fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = repo::files_under(&repo::root().join(folder));
    files.retain(|p| p.extension().is_some_and(|e| e == "rs"));
    files
}

/// A path in the code that begins with one of `heads`: the head, the segment after it, and the line.
/// `use crate::{a::b, c}` is two paths.
pub fn paths(code: &str, heads: &[&str]) -> Vec<(String, String, usize)> {
    let mut found = Vec::new();
    for head in heads {
        let start = format!("{head}::");
        for (at, _) in code.match_indices(&start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            for (segment, offset) in heads_of(&code[at + start.len()..]) {
                let line = line_of(code, at + start.len() + offset);
                found.push(((*head).to_owned(), segment, line));
            }
        }
    }
    found
}

/// `name::…` -> `name`; `{a::b, c}` -> `a`, `c`; each with its offset.
fn heads_of(rest: &str) -> Vec<(String, usize)> {
    let ident = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let Some(list) = rest.strip_prefix('{') else { return vec![(ident(rest), 0)] };
    let (mut depth, mut fresh, mut heads) = (0, true, Vec::new());
    for (i, c) in list.char_indices() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && (c.is_alphanumeric() || c == '_') => {
                heads.push((ident(&list[i..]), i + 1));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Blanks out comments and the insides of string and character literals; lines stay where they are.
pub fn strip(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let skip = literal_or_comment(text, i);
        if skip == 0 {
            out.push(bytes[i]);
            i += 1;
        } else {
            out.extend(bytes[i..i + skip].iter().map(|b| if *b == b'\n' { b'\n' } else { b' ' }));
            i += skip;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The length of the literal or comment that begins at `at`; 0 when there is none.
fn literal_or_comment(text: &str, at: usize) -> usize {
    let rest = &text.as_bytes()[at..];
    let begins_word = at == 0 || !(text.as_bytes()[at - 1].is_ascii_alphanumeric() || text.as_bytes()[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => 1 + quoted(&rest[1..], b'"'),
        [b'r', b'"' | b'#', ..] if begins_word => raw_string(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] if begins_word => raw_string(rest, 2),
        // A lifetime has no closing quote; a character has it after one character or one escape.
        [b'\'', b'\\', ..] => 1 + quoted(&rest[1..], b'\''),
        [b'\'', ..] => text.get(at + 1..).and_then(|t| t.chars().next()).map_or(0, |c| {
            let end = 1 + c.len_utf8();
            if rest.get(end) == Some(&b'\'') { end + 1 } else { 0 }
        }),
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut i) = (0, 0);
    while i < rest.len() {
        match &rest[i..] {
            [b'/', b'*', ..] => (depth, i) = (depth + 1, i + 2),
            [b'*', b'/', ..] if depth == 1 => return i + 2,
            [b'*', b'/', ..] => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    rest.len()
}

fn quoted(inside: &[u8], quote: u8) -> usize {
    let mut i = 0;
    while i < inside.len() {
        match inside[i] {
            b'\\' => i += 2,
            b if b == quote => return i + 1,
            _ => i += 1,
        }
    }
    inside.len()
}

/// `r#"…"#`; a raw identifier (`r#type`) is none.
fn raw_string(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return 0;
    }
    let close: Vec<u8> = [b'"'].into_iter().chain(std::iter::repeat_n(b'#', hashes)).collect();
    let end = rest[open + 1..].windows(close.len()).position(|w| w == close);
    end.map_or(rest.len(), |end| open + 1 + end + close.len())
}

#[test]
fn comments_and_strings_are_no_code() {
    let code =
        strip("let a = \"redb::x // \\\" y\"; // crate::engine::z\nlet b = r#\"crate::\"#; /* a /* b */ c */ let c: &'static str = 'x';\n");
    assert!(!code.contains("redb") && !code.contains("crate") && !code.contains(" c */"));
    assert!(code.contains("let b = ") && code.contains("&'static str"));
    assert_eq!(code.lines().count(), 2);
}

#[test]
fn nested_uses_are_separate_paths() {
    let code = "use crate::{\n    engine::{Engine, Call},\n    model::Id,\n};\nfn f() { crate::ledger::open(); my_crate::x(); }\n";
    let found: Vec<_> = paths(code, &["crate"]).into_iter().map(|(_, room, line)| (room, line)).collect();
    assert_eq!(found, [("engine".to_owned(), 2), ("model".to_owned(), 3), ("ledger".to_owned(), 5)]);
}
