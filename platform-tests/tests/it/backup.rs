//! A backup of a running node, and a node made from it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tawi_platform_tests::{App, Launch, Ledger, Node, Ran, load, wait::SOON, wait_for};

#[test]
fn a_backup_taken_under_load_is_a_whole_node() {
    let mut node = Node::start();
    let (counter, page) = (App::prebuilt("probe-state"), App::prebuilt("plain-http"));
    counter.push(&node);
    page.push(&node);
    node.set_config("probe-state", "colour", "blue");
    node.client().readings("before", "state", 0..500);
    wait_for("500 readings", SOON, || node.state("probe-state", "count/before"), |n| n.as_deref() == Some("500"));

    let file = node.scratch().join("backup.tar");
    let over = AtomicBool::new(false);
    let addr = node.authority().parse().unwrap();
    let post = load::request("POST", "/api/v2/devices/during/sensors/state/value", node.token(), "{\"value\":1}");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = None;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(load::send_on(&mut connection, addr, &post), Some(204));
            }
        });
        Ran::run(node.command().arg("backup").arg(&file)).ok();
        over.store(true, Ordering::Relaxed);
    });
    let token = node.token().to_owned();
    node.stop();

    let data = node.scratch().join("restored");
    Ran::run(node.command().arg("restore").arg(&file).arg("--data").arg(&data)).ok();
    let restored = Launch::on(Ledger::Embedded).data(&data).start();
    let client = restored.client().with_token(Some(&token));
    client.get(&page.run_path("/")).expect(200);
    let tawi = |words: &[&str]| Ran::run(restored.command().args(words).env("TAWI_TOKEN", &token));
    assert_eq!(tawi(&["state", "get", "probe-state", "count/before"]).ok().stdout.trim(), "500");
    assert!(tawi(&["config", "list", "probe-state"]).ok().stdout.contains("blue"));
    wait_for("history", SOON, || tawi(&["history", "device:before", "--count", "--json"]).stdout, |count| count.contains("500"));

    // What was counted and what history knows is one moment: the last readings of the backup are in both.
    client.reading("during", "state", 1);
    let counted = || tawi(&["state", "get", "probe-state", "count/during"]).stdout.trim().to_owned();
    let found = || tawi(&["history", "device:during", "--count", "--json"]).stdout;
    let both = wait_for(
        "counts to agree",
        SOON,
        || (counted(), found()),
        |(counted, found)| !counted.is_empty() && found.contains(counted.as_str()),
    );
    assert_ne!(both.0, "0");
}

#[test]
fn a_restore_does_not_overwrite_a_node() {
    let mut node = Node::start();
    let file = node.scratch().join("backup.tar");
    Ran::run(node.command().arg("backup").arg(&file)).ok();
    node.stop();
    let again = Ran::run(node.command().arg("restore").arg(&file).arg("--data").arg(node.data())).refused();
    assert!(again.stderr.contains("hint"), "{again}");
    std::fs::write(&file, "no backup").unwrap();
    Ran::run(node.command().arg("restore").arg(&file).arg("--data").arg(node.scratch().join("new"))).refused();
}
