//! The fake host of `testing`, for native unit tests.

use crate::testing::world;
use crate::{
    Result, Timestamp, Value,
    history::{Found, Query},
    http::{Request, Response},
    log::Level,
};

pub fn publish(subject: &str, value: Value) -> Result {
    world(|world| world.publish(subject, value))
}

pub fn command(device: &str, actuator: &str, value: Value) -> Result<String> {
    world(|world| world.command(device, actuator, value))
}

pub fn state_get(key: &str) -> Result<Option<Vec<u8>>> {
    world(|world| world.state_get(key))
}

pub fn state_set(key: &str, value: &[u8]) -> Result {
    world(|world| world.state_write(key, Some(value)))
}

pub fn state_delete(key: &str) -> Result {
    world(|world| world.state_write(key, None))
}

pub fn state_entries(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, Vec<u8>)>> {
    world(|world| Ok(world.state_entries(prefix, after, limit)))
}

pub fn search(query: &Query) -> Result<Vec<Found>> {
    world(|world| world.search(query))
}

pub fn count(query: &Query) -> Result<u64> {
    world(|world| world.count(query))
}

pub fn secret(name: &str) -> Result<Option<String>> {
    world(|world| Ok(world.secrets.get(name).cloned()))
}

pub fn config(key: &str) -> Result<Option<String>> {
    world(|world| Ok(world.config.get(key).cloned()))
}

pub fn config_all() -> Result<Vec<(String, String)>> {
    world(|world| Ok(world.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect()))
}

pub fn log(level: Level, context: &str, message: &str) {
    world(|world| world.log(level, context, message));
}

pub fn now() -> Timestamp {
    world(|world| world.clock)
}

pub fn fetch(request: Request) -> Result<Response> {
    // The answer is a function of the test's own, which may use the host: it must not be called while the world is borrowed.
    let answer = world(|world| world.answer.clone());
    crate::testing::fetch(answer, request)
}
