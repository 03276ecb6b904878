//! What holds the processes of a build, without a build.

use crate::world::wait_for_end;
use std::{
    path::Path,
    process::{Output, Stdio},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const LARGE: u64 = 1 << 30;

/// A shell with this script in a keeper's hands. Its standard input is what the node would hold.
fn keep(file_bytes: u64, script: &str, arguments: &[&Path]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tawi-builder-hook"));
    command.args(["keep", &file_bytes.to_string(), "sh", "-c", script, "sh"]).args(arguments);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn lines(child: &mut Child, count: usize) -> Vec<String> {
    let mut reader = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = Vec::new();
    while lines.len() < count {
        lines.push(reader.next_line().await.unwrap().unwrap());
    }
    lines
}

async fn ended(mut child: Child) -> Output {
    // Waiting closes what the node holds, so it is taken out first.
    let _leash = child.stdin.take();
    child.wait_with_output().await.unwrap()
}

#[tokio::test]
async fn a_build_does_not_outlive_its_node_nor_do_its_daemons() {
    // In the group, in a group and session of its own, and an orphan of an orphan.
    let script = "sleep 1000 & echo $!; setsid sh -c 'echo $$; exec sleep 1000' & setsid setsid -f sh -c 'echo $$; exec sleep 1000'; wait";
    let mut child = keep(LARGE, script, &[]);
    let pids = lines(&mut child, 3).await;
    // All that the end of the node does, however it ends.
    drop(child.stdin.take());
    assert!(!child.wait().await.unwrap().success());
    for pid in pids {
        wait_for_end(&pid).await;
    }
}

#[tokio::test]
async fn a_daemon_ends_with_the_build_that_left_it() {
    let child = keep(LARGE, "setsid -f sh -c 'echo $$; exec sleep 1000 >/dev/null' | head -n 1; exit 3", &[]);
    let output = ended(child).await;
    assert_eq!(output.status.code(), Some(3));
    wait_for_end(&String::from_utf8(output.stdout).unwrap()).await;
}

#[tokio::test]
async fn who_is_always_somebody_else_already_is_ended_too() {
    // Starts itself again in a session of its own, over and over, and ends: there is never a process that stays.
    let mut child = keep(LARGE, "hop='setsid -f sh -c \"$1\" sh \"$1\"'; setsid -f sh -c \"$hop\" sh \"$hop\"; echo on; sleep 1000", &[]);
    lines(&mut child, 1).await;
    drop(child.stdin.take());
    // The keeper ends when nobody is left.
    assert!(!child.wait().await.unwrap().success());
}

#[tokio::test]
async fn what_is_kept_runs_as_it_would_and_writes_no_larger_files_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    for (count, fits) in [("1000", true), ("2000000", false)] {
        let output = ended(keep(1 << 20, "head -c $1 /dev/zero > $2 && cat && echo done", &[Path::new(count), &file])).await;
        assert_eq!(output.status.success(), fits);
        assert_eq!(output.stdout, if fits { &b"done\n"[..] } else { b"" });
    }
    let signalled = ended(keep(LARGE, "kill -9 $$", &[])).await;
    assert_eq!(signalled.status.code(), Some(128 + 9));
}
