//! `git push` to a running function, and what a push that goes wrong leaves behind.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::json;
use std::os::unix::process::CommandExt;
use tawi_platform_tests::{
    App, Node, Ran,
    node::is_alive,
    operator::{number, text},
    repo,
    wait::SOON,
    wait_for, wait_until,
};

/// The story of the README, from an empty folder to a rollback, with the compiler.
#[test]
fn an_author_pushes_a_function_breaks_it_mends_it_and_rolls_back() {
    let node = Node::start();
    let app = App::new(&node, "fridge-alert");
    let client = node.client();

    let push = app.push(&node).shows(&["Compiling fridge-alert", "/run/fridge-alert"]);
    assert!(!push.text.contains("rejected"), "{push}");
    let alerts = node.subscribe("alerts.>");
    client.reading("fridge1", "temp", 9.5);
    let alert = alerts.next();
    assert!(text(&alert, "subject").starts_with("alerts."), "{alert}");
    client.get("/run/fridge-alert/status").expect(200);
    node.wait_for_history("device:fridge1 AND value:>8", 1);

    // Broken: the compiler's own words come back, and the world stays as it was.
    app.write("src/lib.rs", "fn broken( {\n");
    app.commit("broken");
    app.push_refused(&node, &["remote rejected", "error", "src/lib.rs"]);
    client.get("/run/fridge-alert/status").expect(200);
    client.reading("fridge2", "temp", 9.5);
    alerts.next();
    assert_eq!(node.releases("fridge-alert").len(), 1);

    app.git(&["checkout", "--quiet", "HEAD~1", "--", "src/lib.rs"]).ok();
    app.commit("v2");
    app.push(&node);
    let releases = node.releases("fridge-alert");
    assert_eq!(number(&releases[0], "number"), 2, "{releases:?}");
    assert_eq!(text(&releases[0], "summary"), "v2");

    node.rollback("fridge-alert");
    let releases = node.releases("fridge-alert");
    assert_eq!((number(&releases[0], "number"), number(&releases[0], "rollback_of")), (3, 1), "{releases:?}");
    client.reading("fridge3", "temp", 9.5);
    alerts.next();

    // The unit test that came with it runs without any node.
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut test = std::process::Command::new(cargo);
    Ran::run(test.args(["test", "--locked"]).current_dir(app.dir()).env("CARGO_TARGET_DIR", node.scratch().join("target"))).ok();
}

/// A component that no crate of ours is in: any host of `wasi:http` could run it.
#[test]
fn a_component_from_elsewhere_deploys_and_serves() {
    let node = Node::start();
    let app = App::prebuilt("plain-http");
    app.push(&node).shows(&["/run/plain-http"]);
    assert_eq!(node.client().with_token(None).get(&app.run_path("/hello?x=1")).expect(200).text(), "/hello?x=1 from elsewhere\n");
}

#[test]
fn only_main_deploys_and_it_can_not_be_deleted() {
    let node = Node::start();
    let app = App::prebuilt("plain-http");
    app.push(&node);

    app.git(&["checkout", "--quiet", "-b", "idea"]).ok();
    app.write("tawi.toml", "not even TOML");
    app.commit("an idea");
    let push = app.push_ref(&node, node.token(), "idea");
    assert!(push.accepted, "{push}");
    push.shows(&["idea", "main"]);
    assert_eq!(node.releases("plain-http").len(), 1);

    let push = app.push_ref(&node, node.token(), ":main");
    assert!(!push.accepted, "{push}");
    push.shows(&["main"]);
    node.client().with_token(None).get(&app.run_path("/")).expect(200);
}

/// Two people push at once: one after the other, and the newer commit is what serves.
#[test]
fn pushes_of_one_app_queue() {
    let node = Node::start();
    let app = App::prebuilt("plain-http");
    app.push(&node);
    app.commit("second");
    app.commit("third");
    app.set_remote(&node, node.token());
    let push = |refspec: &'static str| {
        let mut git = app.git_command();
        std::thread::spawn(move || Ran::run(git.args(["push", "tawi", refspec])))
    };
    let (second, third) = (push("main~1:main"), push("main"));
    second.join().unwrap();
    // Whoever comes to the node second waits; a push that was overtaken by the other is refused, and is good the next time.
    let third = third.join().unwrap();
    if !third.status.success() {
        assert!(third.stderr.contains("moved") || third.stderr.contains("failed to update ref"), "{third}");
        Ran::run(app.git_command().args(["push", "tawi", "main"])).ok();
    }

    let releases = node.releases("plain-http");
    assert_eq!(text(&releases[0], "summary"), "third", "{releases:?}");
    assert_eq!(app.git(&["ls-remote", "tawi", "refs/heads/main"]).ok().stdout[..40], app.git(&["rev-parse", "main"]).ok().stdout[..40]);
}

#[test]
fn an_app_can_be_built_again_and_deleted() {
    let node = Node::start();
    let app = App::prebuilt("plain-http");
    app.push(&node);
    node.tawi(&["redeploy", "plain-http"]).ok();
    let releases = node.releases("plain-http");
    assert_eq!(releases.len(), 2);
    assert_eq!(releases[0]["artifact"], releases[1]["artifact"]);

    let apps = node.tawi(&["apps", "list", "--json"]).ok().rows();
    assert_eq!(apps.iter().map(|app| text(app, "app")).collect::<Vec<_>>(), ["plain-http"]);
    node.tawi(&["apps", "delete", "plain-http", "--yes"]).ok();
    assert!(node.tawi(&["apps", "list", "--json"]).ok().rows().is_empty());
    wait_for("the deleted app to be gone", SOON, || node.client().get(&app.run_path("/")).status, |status| *status == 404);
}

/// The state of an app is the app's, not a release's.
#[test]
fn state_survives_releases_and_rollback() {
    let node = Node::start();
    let app = App::prebuilt("probe-state");
    app.push(&node);
    let client = node.client();
    let put = client.send("PUT", &app.run_path("/kept"), &[], b"7").expect(200);
    assert_eq!(put.json(), json!(7));
    app.commit("another");
    app.push(&node);
    assert_eq!(client.get(&app.run_path("/kept")).expect(200).json(), json!(7));
    node.rollback("probe-state");
    assert_eq!(client.get(&app.run_path("/kept")).expect(200).json(), json!(7));
}

/// The ref has moved, the release has not been made, and the power goes: the next start makes it.
#[test]
fn a_crash_between_ref_and_release_is_mended_at_the_next_start() {
    let mut node = Node::start();
    let app = App::prebuilt("plain-http");
    app.push(&node);
    app.commit("second");
    node.stop();
    node.set_env("TAWI_FAULT", Some("release:1"));
    node.start_again();
    app.try_push(&node);
    node.wait_for_end();
    node.set_env("TAWI_FAULT", None);
    node.start_again();
    wait_until("the release of the moved ref", SOON, || {
        let releases = node.releases("plain-http");
        if releases.len() == 2 && text(&releases[0], "summary") == "second" { Ok(()) } else { Err(format!("{releases:?}")) }
    });
    node.client().with_token(None).get(&app.run_path("/")).expect(200);
}

/// Where a build script may write.
fn build_place(node: &Node, app: &str) -> std::path::PathBuf {
    let place = node.data().join("build/main").join(app);
    std::fs::create_dir_all(&place).unwrap();
    place
}

/// Nobody waits for a build that nobody waits for.
#[test]
fn a_pusher_who_goes_away_cancels_the_build() {
    let node = Node::start();
    let app = App::new(&node, "slow");
    // A build script that never ends, with a mark that it has begun.
    let mark = build_place(&node, "slow").join("building");
    app.write("build.rs", format!("fn main() {{ std::fs::write({mark:?}, \"\").unwrap(); loop {{ std::thread::park(); }} }}"));
    app.commit("never built");
    app.set_remote(&node, node.token());
    // In a group of its own, as in a terminal: the end of one is the end of the helper that has the connection.
    let mut push = app.git_command().args(["push", "tawi", "main"]).stderr(std::process::Stdio::null()).process_group(0).spawn().unwrap();
    // Only what this node started: other tests build too.
    let building = || node.descendants().iter().any(|(_, args)| args.contains("cargo") || args.contains("build-script"));
    wait_for("the build to run", tawi_platform_tests::wait::LATER, building, |is| *is);
    killpg(Pid::from_raw(i32::try_from(push.id()).unwrap()), Signal::SIGTERM).unwrap();
    push.wait().unwrap();
    wait_for("the build to be stopped", SOON, building, |is| !*is);
    assert!(node.tawi(&["apps", "list", "--json"]).ok().rows().iter().all(|app| app["release"].is_null()));
}

/// A node that is killed can't clean up behind it. What it started ends all the same: git, its hook, cargo, the build script, and the
/// daemon that the build script has left in a session of its own.
#[test]
fn a_build_ends_with_a_node_that_is_killed() {
    let mut node = Node::start();
    let app = App::new(&node, "slow");
    let pids = build_place(&node, "slow").join("pids");
    let daemon = format!("echo $$ >> {}; exec sleep 100000", pids.display());
    let script = format!(
        "use std::{{fs, io::Write, process}};
        fn main() {{
            process::Command::new(\"setsid\").args([\"--fork\", \"sh\", \"-c\", {daemon:?}]).status().unwrap();
            let mut pids = fs::File::options().create(true).append(true).open({pids:?}).unwrap();
            writeln!(pids, \"{{}}\", process::id()).unwrap();
            loop {{ std::thread::park(); }}
        }}"
    );
    app.write("build.rs", script);
    app.commit("never built");
    app.set_remote(&node, node.token());
    let mut push = app.git_command().args(["push", "tawi", "main"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    let written = || std::fs::read_to_string(&pids).unwrap_or_default().lines().flat_map(str::parse).collect::<Vec<u32>>();
    let written = wait_for("the build script and its daemon", tawi_platform_tests::wait::LATER, written, |pids| pids.len() == 2);
    let mut started = node.descendants();
    for (part, words) in [("git", "receive-pack"), ("the hook", "__hook"), ("cargo", "cargo build"), ("the script", "build-script")] {
        assert!(started.iter().any(|(_, line)| line.contains(words)), "{part} is not among {started:?}");
    }
    started.extend(written.into_iter().map(|pid| (pid, "written by itself".to_owned())));

    node.kill9();
    let left = || started.iter().filter(|(pid, _)| is_alive(*pid)).collect::<Vec<_>>();
    wait_for("everything to end with the node", SOON, left, Vec::is_empty);
    push.wait().unwrap();
}

/// What functions/ holds is what the guide shows, so each of them must be one that deploys.
#[test]
fn every_example_and_probe_deploys() {
    let node = Node::start();
    let names = std::fs::read_dir(repo::root().join("functions")).unwrap().flatten();
    let names = names.filter(|e| e.path().join("tawi.toml").is_file()).map(|e| e.file_name().into_string().unwrap());
    for name in names.filter(|n| n != "bad-import") {
        App::prebuilt(&name).push(&node);
    }
}
