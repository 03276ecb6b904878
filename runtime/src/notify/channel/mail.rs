//! A message as mail, handed to the SMTP server of the operator.
//!
//! Users write to users, and anybody may register: so mail goes only to an address that an administrator set, and only so often.

use super::super::Lookup;
use super::{Channel, Refusal, Social};
use crate::{
    clock,
    config::{Smtp, SmtpTls},
    identity::Attempts,
    model::limit::{DELIVERY_SECONDS_MAX, MAILS_PER_ADDRESS_HOUR_MAX, MAILS_PER_OWNER_HOUR_MAX},
    telemetry::chain,
};
use async_trait::async_trait;
use lettre::{
    Message,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        Error, SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail as From, Rcpt},
        extension::{ClientId, Extension, MailParameter},
    },
};
use std::time::Duration;

/// A line that mail programs show whole.
const SUBJECT_CHARACTERS_MAX: usize = 120;
const HOUR_SECONDS: u64 = 3_600;

pub struct Mail {
    host: String,
    port: u16,
    tls: SmtpTls,
    credentials: Option<Credentials>,
    from: Mailbox,
    lookup: Lookup,
    by_owner: Attempts,
    by_address: Attempts,
}

impl Mail {
    pub fn new(config: &Smtp, password: Option<String>, lookup: Lookup) -> Result<Mail, String> {
        let port = match config.tls {
            SmtpTls::Implicit => SUBMISSIONS_PORT,
            SmtpTls::StartTls => SUBMISSION_PORT,
            SmtpTls::Off => SMTP_PORT,
        };
        // Said at the start, and not with the first mail.
        parameters(&config.host).map_err(|error| chain(&error))?;
        Ok(Mail {
            host: config.host.clone(),
            port: config.port.unwrap_or(port),
            tls: config.tls,
            credentials: config.username.clone().zip(password).map(|(name, password)| Credentials::new(name, password)),
            from: mailbox(&config.from)?,
            lookup,
            by_owner: Attempts::new(MAILS_PER_OWNER_HOUR_MAX, HOUR_SECONDS),
            by_address: Attempts::new(MAILS_PER_ADDRESS_HOUR_MAX, HOUR_SECONDS),
        })
    }

    fn letter(&self, social: &Social, to: Mailbox) -> Result<Message, Refusal> {
        let subject = if social.subject.is_empty() { "Notification" } else { social.subject.as_str() };
        let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SUBJECT_CHARACTERS_MAX).collect();
        let id = format!("<{}@{}>", social.id, self.from.email.domain());
        let letter = Message::builder().message_id(Some(id)).from(self.from.clone()).to(to).subject(subject);
        let letter = letter.header(ContentType::TEXT_PLAIN).body(social.message.clone());
        letter.map_err(|error| Refusal::last(format!("it can't be put into a mail: {}", chain(&error))))
    }

    /// The address of a user, if mail may go there.
    async fn address(&self, social: &Social) -> Result<String, Refusal> {
        let Some(username) = social.username.clone() else { return Err(Refusal::last("it names no user to write to")) };
        let (lookup, asked) = (self.lookup.clone(), username.clone());
        let person = tokio::task::spawn_blocking(move || (lookup.person)(&asked)).await;
        let person = person.map_err(|error| Refusal::for_now(error.to_string()))?;
        let person = person.ok_or_else(|| Refusal::last(format!("there is no user `{username}`")))?;
        let address = person.email.ok_or_else(|| Refusal::last(format!("the user `{username}` has no mail address")))?;
        if !person.is_confirmed {
            return Err(Refusal::last(format!("no administrator has set the mail address of `{username}`; `tawi users email` does")));
        }
        Ok(address)
    }

    /// What is too much in this hour may go in the next.
    fn count(&self, owner: &str, address: &str) -> Result<(), Refusal> {
        let now = clock::now();
        let late = |whose: &str, max: usize, seconds: u64| {
            Refusal::for_now(format!("{whose} {max} mails in this hour already; the next may go in {seconds} s"))
        };
        self.by_owner.begin(owner, now).map_err(|wait| late("its owner has sent", MAILS_PER_OWNER_HOUR_MAX, wait))?;
        self.by_address.begin(&address.to_lowercase(), now).map_err(|wait| {
            self.by_owner.undo(owner);
            late("the address has got", MAILS_PER_ADDRESS_HOUR_MAX, wait)
        })
    }

    /// A connection on which the server takes mail.
    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let (hello, timeout) = (ClientId::default(), Some(Duration::from_secs(DELIVERY_SECONDS_MAX)));
        let tls = if self.tls == SmtpTls::Implicit { Some(parameters(&self.host)?) } else { None };
        let mut server = AsyncSmtpConnection::connect_tokio1((self.host.as_str(), self.port), timeout, &hello, tls, None).await?;
        if self.tls == SmtpTls::StartTls {
            server.starttls(parameters(&self.host)?, &hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            server.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(server)
    }

    /// What a server says of its set-up, of this client or of the sender is mended by the operator; what it says of the recipient and of the
    /// letter itself stays so.
    async fn hand_over(&self, letter: &Message) -> Result<u16, Refusal> {
        let (passing, lasting) = (|error: Error| refusal(&error, false), |error: Error| refusal(&error, error.is_permanent()));
        let (envelope, mut server) = (letter.envelope(), self.connect().await.map_err(passing)?);
        let mut options = Vec::new();
        if !envelope.to().iter().all(|to| to.to_string().is_ascii()) {
            if !server.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(Refusal::last("the mail server takes no address with other letters than those of ASCII"));
            }
            options.push(MailParameter::SmtpUtfEight);
        }
        server.command(From::new(envelope.from().cloned(), options)).await.map_err(passing)?;
        for to in envelope.to() {
            server.command(Rcpt::new(to.clone(), Vec::new())).await.map_err(lasting)?;
        }
        server.command(Data).await.map_err(lasting)?;
        let answer = server.message(&letter.formatted()).await.map_err(lasting)?;
        // It has the letter, whatever it says now.
        drop(server.quit().await);
        Ok(answer.code().into())
    }
}

fn parameters(host: &str) -> Result<TlsParameters, Error> {
    TlsParameters::new(host.to_owned())
}

fn refusal(error: &Error, is_final: bool) -> Refusal {
    Refusal { why: chain(error), code: error.status().map(u16::from), is_final }
}

/// An address, with or without a name.
fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|_| format!("`{text}` is not a mail address such as `Tawi <tawi@example.org>`"))
}

#[async_trait]
impl Channel for Mail {
    async fn send(&self, social: &Social) -> Result<Option<u16>, Refusal> {
        let address = self.address(social).await?;
        let letter = self.letter(social, mailbox(&address).map_err(Refusal::last)?)?;
        self.count(social.owner.as_ref().map_or("", |owner| owner.as_str()), &address)?;
        self.hand_over(&letter).await.map(Some)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::Micros;
    use std::sync::Arc;

    #[test]
    fn an_owner_and_an_address_have_a_most_of_mails_in_an_hour() {
        let from = "Tawi <tawi@farm.example>".to_owned();
        let smtp = Smtp { host: "127.0.0.1".into(), port: None, tls: SmtpTls::Off, username: None, password_file: None, from };
        let lookup = Lookup { registered: Arc::new(|_| None), person: Arc::new(|_| None), current: Arc::new(|_, _, _| None) };
        let mail = Mail::new(&smtp, None, lookup).unwrap();
        let hour = |n: i64| clock::set(Some(Micros(n * 3_600 * Micros::SECOND)));
        hour(1);
        for n in 0..=MAILS_PER_ADDRESS_HOUR_MAX {
            let counted = mail.count(&format!("owner{n}"), "Ada@example.org");
            assert_eq!(counted.is_ok(), n < MAILS_PER_ADDRESS_HOUR_MAX, "{n}: {counted:?}");
        }
        let refused = mail.count("bob", "ada@example.org").unwrap_err();
        assert!(
            !refused.is_final && refused.why == "the address has got 60 mails in this hour already; the next may go in 3600 s",
            "{refused:?}"
        );
        for n in 0..=MAILS_PER_OWNER_HOUR_MAX {
            let counted = mail.count("bob", &format!("a{n}@example.org"));
            assert_eq!(counted.is_ok(), n < MAILS_PER_OWNER_HOUR_MAX, "{n}: {counted:?}");
        }
        hour(2);
        assert!(mail.count("bob", "ada@example.org").is_ok());
    }
}
