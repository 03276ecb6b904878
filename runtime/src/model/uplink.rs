//! What a device sent as bytes, and what was found in it.

use super::{
    event::{Cause, Kind, NewEvent, Place},
    id::{FunctionId, Id, Tenant},
    subject::Subject,
    time::Micros,
    value::Value,
};
use bytes::Bytes;

/// The function under which uplinks are kept that the codec of an app could not decode. No `[[on]]` entry is called so.
pub const CODEC: &str = "codec";
/// First token of the subjects of such uplinks.
const SUBJECT: &str = "uplink";

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

/// What became of an uplink at its codec.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// Or why there are none.
    pub result: Result<Vec<Measurement>, String>,
    /// Log lines of the codec, as they go into the log.
    pub said: Vec<NewEvent>,
    /// The last of them.
    pub log_tail: Vec<String>,
    /// The release that decoded; 0: none did.
    pub release: u64,
}

impl Decoded {
    /// Nobody was asked, or who was asked had nothing to say.
    pub fn silently(result: Result<Vec<Measurement>, String>) -> Decoded {
        Decoded { result, said: Vec::new(), log_tail: Vec::new(), release: 0 }
    }
}

impl Uplink {
    /// As an event, for one that this codec could not decode: `uplink.DEVICE`, or `uplink.DEVICE.PORT`.
    pub fn event(&self, tenant: &Tenant, codec: &FunctionId) -> NewEvent {
        let port = self.port.map(|port| format!(".{port}")).unwrap_or_default();
        // A token of an id holds nothing that a subject refuses, and is far from its length.
        let subject = Subject::new(&format!("{SUBJECT}.{}{port}", self.device.to_token())).unwrap_or_else(|e| unreachable!("{e}"));
        let (app, function) = (codec.app.app.clone(), codec.function.clone());
        NewEvent {
            tenant: tenant.clone(),
            kind: Kind::Message,
            subject,
            key: self.device.to_string(),
            device: Some(self.device.clone()),
            sensor: None,
            measured: self.measured.unwrap_or(self.received),
            received: self.received,
            value: Value::Bytes(self.payload.clone()),
            raw: None,
            cause: Some(Box::new(Cause { app, function, seq: 0, call: String::new(), place: Place::default() })),
        }
    }

    /// The uplink that [`Uplink::event`] made this of; none where the event, or who failed on it, is another.
    pub fn of(event: &NewEvent, function: &FunctionId) -> Option<Uplink> {
        let cause = event.cause.as_ref()?;
        let is_codec = function.function.as_str() == CODEC && cause.app == function.app.app && cause.function == function.function;
        let mut tokens = event.subject.as_str().split('.');
        if !is_codec || event.kind != Kind::Message || tokens.next() != Some(SUBJECT) {
            return None;
        }
        let port = tokens.nth(1).map(str::parse).transpose().ok()?;
        let Value::Bytes(payload) = &event.value else { return None };
        let measured = (event.measured != event.received).then_some(event.measured);
        Some(Uplink { device: event.device.clone()?, port, payload: payload.clone(), measured, received: event.received })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::{AppId, id::default_tenant};

    #[test]
    fn an_uplink_in_the_log_is_the_one_that_came() {
        let id = |text: &str| Id::new(text).unwrap();
        let codec = |app: &str, function: &str| FunctionId { app: AppId::new(default_tenant(), id(app)), function: id(function) };
        for (port, measured) in [(None, None), (Some(0), Some(Micros(3))), (Some(255), None)] {
            let payload = Bytes::from_static(&[0, 255]);
            let uplink = Uplink { device: id("gw.7"), port, payload, measured, received: Micros(9) };
            let event = uplink.event(&default_tenant(), &codec("elsys", CODEC));
            assert_eq!(Uplink::of(&event, &codec("elsys", CODEC)), Some(uplink));
            // A function that listens to such events and fails has letters of the same event.
            assert_eq!(Uplink::of(&event, &codec("elsys", "watch")), None);
            assert_eq!(Uplink::of(&event, &codec("other", CODEC)), None);
        }
        let reading = NewEvent::reading(&default_tenant(), &id("d"), &id("s"), Micros(0), Micros(0), Value::Bytes(Bytes::new()));
        assert_eq!(Uplink::of(&reading, &codec("elsys", CODEC)), None);
    }
}
