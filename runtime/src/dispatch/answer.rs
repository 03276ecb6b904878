//! An answer's body on its way to the client, and whether the client takes it.

use super::http::BoxError;
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use wasmtime_wasi_http::WasiBody;

/// The body of an answer.
pub enum Answer {
    /// All of it is here: the handler had returned before its head was sent.
    Ready(Full<Bytes>),
    Streams(Whole),
}

/// A body that is whole only when the handler has returned and what it asked for is durable.
pub struct Whole {
    /// What was taken from the body before.
    ahead: VecDeque<Piece>,
    body: WasiBody,
    end: Option<oneshot::Receiver<Result<(), String>>>,
    pace: Option<Arc<Pace>>,
}

type Piece = Result<Frame<Bytes>, BoxError>;

/// A body of so many bytes is put together to leave with its head; a larger one goes piece by piece.
const READY_BYTES_MAX: usize = 64 * 1024;

impl Answer {
    /// Of a handler that has returned, with nothing left to wait for.
    pub fn of_ended(mut body: WasiBody) -> Answer {
        let (mut ahead, mut size) = (VecDeque::new(), 0);
        // Its own pieces lie ready; a body that it passed on may be long, or not be there yet.
        while size <= READY_BYTES_MAX
            && let Some(next) = body.frame().now_or_never()
        {
            let Some(frame) = next else { return Answer::Ready(Full::new(one(ahead, size))) };
            // What is no bytes, trailers or an error, has no place in one piece of them.
            size += frame.as_ref().ok().and_then(Frame::data_ref).map_or(READY_BYTES_MAX + 1, |bytes| bytes.len().max(1));
            ahead.push_back(frame.map_err(|error| Box::new(error) as BoxError));
        }
        Answer::Streams(Whole { ahead, body, end: None, pace: None })
    }

    /// Of a handler that goes on; `end` tells how.
    pub fn of_running(body: WasiBody, end: oneshot::Receiver<Result<(), String>>, pace: Arc<Pace>) -> Answer {
        Answer::Streams(Whole { ahead: VecDeque::new(), body, end: Some(end), pace: Some(pace) })
    }
}

fn one(mut pieces: VecDeque<Piece>, size: usize) -> Bytes {
    let bytes = |piece: Piece| piece.ok().and_then(|frame| frame.into_data().ok()).unwrap_or_default();
    if pieces.len() <= 1 {
        return pieces.pop_front().map(bytes).unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(size);
    pieces.into_iter().for_each(|piece| whole.extend_from_slice(&bytes(piece)));
    whole.freeze()
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        match self.get_mut() {
            Answer::Ready(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Answer::Streams(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Answer::Ready(body) if body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Ready(body) => body.size_hint(),
            Answer::Streams(_) => SizeHint::default(),
        }
    }
}

/// Since when it is the client's turn; none while it waits for the handler.
pub struct Pace(Mutex<Option<Instant>>);

impl Pace {
    pub fn new() -> Arc<Pace> {
        Arc::new(Pace(Mutex::new(Some(Instant::now()))))
    }

    fn turn(&self, since: Option<Instant>) {
        *self.0.lock() = since;
    }

    /// Returns once the client has taken nothing for so long.
    pub async fn stalled(&self, idle: Duration) {
        loop {
            let waited = self.0.lock().map_or(Duration::ZERO, |since| since.elapsed());
            if waited >= idle {
                return;
            }
            tokio::time::sleep(idle - waited).await;
        }
    }
}

impl Whole {
    fn turn(&self, since: Option<Instant>) {
        if let Some(pace) = &self.pace {
            pace.turn(since);
        }
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        if let Some(piece) = self.ahead.pop_front() {
            return Poll::Ready(Some(piece));
        }
        self.turn(None);
        if let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            self.turn(Some(Instant::now()));
            return Poll::Ready(Some(frame.map_err(|error| Box::new(error) as BoxError)));
        }
        let Some(end) = &mut self.end else { return Poll::Ready(None) };
        let Poll::Ready(ended) = Pin::new(end).poll(cx) else { return Poll::Pending };
        self.end = None;
        match ended {
            Ok(Ok(())) => Poll::Ready(None),
            Ok(Err(reason)) => Poll::Ready(Some(Err(reason.into()))),
            Err(_) => Poll::Ready(Some(Err("the node is stopping".into()))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};
    use wasmtime_wasi_http::Error;

    fn body(pieces: Vec<Result<Frame<Bytes>, Error>>) -> WasiBody {
        body_of(futures::stream::iter(pieces))
    }

    fn body_of(pieces: impl futures::Stream<Item = Result<Frame<Bytes>, Error>> + Send + 'static) -> WasiBody {
        StreamBody::new(pieces).boxed_unsync()
    }

    fn some(text: &'static str) -> Result<Frame<Bytes>, Error> {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_told_from_a_handler_that_has_nothing() {
        let idle = Duration::from_millis(5);
        let pace = Pace::new();
        let (ended, end) = oneshot::channel();
        let mut whole = Answer::of_running(body(vec![some("some")]), end, pace.clone());
        pace.stalled(idle).await;
        whole.frame().await.unwrap().unwrap();
        pace.stalled(idle).await;
        // The client asks for more; the handler is not at its end yet.
        assert!(futures::poll!(whole.frame()).is_pending());
        assert!(tokio::time::timeout(10 * idle, pace.stalled(idle)).await.is_err());
        ended.send(Ok(())).unwrap();
        assert!(whole.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_small_body_of_a_handler_that_has_returned_leaves_in_one_piece_with_its_length() {
        for (pieces, text) in [(vec![], ""), (vec![some("one")], "one"), (vec![some("one"), some(", two")], "one, two")] {
            let answer = Answer::of_ended(body(pieces));
            assert_eq!(answer.size_hint().exact(), Some(text.len() as u64));
            assert_eq!(answer.is_end_stream(), text.is_empty());
            assert_eq!(answer.collect().await.unwrap().to_bytes(), text);
        }
    }

    #[tokio::test]
    async fn what_is_no_small_body_of_bytes_comes_as_the_handler_wrote_it() {
        let half = || Ok(Frame::data(Bytes::from(vec![b'x'; READY_BYTES_MAX / 2 + 1])));
        let large = Answer::of_ended(body(vec![half(), half()]));
        assert_eq!(large.size_hint().exact(), None);
        assert_eq!(large.collect().await.unwrap().to_bytes().len(), 2 * (READY_BYTES_MAX / 2 + 1));

        let passed_on = body_of(futures::stream::repeat_with(half));
        let mut endless = Answer::of_ended(passed_on);
        for _ in 0..10 {
            assert_eq!(endless.frame().await.unwrap().unwrap().into_data().unwrap().len(), READY_BYTES_MAX / 2 + 1);
        }

        let trailers = http::HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("7"))]);
        let with_trailers = Answer::of_ended(body(vec![some("text"), Ok(Frame::trailers(trailers.clone()))]));
        let collected = with_trailers.collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "text");

        let mut broken = Answer::of_ended(body(vec![some("text"), Err(Error::HttpProtocolError)]));
        assert_eq!(broken.frame().await.unwrap().unwrap().into_data().unwrap(), "text");
        assert!(broken.frame().await.unwrap().is_err(), "an answer that was broken off does not look whole");
    }
}
