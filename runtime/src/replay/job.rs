//! One replay as it is kept: what was asked for, and how far it has come.

use super::Failure;
use crate::model::{AppId, Id, Micros, Seq};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const FILE: &str = "job.json";
const LAST: &str = "last";

/// What somebody wants to have run again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    pub app: AppId,
    pub function: Id,
    pub release: u64,
    /// Measured at or after this, and before that.
    pub from: Option<Micros>,
    pub to: Option<Micros>,
    /// As if each reading had been received when it was measured: for what was imported.
    #[serde(default)]
    pub by_measured: bool,
    /// Whose the app was: with her eyes it sees. None: with all eyes.
    #[serde(default)]
    pub owner: Option<Id>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Waiting,
    Running,
    Done,
    Failed(String),
}

/// A replay. It survives its node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub number: u64,
    pub wanted: Wanted,
    pub state: State,
    pub created: Micros,
    pub ended: Option<Micros>,
    /// The end of the log when it was asked for.
    pub last: Seq,
    /// Everything up to here was looked at.
    pub through: Seq,
    /// Lines and bytes of its output so far, and how many of the lines say that a call failed.
    pub lines: u64,
    pub failed: u64,
    pub bytes: u64,
}

impl Job {
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Failed(_))
    }

    /// Durable when it returns. Blocks.
    pub fn write(&self, dir: &Path) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(self).map_err(io::Error::from);
        bytes.and_then(|bytes| replace(&dir.join(FILE), &bytes)).map_err(|source| Failure::file("write", dir.join(FILE), source))
    }

    /// There is no replay there any more. Blocks.
    pub fn unmake(dir: &Path) -> io::Result<()> {
        fs::remove_file(dir.join(FILE))
    }

    /// None where there is no replay that was begun whole. Blocks.
    pub fn read(dir: &Path) -> Result<Option<Job>, Failure> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => {
                let job = read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from));
                job.map(Some).map_err(|source| Failure::file("read", path, source))
            }
        }
    }
}

/// Whatever happens, there is the old content or this.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    io::Write::write_all(&mut file, bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_dir(dir)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// The highest number that was given. A number is never given twice, whatever became of its replay.
pub(super) fn last_number(dir: &Path) -> u64 {
    let said = fs::read_to_string(dir.join(LAST)).ok().and_then(|text| text.trim().parse().ok());
    said.unwrap_or(0)
}

pub(super) fn set_last_number(dir: &Path, number: u64) -> Result<(), Failure> {
    replace(&dir.join(LAST), number.to_string().as_bytes()).map_err(|source| Failure::file("write", dir.join(LAST), source))
}

/// Those of a folder, in their order, and what is left of those that were not begun whole.
pub(super) fn numbered(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir()
            && let Some(number) = path.file_name().and_then(|name| name.to_str()?.parse().ok())
        {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}
