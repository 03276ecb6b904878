//! The users of a tenant: documents, read where they are. So a session, a role or a deleted user is as the last change left it, on every
//! node of a log, and nothing here can be behind.

use super::{
    AccountError,
    attempts::Attempts,
    password::{self, PasswordHash, Passwords},
    secret,
    user::{NewUser, Profile, User},
};
use crate::{
    model::{
        Id, Micros,
        limit::{GUEST_REGISTRATIONS_PER_HOUR_MAX, USERS_MAX},
    },
    records::{Changes, Records},
};
use serde::{Deserialize, Serialize};

/// The administrator that the first start makes.
pub const FIRST_ADMIN: &str = "admin";
/// How many there are: the document under this key.
const COUNT: &str = "count";
const HOUR_SECONDS: u64 = 3_600;

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Count {
    users: usize,
    admins: usize,
    /// Names whose users were deleted.
    gone: usize,
}

/// What is left of a deleted user under `x:USER`: whoever took the name would own what is still there.
#[derive(Serialize, Deserialize)]
struct Gone {
    generation: i64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Users {
    records: Records,
    pub(super) passwords: Passwords,
    registrations: Attempts,
}

fn key(user: &Id) -> String {
    format!("u:{user}")
}

fn gone_key(user: &Id) -> String {
    format!("x:{user}")
}

impl Users {
    pub fn new(records: Records) -> Users {
        let registrations = Attempts::new(GUEST_REGISTRATIONS_PER_HOUR_MAX, HOUR_SECONDS);
        Users { records, passwords: Passwords::default(), registrations }
    }

    /// Reads a document: some microseconds.
    pub fn get(&self, user: &Id) -> Result<Option<User>, AccountError> {
        Ok(self.records.get(&key(user))?)
    }

    /// Users whose name contains a text, by name, `offset` skipped, and how many there are in all. Reads all of them: blocks.
    pub fn list(&self, containing: &str, limit: usize, offset: usize) -> Result<(Vec<User>, usize), AccountError> {
        let (mut found, mut total) = (Vec::new(), 0);
        self.records.scan("u:", |_, user: User| {
            if user.id.as_str().contains(containing) {
                if total >= offset && found.len() < limit {
                    found.push(user);
                }
                total += 1;
            }
        })?;
        Ok((found, total))
    }

    /// Makes a user for an administrator, who may give out a name again.
    pub async fn create(&self, wanted: NewUser, now: Micros) -> Result<User, AccountError> {
        self.make(wanted, now, true).await
    }

    /// Somebody registers herself: she has a password, no role, no credit, and not the name of who was deleted.
    pub async fn register(&self, wanted: NewUser, now: Micros) -> Result<User, AccountError> {
        if wanted.password.is_none() {
            return Err(AccountError::Invalid { field: "password", why: "who registers needs a password".to_owned() });
        }
        let wanted = NewUser { admin: false, sms_credit: 0, ..wanted };
        self.registrations.begin("", now).map_err(AccountError::TooManyRegistrations)?;
        self.make(wanted, now, false).await
    }

    async fn make(&self, wanted: NewUser, now: Micros, by_admin: bool) -> Result<User, AccountError> {
        wanted.check()?;
        // Before a password is hashed for nothing.
        if self.get(&wanted.id)?.is_some() {
            return Err(AccountError::Exists(wanted.id));
        }
        let password = self.hashed(wanted.password.clone()).await?;
        self.records.change(now, |changes| self.made(changes, &wanted, password.clone(), now, by_admin)).await
    }

    async fn hashed(&self, password: Option<String>) -> Result<Option<PasswordHash>, AccountError> {
        match password {
            Some(password) => self.passwords.hash(password).await.map(Some),
            None => Ok(None),
        }
    }

    fn made(
        &self,
        changes: &mut Changes,
        wanted: &NewUser,
        password: Option<PasswordHash>,
        now: Micros,
        by_admin: bool,
    ) -> Result<User, AccountError> {
        if self.get(&wanted.id)?.is_some() {
            return Err(AccountError::Exists(wanted.id.clone()));
        }
        let mut count = self.count()?;
        let gone: Option<Gone> = self.records.get(&gone_key(&wanted.id))?;
        if gone.is_some() && !by_admin {
            return Err(AccountError::Gone(wanted.id.clone()));
        }
        if gone.is_some() {
            changes.delete(gone_key(&wanted.id));
            count.gone = count.gone.saturating_sub(1);
        } else if count.users + count.gone >= USERS_MAX {
            return Err(AccountError::TooManyUsers);
        }
        count.users += 1;
        count.admins += usize::from(wanted.admin);
        let user = User {
            id: wanted.id.clone(),
            admin: wanted.admin,
            profile: wanted.profile.clone(),
            email_confirmed: by_admin && wanted.profile.email.is_some(),
            sms_credit: wanted.sms_credit,
            password,
            // No session of an earlier user of this name is good, whatever the clock did.
            generation: gone.map_or(now.0, |gone| now.0.max(gone.generation + 1)),
            date_created: now,
            date_modified: now,
        };
        changes.put(key(&user.id), &user)?;
        changes.put(COUNT, &count)?;
        Ok(user)
    }

    fn count(&self) -> Result<Count, AccountError> {
        Ok(self.records.get(COUNT)?.unwrap_or_default())
    }

    pub async fn set_sms_credit(&self, user: &Id, credit: u32, now: Micros) -> Result<(), AccountError> {
        self.update(user, now, |found| found.sms_credit = credit).await
    }

    /// An administrator sets the address that mail goes to, or says again that it is the right one.
    pub async fn set_email(&self, user: &Id, email: Option<String>, now: Micros) -> Result<(), AccountError> {
        Profile { email: email.clone(), ..Profile::default() }.check()?;
        self.update(user, now, |found| {
            found.email_confirmed = email.is_some();
            found.profile.email = email.clone();
        })
        .await
    }

    /// Ends all sessions of the user.
    pub async fn set_password(&self, user: &Id, new: String, now: Micros) -> Result<(), AccountError> {
        if self.get(user)?.is_none() {
            return Err(AccountError::Unknown(user.clone()));
        }
        let hash = self.passwords.hash(new).await?;
        self.update(user, now, |found| {
            found.password = Some(hash.clone());
            found.generation = now.0.max(found.generation + 1);
        })
        .await
    }

    async fn update(&self, id: &Id, now: Micros, change: impl Fn(&mut User) + Send + Sync) -> Result<(), AccountError> {
        self.records
            .change(now, |changes| {
                let mut user = self.get(id)?.ok_or_else(|| AccountError::Unknown(id.clone()))?;
                change(&mut user);
                user.date_modified = now;
                Ok(changes.put(key(id), &user)?)
            })
            .await
    }

    /// Deletes a user and ends all sessions. What the user owned stays as it is.
    pub async fn delete(&self, id: &Id, now: Micros) -> Result<(), AccountError> {
        self.records
            .change(now, |changes| {
                let user = self.get(id)?.ok_or_else(|| AccountError::Unknown(id.clone()))?;
                let mut count = self.count()?;
                if user.admin && count.admins <= 1 {
                    return Err(AccountError::LastAdmin(id.clone()));
                }
                count.users = count.users.saturating_sub(1);
                count.admins = count.admins.saturating_sub(usize::from(user.admin));
                count.gone += 1;
                changes.delete(key(id));
                changes.put(gone_key(id), &Gone { generation: user.generation })?;
                Ok(changes.put(COUNT, &count)?)
            })
            .await
    }

    /// The user, if this is the password. Unknown users and wrong passwords take the same time.
    pub(super) async fn with_password(&self, user: &Id, password: &str) -> Result<Option<User>, AccountError> {
        let found = self.get(user)?;
        let hash = found.as_ref().and_then(|user| user.password.clone());
        let is_right = self.passwords.verify(password.to_owned(), hash).await?;
        Ok(found.filter(|_| is_right))
    }

    /// The first start of a tenant: an administrator, where there are no users yet. Of several nodes of a log one makes it, and only that one
    /// has its password.
    pub async fn first_admin(&self, now: Micros) -> Result<Option<(Id, String)>, AccountError> {
        if self.count()?.users > 0 {
            return Ok(None);
        }
        let text = secret::password().map_err(AccountError::Random)?;
        password::check(&text)?;
        let id = Id::new(FIRST_ADMIN).unwrap_or_else(|e| unreachable!("{e}"));
        let wanted = NewUser { admin: true, ..NewUser::new(id.clone(), None) };
        let hash = self.passwords.hash(text.clone()).await?;
        let made = |changes: &mut Changes| match self.count()?.users {
            0 => self.made(changes, &wanted, Some(hash.clone()), now, true).map(Some),
            _ => Ok(None),
        };
        Ok(self.records.change(now, made).await?.map(|_| (id, text)))
    }

    pub(super) fn records(&self) -> &Records {
        &self.records
    }
}
