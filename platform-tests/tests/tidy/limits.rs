//! docs/LIMITS.md lists every limit with its value and the tests that keep it.

use crate::{
    Faults,
    source::sources,
    tables::{LIMITS, read, table},
};
use std::collections::{BTreeMap, BTreeSet};

const SOURCE: &str = "runtime/src/model/limit.rs";

/// Name -> value, of every constant in the file.
fn constants(text: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let Some((name, rest)) = line.strip_prefix("pub const ").and_then(|l| l.split_once(':')) else { continue };
        let Some((_, value)) = rest.split_once('=') else { continue };
        let factors = value.trim().trim_end_matches(';').split('*').map(|f| f.trim().replace('_', "").parse::<u64>());
        match factors.collect::<Result<Vec<u64>, _>>() {
            Ok(factors) => found.insert(name.to_owned(), factors.into_iter().product()),
            Err(e) => panic!("{SOURCE}: the value of `{name}` is no product of numbers ({e})"),
        };
    }
    found
}

/// `65536` bytes -> `64 KiB`; `30000` -> `30,000`.
fn shown(name: &str, value: u64) -> String {
    if name.contains("BYTES") && value >= 1024 && value.is_multiple_of(1024) {
        let (value, unit) = if value.is_multiple_of(1 << 20) { (value >> 20, "MiB") } else { (value >> 10, "KiB") };
        return format!("{value} {unit}");
    }
    let digits = value.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn tests_of_the_house() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in ["runtime", "builder", "cli", "platform-tests", "sdk", "functions"].iter().flat_map(|f| sources(f)) {
        let mut is_test = false;
        for line in source.code.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
                names.insert(rest.split(['(', '<']).next().unwrap_or_default().to_owned());
                is_test = false;
            }
        }
    }
    names
}

#[test]
fn every_constant_is_listed_with_its_value() {
    let rows = table(LIMITS, "limits");
    let mut faults = Faults::default();
    let constants = constants(&read(SOURCE));
    for (name, value) in &constants {
        match rows.iter().find(|row| row.names(0).contains(name)) {
            None => faults.add(SOURCE, format!("`{name}` is not in {LIMITS}")),
            Some(row) if !row.cells[1].starts_with(&shown(name, *value)) => {
                faults.add(format!("{LIMITS}:{}", row.line), format!("`{name}` is {}, not `{}`", shown(name, *value), row.cells[1]));
            }
            Some(_) => {}
        }
    }
    faults.none();
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let tests = tests_of_the_house();
    let mut faults = Faults::default();
    for (name, column) in [("limits", 3), ("builds", 2), ("promises", 1)] {
        for row in table(LIMITS, name) {
            let named = row.names(column);
            if named.is_empty() {
                faults.add(format!("{LIMITS}:{}", row.line), "a promise names the test that keeps it");
            }
            for test in named.iter().filter(|t| !tests.contains(*t)) {
                faults.add(format!("{LIMITS}:{}", row.line), format!("there is no test `{test}`"));
            }
        }
    }
    faults.none();
}

#[test]
fn values_are_shown_as_people_write_them() {
    let found = constants(
        "pub const A_BYTES_MAX: usize = 64 * 1024;\npub const B_MAX: usize = 30_000;\n/// x\npub const C_BYTES_MAX: usize = 512;\n",
    );
    let shown: Vec<String> = found.iter().map(|(name, value)| shown(name, *value)).collect();
    assert_eq!(shown, ["64 KiB", "30,000", "512"]);
}
