//! What the triggers of time have in common: which call it is, and readings as the trigger saw them.
//!
//! The triggers are [`schedule`](mod@crate::schedule), [`batch`](mod@crate::batch), [`window`](mod@crate::window),
//! [`silence`](mod@crate::silence), [`change`](mod@crate::change) and [`threshold`](mod@crate::threshold). Each has an attribute of its
//! name, and an app may have a function for all of them. `every = 10` has none: every tenth reading is an [`Event`].
//!
//! What fired is durable before the function is told of it. So it is told once that succeeds, as with events: a call that fails is tried
//! again with the very same, and its effects are dropped.

use crate::{Error, Event, Result, Timestamp, Value};
use serde::de::DeserializeOwned;

/// Which call this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The name of the `[[on]]` entry it is for.
    pub function: String,
    /// Identifies what fired: the same in every attempt and after every crash. Send it along with what leaves Tawi.
    pub id: String,
    /// Position of what fired in the node's log: grows, and is never used twice.
    pub sequence: u64,
    /// 1 for the first try.
    pub attempt: u32,
}

/// One reading of one sensor, or one message that an app published, as a trigger saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// `reading.DEVICE.SENSOR` for a reading, else the subject it was published on.
    pub subject: String,
    /// The device that measured; none for a message that no device caused.
    pub device: Option<String>,
    /// The sensor that measured; none for a message.
    pub sensor: Option<String>,
    /// What it carries.
    pub value: Value,
    /// When it was measured, by the device's clock, which may be wrong by days.
    pub measured: Timestamp,
    /// When it arrived, by the node's clock.
    pub received: Timestamp,
    /// Position of the reading itself in the node's log.
    pub sequence: u64,
}

impl Reading {
    /// The value as a `T`; rejected when it is none.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T> {
        self.value.parse()
    }

    /// The value as a number: a JSON number, or a string that holds one, since many devices quote them.
    pub fn number(&self) -> Option<f64> {
        self.value.number()
    }

    /// The device's id. A message that no device caused is rejected.
    pub fn device(&self) -> Result<&str> {
        named(self.device.as_deref(), "device")
    }

    /// The sensor's id, unique within the device. A message is rejected.
    pub fn sensor(&self) -> Result<&str> {
        named(self.sensor.as_deref(), "sensor")
    }
}

/// What is there for readings, and for what the function is called for in most manifests.
pub(crate) fn named<'a>(id: Option<&'a str>, what: &str) -> Result<&'a str> {
    id.ok_or_else(|| Error::reject(format!("there is no {what}: this is of messages, or of more than one")))
}

/// As it is in what a trigger tells.
impl From<Event> for Reading {
    fn from(event: Event) -> Reading {
        let Event { subject, device, sensor, value, measured, received, sequence, .. } = event;
        Reading { subject, device, sensor, value, measured, received, sequence }
    }
}

/// What the attribute of a trigger puts beside the handler: the export of the component.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __trigger {
    ($kind:ident $interface:ident $export:ident $told:ident $once:ident $handler:ident) => {
        const _: () = {
            struct Handler;
            impl $crate::bindings::$kind::exports::tawi::app::$interface::Guest for Handler {
                fn handle(
                    delivery: $crate::bindings::guest::tawi::app::trigger::Delivery,
                    told: $crate::bindings::$kind::exports::tawi::app::$interface::$told,
                ) -> ::core::result::Result<(), $crate::bindings::guest::tawi::app::trigger::Failure> {
                    $crate::trigger::__handle::<$crate::$kind::$told, _, _>($handler, delivery, told)
                }
            }
    $crate::bindings::$kind::$export!(Handler with_types_in $crate::bindings::$kind);
        };
        #[doc(hidden)]
        mod $once {}
    };
}

/// Off wasm there is nothing to export; the handler's type is checked all the same.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __trigger {
    ($kind:ident $interface:ident $export:ident $told:ident $once:ident $handler:ident) => {
        const _: fn($crate::$kind::$told) -> $crate::Result = |told| $crate::event::Verdict::verdict($handler(told));
        #[doc(hidden)]
        mod $once {}
    };
}

#[cfg(target_arch = "wasm32")]
mod export {
    use super::{Delivery, Reading};
    use crate::{Timestamp, bindings::guest::tawi::app::trigger as wit, event::Verdict};

    /// What a handler is told, of what the node hands over.
    #[doc(hidden)]
    pub trait Told<W> {
        fn told(delivery: Delivery, told: W) -> Self;
    }

    #[doc(hidden)]
    pub fn __handle<T: Told<W>, W, V: Verdict>(handler: fn(T) -> V, delivery: wit::Delivery, told: W) -> Result<(), wit::Failure> {
        crate::log::start();
        let wit::Delivery { function, id, sequence, attempt } = delivery;
        let told = T::told(Delivery { function, id, sequence, attempt }, told);
        handler(told).verdict().map_err(|error| match error.is_retry() {
            true => wit::Failure::Retry(wit::Retry {
                after_ms: error.after().map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
                reason: error.reason().to_owned(),
            }),
            false => wit::Failure::Reject(error.reason().to_owned()),
        })
    }

    impl From<wit::Reading> for Reading {
        fn from(reading: wit::Reading) -> Reading {
            Reading {
                subject: reading.subject,
                device: reading.device,
                sensor: reading.sensor,
                value: reading.value.into(),
                measured: Timestamp::from_micros(reading.measured),
                received: Timestamp::from_micros(reading.received),
                sequence: reading.sequence,
            }
        }
    }
}
#[cfg(target_arch = "wasm32")]
pub use export::{__handle, Told};
