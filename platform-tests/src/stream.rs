//! Following a subject, live.

use crate::{Client, wait::SOON};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

/// One event as a subscriber sees it, and when it arrived here.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub event: Value,
}

/// A subscription: in place when `open` returns, because the node sends its response head only then.
#[derive(Debug)]
pub struct Stream {
    pattern: String,
    events: Receiver<Seen>,
}

impl Stream {
    #[track_caller]
    pub fn open(client: &Client, pattern: &str) -> Stream {
        let path = subscribe_path(pattern);
        let response = client.open_endless(&path).unwrap_or_else(|e| panic!("subscribe to `{pattern}`: {e}"));
        let (head, body) = response.into_parts();
        assert_eq!(
            head.status,
            200,
            "subscribe to `{pattern}`: {}",
            body.into_with_config().limit(4096).read_to_string().unwrap_or_default()
        );
        let (sender, events) = channel();
        thread::spawn(move || {
            for line in BufReader::new(body.into_reader()).lines().map_while(Result::ok) {
                // Lines that hold no object keep the connection alive.
                let text = line.strip_prefix("data:").unwrap_or(&line).trim();
                let Ok(event @ Value::Object(_)) = serde_json::from_str(text) else { continue };
                if sender.send(Seen { at: Instant::now(), event }).is_err() {
                    return;
                }
            }
        });
        Stream { pattern: pattern.to_owned(), events }
    }

    /// The next event; fails when none comes soon.
    #[track_caller]
    pub fn next(&self) -> Value {
        self.next_seen(SOON).unwrap_or_else(|| panic!("nothing came on `{}`", self.pattern)).event
    }

    /// The next event, or none when the time is up or the node has gone.
    pub fn next_seen(&self, wait: Duration) -> Option<Seen> {
        self.events.recv_timeout(wait).ok()
    }

    /// The next `count` events, in the order in which they came.
    #[track_caller]
    pub fn take(&self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Events up to the first that `last` accepts, that one included: what came *before* a fact, without waiting for silence.
    #[track_caller]
    pub fn until(&self, last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let event = self.next();
            let done = last(&event);
            seen.push(event);
            if done {
                return seen;
            }
        }
    }
}

/// Where a subscription is opened.
pub fn subscribe_path(pattern: &str) -> String {
    format!("/api/v1/subscribe?subject={}", pattern.replace('*', "%2A").replace('>', "%3E"))
}
