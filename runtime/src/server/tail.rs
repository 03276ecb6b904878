//! Events as they come: a stream of lines that follows the log from a sequence on.

use super::{AppState, Problem, event::EventJson};
use crate::{
    identity::{Identify, Known},
    ledger::Ledger,
    model::{Event, Seq},
};
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::header;
use std::{convert::Infallible, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

/// A silent stream says an empty line this often, so that both ends notice when the other is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events looked at before the reader gets what was found among them.
const STEP_EVENTS: usize = 512;
const STEP_BYTES: usize = 1 << 20;

type Filter = Box<dyn Fn(&Event) -> bool + Send>;

struct Tail {
    ledger: Ledger,
    head: watch::Receiver<Seq>,
    stopping: CancellationToken,
    next: Seq,
    filter: Filter,
    who: Known,
    identify: Identify,
    revocations: watch::Receiver<u64>,
    _place: OwnedSemaphorePermit,
}

/// Lines of the events from `from` on that pass, without an end but the node's, or that of the token of who reads. Who
/// reads slowly is only late.
pub fn tail(
    state: &AppState,
    who: Known,
    from: Seq,
    filter: impl Fn(&Event) -> bool + Send + 'static,
) -> Result<impl Stream<Item = Bytes> + Send + 'static, Problem> {
    let full = |_| Problem::unavailable("as many streams as the node allows are open");
    let mut revocations = state.identify.changes();
    // It may have been revoked since the request was let in.
    revocations.mark_changed();
    let tail = Tail {
        ledger: state.ledger.clone(),
        head: state.ledger.head(),
        stopping: state.stopping.clone(),
        next: from,
        filter: Box::new(filter),
        revocations,
        identify: state.identify.clone(),
        who,
        _place: state.streams.clone().try_acquire_owned().map_err(full)?,
    };
    Ok(stream::unfold(tail, |mut tail| async move { tail.step().await.map(|lines| (lines, tail)) }))
}

impl Tail {
    async fn step(&mut self) -> Option<Bytes> {
        loop {
            if self.stopping.is_cancelled() || !self.is_allowed() {
                return None;
            }
            let head = *self.head.borrow_and_update();
            if self.next > head {
                tokio::select! {
                    changed = self.head.changed() => changed.ok()?,
                    () = tokio::time::sleep(HEARTBEAT) => return Some(Bytes::from_static(b"\n")),
                    _ = self.revocations.changed() => self.revocations.mark_changed(),
                    () = self.stopping.cancelled() => return None,
                }
                continue;
            }
            let lines = self.read()?;
            if !lines.is_empty() {
                return Some(lines.into());
            }
            // Nothing of much that was looked at: others have their turn.
            tokio::task::yield_now().await;
        }
    }

    /// Looks again when somebody's token was revoked, or a user is another.
    fn is_allowed(&mut self) -> bool {
        if !self.revocations.has_changed().unwrap_or(true) {
            return true;
        }
        // First this, then the look: a revocation in between is one more change.
        self.revocations.mark_unchanged();
        self.identify.is_still(&self.who)
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        let mut lines = Vec::new();
        let first = self.ledger.first();
        if self.next < first {
            let gap = serde_json::json!({ "kind": "gap", "from": self.next, "to": first - 1 });
            lines.extend_from_slice(format!("{gap}\n").as_bytes());
            self.next = first;
        }
        let events = match self.ledger.events(self.next, STEP_EVENTS, STEP_BYTES) {
            Ok(events) => events,
            Err(error) => {
                // The reader sees the stream end and comes back with the last sequence it has.
                tracing::warn!(%error, "a stream of events ends");
                return None;
            }
        };
        self.next = events.last().map_or(self.next, |event| event.seq + 1);
        events.iter().filter(|event| (self.filter)(event)).for_each(|event| EventJson::of(event).write(&mut lines));
        Some(lines)
    }
}

/// An answer of one JSON object a line.
pub fn ndjson(lines: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(lines.map(Ok::<_, Infallible>))).into_response()
}
