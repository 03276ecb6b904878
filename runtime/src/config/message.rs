//! `[smtp]` and `[webhooks]`: what messages of notifications need to leave the node.

use super::ConfigError;
use crate::model::manifest::check_host;
use serde::Deserialize;
use std::path::PathBuf;

/// The server that takes the node's mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smtp {
    pub host: String,
    /// None: that of `tls`.
    pub port: Option<u16>,
    pub tls: SmtpTls,
    pub username: Option<String>,
    /// A file with the password in its first line.
    pub password_file: Option<PathBuf>,
    /// Whom the mail is from: `Tawi <tawi@example.org>`.
    pub from: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// From the first byte (port 465).
    Implicit,
    /// Asked for before anything is said (port 587).
    StartTls,
    /// None (port 25): for a server on this machine.
    Off,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DraftSmtp {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub tls: Option<String>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub from: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DraftWebhooks {
    /// Hosts in private nets that webhooks may lead to.
    pub private: Vec<String>,
}

impl DraftSmtp {
    /// This one if it says anything, else the other: half of a server is none.
    pub(super) fn or(self, other: DraftSmtp) -> DraftSmtp {
        if self == DraftSmtp::default() { other } else { self }
    }
}

pub(super) fn smtp(draft: DraftSmtp, mistakes: &mut Vec<ConfigError>) -> Option<Smtp> {
    if draft == DraftSmtp::default() {
        return None;
    }
    let mut found = |key, what: &str| mistakes.push(ConfigError { key, what: what.to_owned() });
    let host = draft.host.filter(|host| !host.trim().is_empty()).unwrap_or_else(|| {
        found("smtp.host", "which server takes the mail?");
        String::new()
    });
    let from = draft.from.filter(|from| from.contains('@')).unwrap_or_else(|| {
        found("smtp.from", "whom is the mail from? an address such as `Tawi <tawi@example.org>`");
        String::new()
    });
    let tls = match draft.tls.as_deref() {
        None | Some("starttls") => SmtpTls::StartTls,
        Some("implicit") => SmtpTls::Implicit,
        Some("off") => SmtpTls::Off,
        Some(other) => {
            found("smtp.tls", &format!("`{other}` is neither `starttls`, `implicit` nor `off`"));
            SmtpTls::StartTls
        }
    };
    if draft.username.is_some() != draft.password_file.is_some() {
        found("smtp.password-file", "`username` and `password-file` go together");
    } else if draft.username.is_some() && tls == SmtpTls::Off {
        found("smtp.tls", "a password is not sent without TLS");
    }
    Some(Smtp { host, port: draft.port, tls, username: draft.username, password_file: draft.password_file, from })
}

pub(super) fn webhooks(draft: DraftWebhooks, mistakes: &mut Vec<ConfigError>) -> Vec<String> {
    let mut check = |host: String| match check_host(&host) {
        Ok(host) => Some(host),
        Err(what) => {
            mistakes.push(ConfigError { key: "webhooks.private", what });
            None
        }
    };
    draft.private.into_iter().filter_map(&mut check).collect()
}
