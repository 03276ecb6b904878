//! What the publisher asks of the server: nats-server, or in a simulation a log that some nodes share.

use async_nats::jetstream::{
    context::{Context, PublishError},
    message::PublishMessage,
    stream::LastRawMessageErrorKind,
};
use futures::future::BoxFuture;

/// Resolves when the server has answered.
pub(super) type Stored = BoxFuture<'static, Result<(), PublishError>>;

pub(super) trait Wire: Send + Sync {
    /// The largest message that the server takes.
    fn payload_max(&self) -> usize;
    /// Resolves when the batch has left. `fence`: the message that is to be the last one on the subject.
    fn publish(&self, subject: String, payload: Vec<u8>, fence: Option<u64>) -> BoxFuture<'_, Result<Stored, PublishError>>;
    /// The last message of the stream, and the last one on the subject; none when the server doesn't say.
    fn last<'w>(&'w self, subject: &'w str) -> BoxFuture<'w, Option<(u64, Option<u64>)>>;
}

pub(super) struct Nats {
    pub context: Context,
    pub stream: String,
}

impl Wire for Nats {
    fn payload_max(&self) -> usize {
        self.context.client().max_payload()
    }

    fn publish(&self, subject: String, payload: Vec<u8>, fence: Option<u64>) -> BoxFuture<'_, Result<Stored, PublishError>> {
        let mut message = PublishMessage::build().payload(payload.into()).expected_stream(&self.stream);
        if let Some(fence) = fence {
            message = message.expected_last_subject_sequence(fence);
        }
        Box::pin(async move {
            let ack = self.context.send_publish(subject, message).await?;
            let stored: Stored = Box::pin(async move { ack.await.map(drop) });
            Ok(stored)
        })
    }

    fn last<'w>(&'w self, subject: &'w str) -> BoxFuture<'w, Option<(u64, Option<u64>)>> {
        Box::pin(async move {
            let stream = self.context.get_stream(&self.stream).await.ok()?;
            let on_subject = match stream.get_last_raw_message_by_subject(subject).await {
                Ok(message) => Some(message.sequence),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => None,
                Err(_) => return None,
            };
            Some((stream.cached_info().state.last_sequence, on_subject))
        })
    }
}
