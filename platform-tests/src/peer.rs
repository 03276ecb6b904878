//! Other people's servers, to be measured beside the node: started on one processor, killed when dropped.

use crate::{repo, wait::LATER, wait_until};
use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

#[derive(Debug)]
pub struct Peer {
    pub addr: SocketAddr,
    child: Child,
    _dir: TempDir,
}

/// The words in front of a command line that keep it, and every thread of it, on one processor.
pub fn on_cpu(cpu: usize) -> [String; 3] {
    ["taskset".to_owned(), "-c".to_owned(), cpu.to_string()]
}

/// Settings of `wasmtime serve` that are as those of the node's own engine (`runtime/src/engine/pool.rs`). Two are not: it runs no
/// guest without `-W concurrency-support`, and without `-W timeout` it has no epochs, so it watches its guests less than the node.
const WASMTIME_OPTIONS: [&str; 7] = [
    "-Opooling-allocator=y",
    "-Opooling-pagemap-scan=yes",
    "-Opooling-memory-keep-resident=1048576",
    "-Opooling-table-keep-resident=65536",
    "-Wmax-wasm-stack=524288",
    "-Wasync-stack-size=1048576",
    "-Scli=y",
];

impl Peer {
    /// `wasmtime serve` with a component; `None` when tools/setup-bench did not put it in place.
    pub fn wasmtime_serve(component: &Path, cpu: usize) -> Option<Peer> {
        let program = repo::tools_dir().join("wasmtime/bin/wasmtime");
        let mut command = pinned(&program, cpu)?;
        command.arg("serve").args(WASMTIME_OPTIONS).args(["--addr", "127.0.0.1:0"]).arg(component);
        Some(Peer::start(command, TempDir::new().unwrap(), |said| {
            let rest = said.split("Serving HTTP on http://").nth(1)?;
            rest.split('/').next()?.parse().ok()
        }))
    }

    /// workerd with one worker, a module of JavaScript; `None` when tools/setup-bench did not put it in place.
    pub fn workerd(worker: &str, cpu: usize) -> Option<Peer> {
        let program = repo::tools_dir().join("workerd/node_modules/workerd/bin/workerd");
        let mut command = pinned(&program, cpu)?;
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("worker.js"), worker).unwrap();
        let config = dir.path().join("config.capnp");
        fs::write(&config, WORKERD_CONFIG).unwrap();
        command.args(["serve", "--control-fd=1"]).arg(&config);
        Some(Peer::start(command, dir, |said| {
            let line = said.lines().find(|line| line.contains("\"listen\"") && line.ends_with('}'))?;
            let port = serde_json::from_str::<serde_json::Value>(line).ok()?["port"].as_u64()?;
            Some((Ipv4Addr::LOCALHOST, u16::try_from(port).ok()?).into())
        }))
    }

    /// A broker that lets everybody in and keeps nothing; `None` when tools/setup-bench did not put it in place.
    pub fn mosquitto() -> Option<Peer> {
        let tools = repo::tools_dir().join("mosquitto/usr");
        let program = tools.join("sbin/mosquitto");
        if !program.is_file() {
            return None;
        }
        // It takes no port 0. Nobody else begins to listen on one that was free a moment ago.
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).ok()?;
        let dir = TempDir::new().unwrap();
        let config = dir.path().join("mosquitto.conf");
        fs::write(&config, format!("listener {} 127.0.0.1\n{MOSQUITTO_CONFIG}", addr.port())).unwrap();
        let mut command = Command::new(program);
        let libraries = tools.join("lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
        command.env("LD_LIBRARY_PATH", libraries).arg("-v").arg("-c").arg(&config);
        Some(Peer::start(command, dir, |said| said.contains(" running").then_some(addr)))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn start(mut command: Command, dir: TempDir, listening: impl Fn(&str) -> Option<SocketAddr>) -> Peer {
        let path = dir.path().join("log");
        let log = File::create(&path).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut peer = Peer { addr: (Ipv4Addr::LOCALHOST, 0).into(), child, _dir: dir };
        peer.addr = wait_until("a peer to listen", LATER, || {
            let said = fs::read_to_string(&path).unwrap_or_default();
            if let Ok(Some(status)) = peer.child.try_wait() {
                panic!("a peer ended with {status}: {said}");
            }
            listening(&said).ok_or(said)
        });
        peer
    }
}

/// As a device's broker would be, without a limit that would hold the load back.
const MOSQUITTO_CONFIG: &str = "\
allow_anonymous true
persistence false
max_inflight_messages 0
max_queued_messages 0
log_type notice
user root
";

/// One worker behind one socket, whose port the system chooses.
const WORKERD_CONFIG: &str = r#"
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.js")],
  compatibilityDate = "2026-01-01",
);
"#;

fn pinned(program: &PathBuf, cpu: usize) -> Option<Command> {
    if !program.is_file() {
        return None;
    }
    let [first, rest @ ..] = on_cpu(cpu);
    let mut command = Command::new(first);
    command.args(rest).arg(program);
    Some(command)
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
