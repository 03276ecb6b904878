//! HTTP, in the types of the crate [`http`](https://docs.rs/http): requests served, and requests made. Serving needs an `[[on]]` entry with `http`;
//! [`fetch`] is granted by host: `[grant] http = ["api.example.com"]`.
//!
//! ```
//! use tawi::http::{self, Body, Method, Request, Response, StatusCode};
//!
//! #[tawi::http]
//! fn serve(request: Request) -> tawi::Result<Response> {
//!     match (request.method(), request.uri().path()) {
//!         (&Method::GET, "/hello") => Ok(http::text("hello\n")),
//!         (&Method::POST, "/echo") => Ok(Response::new(request.into_body())),
//!         (&Method::GET, "/count") => Ok(Response::new(Body::stream(|out| {
//!             for i in 0..3 {
//!                 writeln!(out, "{i}")?;
//!                 out.flush()?;
//!             }
//!             Ok(())
//!         }))),
//!         _ => Ok(http::status(StatusCode::NOT_FOUND, "try /hello\n")),
//!     }
//! }
//!
//! let host = tawi::testing::Host::new();
//! let response = host.serve(serve, http::get("/count"))?;
//! assert_eq!(response.into_body().text()?, "0\n1\n2\n");
//! # Ok::<(), tawi::Error>(())
//! ```
//!
//! The path is the one below the app: `/run/APP/hello` and `APP.localhost/hello` are both `/hello`.
//!
//! What a handler published, wrote and commanded before it returns is committed before the head of its answer is sent; what a
//! streaming body does after that, when the body ends. An error instead of a response is answered with a 500 and an id that finds the
//! error in the log, and nothing is committed. An answer of any status is an answer, and what came before it is committed.

mod body;
#[cfg(target_arch = "wasm32")]
mod node;

use crate::{Error, Result, host};
use serde::Serialize;

pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
pub use body::Body;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use node::__handle;
#[cfg(target_arch = "wasm32")]
pub(crate) use node::fetch as fetch_from_node;

/// A request with its body.
pub type Request<B = Body> = ::http::Request<B>;
/// A response with its body.
pub type Response<B = Body> = ::http::Response<B>;

/// Makes a request, and waits for the head of the response; its body is read as it comes.
///
/// This happens at once, whether the call succeeds or not, so send [`Event::id`](crate::Event::id) along where twice would be too
/// often. A host that is not granted is refused as [`ErrorKind::Denied`](crate::ErrorKind::Denied); one that does not answer is
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
///
/// ```
/// use tawi::http;
///
/// let host = tawi::testing::Host::new();
/// host.on_fetch(|request| http::text(format!("{} says hello", request.uri())));
/// let response = http::fetch(http::get("https://api.example.com/hello"))?;
/// assert_eq!(response.into_body().text()?, "https://api.example.com/hello says hello");
/// # Ok::<(), tawi::Error>(())
/// ```
pub fn fetch<B: Into<Body>>(request: Request<B>) -> Result<Response> {
    host::fetch(request.map(Into::into))
}

/// A GET request.
///
/// # Panics
///
/// When `uri` is none. Where it is not your own text, parse it: `uri.parse::<Uri>()?`.
#[track_caller]
pub fn get(uri: impl AsRef<str>) -> Request {
    of_uri(Method::GET, uri.as_ref(), Body::empty())
}

/// A POST request.
///
/// # Panics
///
/// When `uri` is none. Where it is not your own text, parse it: `uri.parse::<Uri>()?`.
#[track_caller]
pub fn post(uri: impl AsRef<str>, body: impl Into<Body>) -> Request {
    of_uri(Method::POST, uri.as_ref(), body.into())
}

#[track_caller]
fn of_uri(method: Method, uri: &str, body: Body) -> Request {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    match uri.parse() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(error) => panic!("`{uri}` is not a URI: {error}"),
    }
    request
}

/// 200 with a plain text.
pub fn text(text: impl Into<String>) -> Response {
    of_type("text/plain; charset=utf-8", text.into())
}

/// 200 with a page.
pub fn html(page: impl Into<String>) -> Response {
    of_type("text/html; charset=utf-8", page.into())
}

/// 200 with anything that serde knows.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Response> {
    let text = serde_json::to_string(value).map_err(|e| Error::invalid(format!("an answer can't be written as JSON: {e}")))?;
    Ok(of_type("application/json", text))
}

/// Any status with a plain text.
pub fn status(status: StatusCode, text: impl Into<String>) -> Response {
    let mut response = self::text(text);
    *response.status_mut() = status;
    response
}

fn of_type(content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The first value of a name in the query of a URI, decoded.
///
/// ```
/// let uri = "/find?q=value%3A%3E8+AND+device:fridge1&n=".parse().unwrap();
/// assert_eq!(tawi::http::query(&uri, "q").as_deref(), Some("value:>8 AND device:fridge1"));
/// assert_eq!(tawi::http::query(&uri, "n").as_deref(), Some(""));
/// assert_eq!(tawi::http::query(&uri, "page"), None);
/// ```
pub fn query(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).find(|(key, _)| decode(key) == name).map(|(_, value)| decode(value))
}

/// Undoes percent-encoding and `+` for a space. What is no code stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.push(if byte == b'+' { b' ' } else { byte });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What an HTTP handler may return: a response, or a `Result` of one.
#[diagnostic::on_unimplemented(message = "an HTTP handler returns a `Response` or a `Result` of one", label = "returns `{Self}`")]
pub trait Answer {
    #[doc(hidden)]
    fn answer(self) -> Result<Response>;
}

impl<B: Into<Body>> Answer for Response<B> {
    fn answer(self) -> Result<Response> {
        Ok(self.map(Into::into))
    }
}

impl<B: Into<Body>, E: Into<Error>> Answer for Result<Response<B>, E> {
    fn answer(self) -> Result<Response> {
        self.map(|response| response.map(Into::into)).map_err(Into::into)
    }
}

/// What `#[tawi::http]` puts beside the handler: the export of the component.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __http {
    ($handler:ident) => {
        const _: () = {
            struct Handler;
            impl $crate::bindings::http::exports::wasi::http::incoming_handler::Guest for Handler {
                fn handle(
                    request: $crate::bindings::guest::wasi::http::types::IncomingRequest,
                    response: $crate::bindings::guest::wasi::http::types::ResponseOutparam,
                ) {
                    $crate::http::__handle($handler, request, response)
                }
            }
    $crate::bindings::http::export_http!(Handler with_types_in $crate::bindings::http);
        };
        #[doc(hidden)]
        mod __an_app_has_one_http_handler {}
    };
}

/// Off wasm there is nothing to export; the handler's type is checked all the same.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __http {
    ($handler:ident) => {
        const _: fn($crate::http::Request) -> $crate::Result<$crate::http::Response> =
            |request| $crate::http::Answer::answer($handler(request));
        #[doc(hidden)]
        mod __an_app_has_one_http_handler {}
    };
}
