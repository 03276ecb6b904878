//! Reads the operations' stream, whoever wrote it, in order and without a gap, and feeds the applier.

use super::{
    super::LedgerError,
    applier::{DURABLE_EVERY, Delivered, Feed, Start},
    flights::Flights,
};
use async_nats::jetstream::{
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
    context::Context,
};
use futures::StreamExt;
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};

/// Between two tries to read the stream.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Messages asked for at once.
const PULL_MESSAGES: usize = 256;
/// Bytes asked for at once: room for the largest message twice.
const PULL_BYTES: usize = 16 * 1024 * 1024;
/// A connection that is silent for twice as long is given up.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// The server forgets a consumer that nobody has read from for so long.
const INACTIVE: Duration = Duration::from_secs(30);

pub(super) struct Follower {
    pub context: Context,
    pub stream: String,
    pub flights: Arc<Flights>,
    pub start: Arc<watch::Sender<Start>>,
    pub connected: watch::Receiver<bool>,
    pub feed: mpsc::Sender<Feed>,
}

impl Follower {
    pub(super) async fn run(self) {
        let mut starts = self.start.subscribe();
        let ticks = async {
            let mut ticks = tokio::time::interval(DURABLE_EVERY);
            loop {
                ticks.tick().await;
                if self.feed.send(Feed::Tick).await.is_err() {
                    return;
                }
            }
        };
        let mut connected = self.connected.clone();
        let follow = async {
            let mut next = *starts.borrow_and_update();
            loop {
                let ended = tokio::select! {
                    ended = self.follow(&mut next) => Some(ended),
                    _ = starts.changed() => None,
                    // A server that was restarted has forgotten the consumer.
                    _ = connected.changed() => None,
                };
                if let Some(Err(error)) = ended {
                    // Operations that are gone can't be made up for: this node must not go on from a wrong view.
                    self.flights.broken(error);
                    return std::future::pending().await;
                }
                if starts.has_changed().is_err() {
                    return;
                }
                let start = *starts.borrow_and_update();
                match start.number == next.number {
                    true => tokio::time::sleep(RETRY_DELAY).await,
                    false => next = start,
                }
            }
        };
        tokio::select! {
            () = ticks => {}
            () = follow => {}
        }
    }

    /// Reads from `next` on until something fails that a new try may mend. Fails for good when messages are missing.
    async fn follow(&self, next: &mut Start) -> Result<(), LedgerError> {
        let Some(consumer) = self.consumer(next.sequence).await else { return Ok(()) };
        let messages = consumer.stream().max_messages_per_batch(PULL_MESSAGES).max_bytes_per_batch(PULL_BYTES);
        let Ok(mut messages) = messages.heartbeat(HEARTBEAT).messages().await else { return Ok(()) };
        let mut fresh = true;
        while let Some(Ok(message)) = messages.next().await {
            let Ok(sequence) = message.info().map(|info| info.stream_sequence) else { return Ok(()) };
            if sequence < next.sequence {
                continue;
            }
            if sequence > next.sequence {
                // The first one after a start is the first there is; later a gap is the connection's.
                return if fresh { Err(missing(&self.stream, next.sequence, sequence)) } else { Ok(()) };
            }
            fresh = false;
            let message = message.message;
            let delivered = Delivered { start: next.number, sequence, subject: message.subject.to_string(), payload: message.payload };
            if self.feed.send(Feed::Message(delivered)).await.is_err() {
                return Ok(());
            }
            next.sequence += 1;
        }
        Ok(())
    }

    async fn consumer(&self, sequence: u64) -> Option<PullConsumer> {
        let config = pull::Config {
            description: Some("a Tawi node's view".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: sequence },
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        };
        match self.context.create_consumer_on_stream(config, &self.stream).await {
            Ok(consumer) => Some(consumer),
            Err(error) => {
                tracing::debug!(%error, stream = self.stream, "the stream can't be read yet");
                None
            }
        }
    }
}

/// What the view needs next is not in the stream any more.
pub(super) fn missing(stream: &str, wanted: u64, first: u64) -> LedgerError {
    LedgerError::Format(format!(
        "the stream `{stream}` from message `{wanted}` on: its next one is `{first}`. Put a newer copy of the ledger (`tawi backup`) in place of this one"
    ))
}
