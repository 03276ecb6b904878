//! The recorded sensors under three owners, sent over MQTT: each owner sees her own, all of it, and nothing else, by either door.

use jiff::Timestamp;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
};
use tawi_platform_tests::{
    Client, Node,
    mqtt::{Device, Login, publish},
    sample::{self, Recording},
};

const PASSWORD: &str = "correct horse";
/// Publishes of a device that are not acknowledged, at a time.
const WINDOW: usize = 64;
/// What a device says when it has said everything.
const END: &str = "end";

/// What somebody saw of each sensor: when it was measured, and the value, in the order in which it came.
type Seen = BTreeMap<String, Vec<(Timestamp, f64)>>;

/// A person with devices.
struct Owner {
    name: String,
    recordings: Vec<Recording>,
}

impl Owner {
    fn devices(&self) -> Vec<&str> {
        let mut devices: Vec<&str> = self.recordings.iter().map(|recording| recording.device.as_str()).collect();
        devices.dedup();
        devices
    }

    /// What the files say that she has to see.
    fn recorded(&self) -> Seen {
        let sensor = |recording: &Recording| {
            let readings = sample::readings(recording).into_iter().map(|(measured, value)| (measured, value.parse().unwrap()));
            (format!("{}/{}", recording.device, recording.sensor), readings.collect())
        };
        self.recordings.iter().map(sensor).collect()
    }
}

/// Devices are named for the farm or the university that they stand at.
fn owners(dir: &Path) -> Vec<Owner> {
    let mut owners: BTreeMap<String, Vec<Recording>> = BTreeMap::new();
    for recording in sample::recordings(dir) {
        let name = recording.device.split('_').next().unwrap().to_lowercase();
        owners.entry(name).or_default().push(recording);
    }
    owners.into_iter().map(|(name, recordings)| Owner { name, recordings }).collect()
}

/// Users, and their devices: private ones, from a file.
fn register(node: &Node, owners: &[Owner]) {
    let mut table = "device,owner,visibility,sensor\n".to_owned();
    for Owner { name, recordings } in owners {
        node.client().post("/api/v2/users", json!({ "username": name, "password": PASSWORD }).to_string()).expect(200);
        recordings.iter().for_each(|Recording { device, sensor, .. }| writeln!(table, "{device},{name},private,{sensor}").unwrap());
    }
    fs::write(node.scratch().join("sensors.csv"), table).unwrap();
    node.tawi(&["devices", "import", "sensors.csv"]).ok();
}

/// A device says all that it has recorded, as itself.
fn replay(addr: SocketAddr, device: &str, secret: &str, recordings: &[&Recording]) {
    let mut connection = Device::connect(addr, device, Some(Login { user: device, password: secret }), 60).unwrap();
    let said: Vec<(String, String)> = recordings
        .iter()
        .flat_map(|recording| {
            let topic = format!("devices/{device}/sensors/{}/value", recording.sensor);
            let readings = sample::readings(recording).into_iter();
            readings.map(move |(measured, value)| (topic.clone(), format!("{{\"value\":{value},\"timestamp\":\"{measured}\"}}")))
        })
        .chain([(format!("devices/{device}/sensors/{END}/value"), "true".to_owned())])
        .collect();
    let (mut sent, mut acked) = (0, 0);
    while acked < said.len() {
        let next = said.len().min(acked + WINDOW);
        let batch = (sent..next).flat_map(|n| publish(&said[n].0, (n % 1_000 + 1) as u16, said[n].1.as_bytes()));
        connection.send(&batch.collect::<Vec<u8>>()).unwrap();
        sent = next;
        connection.acks(|_| acked += 1).unwrap();
    }
}

/// Everything that comes until each of the devices has said that it is done. `devices/#` is all that there is, as far as she may see it.
fn watch(mut watcher: Device, devices: usize) -> Seen {
    let (mut seen, mut ended) = (Seen::new(), 0);
    while ended < devices {
        let message = watcher.message().unwrap();
        let levels: Vec<&str> = message.topic.split('/').collect();
        let (device, sensor) = (levels[1], levels[3]);
        if sensor == END {
            ended += 1;
            continue;
        }
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        let measured = body["timestamp"].as_str().unwrap().parse().unwrap();
        seen.entry(format!("{device}/{sensor}")).or_default().push((measured, body["value"].as_f64().unwrap()));
    }
    seen
}

/// What she may ask for over HTTP, and what not.
fn look(node: &Node, owner: &Owner, others: &[&Owner]) {
    let session = Client::new(node.url(), None);
    let session =
        session.post("/api/v2/auth/token", json!({ "username": owner.name, "password": PASSWORD }).to_string()).expect(200).text();
    let client = node.client().with_token(Some(&session));
    let listed = client.get("/api/v2/devices").expect(200).json();
    let listed: Vec<&str> = listed.as_array().unwrap().iter().map(|device| device["id"].as_str().unwrap()).collect();
    assert_eq!(listed, owner.devices());
    for (sensor, readings) in owner.recorded() {
        let (device, sensor) = sensor.split_once('/').unwrap();
        let place = format!("/api/v2/devices/{device}/sensors/{sensor}");
        let (measured, value) = *readings.last().unwrap();
        let now = client.get(&place).expect(200).json()["value"].clone();
        assert_eq!((now["value"].as_f64(), now["timestamp"].as_str().unwrap().parse().ok()), (Some(value), Some(measured)), "{place}");
        // The last one is where the number of them says.
        let page = client.get(&format!("{place}/values?sort=asc&limit=2&offset={}", readings.len() - 1)).expect(200).json();
        assert_eq!((page.as_array().unwrap().len(), page[0]["value"].as_f64()), (1, Some(value)), "{place}: {page}");
    }
    for device in others.iter().flat_map(|other| other.devices()) {
        client.get(&format!("/api/v2/devices/{device}")).problem(403);
        let values = client.get(&format!("/api/v2/sensors_data?device_id={device}")).expect(200).json();
        assert_eq!(values, json!([]), "{} is shown them", owner.name);
    }
}

#[test]
fn each_owner_sees_her_own_sensors_and_all_that_they_said_over_mqtt_and_rest() {
    let node = Node::start();
    let dir: PathBuf = sample::pilots_dir().unwrap_or_else(|| {
        let made = node.scratch().join("recordings");
        sample::make(&made);
        made
    });
    let owners = owners(&dir);
    assert_eq!(owners.len(), 3);
    register(&node, &owners);
    let addr: SocketAddr = node.mqtt().parse().unwrap();
    let seen: Vec<Seen> = thread::scope(|scope| {
        let watch = |owner: &Owner| {
            let login = Login { user: &owner.name, password: PASSWORD };
            let mut watcher = Device::connect(addr, "watcher", Some(login), 60).unwrap();
            assert_eq!(watcher.subscribe(&["devices/#"]).unwrap(), [1]);
            let devices = owner.devices().len();
            scope.spawn(move || watch(watcher, devices))
        };
        let watchers: Vec<_> = owners.iter().map(watch).collect();
        for owner in &owners {
            for device in owner.devices() {
                let recordings: Vec<&Recording> = owner.recordings.iter().filter(|recording| recording.device == device).collect();
                let secret = node.client().post(&format!("/api/v2/devices/{device}/secrets"), "").expect(201).json();
                scope.spawn(move || replay(addr, device, secret["secret"].as_str().unwrap(), &recordings));
            }
        }
        watchers.into_iter().map(|watcher| watcher.join().unwrap()).collect()
    });
    for (owner, seen) in owners.iter().zip(seen) {
        let recorded = owner.recorded();
        assert_eq!(seen.keys().collect::<Vec<_>>(), recorded.keys().collect::<Vec<_>>(), "{}", owner.name);
        for (sensor, readings) in &recorded {
            assert_eq!(seen[sensor].len(), readings.len(), "{sensor}");
            assert!(seen[sensor] == *readings, "{sensor} came otherwise than it was recorded");
        }
        let others: Vec<&Owner> = owners.iter().filter(|other| other.name != owner.name).collect();
        look(&node, owner, &others);
    }
}
