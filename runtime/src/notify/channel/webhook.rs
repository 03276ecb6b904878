//! A message as an HTTP POST of JSON.

use super::{Channel, Refusal, Social};
use crate::{
    egress::{self, Ask, EgressError, Reach},
    model::{limit::DELIVERY_SECONDS_MAX, manifest::Grant},
    telemetry::chain,
};
use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority};
use serde_json::json;

/// Nothing of an answer is kept but its status.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Users choose where it posts to: so it leads into no private net, apart from hosts that the operator named.
pub struct Webhook {
    private: Grant,
}

impl Webhook {
    pub fn new(private: Vec<String>) -> Webhook {
        Webhook { private: Grant { http_private: private, ..Grant::default() } }
    }

    fn reach(&self, authority: &Authority, tls: bool) -> Option<Reach> {
        Some(egress::reach(&self.private, authority, tls).unwrap_or(Reach::Public))
    }
}

#[async_trait]
impl Channel for Webhook {
    async fn send(&self, social: &Social) -> Result<Option<u16>, Refusal> {
        let Some(url) = social.url.clone() else { return Err(Refusal::last("it has no `url` to post to")) };
        let ask = Ask {
            method: Method::POST,
            url,
            headers: headers(social),
            body: body(social).into(),
            seconds_max: DELIVERY_SECONDS_MAX,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        match egress::ask(ask, |authority, tls| self.reach(authority, tls)).await {
            // However much it says beside.
            Ok(egress::Answer { status, .. }) | Err(EgressError::TooLarge { status, .. }) => taken(status),
            Err(error @ (EgressError::Url(_) | EgressError::NotGranted(_) | EgressError::Private(_))) => Err(Refusal::last(chain(&error))),
            Err(error) => Err(Refusal::for_now(chain(&error))),
        }
    }
}

/// Whoever answers with an error has it perhaps mended tomorrow.
fn taken(status: StatusCode) -> Result<Option<u16>, Refusal> {
    let code = Some(status.as_u16());
    if status.is_success() { Ok(code) } else { Err(Refusal { code, ..Refusal::for_now(format!("it answered with {status}")) }) }
}

fn headers(social: &Social) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(social.id.as_str()) {
        headers.insert("idempotency-key", id);
    }
    headers
}

fn body(social: &Social) -> String {
    let body = json!({
        "id": social.id, "notification": social.notification, "description": social.subject, "username": social.username,
        "message": social.message, "ts": social.date_created.to_string(),
    });
    body.to_string()
}
