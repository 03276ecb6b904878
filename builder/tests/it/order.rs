//! Several pushes at once, and a node that stopped between two steps.

use crate::world::{Gate, World, app};
use tawi_builder::BuildLimits;
use tawi_runtime::deploy::Draft;
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread")]
async fn pushes_of_one_app_queue_and_the_late_one_hears_that_main_has_moved() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    author.push().await.ok();
    let gate = Gate::install(&author);
    let first = author.commit("held").await;
    let pushing = author.start_push();
    let held = gate.reached().await;

    let other = world.author("other").await;
    other.git(&["fetch", "-q", &author.url, "main"]).await.ok();
    other.git(&["reset", "-q", "--hard", "FETCH_HEAD"]).await.ok();
    other.git(&["remote", "set-url", "tawi", &author.url]).await.ok();
    other.change(7).await;
    let mut late = other.start_push();
    late.until("waiting for another push of `fridge`").await;
    let (lines, mut said) = mpsc::channel(1000);
    let builder = world.builder.clone();
    let redeploy = tokio::spawn(async move { builder.redeploy(&app("fridge"), lines).await });
    assert_eq!(said.recv().await.unwrap(), "-----> waiting for another push of `fridge`");

    drop(held);
    pushing.end().await.ok().says("Live: release 2");
    late.end().await.refused().says("`main` has moved while this push waited").says("git pull --rebase");
    assert_eq!(redeploy.await.unwrap().unwrap().number, 3);
    assert_eq!(world.current("fridge").unwrap().1, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_apps_build_side_by_side() {
    let world = World::start().await;
    let (one, two) = (world.author("one").await, world.author("two").await);
    let (gate_one, gate_two) = (Gate::install(&one), Gate::install(&two));
    one.commit("held").await;
    two.commit("held").await;
    let (pushing_one, pushing_two) = (one.start_push(), two.start_push());
    // Both are in their build scripts at the same time.
    let (held_one, held_two) = (gate_one.reached().await, gate_two.reached().await);
    let three = world.author("three").await;
    let mut pushing_three = three.start_push();
    pushing_three.until("waiting for builds of other apps").await;
    drop((held_one, held_two));
    for pushing in [pushing_one, pushing_two, pushing_three] {
        pushing.end().await.ok().says("Live: release 1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_finishes_what_the_last_run_left_between_ref_and_release() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    author.push().await.ok();
    let built = (*world.store.current(&app("fridge")).unwrap()).clone();
    let moved = author.commit("moved").await;
    let refused = author.commit("refused").await;
    // The node stopped after git had moved the ref of one push, and before it had moved that of another.
    for commit in [&moved, &refused] {
        let draft = Draft {
            artifact: built.artifact,
            manifest: built.manifest.clone(),
            commit: commit.clone(),
            summary: "staged".into(),
            created: built.created,
            rollback_of: None,
        };
        world.store.stage(&app("fridge"), draft).unwrap();
    }
    let repo = world.repo("fridge");
    let dir = world.stop().await;
    author.git(&["push", "-q", repo.to_str().unwrap(), &format!("{moved}:refs/heads/main")]).await.ok();

    let world = World::at(dir, BuildLimits::default()).await;
    assert_eq!(world.current("fridge"), Some((2, moved.clone())));
    assert!(world.store.staged(&app("fridge")).is_empty());
    let dir = world.stop().await;
    let world = World::at(dir, BuildLimits::default()).await;
    assert_eq!(world.current("fridge"), Some((2, moved)), "once is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_clears_away_what_a_delete_has_left() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    author.push().await.ok();
    let repos = world.repo("fridge").parent().unwrap().to_owned();
    let dir = world.stop().await;
    // As far as a delete gets before the power goes; and as far as a first push gets.
    std::fs::rename(repos.join("fridge.git"), repos.join(".gone-fridge.git")).unwrap();
    std::fs::create_dir_all(repos.join(".new-x/repo.git")).unwrap();
    let world = World::at(dir, BuildLimits::default()).await;
    assert_eq!(std::fs::read_dir(&repos).unwrap().count(), 0);
    // Until its source is gone the app is there as it was, and the delete can be repeated.
    assert_eq!(world.current("fridge").map(|(number, _)| number), Some(1));
    world.builder.delete_app(&app("fridge")).await.unwrap();
    author.git(&["push", &world.url("good", "fridge"), "main"]).await.ok().says("Live: release 1");
}
