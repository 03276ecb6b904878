//! Talks to a node's API; turns its problems into failures with a hint.

use crate::{
    failure::{Done, Failure},
    login::{Login, Logins},
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    io::{BufRead, BufReader, Read},
    time::Duration,
};
use ureq::{
    AsSendBody, Body,
    http::{Request, Response, StatusCode},
};

/// A node that does not even shake hands in this time is not there.
const CONNECT_SECONDS: u64 = 10;
/// What an answer that is read whole may have: a page of history with large values.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// How often something is offered to a node that is full, busy or away, and how long to wait in between at most.
const TRIES_MAX: u32 = 20;
const WAIT_MAX: Duration = Duration::from_secs(5);

pub struct Client {
    agent: ureq::Agent,
    pub login: Login,
}

/// The parts of an RFC 9457 problem that a person wants to see.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    field: Option<String>,
    hint: Option<String>,
}

/// One segment of a path: everything but letters, digits and `-._~` encoded.
pub fn segment(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Asks again while the failure is one that passes: for what may be sent twice.
pub fn patiently<T>(mut ask: impl FnMut() -> Done<T>) -> Done<T> {
    let mut attempt = 1;
    loop {
        match ask() {
            Err(failure) if failure.passes && attempt < TRIES_MAX => {
                std::thread::sleep(WAIT_MAX.min(Duration::from_millis(100) * attempt));
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// A path with its query; parameters without a value are left out.
pub fn path(path: &str, query: &[(&str, Option<String>)]) -> String {
    let pairs: Vec<String> = query.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_ref()?)))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

impl Client {
    /// The node of the environment or of the saved login.
    pub fn open(url: Option<&str>, token: Option<&str>) -> Done<Client> {
        // With both given, nothing saved is needed: works where there is no home.
        let logins = if url.is_some() && token.is_some() { Logins::default() } else { Logins::load()? };
        Ok(Client::new(logins.choose(url, token)))
    }

    pub fn new(login: Login) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(CONNECT_SECONDS)))
            .max_redirects(0)
            .user_agent(concat!("tawi/", env!("CARGO_PKG_VERSION")))
            .build();
        Client { agent: config.into(), login }
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Done<T> {
        let response = self.call("GET", path, &[], ())?;
        self.decode(response)
    }

    /// A request whose answer nobody needs.
    pub fn tell(&self, method: &str, path: &str, body: Option<&serde_json::Value>) -> Done {
        self.with_json(method, path, body).map(drop)
    }

    /// A request with a JSON body and a JSON answer.
    pub fn ask<T: DeserializeOwned>(&self, method: &str, path: &str, body: Option<&serde_json::Value>) -> Done<T> {
        let response = self.with_json(method, path, body)?;
        self.decode(response)
    }

    fn with_json(&self, method: &str, path: &str, body: Option<&serde_json::Value>) -> Done<Response<Body>> {
        match body {
            Some(body) => self.call(method, path, &[("content-type", "application/json")], body.to_string().as_bytes()),
            None if method == "GET" || method == "DELETE" => self.call(method, path, &[], ()),
            None => self.call(method, path, &[], ureq::SendBody::none()),
        }
    }

    /// The lines of an answer, one by one as they come; blank ones are heartbeats and left out.
    pub fn lines(&self, method: &str, path: &str) -> Done<impl Iterator<Item = Done<String>> + use<>> {
        let response = self.call(method, path, &[], ())?;
        let url = self.login.url.clone();
        let lines = BufReader::new(response.into_body().into_reader()).lines();
        let lost = move |e: std::io::Error| Failure::because(format!("lost the connection to {url}"), &e).hint("run the command again");
        Ok(lines.map(move |line| line.map_err(&lost)).filter(|line| !matches!(line, Ok(text) if text.is_empty())))
    }

    /// The bytes of an answer.
    pub fn reader(&self, path: &str) -> Done<impl Read + use<>> {
        Ok(self.call("GET", path, &[], ())?.into_body().into_reader())
    }

    /// Sends a request and makes a failure of every answer that is not a success.
    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl AsSendBody) -> Done<Response<Body>> {
        let url = format!("{}{path}", self.login.url);
        let mut request = Request::builder().method(method).uri(&url);
        if let Some(token) = &self.login.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(|e| Failure::because(format!("`{url}` can't be asked for"), &e))?;
        let response = self.agent.run(request).map_err(|e| self.unreachable(&e))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response)) }
    }

    fn decode<T: DeserializeOwned>(&self, response: Response<Body>) -> Done<T> {
        let mut body = response.into_body();
        body.with_config().limit(ANSWER_BYTES_MAX).read_json().map_err(|e| {
            Failure::because(format!("did not understand the answer of {}", self.login.url), &e).hint("is it a Tawi node of this version?")
        })
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        Failure::because(format!("can't reach the node at {}", self.login.url), error)
            .hint("`tawi up` starts one here; TAWI_URL or `tawi login URL` chooses another")
            .passing()
    }

    fn refused(&self, response: Response<Body>) -> Failure {
        let status = response.status();
        let mut body = response.into_body();
        let text = body.with_config().limit(1 << 20).lossy_utf8(true).read_to_string().unwrap_or_default();
        let problem: Problem = serde_json::from_str(&text).unwrap_or_default();
        let what = match (problem.detail.as_str(), problem.title.as_str()) {
            ("", "") => format!("{} answered {status}", self.login.url),
            ("", said) | (said, _) => said.to_owned(),
        };
        let failure = match problem.field {
            // Of what is not there, the name says enough.
            Some(field) if status != StatusCode::NOT_FOUND && !what.contains(&format!("`{field}`")) => {
                Failure::new(format!("{what} (field `{field}`)"))
            }
            _ => Failure::new(what),
        };
        let failure = failure.answered(status.as_u16());
        match (status, problem.hint) {
            (StatusCode::UNAUTHORIZED, _) => {
                failure.hint(format!("`tawi login {}` saves a token; TAWI_TOKEN overrides it", self.login.url))
            }
            (_, Some(hint)) => failure.hint(hint),
            (StatusCode::FORBIDDEN, None) => failure.hint("`tawi tokens create` with an admin's token makes one that may"),
            (StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE, None) => {
                failure.hint("try again in a while; `tawi status` shows what is missing").passing()
            }
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_fits_a_path_and_a_query() {
        assert_eq!(segment("gw.7/a b%é"), "gw.7%2Fa%20b%25%C3%A9");
        let query = [("q", Some("device:x AND value:>8".to_owned())), ("from", None)];
        assert_eq!(path("/h", &query), "/h?q=device%3Ax%20AND%20value%3A%3E8");
        assert_eq!(path("/h", &[]), "/h");
    }
}
