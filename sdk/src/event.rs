//! What an event handler is given.
//!
//! ```
//! use tawi::{Error, Event, log};
//!
//! #[tawi::event]
//! fn handle(event: Event) -> tawi::Result {
//!     let reading = event.reading()?;
//!     let celsius = event.number().ok_or_else(|| Error::reject("not a number"))?;
//!     log::info!("{} of {} at {}: {celsius}", reading.sensor, reading.device, reading.measured);
//!     Ok(())
//! }
//!
//! let host = tawi::testing::Host::new();
//! assert!(host.run(handle, host.event("reading.fridge1.temp", 9.5)).is_ok());
//! assert!(host.run(handle, host.event("reading.fridge1.temp", "warm")).is_err());
//! ```

use crate::{Error, Result, Timestamp, Value};
use serde::de::DeserializeOwned;

/// One reading of one sensor, or one message that an app published.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub(crate) function: String,
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) device: Option<String>,
    pub(crate) sensor: Option<String>,
    pub(crate) value: Value,
    pub(crate) measured: Timestamp,
    pub(crate) received: Timestamp,
    pub(crate) sequence: u64,
    pub(crate) attempt: u32,
}

/// Which sensor measured, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading<'a> {
    /// The device's id.
    pub device: &'a str,
    /// The sensor's id, unique within the device.
    pub sensor: &'a str,
    /// By the device's clock, which may be wrong by days.
    pub measured: Timestamp,
}

impl Event {
    /// The name of the `[[on]]` entry this delivery is for.
    pub fn function(&self) -> &str {
        &self.function
    }

    /// Identifies the event: the same in every attempt and after every crash. Send it along with what leaves Tawi.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `reading.DEVICE.SENSOR` for a reading, else the subject it was published on.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The device that measured; none for a message that no device caused.
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }

    /// The sensor that measured; none for a message.
    pub fn sensor(&self) -> Option<&str> {
        self.sensor.as_deref()
    }

    /// Device, sensor and time of a reading. A message is rejected.
    pub fn reading(&self) -> Result<Reading<'_>> {
        match (self.device(), self.sensor()) {
            (Some(device), Some(sensor)) => Ok(Reading { device, sensor, measured: self.measured }),
            _ => Err(Error::reject(format!("the event on `{}` is not a reading", self.subject))),
        }
    }

    /// The value as a `T`; rejected when it is none. See [`Event::number`] for sensors that quote their numbers.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T> {
        self.value.parse()
    }

    /// The value as a number: a JSON number, or a string that holds one, since many devices quote them.
    pub fn number(&self) -> Option<f64> {
        self.value.number()
    }

    /// The value as it came.
    pub fn payload(&self) -> &Value {
        &self.value
    }

    /// When it was measured, by the device's clock, which may be wrong by days.
    pub fn measured(&self) -> Timestamp {
        self.measured
    }

    /// When it arrived, by the node's clock.
    pub fn received(&self) -> Timestamp {
        self.received
    }

    /// Position in the node's log: grows, and is never used twice.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// 1 for the first try.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

/// What an event handler may return: [`Result`], or nothing.
#[diagnostic::on_unimplemented(message = "an event handler returns `tawi::Result`, or nothing", label = "returns `{Self}`")]
pub trait Verdict {
    #[doc(hidden)]
    fn verdict(self) -> Result;
}

impl Verdict for () {
    fn verdict(self) -> Result {
        Ok(())
    }
}

impl<E: Into<Error>> Verdict for Result<(), E> {
    fn verdict(self) -> Result {
        self.map_err(Into::into)
    }
}

/// What `#[tawi::event]` puts beside the handler: the export of the component.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __event {
    ($handler:ident) => {
        const _: () = {
            struct Handler;
            impl $crate::bindings::event::exports::tawi::app::event_handler::Guest for Handler {
                fn handle(
                    event: $crate::bindings::event::exports::tawi::app::event_handler::Event,
                ) -> ::core::result::Result<(), $crate::bindings::event::exports::tawi::app::event_handler::Failure> {
                    $crate::event::__handle($handler, event)
                }
            }
    $crate::bindings::event::export_event!(Handler with_types_in $crate::bindings::event);
        };
        #[doc(hidden)]
        mod __an_app_has_one_event_handler {}
    };
}

/// Off wasm there is nothing to export; the handler's type is checked all the same.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __event {
    ($handler:ident) => {
        const _: fn($crate::Event) -> $crate::Result = |event| $crate::event::Verdict::verdict($handler(event));
        #[doc(hidden)]
        mod __an_app_has_one_event_handler {}
    };
}

#[cfg(target_arch = "wasm32")]
mod export {
    use super::{Event, Verdict};
    use crate::{Timestamp, bindings};
    use bindings::event::exports::tawi::app::event_handler as wit;

    #[doc(hidden)]
    pub fn __handle<V: Verdict>(handler: fn(Event) -> V, event: wit::Event) -> Result<(), wit::Failure> {
        crate::log::start();
        let event = Event {
            function: event.function,
            id: event.id,
            subject: event.subject,
            device: event.device,
            sensor: event.sensor,
            value: event.value.into(),
            measured: Timestamp::from_micros(event.measured),
            received: Timestamp::from_micros(event.received),
            sequence: event.sequence,
            attempt: event.attempt,
        };
        handler(event).verdict().map_err(|error| match error.is_retry() {
            true => wit::Failure::Retry(wit::Retry {
                after_ms: error.after().map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
                reason: error.reason().to_owned(),
            }),
            false => wit::Failure::Reject(error.reason().to_owned()),
        })
    }
}
#[cfg(target_arch = "wasm32")]
pub use export::__handle;
