//! An app in a git repository, as its author has it, and pushes of it.

use crate::{Node, Ran, repo};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// A repository with an app in it.
#[derive(Debug)]
pub struct App {
    pub name: String,
    dir: PathBuf,
    _temp: TempDir,
}

/// What `git push` came to.
#[derive(Debug)]
pub struct Push {
    pub accepted: bool,
    pub text: String,
}

impl App {
    /// An empty repository.
    pub fn empty(name: &str) -> App {
        let temp = TempDir::new().unwrap();
        let dir = temp.path().join(name);
        fs::create_dir(&dir).unwrap();
        let app = App { name: name.to_owned(), dir, _temp: temp };
        app.git(&["init", "--quiet", "-b", "main"]).ok();
        app
    }

    /// functions/NAME as functions/build made it: its manifest, and its component instead of its source. Pushing it takes no compiler.
    pub fn prebuilt(function: &str) -> App {
        App::prebuilt_as(function, function)
    }

    /// [`App::prebuilt`] under another app name.
    pub fn prebuilt_as(function: &str, name: &str) -> App {
        let app = App::empty(name);
        let manifest = fs::read_to_string(repo::function_dir(function).join("tawi.toml")).unwrap();
        app.write("tawi.toml", manifest);
        fs::copy(repo::component(function), app.dir.join("app.wasm")).unwrap();
        app.manifest(|manifest| {
            set(manifest, "app", "name", name);
            set(manifest, "build", "component", "app.wasm");
        });
        app.commit("first version");
        app
    }

    /// A component without a crate of ours behind it, with this manifest.
    pub fn component(name: &str, manifest: &str, component: &Path) -> App {
        let app = App::empty(name);
        app.write("tawi.toml", manifest);
        fs::copy(component, app.dir.join("app.wasm")).unwrap();
        app.commit("first version");
        app
    }

    /// What `tawi new` makes, with its first commit and its remote.
    pub fn new(node: &Node, name: &str) -> App {
        let temp = TempDir::new().unwrap();
        Ran::run(node.command().args(["new", name]).current_dir(temp.path())).ok();
        let dir = temp.path().join(name);
        let app = App { name: name.to_owned(), dir, _temp: temp };
        app.identify();
        app
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn read(&self, path: &str) -> String {
        let path = self.dir.join(path);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("can't read `{}`: {e}", path.display()))
    }

    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// Changes `tawi.toml` as data; comments in it are lost.
    pub fn manifest(&self, change: impl FnOnce(&mut toml::Table)) {
        let mut manifest: toml::Table = self.read("tawi.toml").parse().unwrap();
        change(&mut manifest);
        self.write("tawi.toml", manifest.to_string());
    }

    /// Changes one file's text; what is to be replaced must be there.
    #[track_caller]
    pub fn replace(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "`{path}` does not hold `{from}`:\n{text}");
        self.write(path, text.replace(from, to));
    }

    /// `git` in the repository, as someone with a name and without a configuration of her own.
    pub fn git(&self, words: &[&str]) -> Ran {
        Ran::run(self.git_command().args(words))
    }

    pub fn git_command(&self) -> Command {
        let mut git = Command::new("git");
        git.current_dir(&self.dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        git.env("LC_ALL", "C").stdin(Stdio::null());
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "Amina").env(format!("GIT_{role}_EMAIL"), "amina@example.com");
        }
        git
    }

    fn identify(&self) {
        self.git(&["config", "user.name", "Amina"]).ok();
        self.git(&["config", "user.email", "amina@example.com"]).ok();
    }

    /// Commits everything that is there, changed or not.
    pub fn commit(&self, message: &str) {
        self.git(&["add", "--all"]).ok();
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]).ok();
    }

    /// `git push tawi main`, with whatever came of it.
    pub fn try_push(&self, node: &Node) -> Push {
        self.push_ref(node, node.token(), "main")
    }

    /// Pushes with a token as the password.
    pub fn push_ref(&self, node: &Node, token: &str, refspec: &str) -> Push {
        self.set_remote(node, token);
        let ran = self.git(&["push", "tawi", refspec]);
        Push { accepted: ran.status.success(), text: ran.text() }
    }

    /// The remote `tawi` with its password inside: a person would be asked, or keep it in a helper.
    pub fn set_remote(&self, node: &Node, token: &str) {
        let url = format!("http://tawi:{token}@{}/git/{}.git", node.authority(), self.name);
        let verb = if self.git(&["remote"]).ok().stdout.lines().any(|r| r == "tawi") { "set-url" } else { "add" };
        self.git(&["remote", verb, "tawi", &url]).ok();
    }

    /// Pushes, and is live.
    #[track_caller]
    pub fn push(&self, node: &Node) -> Push {
        let push = self.try_push(node);
        assert!(push.accepted, "the push was rejected:\n{push}");
        push
    }

    /// Pushes, and is refused; what git showed must hold every one of `words`.
    #[track_caller]
    pub fn push_refused(&self, node: &Node, words: &[&str]) -> Push {
        let push = self.try_push(node);
        assert!(!push.accepted, "the push was to be refused:\n{push}");
        push.shows(words)
    }

    /// The path of the app's HTTP functions.
    pub fn run_path(&self, rest: &str) -> String {
        format!("/run/{}{rest}", self.name)
    }
}

/// Sets one value of one table of a manifest.
pub fn set(manifest: &mut toml::Table, table: &str, key: &str, value: impl Into<toml::Value>) {
    let table = manifest.entry(table).or_insert_with(|| toml::Table::new().into());
    table.as_table_mut().unwrap().insert(key.to_owned(), value.into());
}

/// Sets one value of every `[[on]]` entry of a manifest.
pub fn set_on(manifest: &mut toml::Table, key: &str, value: impl Into<toml::Value>) {
    let value = value.into();
    for on in manifest["on"].as_array_mut().unwrap() {
        on.as_table_mut().unwrap().insert(key.to_owned(), value.clone());
    }
}

impl Push {
    #[track_caller]
    pub fn shows(self, words: &[&str]) -> Push {
        for word in words {
            assert!(self.text.contains(word), "`{word}` is not in what git showed:\n{self}");
        }
        self
    }
}

impl fmt::Display for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
