//! What an HTTP handler of WASI 0.3 can do: bodies both ways at once, failures at every point, requests to others.
#![cfg(target_arch = "wasm32")]

use std::time::Duration;
use tawi::{Event, http as tools, json, publish, state};
use wasip3::{
    clocks::{monotonic_clock::wait_for, system_clock},
    exports::http::handler::Guest,
    http::{
        client,
        types::{ErrorCode, Fields, Request, Response, Scheme},
    },
    random::random::get_random_u64,
    wit_bindgen::{FutureReader, StreamReader, StreamWriter, spawn_local},
    wit_future, wit_stream,
};

wasip3::http::service::export!(Probe);

struct Probe;

/// Events come to the same component, on the same engine.
#[tawi::event]
fn keep(event: Event) -> tawi::Result {
    state::set(&format!("seen/{}", event.sequence()), &1)?;
    publish("probe.event", &event.device())
}

impl Guest for Probe {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let uri: tools::Uri = target.parse().map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
        let text = |name| tools::query(&uri, name);
        let number = |name, default| text(name).and_then(|n| n.parse::<u64>().ok()).unwrap_or(default);
        match uri.path() {
            // The node passes the body on by itself, when this has long returned.
            "/echo" => Ok(answer(200, body_of(request))),
            // Each piece goes back before the next one is there.
            "/upper" => Ok(upper(body_of(request))),
            "/length" => Ok(plain(200, body_of(request).collect().await.len().to_string())),
            "/request" => Ok(plain(200, as_json(&request))),
            "/status" => Ok(plain(u16::try_from(number("code", 418)).unwrap_or(418), "as told\n".to_owned())),
            "/stream" => {
                let (pieces, bytes, wait) = (number("pieces", 3), number("bytes", 10), number("wait_ms", 0));
                let piece = vec![b'x'; usize::try_from(bytes).unwrap_or(0)];
                Ok(streamed(async move |mut out| {
                    for _ in 0..pieces {
                        if !out.write_all(piece.clone()).await.is_empty() {
                            return;
                        }
                        wait_for(millis(wait)).await;
                    }
                }))
            }
            "/late" | "/late-trap" | "/late-only" => Ok(late(uri.path().to_owned())),
            "/told" => Ok(told()),
            "/trap" => {
                let _ = publish("probe.trap", &1);
                panic!("as told")
            }
            "/error" => Err(ErrorCode::InternalError(Some("as told".to_owned()))),
            "/loop" => loop {
                std::hint::spin_loop();
            },
            "/wait" => {
                wait_for(millis(number("ms", 3_600_000))).await;
                Ok(plain(200, "waited\n".to_owned()))
            }
            "/late-loop" => Ok(streamed(async move |mut out| {
                out.write_all(b"some".to_vec()).await;
                loop {
                    std::hint::spin_loop();
                }
            })),
            "/memory" => {
                let mut held = Vec::new();
                loop {
                    held.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            "/handles" => {
                let mut held = Vec::new();
                loop {
                    held.push(wit_stream::new::<u8>());
                }
            }
            "/fetch" => Ok(plain(200, fetch(text("authority").unwrap_or_default()).await)),
            "/clock" => {
                let now = || (system_clock::now().seconds, system_clock::now().nanoseconds);
                let before = now();
                wait_for(millis(2)).await;
                eprintln!("a line of the log");
                Ok(plain(200, json!({ "fixed": before == now(), "seconds": before.0, "random": get_random_u64() }).to_string()))
            }
            "/seen" => {
                let seen = state::entries::<u64>("seen/").collect::<tawi::Result<Vec<_>>>();
                let seen = seen.map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
                Ok(plain(200, seen.len().to_string()))
            }
            _ => Ok(plain(404, "no such probe\n".to_owned())),
        }
    }
}

fn millis(wait: u64) -> u64 {
    u64::try_from(Duration::from_millis(wait).as_nanos()).unwrap_or(u64::MAX)
}

fn body_of(request: Request) -> StreamReader<u8> {
    let (_, read) = wit_future::new(|| Ok(()));
    Request::consume_body(request, read).0
}

fn answer(status: u16, body: StreamReader<u8>) -> Response {
    answer_told(status, body).0
}

fn answer_told(status: u16, body: StreamReader<u8>) -> (Response, FutureReader<Result<(), ErrorCode>>) {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, sent) = Response::new(Fields::new(), Some(body), trailers);
    let _ = response.set_status_code(status);
    (response, sent)
}

/// An answer whose body is written while it is on its way.
fn streamed(write: impl AsyncFnOnce(StreamWriter<u8>) + 'static) -> Response {
    let (out, body) = wit_stream::new();
    spawn_local(async move { write(out).await });
    answer(200, body)
}

fn plain(status: u16, text: String) -> Response {
    let (mut out, body) = wit_stream::new();
    spawn_local(async move { out.write_all(text.into_bytes()).await });
    answer(status, body)
}

fn upper(mut body: StreamReader<u8>) -> Response {
    streamed(async move |mut out| {
        loop {
            let (status, mut piece) = body.read(Vec::with_capacity(16 << 10)).await;
            piece.make_ascii_uppercase();
            let is_last = piece.is_empty() && !matches!(status, wasip3::wit_bindgen::StreamResult::Complete(_));
            if is_last || !out.write_all(piece).await.is_empty() {
                return;
            }
        }
    })
}

/// What is published before the head is kept, what after it only if the handler ends well.
fn late(path: String) -> Response {
    if path != "/late-only" {
        let _ = publish("probe.head", &path);
    }
    streamed(async move |mut out| {
        out.write_all(b"some".to_vec()).await;
        let _ = publish("probe.body", &path);
        assert!(path != "/late-trap", "as told");
    })
}

/// Publishes what became of its answer.
fn told() -> Response {
    let (mut out, body) = wit_stream::new();
    let (response, sent) = answer_told(200, body);
    spawn_local(async move {
        out.write_all(b"some".to_vec()).await;
        drop(out);
        let _ = publish("probe.told", &sent.await.is_ok());
    });
    response
}

async fn fetch(authority: String) -> String {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    let _ = request.set_scheme(Some(&Scheme::Http));
    let _ = request.set_authority(Some(&authority));
    let _ = request.set_path_with_query(Some("/asked"));
    match client::send(request).await {
        Err(error) => format!("{error:?}"),
        Ok(response) => {
            let status = response.get_status_code();
            let (_, read) = wit_future::new(|| Ok(()));
            let body = Response::consume_body(response, read).0.collect().await;
            format!("{status} {}", String::from_utf8_lossy(&body))
        }
    }
}

fn as_json(request: &Request) -> String {
    let headers: Vec<_> = request.get_headers().copy_all();
    let headers = headers.into_iter().map(|(name, value)| json!([name, String::from_utf8_lossy(&value)]));
    json!({
        "method": format!("{:?}", request.get_method()),
        "scheme": request.get_scheme().map(|scheme| format!("{scheme:?}")),
        "authority": request.get_authority(),
        "target": request.get_path_with_query(),
        "headers": headers.collect::<Vec<_>>(),
    })
    .to_string()
}
