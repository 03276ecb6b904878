//! Keys and records as they lie in the view: `docs/formats/ledger.md`.

use super::LedgerError;
use crate::model::{AppId, FunctionId, Id, Seq, uplink::CODEC};
use serde::{Serialize, de::DeserializeOwned};

/// First byte of every record. A reader refuses a version it doesn't know; a new one keeps reading the old.
pub(super) const RECORD_VERSION: u8 = 1;

/// Ends each id of a key. Ids hold no control characters, so no id can run into the next and order is kept.
const END: u8 = 0;

/// Writes a record into `buffer`, which is used again and again by one writer.
pub(super) fn encode<'b>(buffer: &'b mut Vec<u8>, record: &impl Serialize) -> Result<&'b [u8], LedgerError> {
    buffer.clear();
    *buffer = encode_behind(std::mem::take(buffer), record)?;
    Ok(buffer)
}

/// Writes a record behind what `buffer` holds.
pub(super) fn encode_behind(mut buffer: Vec<u8>, record: &impl Serialize) -> Result<Vec<u8>, LedgerError> {
    buffer.push(RECORD_VERSION);
    postcard::to_extend(record, buffer).map_err(|e| LedgerError::Format(format!("what it is to write: {e}")))
}

/// `what` names the record when it can't be read.
pub(super) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, LedgerError> {
    match bytes.split_first() {
        Some((&RECORD_VERSION, body)) => postcard::from_bytes(body).map_err(|e| LedgerError::Format(format!("{what}: {e}"))),
        Some((version, _)) => Err(LedgerError::Format(format!("{what} of version `{version}`: this Tawi knows up to `{RECORD_VERSION}`"))),
        None => Err(LedgerError::Format(format!("{what}: it is empty"))),
    }
}

fn ids(parts: &[&Id]) -> Vec<u8> {
    let mut key = Vec::with_capacity(parts.iter().map(|id| id.as_str().len() + 1).sum::<usize>() + 32);
    for id in parts {
        key.extend_from_slice(id.as_str().as_bytes());
        key.push(END);
    }
    key
}

pub(super) fn app_key(app: &AppId) -> Vec<u8> {
    ids(&[&app.tenant, &app.app])
}

pub(super) fn state_key(app: &AppId, key: &str) -> Vec<u8> {
    let mut bytes = app_key(app);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

pub(super) fn function_key(function: &FunctionId) -> Vec<u8> {
    ids(&[&function.app.tenant, &function.app.app, &function.function])
}

/// Under which uplinks are kept that an app could not decode.
pub(super) fn codec_key(app: &AppId) -> Vec<u8> {
    let mut key = app_key(app);
    key.extend_from_slice(CODEC.as_bytes());
    key.push(END);
    key
}

pub(super) fn function_seq_key(function: &FunctionId, seq: Seq) -> Vec<u8> {
    let mut key = function_key(function);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// The function that [`function_key`] or [`function_seq_key`] wrote.
pub(super) fn function_of(key: &[u8]) -> Result<FunctionId, LedgerError> {
    let wrong = || LedgerError::Format(format!("the key {key:02x?} of a function"));
    let mut parts = key.splitn(4, |b| *b == END).map(|part| std::str::from_utf8(part).ok().and_then(|t| Id::new(t).ok()));
    let mut next = || parts.next().flatten().ok_or_else(wrong);
    Ok(FunctionId { app: AppId::new(next()?, next()?), function: next()? })
}

/// Which table of repeats: appends and commits can't answer for each other.
#[derive(Clone, Copy)]
pub(super) enum Repeat {
    Append,
    Commit,
}

pub(super) fn dedup_key(repeat: Repeat, tenant: &Id, app: Option<&Id>, key: &str) -> Vec<u8> {
    let mut bytes = vec![match repeat {
        Repeat::Append => b'a',
        Repeat::Commit => b'c',
    }];
    bytes.extend(app.map_or_else(|| ids(&[tenant]), |app| ids(&[tenant, app])));
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// Time first, in an order that bytes keep, negative times included.
pub(super) fn expiry_key(expiry: i64, key: &[u8]) -> Vec<u8> {
    let mut bytes = ((expiry as u64) ^ (1 << 63)).to_be_bytes().to_vec();
    bytes.extend_from_slice(key);
    bytes
}

/// The time and the key that [`expiry_key`] wrote.
pub(super) fn expiry_of(key: &[u8]) -> Option<(i64, &[u8])> {
    let (time, key) = key.split_first_chunk::<8>()?;
    Some(((u64::from_be_bytes(*time) ^ (1 << 63)) as i64, key))
}

/// The end of the range of keys that begin with `prefix`: the first key behind them, none when there is no such.
pub(super) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn expiries_sort_by_time_even_before_1970() {
        let keys: Vec<_> = [i64::MIN, -5, 0, 7, i64::MAX].iter().map(|t| expiry_key(*t, b"k")).collect();
        assert!(keys.is_sorted());
        assert_eq!(expiry_of(&keys[1]).unwrap(), (-5, &b"k"[..]));
    }

    #[test]
    fn one_app_is_never_the_prefix_of_another() {
        let app = |name: &str| AppId::new(Id::new("main").unwrap(), Id::new(name).unwrap());
        assert!(!state_key(&app("ab"), "k").starts_with(&app_key(&app("a"))));
        let function = FunctionId { app: app("a"), function: Id::new("on.it").unwrap() };
        assert_eq!(function_of(&function_seq_key(&function, 0)).unwrap(), function);
        assert_eq!(prefix_end(&[1, 0xff, 0xff]).unwrap(), vec![2]);
        assert_eq!(prefix_end(&[0xff]), None);
    }

    #[test]
    fn a_record_of_a_later_version_is_refused_by_number() {
        let mut buffer = Vec::new();
        assert_eq!(decode::<u64>("a test", encode(&mut buffer, &7u64).unwrap()).unwrap(), 7);
        buffer[0] = 9;
        assert!(decode::<u64>("a test", &buffer).unwrap_err().to_string().contains("version `9`"));
    }
}
