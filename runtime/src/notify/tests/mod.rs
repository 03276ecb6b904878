//! Notifications on a real ledger, with a real receiver at the other end.

mod delivery;
mod firing;
mod mail;

use super::{
    Channels, Lookup, Notification, Notify, Pace, Person, Registered, Social, Wish,
    recent::{Known, Recent},
};
use crate::{
    identity::Principal,
    ledger::{Append, Ledger, LedgerConfig, LedgerOptions, Op},
    model::{Event, Id, Micros, NewEvent, Owned, Value, Visibility, id::default_tenant},
};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn user(name: &str) -> Principal {
    Principal::User { tenant: default_tenant(), id: id(name), admin: false }
}

/// The rooms around, as a test says they are.
#[derive(Default)]
struct World {
    devices: Mutex<HashMap<Id, Registered>>,
    people: Mutex<HashMap<Id, Person>>,
    values: Mutex<HashMap<(Id, Id), Known>>,
    /// Every question for a value.
    asked: Mutex<Vec<String>>,
}

/// A log, and nodes on it.
struct Farm {
    dir: tempfile::TempDir,
    ledger: Ledger,
    world: Arc<World>,
}

impl Farm {
    async fn new() -> Farm {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig::Embedded { dir: dir.path().to_owned(), options: LedgerOptions::default() };
        Farm::on(dir, &config).await
    }

    async fn on(dir: tempfile::TempDir, config: &LedgerConfig) -> Farm {
        let farm = Farm { ledger: Ledger::open(config).await.unwrap(), dir, world: Arc::default() };
        assert!(farm.dir.path().exists());
        farm.owns("pond", "ada", Visibility::Private);
        farm.person("ada", Some("ada@example.org"));
        farm.person("bob", None);
        farm
    }

    fn owns(&self, device: &str, owner: &str, visibility: Visibility) {
        self.owns_since(device, owner, visibility, Micros(0));
    }

    fn owns_since(&self, device: &str, owner: &str, visibility: Visibility, since: Micros) {
        let registered = Registered { owned: Owned { owner: Some(id(owner)), visibility }, since };
        self.world.devices.lock().insert(id(device), registered);
    }

    /// What a sensor said before everything that is in the log.
    fn said(&self, device: &str, sensor: &str, value: &str, received: Micros) {
        let known = Known { value: Value::json(value).unwrap(), received };
        self.world.values.lock().insert((id(device), id(sensor)), known);
    }

    fn person(&self, name: &str, email: Option<&str>) {
        self.world.people.lock().insert(id(name), Person { admin: false, email: email.map(str::to_owned), is_confirmed: true });
    }

    fn lookup(&self) -> Lookup {
        let (devices, people, values) = (self.world.clone(), self.world.clone(), self.world.clone());
        Lookup {
            registered: Arc::new(move |device| devices.devices.lock().get(device).cloned()),
            person: Arc::new(move |name| people.people.lock().get(name).cloned()),
            current: Arc::new(move |device, sensor, _| {
                values.asked.lock().push(format!("{device}.{sensor}"));
                values.values.lock().get(&(device.clone(), sensor.clone())).cloned()
            }),
        }
    }

    /// A node whose webhooks may lead to `private`.
    fn node(&self, private: &[String]) -> Notify {
        let channels = Channels::new(None, private.to_vec(), &self.lookup()).unwrap();
        self.node_with(channels)
    }

    fn node_with(&self, channels: Channels) -> Notify {
        self.node_at(channels, false)
    }

    fn node_at(&self, channels: Channels, is_alone: bool) -> Notify {
        let pace = Pace { first: Duration::from_millis(1), last: Duration::from_millis(4), is_alone };
        Notify::open(self.ledger.clone(), &default_tenant(), self.lookup(), channels, pace).unwrap()
    }

    /// A reading that arrived so many seconds from now.
    async fn reads(&self, device: &str, sensor: &str, value: &str, seconds: i64) {
        let received = Micros(crate::clock::now().0 + seconds * Micros::SECOND);
        let event = NewEvent::reading(&default_tenant(), &id(device), &id(sensor), received, received, Value::json(value).unwrap());
        let append = Append { tenant: default_tenant(), events: vec![event], dedup: None, intake: None };
        self.ledger.apply(Op::Append(append)).await.unwrap();
    }

    fn events(&self) -> Vec<Arc<Event>> {
        self.ledger.events(1, usize::MAX, usize::MAX).unwrap()
    }
}

/// A notification of `TC1 > 40`, by ada.
async fn watch(node: &Notify, action: Json) -> Id {
    create(node, &user("ada"), json!({ "condition": condition("TC1 > 40"), "action": action, "throttling": 120 })).await
}

fn condition(expression: &str) -> Json {
    json!({ "devices": ["pond"], "sensors": ["TC1"], "expression": expression })
}

fn webhook(url: &str, message: &str) -> Json {
    json!({ "type": "SocialAction", "value": { "channels": ["webhook"], "message": message, "url": url } })
}

async fn create(node: &Notify, who: &Principal, wish: Json) -> Id {
    node.create(who, serde_json::from_value::<Wish>(wish).unwrap(), Micros(1)).await.unwrap()
}

/// Looks at everything that is in the log now, and sends nothing.
async fn looks(node: &Notify) {
    let mut recent = Recent::default();
    while node.step(&mut recent).await.unwrap() {}
}

fn state(node: &Notify, notification: &Id) -> Notification {
    node.0.records.get(&Notification::key(notification)).unwrap().unwrap()
}

fn socials(node: &Notify) -> Vec<Social> {
    let mut found = Vec::new();
    node.0.records.scan::<Social>(Social::PREFIX, |_, social| found.push(social)).unwrap();
    found
}

/// Runs nodes until `is` says yes, then ends them.
async fn run_until(nodes: &[&Notify], what: &str, mut is: impl FnMut() -> bool) {
    let end = CancellationToken::new();
    let running = futures::future::join_all(nodes.iter().map(|node| node.run(end.clone())));
    let waited = async {
        while !is() {
            tokio::task::yield_now().await;
        }
        end.cancel();
    };
    let both = tokio::time::timeout(PATIENCE, async { tokio::join!(running, waited) }).await;
    assert!(both.is_ok(), "{what}: not within {PATIENCE:?}");
}

/// Somebody who takes webhooks: answers as told, with 200 when nothing more is told, and keeps what came.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<(Vec<u16>, Vec<Heard>)>>);

#[derive(Debug, Clone, PartialEq)]
struct Heard {
    id: String,
    message: String,
}

impl Receiver {
    /// Its URL, and its host for the config.
    async fn start(answers: &[u16]) -> (Receiver, String, String) {
        let receiver = Receiver::default();
        receiver.0.lock().0 = answers.iter().rev().copied().collect();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let router = Router::new().route("/hook", post(Receiver::take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (receiver, format!("http://{host}/hook"), host)
    }

    async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> http::StatusCode {
        let body: Json = serde_json::from_slice(&body).unwrap();
        let id = headers["idempotency-key"].to_str().unwrap().to_owned();
        assert_eq!(body["id"], id.as_str());
        let mut said = receiver.0.lock();
        said.1.push(Heard { id, message: body["message"].as_str().unwrap().to_owned() });
        http::StatusCode::from_u16(said.0.pop().unwrap_or(200)).unwrap()
    }

    fn heard(&self) -> Vec<Heard> {
        self.0.lock().1.clone()
    }

    fn messages(&self) -> Vec<String> {
        self.heard().into_iter().map(|heard| heard.message).collect()
    }
}
