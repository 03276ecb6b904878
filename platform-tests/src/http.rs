//! HTTP as a device or a person with curl speaks it.

use serde_json::{Value, json};
use std::{io::Read, time::Duration};
use ureq::{Agent, Body, http};

/// Nothing a case asks for takes longer, builds and streams apart.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Answers of cases are small; a runaway body must not fill the memory.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// One node's address and one token.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(base: &str, token: Option<&str>) -> Client {
        let agent = Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).max_redirects(0).build().into();
        Client { agent, base: base.trim_end_matches('/').to_owned(), token: token.map(str::to_owned) }
    }

    /// The same node, another token, or none.
    pub fn with_token(&self, token: Option<&str>) -> Client {
        Client { token: token.map(str::to_owned), ..self.clone() }
    }

    /// The same token, another address (a proxy in front of the node).
    pub fn at(&self, base: &str) -> Client {
        Client::new(base, self.token.as_deref())
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request with these headers; an error is one of the connection, never a status.
    pub fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply, ureq::Error> {
        let answer = self.open(method, path, headers, body)?;
        let (head, mut body) = answer.into_parts();
        let mut bytes = Vec::new();
        body.as_reader().take(BODY_BYTES_MAX).read_to_end(&mut bytes)?;
        assert!((bytes.len() as u64) < BODY_BYTES_MAX, "{method} {path}: a body that does not end");
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body: bytes })
    }

    /// The response as soon as its head is there.
    pub fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<http::Response<Body>, ureq::Error> {
        self.run(method, path, headers, body, false)
    }

    /// [`Client::open`] for a body that never ends.
    pub fn open_endless(&self, path: &str) -> Result<http::Response<Body>, ureq::Error> {
        self.run("GET", path, &[], b"", true)
    }

    fn run(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        endless: bool,
    ) -> Result<http::Response<Body>, ureq::Error> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(ureq::Error::Http)?;
        if endless {
            let endless = self.agent.configure_request(request).timeout_global(None).build();
            return self.agent.run(endless);
        }
        self.agent.run(request)
    }

    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.try_send(method, path, headers, body).unwrap_or_else(|e| panic!("{method} {}{path}: {e}", self.base))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], body.as_ref())
    }

    /// One reading, acknowledged.
    #[track_caller]
    pub fn reading(&self, device: &str, sensor: &str, value: impl Into<Value>) {
        self.post(&value_path(device, sensor), json!({ "value": value.into() }).to_string()).expect(204);
    }

    /// One reading with the time the device measured it at, in RFC 3339; acknowledged.
    #[track_caller]
    pub fn reading_at(&self, device: &str, sensor: &str, value: impl Into<Value>, measured: &str) {
        self.post(&value_path(device, sensor), json!({ "value": value.into(), "timestamp": measured }).to_string()).expect(204);
    }

    /// Many readings of one sensor in one request, acknowledged together.
    #[track_caller]
    pub fn readings(&self, device: &str, sensor: &str, values: impl IntoIterator<Item = impl Into<Value>>) {
        let list: Vec<Value> = values.into_iter().map(|v| json!({ "value": v.into() })).collect();
        self.post(&values_path(device, sensor), Value::from(list).to_string()).expect(204);
    }
}

/// Where one reading of a sensor is posted.
pub fn value_path(device: &str, sensor: &str) -> String {
    format!("/api/v2/devices/{device}/sensors/{sensor}/value")
}

/// Where many readings of a sensor are posted.
pub fn values_path(device: &str, sensor: &str) -> String {
    format!("/api/v2/devices/{device}/sensors/{sensor}/values")
}

/// Where readings of any sensors are posted, a list or one a line.
pub const READINGS_PATH: &str = "/api/v1/readings";

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{} with a body that is not JSON ({e}): {}", self.status, self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// A JSON problem (RFC 9457) with this status; returns it.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type").split(';').next(), Some("application/problem+json"), "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], status, "the body repeats the status: {problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|t| !t.is_empty()), "`{member}` is missing in {problem}");
        }
        problem
    }
}
