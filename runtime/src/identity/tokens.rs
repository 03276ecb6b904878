//! The file of tokens: hashes, never secrets.

use super::{
    file,
    policy::{Identity, Role},
    secret::{self, Hash},
};
use crate::model::{Micros, Tenant};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::watch;

const FILE: &str = "tokens.json";
const FORMAT: u32 = 1;
/// Every check looks at all of them, so that its time says nothing about which one was right.
pub const TOKENS_MAX: usize = 1_000;
/// A name is for people: long enough for `ci of the northern farm`.
const NAME_BYTES_MAX: usize = 128;

/// A token as it may be shown: without its hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    pub id: String,
    pub name: String,
    pub tenant: Tenant,
    #[serde(flatten)]
    pub role: Role,
    pub created: Micros,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    token: Token,
    hash: Hash,
}

#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    format: u32,
    tokens: Vec<Record>,
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("can't {0} `{1}`")]
    Io(&'static str, PathBuf, #[source] io::Error),
    #[error("`{0}` is not a file of tokens")]
    Parse(PathBuf, #[source] serde_json::Error),
    #[error("`{0}` has format {1}, this version reads {FORMAT}")]
    Format(PathBuf, u32),
    #[error("`{0}` is not a node's secret; a backup of the folder has it")]
    Secret(PathBuf, #[source] io::Error),
    #[error("no randomness for a new token or secret")]
    Random(#[source] getrandom::Error),
    #[error("a token's name has 1 to {NAME_BYTES_MAX} bytes and no control characters")]
    Name,
    #[error("there are {TOKENS_MAX} tokens already; revoke one first")]
    TooMany,
    #[error("`{0}` is the last admin token of `{1}`: without it nobody could make another")]
    LastAdmin(String, Tenant),
}

/// All tokens of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokens {
    path: Arc<Path>,
    records: Arc<RwLock<Vec<Record>>>,
    /// Grows by one whenever a token is revoked.
    revoked: Arc<watch::Sender<u64>>,
}

impl Tokens {
    /// Reads `DIR/tokens.json`; a missing file is a node without tokens.
    pub fn open(dir: &Path) -> Result<Tokens, IdentityError> {
        let path = dir.join(FILE);
        let records = match std::fs::read(&path) {
            Ok(bytes) => {
                let contents: Contents = serde_json::from_slice(&bytes).map_err(|e| IdentityError::Parse(path.clone(), e))?;
                if contents.format != FORMAT {
                    return Err(IdentityError::Format(path, contents.format));
                }
                contents.tokens
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(IdentityError::Io("read", path, e)),
        };
        Ok(Tokens { path: path.into(), records: Arc::new(RwLock::new(records)), revoked: Arc::default() })
    }

    /// Makes a token and answers with its secret, which nobody can ask for again.
    pub fn create(&self, tenant: &Tenant, name: &str, role: Role, now: Micros) -> Result<(Token, String), IdentityError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(IdentityError::Name);
        }
        let text = secret::generate().map_err(IdentityError::Random)?;
        let id = secret::short_id().map_err(IdentityError::Random)?;
        let token = Token { id, name: name.to_owned(), tenant: tenant.clone(), role, created: now };
        let mut records = self.records.write();
        if records.len() >= TOKENS_MAX {
            return Err(IdentityError::TooMany);
        }
        let mut next = records.clone();
        next.push(Record { token: token.clone(), hash: Hash::of(&text) });
        self.write(&next)?;
        *records = next;
        Ok((token, text))
    }

    /// The first start of a node: an admin token, if the tenant has none yet.
    pub fn first_admin(&self, tenant: &Tenant, now: Micros) -> Result<Option<String>, IdentityError> {
        if self.records.read().iter().any(|r| r.token.tenant == *tenant && r.token.role == Role::Admin) {
            return Ok(None);
        }
        self.create(tenant, "first admin", Role::Admin, now).map(|(_, secret)| Some(secret))
    }

    /// Who shows this secret; `None` for nobody we know.
    pub fn check(&self, shown: &str) -> Option<Identity> {
        let shown = Hash::of(shown);
        let records = self.records.read();
        let found = records.iter().fold(None, |found, record| if record.hash.equals(&shown) { Some(record) } else { found });
        let token = &found?.token;
        Some(Identity { tenant: token.tenant.clone(), token: token.id.clone(), name: token.name.clone(), role: token.role.clone() })
    }

    /// Whether the token that somebody came in with is still one: for who stays long.
    pub fn is_valid(&self, who: &Identity) -> bool {
        self.records.read().iter().any(|r| r.token.tenant == who.tenant && r.token.id == who.token)
    }

    /// Whoever listens to [`Tokens::revocations`] looks again.
    pub(super) fn something_changed(&self) {
        self.revoked.send_modify(|count| *count += 1);
    }

    /// Changes whenever a token is revoked.
    pub fn revocations(&self) -> watch::Receiver<u64> {
        self.revoked.subscribe()
    }

    pub fn list(&self, tenant: &Tenant) -> Vec<Token> {
        self.records.read().iter().filter(|r| r.token.tenant == *tenant).map(|r| r.token.clone()).collect()
    }

    /// Forgets the token with this id. `false`: there is none.
    pub fn revoke(&self, tenant: &Tenant, id: &str) -> Result<bool, IdentityError> {
        let mut records = self.records.write();
        let Some(at) = records.iter().position(|r| r.token.tenant == *tenant && r.token.id == id) else { return Ok(false) };
        let admins = records.iter().filter(|r| r.token.tenant == *tenant && r.token.role == Role::Admin).count();
        if records[at].token.role == Role::Admin && admins == 1 {
            return Err(IdentityError::LastAdmin(id.to_owned(), tenant.clone()));
        }
        let mut next = records.clone();
        next.remove(at);
        self.write(&next)?;
        *records = next;
        drop(records);
        self.something_changed();
        Ok(true)
    }

    fn write(&self, records: &[Record]) -> Result<(), IdentityError> {
        let contents = Contents { format: FORMAT, tokens: records.to_vec() };
        let text = serde_json::to_vec_pretty(&contents).map_err(|e| IdentityError::Parse(self.path.to_path_buf(), e))?;
        file::replace(&self.path, &text).map_err(|e| IdentityError::Io("write", self.path.to_path_buf(), e))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::id::default_tenant;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_admin_token_is_made_once_and_works_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let tenant = default_tenant();
        let secret = Tokens::open(dir.path()).unwrap().first_admin(&tenant, Micros(1)).unwrap().unwrap();
        let again = Tokens::open(dir.path()).unwrap();
        assert_eq!(again.first_admin(&tenant, Micros(2)).unwrap(), None);
        assert_eq!(again.check(&secret).unwrap().role, Role::Admin);
        assert_eq!(again.check("tawi_wrong"), None);
    }

    #[test]
    fn the_file_holds_no_secret_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(dir.path()).unwrap();
        let (_, secret) = tokens.create(&default_tenant(), "ci", Role::Read, Micros(1)).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&secret));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn a_revoked_token_is_nobody_and_the_last_admin_stays() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(dir.path()).unwrap();
        let tenant = default_tenant();
        let admin = tokens.create(&tenant, "me", Role::Admin, Micros(1)).unwrap().0;
        let (device, secret) = tokens.create(&tenant, "fridge1", Role::Send, Micros(1)).unwrap();
        assert!(tokens.revoke(&tenant, &device.id).unwrap());
        assert!(!tokens.revoke(&tenant, &device.id).unwrap());
        assert_eq!(tokens.check(&secret), None);
        assert!(matches!(tokens.revoke(&tenant, &admin.id), Err(IdentityError::LastAdmin(..))));
    }

    #[test]
    fn a_token_of_another_tenant_is_out_of_sight() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(dir.path()).unwrap();
        let other = Tenant::new("north").unwrap();
        let (token, secret) = tokens.create(&other, "me", Role::Admin, Micros(1)).unwrap();
        assert!(tokens.list(&default_tenant()).is_empty());
        assert!(!tokens.revoke(&default_tenant(), &token.id).unwrap());
        assert_eq!(tokens.check(&secret).unwrap().tenant, other);
    }

    #[test]
    fn a_damaged_file_stops_the_node_instead_of_opening_it_to_everybody() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(matches!(Tokens::open(dir.path()), Err(IdentityError::Parse(..))));
        std::fs::write(dir.path().join(FILE), r#"{"format":9,"tokens":[]}"#).unwrap();
        assert!(matches!(Tokens::open(dir.path()), Err(IdentityError::Format(_, 9))));
    }
}
