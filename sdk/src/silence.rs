//! Sensors that fall silent, and that are back.
//!
//! ```toml
//! [[on]]
//! name = "silent"
//! subject = "reading.*.oxygen"
//! silence = "10m"
//! ```
//!
//! ```
//! use tawi::{Silence, json, publish};
//!
//! #[tawi::silence]
//! fn silent(silence: Silence) -> tawi::Result {
//!     let subject = format!("alerts.{}", publish::token(silence.device()?));
//!     match silence.lasted() {
//!         None => publish(&subject, &json!({ "silent": true, "since": silence.since })),
//!         Some(time) => publish(&subject, &json!({ "silent": false, "seconds": time.as_secs() })),
//!     }
//! }
//!
//! let host = tawi::testing::Host::new();
//! let silence = host.silence("pond1", "oxygen", "2026-01-01T11:30:00Z");
//! host.run(silent, silence.clone())?;
//! host.run(silent, silence.back_with(host.event("reading.pond1.oxygen", 7.0)))?;
//! assert_eq!(host.published()[1].json(), json!({ "silent": false, "seconds": 1800 }));
//! # Ok::<(), tawi::Error>(())
//! ```
//!
//! A sensor that has never sent anything is not silent: it is heard of with its first reading.

use crate::{
    Result, Timestamp,
    trigger::{Delivery, Reading, named},
};
use std::time::Duration;

/// A sensor that sent nothing for as long as `tawi.toml` says, or that is back after such a silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Which call this is.
    pub delivery: Delivery,
    /// The device; none for messages that no device caused.
    pub device: Option<String>,
    /// The sensor; none for messages.
    pub sensor: Option<String>,
    /// When the last reading before the silence arrived, by the node's clock.
    pub since: Timestamp,
    /// The reading that ended it; none: it is silent now.
    pub back: Option<Reading>,
}

impl Silence {
    /// The device's id. A silence of messages that no device caused is rejected.
    pub fn device(&self) -> Result<&str> {
        named(self.device.as_deref(), "device")
    }

    /// The sensor's id. A silence of messages is rejected.
    pub fn sensor(&self) -> Result<&str> {
        named(self.sensor.as_deref(), "sensor")
    }

    /// How long it lasted, once it is over.
    pub fn lasted(&self) -> Option<Duration> {
        self.back.as_ref().map(|back| back.received.since(self.since))
    }
}

/// What `#[tawi::silence]` puts beside the handler.
#[doc(hidden)]
#[macro_export]
macro_rules! __silence {
    ($handler:ident) => {
        $crate::__trigger! { silence silence_handler export_silence Silence __an_app_has_one_silence_handler $handler }
    };
}

#[cfg(target_arch = "wasm32")]
impl crate::trigger::Told<crate::bindings::silence::exports::tawi::app::silence_handler::Silence> for Silence {
    fn told(delivery: Delivery, silence: crate::bindings::silence::exports::tawi::app::silence_handler::Silence) -> Silence {
        Silence {
            delivery,
            device: silence.device,
            sensor: silence.sensor,
            since: Timestamp::from_micros(silence.since),
            back: silence.back.map(Reading::from),
        }
    }
}
