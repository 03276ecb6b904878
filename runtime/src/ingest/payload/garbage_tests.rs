//! What nobody has thought of: bytes by chance, and good payloads with some of their bytes changed.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::model::{Micros, limit::VALUE_BYTES_MAX};

/// Good ones of each kind, so that what is changed in them is deep inside.
const GOOD: &[&[u8]] = &[
    b"\x03\x67\x01\x10\x05\x67\x00\xff\x06\x71\x04\xd2\xfb\x2e\x00\x00\x01\x88\x06\x76\x5f\xf2\x96\x0a\x00\x03\xe8",
    b"\x01\x33\xfc\x50\x02\x34test :)\0\x04\x39\x03\x01\x02\xfe\x06\x5b\x66\x05\x65\x00\x2d\x5d\xfd\x01\x1e\x00\x07\x7bn\0\x33\x02\0",
    br#"[{"bn":"urn:dev:ow:10e2073a01080063:","bt":1.276e9,"bu":"A","bver":5,"n":"a","v":120.1},{"n":"b","t":-5,"vs":"x"},{"vd":"aGk"}]"#,
    b"\x82\xa3\x21\x63d:x\x22\xfb\x41\xd3\x03\xa1\x5b\x00\x10\x62\x02\xc4\x82\x21\x19\x6a\xb3\xa2\x00\x61b\x08\x42\x01\x02",
    br#"{"temperature":21.5,"gps":{"latitude":1},"temperatureSensor":{"1":23.5},"timestamp":"2026-01-31T08:30:00Z"}"#,
    br#"{"deduplicationId":"x","time":"2022-07-18T09:34:15Z","deviceInfo":{"devEui":"0101010101010101"},"fPort":1,"data":"qg==","object":{"a":1}}"#,
    br#"{"end_device_ids":{"dev_eui":"0004A30B001C0530"},"uplink_message":{"f_port":1,"frm_payload":"gkHe","decoded_payload":{"a":1}}}"#,
];

/// The same on every machine: Marsaglia's xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.below(80);
        (0..length).map(|_| self.byte()).collect()
    }

    /// One of the good ones, with something changed, taken out, or put in twice.
    fn nearly_good(&mut self) -> Vec<u8> {
        let mut bytes = GOOD[self.below(GOOD.len())].to_vec();
        for _ in 0..=self.below(3) {
            let (at, kind) = (self.below(bytes.len()), self.below(4));
            match kind {
                0 if !bytes.is_empty() => bytes[at] = self.byte(),
                1 if !bytes.is_empty() => drop(bytes.remove(at)),
                2 => bytes.truncate(at),
                _ => bytes.splice(at..at, bytes[at..].to_vec()).for_each(drop),
            }
        }
        bytes
    }
}

fn try_all(payload: &[u8]) -> usize {
    let received = Micros(1_700_000_000_000_000);
    let uplink = Uplink { device: Id::new("d1").unwrap(), port: Some(1), payload: payload.to_vec().into(), measured: None, received };
    let mut understood = 0;
    let mut look = |found: Result<Vec<Measurement>, BodyError>| match found {
        Ok(found) => {
            understood += 1;
            assert!(found.len() <= UPLINK_READINGS_MAX);
            assert!(found.iter().all(|one| one.value.len_bytes() <= VALUE_BYTES_MAX));
            assert!(found.iter().all(|one| !matches!(&one.value, Value::Json(text) if Value::json(text).is_none())), "{found:?}");
        }
        Err(error) => assert!(!error.detail.is_empty()),
    };
    Builtin::ALL.into_iter().for_each(|builtin| look(builtin.decode(&uplink)));
    for body in [chirpstack::uplink(None, payload, received), ttn::uplink(payload, received)] {
        if let Ok(Some(NetworkUplink { decoded: Some(decoded), .. })) = body {
            look(decoded);
        }
    }
    for records in [senml::json(payload), senml::cbor(payload)].into_iter().flatten() {
        if let Ok(samples) = senml::samples(&records, received) {
            assert!(samples.len() <= 2 * records.len());
        }
    }
    understood
}

#[test]
fn whatever_comes_is_decoded_or_refused_and_never_without_end() {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut understood = 0;
    for _ in 0..20_000 {
        understood += try_all(&chance.bytes());
        understood += try_all(&chance.nearly_good());
    }
    assert!(understood > 1_000, "only {understood} were understood: the others say nothing of what is deep inside");
    GOOD.iter().for_each(|good| assert!(try_all(good) > 0));
}

#[test]
fn long_and_deep_payloads_end_too() {
    for piece in
        [&b"["[..], b"{\"a\":", b"\x81", b"\xa1\x00", b"\xc4", b"\x00\x5b", b"\x00\x7ba\0\x7b", b"\x9f", b"\xbf", b"\x5f", b"\x00\x3a"]
    {
        try_all(&piece.repeat(VALUE_BYTES_MAX / piece.len()));
    }
    // Long strings that are announced and never come.
    for head in [
        &b"\x81\xa1\x00\x7b\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xbb\x00\xff\xff\xff\xff\xff\xff\xff",
    ] {
        try_all(head);
    }
}
