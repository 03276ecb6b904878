//! Packets of MQTT 3.1.1 and 5 as one set of packets. The bytes are the business of `mqtt-proto`; here is what the two versions
//! have in common, and what of a packet the node looks at. Pure.

use bytes::{Buf, Bytes, BytesMut};
use futures::FutureExt;
use mqtt_proto::{Pid, QoS, QosPid, TopicName, v3, v5};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1 and 3.1.1.
    V3,
    V5,
}

/// Why a connection is given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a packet of {bytes} bytes, at most {max} are taken")]
    TooLarge { bytes: usize, max: usize },
    #[error("what came is no packet: {0}")]
    Packet(String),
    #[error("a packet that has no place there")]
    OutOfPlace,
    #[error("version {0} of the protocol is not spoken here")]
    Version(u8),
}

/// The first packet of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Connect {
    pub version: Version,
    /// Begin anew, whatever is kept.
    pub clean: bool,
    /// Seconds; 0: for ever.
    pub keep_alive: u16,
    pub client_id: Arc<str>,
    pub username: Option<Arc<str>>,
    pub password: Option<Bytes>,
    pub will: Option<Will>,
    /// Deliveries that it takes before it acknowledges one.
    pub receive_max: u16,
    /// Bytes of a packet that it takes.
    pub packet_max: u32,
    /// Seconds that its session outlives the connection; `u32::MAX`: as long as the node lets it.
    pub expiry: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Will {
    pub topic: Arc<str>,
    pub payload: Bytes,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Packet {
    Publish(Publish),
    /// `refused`: the client does not want it.
    Puback {
        pid: u16,
        refused: bool,
    },
    Pubrel(u16),
    Subscribe {
        pid: u16,
        wishes: Vec<Wish>,
    },
    Unsubscribe {
        pid: u16,
        filters: Vec<Arc<str>>,
    },
    Ping,
    Disconnect {
        with_will: bool,
        expiry: Option<u32>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Publish {
    pub topic: Arc<str>,
    pub payload: Bytes,
    pub delivery: Delivery,
}

/// How sure a publish is to be, with the packet's id.
// The names are those of the standard.
#[allow(clippy::enum_variant_names)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    AtMostOnce,
    AtLeastOnce(u16),
    ExactlyOnce(u16),
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    pub filter: Arc<str>,
    pub qos: u8,
    /// Whether current values are wanted: always, where the subscription is new, never.
    pub retained: Retained,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retained {
    Always,
    IfNew,
    Never,
}

/// What a publish came to, as a client of version 5 is told; one of version 3 hears nothing but that it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Success,
    NotAuthorized,
    TopicNameInvalid,
    PayloadInvalid,
    Quota,
}

/// Cuts the next whole packet off the front.
pub fn frame(buffer: &mut BytesMut, max: usize) -> Result<Option<Bytes>, Malformed> {
    let Some(total) = length(buffer)? else { return Ok(None) };
    if total > max {
        return Err(Malformed::TooLarge { bytes: total, max });
    }
    Ok((buffer.len() >= total).then(|| buffer.split_to(total).freeze()))
}

/// How long the packet at the front is; none while that is not all there.
pub fn length(buffer: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut remaining = 0;
    for (place, byte) in buffer.iter().skip(1).take(4).enumerate() {
        remaining |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some(2 + place + remaining));
        }
    }
    if buffer.len() > 4 { Err(Malformed::Packet("its length has no end".to_owned())) } else { Ok(None) }
}

/// The packet that a connection begins with.
pub fn connect(frame: &Bytes) -> Result<Connect, Malformed> {
    if frame.first().is_none_or(|first| first >> 4 != 1) {
        return Err(Malformed::OutOfPlace);
    }
    let mut body = frame.get(header_bytes(frame)..).unwrap_or_default();
    // The name of the protocol, then its level.
    let name = usize::from(if body.len() >= 2 { body.get_u16() } else { 0 });
    match (body.get(..name), body.get(name)) {
        (Some(b"MQTT"), Some(5)) => match packet_v5(frame)? {
            v5::Packet::Connect(connect) => Ok(connect_v5(connect)),
            _ => Err(Malformed::OutOfPlace),
        },
        (Some(b"MQTT" | b"MQIsdp"), Some(3 | 4)) => match packet_v3(frame)? {
            v3::Packet::Connect(connect) => Ok(connect_v3(connect)),
            _ => Err(Malformed::OutOfPlace),
        },
        (Some(b"MQTT" | b"MQIsdp"), Some(level)) => Err(Malformed::Version(*level)),
        _ => Err(Malformed::Packet("it does not begin as MQTT does".to_owned())),
    }
}

fn header_bytes(frame: &[u8]) -> usize {
    1 + frame.iter().skip(1).take(4).take_while(|byte| **byte & 0x80 != 0).count() + 1
}

/// Every later packet.
pub fn packet(version: Version, frame: &Bytes) -> Result<Packet, Malformed> {
    match version {
        Version::V3 => of_v3(packet_v3(frame)?),
        Version::V5 => of_v5(packet_v5(frame)?),
    }
}

/// A reader of bytes is always ready; what is left of a frame is no part of its packet.
fn packet_v3(frame: &[u8]) -> Result<v3::Packet, Malformed> {
    let mut rest = frame;
    let read = v3::Packet::decode_async(&mut rest).now_or_never();
    whole(read.map(|read| read.map_err(|e| e.to_string())), rest)
}

fn packet_v5(frame: &[u8]) -> Result<v5::Packet, Malformed> {
    let mut rest = frame;
    let read = v5::Packet::decode_async(&mut rest).now_or_never();
    whole(read.map(|read| read.map_err(|e| e.to_string())), rest)
}

fn whole<T>(read: Option<Result<T, String>>, rest: &[u8]) -> Result<T, Malformed> {
    match read {
        Some(Ok(packet)) if rest.is_empty() => Ok(packet),
        Some(Ok(_)) => Err(Malformed::Packet("it is longer than what is in it".to_owned())),
        Some(Err(why)) => Err(Malformed::Packet(why)),
        None => Err(Malformed::Packet("it is cut short".to_owned())),
    }
}

fn connect_v3(connect: v3::Connect) -> Connect {
    Connect {
        version: Version::V3,
        clean: connect.clean_session,
        keep_alive: connect.keep_alive,
        client_id: connect.client_id,
        username: connect.username,
        password: connect.password,
        will: connect.last_will.map(|will| Will { topic: (&*will.topic_name).into(), payload: will.message }),
        receive_max: u16::MAX,
        packet_max: u32::MAX,
        expiry: if connect.clean_session { 0 } else { u32::MAX },
    }
}

fn connect_v5(connect: v5::Connect) -> Connect {
    Connect {
        version: Version::V5,
        clean: connect.clean_start,
        keep_alive: connect.keep_alive,
        client_id: connect.client_id,
        username: connect.username,
        password: connect.password,
        will: connect.last_will.map(|will| Will { topic: (&*will.topic_name).into(), payload: will.payload }),
        receive_max: connect.properties.receive_max.unwrap_or(u16::MAX),
        packet_max: connect.properties.max_packet_size.unwrap_or(u32::MAX),
        expiry: connect.properties.session_expiry_interval.unwrap_or(0),
    }
}

fn of_v3(packet: v3::Packet) -> Result<Packet, Malformed> {
    Ok(match packet {
        v3::Packet::Publish(publish) => {
            Packet::Publish(Publish { topic: (&*publish.topic_name).into(), payload: publish.payload, delivery: publish.qos_pid.into() })
        }
        v3::Packet::Puback(pid) => Packet::Puback { pid: pid.value(), refused: false },
        v3::Packet::Pubrel(pid) => Packet::Pubrel(pid.value()),
        v3::Packet::Subscribe(subscribe) => {
            let wish = |(filter, qos): (mqtt_proto::TopicFilter, QoS)| Wish {
                filter: (&*filter).into(),
                qos: qos as u8,
                retained: Retained::Always,
            };
            Packet::Subscribe { pid: subscribe.pid.value(), wishes: subscribe.topics.into_iter().map(wish).collect() }
        }
        v3::Packet::Unsubscribe(un) => {
            Packet::Unsubscribe { pid: un.pid.value(), filters: un.topics.iter().map(|filter| (&**filter).into()).collect() }
        }
        v3::Packet::Pingreq => Packet::Ping,
        v3::Packet::Disconnect => Packet::Disconnect { with_will: false, expiry: None },
        // Nothing is sent that would be answered with the others.
        _ => return Err(Malformed::OutOfPlace),
    })
}

fn of_v5(packet: v5::Packet) -> Result<Packet, Malformed> {
    Ok(match packet {
        // No alias was offered.
        v5::Packet::Publish(publish) if publish.properties.topic_alias.is_some() => return Err(Malformed::OutOfPlace),
        v5::Packet::Publish(publish) => {
            Packet::Publish(Publish { topic: (&*publish.topic_name).into(), payload: publish.payload, delivery: publish.qos_pid.into() })
        }
        v5::Packet::Puback(ack) => Packet::Puback { pid: ack.pid.value(), refused: ack.reason_code as u8 >= 0x80 },
        v5::Packet::Pubrel(rel) => Packet::Pubrel(rel.pid.value()),
        v5::Packet::Subscribe(subscribe) => {
            let wish = |(filter, options): (mqtt_proto::TopicFilter, v5::SubscriptionOptions)| Wish {
                filter: (&*filter).into(),
                qos: options.max_qos as u8,
                retained: match options.retain_handling {
                    v5::RetainHandling::SendAtSubscribe => Retained::Always,
                    v5::RetainHandling::SendAtSubscribeIfNotExist => Retained::IfNew,
                    v5::RetainHandling::DoNotSend => Retained::Never,
                },
            };
            Packet::Subscribe { pid: subscribe.pid.value(), wishes: subscribe.topics.into_iter().map(wish).collect() }
        }
        v5::Packet::Unsubscribe(un) => {
            Packet::Unsubscribe { pid: un.pid.value(), filters: un.topics.iter().map(|filter| (&**filter).into()).collect() }
        }
        v5::Packet::Pingreq => Packet::Ping,
        v5::Packet::Disconnect(end) => Packet::Disconnect {
            with_will: end.reason_code != v5::DisconnectReasonCode::NormalDisconnect,
            expiry: end.properties.session_expiry_interval,
        },
        _ => return Err(Malformed::OutOfPlace),
    })
}

impl From<QosPid> for Delivery {
    fn from(of: QosPid) -> Delivery {
        match of {
            QosPid::Level0 => Delivery::AtMostOnce,
            QosPid::Level1(pid) => Delivery::AtLeastOnce(pid.value()),
            QosPid::Level2(pid) => Delivery::ExactlyOnce(pid.value()),
        }
    }
}

/// Packets to a client, written behind what waits to be sent.
pub struct Writer<'b> {
    pub version: Version,
    pub to: &'b mut BytesMut,
}

/// What a client is told when it is let in.
pub struct Welcome {
    pub session_present: bool,
    pub client_id: Option<Arc<str>>,
    pub keep_alive: Option<u16>,
    pub expiry: u32,
    pub receive_max: u16,
    pub packet_max: u32,
}

impl Writer<'_> {
    pub fn welcome(&mut self, welcome: &Welcome) {
        match self.version {
            Version::V3 => self.v3(v3::Packet::Connack(v3::Connack::new(welcome.session_present, v3::ConnectReturnCode::Accepted))),
            Version::V5 => {
                let mut ack = v5::Connack::new(welcome.session_present, v5::ConnectReasonCode::Success);
                ack.properties.session_expiry_interval = Some(welcome.expiry);
                ack.properties.receive_max = Some(welcome.receive_max);
                ack.properties.max_packet_size = Some(welcome.packet_max);
                ack.properties.assigned_client_id = welcome.client_id.clone();
                ack.properties.server_keep_alive = welcome.keep_alive;
                ack.properties.subscription_id_available = Some(false);
                self.v5(ack.into());
            }
        }
    }

    pub fn refuse(&mut self, v3_code: v3::ConnectReturnCode, v5_code: v5::ConnectReasonCode) {
        match self.version {
            Version::V3 => self.v3(v3::Packet::Connack(v3::Connack::new(false, v3_code))),
            Version::V5 => self.v5(v5::Connack::new(false, v5_code).into()),
        }
    }

    pub fn puback(&mut self, pid: u16, reason: Reason) {
        use v5::PubackReasonCode as Code;
        let code = match reason {
            Reason::Success => Code::Success,
            Reason::NotAuthorized => Code::NotAuthorized,
            Reason::TopicNameInvalid => Code::TopicNameInvalid,
            Reason::PayloadInvalid => Code::PayloadFormatInvalid,
            Reason::Quota => Code::QuotaExceeded,
        };
        self.with_pid(pid, v3::Packet::Puback, |pid| v5::Puback::new(pid, code).into());
    }

    pub fn pubrec(&mut self, pid: u16, reason: Reason) {
        use v5::PubrecReasonCode as Code;
        let code = match reason {
            Reason::Success => Code::Success,
            Reason::NotAuthorized => Code::NotAuthorized,
            Reason::TopicNameInvalid => Code::TopicNameInvalid,
            Reason::PayloadInvalid => Code::PayloadFormatInvalid,
            Reason::Quota => Code::QuotaExceeded,
        };
        self.with_pid(pid, v3::Packet::Pubrec, |pid| v5::Pubrec::new(pid, code).into());
    }

    pub fn pubcomp(&mut self, pid: u16, known: bool) {
        use v5::PubcompReasonCode as Code;
        let code = if known { Code::Success } else { Code::PacketIdentifierNotFound };
        self.with_pid(pid, v3::Packet::Pubcomp, |pid| v5::Pubcomp::new(pid, code).into());
    }

    /// `granted`: for each filter the quality of service, or none for what is no filter, or one too many.
    pub fn suback(&mut self, pid: u16, granted: &[Option<u8>]) {
        let code = |granted: &Option<u8>| match granted {
            Some(0) => v5::SubscribeReasonCode::GrantedQoS0,
            Some(_) => v5::SubscribeReasonCode::GrantedQoS1,
            None => v5::SubscribeReasonCode::TopicFilterInvalid,
        };
        match (self.version, Pid::try_from(pid)) {
            (_, Err(_)) => {}
            (Version::V5, Ok(pid)) => self.v5(v5::Suback::new(pid, granted.iter().map(code).collect()).into()),
            // By hand: `mqtt-proto` 0.4.0 writes a failure as 3, which is 0x80.
            (Version::V3, Ok(_)) => {
                self.to.extend_from_slice(&[0x90]);
                let mut length = granted.len() + 2;
                while length >= 0x80 {
                    self.to.extend_from_slice(&[(length & 0x7f) as u8 | 0x80]);
                    length >>= 7;
                }
                self.to.extend_from_slice(&[length as u8]);
                self.to.extend_from_slice(&pid.to_be_bytes());
                self.to.extend(granted.iter().map(|granted| granted.unwrap_or(0x80)));
            }
        }
    }

    pub fn unsuback(&mut self, pid: u16, existed: &[bool]) {
        use v5::UnsubscribeReasonCode as Code;
        let code = |existed: &bool| if *existed { Code::Success } else { Code::NoSubscriptionExisted };
        self.with_pid(pid, v3::Packet::Unsuback, |pid| v5::Unsuback::new(pid, existed.iter().map(code).collect()).into());
    }

    pub fn pong(&mut self) {
        self.to.extend_from_slice(&[0xd0, 0]);
    }

    /// One of version 3 is not told why.
    pub fn disconnect(&mut self, code: v5::DisconnectReasonCode) {
        if self.version == Version::V5 {
            self.v5(v5::Disconnect::new(code).into());
        }
    }

    /// `pid`: for one that is to be acknowledged; `again`: it was sent before, perhaps.
    pub fn publish(&mut self, topic: &str, payload: &Bytes, pid: Option<u16>, retain: bool, again: bool, properties: &[(&str, &str)]) {
        let Ok(topic_name) = TopicName::try_from(topic) else { return };
        let qos_pid = match pid.map(Pid::try_from) {
            None => QosPid::Level0,
            Some(Ok(pid)) => QosPid::Level1(pid),
            Some(Err(_)) => return,
        };
        match self.version {
            Version::V3 => self.v3(v3::Packet::Publish(v3::Publish { dup: again, retain, qos_pid, topic_name, payload: payload.clone() })),
            Version::V5 => {
                let mut publish = v5::Publish::new(qos_pid, topic_name, payload.clone());
                (publish.dup, publish.retain) = (again, retain);
                let own = |(name, value): &(&str, &str)| v5::UserProperty { name: (*name).into(), value: (*value).into() };
                publish.properties.user_properties = properties.iter().map(own).collect();
                self.v5(publish.into());
            }
        }
    }

    fn with_pid(&mut self, pid: u16, v3: impl FnOnce(Pid) -> v3::Packet, v5: impl FnOnce(Pid) -> v5::Packet) {
        let Ok(pid) = Pid::try_from(pid) else { return };
        match self.version {
            Version::V3 => self.v3(v3(pid)),
            Version::V5 => self.v5(v5(pid)),
        }
    }

    fn v3(&mut self, packet: v3::Packet) {
        // What we write is no larger than the protocol can say.
        if let Ok(bytes) = packet.encode() {
            self.to.extend_from_slice(bytes.as_ref());
        }
    }

    fn v5(&mut self, packet: v5::Packet) {
        if let Ok(bytes) = packet.encode() {
            self.to.extend_from_slice(bytes.as_ref());
        }
    }
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
