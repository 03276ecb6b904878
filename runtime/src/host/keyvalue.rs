//! The app's state under the standard's name, `wasi:keyvalue`: the same reads, writes and limits as `state`.

use super::{
    Call, HostError,
    bindings::wasi::keyvalue::{
        atomics, batch,
        store::{self, Error, KeyResponse},
    },
};
use crate::model::limit::STATE_ENTRIES_MAX;
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

    /// The draft's cursor is a number, so it counts keys: the page that follows the first `cursor` ones.
    fn list_keys(&mut self, _: Resource<Bucket>, cursor: Option<u64>) -> Result<KeyResponse, Error> {
        let skip = usize::try_from(cursor.unwrap_or(0)).unwrap_or(usize::MAX);
        let (mut after, mut skipped) = (None::<String>, 0);
        loop {
            let page = self.state_list("", after.as_deref(), STATE_ENTRIES_MAX).map_err(error)?;
            let full = page.len() == STATE_ENTRIES_MAX;
            if skipped + page.len() > skip || !full {
                let keys: Vec<String> = page.into_iter().skip(skip - skipped.min(skip)).map(|(key, _)| key).collect();
                let cursor = full.then_some((skip + keys.len()) as u64);
                return Ok(KeyResponse { keys, cursor });
            }
            skipped += page.len();
            after = page.last().map(|(key, _)| key.clone());
        }
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
        let get = |key: String| Ok(self.state_get(key.clone()).map_err(error)?.map(|value| (key, value.to_vec())));
        keys.into_iter().map(get).collect()
    }

    fn set_many(&mut self, _: Resource<Bucket>, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        key_values.into_iter().try_for_each(|(key, value)| self.state_write(key, Some(value.into())).map_err(error))
    }

    fn delete_many(&mut self, _: Resource<Bucket>, keys: Vec<String>) -> Result<(), Error> {
        keys.into_iter().try_for_each(|key| self.state_write(key, None).map_err(error))
    }
}
