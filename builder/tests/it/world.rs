//! A node with nothing but a builder in it, an author with a repository, and gates that hold a build where a test wants it.

use nix::{
    fcntl::OFlag,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    fs,
    net::SocketAddr,
    os::unix::{fs::OpenOptionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tawi_builder::{Access, BuildLimits, Builder, BuilderOptions, Checks, Program};
use tawi_runtime::{
    deploy::Store,
    model::{AppId, id::default_tenant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpListener,
    process::{Child, ChildStderr, Command},
    task::JoinHandle,
    time::interval,
};
use tokio_util::sync::CancellationToken;

/// How long a test waits for a fact before it fails.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn app(name: &str) -> AppId {
    AppId::new(default_tenant(), AppId::check_name(name).unwrap())
}

/// The stand-in for the engine: wants a component, and none that holds these words.
pub const UNGRANTED: &str = "imports something that was not granted";

/// An app whose releases never serve.
pub const SICK: &str = "sick";

fn checks() -> Checks {
    let has = |component: &[u8], text: &str| component.windows(text.len()).any(|window| window == text.as_bytes());
    Checks {
        verify: Arc::new(move |component, _| match component {
            [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] if has(component, UNGRANTED) => {
                Err("the component imports `tawi:app/state`, which is not granted\nhint: add `state = true` to `[grant]`".to_owned())
            }
            [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
            _ => Err("this is not a component".to_owned()),
        }),
        prepare: Arc::new(|_, _, _| Ok(())),
        live: Arc::new(|app, _| {
            let live = if app.app.as_str() == SICK { Err("it does not load".to_owned()) } else { Ok(()) };
            Box::pin(async { live })
        }),
    }
}

pub fn options(data: &Path) -> BuilderOptions {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_tawi-builder-hook"));
    BuilderOptions {
        base_url: "http://node.example".into(),
        hook: Program { program: program.clone(), arguments: vec![] },
        keeper: Program { program: program.clone(), arguments: vec!["keep".to_owned()] },
        confiner: Program { program, arguments: vec!["confine".to_owned()] },
        ..BuilderOptions::new(data).unwrap()
    }
}

pub struct World {
    pub dir: TempDir,
    pub store: Store,
    pub builder: Builder,
    pub address: SocketAddr,
    shutdown: CancellationToken,
    running: JoinHandle<std::io::Result<()>>,
}

impl World {
    pub async fn start() -> World {
        World::with(BuildLimits::default()).await
    }

    pub async fn with(limits: BuildLimits) -> World {
        World::at(tempfile::tempdir().unwrap(), limits).await
    }

    /// On what an earlier one left behind.
    pub async fn at(dir: TempDir, limits: BuildLimits) -> World {
        let store = Store::open(&dir.path().join("data")).unwrap();
        let options = BuilderOptions { limits, ..options(&dir.path().join("data")) };
        let builder = Builder::open(options, store.clone(), checks()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = builder.router(Arc::new(|app, token| match token {
            "good" => Access::Granted { name: "author".into() },
            "other" if app != "fridge" => Access::Granted { name: "other".into() },
            "other" => Access::Forbidden,
            _ => Access::Unknown,
        }));
        let shutdown = CancellationToken::new();
        let (stop, running) = (shutdown.clone(), builder.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let running = tokio::spawn(async move { running.run(stop).await });
        World { dir, store, builder, address, shutdown, running }
    }

    /// Ends the builder as a shutdown does; what it wrote stays.
    pub async fn stop(self) -> TempDir {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        self.dir
    }

    pub fn url(&self, token: &str, name: &str) -> String {
        format!("http://tawi:{token}@{}/git/{name}.git", self.address)
    }

    /// Someone with the guest in a repository of her own.
    pub async fn author(&self, name: &str) -> Author {
        let home = self.dir.path().join("data/build/main").join(name);
        fs::create_dir_all(&home).unwrap();
        let author = Author { dir: tempfile::tempdir().unwrap(), url: self.url("good", name), home };
        for file in ["Cargo.toml", "Cargo.lock", "src/lib.rs", "tawi.toml"] {
            author.write(file, &fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest").join(file)).unwrap());
        }
        author.write("tawi.toml", &author.read("tawi.toml").replace("fridge", name));
        author.git(&["init", "-q", "-b", "main"]).await.ok();
        author.git(&["remote", "add", "tawi", &author.url]).await.ok();
        author.commit("first").await;
        author
    }

    pub fn current(&self, name: &str) -> Option<(u64, String)> {
        self.store.current(&app(name)).map(|release| (release.number, release.commit.clone()))
    }

    pub fn repo(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("data/git/main/{name}.git"))
    }
}

pub struct Author {
    dir: TempDir,
    pub url: String,
    /// Where the app is built: what a build script may write.
    pub home: PathBuf,
}

/// What a command came to.
#[derive(Debug)]
pub struct Said {
    pub output: Output,
    pub text: String,
}

impl Said {
    #[track_caller]
    pub fn ok(self) -> Said {
        assert!(self.output.status.success(), "{}", self.text);
        self
    }

    #[track_caller]
    pub fn refused(self) -> Said {
        assert!(!self.output.status.success() && self.output.status.signal().is_none(), "{}", self.text);
        self
    }

    #[track_caller]
    pub fn says(self, words: &str) -> Said {
        assert!(self.text.contains(words), "`{words}` is not in:\n{}", self.text);
        self
    }

    #[track_caller]
    pub fn does_not_say(self, words: &str) -> Said {
        assert!(!self.text.contains(words), "`{words}` is in:\n{}", self.text);
        self
    }
}

impl Author {
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub fn write(&self, file: &str, text: &str) {
        fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
        fs::write(self.path(file), text).unwrap();
    }

    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=author", "-c", "user.email=author@example.org", "-c", "protocol.file.allow=always"]).args(arguments);
        command.current_dir(self.dir.path()).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "/bin/false").env("LC_ALL", "C").kill_on_drop(true);
        command.stdin(Stdio::null());
        command
    }

    pub async fn git(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Said { output, text }
    }

    pub async fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A", "-f"]).await.ok();
        self.git(&["commit", "-q", "--allow-empty", "-m", message]).await.ok();
        self.git(&["rev-parse", "HEAD"]).await.ok().text.trim().to_owned()
    }

    pub async fn push(&self) -> Said {
        self.git(&["push", "tawi", "main"]).await
    }

    /// The guest with another number in it.
    pub async fn change(&self, to: u32) -> String {
        let from = self.read("src/lib.rs");
        let line = from.lines().find(|line| line.trim().parse::<u32>().is_ok()).unwrap().to_owned();
        self.write("src/lib.rs", &from.replace(&line, &format!("    {to}")));
        self.commit("change").await
    }

    /// A push that goes on while the test does other things.
    pub fn start_push(&self) -> Pushing {
        let mut child =
            self.command(&["push", "tawi", "main"]).stderr(Stdio::piped()).stdout(Stdio::null()).process_group(0).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Pushing { child, lines, text: String::new() }
    }
}

pub struct Pushing {
    child: Child,
    lines: BufReader<ChildStderr>,
    text: String,
}

impl Pushing {
    /// As Ctrl-C does, or a laptop that is closed: git and the helpers that hold its connection are gone.
    pub fn hang_up(&self) {
        killpg(Pid::from_raw(self.child.id().unwrap() as i32), Signal::SIGKILL).unwrap();
    }

    /// Reads on until a line has these words.
    pub async fn until(&mut self, words: &str) {
        let reading = async {
            while !self.text.contains(words) {
                let mut line = Vec::new();
                let read = self.lines.read_until(b'\n', &mut line).await.unwrap();
                assert!(read > 0, "`{words}` never came:\n{}", self.text);
                self.text += &String::from_utf8_lossy(&line);
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("`{words}` did not come in time"));
    }

    pub async fn end(mut self) -> Said {
        let mut rest = Vec::new();
        self.lines.read_to_end(&mut rest).await.unwrap();
        self.text += &String::from_utf8_lossy(&rest);
        let status = self.child.wait().await.unwrap();
        Said { output: Output { status, stdout: vec![], stderr: vec![] }, text: self.text }
    }
}

/// Holds a build in its build script.
pub struct Gate {
    fifo: PathBuf,
}

impl Gate {
    /// The next build of this author stops here.
    pub fn install(author: &Author) -> Gate {
        let fifo = author.home.join("gate");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let wait = format!("fn main() {{ let _ = std::fs::read({fifo:?}); println!(\"cargo::rerun-if-changed=build.rs\"); }}\n");
        author.write("build.rs", &wait);
        Gate { fifo }
    }

    /// Returns when the build script is there; it goes on when what comes back is dropped.
    pub async fn reached(&self) -> fs::File {
        // Fails until there is a reader at the other end.
        let open = || fs::OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&self.fifo).ok();
        wait_until("a build script at its gate", open).await
    }
}

/// Waits for a fact that nobody announces, and returns what it is.
pub async fn wait_until<T>(what: &str, fact: impl Fn() -> Option<T>) -> T {
    let (start, mut looks) = (Instant::now(), interval(Duration::from_millis(10)));
    loop {
        looks.tick().await;
        if let Some(found) = fact() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not come in {PATIENCE:?}");
    }
}

pub async fn wait_for_end(pid: &str) {
    wait_until("the end of the build script", || (!alive(pid)).then_some(())).await;
}

fn alive(pid: &str) -> bool {
    // A dead process whose parent has not looked yet is no longer at work.
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
