//! MQTT as its users have it: two clients that others wrote.

mod interop;
mod rude;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Lines},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use tawi_platform_tests::{
    Node, Ran,
    mqtt::{Device, Login, PUBCOMP, PUBREC, publish, publish_once, release},
    repo,
    wait::LATER,
    wait_until,
};

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
        // Into a pipe it would write by the page, not by the line.
        let subscribe = mosquitto("mosquitto_sub", node);
        let mut command = Command::new("stdbuf");
        command.arg("-oL").arg(subscribe.get_program()).args(subscribe.get_args()).stdin(Stdio::null());
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
        wait_until("the current value", LATER, || match node.client().get(&format!("/api/v2/devices/{device}")).status {
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

/// Sends numbers with QoS 1, some at a time, until the node is gone. What it sent, and of that what was acknowledged.
fn send_until_the_end(addr: SocketAddr, token: &str, topic: &str, heard: &AtomicUsize) -> (u64, BTreeSet<u64>) {
    const AT_A_TIME: u64 = 8;
    let mut device = Device::connect(addr, topic, Some(Login { user: "machine", password: token }), 60).unwrap();
    let (mut sent, mut acked) = (0, BTreeSet::new());
    loop {
        let batch: Vec<u8> = (sent + 1..=sent + AT_A_TIME).flat_map(|n| publish(topic, n as u16, n.to_string().as_bytes())).collect();
        sent += AT_A_TIME;
        if device.send(&batch).is_err() {
            return (sent, acked);
        }
        while (acked.len() as u64) < sent {
            let more = device.acks(|id| {
                acked.insert(u64::from(id));
                heard.fetch_add(1, Ordering::Relaxed);
            });
            if more.is_err() {
                return (sent, acked);
            }
        }
    }
}

/// Devices send on and on while the node is killed. Each reading whose PUBACK came is there afterwards, and none is there twice.
#[test]
fn a_reading_whose_puback_came_is_there_after_the_node_was_killed() {
    let mut node = Node::start();
    for round in 0..3 {
        let (addr, token) = (node.mqtt().parse().unwrap(), node.token().to_owned());
        let topics: Vec<String> = (0..4).map(|who| format!("devices/d{who}/sensors/s{round}/value")).collect();
        let heard = AtomicUsize::new(0);
        let ended: Vec<(u64, BTreeSet<u64>)> = thread::scope(|scope| {
            let (token, heard) = (&token, &heard);
            let senders: Vec<_> = topics.iter().map(|topic| scope.spawn(move || send_until_the_end(addr, token, topic, heard))).collect();
            wait_until("some hundred acknowledged readings", LATER, || match heard.load(Ordering::Relaxed) {
                enough if enough > 200 * (round + 1) => Ok(()),
                few => Err(few),
            });
            node.kill9();
            senders.into_iter().map(|sender| sender.join().unwrap()).collect()
        });
        node.start_again();
        for (who, (sent, acked)) in ended.iter().enumerate() {
            let stored = || -> Vec<u64> {
                let path = format!("/api/v1/history?q=device:d{who}%20AND%20sensor:s{round}&limit=1000");
                let found = node.client().get(&path).expect(200).json();
                found["hits"].as_array().unwrap().iter().map(|hit| hit["value"].as_u64().unwrap()).collect()
            };
            wait_until("what was acknowledged", LATER, || {
                let lost: Vec<u64> = acked.difference(&stored().into_iter().collect()).copied().collect();
                if lost.is_empty() { Ok(()) } else { Err(format!("{lost:?} are missing")) }
            });
            let stored = stored();
            let different: BTreeSet<u64> = stored.iter().copied().collect();
            assert_eq!(different.len(), stored.len(), "one is there twice: {stored:?}");
            assert!(different.iter().all(|n| n <= sent));
        }
    }
}

/// How far a device has come that sends each number once.
struct Careful {
    number: u64,
    /// It has sent the number before, and has heard that it was taken.
    sent: bool,
    taken: bool,
}

impl Careful {
    /// Goes on where it was, until the node is gone or `last` is through.
    fn send(&mut self, node: (SocketAddr, &str), last: u64, through: &AtomicUsize) -> std::io::Result<()> {
        const TOPIC: &str = "devices/careful/sensors/n/value";
        let mut device = Device::come_again(node.0, "careful", Some(Login { user: "machine", password: node.1 }))?;
        while self.number <= last {
            let id = self.number as u16;
            if !self.taken {
                let packet = publish_once(TOPIC, id, self.number.to_string().as_bytes(), self.sent);
                self.sent = true;
                assert_eq!(device.exchange(&packet)?, (PUBREC, id));
                self.taken = true;
            }
            assert_eq!(device.exchange(&release(id))?, (PUBCOMP, id));
            through.fetch_add(1, Ordering::Relaxed);
            *self = Careful { number: self.number + 1, sent: false, taken: false };
        }
        Ok(())
    }
}

/// The node is killed again and again while a device sends with QoS 2, which does as the standard says when it comes again.
#[test]
fn what_is_sent_with_quality_2_is_there_once_however_often_the_node_is_killed() {
    const KILLS: usize = 6;
    let mut node = Node::start();
    let (mut careful, through) = (Careful { number: 1, sent: false, taken: false }, AtomicUsize::new(0));
    for kill in 1..=KILLS {
        let (addr, token) = (node.mqtt().parse().unwrap(), node.token().to_owned());
        thread::scope(|scope| {
            let (token, through, careful) = (&token, &through, &mut careful);
            let sender = scope.spawn(move || careful.send((addr, token), u64::MAX, through));
            wait_until("some that are through", LATER, || match through.load(Ordering::Relaxed) {
                enough if enough >= 37 * kill => Ok(()),
                few => Err(few),
            });
            node.kill9();
            assert!(sender.join().unwrap().is_err());
        });
        node.start_again();
    }
    let last = careful.number;
    careful.send((node.mqtt().parse().unwrap(), node.token()), last, &through).unwrap();
    node.wait_for_history("device:careful", last);
    let found = node.client().get("/api/v1/history?q=device:careful&limit=1000").expect(200).json();
    let mut values: Vec<u64> = found["hits"].as_array().unwrap().iter().map(|hit| hit["value"].as_u64().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, (1..=last).collect::<Vec<_>>());
}

fn paho_command(script: &str, words: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", repo::tools_dir().join("paho"))
        .arg(repo::root().join("platform-tests/tests/it/mqtt").join(script))
        .args(words);
    command
}

fn paho(node: &Node, story: &str, words: &[&str]) -> Ran {
    Ran::run(paho_command("paho_client.py", &[story, node.mqtt(), node.token()]).args(words)).ok()
}
