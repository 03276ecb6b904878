//! A request body that a call can be run on again, as far as it has been read.

use crate::model::limit::{HTTP_BODY_BYTES_MAX, HTTP_REPLAY_BODY_BYTES_MAX};
use bytes::Bytes;
use http_body::{Body, Frame};
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use wasmtime_wasi_http::Error;

pub type Source = Pin<Box<dyn Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>> + Send>>;

/// Keeps what was read of a body, for the next attempt.
#[derive(Clone)]
pub struct Kept(Arc<Mutex<Inner>>);

struct Inner {
    source: Source,
    read: Vec<Bytes>,
    bytes: usize,
    ended: bool,
}

/// One attempt's view: what was read before, then the rest.
pub struct Again {
    kept: Kept,
    next: usize,
}

impl Kept {
    pub fn new(source: Source) -> Kept {
        Kept(Arc::new(Mutex::new(Inner { source, read: Vec::new(), bytes: 0, ended: false })))
    }

    pub fn again(&self) -> Again {
        Again { kept: self.clone(), next: 0 }
    }

    /// False once more was read than is kept.
    pub fn is_whole(&self) -> bool {
        self.0.lock().bytes <= HTTP_REPLAY_BODY_BYTES_MAX
    }
}

impl Body for Again {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let kept = self.kept.clone();
        let mut inner = kept.0.lock();
        if let Some(data) = inner.read.get(self.next) {
            let data = data.clone();
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if inner.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = inner.source.as_mut().poll_frame(cx) else { return Poll::Pending };
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
