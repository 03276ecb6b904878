//! The app's state under the standard's name, `wasi:keyvalue`: the same reads, writes and limits as `state`.

use super::{
    Call, HostError,
    bindings::wasi::keyvalue::{
        atomics, batch,
        store::{self, Error, KeyResponse},
    },
};
use crate::model::limit::{STATE_ENTRIES_MAX, STATE_PAGE_BYTES_MAX};
use std::ops::ControlFlow;
use wasmtime::component::Resource;

/// An open store. There is one an app, `default`, so a handle holds nothing.
pub struct Bucket;

fn error(error: HostError) -> Error {
    match error {
        HostError::Denied(_) => Error::AccessDenied,
        HostError::Invalid(text) | HostError::Limit(text) | HostError::Unavailable(text) => Error::Other(text),
    }
}

impl store::Host for Call {
    fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, Error> {
        match identifier.as_str() {
            "" | "default" => self.table.push(Bucket).map_err(|e| Error::Other(e.to_string())),
            _ => Err(Error::NoSuchStore),
        }
    }
}

impl store::HostBucket for Call {
    fn get(&mut self, _: Resource<Bucket>, key: String) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.state_get(key).map_err(error)?.map(|value| value.to_vec()))
    }

    fn set(&mut self, _: Resource<Bucket>, key: String, value: Vec<u8>) -> Result<(), Error> {
        self.state_write(key, Some(value.into())).map_err(error)
    }

    fn delete(&mut self, _: Resource<Bucket>, key: String) -> Result<(), Error> {
        self.state_write(key, None).map_err(error)
    }

    fn exists(&mut self, _: Resource<Bucket>, key: String) -> Result<bool, Error> {
        Ok(self.state_get(key).map_err(error)?.is_some())
    }

    /// The draft's cursor is a number, so it counts keys. Asked in turn, a page goes on after the last key of the one before; any other
    /// cursor is counted from the beginning.
    async fn list_keys(&mut self, _: Resource<Bucket>, cursor: Option<u64>) -> Result<KeyResponse, Error> {
        let cursor = cursor.unwrap_or(0);
        let (after, mut skip) = match self.listed.take() {
            Some((at, key)) if at == cursor => (Some(key), 0),
            _ => (None, cursor),
        };
        let mut keys = Vec::new();
        let take = |key, _| {
            match skip {
                0 => keys.push(key),
                _ => skip -= 1,
            }
            if keys.len() == STATE_ENTRIES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.state_walk("", after, take).await.map_err(error)?;
        let next = (keys.len() == STATE_ENTRIES_MAX).then(|| cursor.saturating_add(keys.len() as u64));
        self.listed = next.zip(keys.last().cloned());
        Ok(KeyResponse { keys, cursor: next })
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for Call {
    /// The number is kept as decimal text; absent counts as 0.
    fn increment(&mut self, _: Resource<Bucket>, key: String, delta: u64) -> Result<u64, Error> {
        let now = match self.state_get(key.clone()).map_err(error)? {
            None => 0,
            Some(value) => std::str::from_utf8(&value)
                .ok()
                .and_then(|text| text.parse::<u64>().ok())
                .ok_or_else(|| Error::Other(format!("the value of `{key}` is not a number")))?,
        };
        let sum = now.checked_add(delta).ok_or_else(|| Error::Other(format!("`{key}` would pass 2^64")))?;
        self.state_write(key, Some(sum.to_string().into())).map_err(error)?;
        Ok(sum)
    }
}

impl batch::Host for Call {
    fn get_many(&mut self, _: Resource<Bucket>, keys: Vec<String>) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        if keys.len() > STATE_ENTRIES_MAX {
            return Err(Error::Other(format!("at most {STATE_ENTRIES_MAX} keys are got at a time, these are {}", keys.len())));
        }
        let mut room = STATE_PAGE_BYTES_MAX;
        let get = |key: String| {
            let Some(value) = self.state_get(key.clone()).map_err(error)? else { return Ok(None) };
            let over = || Error::Other(format!("at most {STATE_PAGE_BYTES_MAX} bytes are got at a time; ask for fewer keys"));
            room = room.checked_sub(key.len() + value.len()).ok_or_else(over)?;
            Ok(Some((key, value.to_vec())))
        };
        keys.into_iter().map(get).collect()
    }

    fn set_many(&mut self, _: Resource<Bucket>, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        key_values.into_iter().try_for_each(|(key, value)| self.state_write(key, Some(value.into())).map_err(error))
    }

    fn delete_many(&mut self, _: Resource<Bucket>, keys: Vec<String>) -> Result<(), Error> {
        keys.into_iter().try_for_each(|key| self.state_write(key, None).map_err(error))
    }
}
