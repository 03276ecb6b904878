//! What network servers pass on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tawi_runtime::{
    ingest::payload::{chirpstack, ttn},
    model::{Micros, limit::VALUE_BYTES_MAX},
};

fuzz_target!(|body: &[u8]| {
    let received = Micros(1_700_000_000_000_000);
    for uplink in [chirpstack::uplink(None, body, received), ttn::uplink(body, received)] {
        if let Ok(Some(passed_on)) = uplink {
            assert!(passed_on.uplink.payload.len() <= VALUE_BYTES_MAX);
        }
    }
});
