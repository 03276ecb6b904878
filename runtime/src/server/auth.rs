//! Who is asking: the token of a request, and what it allows.

use super::{AppState, Problem};
use crate::{
    identity::{Action, Identity, Tokens, allow},
    model::AppId,
};
use axum::extract::FromRequestParts;
use http::{HeaderMap, header, request::Parts};

/// The identity behind a request's token. A handler that has one has still to ask [`Caller::may`].
#[derive(Debug, Clone)]
pub struct Caller(pub Identity);

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
        identify(&parts.headers, &state.tokens).map(Caller)
    }
}

/// The identity behind an `authorization` header: `Bearer TOKEN`, or `Basic` with the token as the password (git, curl -u).
pub fn identify(headers: &HeaderMap, tokens: &Tokens) -> Result<Identity, Problem> {
    let value = headers.get(header::AUTHORIZATION).ok_or_else(Problem::no_token)?;
    let token = value.to_str().ok().and_then(token).ok_or_else(Problem::bad_token)?;
    tokens.check(&token).ok_or_else(Problem::bad_token)
}

fn token(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(base64(rest.trim())?).ok()?;
    Some(pair.split_once(':')?.1.to_owned())
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
        assert_eq!(token("Bearer tawi_x").as_deref(), Some("tawi_x"));
        assert_eq!(token("bearer  tawi_x ").as_deref(), Some("tawi_x"));
        // printf 'tawi:tawi_x~?' | base64
        assert_eq!(token("Basic dGF3aTp0YXdpX3h+Pw==").as_deref(), Some("tawi_x~?"));
        assert_eq!(token("Basic dGF3aTp0YXdpX3h+Pw").as_deref(), Some("tawi_x~?"));
        for wrong in ["tawi_x", "Digest x", "Basic ???", "Basic dGF3aQ=="] {
            assert_eq!(token(wrong), None, "{wrong}");
        }
    }
}
