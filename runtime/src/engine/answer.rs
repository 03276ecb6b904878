//! The body of an answer on its way out of a handler of WASI 0.3, which may have passed on somebody else's body and be gone.

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};
use tokio::{sync::oneshot, time::Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

/// A body that tells the guest what became of it, and that does not go on when the call's time is long over.
pub(super) struct Answer<B> {
    body: B,
    told: Option<oneshot::Sender<Result<(), Error>>>,
    until: Instant,
    late: Option<Pin<Box<Sleep>>>,
    late_frames: u32,
}

/// What a guest wrote before its end lies ready: a piece that the connection asked for, one behind it, and trailers. A slow client still
/// gets those. All that comes later is a body of somebody else that the guest passed on.
const LATE_FRAMES_MAX: u32 = 3;

impl Answer<WasiBody> {
    /// What the guest learns of its answer's body, and where to say it.
    pub fn told() -> (impl Future<Output = Result<(), Error>> + Send + 'static, oneshot::Sender<Result<(), Error>>) {
        let (told, tells) = oneshot::channel();
        (async move { tells.await.unwrap_or(Err(Error::ConnectionTerminated)) }, told)
    }

    pub fn of(body: WasiBody, told: oneshot::Sender<Result<(), Error>>, until: Instant) -> WasiBody {
        Answer { body, told: Some(told), until, late: None, late_frames: 0 }.boxed_unsync()
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let until = self.until.into();
                let late = self.late.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
                ready!(late.as_mut().poll(context));
                return Poll::Ready(Some(Err(Error::HttpResponseTimeout)));
            }
        };
        match &frame {
            Some(Ok(_)) if Instant::now() >= self.until => {
                self.late_frames += 1;
                if self.late_frames > LATE_FRAMES_MAX {
                    return Poll::Ready(Some(Err(Error::HttpResponseTimeout)));
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) => self.tell(Err(Error::ConnectionTerminated)),
            None => self.tell(Ok(())),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl<B> Answer<B> {
    fn tell(&mut self, what: Result<(), Error>) {
        if let Some(told) = self.told.take() {
            // The guest may not have asked.
            let _ = told.send(what);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use std::time::Duration;

    fn endless() -> WasiBody {
        let piece = || Ok(Frame::data(Bytes::from_static(b"some")));
        StreamBody::new(futures::stream::repeat_with(piece)).boxed_unsync()
    }

    #[tokio::test]
    async fn a_body_that_was_passed_on_ends_with_the_time_of_its_call() {
        let now = Instant::now();
        let (_, told) = Answer::<WasiBody>::told();
        let mut late = Answer::of(endless(), told, now);
        for _ in 0..LATE_FRAMES_MAX {
            assert!(late.frame().await.unwrap().is_ok(), "what lies ready is sent, however slow the client is");
        }
        assert!(matches!(late.frame().await, Some(Err(Error::HttpResponseTimeout))));

        let (_, told) = Answer::<WasiBody>::told();
        let silent = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Error>>()).boxed_unsync();
        let mut late = Answer::of(silent, told, now + Duration::from_millis(5));
        assert!(matches!(late.frame().await, Some(Err(Error::HttpResponseTimeout))));
    }

    #[tokio::test]
    async fn the_guest_is_told_what_became_of_its_answer() {
        let later = Instant::now() + Duration::from_secs(60);
        let none = || StreamBody::new(futures::stream::empty::<Result<Frame<Bytes>, Error>>()).boxed_unsync();
        let (sent, told) = Answer::<WasiBody>::told();
        Answer::of(none(), told, later).collect().await.unwrap();
        assert!(sent.await.is_ok());
        let (sent, told) = Answer::<WasiBody>::told();
        drop(Answer::of(none(), told, later));
        assert!(matches!(sent.await, Err(Error::ConnectionTerminated)), "the client has gone");
    }
}
