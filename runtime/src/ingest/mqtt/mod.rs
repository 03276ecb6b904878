//! MQTT 3.1.1 and 5: a listener, a session for each client, one follower of the log for all of them.
//!
//! What clients publish takes the way of every delivery (`Ingest`), and is acknowledged when it is durable. What subscribers get
//! comes out of the log, by whatever door it came in. `docs/decisions/0016` says why the sockets are ours and the codec is not.

mod broker;
mod connection;
mod door;
mod ends;
mod follow;
mod gate;
mod io;
// What reads the bytes of strangers is open to `fuzz/`, which tries it with others than anybody thought of.
pub mod packet;
mod publish;
mod refill;
mod session;
mod shares;
mod store;
pub mod topic;
mod tree;

pub use broker::Broker;
pub use door::{Door, Identify, Known, Refused};
pub use gate::{Around, Gate, TlsError};

use crate::model::limit::{
    MQTT_CONNECT_SECONDS_MAX, MQTT_CONNECTIONS_MAX, MQTT_PACKET_SECONDS_MAX, MQTT_STALL_SECONDS_MAX, MQTT_WEBSOCKETS_MAX,
};
use parking_lot::Mutex;
use session::Session;
use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Before the next try when a connection can't be taken.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Lines about what clients do wrong come this often at most, so that a client can't fill a disk with them.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// After a crash a client that goes on reading gets again what came since.
const KEEP_EVERY: Duration = Duration::from_secs(5);
/// Some commits a second for as many clients as there may be.
const SEEN_EVERY: Duration = Duration::from_secs(60 * 60);

/// What a listener allows.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub connections: usize,
    /// From the connection to the end of its first packet.
    pub connect: Duration,
    /// That a client takes nothing of what is sent to it.
    pub stall: Duration,
    /// From the first byte of a packet to its last.
    pub packet: Duration,
    /// How often what is kept of a client that goes on reading is stored.
    pub keep: Duration,
    /// How often it is stored that a client is there whose session would be over else, at least.
    pub seen: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            connections: MQTT_CONNECTIONS_MAX,
            connect: Duration::from_secs(MQTT_CONNECT_SECONDS_MAX),
            stall: Duration::from_secs(MQTT_STALL_SECONDS_MAX),
            packet: Duration::from_secs(MQTT_PACKET_SECONDS_MAX),
            keep: KEEP_EVERY,
            seen: SEEN_EVERY,
        }
    }
}

/// Serves until `stop`, then until every client's session is put away.
pub async fn serve(gate: Gate, broker: Arc<Broker>, stop: CancellationToken) {
    let Gate { listener, around } = gate;
    let places = match around {
        Around::WebSocket => broker.settings.connections.min(MQTT_WEBSOCKETS_MAX),
        _ => broker.settings.connections,
    };
    let places = Arc::new(Semaphore::new(places));
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // A client stays: who comes on top would wait for ever.
                    let Ok(place) = places.clone().try_acquire_owned() else {
                        broker.metrics.refuse("mqtt-connections");
                        continue;
                    };
                    open.spawn(client(stream, around.clone(), broker.clone(), stop.clone(), place));
                }
                Err(error) => {
                    tracing::warn!(%error, "can't take MQTT connections; trying again in {ACCEPT_PAUSE:?}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = open.join_next() => note(ended),
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    while let Some(ended) = open.join_next().await {
        note(ended);
    }
}

async fn client(stream: TcpStream, around: Around, broker: Arc<Broker>, stop: CancellationToken, _place: OwnedSemaphorePermit) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small packets of a client may wait");
    }
    match tokio::time::timeout(broker.settings.connect, around.open(stream)).await {
        Ok(Ok(stream)) => connection::serve(stream, broker, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "a connection for MQTT does not begin as it should"),
        Err(_) => {}
    }
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection of MQTT panicked");
    }
}

/// An id that nobody had before.
fn unique() -> String {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("mqtt-{:x}-{:x}-{:x}", crate::clock::now().0, *SEED, COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Broker {
    /// One line now and then about what is dropped; `/metrics` counts all of it.
    fn say(&self, session: &Session, topic: &str, why: &str) {
        static LAST: Mutex<Option<Instant>> = Mutex::new(None);
        let mut last = LAST.lock();
        if last.is_none_or(|last| last.elapsed() >= SAY_EVERY) {
            *last = Some(Instant::now());
            let topic: String = topic.chars().take(128).collect();
            tracing::debug!(client = %session.key.client, topic, why, "a publish is not stored");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
