//! A message as mail, handed to the SMTP server of the operator.

use super::super::Lookup;
use super::{Channel, Refusal, Social};
use crate::{
    config::{Smtp, SmtpTls},
    model::limit::DELIVERY_SECONDS_MAX,
    telemetry::chain,
};
use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::authentication::Credentials,
};
use std::time::Duration;

/// A line that mail programs show whole.
const SUBJECT_CHARACTERS_MAX: usize = 120;

pub struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    lookup: Lookup,
}

impl Mail {
    pub fn new(config: &Smtp, password: Option<String>, lookup: Lookup) -> Result<Mail, String> {
        let failed = |error: lettre::transport::smtp::Error| chain(&error);
        let mut builder = match config.tls {
            SmtpTls::Implicit => AsyncSmtpTransport::<Tokio1Executor>::relay(&config.host).map_err(failed)?,
            SmtpTls::StartTls => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(&config.host).map_err(failed)?,
            SmtpTls::Off => AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host),
        };
        builder = builder.timeout(Some(Duration::from_secs(DELIVERY_SECONDS_MAX)));
        if let Some(port) = config.port {
            builder = builder.port(port);
        }
        if let (Some(username), Some(password)) = (&config.username, password) {
            builder = builder.credentials(Credentials::new(username.clone(), password));
        }
        let from = mailbox(&config.from)?;
        Ok(Mail { transport: builder.build(), from, lookup })
    }

    fn letter(&self, social: &Social, to: Mailbox) -> Result<Message, Refusal> {
        let subject = if social.subject.is_empty() { "Notification" } else { social.subject.as_str() };
        let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SUBJECT_CHARACTERS_MAX).collect();
        let id = format!("<{}@{}>", social.id, self.from.email.domain());
        let letter = Message::builder().message_id(Some(id)).from(self.from.clone()).to(to).subject(subject);
        let letter = letter.header(ContentType::TEXT_PLAIN).body(social.message.clone());
        letter.map_err(|error| Refusal::last(format!("it can't be put into a mail: {}", chain(&error))))
    }
}

/// An address, with or without a name.
fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|_| format!("`{text}` is not a mail address such as `Tawi <tawi@example.org>`"))
}

#[async_trait]
impl Channel for Mail {
    async fn send(&self, social: &Social) -> Result<Option<u16>, Refusal> {
        let Some(username) = social.username.clone() else { return Err(Refusal::last("it names no user to write to")) };
        let lookup = self.lookup.clone();
        let asked = username.clone();
        let person = tokio::task::spawn_blocking(move || (lookup.person)(&asked)).await;
        let person = person.map_err(|error| Refusal::for_now(error.to_string()))?;
        let person = person.ok_or_else(|| Refusal::last(format!("there is no user `{username}`")))?;
        let address = person.email.ok_or_else(|| Refusal::last(format!("the user `{username}` has no mail address")))?;
        let letter = self.letter(social, mailbox(&address).map_err(Refusal::last)?)?;
        match self.transport.send(letter).await {
            Ok(answer) => Ok(u16::from(answer.code()).into()),
            Err(error) => Err(Refusal { why: chain(&error), code: error.status().map(u16::from), is_final: error.is_permanent() }),
        }
    }
}
