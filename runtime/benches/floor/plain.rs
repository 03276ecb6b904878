//! What others write by hand: a durable pull consumer that publishes one acknowledged message for each that it takes, 256 at a
//! time, and acknowledges what it took when that is done.

use async_nats::jetstream::{self, consumer::pull, stream};
use futures::{StreamExt, TryStreamExt};
use std::time::Instant;

const AT_ONCE: usize = 256;

/// What is published beforehand does not count.
pub async fn events_a_second(url: &str, events: usize) -> f64 {
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    let config = |name: &str, subject: &str| stream::Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        storage: stream::StorageType::File,
        ..Default::default()
    };
    let taken = context.create_stream(config("IN", "in.*")).await.unwrap();
    context.create_stream(config("OUT", "out.*")).await.unwrap();
    let published = futures::stream::iter(0..events).map(|i| {
        let context = &context;
        async move { context.publish(format!("in.device{}", i % 1_000), "21.5".into()).await.unwrap().await }
    });
    published.buffer_unordered(AT_ONCE).try_for_each(async |_| Ok(())).await.unwrap();

    let durable = pull::Config { durable_name: Some("bench".to_owned()), max_ack_pending: 10 * AT_ONCE as i64, ..Default::default() };
    let consumer = taken.create_consumer(durable).await.unwrap();
    let messages = consumer.stream().max_messages_per_batch(1_000).messages().await.unwrap();
    let begin = Instant::now();
    let handled = messages.take(events).for_each_concurrent(AT_ONCE, async |message| {
        let message = message.unwrap();
        context.publish("out.seen", message.payload.clone()).await.unwrap().await.unwrap();
        message.ack().await.unwrap();
    });
    handled.await;
    events as f64 / begin.elapsed().as_secs_f64()
}
