//! Failure, in order: retries that hold up nobody else, dead letters that lose nothing.

use serde_json::{Value, json};
use tawi_platform_tests::{
    App, Ledger, Node,
    app::set_on,
    operator::{number, text},
    wait::SOON,
    wait_for,
};

fn node_with_probe(ledger: Ledger) -> Node {
    let node = Node::on(ledger);
    App::prebuilt("probe-event").push(&node);
    node
}

/// The attempt and the value that an echo tells of. Only attempts that succeed are seen: an echo is an effect.
fn told(echo: &Value) -> (u64, Value) {
    let echo = &echo["value"];
    (number(echo, "attempt"), serde_json::from_str(echo["value"].as_str().unwrap()).unwrap())
}

#[test]
fn a_retry_holds_up_its_own_device_and_nobody_else_on_the_embedded_ledger() {
    a_retry_holds_up_its_own_device_and_nobody_else(Ledger::Embedded);
}

#[test]
fn a_retry_holds_up_its_own_device_and_nobody_else_on_jetstream() {
    a_retry_holds_up_its_own_device_and_nobody_else(Ledger::Jetstream);
}

fn a_retry_holds_up_its_own_device_and_nobody_else(ledger: Ledger) {
    let node = node_with_probe(ledger);
    let echoes = node.subscribe("probe.echo.>");
    let client = node.client();
    // All is well from the third attempt on, and until then the later reading of the same device waits.
    client.reading("sick", "event", json!({"n": 1, "then": "retry", "until": 3, "after_ms": 1000}));
    client.reading("sick", "event", json!({"n": 2}));
    for n in 3..=20 {
        client.reading("well", "event", json!({"n": n}));
    }
    let seen: Vec<(u64, u64)> = echoes.take(20).iter().map(told).map(|(attempt, value)| (number(&value, "n"), attempt)).collect();
    let well: Vec<(u64, u64)> = (3..=20).map(|n| (n, 1)).collect();
    assert_eq!(seen[..18], well, "the well device did not wait");
    assert_eq!(seen[18..], [(1, 3), (2, 1)], "the sick one kept its order");
}

#[test]
fn a_retry_that_waits_survives_a_kill() {
    let mut node = node_with_probe(Ledger::Embedded);
    node.client().reading("sick", "event", json!({"n": 1, "then": "retry", "until": 2, "after_ms": 3000}));
    node.client().reading("sick", "event", json!({"n": 2}));
    wait_for("both to be parked", SOON, || node.parked("probe-event"), |n| *n == 2);
    node.kill9();
    node.start_again();
    let echoes = node.subscribe("probe.echo.>");
    let seen: Vec<_> = echoes.take(2).iter().map(told).map(|(attempt, value)| (number(&value, "n"), attempt)).collect();
    assert_eq!(seen, [(1, 2), (2, 1)]);
}

#[test]
fn after_its_last_attempt_an_event_is_a_dead_letter_with_all_that_helps() {
    let node = node_with_probe(Ledger::Embedded);
    let echoes = node.subscribe("probe.echo.>");
    let client = node.client();
    client.reading_at("sick", "event", json!({"n": 1, "then": "retry"}), "2026-01-31T08:30:00Z");
    client.reading("sick", "event", json!({"n": 2}));
    assert_eq!(told(&echoes.next()).1["n"], 2, "the device goes on");

    let dead = node.wait_for_dead("probe-event", 1);
    assert_eq!(dead[0].function, "readings");
    assert!(dead[0].error.contains("as told"), "{dead:?}");
    let letter = node.dead_show(&dead[0]);
    assert_eq!(number(&letter, "attempts"), 3);
    let all = letter.to_string();
    for part in ["sick", "2026-01-31T08:30:00Z", "as told"] {
        assert!(all.contains(part), "`{part}` is not in {all}");
    }
}

#[test]
fn a_rejected_event_is_dead_at_once() {
    let node = node_with_probe(Ledger::Embedded);
    node.client().reading("sick", "event", json!({"then": "reject"}));
    let dead = node.wait_for_dead("probe-event", 1);
    assert_eq!(number(&node.dead_show(&dead[0]), "attempts"), 1);
}

#[test]
fn a_dead_letter_is_dropped_or_replayed_and_may_die_again() {
    let node = node_with_probe(Ledger::Embedded);
    let client = node.client();
    for n in 1..=2 {
        client.reading("sick", "event", json!({"n": n, "then": "trap"}));
    }
    let dead = node.wait_for_dead("probe-event", 2);
    node.dead_drop(&dead[0]);
    assert_eq!(node.dead("probe-event"), dead[1..]);
    node.dead_command("replay", &dead[0]).refused();

    let died = node.dead_show(&dead[1]);
    node.dead_replay(&dead[1]);
    let again = || node.dead("probe-event").first().map(|letter| node.dead_show(letter));
    wait_for("the second death", SOON, again, |letter| letter.as_ref().is_some_and(|letter| letter["time"] != died["time"]));
}

/// The next release is the cure: what died with the old one is replayed with the new.
#[test]
fn what_died_with_one_release_is_replayed_with_the_next() {
    let node = Node::start();
    let app = App::prebuilt_as("bad-trap", "cured");
    app.push(&node);
    node.client().reading("d", "bad", json!({"n": 1}));
    let dead = node.wait_for_dead("cured", 1);

    let cure = App::prebuilt_as("probe-event", "cured");
    cure.manifest(|m| {
        m["on"].as_array_mut().unwrap().truncate(1);
        set_on(m, "name", "event");
        set_on(m, "subject", "reading.*.bad");
    });
    app.write("tawi.toml", cure.read("tawi.toml"));
    std::fs::copy(cure.dir().join("app.wasm"), app.dir().join("app.wasm")).unwrap();
    app.commit("the cure");
    app.push(&node);
    let echoes = node.subscribe("probe.echo.>");
    node.dead_replay(&dead[0]);
    assert_eq!(told(&echoes.next()).1["n"], 1);
    wait_for("no dead letters", SOON, || node.dead("cured"), Vec::is_empty);
    assert_eq!(text(&node.releases("cured")[0], "summary"), "the cure");
}
