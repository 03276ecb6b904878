//! A running `tawi up`, and the ways to end it.

use crate::{Client, Nats, Ran, Stream, repo, wait::LATER, wait_until};
use nix::{sys::signal::Signal, unistd::Pid};
use serde::Deserialize;
use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};
use tempfile::TempDir;

/// Which ledger a node keeps its log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ledger {
    Embedded,
    Jetstream,
}

/// How a node is started; the defaults are those of `tawi up`.
#[derive(Debug)]
pub struct Launch {
    ledger: Ledger,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    /// Words in front of the command line: a shell that prepares something and then executes the rest.
    before: Vec<OsString>,
    data: Option<PathBuf>,
}

impl Launch {
    pub fn on(ledger: Ledger) -> Launch {
        Launch { ledger, args: Vec::new(), env: Vec::new(), before: Vec::new(), data: None }
    }

    pub fn arg(mut self, arg: impl Into<OsString>) -> Launch {
        self.args.push(arg.into());
        self
    }

    pub fn env(mut self, name: &str, value: impl ToString) -> Launch {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn before(mut self, words: impl IntoIterator<Item = impl Into<OsString>>) -> Launch {
        self.before = words.into_iter().map(Into::into).collect();
        self
    }

    /// A data directory that is there already, such as a restored backup.
    pub fn data(mut self, dir: &Path) -> Launch {
        self.data = Some(dir.to_owned());
        self
    }

    pub fn start(self) -> Node {
        let nats = (self.ledger == Ledger::Jetstream).then(Nats::start);
        let mut node = Node { dir: TempDir::new().unwrap(), launch: self, nats, child: None, ready: Ready::default() };
        node.start_again();
        node
    }
}

/// What the node writes into its ready file, as one JSON object, when it serves.
#[derive(Debug, Clone, Default, Deserialize)]
struct Ready {
    url: String,
    #[serde(default)]
    mqtt: Option<String>,
    /// The admin token; only a node's first start knows it.
    #[serde(default)]
    token: Option<String>,
}

/// A node with a data directory of its own, gone when it is dropped. After a failure its log is shown.
#[derive(Debug)]
pub struct Node {
    dir: TempDir,
    launch: Launch,
    pub nats: Option<Nats>,
    child: Option<Child>,
    ready: Ready,
}

impl Node {
    /// With an embedded ledger.
    pub fn start() -> Node {
        Node::on(Ledger::Embedded)
    }

    pub fn on(ledger: Ledger) -> Node {
        Launch::on(ledger).start()
    }

    /// Where it serves now: another port after each start.
    pub fn url(&self) -> &str {
        &self.ready.url
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> &str {
        self.ready.url.trim_start_matches("http://").trim_end_matches('/')
    }

    /// `127.0.0.1:PORT` for clients of MQTT.
    pub fn mqtt(&self) -> &str {
        self.ready.mqtt.as_deref().unwrap_or_default()
    }

    /// The admin token.
    pub fn token(&self) -> &str {
        self.ready.token.as_deref().unwrap_or_default()
    }

    pub fn data(&self) -> PathBuf {
        self.launch.data.clone().unwrap_or_else(|| self.dir.path().join("data"))
    }

    /// A place for the case's own files; gone with the node.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub fn client(&self) -> Client {
        Client::new(self.url(), Some(self.token()))
    }

    pub fn subscribe(&self, pattern: &str) -> Stream {
        Stream::open(&self.client(), pattern)
    }

    /// `tawi WORDS` as an author runs it, told of this node by its environment.
    pub fn tawi(&self, words: &[&str]) -> Ran {
        Ran::run(self.command().args(words))
    }

    /// `tawi` with this node in its environment, for a case that wants to add something.
    pub fn command(&self) -> Command {
        let mut command = Command::new(repo::tawi());
        command
            .current_dir(self.scratch())
            .env("TAWI_URL", self.url())
            .env("TAWI_TOKEN", self.token())
            .env("HOME", self.scratch())
            .env("TAWI_CONFIG_DIR", self.scratch().join("config"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Everything the node has printed, of all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("node.log")
    }

    /// `kill -9`; dead when this returns.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, then waits for an orderly end.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait_for_end();
        assert!(status.success(), "the node did not end well: {status}");
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap());
        assert!(pid.as_raw() > 0, "the node does not run");
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits until the node has ended by itself, or by a signal.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the node does not run");
        wait_until("the node to end", LATER, || match child.try_wait().unwrap() {
            Some(status) => Ok(status),
            None => Err(format!("process {} runs", child.id())),
        })
    }

    /// Whether it is running still.
    pub fn is_up(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// SIGTERM and a new start on the same data.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// The next start gets this variable; `None` takes it away.
    pub fn set_env(&mut self, name: &str, value: Option<&str>) {
        self.launch.env.retain(|(n, _)| n != name);
        self.launch.env.extend(value.map(|v| (name.to_owned(), v.to_owned())));
    }

    /// Starts a node that has ended, on the data it left, and waits until it serves.
    #[track_caller]
    pub fn start_again(&mut self) {
        if let Err(status) = self.start_or_end() {
            panic!("the node ended with {status} before it served\n{}", tail(&self.log()));
        }
    }

    /// [`Node::start_again`] for a node that may die while it starts: then, how.
    #[track_caller]
    pub fn start_or_end(&mut self) -> Result<(), ExitStatus> {
        let ready_file = self.spawn();
        let mut child = self.child.take().unwrap();
        let ready = wait_until("the node to serve", LATER, || {
            if let Some(text) = fs::read_to_string(&ready_file).ok().filter(|t| t.ends_with('\n')) {
                return Ok(Ok(text));
            }
            child.try_wait().unwrap().map(Err).ok_or("no ready file yet")
        });
        let text = ready?;
        let ready: Ready = serde_json::from_str(&text).unwrap_or_else(|e| panic!("ready file `{text}`: {e}"));
        let token = ready.token.clone().or(self.ready.token.take());
        self.ready = Ready { token, ..ready };
        self.child = Some(child);
        Ok(())
    }

    /// Starts the process and does not wait: for nodes that are meant to refuse. Answers with the ready file's path.
    pub fn spawn(&mut self) -> PathBuf {
        assert!(self.child.is_none(), "the node runs already");
        let ready_file = self.dir.path().join("ready.json");
        let _ = fs::remove_file(&ready_file);
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut words = self.launch.before.iter().cloned().chain([repo::tawi().into()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg("up").arg("--data").arg(self.data()).args(["--listen", "127.0.0.1:0"]);
        if !self.launch.args.iter().any(|arg| arg == "--no-mqtt") {
            command.args(["--mqtt", "127.0.0.1:0"]);
        }
        command.arg("--ready-file").arg(&ready_file);
        if let Some(nats) = &self.nats {
            command.args(["--ledger", &nats.url()]);
        }
        command.args(&self.launch.args).envs(self.launch.env.iter().cloned());
        // The login that a first start saves is not the developer's business. HOME stays: cargo and rustup find themselves by it.
        command
            .env("TAWI_CONFIG_DIR", self.dir.path().join("config"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.child = Some(command.spawn().unwrap());
        ready_file
    }

    /// Resident memory in bytes, by /proc.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// Numbers and command lines of all processes that this node started, and of those that they started.
    pub fn descendants(&self) -> Vec<(u32, String)> {
        let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
        let (mut family, mut found) = (vec![self.pid()], Vec::new());
        while let Some(parent) = family.pop() {
            for (child, _) in parents.iter().filter(|(_, above)| *above == parent) {
                family.push(*child);
                found.push((*child, fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default().replace('\0', " ")));
            }
        }
        found
    }

    /// CPU time used so far, in seconds, by /proc.
    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.pid())
    }
}

/// The fields of /proc/PID/stat after the command's name, which may hold spaces; none when the process is gone.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit(')').next()?.split_whitespace().map(str::to_owned).collect())
}

fn parent_of(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// Whether a process is at work: not when all that is left of it waits for its parent to look.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields.first().is_some_and(|state| state != "Z"))
}

/// User and system time of a process in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let fields = stat(pid).unwrap();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).unwrap().map_or(100.0, |t| t as f64)
}

impl Drop for Node {
    fn drop(&mut self) {
        let ended = self.child.as_mut().and_then(|c| c.try_wait().ok().flatten());
        self.kill9();
        if std::thread::panicking() {
            let how = ended.map_or_else(String::new, |s| format!(", which had ended with {s} (signal {:?})", s.signal()));
            eprintln!("--- the node{how}\n{}", tail(&self.log()));
        }
    }
}

/// The end of a long log; its beginning rarely tells why it ended.
fn tail(log: &str) -> String {
    const LINES: usize = 150;
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
