//! What is kept of a password, and how many are hashed at a time.
//!
//! Argon2id makes each guess of who stole the records as expensive for him as a login is for the node: 19 MiB and two passes. So a
//! flood of logins would be as expensive: a few are hashed at a time, some wait, and the others are told to come back.

use super::AccountError;
use crate::model::limit::{PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN, PASSWORD_HASHES_MAX, PASSWORD_HASHES_WAITING_MAX};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};
use tokio::sync::Semaphore;

/// As OWASP recommends for Argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// Argon2id of a password, with all that is needed to make it again. Older parameters are read as they are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

impl PasswordHash {
    fn of(password: &str, salt: [u8; SALT_BYTES]) -> Result<PasswordHash, AccountError> {
        let mut made = PasswordHash { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt, hash: [0; HASH_BYTES] };
        made.hash = made.again(password)?;
        Ok(made)
    }

    fn again(&self, password: &str) -> Result<[u8; HASH_BYTES], AccountError> {
        let failed = |error: argon2::Error| AccountError::Hash(error.to_string());
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(HASH_BYTES)).map_err(failed)?;
        let mut hash = [0; HASH_BYTES];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.as_bytes(), &self.salt, &mut hash)
            .map_err(failed)?;
        Ok(hash)
    }

    fn is_of(&self, password: &str) -> Result<bool, AccountError> {
        let again = self.again(password)?;
        // As long whether the first byte differs or the last.
        let difference = again.iter().zip(&self.hash).fold(0u8, |all, (a, b)| all | (a ^ b));
        Ok(std::hint::black_box(difference) == 0)
    }
}

/// Whether this may be a password: not whether it is a good one.
pub fn check(password: &str) -> Result<(), AccountError> {
    let wrong = |why: String| Err(AccountError::Invalid { field: "password", why });
    if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&password.len()) {
        return wrong(format!("a password has {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes"));
    }
    // What somebody shows is told apart by how it looks.
    if super::secret::is_token(password) || super::secret::is_device_secret(password) || super::session::looks_like_one(password) {
        return wrong("this looks like a token; choose another password".to_owned());
    }
    Ok(())
}

/// Hashes on threads that nobody else needs. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// Those that wait or have their turn.
    places: Arc<Semaphore>,
    /// Stands in for a user that is not there.
    nobody: Arc<PasswordHash>,
    #[cfg(test)]
    pub(super) hashed: Arc<std::sync::atomic::AtomicUsize>,
}

impl Default for Passwords {
    fn default() -> Passwords {
        let nobody = PasswordHash { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt: [0; SALT_BYTES], hash: [0; HASH_BYTES] };
        Passwords {
            turns: Arc::new(Semaphore::new(PASSWORD_HASHES_MAX)),
            places: Arc::new(Semaphore::new(PASSWORD_HASHES_MAX + PASSWORD_HASHES_WAITING_MAX)),
            nobody: Arc::new(nobody),
            #[cfg(test)]
            hashed: Arc::default(),
        }
    }
}

impl Passwords {
    pub async fn hash(&self, password: String) -> Result<PasswordHash, AccountError> {
        check(&password)?;
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(AccountError::Random)?;
        self.in_turn(move || PasswordHash::of(&password, salt)).await
    }

    /// Whether the password is the one that was hashed. None, for who is not there or has no password, takes as long and is false.
    pub async fn verify(&self, password: String, hash: Option<PasswordHash>) -> Result<bool, AccountError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let nobody = self.nobody.clone();
        self.in_turn(move || match hash {
            Some(hash) => hash.is_of(&password),
            None => nobody.is_of(&password).map(|_| false),
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, AccountError> + Send + 'static) -> Result<T, AccountError> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| AccountError::Busy)?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| AccountError::Busy)?;
        #[cfg(test)]
        self.hashed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        // The turn is the thread's: who asked may be gone before it is done.
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((place, turn));
            done
        });
        done.await.map_err(|error| AccountError::Hash(error.to_string()))?
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::atomic::Ordering;

    #[tokio::test]
    async fn a_password_is_known_again_and_another_is_not() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(passwords.verify("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("correct horsf".into(), Some(hash.clone())).await.unwrap());
        assert_ne!(hash, passwords.hash("correct horse".into()).await.unwrap(), "each has a salt of its own");
        let stored = serde_json::to_string(&hash).unwrap();
        assert!(serde_json::from_str::<PasswordHash>(&stored).unwrap().is_of("correct horse").unwrap());
    }

    #[tokio::test]
    async fn a_password_has_a_length_and_does_not_look_like_a_token() {
        let passwords = Passwords::default();
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        for wrong in ["seven77", &long, "tawi_0123456789", "tawid_0123456789", "eyJh.eyJz.c2ln"] {
            assert!(matches!(passwords.hash(wrong.into()).await, Err(AccountError::Invalid { field: "password", .. })), "{wrong}");
        }
        assert_eq!(passwords.hashed.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_few_passwords_are_hashed_at_a_time_some_wait_and_the_rest_are_told_so() {
        let passwords = Passwords::default();
        let ask = || Box::pin(passwords.verify("correct horse".into(), None));
        let mut asked: Vec<_> = (0..PASSWORD_HASHES_MAX + PASSWORD_HASHES_WAITING_MAX).map(|_| ask()).collect();
        // Each is asked once: those that have a turn hash, the others wait for theirs.
        for one in &mut asked {
            assert!(one.now_or_never().is_none());
        }
        assert_eq!(passwords.hashed.load(Ordering::SeqCst), PASSWORD_HASHES_MAX);
        assert!(matches!(ask().await, Err(AccountError::Busy)));
        // Who hangs up makes room.
        asked.pop();
        asked.truncate(PASSWORD_HASHES_MAX);
        for one in asked {
            assert!(!one.await.unwrap());
        }
        assert!(!ask().await.unwrap());
    }
}
