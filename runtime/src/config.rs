//! In: what flags and a file said. Out: the whole config of a node, or every mistake in it.
//! Never: touches disk or network: `check` is pure, `node.rs` opens.

use crate::model::{Tenant, id::TENANT_DEFAULT, manifest::MEMORY_BYTES_DEFAULT};
use serde::Deserialize;
use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

mod message;

pub use message::{DraftSmtp, DraftWebhooks, Smtp, SmtpTls};

/// Only this machine, unless told otherwise: a fresh node has no TLS yet.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8294";

/// Where clients of MQTT look for a broker; only this machine, as above.
pub const MQTT_LISTEN_DEFAULT: &str = "127.0.0.1:1883";

/// Everything a node needs to know before it opens anything.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    pub data: PathBuf,
    pub listen: SocketAddr,
    /// How others reach the node; told to people and to pushers. The listening address where it is not set.
    pub public_url: Option<String>,
    pub ledger: LedgerChoice,
    pub tenant: Tenant,
    /// Whether a device that nobody registered is registered by its first reading.
    pub auto_register: bool,
    /// Whether who says no name may do what everybody may.
    pub guests: bool,
    /// How long an event stays in the log after every consumer has passed it.
    pub log_retention: Duration,
    /// How long history is kept, by measured time.
    pub history_retention: Option<Duration>,
    /// How long a repeat is recognised by its key.
    pub dedup_window: Duration,
    pub mqtt: Mqtt,
    pub limits: NodeLimits,
    /// Takes the mail of notifications; none: they have no mail.
    pub smtp: Option<Smtp>,
    /// Hosts in private nets that webhooks of notifications may lead to.
    pub webhooks_private: Vec<String>,
    /// Makes one more admin token at start: for who lost the first.
    pub new_admin_token: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerChoice {
    Embedded,
    /// The URL of a nats-server with JetStream, as `nats://host:4222`.
    Jetstream(String),
}

/// How clients of MQTT come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtt {
    pub listen: MqttListen,
    pub websocket: Option<SocketAddr>,
    pub tls: Option<MqttTls>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttTls {
    pub listen: SocketAddr,
    /// In PEM, both.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Where the node listens for MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MqttListen {
    Off,
    /// Somebody said so: the node does not start without it.
    At(SocketAddr),
    /// Nobody said anything. Where a broker runs there already, the node does without.
    IfFree(SocketAddr),
}

/// What one node may use. Constants that nobody needs to turn are in `model/limit.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLimits {
    /// Calls of functions at the same time: each may take its app's memory limit.
    pub calls_max: usize,
    /// Memory of all calls at the same time; none: half of the machine's, which only the engine looks at.
    pub guest_memory_bytes_max: Option<usize>,
    /// Below this much free disk, readings are refused before the disk is full.
    pub disk_free_bytes_min: u64,
    /// So much of the log is kept for a function that is behind, on top of what `log_retention` keeps for everybody; then it is paused.
    pub lag_bytes_max: u64,
}

/// A function that is behind may take so much of the disk from the others: at a hundred sensors that send once a minute, more than
/// three months on top of `log-retention`; at a thousand readings a second, four hours.
pub const LAG_BYTES_MAX_DEFAULT: u64 = 4 << 30;
/// A function that is well is never so far behind, however short `log-retention` is: some thousand readings.
pub const LAG_BYTES_MAX_MIN: u64 = 1 << 20;

/// One source of config: every value may be missing. Names are those of the file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Draft {
    pub data: Option<PathBuf>,
    pub listen: Option<String>,
    pub public_url: Option<String>,
    pub ledger: Option<String>,
    pub tenant: Option<String>,
    pub auto_register: Option<bool>,
    pub log_retention: Option<String>,
    pub history_retention: Option<String>,
    pub dedup_window: Option<String>,
    pub mqtt: DraftMqtt,
    pub limits: DraftLimits,
    pub identity: DraftIdentity,
    pub smtp: DraftSmtp,
    pub webhooks: DraftWebhooks,
    #[serde(skip)]
    pub new_admin_token: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DraftMqtt {
    /// `off`, or an address.
    pub listen: Option<String>,
    /// An address for WebSocket.
    pub websocket: Option<String>,
    /// An address for TLS, with the two files.
    pub tls: Option<String>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DraftIdentity {
    pub guests: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DraftLimits {
    pub calls_max: Option<usize>,
    pub guest_memory_bytes_max: Option<usize>,
    pub disk_free_bytes_min: Option<u64>,
    pub lag_bytes_max: Option<u64>,
}

/// One mistake: where, and what about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {what}")]
pub struct ConfigError {
    pub key: &'static str,
    pub what: String,
}

/// All mistakes of a config, so that nobody has to find them one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(ConfigError::to_string).collect();
        f.write_str(&all.join("; "))
    }
}

impl std::error::Error for ConfigErrors {}

impl Draft {
    /// A config file. The error has line and column.
    pub fn from_toml(text: &str) -> Result<Draft, toml::de::Error> {
        toml::from_str(text)
    }

    /// This source where it says something, else the other: flags before the file.
    pub fn or(self, other: Draft) -> Draft {
        Draft {
            data: self.data.or(other.data),
            listen: self.listen.or(other.listen),
            public_url: self.public_url.or(other.public_url),
            ledger: self.ledger.or(other.ledger),
            tenant: self.tenant.or(other.tenant),
            auto_register: self.auto_register.or(other.auto_register),
            log_retention: self.log_retention.or(other.log_retention),
            history_retention: self.history_retention.or(other.history_retention),
            dedup_window: self.dedup_window.or(other.dedup_window),
            mqtt: DraftMqtt {
                listen: self.mqtt.listen.or(other.mqtt.listen),
                websocket: self.mqtt.websocket.or(other.mqtt.websocket),
                tls: self.mqtt.tls.or(other.mqtt.tls),
                certificate: self.mqtt.certificate.or(other.mqtt.certificate),
                key: self.mqtt.key.or(other.mqtt.key),
            },
            limits: DraftLimits {
                calls_max: self.limits.calls_max.or(other.limits.calls_max),
                guest_memory_bytes_max: self.limits.guest_memory_bytes_max.or(other.limits.guest_memory_bytes_max),
                disk_free_bytes_min: self.limits.disk_free_bytes_min.or(other.limits.disk_free_bytes_min),
                lag_bytes_max: self.limits.lag_bytes_max.or(other.limits.lag_bytes_max),
            },
            identity: DraftIdentity { guests: self.identity.guests.or(other.identity.guests) },
            smtp: self.smtp.or(other.smtp),
            webhooks: if self.webhooks.private.is_empty() { other.webhooks } else { self.webhooks },
            new_admin_token: self.new_admin_token || other.new_admin_token,
        }
    }
}

impl NodeConfig {
    /// A config with defaults for everything but the folder.
    pub fn new(data: &Path) -> NodeConfig {
        let draft = Draft { data: Some(data.to_owned()), ..Draft::default() };
        check(draft).unwrap_or_else(|e| unreachable!("the defaults are wrong: {e}"))
    }

    pub fn ledger_dir(&self) -> PathBuf {
        self.data.join("ledger")
    }

    pub fn history_dir(&self) -> PathBuf {
        self.data.join("history")
    }

    pub fn devices_dir(&self) -> PathBuf {
        self.data.join("devices")
    }
}

/// Finds every mistake. Pure.
pub fn check(draft: Draft) -> Result<NodeConfig, ConfigErrors> {
    let mut mistakes = Vec::new();
    let mut found = |key: &'static str, what: String| mistakes.push(ConfigError { key, what });

    let data = draft.data.filter(|d| !d.as_os_str().is_empty()).unwrap_or_else(|| {
        found("data", "which folder holds the node's data?".to_owned());
        PathBuf::new()
    });
    let listen = draft.listen.as_deref().unwrap_or(LISTEN_DEFAULT);
    let listen = address(listen).unwrap_or_else(|what| {
        found("listen", what);
        SocketAddr::from(([127, 0, 0, 1], 0))
    });
    let mqtt = mqtt(draft.mqtt, &mut found);
    let public_url = draft.public_url.map(|url| url.trim_end_matches('/').to_owned());
    if let Some(url) = public_url.as_deref().filter(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        found("public-url", format!("`{url}` does not begin with `http://` or `https://`"));
    }
    let ledger = ledger(draft.ledger.as_deref().unwrap_or("embedded")).unwrap_or_else(|what| {
        found("ledger", what);
        LedgerChoice::Embedded
    });
    let tenant = Tenant::new(draft.tenant.as_deref().unwrap_or(TENANT_DEFAULT)).unwrap_or_else(|e| {
        found("tenant", e.to_string());
        crate::model::id::default_tenant()
    });
    let mut span = |key: &'static str, text: Option<String>, default: Duration, least: Duration| {
        let span = text.map_or(Ok(default), |text| duration(&text)).unwrap_or_else(|what| {
            found(key, what);
            default
        });
        if span < least {
            found(key, format!("is shorter than {} s", least.as_secs()));
        }
        span
    };
    let minute = Duration::from_secs(60);
    let day = 1_440 * minute;
    let log_retention = span("log-retention", draft.log_retention, 7 * day, Duration::ZERO);
    let dedup_window = span("dedup-window", draft.dedup_window, day, minute);
    let history_retention = match draft.history_retention.as_deref() {
        None | Some("forever") => None,
        Some(_) => Some(span("history-retention", draft.history_retention, day, day)),
    };
    let limits = NodeLimits {
        calls_max: draft.limits.calls_max.unwrap_or(256),
        guest_memory_bytes_max: draft.limits.guest_memory_bytes_max,
        disk_free_bytes_min: draft.limits.disk_free_bytes_min.unwrap_or(64 << 20),
        lag_bytes_max: draft.limits.lag_bytes_max.unwrap_or(LAG_BYTES_MAX_DEFAULT),
    };
    if !(1..=1_000).contains(&limits.calls_max) {
        found("limits.calls-max", format!("{} is not within 1 and 1,000", limits.calls_max));
    }
    if limits.guest_memory_bytes_max.is_some_and(|bytes| bytes < MEMORY_BYTES_DEFAULT) {
        found("limits.guest-memory-bytes-max", format!("is less than one call may have by default, {MEMORY_BYTES_DEFAULT}"));
    }
    if limits.lag_bytes_max < LAG_BYTES_MAX_MIN {
        found("limits.lag-bytes-max", format!("is less than {LAG_BYTES_MAX_MIN}: functions that are well would be paused"));
    }
    let smtp = message::smtp(draft.smtp, &mut mistakes);
    let webhooks_private = message::webhooks(draft.webhooks, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(ConfigErrors(mistakes));
    }
    Ok(NodeConfig {
        data,
        listen,
        public_url,
        ledger,
        tenant,
        auto_register: draft.auto_register.unwrap_or(true),
        guests: draft.identity.guests.unwrap_or(true),
        log_retention,
        history_retention,
        dedup_window,
        mqtt,
        limits,
        smtp,
        webhooks_private,
        new_admin_token: draft.new_admin_token,
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| format!("`{text}` is not an address and port such as `{LISTEN_DEFAULT}` or `[::]:80`"))
}

fn mqtt(draft: DraftMqtt, found: &mut impl FnMut(&'static str, String)) -> Mqtt {
    let mut at = |key: &'static str, text: String| address(&text).map_err(|what| found(key, what)).ok();
    let listen = match draft.listen {
        None => at("mqtt.listen", MQTT_LISTEN_DEFAULT.to_owned()).map(MqttListen::IfFree),
        Some(text) if text == "off" => Some(MqttListen::Off),
        Some(text) => at("mqtt.listen", text).map(MqttListen::At),
    };
    let websocket = draft.websocket.and_then(|text| at("mqtt.websocket", text));
    let tls = draft.tls.and_then(|text| at("mqtt.tls", text));
    let tls = match (tls, draft.certificate, draft.key) {
        (Some(listen), Some(certificate), Some(key)) => Some(MqttTls { listen, certificate, key }),
        (None, None, None) => None,
        _ => {
            found("mqtt.tls", "needs `certificate` and `key` beside it, two files in PEM".to_owned());
            None
        }
    };
    Mqtt { listen: listen.unwrap_or(MqttListen::Off), websocket, tls }
}

fn ledger(text: &str) -> Result<LedgerChoice, String> {
    match text {
        "embedded" => Ok(LedgerChoice::Embedded),
        url if ["nats://", "tls://"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|host| !host.is_empty())) => {
            Ok(LedgerChoice::Jetstream(url.to_owned()))
        }
        other => Err(format!("`{other}` is neither `embedded` nor the URL of a nats-server such as `nats://localhost:4222`")),
    }
}

/// A whole number with one unit: `500ms`, `10s`, `5m`, `12h`, `30d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as `30s`, `12h` or `7d`");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_all_a_node_needs() {
        let config = NodeConfig::new(Path::new("/tmp/x"));
        assert_eq!((config.ledger, config.auto_register), (LedgerChoice::Embedded, true));
        assert!(config.listen.ip().is_loopback());
    }

    #[test]
    fn every_mistake_is_found_at_once() {
        let file = r#"
            listen = "here"
            ledger = "kafka://x"
            tenant = "a b"
            public-url = "example.com"
            log-retention = "7 days"
            dedup-window = "1s"
            [mqtt]
            listen = "there"
            key = "key.pem"
            [limits]
            calls-max = 0
            guest-memory-bytes-max = 1024
            lag-bytes-max = 1024
            [smtp]
            tls = "off"
            username = "tawi"
            password-file = "secret"
            from = "nobody"
            [webhooks]
            private = ["http://nas.lan/"]
        "#;
        let errors = check(Draft::from_toml(file).unwrap()).unwrap_err();
        let keys: Vec<_> = errors.0.iter().map(|e| e.key).collect();
        let limits = ["limits.calls-max", "limits.guest-memory-bytes-max", "limits.lag-bytes-max"];
        let others = ["data", "listen", "mqtt.listen", "mqtt.tls", "public-url", "ledger", "tenant", "log-retention", "dedup-window"];
        let messages = ["smtp.host", "smtp.from", "smtp.tls", "webhooks.private"];
        assert_eq!(keys, others.into_iter().chain(limits).chain(messages).collect::<Vec<_>>());
        assert!(errors.to_string().contains("`kafka://x` is neither `embedded` nor"), "{errors}");
    }

    #[test]
    fn a_flag_goes_before_the_file() {
        let file = Draft::from_toml(
            "data = \"/srv\"\nledger = \"nats://n:4222\"\nauto-register = false\nhistory-retention = \"365d\"\n[identity]\nguests = false",
        )
        .unwrap();
        let flags = Draft { ledger: Some("embedded".into()), listen: Some("localhost:0".into()), ..Draft::default() };
        let config = check(flags.or(file)).unwrap();
        assert_eq!(config.ledger, LedgerChoice::Embedded);
        assert_eq!(config.data, Path::new("/srv"));
        assert!(!config.auto_register && !config.guests);
        assert_eq!(config.history_retention, Some(Duration::from_secs(365 * 86_400)));
    }

    #[test]
    fn a_key_with_a_typing_error_is_an_error_with_its_line() {
        let error = Draft::from_toml("data = \"x\"\nlisen = \"y\"").unwrap_err().to_string();
        assert!(error.contains("lisen") && error.contains("line 2"), "{error}");
    }
}
