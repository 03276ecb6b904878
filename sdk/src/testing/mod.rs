//! A fake host, so that functions are tested by plain `cargo test`, without a node.
//!
//! Off wasm, every capability asks the [`Host`] that the test made. It has the limits and the rules of the node: reserved subjects
//! are denied, keys and values too long refused, and what a call did is kept only if it succeeds.
//!
//! ```
//! use tawi::{Error, Event, publish, state, testing::Host};
//!
//! #[tawi::event]
//! fn count(event: Event) -> tawi::Result {
//!     let count = state::get::<u32>("count")?.unwrap_or(0) + 1;
//!     state::set("count", &count)?;
//!     publish("counts", &count)?;
//!     match event.number() {
//!         Some(_) => Ok(()),
//!         None => Err(Error::reject("not a number")),
//!     }
//! }
//!
//! let host = Host::new();
//! host.run(count, host.event("reading.fridge1.temp", 9.5))?;
//! let error = host.run(count, host.event("reading.fridge1.temp", "warm")).unwrap_err();
//! assert_eq!(error.reason(), "not a number");
//!
//! // The second call failed, so nothing of it is left.
//! assert_eq!(host.state::<u32>("count"), Some(1));
//! assert_eq!(host.published()[0].json(), 1);
//! assert_eq!(host.published().len(), 1);
//! # Ok::<(), Error>(())
//! ```
//!
//! What was recorded with `tawi record` is played by [`Host::play`]: a [`Trace`].
//!
//! What a trigger of time tells is made of events: [`Host::tick`], [`Host::batch`], [`Host::window`], [`Host::silence`],
//! [`Host::change`], [`Host::crossing`]; [`Host::run`] runs the handlers of them all. When it fires is the node's affair.

mod query;
mod trace;
mod trigger;
mod world;

use crate::{
    Error, ErrorKind, Event, Result, Sample, Timestamp, Uplink, Value,
    codec::Samples,
    event::Verdict,
    history::Found,
    http::{Answer, Body, Request, Response},
    log::Level,
    publish::token,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{cell::RefCell, fmt::Debug, rc::Rc};
pub use trace::{Step, Trace};
pub use trigger::Told;
use world::World;

type Shared = Rc<RefCell<World>>;
pub(crate) type Fetch = Rc<dyn Fn(Request) -> Response>;

thread_local! {
    /// The hosts of this test's thread; the newest one answers.
    static HOSTS: RefCell<Vec<Shared>> = const { RefCell::new(Vec::new()) };
}

/// Gives the world of the newest host of this thread.
pub(crate) fn world<T>(use_it: impl FnOnce(&mut World) -> T) -> T {
    let host = HOSTS.with_borrow(|hosts| hosts.last().cloned());
    let Some(host) = host else {
        panic!("nobody answers: off wasm a test makes a fake host first, with `let host = tawi::testing::Host::new();`");
    };
    use_it(&mut host.borrow_mut())
}

/// A host that keeps everything in memory. It answers the calls of the thread it was made in until it is dropped.
pub struct Host(Shared);

/// A message that a call published.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The subject it is on.
    pub subject: String,
    /// What it carries.
    pub value: Value,
}

/// A command that a call queued.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The device it is for.
    pub device: String,
    /// The actuator of the device.
    pub actuator: String,
    /// What it carries.
    pub value: Value,
    /// What [`command::send`](crate::command::send) returned.
    pub id: String,
}

/// A line that was logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// Where it is from; the macros of [`log`](crate::log) name the module.
    pub context: String,
    /// What it says.
    pub message: String,
}

impl Published {
    /// The message as JSON, to compare with `json!`; null where it is bytes.
    pub fn json(&self) -> serde_json::Value {
        self.value.parse().unwrap_or_default()
    }
}

impl Command {
    /// The command as JSON, to compare with `json!`.
    pub fn json(&self) -> serde_json::Value {
        self.value.parse().unwrap_or_default()
    }
}

impl Host {
    /// A host with no settings, no state and no past, on 2026-01-01 at noon, which grants everything but outbound HTTP.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Host {
        let world = Rc::new(RefCell::new(World::default()));
        HOSTS.with_borrow_mut(|hosts| hosts.push(world.clone()));
        Host(world)
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut World) -> T) -> T {
        use_it(&mut self.0.borrow_mut())
    }

    /// Sets what [`config`](crate::config) finds.
    pub fn config(&self, key: &str, value: &str) {
        self.with(|world| world.config.insert(key.to_owned(), value.to_owned()));
    }

    /// Sets what [`secrets`](crate::secrets) finds.
    pub fn secret(&self, name: &str, value: &str) {
        self.with(|world| world.secrets.insert(name.to_owned(), value.to_owned()));
    }

    /// Sets the clock; it stands still until it is set again.
    #[track_caller]
    pub fn clock<T: TryInto<Timestamp, Error: Debug>>(&self, now: T) {
        self.with(|world| world.clock = time(now));
    }

    /// Grants publishing on these subjects only, as `[grant] publish` would.
    pub fn grant_publish(&self, patterns: &[&str]) {
        self.with(|world| world.publish_grants = Some(patterns.iter().map(|it| (*it).to_owned()).collect()));
    }

    /// Grants outbound HTTP, and answers it.
    pub fn on_fetch(&self, answer: impl Fn(Request) -> Response + 'static) {
        self.with(|world| world.answer = Some(Rc::new(answer)));
    }

    /// Adds a reading to what [`history`](crate::history) finds. This fake reads queries of `FIELD:VALUE` joined by `AND`, with the
    /// fields device, sensor, subject and value, and `>`, `>=`, `<`, `<=` for numbers.
    #[track_caller]
    pub fn past<T: TryInto<Timestamp, Error: Debug>>(&self, device: &str, sensor: &str, value: impl Serialize, measured: T) {
        let event = self.reading(device, sensor, value);
        let measured = time(measured);
        self.with(|world| {
            world.past.push(Found {
                subject: event.subject,
                device: event.device,
                sensor: event.sensor,
                value: event.value,
                measured,
                received: event.received,
                sequence: event.sequence,
            });
        });
    }

    /// An event on a subject; one on `reading.DEVICE.SENSOR` is a reading. It is measured and received now, on the first attempt.
    ///
    /// # Panics
    ///
    /// When the value can't be written as JSON.
    #[track_caller]
    pub fn event(&self, subject: &str, value: impl Serialize) -> Event {
        let value = Value::of(&value).unwrap_or_else(|error| panic!("{error}"));
        self.with(|world| world.event(subject, value))
    }

    /// As [`Host::event`], for ids that may have a dot in them.
    #[track_caller]
    pub fn reading(&self, device: &str, sensor: &str, value: impl Serialize) -> Event {
        self.event(&format!("reading.{}.{}", token(device), token(sensor)), value)
    }

    /// Runs the handler of an event, or of a trigger of time. What it did is kept if it succeeds, and dropped if not.
    pub fn run<T: Told, V: Verdict>(&self, handler: impl FnOnce(T) -> V, told: T) -> Result {
        self.begin(told.call());
        let verdict = handler(told).verdict();
        self.end(verdict.is_ok());
        verdict
    }

    /// Runs an HTTP handler. What it did is kept if it answers. A streaming body is read to its end here, and what it does is kept if
    /// it ends well.
    pub fn serve<A: Answer, B: Into<Body>>(&self, handler: impl FnOnce(Request) -> A, request: Request<B>) -> Result<Response> {
        let id = self.with(|world| world.next_id());
        self.begin(&id);
        let answer = handler(request.map(Into::into)).answer();
        self.end(answer.is_ok());
        let (head, body) = answer?.into_parts();
        self.begin(&id);
        let bytes = body.bytes();
        self.end(bytes.is_ok());
        Ok(Response::from_parts(head, bytes?.into()))
    }

    /// Runs a codec. It has no effects: what it publishes, commands or writes here is dropped, and on a node refused.
    pub fn decode<S: Samples>(&self, codec: impl FnOnce(Uplink) -> S, uplink: Uplink) -> Result<Vec<Sample>> {
        let id = self.with(|world| world.next_id());
        self.begin(&id);
        let samples = codec(uplink).samples();
        self.end(false);
        samples
    }

    fn begin(&self, id: &str) {
        crate::log::start();
        self.with(|world| world.begin(id));
    }

    fn end(&self, keep: bool) {
        self.with(|world| world.end(keep));
    }

    /// What was published, in order.
    pub fn published(&self) -> Vec<Published> {
        self.with(|world| world.kept.published.clone())
    }

    /// What was commanded, in order.
    pub fn commands(&self) -> Vec<Command> {
        self.with(|world| world.kept.commands.clone())
    }

    /// The state under a key.
    ///
    /// # Panics
    ///
    /// When it is not a `T`.
    #[track_caller]
    pub fn state<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let bytes = self.with(|world| world.kept.state.get(key).cloned())?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Some(value),
            Err(error) => panic!("the state under `{key}` is {}: {error}", String::from_utf8_lossy(&bytes)),
        }
    }

    /// All keys of the state, in order.
    pub fn state_keys(&self) -> Vec<String> {
        self.with(|world| world.kept.state.keys().cloned().collect())
    }

    /// What was logged, in order, by failed calls too.
    pub fn logs(&self) -> Vec<LogLine> {
        self.with(|world| world.logs.clone())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        HOSTS.with_borrow_mut(|hosts| hosts.retain(|host| !Rc::ptr_eq(host, &self.0)));
    }
}

impl Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

/// Setters for tests; on a node an event is as it is.
impl Event {
    /// The same, measured at another time.
    #[track_caller]
    pub fn measured_at<T: TryInto<Timestamp, Error: Debug>>(self, measured: T) -> Event {
        Event { measured: time(measured), ..self }
    }

    /// The same, for the `[[on]]` entry of this name.
    pub fn for_function(self, name: &str) -> Event {
        Event { function: name.to_owned(), ..self }
    }

    /// The same, tried for the `attempt`th time.
    pub fn on_attempt(self, attempt: u32) -> Event {
        Event { attempt, ..self }
    }

    /// The same, with bytes instead of JSON.
    pub fn with_bytes(self, bytes: impl Into<Vec<u8>>) -> Event {
        Event { value: Value::Bytes(bytes.into()), ..self }
    }
}

/// Makers for tests; on a node an uplink comes from a device.
impl Uplink {
    /// Bytes of a device, without a port, received on 2026-01-01 at noon.
    pub fn new(device: &str, payload: impl Into<Vec<u8>>) -> Uplink {
        let received = Timestamp::from_micros(1_767_268_800_000_000);
        Uplink { codec: "codec".to_owned(), device: device.to_owned(), port: None, payload: payload.into(), measured: None, received }
    }

    /// The same, on a port.
    pub fn on_port(self, port: u8) -> Uplink {
        Uplink { port: Some(port), ..self }
    }
}

#[track_caller]
fn time<T: TryInto<Timestamp, Error: Debug>>(time: T) -> Timestamp {
    match time.try_into() {
        Ok(time) => time,
        Err(error) => panic!("not a time: {error:?}"),
    }
}

pub(crate) fn fetch(answer: Option<Fetch>, request: Request) -> Result<Response> {
    let Some(host) = request.uri().host() else {
        return Err(Error::invalid(format!("`{}` has no host that can be asked", request.uri())));
    };
    match answer {
        Some(answer) => Ok(answer(request)),
        None => Err(Error::of(ErrorKind::Denied, format!("a request to `{host}` is not granted here: answer it with `Host::on_fetch`"))),
    }
}
