//! The built-in codecs: the first byte chooses one, the rest is its payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tawi_runtime::{
    ingest::payload::Builtin,
    model::{
        Id, Micros, Uplink,
        limit::{UPLINK_READINGS_MAX, VALUE_BYTES_MAX},
    },
};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, payload)) = bytes.split_first() else { return };
    let codec = Builtin::ALL[usize::from(*choice) % Builtin::ALL.len()];
    let Ok(device) = Id::new("d1") else { return };
    let received = Micros(1_700_000_000_000_000);
    let uplink = Uplink { device, port: Some(1), payload: payload.to_vec().into(), measured: None, received };
    if let Ok(found) = codec.decode(&uplink) {
        assert!(found.len() <= UPLINK_READINGS_MAX);
        assert!(found.iter().all(|one| one.value.len_bytes() <= VALUE_BYTES_MAX));
    }
});
