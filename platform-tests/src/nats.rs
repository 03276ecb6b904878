//! A real nats-server, behind an address that outlives it.

use crate::{Proxy, repo, wait::SOON, wait_until};
use nix::{sys::signal::Signal, unistd::Pid};
use serde::Deserialize;
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A nats-server with JetStream that syncs every write, on a port that the system chose. It comes back on another port after
/// a restart; clients go through a proxy and see one address.
#[derive(Debug)]
pub struct Nats {
    dir: TempDir,
    proxy: Proxy,
    server: Option<Child>,
}

#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

impl Nats {
    pub fn start() -> Nats {
        let mut nats = Nats { dir: TempDir::new().unwrap(), proxy: Proxy::start(), server: None };
        nats.restart();
        nats
    }

    /// What clients connect to, all the time.
    pub fn url(&self) -> String {
        format!("nats://{}", self.proxy.addr())
    }

    /// `kill -9`, and gone with all its connections when this returns.
    pub fn kill9(&mut self) {
        self.proxy.cut();
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// The line between clients and server, for faults that are not the server's.
    pub fn cut(&self) {
        self.proxy.cut();
    }

    /// [`Nats::cut`] after so many more bytes.
    pub fn cut_after(&self, bytes: usize) {
        self.proxy.cut_after(bytes);
    }

    pub fn is_cut(&self) -> bool {
        self.proxy.is_cut()
    }

    pub fn mend(&self) {
        if let Some(server) = &self.server {
            self.proxy.mend(wait_for_port(self.dir.path(), server.id()));
        }
    }

    /// On the store that the last one left.
    pub fn restart(&mut self) {
        self.kill9();
        let dir = self.dir.path();
        let config = dir.join("nats.conf");
        // What is acknowledged is synced; the server's default would lose the last two minutes with the power.
        fs::write(&config, format!("jetstream {{ store_dir: {:?}, sync_interval: always }}\nmax_payload: 8MB\n", dir.join("store")))
            .unwrap();
        let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
        let server = Command::new(repo::nats_server())
            .args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"])
            .arg(dir)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("could not run `{}`: {e}; tools/setup-nats installs it", repo::nats_server().display()));
        let pid = server.id();
        self.server = Some(server);
        self.proxy.mend(wait_for_port(dir, pid));
    }

    /// SIGSTOP: connected, but silent.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(server) = &self.server {
            nix::sys::signal::kill(Pid::from_raw(i32::try_from(server.id()).unwrap()), signal).unwrap();
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            // The banner of each start tells nothing.
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("[INF]")).collect();
            eprintln!("--- nats-server\n{}", lines.join("\n"));
        }
    }
}

/// The server writes the port it got, and the file appears when it listens.
fn wait_for_port(dir: &Path, pid: u32) -> SocketAddr {
    let file = dir.join(format!("nats-server_{pid}.ports"));
    wait_until("nats-server to listen", SOON, || {
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let ports: Ports = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let url = ports.nats.into_iter().next().ok_or("no port in the file")?;
        url.trim_start_matches("nats://").parse::<SocketAddr>().map_err(|e| format!("{url}: {e}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::jetstream::{self, stream::Config};

    #[test]
    fn what_was_acknowledged_is_there_after_a_kill_at_the_same_address() {
        let mut nats = Nats::start();
        let url = nats.url();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let config = || Config { name: "S".to_owned(), subjects: vec!["s".to_owned()], ..Config::default() };
        runtime.block_on(async {
            let stream = open(&url).await;
            stream.create_stream(config()).await.unwrap();
            stream.publish("s", "1".into()).await.unwrap().await.unwrap();
        });
        nats.kill9();
        assert!(runtime.block_on(async_nats::connect(&url)).is_err());
        nats.restart();
        let mut stream = runtime.block_on(async { open(&url).await.get_stream("S").await }).unwrap();
        assert_eq!(runtime.block_on(stream.info()).unwrap().state.messages, 1);
    }

    async fn open(url: &str) -> jetstream::Context {
        jetstream::new(async_nats::connect(url).await.unwrap())
    }
}
