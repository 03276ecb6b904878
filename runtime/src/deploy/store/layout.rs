//! Where things are below the data directory, and the form of each file (`docs/formats/release.md`, `docs/formats/artifact.md`).

use super::{Draft, StoreError};
use crate::model::{AppId, Digest, Id, Release};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The format that this version writes, and the only one there has been.
const FORMAT: u32 = 1;

pub const CURRENT: &str = "current";
pub const CONFIG: &str = "config.json";
pub const SECRETS: &str = "secrets.json";
pub const RELEASES: &str = "releases";
pub const STAGED: &str = "staged";
/// An app with this file is deleted, whatever else is still there.
pub const DELETED: &str = "deleted";

#[derive(Debug)]
pub struct Layout {
    pub root: PathBuf,
}

impl Layout {
    pub fn apps(&self) -> PathBuf {
        self.root.join("apps")
    }

    /// Ids are written as tokens, so that `..` is a name like any other.
    pub fn app(&self, app: &AppId) -> PathBuf {
        self.apps().join(app.tenant.to_token()).join(app.app.to_token())
    }

    pub fn release(&self, app: &AppId, number: u64) -> PathBuf {
        self.app(app).join(RELEASES).join(format!("{number}.json"))
    }

    pub fn staged(&self, app: &AppId, commit: &str) -> PathBuf {
        self.app(app).join(STAGED).join(format!("{commit}.json"))
    }

    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts").join("sha256")
    }

    pub fn artifact(&self, digest: &Digest) -> PathBuf {
        self.artifacts().join(format!("{}.wasm", digest.hex()))
    }

    pub fn cache(&self, digest: &Digest, compatibility: &str) -> PathBuf {
        self.artifacts().join(format!("{}.{}.cwasm", digest.hex(), plain(compatibility)))
    }
}

/// An engine's compatibility key as a part of a file name.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect()
}

/// The app whose directory has these names; none when no app of ours is written like that.
pub fn app_of(tenant: &str, app: &str) -> Option<AppId> {
    let id = AppId::new(Id::from_token(tenant).ok()?, Id::from_token(app).ok()?);
    (id.tenant.to_token() == tenant && id.app.to_token() == app).then_some(id)
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    format: u32,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize, Deserialize)]
pub struct Entries {
    pub entries: BTreeMap<String, String>,
}

pub fn write<T: Serialize>(body: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec_pretty(&Versioned { format: FORMAT, body })?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn read<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, StoreError> {
    let corrupt = |why: String| StoreError::Corrupt { path: path.to_owned(), why };
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let head: Head = serde_json::from_slice(bytes).map_err(|e| corrupt(e.to_string()))?;
    if head.format != FORMAT {
        return Err(corrupt(format!("format {} is not known to this version, which reads {FORMAT}", head.format)));
    }
    let file: Versioned<T> = serde_json::from_slice(bytes).map_err(|e| corrupt(e.to_string()))?;
    Ok(file.body)
}

pub fn read_release(path: &Path, bytes: &[u8]) -> Result<Release, StoreError> {
    read(path, bytes)
}

pub fn read_draft(path: &Path, bytes: &[u8]) -> Result<Draft, StoreError> {
    read(path, bytes)
}

pub fn read_entries(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, String>, StoreError> {
    read::<Entries>(path, bytes).map(|file| file.entries)
}

pub fn read_current(path: &Path, bytes: &[u8]) -> Result<u64, StoreError> {
    let number = std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| StoreError::Corrupt { path: path.to_owned(), why: "not the number of a release".to_owned() })
}
