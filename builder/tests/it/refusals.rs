//! Commits that can't be deployed: refused with the reason and what to do, and the version before goes on.

use crate::world::{Author, UNGRANTED, World};
use std::{fs, os::unix::fs::symlink};

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_source_is_shown_and_the_old_version_stays() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    author.push().await.ok();
    let before = world.current("fridge");
    author.write("src/lib.rs", "pub fn broken( {\n");
    author.commit("broken").await;
    let said = author.push().await.refused();
    said.says("src/lib.rs:1:")
        .says("remote: error: the crate does not compile")
        .says("! [remote rejected] main -> main (pre-receive hook declined)");
    assert_eq!(world.current("fridge"), before);
    assert!(world.store.staged(&crate::world::app("fridge")).is_empty());
    author.write("src/lib.rs", "pub fn mended() {}\n");
    author.commit("mended").await;
    author.push().await.ok().says("Live: release 2");
}

/// One way to go wrong: what to do to the repository, and what the author must read.
type Case = (&'static str, fn(&Author), &'static [&'static str]);

const CASES: &[Case] = &[
    ("no manifest", |a| fs::remove_file(a.path("tawi.toml")).unwrap(), &["there is no `tawi.toml`", "hint: it says what the app handles"]),
    (
        "no lock file",
        |a| fs::remove_file(a.path("Cargo.lock")).unwrap(),
        &["there is no `Cargo.lock`", "cargo generate-lockfile && git add"],
    ),
    (
        "a mistyped key",
        |a| a.write("tawi.toml", &a.read("tawi.toml").replace("subject", "subjct")),
        &["tawi.toml:6:1: unknown key `subjct`", "did you mean `subject`?"],
    ),
    (
        "another app's name",
        |a| a.write("tawi.toml", &a.read("tawi.toml").replace("fridge", "oven")),
        &["calls the app `oven`, but it was pushed to `fridge.git`"],
    ),
    (
        "cargo configuration",
        |a| a.write(".cargo/config.toml", "[build]\nrustc-wrapper = \"./evil\"\n"),
        &["`.cargo/config.toml` is refused", "run programs"],
    ),
    ("a toolchain file", |a| a.write("deep/rust-toolchain.toml", ""), &["`deep/rust-toolchain.toml` is refused"]),
    ("a link out", |a| symlink("../../../../etc/passwd", a.path("secrets")).unwrap(), &["`secrets` is a link that leads out"]),
    (
        "nothing to build",
        |a| fs::rename(a.path("Cargo.toml"), a.path("go.mod")).unwrap(),
        &["`go.mod` looks like Go", "hint: built are: Rust"],
    ),
    (
        "not a component",
        |a| a.write("Cargo.toml", &a.read("Cargo.toml").replace("crate-type = [\"cdylib\"]", "")),
        &["package `guest` is not a component", "crate-type = [\"cdylib\"]"],
    ),
    (
        "an old lock file",
        |a| a.write("Cargo.toml", &a.read("Cargo.toml").replace("[workspace]", "[dependencies]\nnot-locked = \"1\"\n[workspace]")),
        &["could not be fetched as `Cargo.lock` names them"],
    ),
    (
        "an import that was not granted",
        |a| a.write("src/lib.rs", &format!("#[no_mangle]\npub static TEXT: [u8; {}] = *b\"{UNGRANTED}\";\n", UNGRANTED.len())),
        &["imports `tawi:app/state`, which is not granted", "hint: add `state = true` to `[grant]`"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_is_refused_with_a_reason_and_a_hint() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    author.push().await.ok();
    let before = world.current("fridge");
    let good = before.as_ref().unwrap().1.clone();
    for (what, spoil, words) in CASES {
        spoil(&author);
        author.commit(what).await;
        let mut said = author.push().await.refused().says("remote: error: ").says("pre-receive hook declined");
        for word in *words {
            said = said.says(word);
        }
        author.git(&["reset", "-q", "--hard", &good]).await.ok();
        author.git(&["clean", "-fdxq"]).await.ok();
    }
    assert_eq!(world.current("fridge"), before);
    author.git(&["ls-remote", "tawi", "main"]).await.ok().says(&good);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submodule_and_a_path_outside_are_refused() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    let other = world.author("other").await;
    author.git(&["submodule", "add", "-q", other.path("").to_str().unwrap(), "vendor"]).await.ok();
    author.commit("submodule").await;
    author.push().await.refused().says("`vendor` is a submodule").says("git subtree");

    author.git(&["reset", "-q", "--hard", "HEAD~1"]).await.ok();
    fs::remove_dir_all(author.path("vendor")).unwrap();
    // A crate that is there on the node's disk, but in no repository.
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("src")).unwrap();
    fs::write(outside.path().join("src/lib.rs"), "").unwrap();
    fs::write(outside.path().join("Cargo.toml"), "[package]\nname = \"outside\"\nversion = \"0.1.0\"\n").unwrap();
    let dependency = format!("[dependencies]\noutside = {{ path = {:?} }}\n[workspace]", outside.path());
    author.write("Cargo.toml", &author.read("Cargo.toml").replace("[workspace]", &dependency));
    let lock = "version = 4\n\n[[package]]\nname = \"guest\"\nversion = \"0.1.0\"\ndependencies = [\n \"outside\",\n]\n\n[[package]]\nname = \"outside\"\nversion = \"0.1.0\"\n";
    author.write("Cargo.lock", lock);
    author.commit("outside").await;
    author.push().await.refused().says("is not in the repository, but the crate depends on it");
    assert_eq!(world.current("fridge"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_utf8_are_only_names() {
    use std::os::unix::ffi::OsStrExt;
    let world = World::start().await;
    let author = world.author("fridge").await;
    fs::write(author.path("").join(std::ffi::OsStr::from_bytes(b"caf\xe9.txt")), "").unwrap();
    symlink("src/lib.rs", author.path("inside")).unwrap();
    author.commit("names").await;
    author.push().await.ok().says("Live: release 1");
}
