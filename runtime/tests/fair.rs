//! Functions that take their time, and everybody else: real engine, real guests, real embedded ledger.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{fmt::Write, time::Duration};
use support::{Floor, app, function, reading};
use tawi_runtime::model::{
    Kind,
    limit::{EVENT_CALLS_PER_APP_PERCENT, EVENT_CALLS_PERCENT},
};

const ALERT: &str = r#"
[app]
name = "threshold-alert"
[[on]]
name = "alert"
subject = "reading.*.temp"
[grant]
publish = ["alerts.>"]
config = true
[config]
threshold = "8"
"#;

/// An app of several functions that sleep until their time is over.
fn sleepers(functions: usize) -> String {
    let mut manifest = "[app]\nname = \"bad-habits\"\n".to_owned();
    for n in 0..functions {
        write!(manifest, "[[on]]\nname = \"sleep{n}\"\nsubject = \"reading.*.bad\"\ntimeout = \"4s\"\ndelivery = {{ retry = 0 }}\n")
            .unwrap();
    }
    manifest + "[grant]\nstate = true\npublish = [\"habits.>\"]\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_functions_of_one_app_leave_instances_for_others_and_for_requests() {
    let floor = Floor::open().await;
    let all = floor.engine.instances_max as usize;
    floor.deploy("bad-habits", &sleepers(8)).await;
    floor.deploy("threshold-alert", ALERT).await;
    // Each of the eight could have a quarter of all instances.
    floor.append((0..2 * all).map(|n| reading(&format!("d{n}"), "bad", "\"sleep\"")).collect()).await;
    let most = all * EVENT_CALLS_PER_APP_PERCENT / 100;
    let taken = async {
        while all - floor.engine.permits_free() < most {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3), taken).await.expect("the sleepers take what they may have");
    // Others have their turn while all of those sleep.
    floor.append((0..50).map(|n| reading(&format!("fridge{n}"), "temp", "9")).collect()).await;
    floor.events(Kind::Message, 50).await;
    assert!(floor.ledger.dead(Some(&app("bad-habits")), None, 1).unwrap().is_empty(), "not one of them has ended yet");
    let free = floor.engine.permits_free();
    assert!(free * 100 >= all * (100 - EVENT_CALLS_PERCENT), "{free} of {all} are left");
    assert!(all - free <= most + 2, "{free} of {all} are left");
    floor.settled(&function("threshold-alert", "alert")).await;
}
