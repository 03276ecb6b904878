//! Commands for actuators: effects like the others, queued when the call succeeds.

use serde_json::json;
use tawi_platform_tests::{App, Node};

#[test]
fn a_command_is_queued_for_its_actuator_with_an_id() {
    let node = Node::start();
    let app = App::prebuilt("probe-command");
    app.push(&node);
    let commands = node.subscribe("command.>");
    let order = json!({"device": "pump1", "actuator": "valve", "value": "open"}).to_string();
    let answer = node.client().post(&app.run_path("/"), &order).expect(200).json();
    let command = commands.next();
    assert_eq!(command["subject"], "command.pump1.valve");
    assert!(command.to_string().contains(answer["id"].as_str().unwrap()), "{command} carries {answer}");

    node.client().reading("s1", "command", json!({"device": "pump1", "actuator": "valve", "value": {"open": 0.5}}));
    assert_eq!(commands.next()["subject"], "command.pump1.valve");
}

#[test]
fn another_device_is_not_granted() {
    let node = Node::start();
    let app = App::prebuilt("probe-command");
    app.push(&node);
    let answer = node.client().post(&app.run_path("/"), json!({"device": "pump2", "actuator": "valve"}).to_string()).expect(200).json();
    assert_eq!(answer["kind"], "Denied");
    assert!(answer["reason"].as_str().unwrap().contains("pump2"), "{answer}");
}
