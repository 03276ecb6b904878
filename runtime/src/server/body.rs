//! Bodies of requests, read whole: how long they may take, and how much of them is in memory at a time.
//!
//! Bytes are accounted for as they arrive, so that a request which sends nothing holds nothing. What is small has room of
//! its own: a sensor's reading never waits for the uploads of gateways.

use super::Problem;
use crate::model::limit::{
    BODIES_LARGE_BYTES_MAX, BODIES_SMALL_BYTES_MAX, BODY_IDLE_SECONDS_MAX, BODY_ROOM_SECONDS_MAX, BODY_SECONDS_MAX, BODY_SMALL_BYTES_MAX,
};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// What room is counted in.
const KIB: usize = 1024;

/// How long a body may take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two pieces of it.
    pub idle: Duration,
    /// All of it.
    pub whole: Duration,
    /// For others to make room.
    pub room: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            idle: Duration::from_secs(BODY_IDLE_SECONDS_MAX),
            whole: Duration::from_secs(BODY_SECONDS_MAX),
            room: Duration::from_secs(BODY_ROOM_SECONDS_MAX),
        }
    }
}

/// Memory for bodies of readings. Cheap to clone.
#[derive(Clone)]
pub struct Room {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    pace: Pace,
}

impl Default for Room {
    fn default() -> Room {
        Room::new(BODIES_SMALL_BYTES_MAX, BODIES_LARGE_BYTES_MAX, Pace::default())
    }
}

/// The memory of one body, free again when this is dropped.
#[derive(Default)]
pub struct Share {
    held: Option<OwnedSemaphorePermit>,
    is_large: bool,
}

impl Room {
    fn new(small_bytes: usize, large_bytes: usize, pace: Pace) -> Room {
        let semaphore = |bytes: usize| Arc::new(Semaphore::new(bytes / KIB));
        Room { small: semaphore(small_bytes), large: semaphore(large_bytes), pace }
    }

    /// The whole body and its share of the room, to be held until it is stored.
    pub async fn read(&self, headers: &HeaderMap, from: Body, bytes_max: usize) -> Result<(Bytes, Share), Problem> {
        let mut share = Share::default();
        let body = read(headers, from, bytes_max, self.pace, Some((self, &mut share))).await?;
        Ok((body, share))
    }

    /// Makes a share large enough for `bytes`. One that outgrows what is small moves to the other room as a whole.
    async fn grow(&self, share: &mut Share, bytes: usize) -> Result<(), Problem> {
        let is_large = bytes > BODY_SMALL_BYTES_MAX;
        let had = if share.is_large == is_large { share.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) } else { 0 };
        let more = bytes.div_ceil(KIB).saturating_sub(had);
        if more == 0 {
            return Ok(());
        }
        let room = if is_large { &self.large } else { &self.small };
        let full = || {
            let seconds = self.pace.room.as_secs();
            Problem::unavailable(format!("the memory for bodies of readings was full for {seconds} s"))
        };
        let acquired = room.clone().acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX));
        // Nobody closes the rooms: only the time can be up.
        let Ok(Ok(permit)) = timeout(self.pace.room, acquired).await else { return Err(full()) };
        match &mut share.held {
            Some(held) if share.is_large == is_large => held.merge(permit),
            held => *held = Some(permit),
        }
        share.is_large = is_large;
        Ok(())
    }
}

/// The whole body of a request that is rare and small.
pub async fn whole(headers: &HeaderMap, from: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    read(headers, from, bytes_max, Pace::default(), None).await
}

async fn read(
    headers: &HeaderMap,
    mut from: Body,
    bytes_max: usize,
    pace: Pace,
    mut room: Option<(&Room, &mut Share)>,
) -> Result<Bytes, Problem> {
    let too_large = || Problem::too_large(format!("the body has more than {bytes_max} bytes"));
    let declared = declared(headers);
    if declared.is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    let started = Instant::now();
    let mut body = BytesMut::new();
    while let Some(piece) = next(&mut from, pace, started).await? {
        let length = body.len() + piece.len();
        if length > bytes_max {
            return Err(too_large());
        }
        if let Some((room, share)) = &mut room {
            room.grow(share, length).await?;
        }
        // Most bodies come in one piece, which is not copied.
        if body.is_empty() && declared == Some(length) {
            return Ok(piece);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// The next bytes; none at the end.
async fn next(from: &mut Body, pace: Pace, started: Instant) -> Result<Option<Bytes>, Problem> {
    loop {
        let left = pace.whole.saturating_sub(started.elapsed());
        let late = || match left < pace.idle {
            true => Problem::timeout(format!("the body did not arrive within {} s", pace.whole.as_secs())),
            false => Problem::timeout(format!("nothing of the body arrived for {} s", pace.idle.as_secs())),
        };
        if left.is_zero() {
            // Whoever always has a little more is late as well.
            return Err(late());
        }
        let frame = timeout(left.min(pace.idle), from.frame()).await.map_err(|_| late())?;
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|error| Problem::bad_request(format!("the body broke off: {error}")))?;
        // Trailers say nothing that we know.
        if let Ok(piece) = frame.into_data() {
            return Ok(Some(piece));
        }
    }
}

fn declared(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures::{StreamExt, stream};

    const SHORT: Pace = Pace { idle: Duration::from_millis(20), whole: Duration::from_millis(200), room: Duration::from_millis(20) };

    fn pieces(count: usize, bytes: usize) -> Body {
        Body::from_stream(stream::iter((0..count).map(move |_| Ok::<_, std::io::Error>(vec![b'x'; bytes]))))
    }

    /// Some bytes, and then nothing, for ever.
    fn stuck(bytes: usize) -> Body {
        let first = stream::iter([Ok::<_, std::io::Error>(vec![b'x'; bytes])]);
        Body::from_stream(first.chain(stream::pending()))
    }

    #[tokio::test]
    async fn a_body_holds_room_for_what_has_arrived_and_gives_it_back() {
        let room = Room::new(BODY_SMALL_BYTES_MAX, 256 * KIB, Pace::default());
        let (body, share) = room.read(&HeaderMap::new(), pieces(100, 1_000), 1 << 20).await.unwrap();
        assert_eq!((body.len(), share.is_large), (100_000, true));
        assert_eq!((room.small.available_permits(), room.large.available_permits()), (64, 256 - 98));
        drop(share);
        assert_eq!((room.small.available_permits(), room.large.available_permits()), (64, 256));
    }

    #[tokio::test]
    async fn without_room_a_large_body_is_told_when_to_come_back_and_a_small_one_passes() {
        let room = Room::new(BODY_SMALL_BYTES_MAX, 100 * KIB, SHORT);
        let (_, _share) = room.read(&HeaderMap::new(), pieces(1, 100 * KIB), 1 << 20).await.unwrap();
        let refused = room.read(&HeaderMap::new(), pieces(1, 70 * KIB), 1 << 20).await.err().unwrap();
        assert_eq!((refused.status.as_u16(), refused.retry_after_seconds.is_some()), (503, true), "{}", refused.detail);
        assert!(room.read(&HeaderMap::new(), pieces(2, 20 * KIB), 1 << 20).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_that_stands_still_is_given_up_and_its_room_is_free() {
        let room = Room::new(BODY_SMALL_BYTES_MAX, 100 * KIB, SHORT);
        let late = room.read(&HeaderMap::new(), stuck(10 * KIB), 1 << 20).await.err().unwrap();
        assert_eq!(late.status, 408, "{}", late.detail);
        assert_eq!(room.small.available_permits(), 64);
        // One that goes on, but never ends.
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(""));
        let slow = room.read(&HeaderMap::new(), Body::from_stream(endless), 1 << 20).await.err().unwrap();
        assert_eq!(slow.status, 408, "{}", slow.detail);
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_whether_it_says_so_or_not() {
        let room = Room::default();
        assert_eq!(room.read(&HeaderMap::new(), pieces(3, KIB), 2 * KIB).await.err().unwrap().status, 413);
        let headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, http::HeaderValue::from_static("4096"))]);
        assert_eq!(room.read(&headers, stuck(0), 2 * KIB).await.err().unwrap().status, 413);
    }
}
