//! `tawi.toml`: what an app handles, what it is granted, what it may use. Checked with line and column.

use super::{
    id::{AppId, Id},
    subject::Pattern,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// A checked manifest. It is stored with the release, so its serde form is a format (`docs/formats/release.md`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub app: Id,
    pub functions: Vec<Function>,
    pub grant: Grant,
    pub limits: Limits,
    pub build: Build,
    /// Defaults for the config capability; `tawi config set` goes over them.
    pub config: BTreeMap<String, String>,
}

/// One `[[on]]` entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    pub name: Id,
    pub trigger: Trigger,
    pub timeout: Duration,
    pub retry: Retry,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Trigger {
    /// Every event whose subject matches.
    Event { subject: Pattern, order: Order },
    /// Requests under `/run/APP` + `path` (a prefix that ends at a `/`), the longest path first.
    Http { path: String, auth: Auth },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Events of one key one after another, across retries.
    Device,
    /// Whatever comes, at once.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    Public,
    Token,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    Linear,
    Exponential,
}

/// In Knative's words where they exist: `retry`, `backoff-policy`, `backoff-delay`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, the first included; after the last, the dead letters.
    pub attempts_max: u32,
    pub backoff: Backoff,
    pub delay: Duration,
    pub delay_max: Duration,
}

/// What the app may import, and use it on. Nothing is granted that is not named.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    pub publish: Vec<Pattern>,
    /// Device ids, or `*`.
    pub command: Vec<String>,
    pub state: bool,
    pub history: bool,
    pub config: bool,
    pub secrets: Vec<String>,
    /// Hosts for outbound HTTP: `api.example.com`, `*.example.com`, `host:8443`.
    pub http: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Linear memory of one call.
    pub memory_bytes: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// A component in the repository, deployed as it is.
    pub component: Option<String>,
    /// The crate to build in a workspace of several.
    pub package: Option<String>,
}

pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
pub const TIMEOUT_MAX: Duration = Duration::from_secs(300);
pub const MEMORY_BYTES_DEFAULT: usize = 64 << 20;
pub const MEMORY_BYTES_MAX: usize = 256 << 20;
pub const ATTEMPTS_MAX: u32 = 100;
pub const FUNCTIONS_MAX: usize = 32;
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;

impl Default for Retry {
    fn default() -> Retry {
        Retry { attempts_max: 5, backoff: Backoff::Exponential, delay: Duration::from_secs(1), delay_max: Duration::from_secs(300) }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory_bytes: MEMORY_BYTES_DEFAULT }
    }
}

impl Manifest {
    pub fn app_id(&self, tenant: &Id) -> AppId {
        AppId::new(tenant.clone(), self.app.clone())
    }

    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|f| f.name.as_str() == name)
    }
}
