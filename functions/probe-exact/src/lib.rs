//! Keeps accounts that must come out even: readings by device in the order of the log, the messages that told of them, and one
//! number that everybody adds to. Fails where a reading asks for it.

use serde::{Deserialize, Serialize};
use tawi::http::{self, Request, Response};
use tawi::{Error, Event, json, publish, state};

#[derive(Deserialize)]
struct Order {
    n: u64,
    /// `retry`: well at the second attempt. `trap`: never. `reject`: dead at once.
    #[serde(default)]
    then: String,
}

/// Under `device/DEVICE`, and `heard/DEVICE` for the messages.
#[derive(Serialize, Deserialize, Default)]
struct Account {
    count: u64,
    sum: u64,
    /// The log's sequence of the last one.
    last: u64,
    /// Those that came after a later one.
    disorder: u64,
}

impl Account {
    fn add(key: &str, n: u64, sequence: u64) -> tawi::Result {
        let mut account: Account = state::get(key)?.unwrap_or_default();
        account.count += 1;
        account.sum += n;
        account.disorder += u64::from(sequence <= account.last);
        account.last = sequence;
        state::set(key, &account)
    }
}

#[tawi::event]
fn event(event: Event) -> tawi::Result {
    match event.function() {
        "count" => count(&event),
        "hear" => hear(&event),
        _ => hit().map(drop),
    }
}

fn count(event: &Event) -> tawi::Result {
    let device = event.reading()?.device.to_string();
    let order: Order = event.value()?;
    // Before it fails, so that effects of a failed attempt would show.
    Account::add(&format!("device/{device}"), order.n, event.sequence())?;
    publish(&format!("exact.{device}"), &json!({"device": device, "n": order.n}))?;
    match order.then.as_str() {
        "retry" if event.attempt() < 2 => Err(Error::retry("as told")),
        "reject" => Err(Error::reject("as told")),
        "trap" => panic!("as told"),
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
struct Told {
    device: String,
    n: u64,
}

fn hear(event: &Event) -> tawi::Result {
    let told: Told = event.value()?;
    Account::add(&format!("heard/{}", told.device), told.n, event.sequence())
}

fn hit() -> tawi::Result<u64> {
    let count = state::get::<u64>("hot")?.unwrap_or(0) + 1;
    state::set("hot", &count)?;
    Ok(count)
}

#[tawi::http]
fn serve(_request: Request) -> tawi::Result<Response> {
    http::json(&hit()?)
}
