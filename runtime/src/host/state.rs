use super::{
    Call, HostError, Read,
    bindings::tawi::app::state::{Entry, Host},
};
use crate::model::{
    Write,
    limit::{STATE_ENTRIES_MAX, STATE_KEY_BYTES_MAX, STATE_PAGE_BYTES_MAX, STATE_VALUE_BYTES_MAX},
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    ops::{
        Bound::{Excluded, Included, Unbounded},
        ControlFlow,
    },
};

/// Entries that are asked of the world at once. With the largest values they are 4 MiB; between two of them other calls go on, and the
/// call's time can end.
const CHUNK_ENTRIES: usize = 16;

impl Host for Call {
    fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, HostError> {
        Ok(self.state_get(key)?.map(|value| value.to_vec()))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), HostError> {
        self.state_write(key, Some(value.into()))
    }

    fn delete(&mut self, key: String) -> Result<(), HostError> {
        self.state_write(key, None)
    }

    async fn entries(&mut self, prefix: String, after: Option<String>, limit: u32) -> Result<Vec<Entry>, HostError> {
        let limit = (limit as usize).min(STATE_ENTRIES_MAX);
        let (mut page, mut room) = (Vec::new(), STATE_PAGE_BYTES_MAX);
        let take = |key: String, value: Bytes| {
            let size = key.len() + value.len();
            if page.len() == limit || size > room {
                return ControlFlow::Break(());
            }
            room -= size;
            page.push(Entry { key, value: value.to_vec() });
            ControlFlow::Continue(())
        };
        self.state_walk(&prefix, after, take).await?;
        Ok(page)
    }
}

fn check_key(key: &str) -> Result<(), HostError> {
    match key {
        "" => Err(HostError::Invalid("a state key can't be empty".into())),
        _ => check_length("key", key),
    }
}

fn check_length(what: &str, text: &str) -> Result<(), HostError> {
    match text.len() {
        size if size > STATE_KEY_BYTES_MAX => {
            Err(HostError::Limit(format!("a state {what} has at most {STATE_KEY_BYTES_MAX} bytes, this one has {size}")))
        }
        _ => Ok(()),
    }
}

impl Call {
    /// The call's own write, else what the world holds; the latter is noted as read.
    pub(super) fn state_get(&mut self, key: String) -> Result<Option<Bytes>, HostError> {
        check_key(&key)?;
        let read = {
            let collected = self.collected.lock();
            if let Some(own) = collected.own.get(&key) {
                return Ok(own.clone());
            }
            let read = Read::Key(key.clone());
            collected.admit_read(&read)?;
            read
        };
        let seen = self.world.state(&key).map_err(HostError::Unavailable)?;
        self.collected.lock().read(read, seen.at);
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

    /// Hands over the entries with `prefix` after `after`, in order, the call's own writes over those of the world, until `take` has
    /// enough. Never holds more than a few of them.
    pub(super) async fn state_walk(
        &mut self,
        prefix: &str,
        mut after: Option<String>,
        mut take: impl FnMut(String, Bytes) -> ControlFlow<()> + Send,
    ) -> Result<(), HostError> {
        check_length("prefix", prefix)?;
        check_length("key", after.as_deref().unwrap_or_default())?;
        let read = Read::Prefix(prefix.to_owned());
        self.collected.lock().admit_read(&read)?;
        loop {
            let seen = self.world.state_entries(prefix, after.as_deref(), CHUNK_ENTRIES).map_err(HostError::Unavailable)?;
            let is_last = seen.value.len() < CHUNK_ENTRIES;
            let end = seen.value.last().filter(|_| !is_last).map(|(key, _)| key.clone());
            let mut entries: BTreeMap<String, Bytes> = seen.value.into_iter().collect();
            {
                let mut collected = self.collected.lock();
                collected.read(read.clone(), seen.at);
                for (key, value) in own(&collected.own, prefix, after.as_deref(), end.as_deref()) {
                    match value {
                        Some(value) => entries.insert(key.clone(), value.clone()),
                        None => entries.remove(key),
                    };
                }
            }
            if entries.into_iter().any(|(key, value)| take(key, value).is_break()) || is_last {
                return Ok(());
            }
            after = end;
            tokio::task::yield_now().await;
        }
    }
}

/// A call's own writes after `after`, up to `end`: past it the world has entries that come before them.
fn own<'a>(
    writes: &'a BTreeMap<String, Option<Bytes>>,
    prefix: &'a str,
    after: Option<&'a str>,
    end: Option<&'a str>,
) -> impl Iterator<Item = (&'a String, &'a Option<Bytes>)> {
    let from = after.filter(|after| *after >= prefix).map_or(Included(prefix), Excluded);
    writes
        .range::<str, _>((from, Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix) && end.is_none_or(|end| key.as_str() <= end))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
