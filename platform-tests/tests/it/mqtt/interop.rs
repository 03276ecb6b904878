//! What Eclipse Paho's interoperability tests look at in any broker, as far as it applies to one whose topics are devices, with Paho's
//! client for Python. What does not apply, and why, is in docs/formats/mqtt.md.

use super::paho_command;
use tawi_platform_tests::{
    Node, Ran,
    mqtt::{Device, connect},
};

/// Runs one check, in both versions where it is the same in both.
fn check(name: &str) {
    let node = Node::start();
    let ran = Ran::run(&mut paho_command("paho_interop.py", &[name, node.mqtt(), node.token()])).ok();
    assert!(ran.stdout.ends_with("ok\n"), "{ran}");
}

#[test]
fn what_is_published_with_each_quality_is_delivered() {
    check("basic");
}

#[test]
fn current_values_are_retained_and_an_empty_publish_takes_none_away() {
    check("retained");
}

#[test]
fn what_came_while_a_client_was_away_is_there_when_it_comes_back() {
    check("offline");
}

#[test]
fn a_will_is_published_when_its_client_vanishes_and_not_when_it_says_goodbye() {
    check("will");
}

#[test]
fn filters_that_overlap_deliver_once() {
    check("overlapping");
}

#[test]
fn who_says_nothing_for_longer_than_its_keep_alive_is_gone_and_its_will_is_made() {
    check("keepalive");
}

#[test]
fn what_was_not_acknowledged_is_delivered_again_and_marked() {
    check("redelivery");
}

#[test]
fn a_client_without_an_id_is_given_one_and_its_session_does_not_last() {
    check("zero_length_id");
    // Version 3.1.1 can't be told of an id, so there is nothing for it to come back with.
    let node = Node::start();
    let mut nameless = std::net::TcpStream::connect(node.mqtt()).map(Device::on).unwrap().unwrap();
    nameless.send(&connect("", None, 60, false)).unwrap();
    assert_eq!(nameless.packet().unwrap(), (0x20, vec![0, 2]));
}

#[test]
fn a_filter_that_is_none_is_refused_and_those_beside_it_are_granted() {
    check("subscribe_failure");
}

#[test]
fn a_topic_that_begins_with_a_dollar_is_nobodys() {
    check("dollar_topics");
}
