//! Parts of a request, with errors that name the part.

use super::{AppState, Problem, body};
use crate::model::{Id, Micros};
use axum::{
    body::Body,
    extract::{FromRequestParts, Query, RawPathParams},
};
use http::{HeaderMap, request::Parts};
use std::{fmt::Display, str::FromStr};

/// An idempotency key: a UUID, or two.
const KEY_BYTES_MAX: usize = 255;

/// Parameters of one query: no route has as many, and each is looked for among all of them.
const PARAMS_MAX: usize = 64;

/// The named parts of a path, decoded.
pub struct Path(Vec<(String, String)>);

impl FromRequestParts<AppState> for Path {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Path, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|e| Problem::bad_request(e.body_text()))?;
        Ok(Path(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

impl Path {
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    pub fn id(&self, name: &str) -> Result<Id, Problem> {
        Id::new(self.text(name)).map_err(|e| Problem::bad_request(e.to_string()).field(name))
    }

    pub fn number(&self, name: &str) -> Result<u64, Problem> {
        self.text(name).parse().map_err(|_| Problem::bad_request(format!("`{}` is not a number", self.text(name))).field(name))
    }
}

/// The parameters of a query. Each is taken once; what is left over was misspelt.
pub struct Params(Vec<(String, String)>);

impl FromRequestParts<AppState> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Params, Problem> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|e| Problem::bad_request(e.body_text()))?;
        if pairs.0.len() > PARAMS_MAX {
            return Err(Problem::bad_request(format!("a query has at most {PARAMS_MAX} parameters, not {}", pairs.0.len())));
        }
        Ok(Params(pairs.0))
    }
}

impl Params {
    pub fn text(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(at).1)
    }

    pub fn parse<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = |e: T::Err| Problem::bad_request(format!("`{text}` can't be the parameter `{name}`: {e}")).field(name);
        text.parse().map(Some).map_err(wrong)
    }

    /// A number of entries, `default` unless said, `most` at most.
    pub fn limit(&mut self, default: usize, most: usize) -> Result<usize, Problem> {
        Ok(self.parse("limit")?.unwrap_or(default).min(most))
    }

    pub fn time(&mut self, name: &str) -> Result<Option<Micros>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        Micros::parse(&text).map(Some).map_err(|e| Problem::bad_request(e.to_string()).field(name))
    }

    /// Refuses parameters that nobody asked for.
    pub fn done(self) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::bad_request(format!("there is no parameter `{name}`")).field(name)),
        }
    }
}

/// Asks what reads a file: such a question has no business on the threads that serve all others.
pub async fn blocking<T: Send + 'static>(
    state: &AppState,
    question: impl FnOnce(&AppState) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let state = state.clone();
    tokio::task::spawn_blocking(move || question(&state)).await?
}

/// A small JSON body; what is in it beyond `T` is an error.
pub async fn json<T: serde::de::DeserializeOwned>(headers: &HeaderMap, from: Body) -> Result<T, Problem> {
    let bytes = body::whole(headers, from, 256 * 1024).await?;
    let text = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
    serde_json::from_slice(text).map_err(|e| Problem::bad_request(format!("the body is not the JSON expected: {e}")))
}

/// The client's key for this request, by which a repeat is known.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => Ok(Some(key)),
        _ => {
            Err(Problem::bad_request(format!("an idempotency key has 1 to {KEY_BYTES_MAX} visible ASCII characters"))
                .field("idempotency-key"))
        }
    }
}
