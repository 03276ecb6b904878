//! Passwords and keys that are in no repository. Granted by name: `[grant] secrets = ["API_KEY"]`; set with `tawi secrets set`.
//!
//! ```
//! use tawi::{Error, secrets};
//!
//! let host = tawi::testing::Host::new();
//! host.secret("API_KEY", "s3cret");
//! let key = secrets::get("API_KEY")?.ok_or_else(|| Error::retry("nobody has set API_KEY"))?;
//! assert_eq!(key, "s3cret");
//! # Ok::<(), tawi::Error>(())
//! ```

use crate::{Result, host};

/// The secret's value; none when the operator has not set it.
pub fn get(name: &str) -> Result<Option<String>> {
    host::secret(name)
}
