#![allow(clippy::unwrap_used)]

use super::*;

fn bytes_of(packet: &v3::Packet) -> Bytes {
    Bytes::copy_from_slice(packet.encode().unwrap().as_ref())
}

fn publish(topic: &str, payload: &[u8]) -> v3::Packet {
    let pid = QosPid::Level1(Pid::try_from(7).unwrap());
    v3::Publish::new(pid, TopicName::try_from(topic).unwrap(), Bytes::copy_from_slice(payload)).into()
}

#[test]
fn a_packet_that_comes_byte_by_byte_is_one_packet() {
    let whole = bytes_of(&publish("devices/d/sensors/s/value", &[b'x'; 300]));
    let mut buffer = BytesMut::new();
    for (place, byte) in whole.iter().enumerate() {
        assert_eq!(frame(&mut buffer, 1_000).unwrap(), None, "{place} of {} bytes", whole.len());
        buffer.extend_from_slice(&[*byte]);
    }
    buffer.extend_from_slice(&[0xc0]);
    assert_eq!(frame(&mut buffer, 1_000).unwrap(), Some(whole));
    assert_eq!(buffer.as_ref(), [0xc0], "the next one's first byte stays");
}

#[test]
fn a_packet_over_the_limit_is_refused_by_its_first_bytes() {
    let mut buffer = BytesMut::from(&[0x30, 0xff, 0xff, 0xff, 0x7f][..]);
    assert!(matches!(frame(&mut buffer, 1_000), Err(Malformed::TooLarge { bytes: 268_435_460, max: 1_000 })));
    let mut endless = BytesMut::from(&[0x30, 0xff, 0xff, 0xff, 0xff][..]);
    assert!(matches!(frame(&mut endless, 1_000), Err(Malformed::Packet(_))));
}

#[test]
fn both_versions_say_who_they_are() {
    let mut old = v3::Connect::new("old".into(), 30);
    old.clean_session = false;
    let old = connect(&bytes_of(&old.into())).unwrap();
    assert_eq!((old.version, &*old.client_id, old.keep_alive, old.expiry), (Version::V3, "old", 30, u32::MAX));
    let mut new = v5::Connect::new("new".into(), 30);
    new.properties.session_expiry_interval = Some(60);
    let new = v5::Packet::Connect(new).encode().unwrap();
    let new = connect(&Bytes::copy_from_slice(new.as_ref())).unwrap();
    assert_eq!((new.version, &*new.client_id, new.expiry), (Version::V5, "new", 60));
    let mut future = bytes_of(&v3::Connect::new("x".into(), 0).into()).to_vec();
    future[8] = 9;
    assert_eq!(connect(&future.into()), Err(Malformed::Version(9)));
}

/// Whatever is cut off or changed: an error or another packet, and never a panic.
#[test]
fn garbage_is_an_error_and_nothing_worse() {
    let mut subscribe = v3::Subscribe::new(Pid::try_from(1).unwrap(), vec![]);
    subscribe.topics.push((mqtt_proto::TopicFilter::try_from("devices/+/#").unwrap(), QoS::Level1));
    let connect_5 = v5::Packet::Connect(v5::Connect::new("five".into(), 1)).encode().unwrap();
    let good: Vec<Vec<u8>> = vec![
        bytes_of(&publish("devices/d/sensors/s/value", b"1")).to_vec(),
        bytes_of(&subscribe.into()).to_vec(),
        bytes_of(&v3::Connect::new("x".repeat(10_000).into(), 1).into()).to_vec(),
        connect_5.as_ref().to_vec(),
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        vec![0xff; 64],
        vec![0; 64],
    ];
    let try_all = |bytes: Vec<u8>| {
        let bytes = Bytes::from(bytes);
        let _ = frame(&mut BytesMut::from(&bytes[..]), 1 << 20);
        let _ = connect(&bytes);
        let _ = packet(Version::V3, &bytes);
        let _ = packet(Version::V5, &bytes);
    };
    let mut seed = 1_u32;
    for packet in &good {
        for end in 0..packet.len().min(80) {
            try_all(packet[..end].to_vec());
        }
        for _ in 0..2_000 {
            let mut changed = packet.clone();
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let place = usize::try_from(seed >> 8).unwrap() % changed.len().min(60);
            changed[place] = (seed & 0xff) as u8;
            try_all(changed);
        }
    }
}

#[test]
fn what_is_written_can_be_read() {
    let mut out = BytesMut::new();
    for version in [Version::V3, Version::V5] {
        let mut writer = Writer { version, to: &mut out };
        writer.publish("devices/d/actuators/a/value", &Bytes::from_static(b"true"), Some(3), false, true, &[("id", "c1")]);
        let frame = frame(&mut out, 1_000).unwrap().unwrap();
        let read = packet(version, &frame).unwrap();
        let Packet::Publish(publish) = read else { panic!("{read:?}") };
        assert_eq!(
            (&*publish.topic, &publish.payload[..], publish.delivery),
            ("devices/d/actuators/a/value", &b"true"[..], Delivery::AtLeastOnce(3))
        );
        assert!(out.is_empty());
    }
}
