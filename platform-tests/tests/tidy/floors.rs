//! One name on every floor: a capability has its file in the contract, the SDK, the host, the probes, the cases and the guide.

use crate::Faults;
use std::fs;
use tawi_platform_tests::repo;

/// Capabilities whose interface is not ours: `wasi:config`, `wasi:logging`, `wasi:http`.
const STANDARD: [&str; 3] = ["config", "log", "fetch"];
/// Files of the contract that are no capability.
const NO_CAPABILITY: [&str; 3] = ["trigger", "types", "worlds"];
/// Triggers of time: one page of the guide, one probe and one file of cases are for all of them.
const TRIGGERS: [&str; 6] = ["batch", "change", "schedule", "silence", "threshold", "window"];
/// What a function handles, rather than uses: they have no probe and no file in the host.
const HANDLERS: [&str; 2] = ["codec", "event"];

fn contract() -> Vec<String> {
    let dir = repo::root().join("sdk/wit");
    let names = fs::read_dir(&dir).unwrap().flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "wit"));
    let names = names.map(|p| p.file_stem().and_then(|s| s.to_str()).unwrap().to_owned());
    let mut names: Vec<String> = names.filter(|n| !NO_CAPABILITY.contains(&n.as_str())).collect();
    names.sort();
    names
}

#[test]
fn every_capability_has_one_name_on_every_floor() {
    let mut faults = Faults::default();
    let root = repo::root();
    for name in contract().iter().map(String::as_str).chain(STANDARD).filter(|name| !TRIGGERS.contains(name)) {
        let mut floors = vec![format!("docs/guide/{name}.md"), format!("platform-tests/tests/it/{name}.rs")];
        if !HANDLERS.contains(&name) {
            floors.push(format!("functions/probe-{name}/src/lib.rs"));
            floors.push(format!("runtime/src/host/{name}.rs"));
        }
        for floor in floors.into_iter().filter(|f| !root.join(f).is_file()) {
            faults.add(format!("capability `{name}`"), format!("there is no `{floor}`"));
        }
        // In the SDK a request out is of the same module as a request in.
        let module = if name == "fetch" { "http" } else { name };
        let sdk = [format!("sdk/src/{module}.rs"), format!("sdk/src/{module}/mod.rs")];
        if !sdk.iter().any(|f| root.join(f).is_file()) {
            faults.add(format!("capability `{name}`"), format!("there is no `{}`", sdk[0]));
        }
    }
    faults.none();
}

#[test]
fn every_trigger_of_time_has_one_name_on_every_floor() {
    let (mut faults, root) = (Faults::default(), repo::root());
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("can't read `{path}`: {e}"));
    let (guide, probe, cases) =
        (read("docs/guide/triggers.md"), read("functions/probe-time/src/lib.rs"), read("runtime/tests/triggers.rs"));
    for name in TRIGGERS {
        for file in [format!("sdk/wit/{name}.wit"), format!("sdk/src/{name}.rs")] {
            if !root.join(&file).is_file() {
                faults.add(format!("trigger `{name}`"), format!("there is no `{file}`"));
            }
        }
        for (page, text, words) in [
            ("docs/guide/triggers.md", &guide, format!("\n## {name}\n")),
            ("functions/probe-time", &probe, format!("#[tawi::{name}]")),
            ("runtime/tests/triggers.rs", &cases, format!("\"{name}\"")),
        ] {
            if !text.contains(&words) {
                faults.add(format!("trigger `{name}`"), format!("`{page}` has no `{}`", words.trim()));
            }
        }
    }
    faults.none();
}

/// A link inside the documentation leads somewhere.
#[test]
fn every_link_in_the_documentation_leads_to_a_file() {
    let mut faults = Faults::default();
    let mut pages = repo::files_under(&repo::root().join("docs"));
    pages.push(repo::root().join("README.md"));
    for page in pages.iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(page).unwrap_or_else(|e| panic!("can't read `{}`: {e}", page.display()));
        for (number, line) in text.lines().enumerate() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = target.split('#').next().unwrap_or_default();
                let outside = file.is_empty() || file.contains("://") || file.starts_with("mailto:");
                if !outside && !page.parent().unwrap().join(file).exists() {
                    let place = format!("{}:{}", crate::source::relative(page), number + 1);
                    faults.add(place, format!("the link to `{target}` leads nowhere"));
                }
            }
        }
    }
    faults.none();
}
