//! Settings of the app: `[config]` of `tawi.toml`, and over it what `tawi config set` says. Granted by `[grant] config = true`.
//!
//! ```
//! use tawi::config;
//!
//! let host = tawi::testing::Host::new();
//! host.config("threshold", "8.5");
//! let threshold: f64 = config::get("threshold")?.unwrap_or(8.0);
//! assert_eq!(threshold, 8.5);
//! assert_eq!(config::get::<String>("unit")?, None);
//! # Ok::<(), tawi::Error>(())
//! ```

use crate::{Error, Result, host};
use std::{fmt::Display, str::FromStr};

/// A setting, parsed; none where it is not set. One that can't be parsed is a retry: the operator may set it right meanwhile.
pub fn get<T>(key: &str) -> Result<Option<T>>
where
    T: FromStr,
    T::Err: Display,
{
    let Some(text) = host::config(key)? else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|e| Error::retry(format!("config `{key}` is `{text}`: {e}")))
}

/// All settings.
pub fn all() -> Result<Vec<(String, String)>> {
    host::config_all()
}
