//! Codecs of apps, called by a real engine: what they find, how they may misbehave, and what becomes of an uplink then.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;
use support::{Floor, app, function, guest, handler};
use tawi_runtime::{
    devices::{Devices, Registry},
    engine::{Engine, EngineOptions},
    identity::Principal,
    ingest::{Arrival, Codecs, Ingest, Otherwise},
    model::{Decoded, Id, Manifest, Micros, Uplink, id::default_tenant},
    telemetry::Metrics,
};

const WEATHER: &str = "[app]\nname = \"weather\"\n[codec]\nname = \"station\"\n[grant]\nconfig = true\n[config]\noffset = \"0.5\"\n";
const BAD: &str =
    "[app]\nname = \"bad\"\n[codec]\ntimeout = \"300ms\"\n[grant]\npublish = [\"said.>\"]\nstate = true\n[limits]\nmemory = \"16MiB\"\n";
const NOW: Micros = Micros(1_700_000_000_000_000);

fn uplink(port: u8, payload: &[u8]) -> Uplink {
    Uplink { device: Id::new("d1").unwrap(), port: Some(port), payload: payload.to_vec().into(), measured: None, received: NOW }
}

fn shown(decoded: Decoded) -> Vec<(String, String)> {
    let found = decoded.result.unwrap();
    found.iter().map(|one| (one.sensor.to_string(), one.value.to_json().to_string())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_codec_of_an_app_finds_what_is_in_an_uplink() {
    let floor = Floor::open().await;
    floor.deploy("codec-example", WEATHER).await;
    let name = |text| Id::new(text).unwrap();
    for asked in [None, Some(&name("station"))] {
        let decoded = floor.dispatch.decode(&app("weather"), asked, &uplink(1, &[0x08, 0x34, 121])).await.unwrap();
        assert_eq!(shown(decoded), [("temperature".into(), "21.5".into()), ("humidity".into(), "60.5".into())]);
    }
    let series = floor.dispatch.decode(&app("weather"), None, &uplink(2, &[0, 0, 0, 0, 0, 0])).await.unwrap().result.unwrap();
    let hour_ago = Some(Micros(NOW.0 - 3_600 * Micros::SECOND));
    assert_eq!(series.iter().map(|one| one.measured).collect::<Vec<_>>(), [Some(NOW), Some(NOW), hour_ago, hour_ago]);
    for (of, asked, said) in [
        ("weather", Some(&name("other")), "release 1 of `weather` has no [codec] called `other`"),
        ("nobody", None, "there is no app `nobody` that could decode it"),
    ] {
        let decoded = floor.dispatch.decode(&app(of), asked, &uplink(1, &[0, 0, 0])).await.unwrap();
        assert_eq!(decoded.result.unwrap_err(), said);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_a_codec_misbehaves_it_is_told_why_and_the_next_uplink_is_decoded() {
    let floor = Floor::open().await;
    floor.deploy("bad-codec", BAD).await;
    for (way, said) in [
        (1, "the codec trapped"),
        (2, "the codec did not end within its timeout of 300ms"),
        (3, "can't read 3 bytes\u{fffd}[31m"),
        (4, "the codec found 1001 values, an uplink has at most 1000"),
        (5, "sample 0 of the codec: `/` can't stand in an id (`a/b`)"),
        (6, "sample 0 of the codec: the value is not one JSON text"),
        (7, "sample 0 of the codec: a value has at most 65536 bytes"),
        (11, "`memory` under [limits]"),
    ] {
        let decoded = floor.dispatch.decode(&app("bad"), None, &uplink(way, b"abc")).await.unwrap();
        let why = decoded.result.unwrap_err();
        assert!(why.contains(said), "way {way}: {why}");
        assert_eq!(decoded.log_tail[0], format!("about to misbehave in way Some({way})"), "what it said before is kept");
        assert_eq!((decoded.release, decoded.said.len()), (1, decoded.log_tail.len() + 1), "its lines, and why it failed");
        let next = floor.dispatch.decode(&app("bad"), None, &uplink(0, b"abc")).await.unwrap();
        assert_eq!(shown(next), [("s".into(), "3".into())], "after way {way}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_codec_has_no_effects_and_no_state_whatever_its_app_was_granted() {
    let floor = Floor::open().await;
    floor.deploy("bad-codec", BAD).await;
    for (way, said) in [(8, "no effects"), (9, "no effects"), (10, "no state")] {
        let decoded = floor.dispatch.decode(&app("bad"), None, &uplink(way, b"")).await.unwrap();
        let found = shown(decoded);
        assert!(found[0].1.contains(said), "way {way}: {found:?}");
    }
    assert_eq!(*floor.ledger.head().borrow(), 0, "decoding alone stores nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_codec_may_reuse_its_instance() {
    let floor = Floor::open().await;
    floor.deploy("codec-example", &WEATHER.replace("[codec]", "[codec]\nreuse = 1000000")).await;
    for hundredths in 0..20_u8 {
        let decoded = floor.dispatch.decode(&app("weather"), None, &uplink(1, &[0, hundredths, 0])).await.unwrap();
        let celsius = f64::from(hundredths) / 100.0 + 0.5;
        assert_eq!(shown(decoded)[0].1.parse::<f64>().unwrap(), celsius);
    }
    assert_eq!(floor.engine.warm(), 1);
}

#[test]
fn a_manifest_with_a_codec_needs_the_export_and_an_app_of_a_codec_alone_is_one() {
    let engine = Engine::open(&EngineOptions { instances_max: 1, ..EngineOptions::default() }).unwrap();
    let both = Manifest::parse(&format!("{WEATHER}[[on]]\nname = \"f\"\nsubject = \"reading.>\"\n")).unwrap();
    let refused = |component: &[u8]| engine.verify(component, &both).unwrap_err().to_string();
    let said = "[codec] needs the component to export tawi:app/codec (in Rust: a function with `#[tawi::codec]`)";
    assert!(refused(&handler("")).contains(said), "{}", refused(&handler("")));
    assert!(refused(&guest("codec-example")).contains("[[on]] `f` needs the component to export tawi:app/event-handler"));
    engine.verify(&guest("codec-example"), &Manifest::parse(WEATHER).unwrap()).unwrap();
}

/// From the door to the dead letters, and out of them with the release that knows what the first did not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_release_can_t_decode_is_readings_with_the_next() {
    let floor = Floor::open().await;
    floor.deploy("bad-codec", &BAD.replace("\"bad\"", "\"weather\"")).await;
    let dispatch = floor.dispatch.clone();
    let codecs: Codecs = Arc::new(move |app, name, uplink| {
        let dispatch = dispatch.clone();
        Box::pin(async move { dispatch.decode(&app, name.as_ref(), &uplink).await })
    });
    let devices = Devices::open(&floor.dir.path().join("devices")).unwrap();
    let registry = Registry::open(floor.ledger.clone(), devices, &default_tenant()).unwrap();
    let device = r#"{"id": "d1", "meta": {"codec": "weather"}, "date_created": 0, "date_modified": 0}"#;
    let admin = Principal::User { tenant: default_tenant(), id: Id::new("root").unwrap(), admin: true };
    registry.create_device(&admin, serde_json::from_str(device).unwrap(), NOW).await.unwrap();
    let ingest = Ingest::new(floor.ledger.clone(), registry, Metrics::new(), true).with_codecs(codecs);
    let arrival = Arrival { tenant: default_tenant(), uplink: uplink(1, &[0x08, 0x34, 121]), repeat: None, otherwise: Otherwise::Nothing };
    let taken = ingest.uplink(arrival).await.unwrap();
    assert_eq!(taken.undecoded.unwrap().function, function("weather", "codec"));
    let letter = floor.ledger.dead_letter(&function("weather", "codec"), taken.stored.seqs[0]).unwrap().unwrap();
    assert_eq!((letter.release, letter.log_tail[0].as_str()), (1, "about to misbehave in way Some(1)"));

    floor.deploy("codec-example", WEATHER).await;
    let kept = Uplink::of(&letter.event, &letter.function).unwrap();
    ingest.decode_again(&letter, kept.clone()).await.unwrap();
    assert!(ingest.decode_again(&letter, kept).await.is_err(), "once");
    let events = floor.ledger.events(1, usize::MAX, usize::MAX).unwrap();
    let readings: Vec<_> =
        events.iter().filter(|event| event.sensor.is_some()).map(|event| (event.subject.to_string(), event.received)).collect();
    assert_eq!(readings, [("reading.d1.temperature".to_owned(), NOW), ("reading.d1.humidity".to_owned(), NOW)]);
}
