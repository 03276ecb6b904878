//! Notifications, seen from outside: what fires is sent once, also when the node dies over it.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    sync::{Arc, Mutex},
    thread,
};
use tawi_platform_tests::{Launch, Ledger, Node, http::value_path, wait::LATER, wait_until};

/// Takes webhooks; what each of them held.
fn receiver() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
    let taken = heard.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while reader.read_line(&mut head).unwrap_or(0) > 2 {}
            let length = head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            let mut body = Vec::new();
            let _ = reader.take(length.unwrap_or(0)).read_to_end(&mut body);
            taken.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (host, heard)
}

/// A node whose webhooks may lead to that host.
fn node(host: &str) -> (tempfile::TempDir, Node) {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("tawi-node.toml");
    std::fs::write(&config, format!("[webhooks]\nprivate = [\"{host}\"]\n")).unwrap();
    let node = Launch::on(Ledger::Embedded).arg("--config").arg(config).start();
    (dir, node)
}

fn watch(node: &Node, host: &str, device: &str) -> String {
    let action =
        json!({ "type": "SocialAction", "value": { "channels": ["webhook"], "message": "${temp}", "url": format!("http://{host}/") } });
    let condition = json!({ "devices": [device], "sensors": ["temp"], "expression": "temp > 8" });
    let wish = json!({ "condition": condition, "action": action, "throttling": 1 });
    node.client().post("/api/v2/notifications", wish.to_string()).expect(200).text()
}

#[test]
fn what_fires_is_told_once_wherever_the_node_dies_over_it() {
    let (host, heard) = receiver();
    let (_config, mut node) = node(&host);
    // One for each, so that no throttling decides what comes.
    let watched = ["fridge0", "fridge1", "fridge2"].map(|device| watch(&node, &host, device));
    // Before what fires is durable, and after it, when nothing of it is sent yet.
    for (round, point) in ["notify:1", "notify:2"].into_iter().enumerate() {
        node.stop();
        node.set_env("TAWI_FAULT", Some(point));
        node.start_again();
        // Its acknowledgement may come or not: the node dies over it.
        let _ = node.client().try_send(
            "POST",
            &value_path(&format!("fridge{round}"), "temp"),
            &[],
            format!("{{\"value\":{}}}", 50 + round).as_bytes(),
        );
        let status = node.wait_for_end();
        assert_eq!(status.signal(), Some(9), "{status}");
        node.set_env("TAWI_FAULT", None);
        node.start_again();
        wait_until("the message to arrive", LATER, || match heard.lock().unwrap().len() {
            n if n == round + 1 => Ok(()),
            n => Err(format!("{n} messages")),
        });
    }
    // Whatever would come twice has come before this one.
    node.client().reading("fridge2", "temp", 99);
    wait_until("the last message to arrive", LATER, || match heard.lock().unwrap().last() {
        Some(last) if last["message"] == "99" => Ok(()),
        last => Err(format!("{last:?}")),
    });
    let messages: Vec<Value> = heard.lock().unwrap().iter().map(|one| one["message"].clone()).collect();
    assert_eq!(messages, ["50", "51", "99"]);
    for id in watched {
        let shown = node.client().get(&format!("/api/v2/notifications/{id}")).expect(200).json();
        assert_eq!(shown["times_sent"], 1, "{shown}");
    }
}
