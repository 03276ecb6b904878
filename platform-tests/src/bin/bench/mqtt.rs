//! Readings over MQTT, QoS 1: durable, current, in history, and through a function; beside mosquitto, which keeps none of it.

use crate::{addr, found, lag, mqtt_addr, own_cpu};
use std::{net::SocketAddr, time::Instant};
use tawi_platform_tests::{
    App, Node,
    mqtt::{self, Device, Login},
    peer::Peer,
    repo,
    results::{Figure, Results},
    wait::LATER,
    wait_for,
};

const CONNECTIONS: usize = 16;
/// Of one connection under way at a time: what a gateway keeps, and many devices together.
const WINDOW: usize = 64;
const EACH: usize = 20_000;

fn devices(addr: SocketAddr, count: usize, login: Option<Login<'_>>, keep_alive: u16) -> Vec<Device> {
    let connect = |n: usize| Device::connect(addr, &format!("bench{n}"), login, keep_alive).expect("a connection to the broker");
    (0..count).map(connect).collect()
}

/// One in a hundred is above the threshold of the function, as in life.
fn reading(who: usize, n: usize) -> (String, Vec<u8>) {
    let value = if n.is_multiple_of(100) { 9.5 } else { 4.5 };
    (format!("devices/device{}/sensors/temp/value", who * 64 + n % 64), format!("{{\"value\":{value}}}").into_bytes())
}

/// As fast as it goes, until the last one is handled; then at a steady pace.
pub fn fan_in(results: &mut Results) {
    let node = Node::start();
    App::prebuilt("threshold-alert").push(&node);
    let login = Some(Login { user: "bench", password: node.token() });
    let addr = mqtt_addr(&node);
    let (cpu, start) = (own_cpu(), Instant::now());
    let acked = mqtt::closed_loop(devices(addr, CONNECTIONS, login, 60), EACH, WINDOW, reading);
    wait_for("the function to be done", LATER, || lag(&node, "threshold-alert"), |lag| *lag == 0);
    wait_for("history to have it all", LATER, || found(&node, "sensor:temp AND kind:reading"), |n| *n == (CONNECTIONS * EACH) as u64);
    let took = start.elapsed();
    let total = (CONNECTIONS * EACH) as f64;
    let used = (own_cpu() - cpu) / took.as_secs_f64();
    let note = format!(
        "{total} readings of {CONNECTIONS} connections, {WINDOW} under way on each: durable, current, in history and through threshold-alert; \
         {:.0}/s acknowledged; generator used {:.0} % of one processor",
        total / acked.as_secs_f64(),
        100.0 * used
    );
    let mut figure = Figure::at_least("readings over MQTT, QoS 1", total / took.as_secs_f64(), "1/s", 20_000.0).note(note);
    match Peer::mosquitto() {
        Some(peer) => {
            let theirs = mqtt::closed_loop(devices(peer.addr, CONNECTIONS, None, 60), EACH, WINDOW, reading);
            figure = figure.seen_beside("mosquitto, which stores nothing", total / theirs.as_secs_f64());
        }
        None => crate::say(&format!("no mosquitto in `{}` to compare with; tools/setup bench puts it there", repo::tools_dir().display())),
    }
    results.add(figure);
    let megabytes = node.resident_bytes() as f64 / 1e6;
    results.add(Figure::at_most("node after that, resident", megabytes, "MB", 300.0));
    steady(results, &node, login);
}

fn steady(results: &mut Results, node: &Node, login: Option<Login<'_>>) {
    const RATE: f64 = 10_000.0;
    const SECONDS: usize = 15;
    let (cpu, start) = (own_cpu(), Instant::now());
    let each = RATE as usize * SECONDS / CONNECTIONS;
    let latencies = mqtt::open_loop(devices(mqtt_addr(node), CONNECTIONS, login, 60), RATE, each, reading);
    let used = (own_cpu() - cpu) / start.elapsed().as_secs_f64();
    let note = format!(
        "open loop, {RATE} readings/s for {SECONDS} s, from due to PUBACK; p50 {:.2} ms; generator used {:.0} % of one processor",
        latencies.percentile_ms(50.0),
        100.0 * used
    );
    results.add(Figure::at_most("PUBACK of a reading, p99", latencies.percentile_ms(99.0), "ms", 25.0).note(note));
}

/// Devices that are there and say nothing.
pub fn idle(results: &mut Results) {
    const CLIENTS: usize = 10_000;
    let node = Node::start();
    node.client().get("/health/ready").expect(200);
    let login = Some(Login { user: "bench", password: node.token() });
    let before = node.resident_bytes();
    let open = devices(mqtt_addr(&node), CLIENTS, login, 0);
    let megabytes = node.resident_bytes() as f64 / 1e6;
    drop(open);
    let note = format!("{:.1} kB for each; {} is as large without them", (megabytes * 1e6 - before as f64) / CLIENTS as f64 / 1e3, before / 1_000_000);
    results.add(Figure::at_most("node with 10,000 connected clients, resident", megabytes, "MB", 150.0).note(note));
    let _ = addr;
}
