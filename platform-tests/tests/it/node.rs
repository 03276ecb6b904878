//! The node itself: how it starts, says how it is, and ends.

use nix::sys::signal::Signal;
use tawi_platform_tests::{App, Launch, Ledger, Node, load, wait::SOON, wait_for, wait_until};

#[test]
fn it_says_how_it_is() {
    let node = Node::start();
    let stranger = node.client().with_token(None);
    stranger.get("/health/live").expect(200);
    stranger.get("/health/ready").expect(200);
    App::prebuilt("probe-state").push(&node);
    node.client().readings("d", "state", 0..10);
    node.wait_until_idle("probe-state");
    let metrics = node.client().get("/metrics").expect(200).text();
    for name in [
        "tawi_ingest_readings_total",
        "tawi_ingest_append_seconds_bucket",
        "tawi_calls_total",
        "tawi_call_seconds_bucket",
        "tawi_effect_seconds_bucket",
        "tawi_function_lag_events",
        "tawi_dead_letters",
        "tawi_history_lag_events",
        "tawi_pool_calls_running",
    ] {
        assert!(metrics.contains(name), "`{name}` is not in\n{metrics}");
    }
    assert_eq!(node.metric("tawi_ingest_readings_total", |_| true).iter().sum::<f64>(), 10.0);
}

#[test]
fn its_first_words_are_enough_to_begin_with() {
    let node = Node::start();
    let said = node.log();
    for word in [node.url(), "logins.json", "tawi tokens show", "tawi new"] {
        assert!(said.contains(word), "`{word}` is not in\n{said}");
    }
    // Where it is no terminal that reads them, they stay.
    assert!(!said.contains(node.token()), "a token in a log:\n{said}");
}

#[test]
fn it_ends_in_order_with_calls_under_way() {
    let mut node = Node::start();
    let app = App::prebuilt("probe-http");
    app.push(&node);
    let client = node.client();
    let call = client.open("GET", &app.run_path("/stream?pieces=10&bytes=100&wait_ms=100"), &[], b"").unwrap();
    node.signal(Signal::SIGTERM);
    assert_eq!(call.into_body().read_to_vec().unwrap().len(), 1000, "a call that has begun is finished");
    assert!(node.wait_for_end().success());
}

#[test]
fn it_ends_although_subscribers_stay_and_a_function_loops() {
    let mut node = Node::start();
    App::prebuilt("bad-loop").push(&node);
    let _stream = node.subscribe(">");
    node.client().reading("d", "bad", 1);
    node.stop();
}

#[test]
fn two_nodes_do_not_share_a_folder() {
    let node = Node::start();
    let mut second = Launch::on(Ledger::Embedded).start();
    second.stop();
    let out = second.scratch().join("second.log");
    let log = std::fs::File::create(&out).unwrap();
    let mut command = std::process::Command::new(tawi_platform_tests::repo::tawi());
    command.arg("up").arg("--data").arg(node.data()).args(["--listen", "127.0.0.1:0"]).stdout(log.try_clone().unwrap()).stderr(log);
    let mut child = command.spawn().unwrap();
    let status = wait_until("the second node to refuse", SOON, || child.try_wait().unwrap().ok_or("it runs"));
    let said = std::fs::read_to_string(&out).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("--data"), "it says what to do: {said}");
    node.client().reading("d", "s", 1);
}

#[test]
fn a_wrong_configuration_is_refused_with_every_mistake() {
    let out = tawi_platform_tests::Ran::run(std::process::Command::new(tawi_platform_tests::repo::tawi()).args([
        "up",
        "--data",
        "/dev/null/x",
        "--listen",
        "nowhere",
        "--ledger",
        "kafka://x",
    ]))
    .refused();
    assert!(out.stderr.contains("nowhere") && out.stderr.contains("kafka://x"), "{out}");
}

/// Many connections at once: all are answered, none of them lost.
#[test]
fn a_crowd_of_devices_is_served() {
    let node = Node::start();
    let addr = node.authority().parse().unwrap();
    let (shots, _) = load::closed_loop(addr, 2000, 64, |i| {
        load::request("POST", &format!("/api/v2/devices/d{}/sensors/s/value", i % 100), node.token(), &format!("{{\"value\":{i}}}"))
    });
    assert!(shots.iter().all(|shot| shot.status == Some(204)));
    wait_for("all of them in history", SOON, || node.history_count("sensor:s"), |n| *n == 2000);
}
