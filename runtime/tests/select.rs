//! Functions that say what they need, and sensors that come and go: real engine, real guests, real registry and ledger.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::json;
use support::{Floor, function, reading};
use tawi_runtime::{
    clock,
    devices::{Devices, Registry},
    identity::{NewUser, Principal, Users},
    model::{Device, Id, Kind, Visibility, id::default_tenant},
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
    users: Users,
    who: Principal,
}

impl Field {
    async fn open() -> Field {
        let dir = tempfile::tempdir().unwrap();
        let devices = Devices::open(&dir.path().join("devices")).unwrap();
        let who = Principal::operator(&default_tenant());
        let (floor, registry, users) = Floor::open_with_registry(dir, devices).await;
        Field { floor, registry, users, who }
    }

    async fn register(&self, device: Device) {
        self.registry.create_device(&self.who, device, clock::now()).await.unwrap();
    }

    async fn user(&self, name: &str) -> Principal {
        let id = Id::new(name).unwrap();
        self.users.create(NewUser::new(id.clone(), None), clock::now()).await.unwrap();
        Principal::User { tenant: default_tenant(), id, admin: false }
    }

    async fn give_app(&self, app: &str, owner: Option<&str>) {
        let owner = owner.map(|owner| Id::new(owner).unwrap());
        self.registry.set_app_owner(&Id::new(app).unwrap(), owner.as_ref(), clock::now()).await.unwrap();
    }

    /// Sends a value from each, and tells for each app of whom it made alerts.
    async fn alerts(&self, apps: &[&str], devices: &[&str]) -> Vec<Vec<String>> {
        let before = self.floor.all(Kind::Message).len();
        self.floor.append(devices.iter().map(|device| reading(device, "t", "9")).collect()).await;
        for app in apps {
            self.floor.settled(&function(app, "alert")).await;
        }
        let alerts = self.floor.all(Kind::Message).split_off(before);
        let of = |app: &str| {
            let hers = alerts.iter().filter(|alert| alert.cause.as_ref().unwrap().app.as_str() == app);
            let mut devices: Vec<_> = hers.map(|alert| alert.subject.as_str().split('.').nth(1).unwrap().to_owned()).collect();
            devices.sort();
            devices
        };
        apps.iter().map(|app| of(app)).collect()
    }

    /// Sends a value from each and tells of whom the function made alerts, once it has looked at all.
    async fn alerts_of(&self, devices: &[&str]) -> Vec<String> {
        let before = self.floor.all(Kind::Message).len();
        self.floor.append(devices.iter().map(|device| reading(device, "t", "9")).collect()).await;
        self.floor.settled(&function("threshold-alert", "alert")).await;
        let alerts = self.floor.all(Kind::Message).split_off(before);
        let mut devices: Vec<_> = alerts.iter().map(|alert| alert.subject.as_str().split('.').nth(1).unwrap().to_owned()).collect();
        // Devices have no order among each other.
        devices.sort();
        devices
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
    assert_eq!(field.alerts_of(&all).await, ["later", "upstream"]);
    let barn = Id::new("barn").unwrap();
    let retag = |device: &mut Device| {
        device.meta.insert("tags".to_owned(), json!(["river"]));
        Ok(())
    };
    field.registry.update_device(&field.who, &barn, clock::now(), retag).await.unwrap();
    field.registry.delete_device(&field.who, &Id::new("upstream").unwrap(), clock::now()).await.unwrap();
    assert_eq!(field.alerts_of(&all).await, ["barn", "later"]);
}

/// An app that makes an alert of every reading, or of those that it selects.
fn alert_of(app: &str, trigger: &str) -> String {
    ALERT.replace("\"threshold-alert\"", &format!("{app:?}")).replace("select = { kind = \"Thermometer\", tags = [\"river\"] }", trigger)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_sees_the_sensors_that_its_owner_may_see_and_follows_them_when_they_change_hands() {
    let field = Field::open().await;
    let (ada, bob) = (field.user("ada").await, field.user("bob").await);
    let private = |id: &str| {
        let mut device = river_device(id, "Thermometer", &["river"]);
        device.owned.visibility = Visibility::Private;
        device
    };
    for (who, id) in [(&ada, "adas"), (&bob, "bobs")] {
        field.registry.create_device(who, private(id), clock::now()).await.unwrap();
    }
    field.registry.create_device(&bob, river_device("open", "Thermometer", &["river"]), clock::now()).await.unwrap();
    // One asks by what it needs, the others by subject; two of them belong to somebody, one of those before there is any release of it.
    field.give_app("of-ada", Some("ada")).await;
    let (selects, listens) = ("select = { kind = \"Thermometer\" }", "subject = \"reading.*.t\"");
    for (app, trigger) in [("of-ada", selects), ("of-bob", listens), ("of-the-node", listens)] {
        field.floor.deploy_component(&support::guest("threshold-alert"), &alert_of(app, trigger)).await;
    }
    field.give_app("of-bob", Some("bob")).await;
    let (apps, all) = (["of-ada", "of-bob", "of-the-node"], ["adas", "bobs", "open", "found"]);
    let sorted = vec!["adas", "bobs", "found", "open"];
    assert_eq!(field.alerts(&apps, &all).await, [vec!["adas", "open"], vec!["bobs", "open"], sorted.clone()]);

    // A sensor changes hands.
    let to_bob = |device: &mut Device| {
        device.owned.owner = Some(Id::new("bob").unwrap());
        Ok(())
    };
    field.registry.update_device(&ada, &Id::new("adas").unwrap(), clock::now(), to_bob).await.unwrap();
    assert_eq!(field.alerts(&apps, &all).await, [vec!["open"], vec!["adas", "bobs", "open"], sorted.clone()]);

    // So does an app; and who is not there any more sees nothing, not even what everybody sees.
    field.give_app("of-ada", Some("bob")).await;
    field.give_app("of-bob", None).await;
    assert_eq!(field.alerts(&apps, &all).await, [vec!["adas", "bobs", "open"], sorted.clone(), sorted.clone()]);
    field.users.delete(&Id::new("bob").unwrap(), clock::now()).await.unwrap();
    assert_eq!(field.alerts(&apps, &all).await, [vec![], sorted.clone(), sorted]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_commands_what_its_owner_may_command() {
    let field = Field::open().await;
    let (ada, bob) = (field.user("ada").await, field.user("bob").await);
    for (who, id) in [(&ada, "adas"), (&bob, "bobs")] {
        let mut device = river_device(id, "Thermometer", &[]);
        device.owned.visibility = Visibility::Private;
        field.registry.create_device(who, device, clock::now()).await.unwrap();
    }
    let manifest = "[app]\nname = \"probe-command\"\n[[on]]\nname = \"event\"\nsubject = \"orders\"\ndelivery = { retry = 0 }\n[grant]\ncommand = [\"*\"]\n";
    field.floor.deploy("probe-command", manifest).await;
    let order = |device: &str| {
        let mut order = reading("desk", "orders", &format!(r#"{{"device":"{device}","actuator":"valve","value":1}}"#));
        (order.kind, order.subject) = (Kind::Message, tawi_runtime::model::Subject::new("orders").unwrap());
        order
    };
    let commanded = async || {
        let before = field.floor.all(Kind::Command).len();
        field.floor.append(vec![order("adas"), order("bobs"), order("nobodys")]).await;
        field.floor.settled(&function("probe-command", "event")).await;
        let commands = field.floor.all(Kind::Command).split_off(before);
        commands.iter().map(|command| command.device.as_ref().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(commanded().await, ["adas", "bobs", "nobodys"]);
    field.give_app("probe-command", Some("ada")).await;
    assert_eq!(commanded().await, ["adas"]);
}
