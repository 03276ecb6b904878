//! The ledger in a stream of nats-server: durable there, applied to a view here.
//!
//! ```text
//! submit -> publisher -> stream -> follower -> applier -> view -> answer
//! ```
//!
//! The order of the stream is the order of the ledger, for every node that follows it.

mod applier;
mod batch;
mod flights;
mod follower;
mod intake;
mod names;
mod publisher;
mod relay;
mod wire;

pub(super) use batch::Stamp;

use super::{
    JetstreamOptions, LedgerError, LedgerOptions,
    queue::{Message, OP_BYTES_MAX, Queue},
    view::View,
};
use crate::model::Seq;
use applier::{Applier, Feed, Start};
use async_nats::jetstream::{
    self,
    context::Context,
    stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType},
};
use flights::Flights;
use follower::Follower;
use publisher::{Parts, Publisher};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// Messages between follower and applier: at most as many bytes as one pull brings, twice.
const FEED_MESSAGES_MAX: usize = 256;
/// For the first connection, and for each answer of the server while opening.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries to connect again: what a restarted server needs, not more.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// What a message has to hold: the largest operation, its headers, and what the estimate of its size leaves out.
const PAYLOAD_BYTES_MIN: usize = OP_BYTES_MAX + 512 * 1024;
/// A connection that answers no ping for twice as long is dead.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// The tasks and the thread of one open ledger.
pub(super) struct Jetstream {
    publisher: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    applier: Option<thread::JoinHandle<()>>,
    feed: mpsc::Sender<Feed>,
    stop: Arc<AtomicBool>,
    /// Everything up to here is published to outsiders, or nobody is to be told anything.
    pub relayed: Arc<AtomicU64>,
    /// Whether the server is there, as far as pings can tell.
    pub connected: watch::Receiver<bool>,
}

pub(super) struct Opened {
    pub jetstream: Jetstream,
    pub view: Arc<View>,
}

/// Where a test may stop the process: batches of commits are told from all others.
fn fault_point(subject: &str) -> &'static str {
    match subject.contains(".commit.") {
        true => "commit",
        false => "append",
    }
}

fn away(doing: &str, error: &dyn std::fmt::Display) -> LedgerError {
    LedgerError::Unavailable(format!("failed to {doing}: {error}"))
}

async fn connect(url: &str) -> Result<(Context, watch::Receiver<bool>), LedgerError> {
    let (connected, receiver) = watch::channel(true);
    let options = async_nats::ConnectOptions::new()
        .name("tawi")
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(|_| RECONNECT_DELAY)
        .event_callback(move |event| {
            match event {
                async_nats::Event::Connected => connected.send_replace(true),
                async_nats::Event::Disconnected | async_nats::Event::Closed => connected.send_replace(false),
                _ => false,
            };
            std::future::ready(())
        });
    let client = options.connect(url).await.map_err(|e| away(&format!("connect to `{url}`"), &e))?;
    let mut context = jetstream::new(client);
    context.set_timeout(CONNECT_TIMEOUT);
    Ok((context, receiver))
}

/// Said at the start, because else the first large operation, which may come after months, would be refused.
fn check_payload(url: &str, max: usize) -> Result<(), LedgerError> {
    if max >= PAYLOAD_BYTES_MIN {
        return Ok(());
    }
    Err(LedgerError::Unavailable(format!(
        "nats-server at `{url}` takes messages of at most {max} bytes, and an operation of the ledger is up to {PAYLOAD_BYTES_MIN}: set `max_payload: 8MB` in its configuration and reload it"
    )))
}

/// Makes a stream, or finds it as it is; its limits may be changed by hand, its subjects not.
async fn stream(context: &Context, config: Config) -> Result<Info, LedgerError> {
    let doing = format!("make or find the stream `{}`", config.name);
    let subjects = config.subjects.clone();
    let stream = context.get_or_create_stream(config).await.map_err(|e| away(&doing, &e))?;
    let info = stream.cached_info();
    if info.config.subjects != subjects {
        let (name, found) = (&info.config.name, &info.config.subjects);
        return Err(LedgerError::Format(format!("the stream `{name}`: its subjects are {found:?}, not {subjects:?}")));
    }
    Ok(info.clone())
}

fn file_stream(name: String, subjects: Vec<String>, bytes_max: u64, replicas: usize) -> Config {
    Config {
        name,
        subjects,
        max_bytes: i64::try_from(bytes_max).unwrap_or(i64::MAX),
        num_replicas: replicas,
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        ..Default::default()
    }
}

/// The operations. Full, it drops its oldest: the view on the node's disk has them, and a node whose view lacks them
/// refuses to open. Refusing new ones instead would stop every node for good.
fn operations_config(options: &JetstreamOptions) -> Config {
    let (name, subjects) = (names::operations_stream(&options.tenant), names::operations_subjects(&options.tenant));
    Config {
        description: Some("the ledger of Tawi: operations of all nodes, in order".to_owned()),
        discard: DiscardPolicy::Old,
        // Repeats are recognised by the number of a batch.
        duplicate_window: Duration::from_millis(100),
        deny_delete: true,
        ..file_stream(name, subjects, options.operations_bytes_max, options.replicas)
    }
}

fn micros(time: async_nats::datetime::DateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(0)
}

/// A name of this directory's own, made on its first opening.
fn node_name(dir: &Path) -> Result<String, LedgerError> {
    let path = dir.join("node");
    match std::fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(LedgerError::file("read", &path, error)),
        _ => {}
    }
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).map_err(|e| LedgerError::file("make a name for", dir, std::io::Error::other(e.to_string())))?;
    let name = format!("{:016x}", u64::from_be_bytes(bytes));
    let new = dir.join("node.new");
    std::fs::write(&new, &name).map_err(|e| LedgerError::file("write", &new, e))?;
    super::disk::sync_file(&new)?;
    std::fs::rename(&new, &path).map_err(|e| LedgerError::file("rename", &new, e))?;
    super::disk::sync_dir_of(&path)?;
    Ok(name)
}

/// A view belongs to one stream, and needs all that comes after it.
fn check(view: &View, info: &Info) -> Result<u64, LedgerError> {
    let (name, made) = (&info.config.name, micros(info.created));
    let applied = view.applied()?;
    if view.bind(made)? != made {
        return Err(LedgerError::Format(format!(
            "the stream `{name}` as what this ledger was made from: it was made anew since. Move the ledger's directory away to start from the stream"
        )));
    }
    if applied > info.state.last_sequence {
        let last = info.state.last_sequence;
        return Err(LedgerError::Format(format!(
            "the stream `{name}` as what this ledger was made from: it ends at message `{last}`, the ledger is at `{applied}`"
        )));
    }
    if applied + 1 < info.state.first_sequence {
        return Err(follower::missing(name, applied + 1, info.state.first_sequence));
    }
    Ok(applied)
}

pub(super) async fn open(
    view: View,
    dir: &Path,
    url: &str,
    options: &LedgerOptions,
    jetstream: &JetstreamOptions,
    queue: Arc<Queue>,
    jobs: mpsc::Receiver<Message>,
) -> Result<Opened, LedgerError> {
    let node = node_name(dir)?;
    let (context, connected) = connect(url).await?;
    check_payload(url, context.client().max_payload())?;
    let info = stream(&context, operations_config(jetstream)).await?;
    let view = Arc::new(view);
    let applied = check(&view, &info)?;
    let (flights, notes) = Flights::new(node, applied);
    let flights = Arc::new(flights);
    let start = Arc::new(watch::channel(Start { number: 0, sequence: applied + 1 }).0);
    let (feed, fed) = mpsc::channel(FEED_MESSAGES_MAX);
    let stop = Arc::new(AtomicBool::new(false));
    let applier = Applier::new(view.clone(), flights.clone(), start.clone(), stop.clone());
    let follower = Follower {
        context: context.clone(),
        stream: info.config.name.clone(),
        flights: flights.clone(),
        start,
        connected: connected.clone(),
        feed: feed.clone(),
    };
    let relayed = Arc::new(AtomicU64::new(Seq::MAX));
    let mut opened = Jetstream {
        publisher: None,
        applier: Some(applier.spawn(fed)?),
        others: vec![tokio::spawn(follower.run())],
        feed,
        stop,
        relayed: relayed.clone(),
        connected: connected.clone(),
    };
    caught_up(&flights, info.state.last_sequence).await?;
    begin_incarnation(&context, &view, &flights, jetstream, options).await?;
    let parts = Parts {
        wire: Arc::new(wire::Nats { context: context.clone(), stream: info.config.name }),
        tenant: jetstream.tenant.clone(),
        view: view.clone(),
        flights,
        rules: options.rules(),
        connected: connected.clone(),
        number: 1,
    };
    opened.publisher = Some(tokio::spawn(Publisher::new(parts).run(jobs, notes)));
    if jetstream.intake {
        let info = stream(&context, intake::config(jetstream)).await?;
        let intake = intake::Intake::new(context.clone(), &info, view.clone(), queue, jetstream, connected.clone());
        opened.others.push(tokio::spawn(intake.run()));
    }
    if jetstream.relay {
        stream(&context, relay::config(jetstream)).await?;
        let relay = relay::Relay::new(context, view.clone(), jetstream.tenant.clone(), relayed, connected);
        opened.others.push(tokio::spawn(relay.run()));
    }
    Ok(Opened { jetstream: opened, view })
}

/// Waits until the view has everything up to `last`.
async fn caught_up(flights: &Flights, last: u64) -> Result<(), LedgerError> {
    let mut progress = flights.progress.subscribe();
    let reached = progress.wait_for(|progress| progress.applied >= last || progress.broken.is_some()).await;
    let reached = reached.map_err(|_| LedgerError::Closed)?;
    reached.broken.clone().map_or(Ok(()), Err)
}

/// From the first batch of this incarnation on, whatever this node published before and is still on some wire is passed
/// over by everyone. Nobody is served before it is back.
async fn begin_incarnation(
    context: &Context,
    view: &View,
    flights: &Flights,
    jetstream: &JetstreamOptions,
    options: &LedgerOptions,
) -> Result<(), LedgerError> {
    let now = micros(async_nats::datetime::now());
    let incarnation = now.max(view.batch(&flights.node)?.0 + 1);
    flights.incarnation.store(incarnation, Ordering::Release);
    let stamp = Stamp { node: flights.node.clone(), incarnation, number: 1 };
    let payload = batch::encode(&stamp, options.rules(), std::iter::empty())?;
    let doing = "publish to the ledger's stream";
    let subject = names::append_subject(&jetstream.tenant);
    let ack = context.publish(subject, payload.into()).await.map_err(|e| away(doing, &e))?;
    let ack = ack.await.map_err(|e| away(doing, &e))?;
    caught_up(flights, ack.sequence).await
}

impl Jetstream {
    /// Ends what was submitted, as far as it can be ended, then everything else.
    pub(super) async fn close(mut self) {
        if let Some(publisher) = self.publisher.take() {
            let _ = publisher.await;
        }
        for task in self.others.drain(..) {
            task.abort();
            let _ = task.await;
        }
        self.stop();
        if let Some(applier) = self.applier.take() {
            let _ = tokio::task::spawn_blocking(move || applier.join()).await;
        }
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // When there is no room the applier is awake and sees the flag.
        let _ = self.feed.try_send(Feed::Stop);
    }
}

impl Drop for Jetstream {
    fn drop(&mut self) {
        for task in self.publisher.iter().chain(&self.others) {
            task.abort();
        }
        self.stop();
        // So that the file is free when the ledger is gone.
        if let Some(applier) = self.applier.take() {
            let _ = applier.join();
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
