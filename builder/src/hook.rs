//! The conversation between git's hooks and the node, and the hook's side of it.
//!
//! git runs a hook as a process of its own; it connects to the node's socket, says in one line of JSON which push it belongs to, what
//! would change and where the pushed objects are, then prints the lines that come back until the verdict. If the pusher goes away, git
//! and with it the hook are killed, the node sees the connection close, and gives up the build.

use crate::repo::Quarantine;
use serde::{Deserialize, Serialize};
use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What the node tells a hook by way of git's environment.
pub const SOCKET_VARIABLE: &str = "TAWI_HOOK_SOCKET";
pub const PUSH_VARIABLE: &str = "TAWI_PUSH";
pub const PROGRAM_VARIABLE: &str = "TAWI_HOOK_PROGRAM";
pub const ARGUMENTS_VARIABLE: &str = "TAWI_HOOK_ARGUMENTS";

/// Written once for all repositories. The program is named by the node that runs git, so that it is the node's own version.
const SCRIPT: &str =
    "#!/bin/sh\n# Written by tawi. Arguments are split at spaces on purpose.\nexec \"$TAWI_HOOK_PROGRAM\" $TAWI_HOOK_ARGUMENTS NAME\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    PreReceive,
    PostReceive,
}

impl Stage {
    const ALL: [(Stage, &'static str); 2] = [(Stage::PreReceive, "pre-receive"), (Stage::PostReceive, "post-receive")];
}

/// One line, from the hook to the node.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub push: String,
    pub stage: Stage,
    pub updates: Vec<Update>,
    pub quarantine: Quarantine,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// None: the ref is new.
    pub old: Option<String>,
    /// None: it is to be deleted.
    pub new: Option<String>,
    pub name: String,
}

/// One line, from the node to the hook.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Line(String),
    /// Whether the push goes on; the last one.
    Verdict(bool),
}

/// Writes the hooks into `dir`.
pub fn install(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for (_, name) in Stage::ALL {
        let file = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempfile_in(dir)?;
        file.as_file().write_all(SCRIPT.replace("NAME", name).as_bytes())?;
        file.persist(dir.join(name)).map_err(|e| e.error)?;
    }
    Ok(())
}

/// The path of a socket can't have more than about a hundred bytes, wherever the data directory is: longer ones are reached through
/// the opened directory.
fn reach(socket: &Path) -> io::Result<(PathBuf, Option<fs::File>)> {
    use std::os::fd::AsRawFd;
    if socket.as_os_str().len() < 100 {
        return Ok((socket.to_owned(), None));
    }
    let dir = fs::File::open(socket.parent().unwrap_or(Path::new("/")))?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(socket.file_name().unwrap_or_default());
    Ok((short, Some(dir)))
}

/// The node's side of the socket, in a directory that only the node's user may enter.
pub fn listen(socket: &Path) -> io::Result<UnixListener> {
    let dir = socket.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    crate::repo::clear(socket)?;
    let (path, _dir) = reach(socket)?;
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What a hook process does: `tawi __hook pre-receive` and the like. Prints to standard error, which git sends to the pusher.
pub fn hook_main() -> ExitCode {
    match talk() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: no word from the node: {error}\nhint: nothing was changed; push again when it is up");
            ExitCode::FAILURE
        }
    }
}

fn talk() -> io::Result<bool> {
    let name = env::args().next_back().unwrap_or_default();
    let stage = Stage::ALL.iter().find(|(_, known)| *known == name).ok_or_else(|| io::Error::other(format!("`{name}` is no hook")))?.0;
    let variable = |name: &str| env::var_os(name).ok_or_else(|| io::Error::other(format!("`{name}` is not set; only the node runs this")));
    let (socket, push) = (PathBuf::from(variable(SOCKET_VARIABLE)?), variable(PUSH_VARIABLE)?.to_string_lossy().into_owned());
    let mut lines = String::new();
    io::stdin().read_to_string(&mut lines)?;
    let quarantine = Quarantine {
        objects: env::var_os("GIT_OBJECT_DIRECTORY").map(PathBuf::from),
        alternates: env::var("GIT_ALTERNATE_OBJECT_DIRECTORIES").ok(),
    };
    let request = Request { push, stage, updates: lines.lines().filter_map(update).collect(), quarantine };

    let (path, _dir) = reach(&socket)?;
    let mut stream = UnixStream::connect(path)?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line?)? {
            Answer::Verdict(go_on) => return Ok(go_on),
            Answer::Line(text) => writeln!(io::stderr(), "{text}")?,
        }
    }
    Err(io::Error::other("it stopped in the middle"))
}

/// `OLD NEW REF`, all zeros for none.
fn update(line: &str) -> Option<Update> {
    let mut fields = line.splitn(3, ' ');
    let (old, new, name) = (fields.next()?, fields.next()?, fields.next()?);
    let some = |id: &str| (!id.bytes().all(|byte| byte == b'0')).then(|| id.to_owned());
    Some(Update { old: some(old), new: some(new), name: name.to_owned() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_reached_however_long_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120)).join("hook.sock");
        let listener = listen(&deep).unwrap();
        let (path, _dir) = reach(&deep).unwrap();
        UnixStream::connect(path).unwrap();
        listener.accept().unwrap();
        drop(listen(&deep).unwrap());
    }

    #[test]
    fn gits_zeros_are_nothing() {
        let zeros = "0".repeat(40);
        let made = update(&format!("{zeros} 1234 refs/heads/a b")).unwrap();
        assert_eq!(made, Update { old: None, new: Some("1234".into()), name: "refs/heads/a b".into() });
        assert_eq!(update(&format!("1234 {zeros} refs/heads/a")).unwrap().new, None);
    }
}
