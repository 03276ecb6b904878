//! Names of tenants, devices, sensors, apps and functions.

use super::limit::ID_BYTES_MAX;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, sync::Arc};

/// 1 to 128 bytes of UTF-8 without control characters, white space and `/ + # * >`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(Arc<str>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("an id can't be empty")]
    Empty,
    #[error("an id has at most {ID_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    #[error("`{1}` can't stand in an id (`{0}`): no control characters, white space or any of `/ + # * >`")]
    Character(String, char),
}

impl Id {
    pub fn new(text: &str) -> Result<Id, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if text.len() > ID_BYTES_MAX {
            return Err(IdError::TooLong(text.len()));
        }
        let bad = |c: &char| c.is_control() || c.is_whitespace() || "/+#*>".contains(*c);
        match text.chars().find(bad) {
            Some(c) => Err(IdError::Character(text.to_owned(), c)),
            None => Ok(Id(text.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as one token of a subject: `%` and `.` percent-encoded, so that it can be read back.
    pub fn to_token(&self) -> String {
        self.0.replace('%', "%25").replace('.', "%2E")
    }

    /// The id that [`Id::to_token`] wrote.
    pub fn from_token(token: &str) -> Result<Id, IdError> {
        Id::new(&percent_encoding::percent_decode_str(token).decode_utf8_lossy())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Id {
    type Error = IdError;
    fn try_from(text: String) -> Result<Id, IdError> {
        Id::new(&text)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0.to_string()
    }
}

/// One organisation's world; part of every key, path and token.
pub type Tenant = Id;

/// The tenant of a node that was told of no other.
pub const TENANT_DEFAULT: &str = "main";

pub fn default_tenant() -> Tenant {
    Id(TENANT_DEFAULT.into())
}

/// One repository, one component, one state namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppId {
    pub tenant: Tenant,
    pub app: Id,
}

impl AppId {
    pub fn new(tenant: Tenant, app: Id) -> AppId {
        AppId { tenant, app }
    }

    /// App names become host names, paths and git repositories: lower-case letters, digits and inner hyphens, at most 63.
    pub fn check_name(name: &str) -> Result<Id, String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 63 || !name.chars().all(plain) || name.starts_with('-') || name.ends_with('-') {
            return Err(format!(
                "`{}` is not an app name: 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end",
                name.chars().take(80).collect::<String>()
            ));
        }
        Id::new(name).map_err(|e| e.to_string())
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.app)
    }
}

/// One `[[on]]` entry of an app: one consumer of the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FunctionId {
    pub app: AppId,
    pub function: Id,
}

impl FunctionId {
    /// Where what makes this function's triggers of time has its place in the ledger: under a name that no app has.
    pub fn evaluator(&self) -> FunctionId {
        self.behind(EVALUATOR)
    }

    /// Where what makes the readings of derived sensors has its place, under the name of its rule.
    pub fn deriver(&self) -> FunctionId {
        self.behind(DERIVER)
    }

    fn behind(&self, prefix: &str) -> FunctionId {
        // A name of an app and one of a function may together be longer than an id.
        let digest = Sha256::digest(self.function.as_str().as_bytes());
        let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("{prefix}{}.{short}", self.app.app);
        let app = Id::new(&name).unwrap_or_else(|_| self.app.app.clone());
        FunctionId { app: AppId::new(self.app.tenant.clone(), app), function: self.function.clone() }
    }

    /// The function whose triggers of time this makes, if it is what makes some.
    pub fn evaluates(&self) -> Option<FunctionId> {
        self.before(EVALUATOR)
    }

    /// The rule whose readings this makes, if it is what makes some.
    pub fn derives(&self) -> Option<FunctionId> {
        self.before(DERIVER)
    }

    fn before(&self, prefix: &str) -> Option<FunctionId> {
        let (app, _) = self.app.app.as_str().strip_prefix(prefix)?.rsplit_once('.')?;
        let app = AppId::new(self.app.tenant.clone(), Id::new(app).ok()?);
        Some(FunctionId { app, function: self.function.clone() })
    }

    /// As people know it: what makes a function's triggers, or a rule's readings, under the name of those.
    pub fn shown(&self) -> FunctionId {
        self.evaluates().or_else(|| self.derives()).unwrap_or_else(|| self.clone())
    }
}

/// Before the name of an app, which has no `~`.
const EVALUATOR: &str = "~time.";
const DERIVER: &str = "~made.";

impl fmt::Display for FunctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.function)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_a_functions_triggers_is_known_by_it_and_is_no_app() {
        let name = |text: &str| Id::new(text).unwrap();
        let function = |app: &str, name_: &str| FunctionId { app: AppId::new(default_tenant(), name(app)), function: name(name_) };
        let long = function(&"a".repeat(63), &"\u{e9}".repeat(64));
        for id in [function("pond-watch", "daily"), function("pond-watch", "a.b"), long] {
            assert_eq!(id.evaluator().evaluates(), Some(id.clone()));
            assert_eq!((id.deriver().derives(), id.deriver().evaluates()), (Some(id.clone()), None));
            assert_eq!(id.evaluates(), None);
            assert!(AppId::check_name(id.evaluator().app.app.as_str()).is_err());
        }
        assert_ne!(function("a", "f").evaluator().app, function("a", "g").evaluator().app);
    }

    #[test]
    fn an_id_with_dots_survives_a_subject() {
        let id = Id::new("gw.7%2E").unwrap();
        assert!(!id.to_token().contains('.'));
        assert_eq!(Id::from_token(&id.to_token()).unwrap(), id);
    }

    #[test]
    fn wildcards_and_spaces_are_refused_by_name() {
        for text in ["a b", "a/b", "a+", "#", "*", ">", "a\n"] {
            assert!(matches!(Id::new(text), Err(IdError::Character(..))), "{text:?}");
        }
        assert_eq!(Id::new(""), Err(IdError::Empty));
        assert_eq!(Id::new(&"x".repeat(129)), Err(IdError::TooLong(129)));
        assert!(Id::new(&"é".repeat(64)).is_ok());
    }
}
