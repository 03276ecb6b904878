//! What devices send in bytes: decoded before it is a reading, or kept until it can be.

use tawi_platform_tests::{App, Ledger, Node};

const LPP: [(&str, &str); 1] = [("content-type", "application/x-lpp")];

#[test]
fn an_uplink_is_readings_or_a_dead_letter_and_neither_is_lost_on_the_embedded_ledger() {
    an_uplink_is_readings_or_a_dead_letter_and_neither_is_lost(Ledger::Embedded);
}

#[test]
fn an_uplink_is_readings_or_a_dead_letter_and_neither_is_lost_on_jetstream() {
    an_uplink_is_readings_or_a_dead_letter_and_neither_is_lost(Ledger::Jetstream);
}

fn an_uplink_is_readings_or_a_dead_letter_and_neither_is_lost(ledger: Ledger) {
    let mut node = Node::on(ledger);
    App::prebuilt("codec-example").push(&node);
    let client = node.client();
    client.send("POST", "/api/v1/devices/d1/uplink", &LPP, &[3, 0x67, 1, 0x10]).expect(204);
    let note = client.send("POST", "/api/v1/devices/d1/uplink?port=2", &LPP, &[3, 0x67, 1]).expect(202).json();
    assert_eq!(note["undecoded"], "byte 2: temperature has 2 bytes, 1 are left");
    let letter = note["dead_letter"].as_str().unwrap().to_owned();

    node.kill9();
    node.start_again();
    let client = node.client();
    let value = client.get("/api/v2/devices/d1/sensors/temperature_3").expect(200).json();
    assert_eq!(value["value"]["value"], 27.2);
    let (function, sequence) = letter.rsplit_once('/').unwrap();
    assert_eq!(function, "cayenne-lpp/codec");
    let kept = client.get(&format!("/api/v1/apps/cayenne-lpp/dead/codec/{sequence}")).expect(200).json();
    assert_eq!((&kept["event"]["subject"], &kept["event"]["value"]["bytes"]), (&"uplink.d1.2".into(), &"036701".into()));
    // It can be tried again as often as somebody likes, and stays until it can be read.
    let replay = format!("/api/v1/apps/cayenne-lpp/dead/codec/{sequence}/replay");
    assert_eq!(client.send("POST", &replay, &[], &[]).expect(422).json()["type"], "urn:tawi:problem:undecodable");
    client.get(&format!("/api/v1/apps/cayenne-lpp/dead/codec/{sequence}")).expect(200);
}
