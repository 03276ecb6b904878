//! `wasi:http`, both ways, by way of the generated bindings.
//! In: handles of the host. Out: types of the crate `http`. Never: a whole body in memory that nobody asked for.

use super::{Answer, Body, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, body::Source};
use crate::bindings::guest::wasi::http::{outgoing_handler, types as wasi};
use crate::bindings::guest::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::{Error, ErrorKind, Result, log};
use std::io::{self, Read, Write};

/// Bytes collected before they are handed to the host: a call of it costs more than a copy.
const PIECE_BYTES: usize = 16 * 1024;

#[doc(hidden)]
pub fn __handle<A: Answer>(handler: fn(Request) -> A, request: wasi::IncomingRequest, answer: wasi::ResponseOutparam) {
    log::start();
    let head_only = matches!(request.method(), wasi::Method::Head);
    let response = incoming(request).and_then(|request| match request {
        Ok(request) => handler(request).answer(),
        Err(why) => Ok(super::status(StatusCode::BAD_REQUEST, why)),
    });
    let sent = response.and_then(|response| {
        let (head, body) = response.into_parts();
        let source = body.into_source();
        let response = wasi::OutgoingResponse::new(fields(&head.headers, &source, head_only)?);
        response.set_status_code(head.status.as_u16()).map_err(|()| Error::reject(format!("no status code: {}", head.status)))?;
        let body = response.body().map_err(|()| Error::reject("the response has no body"))?;
        Ok((response, body, source))
    });
    match sent {
        Ok((response, body, source)) => {
            wasi::ResponseOutparam::set(answer, Ok(response));
            if let Err(error) = send(body, source, head_only) {
                // The head is gone: all that is left to say so is to break off, and what came after the head is dropped.
                log::write(log::Level::Error, "tawi::http", format_args!("the body of the answer broke off: {error}"));
                std::process::abort();
            }
        }
        Err(error) => {
            log::write(log::Level::Error, "tawi::http", format_args!("{error}"));
            wasi::ResponseOutparam::set(answer, Err(wasi::ErrorCode::InternalError(Some(error.reason().to_owned()))));
        }
    }
}

/// The request, or in the inner error why it is none.
fn incoming(request: wasi::IncomingRequest) -> Result<Result<Request, String>> {
    let body = request.consume().map_err(|()| Error::retry("the request has no body"))?;
    let mut whole = Request::new(reader(body)?);
    *whole.method_mut() = match method_of(request.method()) {
        Ok(method) => method,
        Err(error) => return Ok(Err(format!("no method: {error}\n"))),
    };
    let path = request.path_with_query().unwrap_or_else(|| "/".to_owned());
    *whole.uri_mut() = match path.parse::<Uri>() {
        Ok(uri) => uri,
        Err(error) => return Ok(Err(format!("no path: {error}\n"))),
    };
    let headers = request.headers();
    *whole.headers_mut() = header_map(&headers)?;
    // The host parses the `host` header away; a handler looks for it there all the same.
    if let Some(Ok(authority)) = request.authority().map(HeaderValue::try_from) {
        whole.headers_mut().entry(super::header::HOST).or_insert(authority);
    }
    Ok(Ok(whole))
}

fn method_of(method: wasi::Method) -> Result<Method, ::http::method::InvalidMethod> {
    Ok(match method {
        wasi::Method::Get => Method::GET,
        wasi::Method::Head => Method::HEAD,
        wasi::Method::Post => Method::POST,
        wasi::Method::Put => Method::PUT,
        wasi::Method::Delete => Method::DELETE,
        wasi::Method::Connect => Method::CONNECT,
        wasi::Method::Options => Method::OPTIONS,
        wasi::Method::Trace => Method::TRACE,
        wasi::Method::Patch => Method::PATCH,
        wasi::Method::Other(name) => name.parse()?,
    })
}

fn method_to(method: &Method) -> wasi::Method {
    match method.as_str() {
        "GET" => wasi::Method::Get,
        "HEAD" => wasi::Method::Head,
        "POST" => wasi::Method::Post,
        "PUT" => wasi::Method::Put,
        "DELETE" => wasi::Method::Delete,
        "CONNECT" => wasi::Method::Connect,
        "OPTIONS" => wasi::Method::Options,
        "TRACE" => wasi::Method::Trace,
        "PATCH" => wasi::Method::Patch,
        other => wasi::Method::Other(other.to_owned()),
    }
}

fn header_map(fields: &wasi::Fields) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields.entries() {
        headers.append(HeaderName::try_from(name)?, HeaderValue::from_bytes(&value)?);
    }
    Ok(headers)
}

/// The headers for the host, with the body's length where it is known and nobody has said it.
fn fields(headers: &HeaderMap, source: &Source, no_body: bool) -> Result<wasi::Fields> {
    let fields = wasi::Fields::new();
    let append =
        |name: &str, value: &[u8]| fields.append(name, value).map_err(|e| Error::reject(format!("the header `{name}` can't be sent: {e}")));
    for (name, value) in headers {
        append(name.as_str(), value.as_bytes())?;
    }
    match source {
        Source::Whole(bytes) if !no_body && !headers.contains_key(super::header::CONTENT_LENGTH) => {
            append("content-length", bytes.len().to_string().as_bytes())?;
        }
        _ => {}
    }
    Ok(fields)
}

pub fn fetch(request: Request) -> Result<Response> {
    let (head, body) = request.into_parts();
    let source = body.into_source();
    let nothing_to_send = matches!(&source, Source::Whole(bytes) if bytes.is_empty());
    let outgoing = wasi::OutgoingRequest::new(fields(&head.headers, &source, nothing_to_send)?);
    let wrong = |what: &str| Error::invalid(format!("`{}` has no {what} that can be asked", head.uri));
    let scheme = match head.uri.scheme_str() {
        Some("http") => wasi::Scheme::Http,
        Some("https") => wasi::Scheme::Https,
        _ => return Err(wrong("scheme")),
    };
    let host = head.uri.authority().map(|authority| authority.as_str().to_owned()).ok_or_else(|| wrong("host"))?;
    outgoing.set_method(&method_to(&head.method)).map_err(|()| wrong("method"))?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| wrong("scheme"))?;
    outgoing.set_authority(Some(&host)).map_err(|()| wrong("host"))?;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    outgoing.set_path_with_query(Some(path)).map_err(|()| wrong("path"))?;
    let body = outgoing.body().map_err(|()| Error::retry("the request has no body"))?;
    let answer = outgoing_handler::handle(outgoing, None).map_err(|code| not_answered(&host, code))?;
    send(body, source, false)?;
    answer.subscribe().block();
    let response = match answer.get() {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(code))) => return Err(not_answered(&host, code)),
        Some(Err(())) | None => return Err(Error::retry(format!("`{host}` gave no answer"))),
    };
    let body = response.consume().map_err(|()| Error::retry("the response has no body"))?;
    let mut whole = Response::new(reader(body)?);
    *whole.status_mut() = StatusCode::from_u16(response.status())?;
    *whole.headers_mut() = header_map(&response.headers())?;
    Ok(whole)
}

fn not_answered(host: &str, code: wasi::ErrorCode) -> Error {
    match code {
        wasi::ErrorCode::HttpRequestDenied => {
            Error::of(ErrorKind::Denied, format!("a request to `{host}` is not granted: add it to `http` under [grant] in tawi.toml"))
        }
        wasi::ErrorCode::DestinationIpProhibited => {
            let why = format!("`{host}` leads into a private net: if that is meant, add it to `http-private` under [grant] in tawi.toml");
            Error::of(ErrorKind::Denied, why)
        }
        code => Error::of(ErrorKind::Unavailable, format!("`{host}` did not answer: {code:?}")),
    }
}

fn reader(body: wasi::IncomingBody) -> Result<Body> {
    let stream = body.stream().map_err(|()| Error::retry("the body is read already"))?;
    Ok(Body::reader(Incoming { stream, _body: body }))
}

/// A body that comes in. The stream goes before the body it is of.
struct Incoming {
    stream: InputStream,
    _body: wasi::IncomingBody,
}

impl Read for Incoming {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            match self.stream.blocking_read(into.len() as u64) {
                // Nothing yet: not the end.
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    into[..bytes.len()].copy_from_slice(&bytes);
                    return Ok(bytes.len());
                }
                Err(StreamError::Closed) => return Ok(0),
                Err(StreamError::LastOperationFailed(error)) => return Err(io::Error::other(error.to_debug_string())),
            }
        }
    }
}

/// Writes a body to its end. A client that went away does not concern a body that was whole already.
fn send(body: wasi::OutgoingBody, source: Source, no_body: bool) -> Result {
    let stream = body.write().map_err(|()| Error::retry("the body is written already"))?;
    let mut out = Outgoing { stream, piece: Vec::new() };
    match source {
        _ if no_body => {}
        Source::Whole(bytes) => {
            if out.send(&bytes).is_err() {
                return Ok(());
            }
        }
        Source::Stream(produce) => {
            produce(&mut out)?;
            out.flush()?;
        }
    }
    drop(out);
    match wasi::OutgoingBody::finish(body, None) {
        Ok(()) => Ok(()),
        Err(_) if no_body => Ok(()),
        Err(code) => Err(Error::retry(format!("the body can't be ended: {code:?}"))),
    }
}

/// A body that goes out.
struct Outgoing {
    stream: OutputStream,
    piece: Vec<u8>,
}

impl Outgoing {
    fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = usize::try_from(self.stream.check_write().map_err(gone)?).unwrap_or(usize::MAX);
            if room == 0 {
                self.stream.subscribe().block();
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.stream.write(now).map_err(gone)?;
            bytes = later;
        }
        self.stream.flush().map_err(gone)
    }
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        self.send(&piece)
    }
}

fn gone(error: StreamError) -> io::Error {
    match error {
        StreamError::Closed => io::ErrorKind::BrokenPipe.into(),
        StreamError::LastOperationFailed(error) => io::Error::other(error.to_debug_string()),
    }
}
