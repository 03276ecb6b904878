//! Devices as an operator with a list of them has them, and as a farmer who bought one.

use serde_json::{Value, json};
use std::{fmt::Write, fs};
use tawi_platform_tests::{Node, Ran};

const PASSWORD: &str = "correct horse";

fn add_user(node: &Node, name: &str) {
    node.client().post("/api/v2/users", json!({ "username": name, "password": PASSWORD }).to_string()).expect(200);
}

/// What logging in with a password gives: a session.
fn log_in(node: &Node, user: &str) -> String {
    node.client().post("/api/v2/auth/token", json!({ "username": user, "password": PASSWORD }).to_string()).expect(200).text()
}

fn tawi_in(node: &Node, session: &str, words: &[&str]) -> Ran {
    Ran::run(node.command().env("TAWI_TOKEN", session).args(words))
}

fn device(node: &Node, id: &str) -> Value {
    node.client().get(&format!("/api/v2/devices/{id}")).expect(200).json()
}

/// Three hundred ponds with two sensors each; every third has a pump.
fn table() -> String {
    let mut table = "device,owner,visibility,latitude,longitude,tags,sensor,sensor_kind,quantity_kind,unit,actuator\n".to_owned();
    for n in 0..300 {
        let pump = if n % 3 == 0 { "pump" } else { "" };
        writeln!(table, "pond{n},ada,private,5.{n},-4.0083,river,t,Thermometer,WaterTemperature,DegreeCelsius,").unwrap();
        writeln!(table, "pond{n},,,,,,ph,,,,{pump}").unwrap();
    }
    table
}

#[test]
fn a_list_of_devices_is_imported_whole_or_not_at_all_and_a_second_time_changes_nothing() {
    let node = Node::start();
    add_user(&node, "ada");
    let file = node.scratch().join("ponds.csv");
    let import = |flags: &[&str]| {
        let mut command = node.command();
        Ran::run(command.args(["devices", "import", "ponds.csv"]).args(flags))
    };

    // One bad line in the middle: it is named, and nothing was sent.
    fs::write(&file, table().replace("pond200,,", "pond 200,,")).unwrap();
    let refused = import(&[]).refused();
    assert!(refused.stderr.contains("line 403: `device`") && refused.stderr.contains("nothing was sent"), "{refused}");
    assert_eq!(node.client().get("/api/v2/devices").expect(200).json(), json!([]));

    fs::write(&file, table()).unwrap();
    assert_eq!(import(&["--check"]).ok().stdout, "300 devices, and nothing is wrong with them\n");
    // It broke off once: some are there already, and one was found by what it sent.
    node.tawi(&["devices", "add", "pond7", "--name", "Seven"]).ok();
    node.client().reading("pond8", "t", 9.5);
    let first = import(&[]).ok();
    assert_eq!(first.stdout, "300 devices: 299 registered, 0 changed, 1 left as they are\n");
    assert!(first.stderr.contains("200 of 300 devices"), "{first}");
    let (seven, nine) = (device(&node, "pond7"), device(&node, "pond9"));
    assert!(seven["name"] == "Seven" && seven["owner"].is_null(), "{seven}");
    assert_eq!((&nine["owner"], &nine["visibility"], &nine["location"]["latitude"]), (&json!("ada"), &json!("private"), &json!(5.9)));
    assert_eq!((&nine["sensors"][0]["unit"], &nine["sensors"][1]["id"]), (&json!("DegreeCelsius"), &json!("ph")));
    assert_eq!((&nine["actuators"][0]["id"], &nine["meta"]["tags"]), (&json!("pump"), &json!(["river"])));

    let again = import(&["--update"]).ok();
    assert_eq!(again.stdout, "300 devices: 0 registered, 1 changed, 299 left as they are\n");
    let seven = device(&node, "pond7");
    assert!(seven["name"] == "Seven" && seven["owner"] == "ada" && seven["sensors"][1]["id"] == "ph", "{seven}");
    let before = device(&node, "pond299");
    assert_eq!(import(&["--update", "--json"]).ok().json(), json!({ "devices": 300, "registered": 0, "changed": 0, "left": 300 }));
    assert_eq!(device(&node, "pond299"), before);

    // What one node lists, another takes.
    let other = Node::start();
    add_user(&other, "ada");
    let listed = node.tawi(&["devices", "list", "--json", "--limit", "1000"]).ok();
    fs::write(other.scratch().join("ponds.json"), listed.stdout).unwrap();
    let taken = other.tawi(&["devices", "import", "ponds.json", "--json"]).ok();
    assert_eq!(taken.json()["registered"], 300);
    assert_eq!(device(&other, "pond9")["sensors"][0]["sensor_kind"], "Thermometer");
}

#[test]
fn what_the_node_refuses_ends_an_import_at_its_line() {
    let node = Node::start();
    add_user(&node, "ada");
    let ada = log_in(&node, "ada");
    let write = |owner: &str| fs::write(node.scratch().join("two.csv"), format!("device,name,owner\na,A,\nb,B,{owner}\n")).unwrap();
    let import = |flags: &[&str]| tawi_in(&node, &ada, &[&["devices", "import", "two.csv", "--json"], flags].concat());
    write("bob");
    let nobody = import(&[]).refused();
    assert!(nobody.stderr.contains("line 3: there is no user `bob`") && nobody.stderr.contains("nothing was sent"), "{nobody}");

    // A device of somebody else, which she may not even see.
    write("");
    node.tawi(&["devices", "add", "b", "--private"]).ok();
    assert_eq!(import(&[]).ok().json(), json!({ "devices": 2, "registered": 1, "changed": 0, "left": 1 }));
    let forbidden = import(&["--update"]).refused();
    assert!(forbidden.stderr.contains("line 3: device `b`") && forbidden.stderr.contains("of 2 devices are done"), "{forbidden}");
}

#[test]
fn a_user_claims_a_device_with_the_code_that_came_with_it() {
    let node = Node::start();
    ["ada", "bob"].into_iter().for_each(|name| add_user(&node, name));
    let (ada, bob) = (log_in(&node, "ada"), log_in(&node, "bob"));
    let code = node.tawi(&["devices", "add", "pump", "--private", "--claim"]).ok().stdout.trim().to_owned();
    let token = node.tawi(&["devices", "claim", &code]).refused();
    assert!(token.stderr.contains("only a user claims a device") && token.stderr.contains("--user NAME"), "{token}");
    let wrong = tawi_in(&node, &ada, &["devices", "claim", "nothing-of-the-kind"]).refused();
    assert!(wrong.stderr.contains("code"), "{wrong}");
    assert_eq!(tawi_in(&node, &ada, &["devices", "claim", &code]).ok().stdout, "`pump` is yours\n");
    assert_eq!(device(&node, "pump")["owner"], "ada");
    // It is hers, and the code is used up.
    tawi_in(&node, &bob, &["devices", "claim", &code]).refused();
    tawi_in(&node, &bob, &["devices", "show", "pump"]).refused();
    tawi_in(&node, &ada, &["devices", "show", "pump"]).ok();
}
