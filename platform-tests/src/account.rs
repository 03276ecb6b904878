//! Devices that keep books while everything around them dies. `functions/probe-exact` keeps the accounts that must agree with them.

use crate::{
    http::values_path,
    load::{Connection, request},
    wait::LATER,
    wait_until,
};
use async_nats::{HeaderMap, jetstream};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// The app that counts.
pub const APP: &str = "probe-exact";
/// Readings of one request: all or nothing.
const BATCH: u64 = 10;
/// Batches without an answer that are tried out against what was counted: 2 to the power of them.
const UNKNOWN_MAX: usize = 16;
/// Less than the duplicate window of an outsider's stream, and more than a server takes to answer.
const PUBACK_WAIT: Duration = Duration::from_secs(5);

/// How a device sends, and what it knows of what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Again with the same `Idempotency-Key`, until it is answered.
    Keyed,
    /// Never again: what is not answered may be stored or not.
    Once,
    /// To the NATS server, with a `Nats-Msg-Id`, until it is acknowledged.
    Nats,
    /// No readings: HTTP calls of a function, with a key, until they are answered.
    Calls,
}

/// What all devices see.
#[derive(Debug)]
pub struct Field {
    pub node: SocketAddr,
    pub token: String,
    pub nats: Option<String>,
    /// Each device ends when its last batch is answered.
    pub over: AtomicBool,
    /// Each device ends now: the case has failed.
    pub abandoned: AtomicBool,
    pub acknowledged: AtomicU64,
    /// Requests that the node answered well, and others.
    pub answered: AtomicU64,
    pub refused: AtomicU64,
}

/// What the function made of a device, or of the messages about it.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
pub struct Account {
    pub count: u64,
    pub sum: u64,
    pub last: u64,
    pub disorder: u64,
}

#[derive(Debug)]
pub struct Book {
    pub device: String,
    pub how: How,
    next: u64,
    /// Acknowledged, and to be counted once: how many, and the sum of their numbers.
    pub count: u64,
    pub sum: u64,
    /// Acknowledged, and to be dead letters: those of which no letter was seen yet.
    pub dying: BTreeSet<u64>,
    /// Not answered: how many, and their sum.
    unknown: Vec<(u64, u64)>,
}

impl Book {
    pub fn new(device: &str, how: How) -> Book {
        Book { device: device.to_owned(), how, next: 0, count: 0, sum: 0, dying: BTreeSet::new(), unknown: Vec::new() }
    }

    /// One device's life, until the field is over.
    pub fn send_until_over(&mut self, field: &Field) {
        match self.how {
            How::Nats => self.publish_until_over(field),
            _ => self.post_until_over(field),
        }
    }

    fn post_until_over(&mut self, field: &Field) {
        let mut connection = None;
        while !field.is_over() {
            let batch = self.batch();
            let bytes = self.request(field, &batch);
            match self.how {
                How::Once => self.post_once(field, &mut connection, &bytes, &batch),
                _ => {
                    wait_until("a batch to be answered", LATER, || match field.post(&mut connection, &bytes) {
                        Some(200 | 204) => Ok(()),
                        _ if field.abandoned.load(Ordering::Relaxed) => Ok(()),
                        status => Err(format!("{status:?}")),
                    });
                    self.acknowledge(field, &batch);
                }
            }
        }
    }

    fn post_once(&mut self, field: &Field, connection: &mut Option<Connection>, bytes: &[u8], batch: &[u64]) {
        if let Some(204) = field.post(connection, bytes) {
            return self.acknowledge(field, batch);
        }
        self.unknown.push((batch.len() as u64, batch.iter().sum()));
        // Not one after another into a void: few enough that what was counted tells which of them were.
        let seen = field.answered.load(Ordering::Relaxed);
        wait_until("somebody to be answered", LATER, || match field.answered.load(Ordering::Relaxed) > seen || field.is_over() {
            true => Ok(()),
            false => Err("nobody was"),
        });
    }

    /// Connects anew whenever it is not answered: the client's own patience is not what is tried here.
    fn publish_until_over(&mut self, field: &Field) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = field.nats.as_deref().unwrap();
        let mut stream = None;
        while !field.is_over() {
            let n = self.batch()[0];
            let id = format!("{}-{n}", self.device);
            let subject = format!("tawi.v1.main.reading.{}.exact", self.device);
            wait_until("a message to be acknowledged", LATER, || {
                let payload = json!({ "value": self.order(n) }).to_string();
                let sent = runtime.block_on(publish(&mut stream, url, &subject, &id, payload));
                match sent {
                    Ok(()) => Ok(()),
                    Err(_) if field.abandoned.load(Ordering::Relaxed) => Ok(()),
                    Err(error) => {
                        stream = None;
                        Err(error)
                    }
                }
            });
            self.acknowledge(field, &[n]);
        }
    }

    fn batch(&mut self) -> Vec<u64> {
        let first = self.next;
        self.next += if matches!(self.how, How::Calls | How::Nats) { 1 } else { BATCH };
        (first..self.next).collect()
    }

    fn request(&self, field: &Field, batch: &[u64]) -> Vec<u8> {
        let key = format!("idempotency-key: {}-{}\r\ncontent-type", self.device, batch[0]);
        let bytes = match self.how {
            How::Calls => request("POST", &format!("/run/{APP}/"), &field.token, ""),
            _ => {
                let list: Vec<Value> = batch.iter().map(|n| json!({ "value": self.order(*n) })).collect();
                request("POST", &values_path(&self.device, "exact"), &field.token, &json!(list).to_string())
            }
        };
        match self.how {
            How::Once => bytes,
            _ => String::from_utf8(bytes).unwrap().replacen("content-type", &key, 1).into_bytes(),
        }
    }

    /// What the function is to do with a reading. One that is sent only once is always well in the end, so that sums tell what was stored.
    fn order(&self, n: u64) -> Value {
        let then = match n % 61 {
            5 | 33 => "retry",
            7 if self.how != How::Once => "trap",
            40 if self.how != How::Once => "reject",
            _ => return json!({ "n": n }),
        };
        json!({ "n": n, "then": then })
    }

    fn acknowledge(&mut self, field: &Field, batch: &[u64]) {
        field.acknowledged.fetch_add(batch.len() as u64, Ordering::Relaxed);
        for n in batch {
            match self.order(*n)["then"].as_str() {
                Some("trap" | "reject") if self.how != How::Calls => {
                    self.dying.insert(*n);
                }
                _ => {
                    self.count += 1;
                    self.sum += n;
                }
            }
        }
    }

    /// What may have been counted at most.
    pub fn count_max(&self) -> u64 {
        self.count + self.unknown.iter().map(|(count, _)| count).sum::<u64>()
    }

    /// What is stored if some of the batches without an answer were: how many, and their sum. None: what was counted is no sum of
    /// them. While there is something to be counted yet this may be another sum a moment later.
    pub fn stored(&self, counted: &Account) -> Option<(u64, u64)> {
        assert!(self.unknown.len() <= UNKNOWN_MAX, "{}: {} batches were not answered", self.device, self.unknown.len());
        let with = |chosen: u32| {
            let stored = self.unknown.iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1);
            stored.fold((self.count, self.sum), |(count, sum), (_, more)| (count + more.0, sum + more.1))
        };
        (0..1 << self.unknown.len()).map(with).find(|sums| *sums == (counted.count, counted.sum))
    }

    /// From now on that is what was sent: no batch is without an answer any more.
    pub fn settle(&mut self, stored: (u64, u64)) {
        (self.count, self.sum) = stored;
        self.unknown.clear();
    }
}

async fn publish(stream: &mut Option<jetstream::Context>, url: &str, subject: &str, id: &str, payload: String) -> Result<(), String> {
    let all = async {
        let open = match stream {
            Some(open) => open,
            None => stream.insert(jetstream::new(async_nats::connect(url).await.map_err(|e| e.to_string())?)),
        };
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        let sent = open.publish_with_headers(subject.to_owned(), headers, payload.into()).await.map_err(|e| e.to_string())?;
        sent.await.map(drop).map_err(|e| e.to_string())
    };
    tokio::time::timeout(PUBACK_WAIT, all).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

impl Field {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.abandoned.load(Ordering::Relaxed)
    }

    /// None: the connection broke, and nobody knows.
    fn post(&self, connection: &mut Option<Connection>, bytes: &[u8]) -> Option<u16> {
        let status = crate::load::send_on(connection, self.node, bytes);
        match status {
            Some(503) | None => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            Some(200 | 204) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Some(status) => panic!("a request was answered with {status}"),
        }
        status
    }
}
