#![allow(clippy::unwrap_used)]

use super::{
    sim::{Crash, Sim},
    *,
};
use crate::model::id::default_tenant;

fn app(name: &str) -> AppId {
    AppId::new(default_tenant(), AppId::check_name(name).unwrap())
}

fn manifest() -> Manifest {
    Manifest::parse("[app]\nname='a'\n[[on]]\nname='f'\nsubject='reading.>'\n[config]\nA='1'\nB='1'").unwrap()
}

fn draft(artifact: Digest, commit: &str) -> Draft {
    let created = Micros(i64::from_str_radix(commit, 16).unwrap());
    Draft { artifact, manifest: manifest(), commit: commit.into(), summary: "change".into(), created, rollback_of: None }
}

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path()).unwrap()
}

/// Names below the data directory, for what must not be there.
fn files(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(files(&path));
        } else {
            names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    names
}

#[test]
fn releases_are_numbered_and_the_last_one_is_current_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut changed = store.changed();
    let one = store.put_artifact(b"one").unwrap();
    let two = store.put_artifact(b"two").unwrap();
    assert_eq!(store.add_release(&app("a"), draft(one, "1")).unwrap().number, 1);
    assert_eq!(store.add_release(&app("a"), draft(two, "2")).unwrap().number, 2);
    assert!(changed.has_changed().unwrap());
    assert_eq!(*changed.borrow_and_update(), 2);
    let back = store.rollback(&app("a"), 1, Micros(9)).unwrap();
    assert_eq!((back.number, back.artifact, back.rollback_of), (3, one, Some(1)));

    let again = open(&dir);
    assert_eq!(again.releases(&app("a")), store.releases(&app("a")));
    assert_eq!(again.current(&app("a")).unwrap(), back);
    assert_eq!(again.artifact(&one).unwrap(), b"one");
    assert_eq!(again.apps(), [app("a")]);
}

#[test]
fn rolling_back_to_a_release_that_never_was_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let error = store.rollback(&app("a"), 7, Micros(0)).unwrap_err();
    assert_eq!(error.to_string(), "app `main/a` has no release 7");
    assert!(store.apps().is_empty());
}

#[test]
fn config_goes_over_the_defaults_of_the_manifest_and_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.set_config(&app("a"), "B", Some("2")).unwrap();
    store.set_config(&app("a"), "C", Some("2")).unwrap();
    store.set_config(&app("a"), "C", None).unwrap();
    store.add_release(&app("a"), draft(Digest::of(b""), "1")).unwrap();
    let config: Vec<_> = open(&dir).effective_config(&app("a")).into_iter().collect();
    assert_eq!(config, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())]);
}

#[test]
fn names_and_sizes_of_entries_are_checked() {
    let store = open(&tempfile::tempdir().unwrap());
    assert!(matches!(store.set_config(&app("a"), "A B", Some("1")), Err(StoreError::Invalid(_))));
    let long = "x".repeat(CONFIG_VALUE_BYTES_MAX + 1);
    assert!(matches!(store.set_secret(&app("a"), "A", Some(&long)), Err(StoreError::Invalid(_))));
    assert!(store.apps().is_empty());
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_a_secret() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    open(&dir).set_secret(&app("a"), "KEY", Some("hush")).unwrap();
    let mode = std::fs::metadata(dir.path().join("apps/main/a/secrets.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(open(&dir).secrets(&app("a"))["KEY"], "hush");
}

#[test]
fn a_staged_build_keeps_its_artifact_over_a_restart_and_is_released_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let digest = store.put_artifact(b"built").unwrap();
    store.stage(&app("a"), draft(digest, "c1")).unwrap();
    assert!(store.current(&app("a")).is_none());

    let store = open(&dir);
    assert_eq!(store.staged(&app("a")).len(), 1);
    assert_eq!(store.artifact(&digest).unwrap(), b"built");
    assert_eq!(store.release_staged(&app("a"), "c1").unwrap().unwrap().number, 1);
    assert!(store.release_staged(&app("a"), "c1").unwrap().is_none());

    // A crash between the release and tidying up.
    store.stage(&app("a"), draft(digest, "c1")).unwrap();
    assert_eq!(open(&dir).release_staged(&app("a"), "c1").unwrap().unwrap().number, 1);
    assert_eq!(open(&dir).releases(&app("a")).len(), 1);
}

#[test]
fn a_start_clears_away_what_nobody_needs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let kept = store.put_artifact(b"kept").unwrap();
    let lost = store.put_artifact(b"lost").unwrap();
    store.add_release(&app("a"), draft(kept, "1")).unwrap();
    for (path, text) in [
        (store.cache_path(&kept, "engine-1"), "compiled"),
        (store.cache_path(&lost, "engine-1"), "compiled"),
        (dir.path().join("apps/main/a/.current.tmp"), "2"),
        (dir.path().join("apps/main/a/releases/.2.json.tmp"), "{"),
        (dir.path().join("apps/main/a/releases/2.json"), "{}"),
    ] {
        std::fs::write(path, text).unwrap();
    }
    let store = open(&dir);
    let mut expected =
        ["1.json".to_owned(), "current".to_owned(), format!("{}.wasm", kept.hex()), format!("{}.engine-1.cwasm", kept.hex())];
    let mut found = files(dir.path());
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    store.drop_other_caches("engine-2").unwrap();
    assert!(!store.cache_path(&kept, "engine-1").exists());
    assert_eq!(store.add_release(&app("a"), draft(kept, "2")).unwrap().number, 2);
}

#[test]
fn a_deleted_app_is_gone_and_a_new_one_of_its_name_starts_afresh() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.set_secret(&app("a"), "KEY", Some("hush")).unwrap();
    store.add_release(&app("a"), draft(Digest::of(b""), "1")).unwrap();
    store.delete_app(&app("a")).unwrap();
    assert!(matches!(store.delete_app(&app("a")), Err(StoreError::NoApp(_))));
    assert!(open(&dir).apps().is_empty());
    assert_eq!(files(dir.path()), [""; 0]);

    // The node stopped right after the mark; an app of the same name must not inherit it.
    store.add_release(&app("a"), draft(Digest::of(b""), "1")).unwrap();
    let interrupted = open(&dir);
    store.delete_app(&app("a")).unwrap();
    std::fs::create_dir_all(dir.path().join("apps/main/a")).unwrap();
    std::fs::write(dir.path().join("apps/main/a/deleted"), "").unwrap();
    drop(interrupted);
    assert_eq!(store.add_release(&app("a"), draft(Digest::of(b""), "2")).unwrap().number, 1);
    assert_eq!(open(&dir).releases(&app("a")).len(), 1);
}

#[test]
fn damage_is_named_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let digest = store.put_artifact(b"good").unwrap();
    store.add_release(&app("a"), draft(digest, "1")).unwrap();
    std::fs::write(store.artifact_path(&digest), b"evil").unwrap();
    assert!(matches!(store.artifact(&digest), Err(StoreError::Corrupt { .. })));
    let release = dir.path().join("apps/main/a/releases/1.json");
    let text = std::fs::read_to_string(&release).unwrap();
    std::fs::write(&release, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    let error = Store::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("1.json` is damaged: format 2 is not known"), "{error}");
    std::fs::remove_file(&release).unwrap();
    let error = Store::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("release 1 is the current one, but it is not there"), "{error}");
}

#[test]
fn only_so_many_releases_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for n in 1..=RELEASES_KEPT_MAX + 2 {
        store.add_release(&app("a"), draft(Digest::of(b""), &format!("{n:x}"))).unwrap();
    }
    let numbers: Vec<u64> = open(&dir).releases(&app("a")).iter().map(|r| r.number).collect();
    assert_eq!((numbers.len(), numbers[0]), (RELEASES_KEPT_MAX, 3));
}

// --- artifacts that nobody needs

/// An artifact with a compiled form beside it, as a release has it.
fn compiled(store: &Store, content: &str) -> Digest {
    let digest = store.put_artifact(content.as_bytes()).unwrap();
    store.put_cache(&digest, "engine", b"code").unwrap();
    digest
}

fn kept(dir: &tempfile::TempDir) -> usize {
    files(&dir.path().join("artifacts")).len()
}

#[test]
fn an_artifact_goes_with_the_last_that_named_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for name in ["a", "b"] {
        store.add_release(&app(name), draft(compiled(&store, "shared"), "1")).unwrap();
    }
    store.stage(&app("a"), draft(compiled(&store, "pushed"), "2")).unwrap();
    assert_eq!(kept(&dir), 4);
    store.unstage(&app("a"), "2");
    assert_eq!(kept(&dir), 2, "its ref did not move");
    store.discard(&compiled(&store, "refused"));
    assert_eq!(kept(&dir), 2, "it did not start");
    store.discard(&compiled(&store, "shared"));
    store.delete_app(&app("a")).unwrap();
    assert_eq!(kept(&dir), 2, "another app needs it");
    store.delete_app(&app("b")).unwrap();
    assert_eq!(kept(&dir), 0);
}

#[test]
fn an_artifact_goes_with_the_oldest_release() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for n in 0..RELEASES_KEPT_MAX + 5 {
        store.add_release(&app("a"), draft(compiled(&store, &format!("{n}")), &format!("{n:x}"))).unwrap();
    }
    assert_eq!(kept(&dir), 2 * RELEASES_KEPT_MAX);
    assert!(store.releases(&app("a")).iter().all(|release| store.artifact(&release.artifact).is_ok()));
}

/// The same component is built twice at once; one of the builds ends badly before the other has a name.
#[test]
fn what_is_about_to_be_named_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (one, other) = (compiled(&store, "same"), compiled(&store, "same"));
    store.discard(&one);
    store.stage(&app("a"), draft(other, "1")).unwrap();
    store.unstage(&app("a"), "1");
    assert_eq!(kept(&dir), 0);
    let (one, other) = (compiled(&store, "same"), compiled(&store, "same"));
    store.stage(&app("a"), draft(one, "1")).unwrap();
    store.unstage(&app("a"), "1");
    assert_eq!(store.artifact(&other).unwrap(), b"same");
}

/// A backup reads the names first and the artifacts after.
#[test]
fn nothing_goes_while_somebody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.add_release(&app("a"), draft(compiled(&store, "x"), "1")).unwrap();
    let (one, other) = (store.hold(), store.hold());
    store.delete_app(&app("a")).unwrap();
    drop(one);
    assert_eq!(kept(&dir), 2);
    drop(other);
    assert_eq!(kept(&dir), 0);
}

// --- crashes

type Step = fn(&Store) -> Result<(), StoreError>;

/// What an operator and the builder do with two apps; each step changes what is seen.
const STORY: &[Step] = &[
    |store| {
        let artifact = store.put_artifact(b"first")?;
        store.add_release(&app("a"), draft(artifact, "1")).map(drop)
    },
    |store| store.set_config(&app("a"), "A", Some("2")),
    |store| store.set_secret(&app("a"), "KEY", Some("hush")),
    |store| {
        let artifact = store.put_artifact(b"second")?;
        store.stage(&app("a"), draft(artifact, "2"))
    },
    |store| store.release_staged(&app("a"), "2").map(drop),
    |store| store.rollback(&app("a"), 1, Micros(3)).map(drop),
    |store| store.set_secret(&app("b"), "KEY", Some("other")),
    |store| store.delete_app(&app("a")),
    |store| {
        let artifact = store.put_artifact(b"third")?;
        store.add_release(&app("a"), draft(artifact, "4")).map(drop)
    },
];

/// Everything that somebody may rely on. A staged build that was released already counts for nothing.
fn seen(store: &Store) -> String {
    let mut lines = Vec::new();
    for id in store.apps() {
        let releases = store.releases(&id);
        for release in &releases {
            let whole = store.artifact(&release.artifact).is_ok();
            lines.push(format!("{id} {} {} {:?} {whole}", release.number, release.commit, release.rollback_of));
        }
        let released = |draft: &&Draft| !releases.iter().any(|r| r.commit == draft.commit && r.created == draft.created);
        for draft in store.staged(&id).iter().filter(released) {
            lines.push(format!("{id} staged {} {}", draft.commit, store.artifact(&draft.artifact).is_ok()));
        }
        for (kind, entries) in [("config", store.config(&id)), ("secrets", store.secrets(&id))] {
            lines.extend(entries.iter().map(|(key, value)| format!("{id} {kind} {key}={value}")));
        }
    }
    lines.join("\n")
}

const ROOT: &str = "/data";

fn open_sim(sim: Sim) -> (Arc<Sim>, Result<Store, StoreError>) {
    let sim = Arc::new(sim);
    (sim.clone(), Store::open_on(sim, Path::new(ROOT)))
}

/// Runs the story until the disk stops; how many steps were done.
fn run(store: &Store) -> usize {
    STORY.iter().take_while(|step| step(store).is_ok()).count()
}

/// What is seen before the story and after each of its steps.
fn expected() -> (Vec<String>, Arc<Sim>) {
    let (sim, store) = open_sim(Sim::new(Path::new(ROOT)));
    let store = store.unwrap();
    let mut views = vec![seen(&store)];
    for step in STORY {
        step(&store).unwrap();
        views.push(seen(&store));
    }
    (views, sim)
}

fn crashes() -> impl Iterator<Item = Crash> {
    [Crash::Forgets, Crash::Keeps].into_iter().chain((0..32).map(Crash::Tears))
}

/// The story with a disk that stops at `step` (and skips a sync); whether what each crash leaves is the last step done, or the one
/// under way.
fn survives(views: &[String], step: usize, skip: Option<usize>) -> Result<(), String> {
    let (sim, store) = open_sim(Sim::new(Path::new(ROOT)).stop_at(step).skip_sync(skip));
    let done = store.map_or(0, |store| run(&store));
    crashes().try_for_each(|crash| left_by(&sim, &views[done..views.len().min(done + 2)], step, crash))
}

fn left_by(sim: &Sim, allowed: &[String], step: usize, crash: Crash) -> Result<(), String> {
    let (left, store) = open_sim(sim.after(crash));
    let store = store.map_err(|e| format!("stopped at {step}, {crash:?}: {e}"))?;
    let found = seen(&store);
    if !allowed.contains(&found) {
        return Err(format!("stopped at {step}, {crash:?}: found\n{found}\ninstead of one of {allowed:#?}"));
    }
    // What the new start acts on stays, even if it loses power at once.
    let (_, again) = open_sim(left.after(Crash::Forgets));
    match again.map(|store| seen(&store)) {
        Ok(still) if still == found => Ok(()),
        other => Err(format!("stopped at {step}, {crash:?}: seen once, then gone: {other:?}")),
    }
}

#[test]
fn whatever_step_the_disk_stops_at_each_change_is_there_whole_or_not_at_all() {
    let (views, sim) = expected();
    for step in 0..=sim.steps() {
        survives(&views, step, None).unwrap();
    }
}

#[test]
fn a_killed_node_does_not_take_back_what_the_next_one_acted_on() {
    let (views, sim) = expected();
    for step in 0..=sim.steps() {
        let (sim, store) = open_sim(Sim::new(Path::new(ROOT)).stop_at(step));
        let done = store.map_or(0, |store| run(&store));
        // Killed: the page cache stays, nothing more is synced.
        let (sim, store) = open_sim(sim.restarted());
        let found = seen(&store.unwrap());
        assert!(views[done..views.len().min(done + 2)].contains(&found), "step {step}: {found}");
        let (_, store) = open_sim(sim.after(Crash::Forgets));
        assert_eq!(seen(&store.unwrap()), found, "step {step}");
    }
}

#[test]
fn no_sync_can_be_left_out() {
    let (views, sim) = expected();
    let unnoticed: Vec<usize> =
        (0..sim.syncs()).filter(|skip| (0..=sim.steps()).rev().all(|step| survives(&views, step, Some(*skip)).is_ok())).collect();
    assert!(unnoticed.is_empty(), "of {} syncs these can be left out and no test sees it: {unnoticed:?}", sim.syncs());
}
