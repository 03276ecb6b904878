//! What HTTP can do: echo, headers, streams, statuses, failures at every point.

use tawi::http::{self, Body, HeaderValue, Request, Response, StatusCode, header};
use tawi::{Error, json, publish};

#[tawi::http]
fn serve(request: Request) -> tawi::Result<Response> {
    let number = |name, default| http::query(request.uri(), name).and_then(|n| n.parse::<u64>().ok()).unwrap_or(default);
    let path = request.uri().path().to_owned();
    match path.as_str() {
        // The body goes back while it still comes in.
        "/echo" => Ok(Response::new(request.into_body())),
        "/length" => Ok(http::text(request.into_body().bytes()?.len().to_string())),
        "/request" | "/private" => request_as_json(&request),
        // `?pieces=3&bytes=10&wait_ms=100`: each piece is sent before the next is made.
        "/stream" => {
            let (pieces, bytes, wait) = (number("pieces", 3), number("bytes", 10), number("wait_ms", 0));
            Ok(Response::new(Body::stream(move |out| {
                let piece = vec![b'x'; usize::try_from(bytes)?];
                for _ in 0..pieces {
                    out.write_all(&piece)?;
                    out.flush()?;
                    std::thread::sleep(std::time::Duration::from_millis(wait));
                }
                Ok(())
            })))
        }
        "/status" => Ok(http::status(StatusCode::from_u16(u16::try_from(number("code", 418))?)?, "as told\n")),
        "/error" => {
            publish("probe.error", &1)?;
            Err(Error::retry("as told"))
        }
        "/trap" => {
            publish("probe.trap", &1)?;
            panic!("as told")
        }
        // What is published before the head is kept, what after it only if the body ends well.
        "/late" | "/late-error" | "/late-trap" | "/late-only" => {
            if path != "/late-only" {
                publish("probe.head", &path)?;
            }
            Ok(Response::new(Body::stream(move |out| {
                write!(out, "some")?;
                out.flush()?;
                publish("probe.body", &path)?;
                match path.as_str() {
                    "/late-error" => Err(Error::retry("as told")),
                    "/late-trap" => panic!("as told"),
                    _ => Ok(()),
                }
            })))
        }
        _ => Ok(http::status(StatusCode::NOT_FOUND, "no such probe\n")),
    }
}

fn request_as_json(request: &Request) -> tawi::Result<Response> {
    let headers = request.headers().iter().map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]));
    let mut response = http::json(&json!({
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "query": request.uri().query(),
        "headers": headers.collect::<Vec<_>>(),
    }))?;
    response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static("a=1"));
    response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static("b=2"));
    Ok(response)
}
