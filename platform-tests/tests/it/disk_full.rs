//! A disk that fills up: devices are told so, nothing breaks, and when there is room it goes on.

use serde_json::json;
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};
use tawi_platform_tests::{App, Launch, Ledger, Node, wait::LATER, wait::SOON, wait_for, wait_until};

/// Above what a node wants to keep free, with room for the app.
const DISK: &str = "256m";

/// A node whose data is on a small disk of its own, in a mount namespace: needs root, or user namespaces.
fn node_on_a_small_disk(data: &Path) -> Node {
    fs::create_dir_all(data).unwrap();
    let script = format!("mount -t tmpfs -o size={DISK} tmpfs '{}' && exec \"$@\"", data.display());
    Launch::on(Ledger::Embedded).data(data).before(["unshare", "-rm", "sh", "-c", &script, "sh"]).start()
}

/// The disk as the node sees it.
fn inside(node: &Node) -> PathBuf {
    let path = node.data();
    Path::new(&format!("/proc/{}/root", node.pid())).join(path.strip_prefix("/").unwrap())
}

/// Takes all the room there is.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).unwrap();
    let chunk = vec![0_u8; 64 * 1024];
    while file.write_all(&chunk).is_ok() {}
    while file.write_all(&chunk[..64]).is_ok() {}
    path
}

#[test]
fn a_full_disk_is_a_507_and_when_there_is_room_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = node_on_a_small_disk(&dir.path().join("data"));
    App::prebuilt("probe-state").push(&node);
    let client = node.client();
    let path = "/api/v2/devices/d/sensors/state/value";
    client.readings("d", "state", 0..100);
    wait_for("a hundred readings", SOON, || node.state("probe-state", "count/d"), |n| n.as_deref() == Some("100"));

    let filler = fill(&inside(&node));
    // What was preallocated may take a few more readings; each of them is acknowledged and counts.
    let mut taken = 100;
    let problem = wait_until("the disk to be full", LATER, || {
        let reply = client.post(path, json!({"value": "x".repeat(60_000)}).to_string());
        match reply.status {
            204 => {
                taken += 1;
                Err("204".to_owned())
            }
            _ => Ok(reply.problem(507)),
        }
    });
    assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
    client.get("/health/live").expect(200);

    fs::remove_file(filler).unwrap();
    wait_until("readings to be taken again", LATER, || match client.post(path, "{\"value\":1}").status {
        204 => {
            taken += 1;
            Ok(())
        }
        status => Err(status),
    });
    wait_for("all that were taken", LATER, || node.state("probe-state", "count/d"), |n| *n == Some(taken.to_string()));
    node.wait_for_history("device:d", taken);
}

#[test]
fn a_push_to_a_full_disk_is_rejected_and_the_old_version_serves() {
    let dir = tempfile::tempdir().unwrap();
    let node = node_on_a_small_disk(&dir.path().join("data"));
    let app = App::prebuilt("plain-http");
    app.push(&node);
    let filler = fill(&inside(&node));
    // Random bytes: git would pack anything else into the last free block.
    let noise: Vec<u8> =
        (0_u64..1 << 17).flat_map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (i << 7)).rotate_left(23).to_le_bytes()).collect();
    app.write("noise", noise);
    app.commit("more than fits");
    assert!(!app.try_push(&node).accepted);
    node.client().with_token(None).get(&app.run_path("/")).expect(200);
    fs::remove_file(filler).unwrap();
    app.push(&node);
}
