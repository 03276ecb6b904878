//! How a message leaves: one way each. At least once, with an id that is the same in every attempt.

mod mail;
mod webhook;

use mail::Mail;
use webhook::Webhook;

use super::{Lookup, Social};
use crate::{
    config::Smtp,
    model::limit::{DELIVERY_SECONDS_MAX, REFUSAL_BYTES_MAX},
};
use async_trait::async_trait;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::timeout;

pub const LOG: &str = "log";
pub const WEBHOOK: &str = "webhook";
pub const EMAIL: &str = "email";

/// One way for messages to leave.
#[async_trait]
pub trait Channel: Send + Sync {
    /// One attempt. Ok means that whoever is next has it; the code is what that one answered, if it answers with numbers.
    async fn send(&self, social: &Social) -> Result<Option<u16>, Refusal>;
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub why: String,
    pub code: Option<u16>,
    /// Another attempt would end the same way.
    pub is_final: bool,
}

impl Refusal {
    pub fn last(why: impl Into<String>) -> Refusal {
        Refusal { why: why.into(), code: None, is_final: true }
    }

    pub fn for_now(why: impl Into<String>) -> Refusal {
        Refusal { why: why.into(), code: None, is_final: false }
    }

    /// Another server's words may have no end.
    fn short(mut self) -> Refusal {
        self.why.truncate(self.why.floor_char_boundary(REFUSAL_BYTES_MAX));
        self
    }
}

/// Every channel that is set up, by name.
#[derive(Clone, Default)]
pub struct Channels(BTreeMap<&'static str, Arc<dyn Channel>>);

impl Channels {
    /// What needs no set-up, and what the config sets up. `private`: hosts that webhooks may lead to in a private net.
    /// `smtp` comes with its password, which stands in a file of its own.
    pub fn new(smtp: Option<(&Smtp, Option<String>)>, private: Vec<String>, lookup: &Lookup) -> Result<Channels, String> {
        let mut channels = Channels::default().with(LOG, Arc::new(Log)).with(WEBHOOK, Arc::new(Webhook::new(private)));
        if let Some((smtp, password)) = smtp {
            channels = channels.with(EMAIL, Arc::new(Mail::new(smtp, password, lookup.clone())?));
        }
        Ok(channels)
    }

    pub fn with(mut self, name: &'static str, channel: Arc<dyn Channel>) -> Channels {
        self.0.insert(name, channel);
        self
    }

    pub async fn send(&self, social: &Social) -> Result<Option<u16>, Refusal> {
        match self.0.get(social.channel.as_str()) {
            // Less than a claim: another node would begin with it.
            Some(channel) => match timeout(Duration::from_secs(DELIVERY_SECONDS_MAX), channel.send(social)).await {
                Ok(sent) => sent.map_err(Refusal::short),
                Err(_) => Err(Refusal::for_now(format!("it was not taken within {DELIVERY_SECONDS_MAX} s"))),
            },
            None => {
                let names: Vec<&str> = self.0.keys().copied().collect();
                Err(Refusal::last(format!("the channel `{}` is not set up on this node; it has {}", social.channel, names.join(", "))))
            }
        }
    }
}

/// The node's own log: for trying out, and for who reads it elsewhere.
struct Log;

#[async_trait]
impl Channel for Log {
    async fn send(&self, social: &Social) -> Result<Option<u16>, Refusal> {
        let username = social.username.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::info!(id = %social.id, username, message = social.message, "message");
        Ok(None)
    }
}
