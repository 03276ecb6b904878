//! Who is asking: what the header of a request shows, and what it allows.

use super::{AppState, Problem};
use crate::{
    clock,
    identity::{Action, Identify, Identity, Known, Principal, Shown, allow},
    model::AppId,
};
use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderValue, header, request::Parts};

/// The identity behind a request's token, or an administrator's session. A handler that has one has still to ask [`Caller::may`].
#[derive(Debug, Clone)]
pub struct Caller(pub Identity, pub Known);

/// Who is behind a request, guests included: the right to anything is still to be asked for.
#[derive(Debug, Clone)]
pub struct Asker(pub Principal);

impl Caller {
    pub fn may(&self, action: Action<'_>) -> Result<(), Problem> {
        if allow(&self.0, action) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("token `{}` has the role {} and may not {action}", self.0.name, self.0.role)))
    }

    /// An app of the caller's tenant.
    pub fn app(&self, app: crate::model::Id) -> AppId {
        AppId::new(self.0.tenant.clone(), app)
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Caller, Problem> {
        identify(&parts.headers, &state.identify).await
    }
}

impl FromRequestParts<AppState> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Asker, Problem> {
        let credentials = Credentials::of(&parts.headers)?;
        Ok(Asker(state.identify.who(credentials.shown(), clock::now()).await?.who))
    }
}

/// Who may what a token may, by the `authorization` header: `Bearer TOKEN`, or `Basic` with the token as the password (git, curl -u), and the
/// same with an administrator's session or name and password.
pub async fn identify(headers: &HeaderMap, identify: &Identify) -> Result<Caller, Problem> {
    let credentials = Credentials::of(headers)?;
    if matches!(credentials, Credentials::None) {
        return Err(Problem::no_token());
    }
    caller(identify.who(credentials.shown(), clock::now()).await?)
}

fn caller(known: Known) -> Result<Caller, Problem> {
    match (known.identity(), &known.who) {
        (Some(identity), _) => Ok(Caller(identity, known)),
        (None, Principal::User { id, .. }) => Err(Problem::forbidden(format!("the user `{id}` is no administrator"))),
        (None, Principal::Device { id, .. }) => {
            Err(Problem::forbidden(format!("`{id}` is a device, which sends its own values and no more")))
        }
        (None, _) => Err(Problem::no_token()),
    }
}

/// An `authorization` header, read.
#[derive(Debug, PartialEq)]
pub enum Credentials {
    None,
    Bearer(String),
    Pair(String, String),
}

impl Credentials {
    pub fn of(headers: &HeaderMap) -> Result<Credentials, Problem> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(Credentials::None) };
        Credentials::of_value(value).ok_or_else(Problem::bad_token)
    }

    /// None: it is in no form that the node knows.
    pub fn of_value(value: &HeaderValue) -> Option<Credentials> {
        Credentials::parse(value.to_str().ok()?)
    }

    fn parse(value: &str) -> Option<Credentials> {
        let (scheme, rest) = value.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            // A session that was asked for as JSON is in quotes, and the WAZIUP cloud's own client library leaves it in them.
            let text = rest.trim();
            let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
            return Some(Credentials::Bearer(bare.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = String::from_utf8(base64(rest.trim())?).ok()?;
        let (name, password) = pair.split_once(':')?;
        Some(Credentials::Pair(name.to_owned(), password.to_owned()))
    }

    pub fn shown(&self) -> Shown<'_> {
        match self {
            Credentials::None => Shown::Nothing,
            Credentials::Bearer(text) => Shown::Bearer(text),
            Credentials::Pair(name, password) => Shown::Pair { name, password },
        }
    }
}

/// Standard base64, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_as_bearer_or_as_a_password() {
        let bearer = || Some(Credentials::Bearer("tawi_x".into()));
        assert_eq!(Credentials::parse("Bearer tawi_x"), bearer());
        assert_eq!(Credentials::parse("bearer  tawi_x "), bearer());
        assert_eq!(Credentials::parse("Bearer \"tawi_x\""), bearer());
        // printf 'tawi:tawi_x~?' | base64
        let pair = || Some(Credentials::Pair("tawi".into(), "tawi_x~?".into()));
        assert_eq!(Credentials::parse("Basic dGF3aTp0YXdpX3h+Pw=="), pair());
        assert_eq!(Credentials::parse("Basic dGF3aTp0YXdpX3h+Pw"), pair());
        for wrong in ["tawi_x", "Digest x", "Basic ???", "Basic dGF3aQ=="] {
            assert_eq!(Credentials::parse(wrong), None, "{wrong}");
        }
    }
}
