//! The text of a token, and what is kept of it.

use serde::{Deserialize, Serialize};
use std::fmt;

const PREFIX: &str = "tawi_";
/// Of a device's secret: what somebody shows is told apart by how it begins.
const DEVICE_PREFIX: &str = "tawid_";
/// Letters and digits that nobody takes for one another, in upper case: a claim code is typed from a sticker.
const CLAIM_ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
/// 13 characters of 32 are 65 bits, for a code that is good for some weeks.
const CLAIM_CHARACTERS: usize = 13;
/// A generated password of letters and digits: 95 bits.
const PASSWORD_CHARACTERS: usize = 16;
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
    Ok(format!("{PREFIX}{}", characters(CHARACTERS)?))
}

/// A new secret for a device.
pub fn generate_for_device() -> Result<String, getrandom::Error> {
    Ok(format!("{DEVICE_PREFIX}{}", characters(CHARACTERS)?))
}

/// A password for who did not choose one.
pub fn password() -> Result<String, getrandom::Error> {
    characters(PASSWORD_CHARACTERS)
}

pub fn is_token(shown: &str) -> bool {
    shown.starts_with(PREFIX)
}

pub fn is_device_secret(shown: &str) -> bool {
    shown.starts_with(DEVICE_PREFIX)
}

/// A new claim code, as it is printed: `7KQ2M-9XPAB-CDE`.
pub fn claim_code() -> Result<String, getrandom::Error> {
    let mut random = [0u8; CLAIM_CHARACTERS];
    getrandom::fill(&mut random)?;
    // 256 is a multiple of 32: each character is as likely as the others.
    let text: String = random.iter().map(|b| char::from(CLAIM_ALPHABET[usize::from(b % 32)])).collect();
    Ok(format!("{}-{}-{}", &text[..5], &text[5..10], &text[10..]))
}

/// A claim code as it is compared, however it was typed.
pub fn plain_claim_code(typed: &str) -> String {
    typed.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect()
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
        assert!(is_token(&one) && !is_device_secret(&one));
        let device = generate_for_device().unwrap();
        assert!(is_device_secret(&device) && !is_token(&device));
        let code = claim_code().unwrap();
        assert_eq!(plain_claim_code(&format!(" {} ", code.to_lowercase().replace('-', " "))), plain_claim_code(&code));
        assert!(Hash::of(&one).equals(&Hash::of(&one)) && !Hash::of(&one).equals(&Hash::of(&two)));
    }
}
