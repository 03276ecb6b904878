//! An answer's body on its way to the client, and whether the client takes it.

use super::http::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// A body that is whole only when the handler has returned and what it asked for is durable.
pub struct Whole {
    pub body: UnsyncBoxBody<Bytes, BoxError>,
    pub end: Option<oneshot::Receiver<Result<(), String>>>,
    pub pace: Arc<Pace>,
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

impl Body for Whole {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.pace.turn(None);
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(None) => {}
            Poll::Ready(some) => {
                self.pace.turn(Some(Instant::now()));
                return Poll::Ready(some);
            }
            Poll::Pending => return Poll::Pending,
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
    use http_body_util::{BodyExt, Full};

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_told_from_a_handler_that_has_nothing() {
        let idle = Duration::from_millis(5);
        let pace = Pace::new();
        let bytes = Full::new(Bytes::from_static(b"some")).map_err(|never| match never {}).boxed_unsync();
        let (ended, end) = oneshot::channel();
        let mut whole = Whole { body: bytes, end: Some(end), pace: pace.clone() };
        pace.stalled(idle).await;
        whole.frame().await.unwrap().unwrap();
        pace.stalled(idle).await;
        // The client asks for more; the handler is not at its end yet.
        assert!(futures::poll!(whole.frame()).is_pending());
        assert!(tokio::time::timeout(10 * idle, pace.stalled(idle)).await.is_err());
        ended.send(Ok(())).unwrap();
        assert!(whole.frame().await.is_none());
    }
}
