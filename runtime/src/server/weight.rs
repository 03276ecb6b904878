//! Memory for large answers: how much of them is being made, and being sent, at a time.
//!
//! How large an answer will be is known when it is made. So who asks for what may be large first has room for the largest there is, and gives
//! back what it did not need; what is left is held until the client has taken it. A small answer holds nothing.

use super::Problem;
use crate::model::limit::{ANSWER_BYTES_MAX, ANSWER_ROOM_SECONDS_MAX, ANSWER_SMALL_BYTES_MAX, ANSWERS_BYTES_MAX};
use axum::{body::Body, response::Response};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// What room is counted in.
const KIB: usize = 1024;

/// Cheap to clone.
#[derive(Clone)]
pub struct Room {
    free: Arc<Semaphore>,
    wait: Duration,
}

impl Default for Room {
    fn default() -> Room {
        Room::new(ANSWERS_BYTES_MAX, Duration::from_secs(ANSWER_ROOM_SECONDS_MAX))
    }
}

/// Room for one answer, free again when this is dropped.
pub struct Share(OwnedSemaphorePermit);

impl Room {
    fn new(bytes: usize, wait: Duration) -> Room {
        Room { free: Arc::new(Semaphore::new(bytes / KIB)), wait }
    }

    /// Room for the largest answer there is, as soon as there is some.
    pub async fn share(&self) -> Result<Share, Problem> {
        let wanted = self.free.clone().acquire_many_owned(u32::try_from(ANSWER_BYTES_MAX / KIB).unwrap_or(u32::MAX));
        // Nobody closes the room: only the time can be up.
        match timeout(self.wait, wanted).await {
            Ok(Ok(permit)) => Ok(Share(permit)),
            _ => Err(Problem::unavailable(format!("the memory for large answers was full for {} s", self.wait.as_secs()))),
        }
    }
}

impl Share {
    /// The answer, which keeps of the share what it is large until it is sent.
    pub fn keep(mut self, answer: Response) -> Response {
        let bytes = answer.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(ANSWER_BYTES_MAX);
        if bytes <= ANSWER_SMALL_BYTES_MAX {
            return answer;
        }
        let held = bytes.div_ceil(KIB).min(self.0.num_permits());
        let Some(held) = self.0.split(held) else { return answer };
        answer.map(|body| Body::new(Kept { body, _held: held }))
    }
}

/// A body that holds its share.
struct Kept {
    body: Body,
    _held: OwnedSemaphorePermit,
}

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Kept>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Response {
        Response::new(Body::from(vec![b'x'; bytes]))
    }

    #[tokio::test]
    async fn large_answers_share_bounded_room_until_they_are_sent_and_small_ones_take_none() {
        let room = Room::new(2 * ANSWER_BYTES_MAX, Duration::ZERO);
        let all = room.free.available_permits();
        let small = room.share().await.unwrap().keep(answer(ANSWER_SMALL_BYTES_MAX));
        assert_eq!(room.free.available_permits(), all);
        let large = room.share().await.unwrap().keep(answer(ANSWER_BYTES_MAX / 2));
        assert_eq!(room.free.available_permits(), all - ANSWER_BYTES_MAX / 2 / KIB, "what was not needed is given back");
        let second = room.share().await.unwrap();
        let refused = room.share().await.map(drop).unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.retry_after_seconds.is_some()), (503, true));
        drop(second);
        let sent = axum::body::to_bytes(large.into_body(), usize::MAX).await.unwrap();
        assert_eq!((sent.len(), room.free.available_permits()), (ANSWER_BYTES_MAX / 2, all));
        drop(small);
    }
}
