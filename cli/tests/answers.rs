//! What the command makes of a node's answers: told by a node of a few lines, which answers as the real one does.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

/// Method and path, as `PUT /api`; then status, more headers, body.
type Answers = &'static [(&'static str, u16, &'static str, &'static str)];

struct Node {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Node {
    fn start(answers: Answers) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut first, mut length) = (String::new(), 0);
                reader.read_line(&mut first).unwrap();
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap() > 2 {
                    let header = line.to_ascii_lowercase();
                    length = header.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap());
                    line.clear();
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let asked = first.split(' ').take(2).collect::<Vec<_>>().join(" ");
                heard.lock().unwrap().push(format!("{asked} {}", String::from_utf8(body).unwrap()).trim().to_owned());
                let is = |(question, ..): &&(&str, u16, &str, &str)| *question == asked.split('?').next().unwrap();
                let (_, status, headers, body) = answers.iter().find(is).copied().unwrap_or(("", 404, "", "{}"));
                let head = format!("HTTP/1.1 {status} Said\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            }
        });
        Node { url, asked }
    }

    fn tawi(&self, words: &[&str], typed: &str) -> Output {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tawi"));
        command.args(words).env("HOME", home.path()).env("TAWI_URL", &self.url).env("TAWI_TOKEN", "tawi_x");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Who asks for nothing reads nothing.
        let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What it was told, without what it was asked.
    fn told(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|one| !one.starts_with("GET")).cloned().collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_command_that_was_given_is_no_failure_where_its_state_is_not_shown() {
    let node = Node::start(&[
        ("PUT /api/v2/devices/pump/actuators/valve/value", 204, "tawi-command: api-7\r\n", ""),
        ("GET /api/v2/devices/pump/commands", 403, "", r#"{"detail": "this token only sends values"}"#),
    ]);
    let ran = node.tawi(&["command", "pump", "valve", "open"], "");
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert_eq!(text(&ran.stdout), "api-7\n");
    assert!(text(&ran.stderr).contains("the command is given; what becomes of it is not shown"), "{}", text(&ran.stderr));
    assert_eq!(node.told().len(), 1);
}

#[test]
fn the_command_that_was_given_is_shown_and_not_anybodys_newest() {
    let node = Node::start(&[
        ("PUT /api/v2/devices/pump/actuators/valve/value", 204, "tawi-command: api-7\r\n", ""),
        (
            "GET /api/v2/devices/pump/commands",
            200,
            "",
            r#"[{"id": "api-8", "actuator_id": "light", "value": 1, "state": "waiting", "date_given": "2026-01-31T08:30:01Z", "date_changed": "2026-01-31T08:30:01Z"},
                {"id": "api-7", "actuator_id": "valve", "value": "open", "state": "delivered", "date_given": "2026-01-31T08:30:00Z", "date_changed": "2026-01-31T08:30:00Z"}]"#,
        ),
    ]);
    let shown = text(&node.tawi(&["command", "pump", "valve", "open"], "").stdout);
    assert!(shown.contains("api-7") && shown.contains("delivered") && !shown.contains("api-8"), "{shown}");
}

#[test]
fn what_is_said_of_a_device_that_was_only_found_is_stored_with_its_claim_code() {
    let node = Node::start(&[
        ("GET /api/v2/devices/scale", 200, "", r#"{"id": "scale"}"#),
        ("POST /api/v2/devices", 204, "", ""),
        ("POST /api/v2/devices/scale/claim", 200, "", r#"{"code": "7KQ2M"}"#),
    ]);
    let ran = node.tawi(&["devices", "add", "scale", "--claim", "--sensor", "kg:Scale", "--private"], "");
    assert_eq!(text(&ran.stdout), "7KQ2M\n", "{}", text(&ran.stderr));
    let told = node.told();
    assert!(told[0].starts_with("POST /api/v2/devices {") && told[0].contains("\"private\"") && told[0].contains("Scale"), "{told:?}");
    // With nothing more to say, only the code.
    assert!(node.tawi(&["devices", "add", "scale", "--claim"], "").status.success());
    assert_eq!(node.told().len(), 3);
}

#[test]
fn who_is_no_administrator_hears_that_none_was_made() {
    let node = Node::start(&[
        ("GET /api/v2/users/me", 200, "", r#"{"id": "ada", "username": "ada", "admin": false}"#),
        ("POST /api/v2/users", 200, "", "\"root2\""),
    ]);
    let ran = node.tawi(&["users", "add", "root2", "--admin"], "correct horse\n");
    assert!(!ran.status.success() && text(&ran.stderr).contains("only an administrator makes administrators"), "{}", text(&ran.stderr));
    assert!(node.told().is_empty());
    let ran = node.tawi(&["users", "add", "bob"], "correct horse\n");
    assert!(ran.status.success() && text(&ran.stderr).contains("made the user bob"), "{}", text(&ran.stderr));
}
