//! What can't be done with a user, a device's secret or a claim code, and why.

use crate::{
    model::{
        Id,
        limit::{CLAIMS_MAX, DEVICE_SECRETS_MAX, USERS_MAX},
    },
    records::RecordsError,
};

#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("there is no user `{0}`")]
    Unknown(Id),
    #[error("there is a user `{0}` already")]
    Exists(Id),
    #[error("a user `{0}` was deleted, and may own things still; an administrator can make the name anew")]
    Gone(Id),
    #[error("{why}")]
    Invalid { field: &'static str, why: String },
    #[error("`{0}` is the last administrator; make another one first")]
    LastAdmin(Id),
    #[error("the tenant has {USERS_MAX} users already, those counted that were deleted")]
    TooManyUsers,
    #[error("guests have registered as many users as they may in an hour; try again in {0} s")]
    TooManyRegistrations(u64),
    #[error("device `{0}` has {DEVICE_SECRETS_MAX} secrets already; revoke one first")]
    TooManySecrets(Id),
    #[error("there are {CLAIMS_MAX} claim codes that nobody has used yet")]
    TooManyClaims,
    #[error("this claim code is unknown, used or too old")]
    UnknownClaim,
    #[error("too many passwords are being checked at this moment; try again")]
    Busy,
    #[error("no randomness for a new secret")]
    Random(#[source] getrandom::Error),
    #[error("can't hash a password: {0}")]
    Hash(String),
    #[error("can't sign a session: {0}")]
    Sign(String),
    #[error(transparent)]
    Records(#[from] RecordsError),
}
