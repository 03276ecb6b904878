//! Requests to functions: `/run/APP/…`, and `APP.localhost` by host name.

use super::{
    Problem,
    auth::{Caller, Credentials, identify},
    listen::Behind,
    request::idempotency_key,
    v2::sender_name,
};
use crate::{
    clock,
    dispatch::{App, Dispatch, HttpFailure},
    engine::Failure,
    identity::{Action, Identify, Principal},
    ledger::ErrorKind,
    model::{
        AppId, Digest, Id, Tenant,
        limit::HTTP_BODY_BYTES_MAX,
        manifest::{Auth, Function, Manifest, Trigger},
    },
};
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header},
    response::IntoResponse,
};
use futures::future::Either;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use std::sync::Arc;

/// What the door to functions needs.
pub struct Runs {
    pub dispatch: Arc<Dispatch>,
    pub identify: Identify,
    pub tenant: Tenant,
}

/// Hex digits of a call's key: 128 bits, so that nobody finds two requests with one.
const CALL_KEY_DIGITS: usize = 32;
/// Tells a function where its `/` is for the client.
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// The app a request is for, and the path it gets; none when the request is for the node's own API.
pub fn target<B>(request: &Request<B>) -> Option<(&str, &str)> {
    let path = request.uri().path();
    if let Some(rest) = path.strip_prefix("/run/") {
        return Some(rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash)));
    }
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok())?;
    let name = host.split(':').next().unwrap_or(host).strip_suffix(".localhost")?;
    Some((name, path))
}

/// What is behind the node's door: functions, by path or by host name, and for all other requests the API. A function's request
/// passes none of the API's layers.
#[derive(Clone)]
pub struct Doors {
    pub api: Router,
    pub runs: Arc<Runs>,
}

impl Behind for Doors {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send + 'static {
        if target(&request).is_none() {
            return Either::Right(self.api.answer(request));
        }
        let runs = self.runs.clone();
        Either::Left(async move { runs.serve(request).await })
    }
}

impl Runs {
    /// Answers a request for a function.
    pub async fn serve(&self, request: Request<Incoming>) -> Response<Body> {
        match self.run(request).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        }
    }

    async fn run(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Problem> {
        let (name, path) = target(&request).ok_or_else(|| Problem::bad_request("the request names no app".to_owned()))?;
        let app = self.app(name)?;
        let release = app.loaded.load().release.clone();
        let plain = plain(path).ok_or_else(|| {
            Problem::bad_request(format!("`{path}` has a `.` or `..` in it, which functions may read in different ways")).field("path")
        })?;
        let function = route(&release.manifest, &plain)
            .ok_or_else(|| Problem::unknown("unknown-path", format!("`{name}` handles no HTTP request at `{path}`")))?
            .clone();
        let (is_for_us, who) = match function.trigger {
            Trigger::Http { auth: Auth::Token, .. } => (true, Some(self.check(request.headers(), &app.id.app).await?.1.who)),
            _ => shown(request.headers(), &self.identify),
        };
        check_length(request.headers())?;
        let key = idempotency_key(request.headers())?;
        let key = key.map(|key| call_key(who.as_ref().map(sender_name).as_deref(), request.method(), path, request.uri().query(), key));
        let uri = match request.uri().query() {
            Some(query) => Uri::try_from(format!("{path}?{query}")),
            None => Uri::try_from(path),
        };
        let uri = uri.map_err(|e| Problem::bad_request(format!("the path can't be handed on: {e}")))?;
        readdress(&mut request, app.id.app.as_str(), uri)?;
        // A token, a password or a secret opens the node's door: what is behind it has no business with it, on a public route either.
        if is_for_us {
            request.headers_mut().remove(header::AUTHORIZATION);
        }
        let live = app.clone();
        match self.dispatch.serve(app, function, key, request).await {
            // 101 would hand the connection over to a function that is done with it.
            Ok(response) if response.status().is_informational() || response.status().as_u16() > 599 => Err(Problem::new(
                StatusCode::BAD_GATEWAY,
                "bad-answer",
                "The function's answer is none",
                format!("the function answered with the status {}, which ends no request", response.status().as_u16()),
            )),
            Ok(response) => Ok(response.map(Body::new)),
            Err(failure) => Err(problem(live.id.app.as_str(), &failure)),
        }
    }

    fn app(&self, name: &str) -> Result<Arc<App>, Problem> {
        let unknown = || Problem::unknown("unknown-app", format!("no app `{name}` is live")).hint("push it: git push tawi main");
        let id = Id::new(name).map_err(|_| unknown())?;
        self.dispatch.app(&AppId::new(self.tenant.clone(), id)).ok_or_else(unknown)
    }

    /// A token of another tenant is nobody here.
    async fn check(&self, headers: &HeaderMap, app: &Id) -> Result<Caller, Problem> {
        let who = identify(headers, &self.identify).await?;
        if who.0.tenant != self.tenant {
            return Err(Problem::bad_token());
        }
        who.may(Action::Call(app))?;
        Ok(who)
    }
}

/// Whether a request shows what may open this node's door, in any of its headers, and whose it is where that is known at once. A header that is
/// nothing of ours is the function's own.
fn shown(headers: &HeaderMap, identify: &Identify) -> (bool, Option<Principal>) {
    let now = clock::now();
    let shown: Vec<Credentials> = headers.get_all(header::AUTHORIZATION).iter().filter_map(Credentials::of_value).collect();
    if !shown.iter().any(|credentials| identify.is_for_us(credentials.shown(), now)) {
        return (false, None);
    }
    let known = shown.first().and_then(|credentials| identify.at_once(credentials.shown(), now)?.ok());
    (true, known.map(|known| known.who))
}

/// A path as whoever reads it most freely would: decoded, with one slash where there are many. Who may pass is decided on
/// this one, so that there is no other way to write a path behind which a token is wanted. None: it says where to go by dots,
/// which browsers resolve before they send.
fn plain(path: &str) -> Option<String> {
    let path = percent_decode_str(path).decode_utf8_lossy();
    let mut plain = String::with_capacity(path.len());
    for segment in path.split(['/', '\\']).filter(|segment| !segment.is_empty()) {
        if segment == "." || segment == ".." {
            return None;
        }
        plain.push('/');
        plain.push_str(segment);
    }
    Some(plain)
}

/// The function whose path is the longest that holds `path`, which is a [`plain`] one.
fn route<'a>(manifest: &'a Manifest, path: &str) -> Option<&'a Function> {
    let held = |function: &'a Function| {
        let Trigger::Http { path: prefix, .. } = &function.trigger else { return None };
        let prefix = plain(prefix)?;
        let rest = path.strip_prefix(prefix.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some((prefix.len(), function))
    };
    manifest.functions.iter().filter_map(held).max_by_key(|(length, _)| *length).map(|(_, function)| function)
}

/// What a client's key comes to: a repeat is one from the same token, to the same target. Who shows no token is nobody in
/// particular, as all of them are. Hashed, because it is part of ids, and a query can be long.
fn call_key(token: Option<&str>, method: &http::Method, path: &str, query: Option<&str>, key: &str) -> String {
    let parts = serde_json::json!([token, method.as_str(), path, query, key]).to_string();
    Digest::of(parts.as_bytes()).hex()[..CALL_KEY_DIGITS].to_owned()
}

/// What says that it is too long is not read at all; what grows too long is cut off while it streams.
fn check_length(headers: &HeaderMap) -> Result<(), Problem> {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|length| length.parse::<usize>().ok());
    match length {
        Some(length) if length > HTTP_BODY_BYTES_MAX => {
            Err(Problem::too_large(format!("a request to a function has at most {HTTP_BODY_BYTES_MAX} bytes, this one has {length}")))
        }
        _ => Ok(()),
    }
}

/// Gives the request the path the function knows, and an authority, which HTTP/1.0 clients leave out.
fn readdress<B>(request: &mut Request<B>, app: &str, uri: Uri) -> Result<(), Problem> {
    let value = |text: String| HeaderValue::try_from(text).map_err(|e| Problem::bad_request(e.to_string()));
    let under = request.uri().path().starts_with("/run/");
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    if !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, value(format!("{app}.localhost"))?);
    }
    let prefix = if under { value(format!("/run/{app}"))? } else { HeaderValue::from_static("") };
    headers.insert(FORWARDED_PREFIX, prefix);
    Ok(())
}

/// For strangers too: what a function panics with is for its log.
fn problem(app: &str, failure: &HttpFailure) -> Problem {
    let detail = match failure {
        HttpFailure::Call { failure: Failure::Trap(_) | Failure::Retry { .. } | Failure::Reject(_), .. } => {
            "the function gave up".to_owned()
        }
        other => other.to_string(),
    };
    match failure {
        HttpFailure::Call { id, failure: Failure::Timeout(_) } => failed(StatusCode::GATEWAY_TIMEOUT, "timeout", app, id, detail),
        HttpFailure::Call { id, .. } => failed(StatusCode::INTERNAL_SERVER_ERROR, "function-failed", app, id, detail),
        HttpFailure::Busy | HttpFailure::Stopped => Problem::unavailable(detail),
        HttpFailure::Conflict => Problem::conflict(detail),
        HttpFailure::Ledger(error) if error.kind() == ErrorKind::Full => Problem::full(detail),
        HttpFailure::Ledger(_) => Problem::unavailable(detail),
    }
}

/// The id finds the call's log lines.
fn failed(status: StatusCode, kind: &'static str, app: &str, id: &str, detail: String) -> Problem {
    Problem::new(status, kind, "The function failed", detail).id(id).hint(format!("its log lines: tawi logs {app} --call {id}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn target_of(host: &str, path: &str) -> Option<(String, String)> {
        let request = Request::builder().uri(path).header("host", host).body(()).unwrap();
        target(&request).map(|(app, path)| (app.to_owned(), path.to_owned()))
    }

    #[tokio::test]
    async fn what_opens_the_nodes_door_is_found_in_any_header_and_the_rest_is_the_functions() {
        use crate::{
            identity::{NewUser, Role, Tokens},
            ledger::{Ledger, LedgerConfig, LedgerOptions},
            model::{Micros, id::default_tenant},
            records::{Records, Space},
        };
        let (dir, tenant) = (tempfile::tempdir().unwrap(), default_tenant());
        let config = LedgerConfig::Embedded { dir: dir.path().join("ledger"), options: LedgerOptions::default() };
        let records = Records::new(Ledger::open(&config).await.unwrap(), &tenant, Space::Identity);
        let tokens = Tokens::open(dir.path()).unwrap();
        let token = tokens.create(&tenant, "dashboard", Role::Read, Micros(1)).unwrap().1;
        let identify = Identify::new(records, tokens, &[1; 32], &tenant, true).unwrap();
        let ada = NewUser::new(Id::new("ada").unwrap(), Some("correct horse".to_owned()));
        identify.users.create(ada, clock::now()).await.unwrap();
        let session = identify.begin("ada", "correct horse", clock::now()).await.unwrap();
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            let (is_for_us, who) = shown(&headers, &identify);
            (is_for_us, who.as_ref().map(sender_name))
        };
        assert_eq!(of(&[&format!("Bearer {session}")]), (true, Some("user:ada".to_owned())), "a user's session, who is no administrator");
        // printf 'ada:correct horse' | base64
        assert_eq!(of(&["Basic YWRhOmNvcnJlY3QgaG9yc2U="]), (true, None), "a user's password, which is not hashed to know that");
        assert!(of(&[&format!("Bearer {token}")]).0);
        assert_eq!(of(&["Bearer tawi_revoked"]), (true, None));
        assert!(of(&["Digest username=ada", &format!("Bearer {session}")]).0);
        // printf 'eve:of the function' | base64
        for theirs in ["Bearer of-the-function", "Basic ZXZlOm9mIHRoZSBmdW5jdGlvbg==", "Digest username=ada"] {
            assert_eq!(of(&[theirs]), (false, None), "{theirs}");
        }
    }

    #[test]
    fn an_app_is_found_by_path_and_by_host_name() {
        let found = |app: &str, path: &str| Some((app.to_owned(), path.to_owned()));
        assert_eq!(target_of("localhost:8294", "/run/fridge-alert/status"), found("fridge-alert", "/status"));
        assert_eq!(target_of("localhost:8294", "/run/fridge-alert"), found("fridge-alert", "/"));
        assert_eq!(target_of("fridge-alert.localhost:8294", "/status"), found("fridge-alert", "/status"));
        assert_eq!(target_of("localhost:8294", "/api/v2/devices"), None);
    }

    #[test]
    fn there_is_one_way_to_a_path_with_a_token_however_it_is_written() {
        let manifest =
            "[app]\nname = \"a\"\n[[on]]\nname = \"all\"\nhttp = \"/\"\nauth = \"public\"\n[[on]]\nname = \"admin\"\nhttp = \"/admin\"\n";
        let manifest = Manifest::parse(manifest).unwrap();
        for path in ["/admin", "/admin/x", "/%61dmin", "//admin", "/%2Fadmin//x", "/\\admin", "/%5cadmin", "/admin%2fx"] {
            let function = route(&manifest, &plain(path).unwrap()).unwrap();
            assert_eq!(function.name.as_str(), "admin", "{path}");
        }
        for path in ["/x/../admin", "/./admin", "/%2e%2e/admin", "/x/.%2E/admin"] {
            assert_eq!(plain(path), None, "{path}");
        }
        assert_eq!(route(&manifest, &plain("/administer/..x").unwrap()).unwrap().name.as_str(), "all");
    }

    #[test]
    fn a_key_belongs_to_its_token_and_its_target() {
        let key = |token, method, path, query, key| call_key(token, &method, path, query, key);
        let mine = key(Some("t1"), http::Method::POST, "/order", None, "k");
        assert_eq!(mine, key(Some("t1"), http::Method::POST, "/order", None, "k"));
        assert_eq!(mine.len(), CALL_KEY_DIGITS);
        for other in [
            key(None, http::Method::POST, "/order", None, "k"),
            key(Some("t2"), http::Method::POST, "/order", None, "k"),
            key(Some("t1"), http::Method::PUT, "/order", None, "k"),
            key(Some("t1"), http::Method::POST, "/orders", None, "k"),
            key(Some("t1"), http::Method::POST, "/order", Some("n=2"), "k"),
        ] {
            assert_ne!(mine, other);
        }
    }

    #[test]
    fn the_longest_path_wins_and_ends_at_a_slash() {
        let manifest =
            Manifest::parse("[app]\nname = \"a\"\n[[on]]\nname = \"all\"\nhttp = \"/\"\n[[on]]\nname = \"status\"\nhttp = \"/status\"\n")
                .unwrap();
        let name = |path: &str| route(&manifest, &plain(path).unwrap()).map(|function| function.name.to_string());
        assert_eq!(name("/status").as_deref(), Some("status"));
        assert_eq!(name("/status/x").as_deref(), Some("status"));
        assert_eq!(name("/statusx").as_deref(), Some("all"));
        assert_eq!(name("/").as_deref(), Some("all"));
    }
}
