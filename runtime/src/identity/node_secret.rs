//! What makes this node's choices unknown to others: 32 bytes, made once.

use super::{IdentityError, file};
use crate::model::Digest;
use serde::{Deserialize, Serialize};
use std::{io, path::Path};

const FILE: &str = "secret.json";
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Contents {
    format: u32,
    /// 64 hex digits, after a word that says what they are.
    secret: String,
}

/// Reads `DIR/secret.json`, or makes it. One that can't be read stops the node: a new one would make every call that is run again
/// another call.
pub fn node_secret(dir: &Path) -> Result<[u8; 32], IdentityError> {
    let path = dir.join(FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return make(&path),
        Err(e) => return Err(IdentityError::Io("read", path, e)),
    };
    let contents: Contents = serde_json::from_slice(&bytes).map_err(|e| IdentityError::Secret(path.clone(), e.into()))?;
    if contents.format != FORMAT {
        return Err(IdentityError::Format(path, contents.format));
    }
    let secret: Digest = contents.secret.parse().map_err(|e| IdentityError::Secret(path, io::Error::other(e)))?;
    Ok(secret.0)
}

fn make(path: &Path) -> Result<[u8; 32], IdentityError> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(IdentityError::Random)?;
    // The hash of 32 random bytes is as good as they are, and its text has a form already.
    let secret = Digest::of(&random);
    let contents = Contents { format: FORMAT, secret: secret.to_string() };
    let text = serde_json::to_vec(&contents).map_err(|e| IdentityError::Secret(path.to_owned(), e.into()))?;
    file::replace(path, &text).map_err(|e| IdentityError::Io("write", path.to_owned(), e))?;
    Ok(secret.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_secret_is_made_once_and_only_its_owner_reads_it() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = node_secret(one.path()).unwrap();
        assert_eq!(node_secret(one.path()).unwrap(), secret);
        assert_ne!(node_secret(other.path()).unwrap(), secret);
        assert_eq!(std::fs::metadata(one.path().join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_secret_that_can_not_be_read_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["{", r#"{"format":1,"secret":"sha256:0123"}"#, r#"{"format":2,"secret":""}"#] {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            let error = node_secret(dir.path()).unwrap_err().to_string();
            assert!(error.contains(FILE), "{error}");
            assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), text);
        }
    }
}
