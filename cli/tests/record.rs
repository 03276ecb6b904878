//! Recording what happens: told by a node of a few lines, which says what the real one does and goes away when it is told to.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What one connection for events says, and whether it stays open then.
type Says = (&'static [&'static str], bool);

struct Node {
    url: String,
    /// The paths of connections for events.
    asked: Receiver<String>,
}

impl Node {
    /// Its log has three events. Those who ask for what comes are told one of these after the other, and who asks once more is refused.
    fn start(says: &'static [Says]) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            let (mut says, mut open) = (says.iter(), Vec::new());
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let path = head(&stream);
                let answer = |stream: &mut TcpStream, status: &str, body: &str| {
                    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
                };
                if path.starts_with("/api/v1/status") {
                    answer(&mut stream, "200 Said", r#"{"events":3,"history_behind":0}"#);
                    continue;
                }
                tell.send(path).unwrap();
                let Some((lines, stays)) = says.next() else {
                    answer(&mut stream, "401 Said", r#"{"detail":"the token is not known any more"}"#);
                    continue;
                };
                stream.write_all(b"HTTP/1.1 200 Said\r\nconnection: close\r\n\r\n").unwrap();
                lines.iter().for_each(|piece| stream.write_all(piece.as_bytes()).unwrap());
                if *stays {
                    open.push(stream);
                }
            }
        });
        Node { url, asked }
    }

    fn record(&self, dir: &TempDir, words: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tawi"));
        command.current_dir(dir.path()).env("HOME", dir.path()).env("TAWI_URL", &self.url).env("TAWI_TOKEN", "tawi_x");
        command.args(["record", "--into", "x.ndjson"]).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// The path of a request.
fn head(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    lines.find(String::is_empty).unwrap();
    first.split(' ').nth(1).unwrap().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The values of the trace that was recorded.
fn values(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().skip(1).map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["value"].clone());
    lines.collect()
}

fn end(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

/// Files beside the one that is recorded.
fn parts(dir: &TempDir) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".tawi-record-")).collect()
}

macro_rules! reading {
    ($sequence:literal, $device:literal, $value:literal) => {
        concat!(
            r#"{"sequence":"#,
            $sequence,
            r#","kind":"reading","subject":"reading."#,
            $device,
            r#".t","device":""#,
            $device,
            r#"","sensor":"t","value":"#,
            $value,
            r#","measured":"2026-05-01T06:00:00Z","received":"2026-05-01T06:00:01Z"}"#,
            "\n"
        )
    };
}

#[test]
fn a_connection_that_breaks_is_resumed_without_a_gap_or_a_double() {
    let node = Node::start(&[
        (&[reading!(4, "a", "1.10"), "\n", reading!(5, "a", "1.20"), "{\"sequence\":6,\"kind\":\"rea"], false),
        (&[reading!(5, "a", "1.20"), reading!(6, "a", "1.30"), reading!(7, "b", "9"), reading!(8, "a", "1.40")], true),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let ran = end(node.record(&dir, &["--device", "a", "--subject", "reading.*.t", "--count", "4"]));
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert_eq!(text(&ran.stdout), "4 events in x.ndjson\n");
    let recorded = fs::read_to_string(dir.path().join("x.ndjson")).unwrap();
    let digits: Vec<&str> = recorded.lines().filter_map(|line| line.split("\"value\":").nth(1)?.split(',').next()).collect();
    assert_eq!(digits, ["1.10", "1.20", "1.30", "1.40"]);
    assert!(text(&ran.stderr).contains("the node ended it; trying again"), "{}", text(&ran.stderr));
    let asked: Vec<String> = node.asked.try_iter().collect();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].ends_with("subject=reading.%2A.t&kind=reading%2Cmessage%2Ccommand&after=3"), "{}", asked[0]);
    assert!(asked[1].ends_with("&after=5"), "{}", asked[1]);
    assert!(parts(&dir).is_empty());
}

#[test]
fn an_interrupt_ends_a_recording_with_what_was_recorded() {
    let node = Node::start(&[(&["\n", reading!(4, "a", "1"), reading!(5, "a", "2")], true)]);
    let dir = tempfile::tempdir().unwrap();
    let child = node.record(&dir, &[]);
    let deadline = Instant::now() + Duration::from_secs(60);
    let written = || parts(&dir).first().and_then(|part| fs::read_to_string(part).ok()).map_or(0, |text| text.lines().count());
    while written() < 3 {
        assert!(Instant::now() < deadline, "what comes is written down: {:?}", parts(&dir));
        std::thread::yield_now();
    }
    assert!(!dir.path().join("x.ndjson").exists(), "it is there when it is whole");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ran = end(child);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert_eq!(values(&dir.path().join("x.ndjson")), [1, 2]);
    assert!(parts(&dir).is_empty());
}

#[test]
fn what_the_log_has_no_more_is_said_and_a_token_that_is_revoked_ends_it_with_what_there_was() {
    let node = Node::start(&[(&["{\"kind\":\"gap\",\"from\":4,\"to\":90}\n", reading!(91, "a", "1")], false)]);
    let dir = tempfile::tempdir().unwrap();
    let ran = end(node.record(&dir, &[]));
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("events 4 to 90 are not in the log any more") && said.contains("not known any more"), "{said}");
    assert!(said.contains("the 1 events before that are in x.ndjson"), "{said}");
    assert_eq!(values(&dir.path().join("x.ndjson")), [1]);
    let asked: Vec<String> = node.asked.try_iter().collect();
    assert!(asked[1].ends_with("&after=91"), "{asked:?}");
}

#[test]
fn where_nothing_is_recorded_nothing_is_written() {
    let node = Node::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.ndjson"), "what was there before").unwrap();
    let ran = end(node.record(&dir, &[]));
    assert!(!ran.status.success() && text(&ran.stderr).contains("not known any more"), "{}", text(&ran.stderr));
    let ran = end(node.record(&dir, &["--for", "0s"]));
    assert!(!ran.status.success() && text(&ran.stderr).contains("there was nothing to record"), "{}", text(&ran.stderr));
    assert_eq!(fs::read_to_string(dir.path().join("x.ndjson")).unwrap(), "what was there before");
    assert!(parts(&dir).is_empty());
    for (words, wrong) in
        [(["--subject", "a..b"], "empty token"), (["--device", "a/b"], "can't stand in"), (["--for", "soon"], "no duration")]
    {
        let ran = end(node.record(&dir, &words));
        assert!(!ran.status.success() && text(&ran.stderr).contains(wrong), "{}", text(&ran.stderr));
    }
}
