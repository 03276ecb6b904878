//! MQTT as its users have it: two clients that others wrote, and a node that dies while they speak.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
};
use tawi_platform_tests::{Launch, Ledger, Node, Ran, repo, wait::LATER, wait_until};

/// `mosquitto_pub` or `mosquitto_sub`, told of the node and its token.
fn mosquitto(program: &str, node: &Node) -> Command {
    let (host, port) = node.mqtt().rsplit_once(':').unwrap();
    let mut command = Command::new(program);
    command.args(["-h", host, "-p", port, "-u", "machine", "-P", node.token()]).stdin(Stdio::null());
    command
}

struct Subscriber {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Subscriber {
    fn start(node: &Node, words: &[&str]) -> Subscriber {
        let mut command = mosquitto("mosquitto_sub", node);
        let mut child =
            command.args(words).args(["-F", "%r %q %t %p"]).stdout(Stdio::piped()).spawn().expect("tools/setup-mqtt installs it");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Subscriber { child, lines }
    }

    /// Retained or not, its quality of service, the topic, and what it holds.
    fn next(&mut self) -> (String, serde_json::Value) {
        let line = self.lines.next().expect("mosquitto_sub has ended").unwrap();
        let payload = line.splitn(4, ' ').nth(3).unwrap();
        let head = line.strip_suffix(payload).unwrap().trim().to_owned();
        (head, serde_json::from_str(payload).unwrap())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn mosquitto_publishes_and_subscribes_in_both_versions() {
    let node = Node::start();
    for (version, device) in [("mqttv311", "old"), ("mqttv5", "new")] {
        let topic = format!("devices/{device}/sensors/t/value");
        let publish = |qos: &str, value: &str| {
            Ran::run(mosquitto("mosquitto_pub", &node).args(["-V", version, "-q", qos, "-t", &topic, "-m", value])).ok()
        };
        publish("1", "{\"value\": 1, \"timestamp\": \"2026-01-31T08:30:00Z\"}");
        wait_until("the current value", LATER, || match node.client().get(&format!("/api/v1/devices/{device}")).status {
            200 => Ok(()),
            status => Err(status),
        });
        let mut subscriber = Subscriber::start(&node, &["-V", version, "-q", "2", "-t", &format!("devices/{device}/+/+/value")]);
        let (head, first) = subscriber.next();
        assert_eq!((head, &first["value"], &first["timestamp"]), (format!("1 1 {topic}"), &1.into(), &"2026-01-31T08:30:00Z".into()));
        for (qos, value) in [("0", "2"), ("1", "3"), ("2", "4")] {
            publish(qos, value);
            let (head, next) = subscriber.next();
            assert_eq!((head, next["value"].to_string()), (format!("0 1 {topic}"), value.to_owned()));
        }
        // What came by another door.
        node.client().reading(device, "t", 5);
        assert_eq!(subscriber.next().1["value"], 5);
        // A command for the device.
        Ran::run(mosquitto("mosquitto_pub", &node).args([
            "-V",
            version,
            "-q",
            "1",
            "-m",
            "true",
            "-t",
            &format!("devices/{device}/actuators/a/value"),
        ]))
        .ok();
        assert_eq!(subscriber.next(), (format!("0 1 devices/{device}/actuators/a/value"), true.into()));
        node.wait_for_history(&format!("device:{device} AND kind:reading"), 5);
    }
    let mut stranger = mosquitto("mosquitto_pub", &node);
    let refused = Ran::run(stranger.args(["-P", "tawi_wrong", "-q", "1", "-t", "devices/d/sensors/t/value", "-m", "1"]));
    assert!(!refused.status.success(), "{refused}");
}

#[test]
fn paho_does_what_its_documentation_shows() {
    let node = Node::start();
    let ran = paho(&node, "stories", &[]);
    assert!(ran.stdout.ends_with("ok\n"), "{ran}");
}

fn paho_command(words: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", repo::tools_dir().join("paho"))
        .arg(repo::root().join("platform-tests/tests/it/mqtt/paho_client.py"))
        .args(words);
    command
}

fn paho(node: &Node, story: &str, words: &[&str]) -> Ran {
    Ran::run(paho_command(&[story, node.mqtt(), node.token()]).args(words)).ok()
}

/// A client publishes two hundred readings of each quality of service while the node dies under it, between what it stores and what
/// it acknowledges: none is lost, and those of quality 2 are there once.
#[test]
fn nothing_acknowledged_is_lost_and_nothing_of_quality_2_is_doubled() {
    let mut node = Launch::on(Ledger::Embedded).env("TAWI_FAULT", "commit:13").start();
    let place = node.scratch().join("mqtt-address");
    std::fs::write(&place, node.mqtt()).unwrap();
    let client = paho_command(&["stubborn", place.to_str().unwrap(), node.token()]).stdout(Stdio::piped()).spawn().unwrap();
    for fault in ["commit:22", "commit:31", "commit:20"] {
        node.wait_for_end();
        node.set_env("TAWI_FAULT", Some(fault));
        node.start_again();
        std::fs::write(&place, node.mqtt()).unwrap();
    }
    node.wait_for_end();
    node.set_env("TAWI_FAULT", None);
    node.start_again();
    std::fs::write(&place, node.mqtt()).unwrap();
    let out = client.wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    // History follows the log: what came before this is in it with this.
    node.client().reading("end", "s", 1);
    node.wait_for_history("device:end", 1);
    let count = |sensor: &str| node.history_count(&format!("device:d AND sensor:{sensor}"));
    assert!(count("q1") >= 200, "{} of 200", count("q1"));
    let values = |sensor: &str| {
        let rows = node.history_page(&format!("device:d AND sensor:{sensor}"), &["-n", "1000"]);
        let mut values: Vec<String> = rows.iter().map(|row| row["value"].to_string()).collect();
        values.sort();
        values
    };
    let all: Vec<String> = {
        let mut all: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        all.sort();
        all
    };
    assert_eq!(values("q2"), all);
    let mut once = values("q1");
    once.dedup();
    assert_eq!(once, all);
}
