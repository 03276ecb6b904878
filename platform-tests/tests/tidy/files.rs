//! Files: none forgotten, none with a path of somebody's machine, none that sleeps or is skipped.

use crate::{
    Faults,
    source::{Source, line_of, relative, rust_files, sources, strip},
};
use std::{collections::BTreeSet, fs, path::Path, process::Command};
use tawi_platform_tests::repo;

/// Everything that holds Rust of ours.
const FOLDERS: [&str; 6] = ["runtime", "builder", "cli", "platform-tests", "sdk", "functions"];

/// The helpers that wait for a fact, the load that keeps a pace, and faults that strike at a moment which a seed chose.
const MAY_SLEEP: [&str; 5] = [
    "platform-tests/src/wait.rs",
    "platform-tests/src/load.rs",
    "platform-tests/src/mqtt.rs",
    "runtime/src/ledger/tests/nats.rs",
    "runtime/src/ledger/tests/jetstream.rs",
];

fn all_sources() -> Vec<Source> {
    FOLDERS.iter().flat_map(|f| sources(f)).collect()
}

/// Every file is a root of a target, or named by a `mod` of the file above it: a forgotten one is not compiled, and so not tested.
#[test]
fn no_module_is_forgotten() {
    let mut faults = Faults::default();
    for folder in FOLDERS {
        for path in rust_files(folder) {
            let text = relative(&path);
            if is_root(&path) || named_by_a_parent(&path) {
                continue;
            }
            faults.add(text, "no `mod` names this file, so it is never compiled");
        }
    }
    faults.none();
}

fn is_root(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let parent = path.parent().and_then(|p| p.file_name()).and_then(|n| n.to_str()).unwrap_or_default();
    let grand = path.parent().and_then(|p| p.parent()).and_then(|p| p.file_name()).and_then(|n| n.to_str()).unwrap_or_default();
    let targets = ["tests", "benches", "examples", "bin"];
    // A template is source for somebody else's crate.
    matches!(name, "lib.rs" | "main.rs" | "build.rs") && (parent == "src" || targets.contains(&grand) || name == "build.rs")
        || targets.contains(&parent) && parent != "src"
        || path.components().any(|c| c.as_os_str() == "template" || c.as_os_str() == "templates" || c.as_os_str() == "fixtures")
}

fn named_by_a_parent(path: &Path) -> bool {
    let dir = path.parent().unwrap();
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap();
    let (module, above) =
        if stem == "mod" { (dir.file_name().and_then(|n| n.to_str()).unwrap(), dir.parent().unwrap()) } else { (stem, dir) };
    let file = path.file_name().and_then(|n| n.to_str()).unwrap();
    // `foo/bar.rs` is named by `foo/mod.rs`, `foo/lib.rs`, `foo/main.rs` or `foo.rs`; one with `#[path]` by any file beside it.
    let mut parents: Vec<_> = ["mod.rs", "lib.rs", "main.rs"].iter().map(|n| above.join(n)).collect();
    parents.push(above.with_extension("rs"));
    if above.file_name().is_some_and(|n| n == "tests") {
        // Every file in `tests` is the root of a test of its own.
        parents.extend(
            fs::read_dir(above).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "rs")),
        );
    }
    let beside = fs::read_dir(above).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "rs"));
    let by_path = |text: &str| text.contains(&format!("#[path = \"{file}\"]"));
    let names = |text: &str| {
        let code = strip(text);
        code.lines().any(|l| {
            let l = l.trim();
            let l =
                l.strip_prefix("pub ").or_else(|| l.split_once(") ").filter(|(v, _)| v.starts_with("pub(")).map(|(_, r)| r)).unwrap_or(l);
            l.strip_prefix("mod ").is_some_and(|m| m.trim_end_matches([';', ' ', '{']) == module)
        })
    };
    parents.iter().any(|p| fs::read_to_string(p).is_ok_and(|t| names(&t)))
        || beside.into_iter().any(|p| p != path && fs::read_to_string(p).is_ok_and(|t| by_path(&t)))
}

#[test]
fn no_test_is_skipped() {
    let mut faults = Faults::default();
    for source in all_sources() {
        for (at, _) in source.code.match_indices("#[ignore") {
            faults.add(source.at(line_of(&source.code, at)), "a test that is not run says nothing; mend it or remove it");
        }
    }
    faults.none();
}

#[test]
fn no_test_sleeps() {
    let mut faults = Faults::default();
    for source in all_sources() {
        let from = if source.is_test() || source.path.starts_with("platform-tests/") { 0 } else { source.product_code().len() };
        if MAY_SLEEP.contains(&source.path.as_str()) {
            continue;
        }
        for word in ["thread::sleep", "time::sleep", " sleep("] {
            for (at, _) in source.code[from..].match_indices(word) {
                faults.add(source.at(line_of(&source.code, from + at)), "wait for the fact (`wait_until`), not for the time");
            }
        }
    }
    faults.none();
}

#[test]
fn a_node_ends_by_returning_and_the_model_does_nothing() {
    let mut faults = Faults::default();
    let src = "runtime/src/";
    for source in sources("runtime/src").iter().filter(|s| !s.is_test()) {
        for word in ["std::process::exit(", "process::exit("] {
            if let Some(at) = source.product_code().find(word) {
                faults.add(source.at(line_of(&source.code, at)), "a node ends by returning from `main`");
            }
        }
        if source.path.strip_prefix(src).is_some_and(|p| p == "model" || p.starts_with("model/")) {
            for word in ["async fn", "tokio::", "std::fs", "std::net::Tcp", "std::net::Udp", "ToSocketAddrs", "SystemTime", "Instant::now"]
            {
                if let Some(at) = source.product_code().find(word) {
                    faults.add(source.at(line_of(&source.code, at)), format!("`model` has no `{word}`: no IO, no clock, nothing async"));
                }
            }
        }
    }
    faults.none();
}

/// Tracked files only: what git does not keep is nobody else's trouble.
#[test]
fn no_file_holds_a_path_of_somebodys_machine() {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(repo::root()).output();
    // From an archive there is no git, and nothing to find out.
    let Ok(listed) = listed else { return };
    let mut homes: BTreeSet<String> = BTreeSet::new();
    // Written in parts, or this file would be the first to be found.
    for place in ["home", "Users", "root", "work", "workspace"] {
        homes.insert(format!("/{place}/"));
    }
    let mut faults = Faults::default();
    for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|n| !n.is_empty()) {
        let Ok(text) = fs::read_to_string(repo::root().join(name)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(home) = homes.iter().find(|home| begins_a_path(line, home)) {
                faults.add(format!("{name}:{}", number + 1), format!("a path of somebody's machine: `{home}…`"));
            }
        }
    }
    faults.none();
}

/// `/home/…` at the beginning of a path, not inside a longer one such as `https://example.org/home/` or `src/work/x`.
fn begins_a_path(line: &str, home: &str) -> bool {
    line.match_indices(home).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + home.len()..].chars().next();
        before.is_none_or(|c| c.is_whitespace() || "\"'`=(:<[,".contains(c))
            && after.is_some_and(|c| c.is_alphanumeric() || "._-".contains(c))
    })
}

#[test]
fn a_path_is_told_from_a_part_of_one() {
    let home = format!("/{}/", "home");
    assert!(begins_a_path(&format!("dir = \"{home}amina\""), &home));
    assert!(!begins_a_path(&format!("https://example.org{home}x"), &home));
    assert!(!begins_a_path(&home, &home));
}
