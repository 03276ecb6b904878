//! Passwords that were right a moment ago, so that Basic authentication, which sends one with each request, is not hashed each time.
//!
//! What is remembered is a hash under a key of this process, and which generation of the password it was: a new password makes it useless.

use crate::model::{
    Id, Micros,
    limit::{PASSWORDS_REMEMBERED_MAX, SESSION_SECONDS},
};
use parking_lot::Mutex;
use ring::hmac;
use std::{collections::HashMap, sync::Arc};

#[derive(Clone, Copy)]
struct Right {
    generation: i64,
    until: Micros,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Remembered {
    key: Arc<hmac::Key>,
    known: Arc<Mutex<HashMap<[u8; 32], Right>>>,
}

impl Remembered {
    pub fn new(random: &[u8; 32]) -> Remembered {
        Remembered { key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, random)), known: Arc::default() }
    }

    pub fn is_right(&self, user: &Id, password: &str, generation: i64, now: Micros) -> bool {
        let known = self.known.lock().get(&self.tag(user, password)).copied();
        known.is_some_and(|right| right.generation == generation && now < right.until)
    }

    pub fn remember(&self, user: &Id, password: &str, generation: i64, now: Micros) {
        let mut known = self.known.lock();
        if known.len() >= PASSWORDS_REMEMBERED_MAX {
            known.retain(|_, right| now < right.until);
        }
        // All of them are in use: they are hashed again, one by one.
        if known.len() >= PASSWORDS_REMEMBERED_MAX {
            known.clear();
        }
        known.insert(self.tag(user, password), Right { generation, until: now.plus_millis(SESSION_SECONDS * 1_000) });
    }

    /// No id has a null character in it, so that no two pairs are one text.
    fn tag(&self, user: &Id, password: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(user.as_str().as_bytes());
        context.update(&[0]);
        context.update(password.as_bytes());
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.known.lock().len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_remembered_for_a_while_and_one_generation_and_only_so_many_are() {
        let (remembered, ada) = (Remembered::new(&[1; 32]), Id::new("ada").unwrap());
        remembered.remember(&ada, "correct horse", 7, Micros(0));
        assert!(remembered.is_right(&ada, "correct horse", 7, Micros(1)));
        assert!(!remembered.is_right(&ada, "correct horse", 8, Micros(1)));
        assert!(!remembered.is_right(&ada, "correct horsf", 7, Micros(1)));
        assert!(!remembered.is_right(&Id::new("bob").unwrap(), "correct horse", 7, Micros(1)));
        assert!(!remembered.is_right(&ada, "correct horse", 7, Micros(0).plus_millis(SESSION_SECONDS * 1_000)));
        for n in 0..2 * PASSWORDS_REMEMBERED_MAX {
            remembered.remember(&ada, &n.to_string(), 7, Micros(0));
            assert!(remembered.len() <= PASSWORDS_REMEMBERED_MAX);
        }
    }
}
