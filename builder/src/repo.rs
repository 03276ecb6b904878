//! One app's bare repository, asked through git itself.

use crate::{
    error::BuildError,
    limit::{BuildLimits, GIT_OUTPUT_BYTES_MAX, MAIN, PUSH_BYTES_MAX},
    log::Log,
    process::{self, Ended, Hold, Limit, Stderr, Stdout},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};
use tokio::{process::Command, time::Instant};

/// Where git finds objects that are pushed but not accepted yet.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Quarantine {
    pub objects: Option<PathBuf>,
    pub alternates: Option<String>,
}

/// Names that begin so are no app's: repositories that are not there yet, and those that are there no more.
const NEW: &str = ".new-";
const GONE: &str = ".gone-";

#[derive(Debug, Clone)]
pub struct Repo {
    pub dir: PathBuf,
}

/// One entry of a commit's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    pub size_bytes: u64,
    pub path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Symlink,
    Submodule,
}

/// Settings that hold whatever the machine's or the repository's own say. Objects and refs are synced: a release must not be ahead of
/// its ref after a power cut. Housekeeping runs within the push, so that nobody has to look after it.
fn settings(hooks: Option<&Path>) -> Vec<(&'static str, OsString)> {
    let hooks = hooks.map_or_else(|| OsString::from("/dev/null"), |dir| dir.as_os_str().to_owned());
    vec![
        ("core.hooksPath", hooks),
        ("core.fsync", "objects,derived-metadata,reference".into()),
        ("core.fsmonitor", "false".into()),
        ("safe.directory", "*".into()),
        ("http.receivepack", "true".into()),
        ("receive.maxInputSize", PUSH_BYTES_MAX.to_string().into()),
        ("gc.autoDetach", "false".into()),
        ("maintenance.autoDetach", "false".into()),
        ("advice.detachedHead", "false".into()),
    ]
}

/// git with nothing of the node's environment but the path.
pub fn git(hooks: Option<&Path>) -> Command {
    let mut command = Command::new("git");
    command.env_clear().current_dir("/");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()));
    command.env("HOME", "/nonexistent").env("LC_ALL", "C.UTF-8");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_TERMINAL_PROMPT", "0");
    let settings = settings(hooks);
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (n, (key, value)) in settings.into_iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{n}"), key).env(format!("GIT_CONFIG_VALUE_{n}"), value);
    }
    command
}

impl Repo {
    pub fn exists(&self) -> bool {
        self.dir.join("HEAD").is_file()
    }

    /// Appears whole or not at all.
    pub async fn create(&self) -> io::Result<()> {
        let parent = self.dir.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent)?;
        let scratch = tempfile::Builder::new().prefix(NEW).tempdir_in(parent)?;
        let made = scratch.path().join("repo.git");
        let output = git(None).args(["init", "--quiet", "--bare", "--template=", "--initial-branch=main"]).arg(&made).output().await?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        match fs::rename(&made, &self.dir) {
            // Two first pushes at once: the other one made it.
            Err(_) if self.exists() => Ok(()),
            renamed => renamed.and_then(|()| fs::File::open(parent)?.sync_all()),
        }
    }

    /// Goes whole or not at all: half a repository could neither be pushed to nor made anew. [`clear_leftovers`] takes the rest away.
    pub fn forget(&self) -> io::Result<()> {
        let (parent, name) = (self.dir.parent().unwrap_or(Path::new("/")), self.dir.file_name().unwrap_or_default());
        let gone = parent.join([OsStr::new(GONE), name].into_iter().collect::<OsString>());
        clear(&gone)?;
        match fs::rename(&self.dir, &gone) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        fs::File::open(parent)?.sync_all()?;
        clear(&gone)
    }

    fn git(&self, quarantine: &Quarantine) -> Command {
        let mut command = git(None);
        command.env("GIT_DIR", &self.dir);
        if let Some(objects) = &quarantine.objects {
            command.env("GIT_OBJECT_DIRECTORY", objects);
        }
        if let Some(alternates) = &quarantine.alternates {
            command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", alternates);
        }
        command
    }

    /// The commit that `main` is at.
    pub async fn main(&self) -> Result<Option<String>, BuildError> {
        let mut command = self.git(&Quarantine::default());
        let output = command.args(["for-each-ref", "--format=%(objectname)", MAIN]).output().await;
        let output = output.map_err(|e| BuildError::node("run `git`", e))?;
        if !output.status.success() {
            let why = io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned());
            return Err(BuildError::node("read the repository", why));
        }
        let commit = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok((!commit.is_empty()).then_some(commit))
    }

    pub fn commit<'a>(&'a self, commit: &'a str, quarantine: &'a Quarantine, limits: &'a BuildLimits, log: &'a Log) -> Commit<'a> {
        Commit { repo: self, commit, quarantine, limits, log, deadline: Instant::now() + limits.wall }
    }
}

/// A commit that is about to be built, in quarantine or not.
pub struct Commit<'a> {
    repo: &'a Repo,
    commit: &'a str,
    quarantine: &'a Quarantine,
    limits: &'a BuildLimits,
    log: &'a Log,
    deadline: Instant,
}

impl Commit<'_> {
    async fn ask(&self, command: &mut Command) -> Result<Vec<u8>, BuildError> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let stdout = Stdout::Capture(&mut out, GIT_OUTPUT_BYTES_MAX);
        let ended = process::run(command, Hold::Group, self.limits, self.deadline, self.log, stdout, Stderr::Capture(&mut err)).await;
        match ended.map_err(|e| BuildError::node("run `git`", e))? {
            Ended::Exited(status) if status.success() => Ok(out),
            Ended::Exited(_) => Err(BuildError::new(format!("git could not read the commit: {}", String::from_utf8_lossy(&err).trim()))),
            Ended::Killed(Limit::Output) => Err(BuildError::new("the commit has too many files to list")),
            Ended::Killed(limit) => Err(BuildError::new(format!("git was stopped while it read the commit ({limit:?})"))),
        }
    }

    fn git(&self, arguments: &[&str]) -> Command {
        let mut command = self.repo.git(self.quarantine);
        command.args(arguments);
        command
    }

    /// The first line of the message.
    pub async fn summary(&self) -> Result<String, BuildError> {
        let out = self.ask(&mut self.git(&["log", "-1", "--format=%s", self.commit, "--"])).await?;
        let text = String::from_utf8_lossy(&out);
        Ok(text.trim().chars().filter(|c| !c.is_control()).take(200).collect())
    }

    /// Every file, by the path it has in the commit.
    pub async fn entries(&self) -> Result<Vec<Entry>, BuildError> {
        let out = self.ask(&mut self.git(&["ls-tree", "-r", "-z", "--long", "--full-tree", self.commit])).await?;
        let garbled = || BuildError::new("git lists the commit in a way the node does not understand");
        out.split(|byte| *byte == 0).filter(|line| !line.is_empty()).map(|line| entry(line).ok_or_else(garbled)).collect()
    }

    /// The content of one file of the commit.
    pub async fn read(&self, path: &str) -> Result<Vec<u8>, BuildError> {
        self.ask(&mut self.git(&["cat-file", "blob", &format!("{}:{path}", self.commit)])).await
    }

    /// Makes `dir` hold the commit's files and nothing else. Files that were the same before keep their times, so that cargo compiles
    /// only what has changed.
    pub async fn check_out(&self, dir: &Path, index: &Path) -> Result<(), BuildError> {
        // Where the node stopped in the middle; the app's lock says that nobody else is at work.
        let _ = fs::remove_file(index.with_extension("lock"));
        let updated = match self.update(dir, index).await {
            Ok(()) => Ok(()),
            // Whatever a build did to its directory, the next one starts afresh.
            Err(_) => {
                let cleared = clear(dir).and_then(|()| clear(index));
                cleared.map_err(|e| BuildError::node("clear the build directory", e))?;
                self.update(dir, index).await
            }
        };
        updated.map_err(|e| BuildError { message: format!("could not check out the commit: {}", e.message), ..e })
    }

    async fn update(&self, dir: &Path, index: &Path) -> Result<(), BuildError> {
        let plain = fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir());
        if !plain {
            clear(dir).and_then(|()| fs::create_dir_all(dir)).map_err(|e| BuildError::node("make the build directory", e))?;
        }
        for arguments in [&["read-tree", "--reset", "-u", self.commit][..], &["clean", "-ffdxq"]] {
            let mut command = self.git(arguments);
            command.env("GIT_WORK_TREE", dir).env("GIT_INDEX_FILE", index).current_dir(dir);
            self.ask(&mut command).await?;
        }
        Ok(())
    }
}

/// What a crash left of repositories that were being made or deleted.
pub fn clear_leftovers(repos: &Path) -> io::Result<()> {
    let names = match fs::read_dir(repos) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()?,
    };
    let is_left = |name: &OsString| [NEW, GONE].iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
    names.iter().filter(|name| is_left(name)).try_for_each(|name| clear(&repos.join(name)))
}

pub fn clear(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// `MODE TYPE OBJECT SIZE\tPATH`
fn entry(line: &[u8]) -> Option<Entry> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let head = std::str::from_utf8(&line[..tab]).ok()?;
    let mut fields = head.split_ascii_whitespace();
    let kind = match fields.next()? {
        "120000" => Kind::Symlink,
        "160000" => Kind::Submodule,
        _ => Kind::File,
    };
    let size_bytes = fields.nth(2)?.parse().unwrap_or(0);
    Some(Entry { kind, size_bytes, path: PathBuf::from(OsString::from_vec(line[tab + 1..].to_vec())) })
}

/// Whether a name in a path is this one, on file systems too that do not tell case apart.
pub fn is_named(part: &OsStr, name: &str) -> bool {
    part.eq_ignore_ascii_case(name)
}
