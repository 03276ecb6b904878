//! Webhooks: who knows the secret may post values.

use super::{Inner, Progress, SourceError, Sources, extract};
use crate::{
    ingest::{RepeatKey, Stored},
    model::{
        AppId, Id, Micros,
        manifest::{SourceKind, Verify},
    },
    telemetry::chain,
};
use http::HeaderMap;
use ring::hmac;

#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error("`{0}` has no webhook `{1}`")]
    Unknown(Id, Id),
    #[error("the header `{0}` does not show that the sender knows the secret")]
    Refused(String),
    #[error("the secret `{0}` of this webhook is not set; `tawi secrets set` does")]
    NoSecret(String),
    #[error("{0}")]
    Body(String),
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl Sources {
    /// Whether there is such a webhook, and where it is shown as it is, its secret with it: before a body is read for whoever it is.
    pub fn expects(&self, app: &AppId, name: &Id, headers: &HeaderMap) -> Result<(), HookError> {
        let unknown = || HookError::Unknown(app.app.clone(), name.clone());
        let (_, source) = self.0.source(app, name).ok_or_else(unknown)?;
        let SourceKind::Webhook { secret, verify, header } = &source.kind else { return Err(unknown()) };
        let known = self.0.store.secrets(app).get(secret).filter(|text| !text.is_empty()).cloned();
        let known = known.ok_or_else(|| HookError::NoSecret(secret.clone()))?;
        let is_shown = |shown: &http::HeaderValue| *verify != Verify::Header || shows(shown.as_bytes(), &known, *verify, &[]);
        if headers.get(header).is_some_and(is_shown) { Ok(()) } else { Err(HookError::Refused(header.clone())) }
    }

    /// Answered when the readings are durable. `repeat`: the sender's own key of this delivery.
    pub async fn deliver(
        &self,
        app: &AppId,
        name: &Id,
        headers: &HeaderMap,
        body: &[u8],
        repeat: Option<&str>,
        now: Micros,
    ) -> Result<Stored, HookError> {
        let unknown = || HookError::Unknown(app.app.clone(), name.clone());
        let (_, source) = self.0.source(app, name).ok_or_else(unknown)?;
        let SourceKind::Webhook { secret, verify, header } = &source.kind else { return Err(unknown()) };
        let secrets = self.0.store.secrets(app);
        let known = secrets.get(secret).filter(|text| !text.is_empty()).ok_or_else(|| HookError::NoSecret(secret.clone()))?;
        if !headers.get(header).is_some_and(|shown| shows(shown.as_bytes(), known, *verify, body)) {
            return Err(HookError::Refused(header.clone()));
        }
        let stored = self.0.take(app, &source, body, repeat, now).await;
        self.0.remember(app, name, &stored, now);
        stored
    }
}

impl Inner {
    async fn take(
        &self,
        app: &AppId,
        source: &crate::model::manifest::Source,
        body: &[u8],
        repeat: Option<&str>,
        now: Micros,
    ) -> Result<Stored, HookError> {
        let samples = extract::samples(source, body).map_err(HookError::Body)?;
        let repeat = repeat.map(|key| RepeatKey::http("", &["source", app.app.as_str(), source.name.as_str()], key));
        Ok(self.store(source, samples, now, repeat).await?)
    }

    fn remember(&self, app: &AppId, name: &Id, stored: &Result<Stored, HookError>, now: Micros) {
        let mut hooks = self.hooks.lock();
        let progress: &mut Progress = hooks.entry((app.clone(), name.clone())).or_default();
        progress.runs += 1;
        progress.last_run = Some(now);
        match stored {
            Ok(stored) => {
                progress.last_success = Some(now);
                progress.last_error = None;
                progress.readings += stored.seqs.len() as u64;
            }
            Err(error) => progress.last_error = Some(chain(error)),
        }
    }
}

/// Takes as long whether the first byte differs or the last.
fn shows(shown: &[u8], secret: &str, verify: Verify, body: &[u8]) -> bool {
    match verify {
        Verify::Header => {
            // Of both the same keyed sum, so that nothing is learnt from how long it takes.
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            hmac::verify(&key, shown, hmac::sign(&key, secret.as_bytes()).as_ref()).is_ok()
        }
        Verify::HmacSha256 => {
            let hex = shown.strip_prefix(b"sha256=").unwrap_or(shown);
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            bytes_of(hex).is_some_and(|tag| hmac::verify(&key, body, &tag).is_ok())
        }
    }
}

fn bytes_of(hex: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    if hex.len() != 64 {
        return None;
    }
    hex.chunks(2).map(|pair| Some((digit(pair.first()?)? * 16 + digit(pair.get(1)?)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_as_it_is_or_by_what_it_makes_of_the_body() {
        // The second test case of RFC 4231.
        let tag = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let body = b"what do ya want for nothing?";
        for shown in [tag.to_owned(), format!("sha256={tag}"), tag.to_uppercase()] {
            assert!(shows(shown.as_bytes(), "Jefe", Verify::HmacSha256, body), "{shown}");
        }
        for shown in ["", "sha256=", &tag[1..], &tag.replace('5', "6"), &format!("{tag}00"), "Jefe"] {
            assert!(!shows(shown.as_bytes(), "Jefe", Verify::HmacSha256, body), "{shown}");
        }
        assert!(!shows(tag.as_bytes(), "Jefe", Verify::HmacSha256, b"something else"));
        assert!(shows(b"Jefe", "Jefe", Verify::Header, body));
        assert!(!shows(b"Jef", "Jefe", Verify::Header, body) && !shows(b"", "Jefe", Verify::Header, body));
    }
}
