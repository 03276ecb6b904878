//! Does without end what its reading names, whatever the node answers.

use std::hint::black_box;
use std::time::Duration;
use tawi::{Event, log, publish, state};

#[tawi::event]
fn event(event: Event) -> tawi::Result {
    match event.value::<String>()?.as_str() {
        "spin" => loop {
            black_box(0);
        },
        "recurse" => drop(recurse(0)),
        "allocate" => allocate(),
        "sleep" => std::thread::sleep(Duration::from_secs(3_600)),
        "log" => loop {
            log::info!("{}", "and on ".repeat(100));
        },
        "print" => loop {
            println!("{}", "and on ".repeat(100));
        },
        "publish" => loop {
            // Refused from some moment on; it goes on all the same.
            let _ = publish("habits.flood", &"x".repeat(1_000));
        },
        "write" => (0_u64..).for_each(|n| drop(state::set(&format!("flood/{n}"), &"x".repeat(1_000)))),
        "read" => (0_u64..).for_each(|n| drop(state::get::<String>(&format!("{}/{n}", "long".repeat(100))))),
        _ => {}
    }
    Ok(())
}

/// Each step has something on the stack that is used after the next one.
fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX {
        return 0;
    }
    let kept = black_box([depth; 64]);
    recurse(black_box(depth + 1)) + kept.iter().sum::<u64>()
}

fn allocate() {
    let mut eaten = Vec::new();
    loop {
        // Ones, not zeros: memory that nobody wrote to is not taken yet.
        eaten.push(black_box(vec![1_u8; 1 << 16]));
    }
}
