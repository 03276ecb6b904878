//! Errors as RFC 9457 problems: what a client gets instead of an answer.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// The body of every answer that is not a success. `type` is stable, `detail` is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(rename = "type", serialize_with = "urn")]
    pub kind: &'static str,
    pub title: &'static str,
    #[serde(serialize_with = "number")]
    pub status: StatusCode,
    pub detail: Box<str>,
    /// The member, parameter or header that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Box<str>>,
    /// The line of the body, where that helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<Box<str>>,
    /// Finds the log line of a call that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Box<str>>,
    #[serde(skip)]
    pub retry_after_seconds: Option<u32>,
}

fn urn<S: serde::Serializer>(kind: &&'static str, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("urn:tawi:problem:{kind}"))
}

fn number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl Problem {
    pub fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<Box<str>>) -> Problem {
        Problem { kind, title, status, detail: detail.into(), field: None, line: None, hint: None, id: None, retry_after_seconds: None }
    }

    pub fn bad_request(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad-request", "The request is malformed", detail)
    }

    pub fn no_token() -> Problem {
        let hint = "send `authorization: Bearer TOKEN`; `tawi tokens create` makes one";
        Problem::new(StatusCode::UNAUTHORIZED, "no-token", "A token is needed", "the request has no token").hint(hint)
    }

    pub fn bad_token() -> Problem {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "bad-token",
            "The token is not valid",
            "the token, or the name and password, is wrong, or good no more",
        )
    }

    /// Something of this name is there already, as the WAZIUP API says it.
    pub fn exists(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "exists", "There is one already", detail)
    }

    pub fn too_often(detail: impl Into<Box<str>>, seconds: u64) -> Problem {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-often", "Too many tries", detail);
        problem.retry_after(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    pub fn forbidden(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", "The token does not allow this", detail)
    }

    /// `kind` such as `unknown-app`.
    pub fn unknown(kind: &'static str, detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, kind, "There is no such thing", detail)
    }

    pub fn too_large(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large", detail)
    }

    pub fn timeout(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "The request took too long", detail)
    }

    pub fn too_slow(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too-slow", "The question asks for too much", detail)
    }

    /// What was asked for is more than fits an answer.
    pub fn too_much(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too-much", "The answer would be too large", detail)
    }

    pub fn conflict(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::CONFLICT, "conflict", "That does not go together", detail)
    }

    pub fn key_reused(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The idempotency key was used before", detail)
    }

    pub fn full(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::INSUFFICIENT_STORAGE, "full", "The node's disk is full", detail).retry_after(30)
    }

    pub fn unavailable(detail: impl Into<Box<str>>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The node can't do this right now", detail).retry_after(2)
    }

    /// Our fault: the chain goes to the node's log, the client gets its head.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Problem {
        let chain: Vec<String> = std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect();
        tracing::error!(error = chain.join(": "), "a request failed");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The node failed", chain.into_iter().next().unwrap_or_default())
    }

    pub fn id(mut self, id: impl Into<Box<str>>) -> Problem {
        self.id = Some(id.into());
        self
    }

    pub fn field(mut self, field: impl Into<Box<str>>) -> Problem {
        self.field = Some(field.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<Box<str>>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    pub fn retry_after(mut self, seconds: u32) -> Problem {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tawi\""));
        }
        response
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_is_what_rfc_9457_says() {
        let response = Problem::bad_request("`value` is missing").field("[3].value").into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "urn:tawi:problem:bad-request");
        assert_eq!(body["status"], 400);
        assert_eq!(body["field"], "[3].value");
        assert!(body.get("line").is_none());
    }

    #[test]
    fn who_is_told_to_wait_is_told_how_long() {
        assert_eq!(Problem::unavailable("nats is away").into_response().headers()["retry-after"], "2");
        assert_eq!(Problem::full("no room").into_response().status(), 507);
        assert!(Problem::no_token().into_response().headers().contains_key("www-authenticate"));
    }
}
