//! Poison among good readings: whatever can't be handled is a dead letter once, and costs its own device its place in the order and
//! nobody anything else. The only test of its binary, so that the memory of the process is its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use support::{Floor, app, function, reading, resident_bytes};
use tawi_runtime::model::Kind;

const DEVICES: usize = 100;
/// Poison of each device.
const POISON: usize = 100;
/// Readings of each device at a time, every other one poison.
const AT_ONCE: usize = 20;
/// What 20,000 events, their log lines and the dead letters may leave in memory. They are in the ledger's file, whose cache is bounded.
const RESIDENT_MORE_MAX: u64 = 128 << 20;

const PROBE: &str = r#"
[app]
name = "probe-event"
[[on]]
name = "readings"
subject = "reading.*.event"
delivery = { retry = 1, backoff-policy = "linear", backoff-delay = "1ms" }
[grant]
publish = ["probe.echo.>"]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_poison_readings_are_dead_letters_once_and_the_good_ones_handled_once_in_order() {
    let floor = Floor::open().await;
    floor.deploy("probe-event", PROBE).await;
    let before = resident_bytes();
    let (mut good, mut poison) = (BTreeMap::<String, Vec<u64>>::new(), BTreeSet::new());
    for n in 0..2 * POISON / AT_ONCE {
        for device in 0..DEVICES {
            let device = format!("d{device}");
            let value = |at: usize| match (at % 2, (n + at / 2) % 3) {
                (0, _) => "1",
                (_, 0) => r#"{"then":"reject"}"#,
                (_, 1) => r#"{"then":"trap"}"#,
                _ => r#"{"then":"retry"}"#,
            };
            let seqs = floor.append((0..AT_ONCE).map(|at| reading(&device, "event", value(at))).collect()).await;
            for (at, seq) in seqs.into_iter().enumerate() {
                match at % 2 {
                    0 => good.entry(device.clone()).or_default().push(seq),
                    _ => drop(poison.insert(seq)),
                }
            }
        }
    }
    assert_eq!(poison.len(), 10_000);
    let id = function("probe-event", "readings");
    floor.counts_dead(poison.len() as u64).await;
    floor.events(Kind::Message, DEVICES * POISON).await;
    floor.settled(&id).await;
    let resident = resident_bytes();
    assert!(resident <= before + RESIDENT_MORE_MAX, "{resident} bytes resident, {before} before");

    let mut echoed = BTreeMap::<String, Vec<u64>>::new();
    for echo in floor.all(Kind::Message) {
        let json = echo.value.to_json();
        echoed.entry(json["device"].as_str().unwrap().to_owned()).or_default().push(json["sequence"].as_u64().unwrap());
    }
    assert!(echoed == good, "each good one once, in the order of its device");
    let letters = floor.ledger.dead(Some(&app("probe-event")), None, 20_000).unwrap();
    assert_eq!(letters.len(), poison.len());
    assert!(letters.iter().map(|letter| letter.seq).collect::<BTreeSet<_>>() == poison, "each poison one is a letter");
    assert!(letters.iter().all(|letter| letter.attempts == if letter.error.starts_with("rejected") { 1 } else { 2 }));
    assert!(floor.ledger.parked(&id).unwrap().is_empty());
}
