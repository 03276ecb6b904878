//! What goes well.

use crate::world::{SICK, World, app};
use std::fs;
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_push_builds_and_goes_live_and_the_second_replaces_it() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    let said = author.push().await.ok();
    let said = said.says("remote: -----> Compiling guest 0.1.0").says("Live: release 1 of fridge");
    said.says("http://node.example/run/fridge/status").says("alert runs on reading.*.temp");
    let first = world.store.current(&app("fridge")).unwrap();
    assert_eq!((first.number, first.summary.as_str()), (1, "first"));
    assert_eq!(&world.store.artifact(&first.artifact).unwrap()[..4], b"\0asm");

    let commit = author.change(42).await;
    author.push().await.ok().says("Live: release 2 of fridge");
    let second = world.store.current(&app("fridge")).unwrap();
    assert_eq!((second.number, &second.commit), (2, &commit));
    assert_ne!(second.artifact, first.artifact);
    author.push().await.ok().says("Everything up-to-date");

    let logs: Vec<_> = fs::read_dir(world.store.builds_dir(&app("fridge"))).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(logs.len(), 2);
    assert!(fs::read_to_string(&logs[0]).unwrap().contains("-----> Compiling guest"));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_may_be_rewritten_and_old_commits_come_back() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    author.push().await.ok();
    let first = world.current("fridge").unwrap().1;
    author.change(42).await;
    author.push().await.ok();
    author.git(&["reset", "-q", "--hard", &first]).await.ok();
    author.push().await.refused().says("non-fast-forward");
    author.git(&["push", "-f", "tawi", "main"]).await.ok().says("Live: release 3");
    let releases = world.store.releases(&app("fridge"));
    assert_eq!(releases[2].artifact, releases[0].artifact, "the same commit builds the same component");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_built_elsewhere_is_deployed_as_it_is() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    let component = b"\0asm\x0d\0\x01\0 and so on";
    fs::write(author.path("app.wasm"), component).unwrap();
    author.write("tawi.toml", &(author.read("tawi.toml") + "[build]\ncomponent = \"app.wasm\"\n"));
    fs::remove_file(author.path("Cargo.toml")).unwrap();
    author.commit("prebuilt").await;
    author.push().await.ok().says("Taking `app.wasm` as it is").does_not_say("Compiling");
    let release = world.store.current(&app("fridge")).unwrap();
    assert_eq!(world.store.artifact(&release.artifact).unwrap(), component);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_branches_are_stored_but_not_deployed() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    author.git(&["push", "tawi", "main:try"]).await.ok().says("branch `try`: stored, not deployed");
    assert_eq!(world.current("fridge"), None);
    author.git(&["tag", "v1"]).await.ok();
    author.git(&["push", "tawi", "main", "v1", "main:other"]).await.ok().says("tag `v1`: stored").says("Live: release 1");
    author.git(&["push", "tawi", ":try"]).await.ok().says("branch `try`: deleted");
    author.git(&["push", "tawi", ":main"]).await.refused().says("`main` is what is deployed").says("tawi apps delete");
    author.git(&["ls-remote", "tawi"]).await.ok().says("refs/heads/main").says("refs/heads/other").does_not_say("refs/heads/try");
    assert_eq!(world.current("fridge").unwrap().0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_is_compiled_again() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    author.write("dep/Cargo.toml", "[package]\nname = \"dep\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
    author.write("dep/src/lib.rs", "pub fn one() -> u32 { 1 }\n");
    author.write("Cargo.toml", &author.read("Cargo.toml").replace("[workspace]", "[dependencies]\ndep = { path = \"dep\" }\n[workspace]"));
    let lock = "\n[[package]]\nname = \"dep\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"guest\"\nversion = \"0.1.0\"\ndependencies = [\n \"dep\",\n]\n";
    author.write("Cargo.lock", &format!("version = 4\n{lock}"));
    author.commit("with a dependency").await;
    author.push().await.ok().says("Compiling dep v0.1.0");
    author.change(42).await;
    author.push().await.ok().says("Compiling guest v0.1.0").does_not_say("Compiling dep v0.1.0");
    author.write("dep/src/lib.rs", "pub fn one() -> u32 { 2 }\n");
    author.commit("dependency").await;
    author.push().await.ok().says("Compiling dep v0.1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn redeploy_builds_main_again_and_a_deleted_app_starts_afresh() {
    let world = World::start().await;
    let (lines, _) = mpsc::channel(1000);
    let error = world.builder.redeploy(&app("fridge"), lines).await.unwrap_err();
    assert!(error.message.contains("nothing was pushed to `fridge` yet"), "{error}");

    let author = world.author("fridge").await;
    author.push().await.ok();
    let (lines, mut said) = mpsc::channel(1000);
    let release = world.builder.redeploy(&app("fridge"), lines).await.unwrap();
    assert_eq!((release.number, &release.commit), (2, &world.current("fridge").unwrap().1));
    let mut log = Vec::new();
    while let Some(line) = said.recv().await {
        log.push(line);
    }
    assert!(log.iter().any(|line| line.starts_with("-----> Live: release 2")), "{log:#?}");

    world.builder.delete_app(&app("fridge")).await.unwrap();
    assert!(!world.repo("fridge").exists() && world.store.apps().is_empty());
    world.builder.delete_app(&app("fridge")).await.unwrap();
    author.push().await.ok().says("Live: release 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_pushes_come_in_chunks_and_long_negotiations_compressed() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    // Not compressible, and more than git sends in one piece.
    let noise: Vec<u8> = (0_u64..300_000).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 37) as u8 ^ (n * n % 251) as u8).collect();
    fs::write(author.path("noise.bin"), noise).unwrap();
    author.commit("noise").await;
    author.git(&["-c", "http.postBuffer=65536", "push", "tawi", "main"]).await.ok().says("Live: release 1");
    for n in 0..60 {
        author.commit(&format!("not pushed {n}")).await;
    }
    let other = world.author("other").await;
    other.git(&["push", &world.url("good", "fridge"), "main:elsewhere"]).await.ok();
    author.git(&["fetch", "tawi", "elsewhere"]).await.ok();
    let clone = tempfile::tempdir().unwrap();
    author.git(&["clone", "-q", &author.url, clone.path().to_str().unwrap()]).await.ok();
    assert!(clone.path().join("noise.bin").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_above_the_data_directory_has_no_say() {
    let world = World::start().await;
    fs::write(world.dir.path().join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
    fs::write(world.dir.path().join("data/Cargo.toml"), "this is not TOML").unwrap();
    fs::write(world.dir.path().join("rust-toolchain.toml"), "[toolchain]\nchannel = \"1.0\"\n").unwrap();
    fs::create_dir(world.dir.path().join(".cargo")).unwrap();
    fs::write(world.dir.path().join(".cargo/config.toml"), "[build]\nrustc-wrapper = \"/bin/false\"\n").unwrap();
    let author = world.author("fridge").await;
    // Not a workspace of its own: cargo would look for one above.
    author.write("Cargo.toml", &author.read("Cargo.toml").replace("[workspace]", ""));
    author.commit("no workspace").await;
    author.push().await.ok().says("Live: release 1");
}

/// Made is not live: nobody is told so who then finds the old version.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_does_not_serve_is_not_called_live() {
    let world = World::start().await;
    let author = world.author(SICK).await;
    author.push().await.ok().says("release 1 is made, but it does not serve: it does not load").does_not_say("Live:");
    let (lines, _said) = mpsc::channel(1000);
    let error = world.builder.redeploy(&app(SICK), lines).await.unwrap_err();
    assert!(error.message.contains("release 2 is made, but it does not serve: it does not load"), "{error}");
}
