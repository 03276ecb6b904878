//! How a node is told to end.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Command, Stdio},
};

struct Up {
    child: Child,
    /// What it has said, and what comes.
    told: String,
    says: BufReader<ChildStdout>,
    _dir: tempfile::TempDir,
}

impl Up {
    fn start() -> Up {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tawi"));
        command.args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(dir.path().join("data"));
        command.env("HOME", dir.path()).env_remove("XDG_CONFIG_HOME").env_remove("TAWI_CONFIG_DIR").env_remove("TAWI_LOG");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Up { child, told: String::new(), says, _dir: dir }
    }

    /// HOST:PORT, once it serves.
    fn addr(&mut self) -> String {
        self.says.read_line(&mut self.told).unwrap();
        let url = self.told.trim_end().strip_prefix("Tawi serves at http://").unwrap_or_else(|| panic!("it says `{}`", self.told));
        url.to_owned()
    }

    fn interrupt(&self) {
        assert!(Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_first_signal_waits_for_requests_and_a_second_for_nothing() {
    let mut up = Up::start();
    let mut stream = TcpStream::connect(up.addr()).unwrap();
    // One request answered, so that the connection is taken; half of the next, so that there is something to wait for.
    stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\nGET /health/live HTTP/1.1\r\n").unwrap();
    stream.read_exact(&mut [0; 15]).unwrap();
    up.interrupt();
    let log = BufReader::new(up.child.stderr.take().unwrap());
    let said = log.lines().map_while(Result::ok).find(|line| line.contains("stopping"));
    assert!(said.is_some_and(|line| line.contains("second signal")), "it says what a second signal does");
    up.interrupt();
    // 0 is the end that waited.
    assert_eq!(up.child.wait().unwrap().code(), Some(130));
    up.says.read_to_string(&mut up.told).unwrap();
    assert!(up.told.contains("admin token") && !up.told.contains("tawi_"), "a token in a journal: {}", up.told);
}
