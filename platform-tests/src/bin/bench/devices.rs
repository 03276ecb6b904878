//! The list of devices, a thousand at a time, where there are a hundred thousand.

use crate::{addr, own_cpu};
use std::time::Instant;
use tawi_platform_tests::{
    Node,
    http::READINGS_PATH,
    load,
    results::{Figure, Results},
    wait::LATER,
    wait_for,
};

const DEVICES: usize = 100_000;
/// Registrations under way at a time: they share the syncs of the disk.
const REGISTERING: usize = 64;
/// Readings of one request.
const BATCH: usize = 500;
/// As many as one answer may have.
const LIMIT: usize = 1_000;
const CONNECTIONS: usize = 4;
const LISTS: usize = 1_000;
/// What the WAZIUP cloud said of its own list of devices.
const WAZIUP_PER_SECOND: f64 = 5.0;

/// Devices as people have them: a place, kinds, units, a tag, and a current value.
pub fn list(results: &mut Results) {
    let node = Node::start();
    let start = Instant::now();
    let (shots, _) = load::closed_loop(addr(&node), DEVICES, REGISTERING, |n| {
        let body = format!(
            "{{\"id\":\"pond{n}\",\"name\":\"Pond {n}\",\"location\":{{\"latitude\":5.36,\"longitude\":-4.0083}},\"meta\":{{\"tags\":[\"river\"]}},\
             \"sensors\":[{{\"id\":\"t\",\"sensor_kind\":\"Thermometer\",\"quantity_kind\":\"WaterTemperature\",\"unit\":\"DegreeCelsius\"}}]}}"
        );
        load::request("POST", "/api/v2/devices", node.token(), &body)
    });
    assert!(shots.iter().all(|shot| shot.status == Some(204)), "a device was not registered");
    let registered = DEVICES as f64 / start.elapsed().as_secs_f64();
    let (shots, _) = load::closed_loop(addr(&node), DEVICES / BATCH, CONNECTIONS, |batch| {
        let reading = |n: usize| format!("{{\"device\":\"pond{}\",\"sensor\":\"t\",\"value\":21.5}}\n", batch * BATCH + n);
        load::request("POST", READINGS_PATH, node.token(), &(0..BATCH).map(reading).collect::<String>())
    });
    assert!(shots.iter().all(|shot| shot.status == Some(204)), "readings were refused");
    let last = || node.client().get(&format!("/api/v2/devices?limit=1&offset={}", DEVICES - 1)).expect(200).json();
    wait_for("a device of the last page with a value", LATER, last, |list| list[0]["sensors"][0]["value"]["value"] == 21.5);

    let (cpu, start) = (own_cpu(), Instant::now());
    // From all over: page after page would be kind to a cache.
    let offset = |n: usize| n * 37 % (DEVICES / LIMIT) * LIMIT;
    let (shots, took) = load::closed_loop(addr(&node), LISTS, CONNECTIONS, |n| {
        load::request("GET", &format!("/api/v2/devices?limit={LIMIT}&offset={}", offset(n)), node.token(), "")
    });
    assert!(shots.iter().all(|shot| shot.status == Some(200)), "a list was refused");
    let used = (own_cpu() - cpu) / start.elapsed().as_secs_f64();
    let megabytes = node.resident_bytes() as f64 / 1e6;
    let note = format!(
        "{LISTS} lists over {CONNECTIONS} connections, of {DEVICES} devices, each with a current value; {:.1} ms for one; \
         registered {registered:.0}/s; the node has {megabytes:.0} MB; generator used {:.0} % of one processor",
        took.as_secs_f64() * 1e3 * CONNECTIONS as f64 / LISTS as f64,
        100.0 * used
    );
    let figure = Figure::at_least("lists of 1,000 devices of 100,000", LISTS as f64 / took.as_secs_f64(), "1/s", 100.0).note(note);
    results.add(figure.seen_beside("the WAZIUP cloud, as it published", WAZIUP_PER_SECOND));
}
