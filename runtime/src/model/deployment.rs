//! Artifacts and releases: what is deployed, by content, never changed.

use super::{manifest::Manifest, time::Micros};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// SHA-256 of a component's bytes; written `sha256:<64 hex digits>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest: `sha256:` and 64 hex digits")]
pub struct DigestError(String);

impl Digest {
    pub fn of(bytes: &[u8]) -> Digest {
        use sha2::Digest as _;
        Digest(sha2::Sha256::digest(bytes).into())
    }

    pub fn hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let wrong = || DigestError(text.chars().take(80).collect());
        let hex = text.strip_prefix("sha256:").filter(|h| h.len() == 64 && h.is_ascii()).ok_or_else(wrong)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Digest(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Digest, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// One immutable generation of an app. Number 1 is the first; a rollback makes a new one of an old artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    pub number: u64,
    pub artifact: Digest,
    pub manifest: Manifest,
    /// The commit it was built from, 40 hex digits.
    pub commit: String,
    /// The first line of the commit's message.
    pub summary: String,
    pub created: Micros,
    /// The release whose artifact and manifest this one took over.
    pub rollback_of: Option<u64>,
}
