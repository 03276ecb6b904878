//! Which room may use which, as docs/ARCHITECTURE.md says.

use crate::{
    Faults,
    source::{Source, paths, sources},
    tables::{ARCHITECTURE, table},
};
use std::collections::{BTreeMap, BTreeSet};
use tawi_platform_tests::repo;

const RUNTIME: &str = "runtime/src/";

/// Room -> rooms that it may use.
fn allowed(name: &str, may_use: usize) -> BTreeMap<String, BTreeSet<String>> {
    let rows = table(ARCHITECTURE, name);
    rows.iter().flat_map(|row| row.names(0).into_iter().map(|room| (room, row.names(may_use).into_iter().collect()))).collect()
}

/// The room a file of the runtime is in: the folder or file right under `src`.
pub fn room_of(source: &Source) -> Option<&str> {
    let rest = source.path.strip_prefix(RUNTIME)?;
    let room = rest.split('/').next()?;
    Some(room.strip_suffix(".rs").unwrap_or(room)).filter(|room| *room != "lib")
}

#[test]
fn every_room_uses_only_what_the_table_allows() {
    let allowed = allowed("rooms", 4);
    let mut faults = Faults::default();
    for source in sources("runtime/src").iter().filter(|s| !s.is_test()) {
        let Some(room) = room_of(source) else { continue };
        let Some(may_use) = allowed.get(room) else {
            faults.add(&source.path, format!("room `{room}` has no row in {ARCHITECTURE}"));
            continue;
        };
        for (_, used, line) in paths(source.product_code(), &["crate"]) {
            if allowed.contains_key(&used) && used != room && !may_use.contains(&used) {
                faults.add(source.at(line), format!("`{room}` may not use `{used}` ({ARCHITECTURE})"));
            }
        }
    }
    faults.none();
}

#[test]
fn the_other_crates_use_only_the_rooms_they_may() {
    let rooms = allowed("rooms", 4);
    let mut faults = Faults::default();
    for (krate, may_use) in allowed("users", 1) {
        for source in sources(&format!("{krate}/src")).iter().filter(|s| !s.is_test()) {
            for (_, used, line) in paths(source.product_code(), &["tawi_runtime"]) {
                if rooms.contains_key(&used) && !may_use.contains(&used) {
                    faults.add(source.at(line), format!("`{krate}` may not use `{used}` ({ARCHITECTURE})"));
                }
            }
        }
    }
    faults.none();
}

#[test]
fn the_table_has_no_room_that_is_gone() {
    let mut faults = Faults::default();
    for row in table(ARCHITECTURE, "rooms") {
        for room in row.names(0) {
            let src = repo::root().join(RUNTIME);
            if !src.join(&room).is_dir() && !src.join(format!("{room}.rs")).is_file() {
                faults.add(format!("{ARCHITECTURE}:{}", row.line), format!("there is no room `{room}`"));
            }
        }
    }
    faults.none();
}

/// Rooms that use each other are one room with a wall through it.
#[test]
fn no_two_rooms_use_each_other() {
    let allowed = allowed("rooms", 4);
    let mut faults = Faults::default();
    let mut open = allowed.clone();
    // Takes away rooms that use nothing that is left; what can't be taken away stands in a circle.
    while let Some(room) = open.iter().find(|(_, uses)| uses.iter().all(|used| !open.contains_key(used))).map(|(room, _)| room.clone()) {
        open.remove(&room);
    }
    for (room, uses) in &open {
        faults.add(ARCHITECTURE, format!("`{room}` is in a circle: it may use {uses:?}"));
    }
    for (room, uses) in &allowed {
        for used in uses.iter().filter(|used| !allowed.contains_key(*used)) {
            faults.add(ARCHITECTURE, format!("`{room}` may use `{used}`, which has no row"));
        }
    }
    faults.none();
}

#[test]
fn every_room_opens_with_what_comes_in_goes_out_and_never_happens() {
    let mut faults = Faults::default();
    for source in sources("runtime/src") {
        let is_room = source.path.strip_prefix(RUNTIME).is_some_and(|p| p.ends_with("/mod.rs") && p.matches('/').count() == 1);
        if !is_room {
            continue;
        }
        let head: String = source.text.lines().take_while(|l| l.starts_with("//!")).collect();
        for word in ["In: ", "Out: ", "Never: "] {
            if !head.contains(word) {
                faults.add(source.at(1), format!("the head of a room says `{word}…`"));
            }
        }
        if !source.text.starts_with("//! In: ") {
            faults.add(source.at(1), "a room opens with `//! In: …`");
        }
    }
    faults.none();
}
