//! Functions that take what they can get. Each ends alone, and when it has ended all it took is back. The only test of its binary, so
//! that the memory of the process is its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;
use support::{Floor, app, function, reading, resident_bytes};
use tawi_runtime::{
    engine::EngineOptions,
    ledger::{LedgerConfig, LedgerOptions},
    model::{Kind, limit::LOG_LINES_MAX},
};

/// Instances of the node: fewer than there are guests that misbehave at a time.
const INSTANCES: u32 = 4;
/// What all guests have together: less than one of them eats in each of its rounds, if any of it stayed away.
const GUEST_MEMORY: usize = 64 << 20;
/// Times that each habit is had at once, by so many devices.
const DEVICES: usize = 6;
const ROUNDS: usize = 2;
/// How much more the process may have after the last round than after the first: what the ledger's file and the allocator keep. One
/// call's memory that stayed away each time would be `DEVICES` times 16 MiB.
const RESIDENT_MORE_MAX: u64 = 48 << 20;

/// What is done without end, and a word of the reason it ends for.
const HABITS: [(&str, &str); 9] = [
    ("spin", "time"),
    ("recurse", "stack"),
    ("allocate", "memory"),
    ("sleep", "time"),
    ("log", "time"),
    ("print", "time"),
    ("publish", "time"),
    ("write", "time"),
    ("read", "time"),
];

const HABIT: &str = r#"
[app]
name = "bad-habits"
[[on]]
name = "event"
subject = "reading.*.bad"
timeout = "100ms"
delivery = { retry = 0 }
[grant]
state = true
publish = ["habits.>"]
[limits]
memory = "16MiB"
"#;

const STARTS: &str = r#"
[app]
name = "starts"
[[on]]
name = "event"
subject = "reading.*.bad"
delivery = { retry = 1, backoff-delay = "1ms" }
"#;

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

const LARGE: &str = r#"
[app]
name = "large"
[[on]]
name = "event"
subject = "nothing.>"
[limits]
memory = "63MiB"
"#;

/// Starts well when it is pushed, where the clock stands at the beginning of time, and never again.
fn panics_in_start() -> Vec<u8> {
    wat::parse_str(
        r#"(component
            (import "wasi:clocks/wall-clock@0.2.0" (instance $clock
                (type $record (record (field "seconds" u64) (field "nanoseconds" u32)))
                (export "datetime" (type $datetime (eq $record)))
                (export "now" (func (result $datetime)))))
            (core module $memory (memory (export "memory") 1))
            (core instance $memory (instantiate $memory))
            (core func $now (canon lower (func $clock "now") (memory $memory "memory")))
            (core module $m
                (import "clock" "now" (func $now (param i32)))
                (import "memory" "memory" (memory 1))
                (func $start
                    (call $now (i32.const 0))
                    (if (i64.gt_u (i64.load (i32.const 0)) (i64.const 0)) (then unreachable)))
                (start $start)
                (func (export "handle")))
            (core instance $i (instantiate $m
                (with "clock" (instance (export "now" (func $now))))
                (with "memory" (instance $memory))))
            (func $h (canon lift (core func $i "handle")))
            (instance $e (export "handle" (func $h)))
            (export "tawi:app/event-handler@0.1.0" (instance $e)))"#,
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_function_takes_is_back_when_it_has_ended_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = LedgerConfig::Embedded { dir: dir.path().join("ledger"), options: LedgerOptions::default() };
    let options = EngineOptions { instances_max: INSTANCES, guest_memory_bytes_max: Some(GUEST_MEMORY), ..EngineOptions::default() };
    let floor = Floor::open_with(dir, config, options).await;
    floor.deploy("bad-habits", HABIT).await;
    floor.deploy_component(&panics_in_start(), STARTS).await;
    floor.deploy("threshold-alert", ALERT).await;
    let mut alerts = 0;
    let mut dead = 0;
    let mut first = 0;
    for round in 0..ROUNDS {
        for (habit, why) in HABITS {
            let sick = (0..DEVICES).map(|n| reading(&format!("sick{n}"), "bad", &format!("\"{habit}\"")));
            let well = (0..DEVICES).map(|n| reading(&format!("well{n}"), "temp", "9"));
            floor.append(sick.chain(well).collect()).await;
            alerts += DEVICES;
            floor.events(Kind::Message, alerts).await;
            // Of two functions: the one with the habit, and the one that does not start.
            dead += 2 * DEVICES as u64;
            floor.counts_dead(dead).await;
            let letters = floor.ledger.dead(Some(&app("bad-habits")), None, usize::try_from(dead).unwrap()).unwrap();
            let last = &letters.last().unwrap().error;
            assert!(last.contains(why), "{habit}: {last}");
        }
        first = if round == 0 { resident_bytes() } else { first };
    }
    for (name, entry) in [("bad-habits", "event"), ("starts", "event"), ("threshold-alert", "alert")] {
        floor.settled(&function(name, entry)).await;
    }
    // Nothing of what they did counts: no message, no state, and of their words no more than a call may say.
    assert_eq!(floor.all(Kind::Message).len(), alerts);
    assert_eq!(floor.ledger.state_entries(&app("bad-habits"), "", None, 1).unwrap(), []);
    let lines = floor.all(Kind::Log).iter().filter(|event| event.subject.as_str().starts_with("log.bad-habits")).count();
    assert!(lines <= ROUNDS * HABITS.len() * DEVICES * (LOG_LINES_MAX + 2), "{lines}");
    let starts = &floor.ledger.dead(Some(&app("starts")), None, 1).unwrap()[0];
    assert!(starts.error.contains("unreachable") && starts.attempts == 2, "{starts:?}");

    assert_eq!(floor.engine.permits_free(), INSTANCES as usize);
    let resident = resident_bytes();
    assert!(resident <= first + RESIDENT_MORE_MAX, "{resident} bytes resident, {first} after the first round");
    // Whoever wants nearly all of the node's memory for guests has it: when it is deployed an instance of it is made.
    let large = support::handler("(memory 1000)");
    let deployed = tokio::time::timeout(Duration::from_secs(60), floor.deploy_component(&large, LARGE)).await;
    deployed.expect("no memory of guests is back");
}
