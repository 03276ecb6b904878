//! The text of a token, and what is kept of it.

use serde::{Deserialize, Serialize};
use std::fmt;

const PREFIX: &str = "tawi_";
/// 40 characters of 62 are 238 bits: nobody guesses one, so a plain hash of it is safe to keep.
const CHARACTERS: usize = 40;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// SHA-256 of a secret's text, in hex on disk.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

impl Hash {
    pub fn of(secret: &str) -> Hash {
        use sha2::Digest as _;
        Hash(sha2::Sha256::digest(secret.as_bytes()).into())
    }

    /// Takes as long whether the first byte differs or the last.
    pub fn equals(&self, other: &Hash) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0u8, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

impl TryFrom<String> for Hash {
    type Error = crate::model::deployment::DigestError;
    fn try_from(text: String) -> Result<Hash, Self::Error> {
        Ok(Hash(text.parse::<crate::model::Digest>()?.0))
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> String {
        crate::model::Digest(hash.0).to_string()
    }
}

/// A new secret: shown once, never stored.
pub fn generate() -> Result<String, getrandom::Error> {
    let mut text = String::with_capacity(PREFIX.len() + CHARACTERS);
    text.push_str(PREFIX);
    text.push_str(&characters(CHARACTERS)?);
    Ok(text)
}

/// A short public name for a token, such as `k7Qx2mPa`.
pub fn short_id() -> Result<String, getrandom::Error> {
    characters(8)
}

fn characters(count: usize) -> Result<String, getrandom::Error> {
    let mut text = String::with_capacity(count);
    let mut random = [0u8; 64];
    while text.len() < count {
        getrandom::fill(&mut random)?;
        // 248 is the largest multiple of 62 in a byte: above it, some characters would be likelier than others.
        let fair = random.iter().filter(|b| **b < 248).map(|b| char::from(ALPHABET[usize::from(b % 62)]));
        text.extend(fair.take(count - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_plain_and_different() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.len(), PREFIX.len() + CHARACTERS);
        assert!(one.starts_with(PREFIX) && one[PREFIX.len()..].chars().all(|c| c.is_ascii_alphanumeric()), "{one}");
        assert_ne!(one, two);
        assert!(Hash::of(&one).equals(&Hash::of(&one)) && !Hash::of(&one).equals(&Hash::of(&two)));
    }
}
