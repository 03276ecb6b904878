//! Topics of publishes, and filters of subscriptions: no wildcard gets into an id, and a filter fits what it was made of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tawi_runtime::ingest::mqtt::topic::{Filter, Target};

fuzz_target!(|text: &str| {
    if let Some(Target { device, id, is_actuator, many }) = Target::of(text) {
        let kind = if is_actuator { "actuators" } else { "sensors" };
        assert_eq!(format!("devices/{device}/{kind}/{id}/{}", if many { "values" } else { "value" }), text);
        assert!(!text.contains(['+', '#']));
    }
    if let Some(filter) = Filter::new(text) {
        assert!(filter.matches(&filter.levels().replace(['+', '#'], "d")));
    }
});
