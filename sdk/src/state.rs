//! What an app remembers from call to call. Granted by `[grant] state = true`.
//!
//! One namespace per app, kept across releases. Reads see the writes of this call. The calls of one app act as if they had run one
//! after another, so a counter needs no lock:
//!
//! ```
//! use tawi::state;
//!
//! let host = tawi::testing::Host::new();
//! let count = state::get::<u64>("count")?.unwrap_or(0);
//! state::set("count", &(count + 1))?;
//! assert_eq!(state::get::<u64>("count")?, Some(1));
//!
//! for entry in state::entries::<u64>("c") {
//!     let (key, value) = entry?;
//!     assert_eq!((key.as_str(), value), ("count", 1));
//! }
//! state::delete("count")?;
//! # Ok::<(), tawi::Error>(())
//! ```

use crate::{Error, Result, host, limit::STATE_ENTRIES_MAX};
use serde::{Serialize, de::DeserializeOwned};

/// The value of a key, read as JSON.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    get_bytes(key)?.map(|bytes| parse(key, &bytes)).transpose()
}

/// Sets the value of a key, as JSON.
pub fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> Result {
    let bytes = serde_json::to_vec(value).map_err(|e| Error::invalid(format!("the value of `{key}` can't be written as JSON: {e}")))?;
    host::state_set(key, &bytes)
}

/// Forgets a key; one that is not there is forgotten already.
pub fn delete(key: &str) -> Result {
    host::state_delete(key)
}

/// All entries whose key starts with `prefix`, in byte order of the key, read as JSON. They are fetched as they are asked for.
pub fn entries<T: DeserializeOwned>(prefix: &str) -> impl Iterator<Item = Result<(String, T)>> {
    entries_bytes(prefix).map(|entry| {
        let (key, bytes) = entry?;
        let value = parse(&key, &bytes)?;
        Ok((key, value))
    })
}

/// The bytes of a key, as [`set_bytes`] set them.
pub fn get_bytes(key: &str) -> Result<Option<Vec<u8>>> {
    host::state_get(key)
}

/// Sets the value of a key to any bytes.
pub fn set_bytes(key: &str, value: &[u8]) -> Result {
    host::state_set(key, value)
}

/// As [`entries`], without a look at the values.
pub fn entries_bytes(prefix: &str) -> Entries {
    Entries { prefix: prefix.to_owned(), page: Vec::new().into_iter(), after: None, done: false }
}

/// Entries of the state, fetched page by page.
#[derive(Debug)]
pub struct Entries {
    prefix: String,
    page: std::vec::IntoIter<(String, Vec<u8>)>,
    after: Option<String>,
    done: bool,
}

impl Iterator for Entries {
    type Item = Result<(String, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.page.next() {
            return Some(Ok(entry));
        }
        if self.done {
            return None;
        }
        match host::state_entries(&self.prefix, self.after.as_deref(), STATE_ENTRIES_MAX) {
            Ok(page) => {
                // A page of large values is short of entries and still not the last one.
                self.done = page.is_empty();
                self.after = page.last().map(|(key, _)| key.clone());
                self.page = page.into_iter();
                self.page.next().map(Ok)
            }
            Err(error) => {
                self.done = true;
                Some(Err(error))
            }
        }
    }
}

fn parse<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::retry(format!("the state under `{key}` can't be read: {e}")))
}
