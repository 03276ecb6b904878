//! `tawi.toml`: what an app handles, what it is granted, what it may use. Checked with line and column.

use super::{
    id::{AppId, Id},
    selector::Selector,
    subject::Pattern,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

mod clean;
mod delivery;
mod grant;
mod limits;
mod parse;
mod problem;
pub(super) mod quantity;
pub mod rule;
mod schedule;
mod section;
mod source;
mod timed;

pub use clean::{CLEAN_MAX, CheckRules, Clean, RuleError};
pub use delivery::{BackoffPolicy, Delivery, RETRY_AFTER_MAX, RETRY_MAX};
pub use grant::{Reach, default_port};
pub use limits::{
    CPU_DEFAULT, CPU_MIN, Limits, MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, OUTPUT_BYTES_DEFAULT, OUTPUT_BYTES_MAX,
    REUSE_MAX,
};
pub use parse::check_host;
pub use problem::{ManifestError, Problem};
pub use quantity::duration;
pub use rule::{Difference, Fill, MISSED_ALL_MAX, Method, Missed, Per, Rule, Schedule, Shape, Threshold, Window};
pub use schedule::{CRON_BYTES_MAX, Unkept};
pub use source::{SOURCES_MAX, Source, SourceKind, Verify, secrets_in};
pub use timed::{
    AHEAD_SECONDS_MAX, BATCH_READINGS_MAX, BATCH_SECONDS_MAX, EVERY_MAX, JITTER_SECONDS_MAX, LATENESS_SECONDS_MAX, PERCENTILES_MAX,
    WINDOW_OVERLAP_MAX, WINDOW_SECONDS_MAX, WINDOW_SECONDS_MIN,
};

/// A document of TOML as JSON, for what is sent as that. Why not, with the line.
pub fn toml_to_json(text: &str) -> Result<serde_json::Value, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    serde_json::to_value(table).map_err(|error| error.to_string())
}

/// A checked manifest. It is stored with the release, so its serde form is a format (`docs/formats/release.md`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub app: Id,
    pub functions: Vec<Function>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<Codec>,
    /// Values from elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// What is done to readings before anybody sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clean: Vec<Clean>,
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
    #[serde(rename = "timeout_ms", with = "quantity::millis")]
    pub timeout: Duration,
    /// Stored under the name it had first.
    #[serde(rename = "retry")]
    pub delivery: Delivery,
    /// Calls that one instance may serve, one after another; 1: each has a fresh one.
    #[serde(default = "limits::reuse_default", skip_serializing_if = "limits::is_fresh")]
    pub reuse: u32,
    /// What it publishes, of what the app is granted; none: all of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<Vec<Pattern>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
// There are some dozens in memory, and each is looked at far more often than it is moved.
#[allow(clippy::large_enum_variant)]
pub enum Trigger {
    /// Every event whose subject matches; with `select`, every reading of a sensor that fits at the moment it is looked at.
    Event {
        subject: Pattern,
        order: Order,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        select: Option<Selector>,
        /// Not for each of them, but as it says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<Rule>,
    },
    /// Moments of the clock.
    Schedule(Schedule),
    /// Requests under `/run/APP` + `path` (a prefix that ends at a `/`), the longest path first. No `/` at the end, except of `/` alone.
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

/// `[codec]`: the app decodes what devices send that ask for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Codec {
    pub name: Id,
    #[serde(rename = "timeout_ms", with = "quantity::millis")]
    pub timeout: Duration,
    /// As that of a function.
    #[serde(default = "limits::reuse_default", skip_serializing_if = "limits::is_fresh")]
    pub reuse: u32,
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
    /// Hosts for outbound HTTP, lower case: `api.example.com`, `*.example.com`, `host:8443`.
    pub http: Vec<String>,
    /// Hosts as in `http`, which may lead into a private net.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http_private: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// A component in the repository, deployed as it is.
    pub component: Option<String>,
    /// The crate to build in a workspace of several.
    pub package: Option<String>,
}

/// The name of the manifest in the root of a repository.
pub const MANIFEST_FILE: &str = "tawi.toml";

pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// A call holds a permit and memory while it runs; what takes longer belongs outside.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// A device waits for it, or the server that passes on what all of its devices send.
pub const CODEC_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
pub const CODEC_TIMEOUT_MAX: Duration = Duration::from_secs(5);
/// One consumer of the log each.
pub const FUNCTIONS_MAX: usize = 32;
/// Patterns, devices, secrets or hosts in one list of `[grant]`: each is looked at in every call.
pub const GRANTS_MAX: usize = 64;
/// Entries of `[config]`.
pub const CONFIG_ENTRIES_MAX: usize = 256;
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;

impl Manifest {
    pub fn app_id(&self, tenant: &Id) -> AppId {
        AppId::new(tenant.clone(), self.app.clone())
    }

    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|f| f.name.as_str() == name)
    }
}

/// Names of config entries and secrets: 1 to 128 letters, digits, `_`, `-` and `.`.
pub fn check_key(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name.len() > super::limit::ID_BYTES_MAX || !name.chars().all(plain) {
        let shown: String = name.chars().take(80).collect();
        return Err(format!("`{shown}` is not a name for an entry: 1 to 128 letters, digits, `_`, `-` and `.`"));
    }
    Ok(())
}
