//! What a client of MQTT sends: cut into packets, read as the first packet and as a later one, in both versions.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use tawi_runtime::{
    ingest::mqtt::packet::{Version, connect, frame, packet},
    model::limit::MQTT_PACKET_BYTES_MAX,
};

fuzz_target!(|bytes: &[u8]| {
    let mut buffer = BytesMut::from(bytes);
    while let Ok(Some(whole)) = frame(&mut buffer, MQTT_PACKET_BYTES_MAX) {
        assert!(!whole.is_empty() && whole.len() <= MQTT_PACKET_BYTES_MAX);
        read(&whole);
    }
    // And what a cut would never let through.
    read(&Bytes::copy_from_slice(bytes));
});

fn read(bytes: &Bytes) {
    let _ = connect(bytes);
    let _ = packet(Version::V3, bytes);
    let _ = packet(Version::V5, bytes);
}
