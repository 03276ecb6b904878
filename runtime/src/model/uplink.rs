//! What a device sent as bytes, and what was found in it.

use super::{id::Id, time::Micros, value::Value};
use bytes::Bytes;

/// One message of a device, not decoded yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Uplink {
    pub device: Id,
    /// LoRaWAN's FPort, or what the device uses in its place to tell one kind of message from another.
    pub port: Option<u8>,
    pub payload: Bytes,
    /// When it was sent, where who passed it on knows.
    pub measured: Option<Micros>,
    /// By the clock of the node.
    pub received: Micros,
}

/// One value found in an uplink. Whose sensor it is, the uplink says.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    pub sensor: Id,
    /// None: when the uplink was sent.
    pub measured: Option<Micros>,
    pub value: Value,
}
