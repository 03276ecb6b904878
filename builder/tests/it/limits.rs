//! Builds that do not end by themselves.

use crate::world::{Author, Gate, World, wait_for_end, wait_until};
use std::{fs, path::Path, time::Duration};
use tawi_builder::BuildLimits;

/// Builds stop after their limit; this is the limit of builds that are not meant to reach it.
const GENEROUS: Duration = Duration::from_secs(300);

fn script(author: &Author, body: &str) {
    author.write("build.rs", &format!("fn main() {{ {body} }}\n"));
}

/// A build script that never ends, and that has started a daemon: in a session of its own, an orphan. Both write their number.
async fn endless(author: &Author, pids: &Path) {
    let daemon = format!("echo $$ >> {}; exec sleep 1000", pids.display());
    let start = format!("std::process::Command::new(\"setsid\").args([\"-f\", \"sh\", \"-c\", {daemon:?}]).status().unwrap();");
    let write = format!("std::process::Command::new(\"sh\").args([\"-c\", \"echo $PPID >> {}\"]).status().unwrap();", pids.display());
    script(author, &format!("{start} {write} loop {{}}"));
    author.commit("endless").await;
}

async fn both(pids: &Path) -> Vec<String> {
    let lines = || fs::read_to_string(pids).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    wait_until("the build script and its daemon", || Some(lines()).filter(|lines| lines.len() == 2)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_runs_for_ever_is_stopped_with_everything_it_started() {
    let world = World::with(BuildLimits { wall: Duration::from_secs(8), ..BuildLimits::default() }).await;
    let author = world.author("fridge").await;
    let pids = author.home.join("pids");
    endless(&author, &pids).await;
    author.push().await.refused().says("error: the build was stopped after 8 s").says("hint: does a build script");
    for pid in both(&pids).await {
        wait_for_end(&pid).await;
    }
    assert_eq!(world.current("fridge"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_prints_for_ever_is_stopped() {
    let limits = BuildLimits { wall: GENEROUS, log_bytes: 64 << 10, script_bytes: 4 << 20, ..BuildLimits::default() };
    let world = World::with(limits).await;
    let author = world.author("fridge").await;
    script(&author, "loop { println!(\"and so on\"); }");
    author.commit("a build script prints").await;
    author.push().await.refused().says("error: the build was stopped: a build script wrote more than 4 MiB");
    fs::remove_file(author.path("build.rs")).unwrap();
    let functions: String = (0..2000).map(|n| format!("fn unused_{n}() {{}}\n")).collect();
    author.write("src/lib.rs", &functions);
    author.commit("the compiler prints").await;
    author.push().await.refused().says("error: the build was stopped: it printed more than 64 KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_has_a_size_limit() {
    let world = World::with(BuildLimits { component_bytes: 1 << 10, ..BuildLimits::default() }).await;
    let author = world.author("fridge").await;
    author.push().await.refused().says("1 KiB are allowed").says("opt-level");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_ends_the_build() {
    let world = World::with(BuildLimits { wall: GENEROUS, ..BuildLimits::default() }).await;
    let author = world.author("fridge").await;
    author.push().await.ok();
    let before = world.current("fridge");
    let pids = author.home.join("pids");
    endless(&author, &pids).await;
    let pushing = author.start_push();
    let pids = both(&pids).await;
    pushing.hang_up();
    for pid in pids {
        wait_for_end(&pid).await;
    }

    author.git(&["reset", "-q", "--hard", "HEAD~1"]).await.ok();
    fs::remove_file(author.path("build.rs")).ok();
    author.change(42).await;
    author.push().await.ok().says("Live: release 2").does_not_say("waiting");
    assert_ne!(world.current("fridge"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_builds() {
    let world = World::with(BuildLimits { wall: GENEROUS, ..BuildLimits::default() }).await;
    let author = world.author("fridge").await;
    let gate = Gate::install(&author);
    author.commit("held").await;
    let pushing = author.start_push();
    let _held = gate.reached().await;
    let dir = world.stop().await;
    pushing.end().await.refused();
    let world = World::at(dir, BuildLimits::default()).await;
    assert_eq!(world.current("fridge"), None);
}

/// Whoever may push an app runs code here while it is built; that must not be a way to what others have, or to the network.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_script_reaches_its_own_place_and_nothing_else() {
    let world = World::start().await;
    let author = world.author("fridge").await;
    let secret = world.dir.path().join("data/apps/main/other/secrets.json");
    fs::create_dir_all(secret.parent().unwrap()).unwrap();
    fs::write(&secret, "a secret").unwrap();
    let door = world.address;
    let node = std::process::id();
    // It tells by a warning what it could do that it should not.
    script(
        &author,
        &format!(
            "let tried = [
                (\"read\", std::fs::read({secret:?}).is_ok()),
                (\"passwords\", std::fs::read(\"/etc/shadow\").is_ok()),
                (\"list\", std::fs::read_dir({data:?}).is_ok()),
                (\"write\", std::fs::write({written:?}, \"\").is_ok()),
                (\"look\", std::fs::read(\"/proc/{node}/environ\").is_ok()),
                (\"connect\", std::net::TcpStream::connect(\"{door}\").is_ok()),
                (\"signal\", std::process::Command::new(\"sh\").args([\"-c\", \"kill -0 {node}\"]).status().unwrap().success()),
            ];
            std::fs::write(std::env::var(\"OUT_DIR\").unwrap() + \"/own\", \"\").unwrap();
            let could: Vec<_> = tried.iter().filter(|(_, done)| *done).map(|(what, _)| *what).collect();
            println!(\"cargo::warning=could {{}}.\", could.join(\" \"));",
            data = world.dir.path().join("data"),
            written = world.dir.path().join("data/tokens.json"),
        ),
    );
    author.commit("curious").await;
    let said = author.push().await.ok();
    let could = said.text.split("could ").nth(1).and_then(|rest| rest.split('.').next()).unwrap();
    // An older kernel can take away less, and the author is told.
    let left: &[&str] = match () {
        () if said.text.contains("note: this kernel has no Landlock") => return,
        () if said.text.contains("note: this kernel is older than 6.7") => &["connect", "signal"],
        () if said.text.contains("note: this kernel is older than 6.12") => &["signal"],
        () => &[],
    };
    assert_eq!(could.split_whitespace().collect::<Vec<_>>(), left);
}
