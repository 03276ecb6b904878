//! One number that everybody adds to, at once: devices whose readings come through the log, and clients whose requests do not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use std::collections::BTreeSet;
use support::{Floor, app, function, reading};
use tawi_platform_tests::Nats;
use tawi_runtime::ledger::{JetstreamOptions, LedgerConfig, LedgerOptions};

/// Readings and requests together: 100,000.
const DEVICES: u64 = 8;
const READINGS: u64 = 12_000;
const AT_ONCE: u64 = 500;
const CLIENTS: u64 = 8;
const REQUESTS: u64 = 500;

const PROBE: &str = r#"
[app]
name = "probe-exact"
[[on]]
name = "hot"
subject = "reading.*.hot"
[[on]]
name = "hit"
http = "/"
[grant]
state = true
publish = ["exact.>"]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_additions_to_one_key_are_exact_on_the_embedded_ledger() {
    a_hundred_thousand_additions_to_one_key_are_exact(Floor::open().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_additions_to_one_key_are_exact_on_jetstream() {
    let nats = tokio::task::spawn_blocking(Nats::start).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (view, url) = (dir.path().join("view"), nats.url());
    let (options, jetstream) = (LedgerOptions::default(), JetstreamOptions::default());
    let floor = Floor::open_on(dir, LedgerConfig::Jetstream { dir: view, url, options, jetstream }).await;
    a_hundred_thousand_additions_to_one_key_are_exact(floor).await;
    tokio::task::spawn_blocking(|| drop(nats)).await.unwrap();
}

async fn a_hundred_thousand_additions_to_one_key_are_exact(floor: Floor) {
    floor.deploy("probe-exact", PROBE).await;
    let devices = (0..DEVICES).map(|device| send(&floor, device));
    let clients = (0..CLIENTS).map(|_| ask(&floor));
    let (_, answers) = tokio::join!(futures::future::join_all(devices), futures::future::join_all(clients));
    let answers: Vec<u64> = answers.into_iter().flatten().collect();
    let told: BTreeSet<u64> = answers.iter().copied().collect();
    assert_eq!(told.len() as u64, CLIENTS * REQUESTS, "each request was told a number of its own");

    floor.settled(&function("probe-exact", "hot")).await;
    let total = floor.ledger.state(&app("probe-exact"), "hot").unwrap().unwrap();
    assert_eq!(std::str::from_utf8(&total).unwrap(), "100000");
    assert!(told.iter().all(|n| (1..=100_000).contains(n)));
    assert_eq!(floor.ledger.dead_count().unwrap(), 0);
}

async fn send(floor: &Floor, device: u64) {
    for _ in 0..READINGS / AT_ONCE {
        floor.append((0..AT_ONCE).map(|_| reading(&format!("d{device}"), "hot", "1")).collect()).await;
    }
}

/// One request after another; answers with the numbers it was told.
async fn ask(floor: &Floor) -> Vec<u64> {
    let mut told = Vec::new();
    for _ in 0..REQUESTS {
        let app = floor.dispatch.app(&app("probe-exact")).unwrap();
        let function = app.loaded.load().release.manifest.functions[1].clone();
        let request = http::Request::builder().method("POST").uri("/").header("host", "probe.localhost");
        let answer = floor.dispatch.serve(app, function, None, request.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        told.push(std::str::from_utf8(&body).unwrap().trim().parse().unwrap());
    }
    told
}
