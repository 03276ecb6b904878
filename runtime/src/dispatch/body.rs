//! A request body that a call can be run on again, as far as it has been read.

use crate::model::limit::{HTTP_BODY_BYTES_MAX, HTTP_DRAIN_BODY_BYTES_MAX, HTTP_REPLAY_BODY_BYTES_MAX};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Sleep;
use wasmtime_wasi_http::Error;

pub type Source = Pin<Box<dyn Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>> + Send>>;

/// Keeps what was read of a body, for the next attempt.
#[derive(Clone)]
pub struct Kept {
    inner: Arc<Mutex<Inner>>,
    /// The client may send nothing for so long.
    idle: Duration,
}

struct Inner {
    source: Source,
    read: Vec<Bytes>,
    bytes: usize,
    ended: bool,
}

/// How long a client may take to send what nobody reads.
const DRAIN: Duration = Duration::from_secs(5);

/// A connection that is closed while its client still sends is reset, and the client may never see its answer.
impl Drop for Inner {
    fn drop(&mut self) {
        if self.ended || self.source.is_end_stream() {
            return;
        }
        let nothing = http_body_util::Empty::new().map_err(|never| match never {});
        let source: Source = std::mem::replace(&mut self.source, Box::pin(nothing));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(DRAIN, drain(source)));
        }
    }
}

async fn drain(mut source: Source) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = source.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > HTTP_DRAIN_BODY_BYTES_MAX {
            return;
        }
    }
}

/// One attempt's view: what was read before, then the rest.
pub struct Again {
    kept: Kept,
    next: usize,
    /// Runs out when the client has sent nothing for too long.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Kept {
    pub fn new(source: Source, idle: Duration) -> Kept {
        Kept { inner: Arc::new(Mutex::new(Inner { source, read: Vec::new(), bytes: 0, ended: false })), idle }
    }

    pub fn again(&self) -> Again {
        Again { kept: self.clone(), next: 0, patience: None }
    }

    /// False once more was read than is kept.
    pub fn is_whole(&self) -> bool {
        self.inner.lock().bytes <= HTTP_REPLAY_BODY_BYTES_MAX
    }
}

impl Body for Again {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let kept = self.kept.clone();
        let mut inner = kept.inner.lock();
        if let Some(data) = inner.read.get(self.next) {
            let data = data.clone();
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if inner.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = inner.source.as_mut().poll_frame(cx) else {
            let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(kept.idle)));
            return patience.as_mut().poll(cx).map(|()| Some(Err(Error::ConnectionReadTimeout)));
        };
        self.patience = None;
        let Some(frame) = frame else {
            inner.ended = true;
            return Poll::Ready(None);
        };
        let data = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => data,
            // Trailers mean nothing to wasi:http 0.2 handlers of ours; skipping them ends the body.
            Ok(Err(_)) => Bytes::new(),
            Err(error) => return Poll::Ready(Some(Err(Error::InternalError(Some(error.to_string()))))),
        };
        inner.bytes += data.len();
        if inner.bytes > HTTP_BODY_BYTES_MAX {
            return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(HTTP_BODY_BYTES_MAX as u64)))));
        }
        if inner.bytes <= HTTP_REPLAY_BODY_BYTES_MAX {
            inner.read.push(data.clone());
            self.next += 1;
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;

    #[tokio::test]
    async fn a_client_that_sends_nothing_more_is_not_waited_for_without_end() {
        let some = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"some")))]);
        let source: Source = Box::pin(StreamBody::new(futures::StreamExt::chain(some, futures::stream::pending())));
        let kept = Kept::new(source, Duration::from_millis(5));
        for _ in 0..2 {
            let mut body = kept.again();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "some");
            assert!(matches!(body.frame().await, Some(Err(Error::ConnectionReadTimeout))));
        }
    }

    /// A function answered without a look at it, while its client still sends.
    #[tokio::test]
    async fn what_nobody_read_of_a_body_is_taken_from_the_client_up_to_a_limit() {
        const PIECE: usize = 64 * 1024;
        for (pieces, taken) in [(3, 3), (1_000, HTTP_DRAIN_BODY_BYTES_MAX / PIECE + 1)] {
            let (sent, mut told) = tokio::sync::mpsc::unbounded_channel();
            let pieces = futures::stream::iter((0..pieces).map(move |_| {
                sent.send(()).unwrap();
                Ok(Frame::data(Bytes::from(vec![0; PIECE])))
            }));
            drop(Kept::new(Box::pin(StreamBody::new(pieces)), Duration::from_secs(1)));
            let mut count = 0;
            // Until the body is let go.
            while told.recv().await.is_some() {
                count += 1;
            }
            assert_eq!(count, taken);
        }
    }
}
