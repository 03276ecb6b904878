//! Functions that say what they need, and sensors that come and go: real engine, real guests, real registry and ledger.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::json;
use support::{Floor, function, reading};
use tawi_runtime::{
    clock,
    devices::{Devices, Registry},
    identity::Principal,
    model::{Device, Id, Kind, id::default_tenant},
};

const ALERT: &str = r#"
[app]
name = "threshold-alert"
[[on]]
name = "alert"
select = { kind = "Thermometer", tags = ["river"] }
[grant]
publish = ["alerts.>"]
config = true
[config]
threshold = "8"
"#;

fn river_device(id: &str, kind: &str, tags: &[&str]) -> Device {
    let now = clock::now();
    let sensor = json!({ "id": "t", "sensor_kind": kind, "date_created": now.0, "date_modified": now.0 });
    let device = json!({ "id": id, "meta": { "tags": tags }, "sensors": [sensor], "date_created": now.0, "date_modified": now.0 });
    serde_json::from_value(device).unwrap()
}

struct Field {
    floor: Floor,
    registry: Registry,
    who: Principal,
}

impl Field {
    async fn open() -> Field {
        let dir = tempfile::tempdir().unwrap();
        let devices = Devices::open(&dir.path().join("devices")).unwrap();
        let who = Principal::operator(&default_tenant());
        let (floor, registry) = Floor::open_with_registry(dir, devices).await;
        Field { floor, registry, who }
    }

    async fn register(&self, device: Device) {
        self.registry.create_device(&self.who, device, clock::now()).await.unwrap();
    }

    /// Sends a value from each and tells of whom the function made alerts, once it has looked at all.
    async fn alerts_of(&self, devices: &[&str]) -> Vec<String> {
        let before = self.floor.all(Kind::Message).len();
        self.floor.append(devices.iter().map(|device| reading(device, "t", "9")).collect()).await;
        self.floor.settled(&function("threshold-alert", "alert")).await;
        let alerts = self.floor.all(Kind::Message).split_off(before);
        alerts.iter().map(|alert| alert.subject.as_str().split('.').nth(1).unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sensor_feeds_a_function_from_when_it_fits_until_it_does_not() {
    let field = Field::open().await;
    field.register(river_device("upstream", "Thermometer", &["river"])).await;
    field.register(river_device("barn", "Thermometer", &["barn"])).await;
    field.register(river_device("gauge", "WaterLevel", &["river"])).await;
    field.floor.deploy("threshold-alert", ALERT).await;
    let all = ["upstream", "barn", "gauge", "later", "stranger"];
    assert_eq!(field.alerts_of(&all).await, ["upstream"]);
    // Registered while the function runs: nothing is deployed again.
    field.register(river_device("later", "Thermometer", &["river", "new"])).await;
    assert_eq!(field.alerts_of(&all).await, ["upstream", "later"]);
    let barn = Id::new("barn").unwrap();
    let retag = |device: &mut Device| {
        device.meta.insert("tags".to_owned(), json!(["river"]));
        Ok(())
    };
    field.registry.update_device(&field.who, &barn, clock::now(), retag).await.unwrap();
    field.registry.delete_device(&field.who, &Id::new("upstream").unwrap(), clock::now()).await.unwrap();
    assert_eq!(field.alerts_of(&all).await, ["barn", "later"]);
}
