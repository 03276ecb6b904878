//! What the command says where there is no node: usage, files, git, and errors with a hint.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// A person's machine: an empty home, and nothing in the environment.
struct Home(TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).env("HOME", self.path()).stdin(Stdio::null());
        for name in ["TAWI_URL", "TAWI_TOKEN", "TAWI_CONFIG_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "GIT_DIR"] {
            command.env_remove(name);
        }
        command
    }

    fn tawi(&self, words: &[&str]) -> Ran {
        Ran(self.command(env!("CARGO_BIN_EXE_tawi")).args(words).output().unwrap())
    }

    fn git(&self, words: &[&str]) -> String {
        let ran = Ran(self.command("git").args(words).output().unwrap());
        ran.exits(0).stdout()
    }
}

struct Ran(Output);

impl Ran {
    #[track_caller]
    fn exits(self, code: i32) -> Ran {
        assert_eq!(self.0.status.code(), Some(code), "{}{}", self.stdout(), self.stderr());
        self
    }

    fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }
}

#[test]
fn a_wrong_command_line_exits_with_2_and_shows_the_right_one() {
    let home = Home::new();
    assert!(home.tawi(&["histroy"]).exits(2).stderr().contains("similar subcommand exists: 'history'"));
    assert!(home.tawi(&["tokens", "create", "x", "--read", "--admin"]).exits(2).stderr().contains("cannot be used with"));
    assert!(home.tawi(&["history", "--from", "yesterday"]).exits(2).stderr().contains("`yesterday` is not a time"));
    assert!(home.tawi(&["config", "set", "app", "threshold"]).exits(2).stderr().contains("KEY=VALUE"));
    assert!(home.tawi(&["--help"]).exits(0).stdout().contains("Run a node with a builder in it"));
}

#[test]
fn a_node_that_is_not_there_is_an_error_with_a_hint_and_no_colours() {
    let home = Home::new();
    // Port 1 belongs to a service that nobody runs.
    let ran = home.tawi(&["--url", "http://127.0.0.1:1", "apps", "list"]).exits(1);
    let said = ran.stderr();
    assert!(said.starts_with("error: can't reach the node at http://127.0.0.1:1\n  because "), "{said}");
    assert!(said.contains("\nhint: `tawi up` starts one here"), "{said}");
    assert!(ran.stdout().is_empty() && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn every_mistake_of_a_node_s_config_is_told_at_once() {
    let home = Home::new();
    fs::write(home.path().join("node.toml"), "ledger = \"kafka://x\"\nlog-retention = \"a week\"\n").unwrap();
    let said = home.tawi(&["up", "--config", "node.toml", "--listen", "here"]).exits(1).stderr();
    assert!(said.starts_with("error: the config has 3 mistakes: `listen`:"), "{said}");
    assert!(said.contains("`kafka://x` is neither `embedded` nor") && said.contains("`a week` is not a duration"), "{said}");
    fs::write(home.path().join("node.toml"), "lisen = \"x\"\n").unwrap();
    let said = home.tawi(&["up", "--config", "node.toml"]).exits(1).stderr();
    assert!(said.contains("`lisen`") && said.contains("line 1"), "{said}");
}

#[test]
fn a_new_app_is_a_repository_with_its_lock_file_and_no_secret_in_it() {
    let home = Home::new();
    let ran = home.tawi(&["--url", "http://127.0.0.1:9/", "new", "fridge-alert"]).exits(0);
    assert!(ran.stdout().contains("git push tawi main"), "{}", ran.stdout());
    let app = home.path().join("fridge-alert");
    let text = |name: &str| fs::read_to_string(app.join(name)).unwrap();
    assert!(text("tawi.toml").contains("name = \"fridge-alert\"") && text("Cargo.toml").contains("name = \"fridge-alert\""));
    let files = home.git(&["-C", "fridge-alert", "ls-files"]);
    for file in ["Cargo.lock", "src/lib.rs", "tawi.toml"] {
        assert!(files.lines().any(|f| f == file), "{file} is not in\n{files}");
    }
    assert!(!files.contains("target/"), "{files}");
    assert_eq!(home.git(&["-C", "fridge-alert", "status", "--porcelain"]), "");
    assert_eq!(home.git(&["-C", "fridge-alert", "branch", "--show-current"]).trim(), "main");
    assert_eq!(home.git(&["-C", "fridge-alert", "remote", "get-url", "tawi"]).trim(), "http://127.0.0.1:9/git/fridge-alert.git");

    let again = home.tawi(&["new", "fridge-alert"]).exits(1).stderr();
    assert!(again.contains("`fridge-alert` is there already") && again.contains("hint:"), "{again}");
    let wrong = home.tawi(&["new", "Fridge_Alert"]).exits(1).stderr();
    assert!(wrong.contains("`Fridge_Alert` is not an app name"), "{wrong}");
}

#[test]
fn git_gets_the_token_from_the_environment_and_only_for_its_node() {
    let home = Home::new();
    let ask = |host: &str, operation: &str| {
        let mut command = home.command(env!("CARGO_BIN_EXE_tawi"));
        command.args(["credential", operation]).env("TAWI_URL", "http://node:1").env("TAWI_TOKEN", "tawi_x");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Who has nothing to answer does not read the question.
        let _ = child.stdin.take().unwrap().write_all(format!("protocol=http\nhost={host}\n\n").as_bytes());
        Ran(child.wait_with_output().unwrap()).exits(0).stdout()
    };
    assert_eq!(ask("node:1", "get"), "username=tawi\npassword=tawi_x\n");
    assert_eq!(ask("evil:1", "get"), "");
    assert_eq!(ask("node:1", "store"), "");
}

#[test]
fn a_recording_with_a_mistake_sends_nothing() {
    let home = Home::new();
    fs::write(home.path().join("r.csv"), "timestamp,value\n2026-01-01T00:00:00Z,1\nnoon,2\n").unwrap();
    let said = home.tawi(&["replay", "r.csv", "--device", "d", "--sensor", "s"]).exits(1).stderr();
    assert!(said.contains("`r.csv`: line 3: `noon` is not a time") && said.contains("hint: nothing was sent"), "{said}");
    let said = home.tawi(&["replay", "none.csv", "--device", "d", "--sensor", "s"]).exits(1).stderr();
    assert!(said.starts_with("error: can't read `none.csv`\n"), "{said}");
}

#[test]
fn what_is_no_backup_is_not_restored() {
    let home = Home::new();
    fs::write(home.path().join("b.tar"), "hello").unwrap();
    let said = home.tawi(&["restore", "b.tar", "--data", "data"]).exits(1).stderr();
    assert!(said.contains("can't restore `b.tar` into `data`") && said.contains("not a backup of a Tawi node"), "{said}");
    assert!(!home.path().join("data").exists());
}

#[test]
fn shells_complete_its_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.tawi(&["completions", shell]).exits(0).stdout().contains("redeploy"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = home.command(env!("CARGO_BIN_EXE_tawi")).args(["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!(Ran(ran).exits(0).stderr(), "");
}

#[test]
fn the_saved_token_is_there_for_curl() {
    let home = Home::new();
    let ran = home.tawi(&["tokens", "show"]).exits(1);
    assert!(ran.stderr().contains("no token is known") && ran.stderr().contains("tawi login"), "{}", ran.stderr());
    let dir = home.path().join(".config/tawi");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("logins.json"), r#"{"current":"http://one","tokens":{"http://one":"tawi_x"}}"#).unwrap();
    assert_eq!(home.tawi(&["tokens", "show"]).exits(0).stdout(), "tawi_x\n");
}
