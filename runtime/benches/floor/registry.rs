//! A hundred thousand registered devices: who may do what, lists, selectors, and what one change costs.

use super::{embedded, many::resident_bytes, two_cores};
use std::{hint::black_box, time::Instant};
use tawi_platform_tests::results::{Figure, Results};
use tawi_runtime::{
    devices::{Devices, Query, Registry},
    identity::{Deed, Principal},
    ledger::Ledger,
    model::{Device, Id, Micros, Selector, id::default_tenant},
};

const DEVICES: usize = 100_000;
/// One commit each.
const BATCH: usize = 500;
const CHANGES: usize = 1_000;
const WATCHES: usize = 100;
const NOW: Micros = Micros(1_770_000_000_000_000);

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn user(name: &str) -> Principal {
    Principal::User { tenant: default_tenant(), id: id(name), admin: false }
}

/// One sensor each: a place in a square of 500 km, one owner of ten, one in five private, one in fifty by the river.
fn device(n: usize) -> Device {
    let (lat, lon) = (4.0 + (n * 31 % 1_000) as f64 * 0.0045, -5.0 + (n * 17 % 997) as f64 * 0.0045);
    let kinds = [("Thermometer", "AirTemperature", "DegreeCelsius"), ("PHMeter", "PH", "PH")];
    let (kind, quantity, unit) = kinds[n % 2];
    let text = serde_json::json!({
        "id": format!("device{n:06}"), "name": format!("Station {n}"), "owner": format!("user{}", n % 10), "gateway_id": format!("gateway{}", n % 200),
        "visibility": if n.is_multiple_of(5) { "private" } else { "public" }, "location": { "latitude": lat, "longitude": lon },
        "meta": { "tags": if n.is_multiple_of(50) { vec!["river"] } else { vec![] } }, "date_created": 0, "date_modified": 0,
        "sensors": [{ "id": "s", "sensor_kind": kind, "quantity_kind": quantity, "unit": unit, "date_created": 0, "date_modified": 0 }],
    });
    serde_json::from_value(text).unwrap()
}

/// The time of one of `count`, in microseconds.
fn micros_each(count: usize, mut run: impl FnMut(usize)) -> f64 {
    let begin = Instant::now();
    (0..count).for_each(&mut run);
    begin.elapsed().as_secs_f64() * 1e6 / count as f64
}

pub fn registry(results: &mut Results) {
    two_cores().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&embedded(dir.path())).await.unwrap();
        let open = |name: &str| {
            let devices = Devices::open(&dir.path().join(name)).unwrap();
            (devices.clone(), Registry::open(ledger.clone(), devices, &default_tenant()).unwrap())
        };
        let root = Principal::User { tenant: default_tenant(), id: id("root"), admin: true };
        let (before, (_, registry)) = (resident_bytes(), open("one"));
        for from in (0..DEVICES).step_by(BATCH) {
            registry.create_devices(&root, (from..from + BATCH).map(device).collect(), NOW).await.unwrap();
        }
        let held = (resident_bytes() - before) / DEVICES as f64;
        asked(results, &registry, &format!("about {held:.0} bytes resident for each device, caches of the ledger among them"));
        let begin = Instant::now();
        let (follower, other) = open("two");
        let start = begin.elapsed().as_secs_f64();
        let changed = changed(&ledger, &registry, &follower, &other).await;
        let figure = Figure::at_most("a changed device on another node, until its index and its watches have it", changed, "µs", 100.0);
        let note = format!("{CHANGES} changes read in one go beside {WATCHES} selectors that are followed; reading all devices at its start took {start:.2} s");
        results.add(figure.note(note));
        ledger.close().await;
    });
}

fn asked(results: &mut Results, registry: &Registry, note: &str) {
    let ids: Vec<Id> = (0..DEVICES).map(|n| id(&format!("device{:06}", n * 7_919 % DEVICES))).collect();
    let ada = user("user0");
    let check = micros_each(1_000_000, |n| {
        black_box(registry.allows(&ada, Deed::CreateData, &ids[n % DEVICES]));
    });
    results.add(Figure::at_most("permission check among 100,000 devices", check, "µs", 2.0).note(note));

    let queries = ["", "owner==user7", "name~=99;gateway_id!=gateway7", "sensor_kind==PHMeter;date_created>=2020-01-01"];
    let lists = queries.map(|text| {
        let query = Query::parse(text).unwrap();
        let each = micros_each(50, |n| {
            let (page, _) = registry.list(&ada, &query, 1_000, n * 40).unwrap();
            black_box(serde_json::to_vec(&page.iter().map(|device| &**device).collect::<Vec<_>>()).unwrap());
        });
        (1e6 / each, text)
    });
    let (slowest, text) = lists.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    let note = format!("on one core, as JSON, the slowest of {} queries: `{text}`; the WAZIUP cloud says 5/s of its own", queries.len());
    results.add(Figure::at_least("lists of 1,000 of 100,000 devices", slowest, "1/s", 100.0).note(note));

    let selectors = [
        "kind=PHMeter,tags=river",
        "unit=DegreeCelsius,within=6:-3:25",
        "owner=user3,within=6:-3:60,tags=river",
        "within=6:-3:5",
        "tags=none",
    ];
    let times = selectors.map(|text| {
        let selector = Selector::parse(text).unwrap();
        let each = micros_each(50, |_| {
            black_box(registry.select(&selector, &ada, NOW));
        });
        (each / 1_000.0, text)
    });
    let (slowest, text) = times.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    let note = format!("the slowest of {}: `{text}`", selectors.len());
    results.add(Figure::at_most("selector over 100,000 sensors", slowest, "ms", 5.0).note(note));
}

/// The time of one change of many, from the log to the last watch.
async fn changed(ledger: &Ledger, registry: &Registry, follower: &Devices, other: &Registry) -> f64 {
    follow(ledger, follower);
    let watches = (0..WATCHES).map(|n| {
        let selector = Selector::parse(&format!("kind=Thermometer,owner=user{},within=6:-3:{}", n % 10, 10 + n)).unwrap();
        other.watch(selector, user(&format!("user{}", n % 10))).unwrap()
    });
    let mut watches: Vec<_> = watches.collect();
    let root = Principal::User { tenant: default_tenant(), id: id("root"), admin: true };
    for n in 0..CHANGES {
        let turn = |device: &mut Device| {
            device.sensors[0].sensor_kind = Some(if n % 2 == 0 { "Thermometer" } else { "PHMeter" }.into());
            device.name = Some(format!("Station {n}, again"));
            Ok(())
        };
        registry.update_device(&root, &id(&format!("device{:06}", n * 97)), NOW, turn).await.unwrap();
    }
    let begin = Instant::now();
    follow(ledger, follower);
    let took = begin.elapsed().as_secs_f64() * 1e6 / CHANGES as f64;
    assert!(watches.iter_mut().any(|watch| !watch.take(NOW).is_empty()), "nobody heard of it");
    took
}

fn follow(ledger: &Ledger, follower: &Devices) {
    let events = ledger.events(follower.position() + 1, usize::MAX, usize::MAX).unwrap();
    follower.index(&events).unwrap();
}
