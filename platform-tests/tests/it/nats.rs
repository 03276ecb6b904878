//! The ledger in a NATS server: its outsiders, its absence, its one owner.

use async_nats::{HeaderMap, jetstream};
use tawi_platform_tests::{App, Launch, Ledger, Nats, Node, wait::LATER, wait::SOON, wait_for, wait_until};

/// Runs a few lines of the NATS client to their end.
fn with_client<T>(url: &str, story: impl AsyncFnOnce(async_nats::Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { story(async_nats::connect(url).await.unwrap()).await })
}

fn url(node: &Node) -> String {
    node.nats.as_ref().unwrap().url()
}

/// The documented subject of a reading by an outsider.
const READING: &str = "tawi.v1.main.reading.d.state";

#[test]
fn a_reading_published_by_any_nats_client_triggers_functions() {
    let node = Node::on(Ledger::Jetstream);
    App::prebuilt("probe-state").push(&node);
    with_client(&url(&node), async |client| {
        let stream = jetstream::new(client);
        for n in 0..10 {
            // The second await is the acknowledgement: durable.
            stream.publish(READING, format!("{n}").into()).await.unwrap().await.unwrap();
        }
        // The same id within the window is the same reading.
        for _ in 0..3 {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", "reading-10");
            stream
                .publish_with_headers(READING, headers, r#"{"value":10,"timestamp":"2026-01-31T08:30:00Z"}"#.into())
                .await
                .unwrap()
                .await
                .unwrap();
        }
    });
    wait_for("eleven readings", SOON, || node.state("probe-state", "count/d"), |n| n.as_deref() == Some("11"));
    node.wait_for_history("device:d", 11);
    assert_eq!(node.history_count("device:d AND value:10"), 1);
}

#[test]
fn what_outsiders_publish_is_cleaned_as_what_devices_send_and_once() {
    let mut node = Node::on(Ledger::Jetstream);
    let rule = r#"{"device":"d","sensor":"state","steps":[{"duplicate":{}},{"range":{"max":100}},{"unit":{"from":"[degF]","to":"Cel"}}]}"#;
    node.client().send("PUT", "/api/v1/clean/cold", &[("content-type", "application/json")], rule.as_bytes()).expect(204);
    let reading = |n: u32| format!(r#"{{"value":{},"timestamp":"2026-01-31T08:30:{n:02}Z"}}"#, if n % 5 == 4 { 212 } else { 50 });
    for round in 0..4 {
        with_client(&url(&node), async |client| {
            let stream = jetstream::new(client);
            // The last one of the round before comes again, of which the rule knows by what it kept.
            for n in (round * 10_u32).saturating_sub(1)..round * 10 + 10 {
                stream.publish(READING, reading(n).into()).await.unwrap().await.unwrap();
            }
        });
        node.kill9();
        node.start_again();
    }
    node.wait_for_history("device:d", 43);
    assert_eq!(node.history_count("device:d kind:reading value:10"), 32);
    assert_eq!(node.history_count("device:d kind:dropped above"), 8);
    assert_eq!(node.history_count("device:d kind:dropped duplicate"), 3);
}

#[test]
fn a_message_published_by_any_nats_client_is_one_for_apps() {
    let node = Node::on(Ledger::Jetstream);
    App::prebuilt("probe-event").push(&node);
    let echoes = node.subscribe("probe.echo.messages");
    with_client(&url(&node), async |client| {
        jetstream::new(client).publish("tawi.v1.main.event.probe.in.order", "[7]".into()).await.unwrap().await.unwrap();
    });
    let echo = echoes.next()["value"].clone();
    assert_eq!((echo["subject"].as_str(), echo["value"].as_str()), (Some("probe.in.order"), Some("[7]")));
}

/// Durable when it returns, or why not.
async fn publish(stream: &jetstream::Context, subject: &str, payload: &[u8]) -> Result<(), String> {
    let sent = stream.publish(subject.to_owned(), payload.to_vec().into()).await.map_err(|e| e.to_string())?;
    sent.await.map(drop).map_err(|e| e.to_string())
}

/// What can't be an event is neither lost nor in anybody's way: it is a log line with the reason in it, once.
#[test]
fn what_outsiders_get_wrong_is_named_and_holds_up_nobody() {
    let long = format!("\"{}\"", "x".repeat(70_000));
    let wrong: [(&str, &[u8], &str); 10] = [
        ("tawi.v1.main.reading.a%20b.state", b"1", "is not the id of a device"),
        ("tawi.v1.main.reading.d.%00", b"1", "is not the id of a sensor"),
        ("tawi.v1.main.reading.d.state", br#"{"value":1,"timestamp":"yesterday"}"#, "`yesterday` is not a time"),
        ("tawi.v1.main.reading.d.state", br#"{"value":1,"timestamp":7}"#, "`7` is not a time"),
        ("tawi.v1.main.reading.d.state", br#"{"temp":1}"#, "`value` is missing"),
        ("tawi.v1.main.reading.d.state", b"1e999", "the value can't be read"),
        ("tawi.v1.main.reading.d.state", br#"{"value":1,"timestamp":"2400-01-01T00:00:00Z"}"#, "years ahead"),
        ("tawi.v1.main.reading.d.state", long.as_bytes(), "a value has at most"),
        ("tawi.v1.main.event.reading.d.state", b"1", "only the node writes"),
        ("tawi.v1.main.event.log.tawi.x", b"1", "only the node writes"),
    ];
    let mut node = Node::on(Ledger::Jetstream);
    App::prebuilt("probe-state").push(&node);
    let good = |node: &Node, upto: usize| {
        wait_for("the good readings", SOON, || node.state("probe-state", "count/d"), |n| n.as_deref() == Some(upto.to_string().as_str()));
    };
    with_client(&url(&node), async |client| {
        let stream = jetstream::new(client);
        publish(&stream, READING, b"0").await.unwrap();
        for (subject, payload, _) in &wrong {
            publish(&stream, subject, payload).await.unwrap();
            publish(&stream, READING, b"1").await.unwrap();
        }
        // No JSON is no mistake: any bytes are a value. And where nobody listens, the server says so.
        publish(&stream, READING, b"{broken \xff").await.unwrap();
        for nowhere in ["tawi.v1.main.reading.d", "tawi.v1.main.reading.d.state.more", "tawi.v1.other.reading.d.state"] {
            publish(&stream, nowhere, b"1").await.unwrap_err();
        }
        publish(&stream, READING, "1".repeat(200_000).as_bytes()).await.unwrap_err();
    });
    good(&node, 1 + wrong.len() + 1);

    let refused = "kind:log AND text:\"refused a message\"";
    wait_for("a line for each", SOON, || node.history(refused).len(), |n| *n == wrong.len());
    let lines = node.history(refused);
    for (subject, _, reason) in &wrong {
        let names = |line: &serde_json::Value| line.to_string().contains(subject) && line.to_string().contains(reason);
        assert_eq!(lines.iter().filter(|line| names(line)).count(), 1, "`{subject}`: {reason}: {lines:#?}");
    }
    assert!(node.log().contains("a message to intake was refused"), "the operator sees it too");

    // Taken in once: the next start does not meet it again.
    node.restart();
    with_client(&url(&node), async |client| publish(&jetstream::new(client), READING, b"2").await.unwrap());
    good(&node, 1 + wrong.len() + 2);
    node.wait_for_history("device:d", 1 + wrong.len() as u64 + 2);
    assert_eq!(node.history(refused).len(), wrong.len());
}

#[test]
fn an_outsider_hears_what_apps_publish() {
    let node = Node::on(Ledger::Jetstream);
    App::prebuilt("threshold-alert").push(&node);
    with_client(&url(&node), async |client| {
        use futures::StreamExt;
        let mut alerts = client.subscribe("tawi.v1.main.*.event.alerts.>").await.unwrap();
        client.flush().await.unwrap();
        node.client().reading("fridge1", "temp", 9.5);
        let alert = tokio::time::timeout(SOON, alerts.next()).await.expect("no alert in time").unwrap();
        assert!(alert.subject.ends_with(".event.alerts.fridge1.temp"), "{}", alert.subject);
        assert!(String::from_utf8_lossy(&alert.payload).contains("9.5"));
    });
}

#[test]
fn without_its_server_a_node_answers_503_and_resumes_by_itself() {
    let mut node = Node::on(Ledger::Jetstream);
    App::prebuilt("probe-state").push(&node);
    let client = node.client();
    let path = "/api/v2/devices/d/sensors/state/value";
    client.reading("d", "state", 1);
    wait_for("the first reading", SOON, || node.state("probe-state", "count/d"), |n| n.as_deref() == Some("1"));

    node.nats.as_mut().unwrap().kill9();
    let problem = client.post(path, r#"{"value":2}"#).problem(503);
    assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
    client.get("/health/live").expect(200);
    client.get("/health/ready").expect(503);

    node.nats.as_mut().unwrap().restart();
    wait_until("a reading to be taken again", LATER, || match client.post(path, r#"{"value":3}"#).status {
        204 => Ok(()),
        status => Err(status),
    });
    // The reading that got a 503 may have been stored, or not: it was not acknowledged. Those that were are counted once.
    wait_for("dispatch to resume", LATER, || node.state("probe-state", "count/d"), |n| matches!(n.as_deref(), Some("2" | "3")));
    client.get("/health/ready").expect(200);
}

#[test]
fn a_cable_that_is_pulled_again_and_again_loses_nothing() {
    let node = Node::on(Ledger::Jetstream);
    App::prebuilt("probe-state").push(&node);
    let (client, nats) = (node.client(), node.nats.as_ref().unwrap());
    let mut acknowledged = 0_u64;
    let mut unknown = 0_u64;
    for n in 0..5 {
        for i in 0..20 {
            if i == 10 {
                nats.cut();
                nats.mend();
            }
            match client.post("/api/v2/devices/d/sensors/state/value", format!("{{\"value\":{n}}}")).status {
                204 => acknowledged += 1,
                503 => unknown += 1,
                other => panic!("a reading was answered with {other}"),
            }
        }
        wait_until("a reading to be taken", LATER, || match client.post("/api/v2/devices/d/sensors/state/value", "{\"value\":0}").status {
            204 => {
                acknowledged += 1;
                Ok(())
            }
            status => {
                unknown += 1;
                Err(status)
            }
        });
    }
    node.wait_until_idle("probe-state");
    let counted: u64 = node.state("probe-state", "count/d").unwrap().parse().unwrap();
    assert!((acknowledged..=acknowledged + unknown).contains(&counted), "{counted} of {acknowledged} acknowledged and {unknown} unknown");
    node.wait_for_history("device:d", counted);
}

#[test]
fn a_server_that_hangs_is_a_503_too() {
    let node = Node::on(Ledger::Jetstream);
    let nats: &Nats = node.nats.as_ref().unwrap();
    node.client().reading("d", "s", 1);
    nats.freeze();
    node.client().post("/api/v2/devices/d/sensors/s/value", "{\"value\":2}").problem(503);
    nats.thaw();
    wait_until("a reading to be taken again", LATER, || {
        match node.client().post("/api/v2/devices/d/sensors/s/value", "{\"value\":3}").status {
            204 => Ok(()),
            status => Err(status),
        }
    });
}

/// One stream has one node in this release. Whether a second one is refused or only fenced off, the first one's state is whole and counts on.
#[test]
fn a_second_node_on_the_same_stream_does_no_harm() {
    let node = Node::on(Ledger::Jetstream);
    App::prebuilt("probe-state").push(&node);
    node.client().readings("d", "state", 0..5);
    wait_for("five readings", SOON, || node.state("probe-state", "count/d"), |n| n.as_deref() == Some("5"));

    let dir = tempfile::tempdir().unwrap();
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let ready = dir.path().join("ready.json");
    let mut command = std::process::Command::new(tawi_platform_tests::repo::tawi());
    command
        .arg("up")
        .arg("--data")
        .arg(dir.path().join("data"))
        .args(["--listen", "127.0.0.1:0", "--ledger", &url(&node), "--ready-file"])
        .arg(&ready);
    command.env("TAWI_CONFIG_DIR", dir.path());
    let mut second = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    wait_until("the second node to serve or to refuse", LATER, || match second.try_wait().unwrap() {
        Some(_) => Ok(()),
        None if ready.exists() => Ok(()),
        None => Err("it is starting"),
    });

    assert_eq!(
        node.state("probe-state", "count/d").as_deref(),
        Some("5"),
        "the second node knows no app, and must not forget the first one's"
    );
    node.client().readings("d", "state", 5..10);
    wait_for("ten readings", SOON, || node.state("probe-state", "count/d"), |n| n.as_deref() == Some("10"));
    let _ = second.kill();
    let _ = second.wait();
}

/// Two nodes on one stream run the same function on every event; whoever commits second is refused and finds it done.
#[test]
fn a_second_node_on_the_same_stream_doubles_nothing() {
    let first = Node::on(Ledger::Jetstream);
    let second = Launch::on(Ledger::Embedded).arg("--ledger").arg(url(&first)).start();
    App::prebuilt("probe-state").push(&first);
    App::prebuilt("probe-state").push(&second);
    for round in 0..10 {
        first.client().readings("a", "state", round * 5..round * 5 + 5);
        second.client().readings("b", "state", round * 5..round * 5 + 5);
    }
    for node in [&first, &second] {
        for key in ["count/a", "count/b"] {
            wait_for("fifty readings of each", LATER, || node.state("probe-state", key), |n| n.as_deref() == Some("50"));
        }
        node.wait_until_idle("probe-state");
        assert_eq!(node.state("probe-state", "count/a").as_deref(), Some("50"));
    }
}

/// The log is in the server: a node that lost its own disk has its state again.
#[test]
fn a_node_whose_disk_is_gone_makes_its_view_again() {
    let mut node = Launch::on(Ledger::Jetstream).start();
    App::prebuilt("probe-state").push(&node);
    node.client().readings("d", "state", 0..50);
    wait_for("fifty readings", SOON, || node.state("probe-state", "count/d"), |n| n.as_deref() == Some("50"));
    node.kill9();
    std::fs::remove_dir_all(node.data().join("view")).unwrap();
    std::fs::remove_dir_all(node.data().join("history")).unwrap();
    node.start_again();
    wait_for("the state again", LATER, || node.state("probe-state", "count/d"), |n| n.as_deref() == Some("50"));
    node.wait_for_history("device:d", 50);
    node.client().reading("d", "state", 51);
    wait_for("one more", SOON, || node.state("probe-state", "count/d"), |n| n.as_deref() == Some("51"));
}
