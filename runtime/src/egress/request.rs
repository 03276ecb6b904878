//! One small request of the node itself: a body that is in memory, an answer of a few bytes.

use super::{EgressError, Reach, Target, bare, default_port};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header, uri::Authority};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::{error::Error, time::Duration};

/// What is asked of whom.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: Method,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// From the lookup to the last byte.
    pub seconds_max: u64,
    pub answer_bytes_max: usize,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Asks once. `reach` says how far the host may lead; none: it may not be asked.
pub async fn ask(ask: Ask, reach: impl Fn(&Authority, bool) -> Option<Reach>) -> Result<Answer, EgressError> {
    let seconds = ask.seconds_max;
    let (uri, tls) = url(&ask.url)?;
    let authority = uri.authority().cloned().ok_or_else(|| EgressError::Url(ask.url.clone()))?;
    let host = bare(authority.host()).to_owned();
    let reach = reach(&authority, tls).ok_or_else(|| EgressError::NotGranted(authority.to_string()))?;
    let port = authority.port_u16().unwrap_or(default_port(tls));
    let slow = EgressError::Slow { host: host.clone(), seconds };
    let asked = async {
        let target = Target::find(host, port, tls, reach).await?;
        send(target, request(ask.method, &uri, &authority, ask.headers, ask.body)?, ask.answer_bytes_max).await
    };
    tokio::time::timeout(Duration::from_secs(seconds), asked).await.unwrap_or(Err(slow))
}

/// A URL of a scheme that is spoken here, and whether it is the one with TLS.
pub fn url(text: &str) -> Result<(Uri, bool), EgressError> {
    let wrong = || EgressError::Url(text.chars().take(200).collect());
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(wrong()),
    };
    // A name and password in it would be logged with it.
    match uri.authority() {
        Some(authority) if !authority.as_str().contains('@') && !authority.host().is_empty() => Ok((uri, tls)),
        _ => Err(wrong()),
    }
}

fn request(method: Method, uri: &Uri, authority: &Authority, headers: HeaderMap, body: Bytes) -> Result<Request<Full<Bytes>>, EgressError> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|_| EgressError::Url(uri.to_string()))?;
    *request.headers_mut() = headers;
    let host = authority.as_str().parse().map_err(|_| EgressError::Url(uri.to_string()))?;
    request.headers_mut().insert(header::HOST, host);
    request.headers_mut().entry(header::USER_AGENT).or_insert(header::HeaderValue::from_static("tawi"));
    Ok(request)
}

async fn send(target: Target, request: Request<Full<Bytes>>, max: usize) -> Result<Answer, EgressError> {
    let stream = target.connect().await?;
    let host = target.host;
    let failed = |source| EgressError::Http { host: host.clone(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let answer = async {
        let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
        let body = Limited::new(body, max).collect().await.map_err(|error| broken(&host, head.status, max, error))?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It ends when the server closes; what has arrived until then is still read.
        _ = &mut connection => answer.await,
    }
}

fn broken(host: &str, status: StatusCode, max: usize, error: Box<dyn Error + Send + Sync>) -> EgressError {
    let host = host.to_owned();
    if error.is::<LengthLimitError>() {
        return EgressError::TooLarge { host, max, status };
    }
    match error.downcast::<hyper::Error>() {
        Ok(source) => EgressError::Http { host, source: *source },
        Err(other) => EgressError::Connect { host, source: std::io::Error::other(other) },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn server(answer: &'static str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?a=1", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 4_096];
            let read = stream.read(&mut heard).await.unwrap();
            let asked = String::from_utf8_lossy(&heard[..read]).to_string();
            let right = asked.starts_with("POST /hook?a=1 HTTP/1.1\r\n") && asked.ends_with("\r\n\r\nhello");
            let answer = if right { answer } else { "HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n" };
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        url
    }

    fn post(url: String, seconds_max: u64, answer_bytes_max: usize) -> Ask {
        Ask { method: Method::POST, url, headers: HeaderMap::new(), body: "hello".into(), seconds_max, answer_bytes_max }
    }

    #[tokio::test]
    async fn an_answer_comes_whole_or_not_at_all() {
        let anywhere = |_: &Authority, _| Some(Reach::Anywhere);
        let url = server("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine").await;
        let answer = ask(post(url, 10, 4), anywhere).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"fine"[..]));
        let url = server("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfine!").await;
        assert!(matches!(ask(post(url, 10, 4), anywhere).await, Err(EgressError::TooLarge { status: StatusCode::OK, .. })));
        let url = server("HTTP/1.1 500 Sorry\r\ncontent-length: 5\r\n\r\nsorry").await;
        let failed = ask(post(url, 10, 4), anywhere).await;
        assert!(matches!(failed, Err(EgressError::TooLarge { status: StatusCode::INTERNAL_SERVER_ERROR, .. })));
        let url = server("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine").await;
        assert!(matches!(ask(post(url, 10, 100), anywhere).await, Err(EgressError::Http { .. })));
    }

    #[tokio::test]
    async fn nobody_is_asked_who_may_not_be() {
        let url = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert!(matches!(ask(post(url.clone(), 10, 4), |_, _| None).await, Err(EgressError::NotGranted(_))));
        assert!(matches!(ask(post(url, 10, 4), |_, _| Some(Reach::Public)).await, Err(EgressError::Private(_))));
        for wrong in ["", "ftp://x/", "/hook", "http://", "https://a:b@x/"] {
            let asked = ask(post(wrong.to_owned(), 10, 4), |_, _| Some(Reach::Anywhere)).await;
            assert!(matches!(asked, Err(EgressError::Url(_))), "{wrong}");
        }
    }

    #[tokio::test]
    async fn who_never_answers_is_given_up_after_a_while() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let asked = ask(post(url, 1, 4), |_, _| Some(Reach::Anywhere)).await;
        assert!(matches!(asked, Err(EgressError::Slow { seconds: 1, .. })));
    }
}
