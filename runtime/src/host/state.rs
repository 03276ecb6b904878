use super::{
    Call, HostError, Read,
    bindings::tawi::app::state::{Entry, Host},
};
use crate::model::{
    Write,
    limit::{STATE_ENTRIES_MAX, STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX},
};
use bytes::Bytes;
use std::collections::BTreeMap;

impl Host for Call {
    fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, HostError> {
        check_key(&key)?;
        Ok(self.state_get(key)?.map(|value| value.to_vec()))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), HostError> {
        self.state_write(key, Some(value.into()))
    }

    fn delete(&mut self, key: String) -> Result<(), HostError> {
        self.state_write(key, None)
    }

    fn entries(&mut self, prefix: String, after: Option<String>, limit: u32) -> Result<Vec<Entry>, HostError> {
        let limit = (limit as usize).min(STATE_ENTRIES_MAX);
        let entries = self.state_list(&prefix, after.as_deref(), limit)?;
        Ok(entries.into_iter().map(|(key, value)| Entry { key, value: value.to_vec() }).collect())
    }
}

fn check_key(key: &str) -> Result<(), HostError> {
    match key.len() {
        0 => Err(HostError::Invalid("a state key can't be empty".into())),
        size if size > STATE_KEY_BYTES_MAX => {
            Err(HostError::Limit(format!("a state key has at most {STATE_KEY_BYTES_MAX} bytes, this one has {size}")))
        }
        _ => Ok(()),
    }
}

impl Call {
    /// The call's own write, else what the world holds; the latter is noted as read.
    pub(super) fn state_get(&mut self, key: String) -> Result<Option<Bytes>, HostError> {
        if let Some(own) = self.collected.lock().own.get(&key) {
            return Ok(own.clone());
        }
        let seen = self.world.state(&key).map_err(HostError::Unavailable)?;
        self.collected.lock().read(Read::Key(key), seen.at);
        Ok(seen.value)
    }

    pub(super) fn state_write(&mut self, key: String, value: Option<Bytes>) -> Result<(), HostError> {
        check_key(&key)?;
        let size = value.as_ref().map_or(0, Bytes::len);
        if size > STATE_VALUE_BYTES_MAX {
            return Err(HostError::Limit(format!("a state value has at most {STATE_VALUE_BYTES_MAX} bytes, this one has {size}")));
        }
        let mut collected = self.collected.lock();
        collected.admit(key.len() + size)?;
        collected.own.insert(key.clone(), value.clone());
        collected.effects.writes.push(Write { key, value });
        Ok(())
    }

    /// Entries of the world with the call's own writes over them.
    pub(super) fn state_list(&mut self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Bytes)>, HostError> {
        let own: BTreeMap<String, Option<Bytes>> = {
            let collected = self.collected.lock();
            let from = after.filter(|after| *after > prefix).unwrap_or(prefix);
            let in_range = collected.own.range(from.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
            in_range.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after)).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        // As many more as own deletes may take away again.
        let seen = self.world.state_entries(prefix, after, limit + own.len()).map_err(HostError::Unavailable)?;
        let whole = seen.value.len() < limit + own.len();
        self.collected.lock().read(Read::Prefix(prefix.to_owned()), seen.at);
        let last = seen.value.last().map(|(key, _)| key.clone());
        let mut merged: BTreeMap<String, Bytes> = seen.value.into_iter().collect();
        for (key, value) in own {
            // Past the end of a cut list an own write would hide entries of the world that come before it.
            if !whole && last.as_ref().is_some_and(|last| key > *last) {
                continue;
            }
            match value {
                Some(value) => merged.insert(key, value),
                None => merged.remove(&key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }
}
