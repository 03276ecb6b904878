//! A client of the WAZIUP cloud, pointed at Tawi by its URL alone: what the documentation of the cloud shows, and how its gateway syncs.

use serde_json::{Value, json};
use std::process::Command;
use tawi_platform_tests::{Client, Node, Ran, Reply, repo};

/// What every client of the cloud has: the base of the API and a session.
struct Waziup(Client);

impl Waziup {
    fn log_in(node: &Node, name: &str, password: &str) -> Waziup {
        let nobody = Client::new(&format!("{}/api/v2", node.url()), None);
        let session = nobody.post("/auth/token", json!({ "username": name, "password": password }).to_string()).expect(200);
        assert!(session.header("content-type").starts_with("text/plain"));
        Waziup(nobody.with_token(Some(&session.text())))
    }

    fn guest(&self) -> Waziup {
        Waziup(self.0.with_token(None))
    }

    fn get(&self, path: &str) -> Value {
        self.0.get(path).expect(200).json()
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        self.0.post(path, body.to_string())
    }

    fn put(&self, path: &str, body: &str) {
        let reply = self.0.send("PUT", path, &[("content-type", "text/plain;charset=utf-8")], body.as_bytes()).expect(204);
        assert!(reply.body.is_empty());
    }
}

fn node_with_ada() -> (Node, Waziup) {
    let node = Node::start();
    node.client().post("/api/v2/users", json!({ "username": "ada", "password": "correct horse" }).to_string()).expect(200);
    let ada = Waziup::log_in(&node, "ada", "correct horse");
    (node, ada)
}

/// `waziup-js`, which is generated from the cloud's own description: every call of it.
#[test]
fn the_clouds_own_client_library_works_by_its_url_alone() {
    let node = Node::start();
    node.client().post("/api/v2/users", json!({ "username": "ada", "password": "correct horse" }).to_string()).expect(200);
    let mut client = Command::new("node");
    client.env("NODE_PATH", repo::tools_dir().join("waziup-js/node_modules"));
    client.arg(repo::root().join("platform-tests/tests/it/waziup/client.js")).args([node.url(), "ada", "correct horse"]);
    let ran = Ran::run(&mut client).ok();
    assert!(ran.stdout.ends_with("ok\n"), "{ran}");
}

#[test]
fn a_client_of_the_cloud_can_do_what_its_documentation_shows() {
    let (_node, ada) = node_with_ada();
    assert_eq!(ada.get("/users/me")["username"], "ada");
    let device = json!({
        "id": "MyDevice", "name": "My weather station", "domain": "waziup", "visibility": "public", "gateway_id": "MyGW",
        "sensors": [{ "id": "TC1", "name": "My sensor", "sensor_kind": "Thermometer", "quantity_kind": "AirTemperature", "unit": "DegreeCelsius" }],
        "actuators": [{ "id": "Act1", "name": "My buzzer", "actuator_kind": "Buzzer", "actuator_value_type": "bool" }],
    });
    assert!(ada.post("/devices", &device).expect(204).body.is_empty());
    ada.post("/devices", &device).problem(422);
    ada.put("/devices/MyDevice/name", "Our weather station");
    ada.0
        .send("PUT", "/devices/MyDevice/location", &[("content-type", "application/json")], br#"{"latitude":5.36,"longitude":4.0083}"#)
        .expect(204);
    assert_eq!(ada.get("/devices?q=owner==ada&limit=10")[0]["location"]["latitude"], 5.36);

    // Values, by somebody and by nobody.
    let value = json!({ "value": 25.6, "timestamp": "2016-06-08T18:20:27.873Z" });
    ada.post("/devices/MyDevice/sensors/TC1/value", &value).expect(204);
    let guest = ada.guest();
    guest.0.send("POST", "/devices/MyDevice/sensors/TC1/value", &[("content-type", "text/plain;charset=utf-8")], b"26.1").expect(204);
    assert_eq!(guest.get("/devices/MyDevice/sensors/TC1")["value"]["value"], 26.1);
    let values = guest.get("/devices/MyDevice/sensors/TC1/values?sort=asc&date_to=2016-12-31T00:00:00Z");
    assert_eq!((&values[0]["value"], &values[0]["timestamp"], values.as_array().unwrap().len()), (&json!(25.6), &value["timestamp"], 1));
    let table =
        guest.0.send("GET", "/sensors_data?device_id=MyDevice&sensor_id=TC1&sort=asc", &[("accept", "text/csv")], b"").expect(200).text();
    assert!(table.starts_with("device_id,sensor_id,value,timestamp,date_received\nMyDevice,TC1,25.6,2016-06-08T18:20:27.873Z,"), "{table}");

    // A command, and who may do what.
    ada.0.send("PUT", "/devices/MyDevice/actuators/Act1/value", &[("content-type", "application/json")], b"true").expect(204);
    assert_eq!(guest.get("/devices/MyDevice/actuators/Act1")["value"], true);
    ada.put("/devices/MyDevice/visibility", "private");
    guest.0.get("/devices/MyDevice").problem(403);
    guest.0.get("/devices/Nowhere").problem(404);
    guest.0.with_token(Some("eyJx.eyJx.x")).get("/devices").problem(401);
    let mine = ada.get("/auth/permissions/devices");
    assert_eq!((&mine[0]["resource"], mine[0]["scopes"].as_array().unwrap().len()), (&json!("MyDevice"), 6));

    ada.post("/projects", &json!({ "id": "MyProject", "name": "Stations", "device_ids": ["MyDevice"] })).expect(204);
    assert_eq!(ada.get("/projects/MyProject?full=true")["devices"][0]["id"], "MyDevice");
    assert!(guest.get("/ontologies/quantity_kinds").as_array().unwrap().iter().any(|kind| kind["id"] == "AirTemperature"));
    for path in ["/projects/MyProject", "/devices/MyDevice"] {
        assert!(ada.0.send("DELETE", path, &[], b"").expect(204).body.is_empty());
        ada.0.get(path).problem(404);
    }
}

/// As the gateway of the cloud does it: register, create what is missing, send what the cloud does not have yet, say that it lives.
fn sync(cloud: &Waziup, device: &Value, values: &[Value]) -> usize {
    let (id, sensor) = (device["id"].as_str().unwrap(), "TC1");
    let registered = cloud.post("/gateways", &json!({ "id": "MyGW", "visibility": "public" })).status;
    assert!(matches!(registered, 204 | 422), "{registered}");
    if cloud.0.get(&format!("/devices/{id}")).status == 404 {
        cloud.post("/devices", device).expect(204);
    }
    let last = cloud.get(&format!("/devices/{id}/sensors/{sensor}"))["value"]["timestamp"].as_str().map(str::to_owned);
    let new: Vec<&Value> =
        values.iter().filter(|value| last.as_deref().is_none_or(|last| value["timestamp"].as_str().unwrap() > last)).collect();
    let (mut calls, mut rest) = (0, new.as_slice());
    while !rest.is_empty() {
        let (mut bytes, mut count) = (2, 0);
        while count < rest.len().min(30_000) && bytes + rest[count].to_string().len() < 1 << 20 {
            bytes += rest[count].to_string().len() + 1;
            count += 1;
        }
        cloud.post(&format!("/devices/{id}/sensors/{sensor}/values"), &json!(&rest[..count])).expect(204);
        (calls, rest) = (calls + 1, &rest[count..]);
    }
    cloud.0.send("PUT", "/gateways/MyGW/heartbeat", &[], b"").expect(204);
    calls
}

#[test]
fn a_gateway_of_the_cloud_syncs_what_it_gathered_and_only_what_is_new() {
    let (_node, ada) = node_with_ada();
    let device = json!({ "id": "Local1", "gateway_id": "MyGW", "visibility": "private", "sensors": [{ "id": "TC1" }] });
    let all: Vec<Value> = (0..40_000)
        .map(|n| json!({ "value": n, "timestamp": format!("2026-01-{:02}T{:02}:{:02}:{:02}Z", 1 + n / 2_400, n / 100 % 24, n / 60 % 60, n % 60) }))
        .collect();
    let mut all = all;
    all.sort_by_key(|value| value["timestamp"].as_str().unwrap().to_owned());
    all.dedup_by_key(|value| value["timestamp"].clone());
    let half = all.len() / 2;
    let calls = sync(&ada, &device, &all[..half]);
    assert_eq!(ada.get("/devices/Local1/sensors/TC1/values?limit=1")[0]["timestamp"], all[half - 1]["timestamp"]);
    assert_eq!(sync(&ada, &device, &all[..half]), 0, "there is nothing new");
    assert!(calls >= 1 && sync(&ada, &device, &all) >= 1);
    let values = ada.get("/devices/Local1/sensors/TC1/values?limit=2&sort=asc");
    assert_eq!(
        (&values[0], &values[1]["timestamp"]),
        (
            &json!({"value": all[0]["value"], "timestamp": all[0]["timestamp"], "date_received": values[0]["date_received"]}),
            &all[1]["timestamp"]
        )
    );
    // Every value once: the last one is where it has to be.
    let last = ada.get(&format!("/devices/Local1/sensors/TC1/values?limit=2&sort=asc&offset={}", all.len() - 1));
    assert_eq!((&last[0]["timestamp"], last.as_array().unwrap().len()), (&all[all.len() - 1]["timestamp"], 1));
    let gateway = ada.guest().get("/gateways/MyGW");
    assert!(gateway["connected"] == true && gateway["owner"] == "ada", "{gateway}");
}
