//! The `q=` of a list of devices: understood and asked of a device, or refused at one of its bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tawi_runtime::{devices::Query, model::Device};

static POND: LazyLock<Option<Device>> = LazyLock::new(|| {
    let pond = r#"{"id": "pond1", "name": "My pond; old, deep", "owner": "ada", "visibility": "private", "deployed": true,
        "location": {"latitude": 5.36, "longitude": -4.01}, "meta": {"depth": 2.5, "tags": ["fish", "river"], "nothing": null},
        "sensors": [{"id": "t", "sensor_kind": "Thermometer", "date_created": 0, "date_modified": 0}], "date_created": 0, "date_modified": 0}"#;
    serde_json::from_str(pond).ok()
});

fuzz_target!(|text: &str| {
    match (Query::parse(text), &*POND) {
        (Ok(query), Some(pond)) => {
            let _ = query.fits(pond, &Default::default());
        },
        (Ok(_), None) => unreachable!("the pond is a device"),
        (Err(error), _) => assert!(text.is_char_boundary(error.at)),
    }
});
