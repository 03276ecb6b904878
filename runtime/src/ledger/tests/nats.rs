//! A real nats-server that a test starts and kills, and a proxy before it that a test cuts and holds up.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

pub(crate) struct Server {
    dir: tempfile::TempDir,
    child: Option<Child>,
    port: u16,
    max_payload: &'static str,
}

/// `TAWI_NATS_SERVER`, what `tools/setup-nats` has put in place, or what the PATH has.
fn binary() -> PathBuf {
    let placed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/nats-server");
    match std::env::var_os("TAWI_NATS_SERVER") {
        Some(path) => path.into(),
        None if placed.exists() => placed,
        None => "nats-server".into(),
    }
}

pub(super) fn wait_until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match found() {
            Some(found) => return found,
            None if Instant::now() > end => panic!("waited 30 s for {what}"),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::start_with("8MB")
    }

    pub(crate) fn start_with(max_payload: &'static str) -> Server {
        let mut server = Server { dir: tempfile::tempdir().unwrap(), child: None, port: 0, max_payload };
        server.spawn(-1);
        server.port = wait_until("nats-server's ports", || server.read_port());
        server.wait_for_jetstream();
        server
    }

    fn spawn(&mut self, port: i32) {
        let dir = self.dir.path();
        let config = dir.join("nats.conf");
        let store = dir.join("store");
        // Synced like a node's: an acknowledgement means that it survives the power.
        let text = format!("jetstream {{ store_dir: {store:?}, sync_interval: always }}\nmax_payload: {}\n", self.max_payload);
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(binary());
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "--ports_file_dir"]).arg(dir).arg("-c").arg(config);
        let log = std::fs::File::create(dir.join("log")).unwrap();
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().expect("nats-server: run tools/setup-nats"));
    }

    fn read_port(&self) -> Option<u16> {
        let pid = self.child.as_ref()?.id();
        let text = std::fs::read_to_string(self.dir.path().join(format!("nats-server_{pid}.ports"))).ok()?;
        let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
        ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
    }

    fn wait_for_jetstream(&self) {
        wait_until("nats-server's greeting", || {
            use std::io::Read;
            let mut stream = std::net::TcpStream::connect(self.address()).ok()?;
            let mut greeting = [0; 512];
            let read = stream.read(&mut greeting).ok()?;
            String::from_utf8_lossy(&greeting[..read]).contains("\"jetstream\":true").then_some(())
        });
    }

    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// As `kill -9` does.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// As another configuration has it.
    pub(crate) fn restart_with(&mut self, max_payload: &'static str) {
        self.max_payload = max_payload;
        self.restart();
    }

    /// On the same port, with what its disk has.
    pub(super) fn restart(&mut self) {
        self.kill();
        self.spawn(i32::from(self.port));
        self.wait_for_jetstream();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Control {
    /// Connections before this number are cut.
    cut_below: u64,
    /// What clients send on connections before this number is kept back, even from those that are cut.
    hold_up_below: u64,
    /// What the server sends is kept back.
    hold_down: bool,
}

/// Between clients and a server.
pub(super) struct Proxy {
    address: SocketAddr,
    control: watch::Sender<Control>,
    connections: watch::Receiver<u64>,
}

impl Proxy {
    pub(super) async fn start(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (control, controls) = watch::channel(Control::default());
        let (count, connections) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else { continue };
                let number = *count.borrow() + 1;
                count.send_replace(number);
                let (client_read, client_write) = client.into_split();
                let (server_read, server_write) = server.into_split();
                tokio::spawn(pipe(client_read, server_write, controls.clone(), number, |control, number| number < control.hold_up_below));
                tokio::spawn(pipe(server_read, client_write, controls.clone(), number, |control, _| control.hold_down));
            }
        });
        Proxy { address, control, connections }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Ends every connection there is; new ones are made.
    pub(super) fn cut(&self) {
        let next = *self.connections.borrow() + 1;
        self.control.send_modify(|control| control.cut_below = next);
    }

    /// Of the connections there are; what is sent on new ones overtakes it.
    pub(super) fn hold_up(&self, hold: bool) {
        let below = if hold { *self.connections.borrow() + 1 } else { 0 };
        self.control.send_modify(|control| control.hold_up_below = below);
    }

    pub(super) fn hold_down(&self, hold: bool) {
        self.control.send_modify(|control| control.hold_down = hold);
    }
}

/// Forwards one direction. What is kept back goes out when it is let go, cut or not.
async fn pipe(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut controls: watch::Receiver<Control>,
    number: u64,
    holds: fn(&Control, u64) -> bool,
) {
    let mut kept = Vec::new();
    let mut open = true;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let control = *controls.borrow_and_update();
        open &= number >= control.cut_below;
        if !open && kept.is_empty() {
            return;
        }
        if !holds(&control, number) && !kept.is_empty() {
            if to.write_all(&kept).await.is_err() {
                return;
            }
            kept.clear();
            continue;
        }
        tokio::select! {
            changed = controls.changed() => if changed.is_err() { return },
            read = from.read(&mut chunk), if open => match read {
                Ok(read) if read > 0 => kept.extend_from_slice(&chunk[..read]),
                _ => open = false,
            },
        }
    }
}
