//! Bodies of SenML that name their devices themselves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tawi_runtime::{
    ingest::payload::senml,
    model::{Micros, limit::INGEST_READINGS_MAX},
};

fuzz_target!(|body: &[u8]| {
    for records in [senml::json(body), senml::cbor(body)].into_iter().flatten() {
        if let Ok(samples) = senml::samples(&records, Micros(1_700_000_000_000_000)) {
            assert!(samples.len() <= INGEST_READINGS_MAX);
        }
    }
});
