//! Connections: how many there may be, and how long each may take to say what it wants.

use crate::model::limit::{CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_SECONDS_MAX, TAKES_SECONDS_MAX};
use axum::{Router, body::Body};
use futures::FutureExt;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Before the next try when a connection can't be taken, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Who answers what comes in by a door.
pub trait Behind: Clone + Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send + 'static;
}

impl Behind for Router {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send + 'static {
        self.clone().oneshot(request).map(|answer| answer.unwrap_or_else(|never| match never {}))
    }
}

/// What a door of this node allows.
#[derive(Debug, Clone, Copy)]
pub struct Doorway {
    pub connections: usize,
    /// From the connection, or the answer before, to the end of a request's head.
    pub head: Duration,
    /// How long the other end may take nothing of what was sent.
    pub takes: Duration,
}

impl Default for Doorway {
    fn default() -> Doorway {
        Doorway { connections: CONNECTIONS_MAX, head: Duration::from_secs(HEAD_SECONDS_MAX), takes: Duration::from_secs(TAKES_SECONDS_MAX) }
    }
}

/// Serves until `stop`, then until the requests under way have ended. Dropped, it cuts them off. Who comes when all
/// connections are taken waits in the system's queue until one ends.
pub async fn serve(listener: TcpListener, behind: impl Behind, doorway: Doorway, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(doorway.connections));
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            (stream, place) = accept(&listener, &places) => {
                open.spawn(connection(stream, behind.clone(), doorway, stop.clone(), place));
            }
            Some(ended) = open.join_next() => note(ended),
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    while let Some(ended) = open.join_next().await {
        note(ended);
    }
}

/// [`serve`], and `drain` after `stop` an end to what is left.
pub async fn serve_and_drain(listener: TcpListener, behind: impl Behind, doorway: Doorway, stop: CancellationToken, drain: Duration) {
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        () = serve(listener, behind, doorway, stop.clone()) => {}
        () = overdue => tracing::warn!("requests that did not end within {drain:?} are cut off"),
    }
}

/// First the place, then the connection: one that was taken is always served.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // Nobody closes the places.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            // It was gone before we took it.
            Err(error) if is_of_the_other_end(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "can't take connections; trying again in {ACCEPT_PAUSE:?}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_the_other_end(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    behind: impl Behind,
    doorway: Doorway,
    stop: CancellationToken,
    _place: Option<OwnedSemaphorePermit>,
) {
    // The system ends it: a connection to which nothing can be written is not looked at from here.
    if let Err(error) = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(doorway.takes)) {
        tracing::debug!(%error, "a connection may stand still without end");
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small answers of a connection may wait");
    }
    let service = service_fn(|request| behind.answer(request).map(Ok::<_, Infallible>));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(doorway.head).max_buf_size(HEAD_BYTES_MAX);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(error = crate::telemetry::chain(&error), "a connection broke off");
    }
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection panicked");
    }
}

/// Lets this process have as many files open as the system allows it: a connection is one, and so is a piece of the history.
pub fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::{
        net::SocketAddr,
        sync::atomic::{AtomicUsize, Ordering},
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct Door {
        addr: SocketAddr,
        stop: CancellationToken,
        served: tokio::task::JoinHandle<()>,
    }

    async fn open(doorway: Doorway, router: Router) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        Door { addr, served: tokio::spawn(serve(listener, router, doorway, stop.clone())), stop }
    }

    fn hello() -> Router {
        Router::new().route("/", get(|| async { "hello" }))
    }

    async fn say(addr: SocketAddr, words: &str) -> TcpStream {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        stream
    }

    /// Everything until the other end closes.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        // A reset is an end as well.
        drop(stream.read_to_string(&mut text).await);
        text
    }

    const WHOLE: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn half_a_head_is_closed_and_others_are_served() {
        let door = open(Doorway { head: Duration::from_millis(50), ..Doorway::default() }, hello()).await;
        let half = say(door.addr, "GET / HTTP/1.1\r\nhost:").await;
        assert!(rest(say(door.addr, WHOLE).await).await.ends_with("hello"));
        // Well below hyper's own time for a head.
        let end = tokio::time::timeout(Duration::from_secs(10), rest(half)).await;
        assert!(end.is_ok_and(|text| !text.contains("200")));
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_is_served_when_one_is_free() {
        let doorway = Doorway { connections: 2, head: Duration::from_millis(50), ..Doorway::default() };
        let door = open(doorway, hello()).await;
        let idle = [say(door.addr, "GET").await, say(door.addr, "").await];
        let mut answers: Vec<_> = (0..20).map(|_| tokio::spawn(async move { rest(say(door.addr, WHOLE).await).await })).collect();
        for answer in answers.drain(..) {
            assert!(answer.await.unwrap().ends_with("hello"));
        }
        drop(idle);
    }

    #[tokio::test]
    async fn who_takes_nothing_of_its_answer_gives_its_place_to_others() {
        // More than the buffers of both ends hold.
        let large = || async { bytes::Bytes::from(vec![b'x'; 64 << 20]) };
        let doorway = Doorway { connections: 1, takes: Duration::from_millis(100), ..Doorway::default() };
        let door = open(doorway, hello().route("/large", get(large))).await;
        let stuck = say(door.addr, &WHOLE.replace("GET /", "GET /large")).await;
        let served = tokio::time::timeout(Duration::from_secs(30), async { rest(say(door.addr, WHOLE).await).await });
        assert!(served.await.is_ok_and(|text| text.ends_with("hello")));
        drop(stuck);
    }

    #[tokio::test]
    async fn there_are_never_more_connections_than_places() {
        static INSIDE: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let slow = Router::new().route(
            "/",
            get(|| async {
                MOST.fetch_max(1 + INSIDE.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                INSIDE.fetch_sub(1, Ordering::SeqCst);
                "done"
            }),
        );
        let door = open(Doorway { connections: 2, ..Doorway::default() }, slow).await;
        let mut streams = Vec::new();
        for _ in 0..10 {
            streams.push(say(door.addr, WHOLE).await);
        }
        for stream in streams {
            assert!(rest(stream).await.ends_with("done"));
        }
        assert_eq!(MOST.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_head_has_a_largest_size() {
        let door = open(Doorway::default(), hello()).await;
        let with = |bytes: usize| WHOLE.replace("host: x", &format!("host: x\r\nx: {}", "x".repeat(bytes)));
        assert!(rest(say(door.addr, &with(HEAD_BYTES_MAX / 2)).await).await.ends_with("hello"));
        assert!(!rest(say(door.addr, &with(HEAD_BYTES_MAX * 2)).await).await.contains("hello"));
    }

    #[tokio::test]
    async fn a_request_under_way_ends_before_the_door_is_closed() {
        let (entered, mut inside) = tokio::sync::mpsc::unbounded_channel();
        let leave = CancellationToken::new();
        let left = leave.clone();
        let slow = Router::new().route(
            "/",
            get(move || async move {
                entered.send(()).unwrap();
                left.cancelled().await;
                "done"
            }),
        );
        let door = open(Doorway::default(), slow).await;
        let idle = say(door.addr, "").await;
        let answer = tokio::spawn(rest(say(door.addr, WHOLE.replace("connection: close\r\n", "").as_str()).await));
        inside.recv().await.unwrap();
        door.stop.cancel();
        assert_eq!(rest(idle).await, "");
        assert!(TcpStream::connect(door.addr).await.is_err(), "the door is closed to newcomers");
        assert!(!door.served.is_finished());
        leave.cancel();
        assert!(answer.await.unwrap().ends_with("done"));
        door.served.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_is_cut_off_when_the_time_for_it_is_over() {
        let (entered, mut inside) = tokio::sync::mpsc::unbounded_channel();
        let endless = Router::new().route(
            "/",
            get(move || async move {
                entered.send(()).unwrap();
                std::future::pending::<&str>().await
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let served = tokio::spawn(serve_and_drain(listener, endless, Doorway::default(), stop.clone(), Duration::from_millis(20)));
        let answer = tokio::spawn(rest(say(addr, WHOLE).await));
        inside.recv().await.unwrap();
        stop.cancel();
        served.await.unwrap();
        assert_eq!(answer.await.unwrap(), "");
    }
}
