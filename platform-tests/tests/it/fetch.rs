//! Outbound HTTP: granted by host, at once, not undone.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::mpsc::{Receiver, channel},
    thread,
};
use tawi_platform_tests::{App, Node, app};

/// A server that answers every request with `200 pong`, and hands over what it was asked.
fn server() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (sender, asked) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            thread::spawn(move || answer(stream, &sender));
        }
    });
    (addr, asked)
}

fn answer(mut stream: std::net::TcpStream, asked: &std::sync::mpsc::Sender<String>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut body) = (String::new(), Vec::new());
    while reader.read_line(&mut head)? > 2 {}
    let lower = head.to_ascii_lowercase();
    if let Some(length) = lower.lines().find_map(|l| l.strip_prefix("content-length: ")) {
        reader.take(length.trim().parse().unwrap_or(0)).read_to_end(&mut body)?;
    } else if lower.contains("transfer-encoding: chunked") {
        let mut seen = String::new();
        while reader.read_line(&mut seen)? > 0 && !seen.ends_with("0\r\n") {}
        body = seen.into_bytes();
    }
    let _ = asked.send(format!("{head}{}", String::from_utf8_lossy(&body)));
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\npong")
}

/// The probe, granted this address.
fn probe_for(node: &Node, addr: SocketAddr) -> App {
    let app = App::prebuilt("probe-fetch");
    grant(&app, node, "http", &addr.to_string());
    app
}

/// The only grant of this kind from now on.
fn grant(app: &App, node: &Node, key: &str, host: &str) {
    app.manifest(|manifest| app::set(manifest, "grant", key, vec![host]));
    app.commit("the port of today");
    app.push(node);
}

#[test]
fn a_granted_host_is_asked_with_method_and_body() {
    let node = Node::start();
    let (addr, asked) = server();
    let app = probe_for(&node, addr);
    let path = app.run_path(&format!("/?url=http://{addr}/ping"));
    assert_eq!(node.client().get(&path).expect(200).text(), "pong");
    assert!(asked.recv().unwrap().starts_with("GET /ping "));
    assert_eq!(node.client().post(&path, "a letter").expect(200).text(), "pong");
    let seen = asked.recv().unwrap();
    assert!(seen.starts_with("POST /ping ") && seen.contains("a letter"), "{seen}");
}

#[test]
fn a_host_that_was_not_granted_is_never_asked() {
    let node = Node::start();
    let app = App::prebuilt("probe-fetch");
    grant(&app, &node, "http", "api.example.com");
    let (addr, asked) = server();
    let answer = node.client().get(&app.run_path(&format!("/?url=http://{addr}/ping"))).expect(403).text();
    assert!(answer.contains("127.0.0.1") && answer.contains("http"), "it names the line to add: {answer}");
    assert!(asked.try_recv().is_err());
}

#[test]
fn a_server_that_is_not_there_is_an_answer_too() {
    let node = Node::start();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let app = probe_for(&node, free);
    node.client().get(&app.run_path(&format!("/?url=http://{free}/"))).expect(502);
}

/// `127.1` is a name to everybody but the resolver, which takes it for this machine: so would any name whose owner wants it.
#[test]
fn a_name_that_leads_into_a_private_net_is_not_asked_unless_that_is_granted() {
    let node = Node::start();
    let (addr, asked) = server();
    let name = format!("127.1:{}", addr.port());
    let app = App::prebuilt("probe-fetch");
    grant(&app, &node, "http", &name);
    let path = app.run_path(&format!("/?url=http://{name}/ping"));
    let answer = node.client().get(&path).expect(403).text();
    assert!(answer.contains("private") && answer.contains("http-private"), "it names the line to add: {answer}");
    assert!(asked.try_recv().is_err());

    grant(&app, &node, "http-private", &name);
    assert_eq!(node.client().get(&path).expect(200).text(), "pong");
    assert!(asked.recv().unwrap().to_ascii_lowercase().contains(&format!("host: {name}")));
}
