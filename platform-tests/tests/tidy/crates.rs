//! Third-party crates in their home rooms, as docs/ARCHITECTURE.md says.

use crate::{
    Faults,
    rooms::room_of,
    source::{paths, sources},
    tables::{ARCHITECTURE, read, table},
};
use std::collections::{BTreeMap, BTreeSet};

const EVERYWHERE: &str = "everywhere";

/// Crate -> its rooms; none: everywhere.
fn homes() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let mut homes = BTreeMap::new();
    for row in table(ARCHITECTURE, "crates") {
        let rooms = (row.cells.get(1).map(String::as_str) != Some(EVERYWHERE)).then(|| row.names(1).into_iter().collect::<BTreeSet<_>>());
        assert!(
            rooms.as_ref().is_none_or(|r| !r.is_empty()),
            "{ARCHITECTURE}:{}: a crate has a home, or is at home {EVERYWHERE}",
            row.line
        );
        for name in row.names(0) {
            let again = homes.insert(name.clone(), rooms.clone());
            assert!(again.is_none(), "{ARCHITECTURE}:{}: `{name}` has two rows", row.line);
        }
    }
    homes
}

fn dependencies() -> BTreeSet<String> {
    let manifest: toml::Table = read("runtime/Cargo.toml").parse().unwrap();
    let of = |table: &toml::Table, name: &str| table.get(name).and_then(|t| t.as_table()).cloned().unwrap_or_default();
    // Those of some machines only, too.
    let targets = of(&manifest, "target").into_iter().filter_map(|(_, target)| Some(of(target.as_table()?, "dependencies")));
    std::iter::once(of(&manifest, "dependencies")).chain(targets).flatten().map(|(name, _)| name).collect()
}

#[test]
fn every_dependency_of_the_runtime_has_a_home() {
    let (homes, dependencies) = (homes(), dependencies());
    let mut faults = Faults::default();
    for name in &dependencies {
        if !homes.contains_key(name) {
            faults.add("runtime/Cargo.toml", format!("`{name}` has no row among the crates of {ARCHITECTURE}"));
        }
    }
    for name in homes.keys() {
        if !dependencies.contains(name) {
            faults.add(ARCHITECTURE, format!("the runtime does not depend on `{name}`"));
        }
    }
    faults.none();
}

#[test]
fn every_crate_stays_in_its_home() {
    let homes = homes();
    let bound: BTreeMap<String, &BTreeSet<String>> = homes.iter().filter_map(|(n, r)| Some((n.replace('-', "_"), r.as_ref()?))).collect();
    let names: Vec<&str> = bound.keys().map(String::as_str).collect();
    let mut faults = Faults::default();
    for source in sources("runtime/src").iter().filter(|s| !s.is_test()) {
        let Some(room) = room_of(source) else { continue };
        for (name, _, line) in paths(source.product_code(), &names) {
            if !bound[&name].contains(room) {
                faults.add(source.at(line), format!("crate `{name}` is not at home in `{room}` ({ARCHITECTURE})"));
            }
        }
    }
    faults.none();
}
