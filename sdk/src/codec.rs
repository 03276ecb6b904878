//! Decodes what devices send, before it is readings.
//!
//! A codec has no effects and no state: it sees one uplink and the app's [`config`](crate::config), and says what it found. The node
//! makes readings of it, and sensors that it has not heard of. An uplink that a codec refuses, or traps on, is not lost: it is among
//! the dead letters, to be decoded again once the codec is mended.
//!
//! ```
//! use tawi::{Error, Sample, Uplink};
//!
//! #[tawi::codec]
//! fn decode(uplink: Uplink) -> tawi::Result<Vec<Sample>> {
//!     match (uplink.port, uplink.payload.as_slice()) {
//!         (Some(2), [high, low, humidity]) => Ok(vec![
//!             Sample::new("temperature", f64::from(i16::from_be_bytes([*high, *low])) / 10.0)?,
//!             Sample::new("humidity", humidity)?,
//!         ]),
//!         (port, bytes) => Err(Error::reject(format!("{} bytes on port {port:?}", bytes.len()))),
//!     }
//! }
//!
//! let host = tawi::testing::Host::new();
//! let samples = host.decode(decode, Uplink::new("d1", [0x00, 0xd7, 60]).on_port(2))?;
//! assert_eq!(samples[0].value.number(), Some(21.5));
//! assert!(host.decode(decode, Uplink::new("d1", [1])).is_err());
//! # Ok::<(), Error>(())
//! ```

use crate::{Error, Result, Timestamp, Value};
use serde::Serialize;

/// One message of a device, as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Uplink {
    /// The name of the codec in `tawi.toml`.
    pub codec: String,
    /// The device's id.
    pub device: String,
    /// LoRaWAN's FPort, or what the device uses in its place.
    pub port: Option<u8>,
    /// The bytes.
    pub payload: Vec<u8>,
    /// When it was sent, where who passed it on knows.
    pub measured: Option<Timestamp>,
    /// When it arrived, by the node's clock.
    pub received: Timestamp,
}

/// One value found in an uplink.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The sensor of the device; one that nobody has heard of is made.
    pub sensor: String,
    /// What it measured.
    pub value: Value,
    /// When; none: when the uplink was sent.
    pub measured: Option<Timestamp>,
}

impl Sample {
    /// A value as JSON.
    pub fn new(sensor: impl Into<String>, value: impl Serialize) -> Result<Sample> {
        Ok(Sample { sensor: sensor.into(), value: Value::of(&value)?, measured: None })
    }

    /// The same, measured at another time than the uplink was sent.
    pub fn at(self, measured: Timestamp) -> Sample {
        Sample { measured: Some(measured), ..self }
    }
}

/// What a codec may return: a `Vec` of [`Sample`]s, or a `Result` of one.
#[diagnostic::on_unimplemented(message = "a codec returns `tawi::Result<Vec<tawi::Sample>>`", label = "returns `{Self}`")]
pub trait Samples {
    #[doc(hidden)]
    fn samples(self) -> Result<Vec<Sample>>;
}

impl Samples for Vec<Sample> {
    fn samples(self) -> Result<Vec<Sample>> {
        Ok(self)
    }
}

impl<E: Into<Error>> Samples for Result<Vec<Sample>, E> {
    fn samples(self) -> Result<Vec<Sample>> {
        self.map_err(Into::into)
    }
}

/// What `#[tawi::codec]` puts beside the function: the export of the component.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __codec {
    ($codec:ident) => {
        const _: () = {
            struct Codec;
            impl $crate::bindings::decoder::exports::tawi::app::codec::Guest for Codec {
                fn decode(
                    uplink: $crate::bindings::decoder::exports::tawi::app::codec::Uplink,
                ) -> ::core::result::Result<
                    ::std::vec::Vec<$crate::bindings::decoder::exports::tawi::app::codec::Sample>,
                    ::std::string::String,
                > {
                    $crate::codec::__decode($codec, uplink)
                }
            }
    $crate::bindings::decoder::export_decoder!(Codec with_types_in $crate::bindings::decoder);
        };
        #[doc(hidden)]
        mod __an_app_has_one_codec {}
    };
}

/// Off wasm there is nothing to export; the codec's type is checked all the same.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __codec {
    ($codec:ident) => {
        const _: fn($crate::Uplink) -> $crate::Result<::std::vec::Vec<$crate::Sample>> =
            |uplink| $crate::codec::Samples::samples($codec(uplink));
        #[doc(hidden)]
        mod __an_app_has_one_codec {}
    };
}

#[cfg(target_arch = "wasm32")]
mod export {
    use super::{Samples, Uplink};
    use crate::{Timestamp, bindings};
    use bindings::decoder::exports::tawi::app::codec as wit;

    #[doc(hidden)]
    pub fn __decode<S: Samples>(codec: fn(Uplink) -> S, uplink: wit::Uplink) -> Result<Vec<wit::Sample>, String> {
        crate::log::start();
        let uplink = Uplink {
            codec: uplink.codec,
            device: uplink.device,
            port: uplink.port,
            payload: uplink.payload,
            measured: uplink.measured.map(Timestamp::from_micros),
            received: Timestamp::from_micros(uplink.received),
        };
        let sample = |sample: super::Sample| wit::Sample {
            sensor: sample.sensor,
            value: sample.value.into(),
            measured: sample.measured.map(Timestamp::micros),
        };
        let samples = codec(uplink).samples().map_err(|error| error.reason().to_owned())?;
        Ok(samples.into_iter().map(sample).collect())
    }
}
#[cfg(target_arch = "wasm32")]
pub use export::__decode;
