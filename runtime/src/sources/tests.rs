//! Sources of a deployed app, asked of a real server.

use super::*;
use crate::{
    clock,
    deploy::Draft,
    devices::Devices,
    ledger::{LedgerConfig, LedgerOptions},
    model::{Manifest, id::default_tenant},
    telemetry::Metrics,
};
use axum::{Router, extract::State, http::HeaderMap, routing::get};

/// Answers with what it is told to, and keeps whom it was asked by.
#[derive(Clone, Default)]
struct Weather(Arc<Mutex<(u16, String, Vec<String>)>>);

impl Weather {
    async fn start() -> (Weather, String) {
        let weather = Weather::default();
        weather.says(200, r#"{"at": "2026-01-31T08:30:00Z", "main": {"temp": 21.5, "hum": null}}"#);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let router = Router::new().route("/now", get(Weather::take)).with_state(weather.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (weather, host)
    }

    fn says(&self, status: u16, body: &str) {
        let mut told = self.0.lock();
        (told.0, told.1) = (status, body.to_owned());
    }

    async fn take(State(weather): State<Weather>, headers: HeaderMap) -> (http::StatusCode, String) {
        let mut told = weather.0.lock();
        told.2.push(headers.get("authorization").map(|key| key.to_str().unwrap().to_owned()).unwrap_or_default());
        (http::StatusCode::from_u16(told.0).unwrap(), told.1.clone())
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().2.clone()
    }
}

struct Farm {
    dir: tempfile::TempDir,
    ledger: Ledger,
    store: Store,
    registry: Registry,
    ingest: Ingest,
    app: AppId,
    /// Its manifest.
    text: String,
}

impl Sources {
    /// Asks everything whose time has come, and waits for the answers.
    async fn round(&self) {
        let mut asking = self.asking();
        asking.look();
        while asking.ended().await.is_some() {}
    }
}

impl Farm {
    /// With an app of one source, deployed.
    async fn new(grant: &str, source: &str) -> Farm {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig::Embedded { dir: dir.path().join("ledger"), options: LedgerOptions::default() };
        let ledger = Ledger::open(&config).await.unwrap();
        let devices = Devices::open(&dir.path().join("devices")).unwrap();
        let registry = Registry::open(ledger.clone(), devices, &default_tenant()).unwrap();
        let ingest = Ingest::new(ledger.clone(), registry.clone(), Metrics::new(), true);
        let store = Store::open(dir.path()).unwrap();
        let text =
            format!("[app]\nname = \"weather\"\n[[on]]\nname = \"f\"\nsubject = \"reading.>\"\n[grant]\n{grant}\n[[source]]\n{source}");
        let app = AppId::new(default_tenant(), Id::new("weather").unwrap());
        let manifest = Manifest::parse(&text).unwrap();
        let artifact = store.put_artifact(b"\0asm").unwrap();
        store
            .add_release(
                &app,
                Draft { artifact, manifest, commit: "c".repeat(40), summary: String::new(), created: Micros(1), rollback_of: None },
            )
            .unwrap();
        Farm { dir, ledger, store, registry, ingest, app, text }
    }

    /// An app that asks for the weather every minute.
    async fn asking(host: &str) -> Farm {
        let source = format!(
            "name = \"now\"\nkind = \"http\"\nurl = \"http://{host}/now?key=hidden\"\nevery = \"1m\"\ndevice = \"abidjan\"\ntime = \"/at\"
            headers = {{ authorization = \"Bearer ${{KEY}}\" }}\nvalues = {{ temp = \"/main/temp\", hum = \"/main/hum\" }}"
        );
        let farm = Farm::new(&format!("http = [\"{host}\"]\nsecrets = [\"KEY\"]"), &source).await;
        farm.store.set_secret(&farm.app, "KEY", Some("s3cret")).unwrap();
        farm
    }

    fn node(&self) -> Sources {
        Sources::new(self.ledger.clone(), &default_tenant(), self.store.clone(), self.registry.clone(), self.ingest.clone())
    }

    /// Deploys it again with another `every` of its source.
    fn redeploy(&self, from: &str, to: &str) {
        let release = self.store.current(&self.app).unwrap();
        let text = self.text.replace(from, to);
        assert_ne!(text, self.text);
        let (manifest, artifact) = (Manifest::parse(&text).unwrap(), release.artifact);
        let draft = Draft { artifact, manifest, commit: "c".repeat(40), summary: String::new(), created: Micros(2), rollback_of: None };
        self.store.add_release(&self.app, draft).unwrap();
    }

    fn readings(&self) -> Vec<(String, Json, String)> {
        let events = self.ledger.events(1, usize::MAX, usize::MAX).unwrap();
        let readings = events.iter().filter(|event| event.kind == crate::model::Kind::Reading);
        readings.map(|event| (event.subject.to_string(), event.value.to_json(), event.measured.to_string())).collect()
    }

    fn progress(&self) -> Json {
        self.node().list(&self.app).unwrap().remove(0)
    }
}

/// So many seconds after the beginning of the test.
fn at(seconds: u64) {
    clock::set(Some(Micros(1_800_000_000 * Micros::SECOND).plus_millis(seconds * 1_000)));
}

#[tokio::test]
async fn a_source_is_asked_at_its_times_and_its_values_are_readings() {
    let (weather, host) = Weather::start().await;
    let farm = Farm::asking(&host).await;
    let node = farm.node();
    for seconds in [0, 30, 59, 61, 100] {
        at(seconds);
        node.round().await;
    }
    assert_eq!(weather.asked(), ["Bearer s3cret", "Bearer s3cret"]);
    let reading = ("reading.abidjan.temp".to_owned(), json!(21.5), "2026-01-31T08:30:00Z".to_owned());
    assert_eq!(farm.readings(), [reading.clone(), reading]);
    let progress = farm.progress();
    assert_eq!((&progress["runs"], &progress["readings"], &progress["last_error"]), (&json!(2), &json!(2), &Json::Null));
    assert_eq!(progress["url"], format!("http://{host}/now"), "what is secret is not shown");
    // After a night without the node, once, and then at the times that it had before.
    for seconds in [36_030, 36_059, 36_060] {
        at(seconds);
        farm.node().round().await;
    }
    assert_eq!(weather.asked().len(), 4);
}

#[tokio::test]
async fn several_nodes_ask_once_and_a_crash_neither_skips_nor_doubles() {
    let (weather, host) = Weather::start().await;
    let farm = Farm::asking(&host).await;
    let (one, other) = (farm.node(), farm.node());
    at(0);
    tokio::join!(one.round(), other.round());
    assert_eq!((weather.asked().len(), farm.readings().len()), (1, 1));
    // One stores what it was told, and dies before it says so.
    at(60);
    let key = key(&farm.app, &Id::new("now").unwrap());
    let before = one.0.records.get::<Progress>(&key).unwrap().unwrap();
    one.round().await;
    let back = |changes: &mut crate::records::Changes| changes.put(key.clone(), &before);
    one.0.records.change::<(), RecordsError>(clock::now(), back).await.unwrap();
    weather.says(200, r#"{"at": "2026-01-31T08:31:00Z", "main": {"temp": 22}}"#);
    at(70);
    other.round().await;
    assert_eq!((weather.asked().len(), farm.readings().len()), (3, 2));
    at(120);
    other.round().await;
    assert_eq!((weather.asked().len(), farm.readings().len()), (4, 3));
    assert_eq!(farm.readings()[2].1, json!(22));
}

#[tokio::test]
async fn a_shorter_pause_counts_at_once_and_a_clock_that_was_ahead_is_forgotten() {
    let (weather, host) = Weather::start().await;
    let farm = Farm::asking(&host).await;
    farm.redeploy("every = \"1m\"", "every = \"1h\"");
    let node = farm.node();
    at(0);
    node.round().await;
    farm.redeploy("every = \"1m\"", "every = \"2m\"");
    // Looked at often, as a node does.
    for (seconds, asked) in [(10, 1), (60, 1), (129, 1), (131, 2), (251, 3)] {
        at(seconds);
        node.round().await;
        assert_eq!(weather.asked().len(), asked, "after {seconds} s");
    }
    // The clock is a day ahead, the node claims and dies; then it is right again.
    at(86_400);
    let key = key(&farm.app, &Id::new("now").unwrap());
    let claimed = Progress { next_run: clock::now(), claimed_until: clock::now().plus_millis(60_000), ..Progress::default() };
    node.0.records.change::<(), RecordsError>(clock::now(), |changes| changes.put(key.clone(), &claimed)).await.unwrap();
    for (seconds, asked) in [(400, 3), (450, 3), (521, 4)] {
        at(seconds);
        node.round().await;
        assert_eq!(weather.asked().len(), asked, "after {seconds} s");
    }
}

#[tokio::test]
async fn a_source_that_hangs_holds_up_no_other() {
    let (weather, host) = Weather::start().await;
    // It takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = silent.local_addr().unwrap();
    let source = |name: &str, url: &str| {
        format!(
            "name = \"{name}\"\nkind = \"http\"\nurl = \"{url}\"\nevery = \"1m\"\ndevice = \"abidjan\"\nvalues = {{ temp = \"/main/temp\" }}"
        )
    };
    let hanging: Vec<String> = (0..3).map(|n| source(&format!("hangs{n}"), &format!("http://{hangs}/"))).collect();
    let all = format!("{}\n[[source]]\n{}", hanging.join("\n[[source]]\n"), source("now", &format!("http://{host}/now")));
    let farm = Farm::new(&format!("http = [\"{host}\", \"{hangs}\"]"), &all).await;
    let node = farm.node();
    let mut asking = node.asking();
    for (seconds, asked) in [(0, 1), (60, 2), (120, 3)] {
        at(seconds);
        asking.look();
        assert_eq!(asking.ended().await, Some(()));
        assert_eq!(weather.asked().len(), asked, "after {seconds} s");
    }
    // With one more that hangs the app has its share, and waits for itself.
    let more = source("hangs3", &format!("http://{hangs}/"));
    let text = format!("{}\n[[source]]\n{more}", farm.text);
    let release = farm.store.current(&farm.app).unwrap();
    let manifest = Manifest::parse(&text).unwrap();
    let draft = Draft {
        artifact: release.artifact,
        manifest,
        commit: "c".repeat(40),
        summary: String::new(),
        created: Micros(3),
        rollback_of: None,
    };
    farm.store.add_release(&farm.app, draft).unwrap();
    at(125);
    asking.look();
    at(180);
    asking.look();
    assert_eq!(asking.under_way(), crate::model::limit::SOURCES_ASKED_PER_APP_MAX);
}

#[tokio::test]
async fn what_goes_wrong_is_shown_and_tried_at_the_next_time() {
    let (weather, host) = Weather::start().await;
    let farm = Farm::asking(&host).await;
    let node = farm.node();
    let broken = [
        (503, "{}", "answered with 503"),
        (200, "<html>", "no JSON"),
        (200, r#"{"at": "2026-01-31T08:30:00Z"}"#, "none of `/main/hum`, `/main/temp` leads to a value"),
        (200, r#"{"main": {"temp": 1}}"#, "`/at` leads to no time"),
        (302, "{}", "answered with 302"),
    ];
    for (n, (status, body, why)) in broken.into_iter().enumerate() {
        weather.says(status, body);
        at(60 * n as u64);
        node.round().await;
        let error = farm.progress()["last_error"].as_str().unwrap().to_owned();
        assert!(error.contains(why), "{error}");
    }
    weather.says(200, &format!("\"{}\"", "x".repeat(crate::model::limit::SOURCE_BODY_BYTES_MAX)));
    at(600);
    node.round().await;
    assert!(farm.progress()["last_error"].as_str().unwrap().contains("has more than"));
    farm.store.set_secret(&farm.app, "KEY", None).unwrap();
    at(700);
    node.round().await;
    assert!(farm.progress()["last_error"].as_str().unwrap().contains("the secret `KEY` is not set"));
    assert!(farm.readings().is_empty());
    assert!(farm.dir.path().exists());
}

#[tokio::test]
async fn a_source_writes_for_no_device_that_is_somebodys() {
    let (weather, host) = Weather::start().await;
    let farm = Farm::asking(&host).await;
    let ada = crate::identity::Principal::User { tenant: default_tenant(), id: Id::new("ada").unwrap(), admin: false };
    let device = json!({ "id": "abidjan", "visibility": "private", "date_created": 0, "date_modified": 0 });
    farm.registry.create_device(&ada, serde_json::from_value(device).unwrap(), Micros(1)).await.unwrap();
    at(0);
    farm.node().round().await;
    assert!(farm.progress()["last_error"].as_str().unwrap().contains("is somebody's"));
    assert_eq!((weather.asked().len(), farm.readings().len()), (1, 0));
}

#[tokio::test]
async fn a_webhook_is_taken_from_who_knows_the_secret() {
    let source = "name = \"hook\"\nkind = \"webhook\"\ndevice = \"scale\"\nsecret = \"HOOK\"\nvalues = { weight = \"/kg\" }";
    let farm = Farm::new("secrets = [\"HOOK\"]", source).await;
    let (node, hook) = (farm.node(), Id::new("hook").unwrap());
    let headers = |secret: &str| HeaderMap::from_iter([(http::HeaderName::from_static("x-tawi-secret"), secret.parse().unwrap())]);
    let send = |secret: &'static str, body: &'static str, repeat| {
        let (node, headers, hook, app) = (node.clone(), headers(secret), hook.clone(), farm.app.clone());
        async move { node.deliver(&app, &hook, &headers, body.as_bytes(), repeat, Micros(5)).await }
    };
    assert!(matches!(send("s3cret", r#"{"kg": 1}"#, None).await, Err(HookError::NoSecret(_))));
    farm.store.set_secret(&farm.app, "HOOK", Some("s3cret")).unwrap();
    // A body is read for who knows the secret alone.
    assert!(node.expects(&farm.app, &hook, &headers("s3cret")).is_ok());
    assert!(matches!(node.expects(&farm.app, &hook, &headers("guess")), Err(HookError::Refused(_))));
    assert!(matches!(node.expects(&farm.app, &hook, &HeaderMap::new()), Err(HookError::Refused(_))));
    assert!(matches!(node.expects(&farm.app, &Id::new("other").unwrap(), &headers("s3cret")), Err(HookError::Unknown(..))));
    assert!(matches!(send("guess", r#"{"kg": 1}"#, None).await, Err(HookError::Refused(_))));
    assert!(matches!(send("s3cret", r#"{"lb": 1}"#, None).await, Err(HookError::Body(_))));
    assert_eq!(send("s3cret", r#"{"kg": 7.5}"#, Some("a")).await.unwrap().seqs.len(), 1);
    assert!(send("s3cret", r#"{"kg": 7.5}"#, Some("a")).await.unwrap().duplicate);
    let other = node.deliver(&farm.app, &Id::new("other").unwrap(), &headers("s3cret"), b"{}", None, Micros(5)).await;
    assert!(matches!(other, Err(HookError::Unknown(..))));
    assert_eq!(
        farm.readings().iter().map(|(subject, value, _)| (subject.as_str(), value)).collect::<Vec<_>>(),
        [("reading.scale.weight", &json!(7.5))]
    );
    let shown = node.list(&farm.app).unwrap().remove(0);
    assert_eq!((&shown["runs"], &shown["last_error"], &shown["path"]), (&json!(3), &Json::Null, &json!("/api/v1/sources/weather/hook")));
}
