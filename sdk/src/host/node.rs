//! The node, by way of the generated bindings.

use crate::bindings::guest::{tawi::app as wit, wasi};
use crate::{
    Error, ErrorKind, Result, Timestamp, Value,
    history::{Found, Query},
    log::Level,
};
use wasi::logging::logging;
use wit::types;

impl From<types::Value> for Value {
    fn from(value: types::Value) -> Value {
        match value {
            types::Value::Json(text) => Value::Json(text),
            types::Value::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

impl From<Value> for types::Value {
    fn from(value: Value) -> types::Value {
        match value {
            Value::Json(text) => types::Value::Json(text),
            Value::Bytes(bytes) => types::Value::Bytes(bytes),
        }
    }
}

fn refused(error: types::Error) -> Error {
    match error {
        types::Error::Denied(text) => Error::of(ErrorKind::Denied, text),
        types::Error::Invalid(text) => Error::of(ErrorKind::Invalid, text),
        types::Error::Limit(text) => Error::of(ErrorKind::Limit, text),
        types::Error::Unavailable(text) => Error::of(ErrorKind::Unavailable, text),
    }
}

pub fn publish(subject: &str, value: Value) -> Result {
    wit::publish::publish(subject, &value.into()).map_err(refused)
}

pub fn command(device: &str, actuator: &str, value: Value) -> Result<String> {
    wit::command::send(device, actuator, &value.into()).map_err(refused)
}

pub fn state_get(key: &str) -> Result<Option<Vec<u8>>> {
    wit::state::get(key).map_err(refused)
}

pub fn state_set(key: &str, value: &[u8]) -> Result {
    wit::state::set(key, value).map_err(refused)
}

pub fn state_delete(key: &str) -> Result {
    wit::state::delete(key).map_err(refused)
}

pub fn state_entries(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, Vec<u8>)>> {
    let entries = wit::state::entries(prefix, after, limit).map_err(refused)?;
    Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
}

fn query(query: &Query) -> wit::history::Query {
    wit::history::Query {
        text: query.text.clone(),
        from: query.from.map(Timestamp::micros),
        to: query.to.map(Timestamp::micros),
        limit: query.limit,
        offset: query.offset,
    }
}

pub fn search(wanted: &Query) -> Result<Vec<Found>> {
    let found = wit::history::search(&query(wanted)).map_err(refused)?;
    let found = found.into_iter().map(|it| Found {
        subject: it.subject,
        device: it.device,
        sensor: it.sensor,
        value: it.value.into(),
        measured: Timestamp::from_micros(it.measured),
        received: Timestamp::from_micros(it.received),
        sequence: it.sequence,
    });
    Ok(found.collect())
}

pub fn count(wanted: &Query) -> Result<u64> {
    wit::history::count(&query(wanted)).map_err(refused)
}

pub fn secret(name: &str) -> Result<Option<String>> {
    wit::secrets::get(name).map_err(refused)
}

/// The standard interface has no word for a refusal, so its errors all say "not now".
fn no_config(error: wasi::config::store::Error) -> Error {
    let (wasi::config::store::Error::Upstream(text) | wasi::config::store::Error::Io(text)) = error;
    Error::of(ErrorKind::Unavailable, text)
}

pub fn config(key: &str) -> Result<Option<String>> {
    wasi::config::store::get(key).map_err(no_config)
}

pub fn config_all() -> Result<Vec<(String, String)>> {
    wasi::config::store::get_all().map_err(no_config)
}

pub fn log(level: Level, context: &str, message: &str) {
    let level = match level {
        Level::Trace => logging::Level::Trace,
        Level::Debug => logging::Level::Debug,
        Level::Info => logging::Level::Info,
        Level::Warn => logging::Level::Warn,
        Level::Error => logging::Level::Error,
    };
    logging::log(level, context, message);
}

pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

pub(crate) use crate::http::fetch_from_node as fetch;
