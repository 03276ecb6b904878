//! git's smart HTTP protocol: who may, which repository, and over to `git http-backend`.

use crate::{
    builder::Inner,
    cgi::{self, Chunks, Head},
    hook::{ARGUMENTS_VARIABLE, PROGRAM_VARIABLE, PUSH_VARIABLE, SOCKET_VARIABLE},
    limit::GIT_END_MAX,
    repo::git,
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::any,
};
use http::{HeaderMap, Method, StatusCode, header};
use std::{io, sync::Arc};
use tawi_runtime::model::{AppId, Id};
use tokio::{
    process::Command,
    sync::{OwnedSemaphorePermit, oneshot},
};

/// Whether a token may read and push an app's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// To whom the token belongs, for the logs.
    Granted { name: String },
    /// A good token, but for something else.
    Forbidden,
    /// No such token.
    Unknown,
}

/// Asked with the name of an app and a token.
pub type CheckAccess = Arc<dyn Fn(&str, &str) -> Access + Send + Sync>;

pub fn router(inner: Arc<Inner>, access: CheckAccess) -> Router {
    Router::new().route("/git/{*path}", any(answer)).with_state(Door { inner, access })
}

#[derive(Clone)]
struct Door {
    inner: Arc<Inner>,
    access: CheckAccess,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    /// What git asks for before it does anything: the refs, and with `service=git-receive-pack` those that it may push to.
    Refs,
    Fetch,
    Push,
}

/// git shows plain text to its user.
type Refused = (StatusCode, [(header::HeaderName, &'static str); 1], String);

fn refuse(status: StatusCode, text: impl Into<String>) -> Refused {
    let (name, value) = match status {
        StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, "Basic realm=\"tawi: any user name, a token as the password\""),
        _ => (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
    };
    (status, [(name, value)], text.into() + "\n")
}

async fn answer(State(door): State<Door>, request: Request) -> Response {
    match door.admit(request).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    }
}

impl Door {
    async fn admit(&self, request: Request) -> Result<Response, Refused> {
        let (name, service, rest) = address(&request)?;
        let app = self.inner.app(name);
        let user = self.user(&app, request.headers())?;
        let repo = self.inner.repo(&app);
        let pushes = service == Service::Push || request.uri().query() == Some("service=git-receive-pack");
        if !repo.exists() {
            if !pushes {
                return Err(refuse(StatusCode::NOT_FOUND, format!("nothing was pushed to `{}` yet", app.app)));
            }
            repo.create().await.map_err(|e| self.trouble("make the repository", &e))?;
        }
        let permit = self.inner.git_processes.clone().try_acquire_owned();
        let permit = permit.map_err(|_| refuse(StatusCode::SERVICE_UNAVAILABLE, "too many git requests at once; try again"))?;
        let command = self.command(&app, &user, &request, &rest);
        let (head, answered) = oneshot::channel();
        let (inner, body) = (self.inner.clone(), request.into_body());
        self.inner.tasks.spawn(async move { serve(inner, app, service, command, body, head, permit).await });
        match answered.await {
            Ok(Ok((head, chunks))) => Ok(response(head, chunks)),
            Ok(Err(error)) => Err(self.trouble("run `git http-backend`", &error)),
            Err(_) => Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "the node is shutting down")),
        }
    }

    fn user(&self, app: &AppId, headers: &HeaderMap) -> Result<String, Refused> {
        let Some(token) = token(headers) else { return Err(refuse(StatusCode::UNAUTHORIZED, "a token is needed as the password")) };
        match (self.access)(app.app.as_str(), &token) {
            Access::Granted { name } => Ok(name),
            Access::Forbidden => Err(refuse(StatusCode::FORBIDDEN, format!("this token may not push to `{}`", app.app))),
            Access::Unknown => Err(refuse(StatusCode::UNAUTHORIZED, "this token is not known, or was revoked")),
        }
    }

    fn command(&self, app: &AppId, user: &str, request: &Request, rest: &str) -> Command {
        let (inner, options) = (&self.inner, &self.inner.options);
        let mut command = git(Some(&inner.hooks_dir()));
        command.arg("http-backend");
        command.env("GIT_PROJECT_ROOT", inner.repos_dir()).env("GIT_HTTP_EXPORT_ALL", "1").env("REMOTE_USER", user);
        command.env(SOCKET_VARIABLE, inner.socket()).env(PROGRAM_VARIABLE, &options.hook.program);
        command.env(ARGUMENTS_VARIABLE, options.hook.arguments.join(" "));
        cgi::describe(&mut command, request, &format!("/{}.git/{rest}", app.app));
        command
    }

    fn trouble(&self, tried: &str, error: &io::Error) -> Refused {
        tracing::error!(%error, tried, "a git request failed");
        refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("the node could not {tried}"))
    }
}

/// Owns the git process of one request to its end, and what a push has left to be settled then.
async fn serve(
    inner: Arc<Inner>,
    app: AppId,
    service: Service,
    mut command: Command,
    body: Body,
    head: oneshot::Sender<io::Result<(Head, Chunks)>>,
    _permit: OwnedSemaphorePermit,
) {
    if service != Service::Push {
        return cgi::run(command, body, head, GIT_END_MAX, &inner.shutdown).await;
    }
    let push = inner.sessions.open(&app);
    command.env(PUSH_VARIABLE, &push);
    cgi::run(command, body, head, GIT_END_MAX, &inner.shutdown).await;
    let Some(session) = inner.sessions.close(&push) else { return };
    // A hook that is still being answered is gone by now, and its answer with it.
    let lock = session.state.lock().await.lock.take();
    if lock.is_some()
        && !inner.store.staged(&app).is_empty()
        && let Err(error) = inner.settle(&app).await
    {
        tracing::error!(%app, %error, "a build is neither released nor dropped; the next start does it");
    }
}

fn address(request: &Request) -> Result<(Id, Service, String), Refused> {
    let unknown = || refuse(StatusCode::NOT_FOUND, "repositories are at `/git/APP.git`");
    let path = request.uri().path().strip_prefix("/git/").ok_or_else(unknown)?;
    let (name, rest) = path.split_once(".git/").ok_or_else(unknown)?;
    let service = match (request.method(), rest) {
        (&Method::GET, "info/refs") => Service::Refs,
        (&Method::POST, "git-upload-pack") => Service::Fetch,
        (&Method::POST, "git-receive-pack") => Service::Push,
        _ => return Err(unknown()),
    };
    let name = AppId::check_name(name).map_err(|message| refuse(StatusCode::NOT_FOUND, message))?;
    Ok((name, service, rest.to_owned()))
}

fn response(head: Head, chunks: Chunks) -> Response {
    let stream = futures::stream::unfold(chunks, |mut chunks| async move { chunks.recv().await.map(|chunk| (chunk, chunks)) });
    let mut response = Response::new(Body::from_stream(stream));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// The password of `Basic`, or the token of `Bearer`.
fn token(headers: &HeaderMap) -> Option<String> {
    let (scheme, credentials) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(credentials.trim().to_owned()),
        "basic" => String::from_utf8(base64(credentials.trim())?).ok()?.split_once(':').map(|(_, password)| password.to_owned()),
        _ => None,
    }
}

/// RFC 4648, as `Basic` uses it.
fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_the_rfc_shows_it() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(base64(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(base64("Zm9*"), None);
    }

    #[test]
    fn a_token_is_a_password_or_a_bearer() {
        let with = |value: &str| token(&HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]));
        assert_eq!(with("Basic dGF3aTpzZWNyZXQ=").as_deref(), Some("secret"));
        assert_eq!(with("bearer secret").as_deref(), Some("secret"));
        assert_eq!(with("Basic ***"), None);
        assert_eq!(with("Digest x"), None);
        assert_eq!(token(&HeaderMap::new()), None);
    }
}
