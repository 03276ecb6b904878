//! A user: what is stored of one, and what may be in it.

use super::{AccountError, password::PasswordHash};
use crate::model::{Id, Micros, limit::PROFILE_BYTES_MAX};
use serde::{Deserialize, Serialize};

/// The owner of what nobody registered by name; so no user is called so.
pub const GUEST: &str = "guest";

/// Somebody with a password: the document `u:USER`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub id: Id,
    #[serde(default)]
    pub admin: bool,
    #[serde(flatten)]
    pub profile: Profile,
    /// An administrator set the mail address. Who registers herself may name anybody's, so nothing is sent there before.
    #[serde(default)]
    pub email_confirmed: bool,
    /// Short messages that may be sent in this user's name.
    #[serde(default)]
    pub sms_credit: u32,
    /// None: nobody can log in as this user until a password is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<PasswordHash>,
    /// Another one with each password; sessions of an earlier one have ended.
    pub(super) generation: i64,
    pub date_created: Micros,
    pub date_modified: Micros,
}

/// What a user tells of herself, in the words of the WAZIUP API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "firstName")]
    pub first_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "lastName")]
    pub last_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// With its international code: `+39…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facebook: Option<String>,
    /// Without the `@`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twitter: Option<String>,
}

/// A user as somebody wants one.
#[derive(Debug, Clone)]
pub struct NewUser {
    pub id: Id,
    pub admin: bool,
    pub profile: Profile,
    pub sms_credit: u32,
    pub password: Option<String>,
}

/// A name that no user has.
pub(super) fn nobody() -> Id {
    Id::new(GUEST).unwrap_or_else(|e| unreachable!("{e}"))
}

impl NewUser {
    pub fn new(id: Id, password: Option<String>) -> NewUser {
        NewUser { id, admin: false, profile: Profile::default(), sms_credit: 0, password }
    }

    pub fn check(&self) -> Result<(), AccountError> {
        let invalid = |field, why: &str| Err(AccountError::Invalid { field, why: why.to_owned() });
        if self.id.as_str() == GUEST {
            return invalid("username", "`guest` is who says no name");
        }
        // It stands before the colon in Basic authentication.
        if self.id.as_str().contains(':') {
            return invalid("username", "a user's name has no `:`");
        }
        self.profile.check()
    }
}

impl Profile {
    pub(super) fn check(&self) -> Result<(), AccountError> {
        let texts = [
            ("first_name", &self.first_name),
            ("last_name", &self.last_name),
            ("email", &self.email),
            ("phone", &self.phone),
            ("facebook", &self.facebook),
            ("twitter", &self.twitter),
        ];
        for (field, text) in texts {
            let Some(text) = text else { continue };
            if text.len() > PROFILE_BYTES_MAX || text.chars().any(char::is_control) {
                let why = format!("`{field}` has at most {PROFILE_BYTES_MAX} bytes and no control characters");
                return Err(AccountError::Invalid { field, why });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_means_something_else_and_a_long_profile_are_refused_by_field() {
        let wrong = |name: &str, profile: Profile| {
            let user = NewUser { profile, ..NewUser::new(Id::new(name).unwrap(), None) };
            match user.check() {
                Err(AccountError::Invalid { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(wrong("guest", Profile::default()), "username");
        assert_eq!(wrong("a:b", Profile::default()), "username");
        let long = Profile { email: Some("x".repeat(PROFILE_BYTES_MAX + 1)), ..Profile::default() };
        assert_eq!(wrong("ada", long), "email");
        let escape = Profile { phone: Some("\u{1b}[2J".into()), ..Profile::default() };
        assert_eq!(wrong("ada", escape), "phone");
    }
}
