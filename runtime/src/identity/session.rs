//! Sessions: who logged in, signed, for ten minutes. Any node that has the same secret checks them without asking anybody.
//!
//! A session names the generation of its user's password, so that a new password, or none any more, ends it. It can be renewed while it is
//! good, until the password has to be shown again.

use super::AccountError;
use crate::model::{
    Id, Micros, Tenant,
    limit::{SESSION_RENEWED_SECONDS_MAX, SESSION_SECONDS},
};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature::{self, Signer, Verifier},
};
use ring::{
    hmac,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const ISSUER: &str = "tawi";
/// What the node's secret is stretched for; another purpose has other words, and so another key.
const PURPOSE: &[u8] = b"tawi: the key that signs sessions, 1";
/// Clocks of two nodes may differ by so much.
const AHEAD_SECONDS_MAX: i64 = 60;

/// What a session says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    pub sub: Id,
    pub tenant: Tenant,
    /// Of the user's password.
    #[serde(rename = "gen")]
    pub generation: i64,
    /// When the password was shown.
    auth_time: i64,
    iat: i64,
    exp: i64,
}

/// Signs and checks. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Keys>);

struct Keys {
    tenant: Tenant,
    sign: EncodingKey,
    check: DecodingKey,
    validation: Validation,
}

/// Whether this has the shape of a session: three parts, the first of which begins as `{"` does in base64.
pub fn looks_like_one(shown: &str) -> bool {
    shown.starts_with("eyJ") && shown.split('.').count() == 3
}

impl Sessions {
    /// The key is of the node's secret: nodes with the same one take each other's sessions.
    pub fn new(secret: &[u8; 32], tenant: &Tenant) -> Result<Sessions, AccountError> {
        // Once in a process is enough; it says so when it was done before.
        let _ = CryptoProvider::install_default(&PROVIDER);
        let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), PURPOSE);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|error| AccountError::Sign(error.to_string()))?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        // Times are held against the clock that the rest of the node has.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        let check = DecodingKey::from_ed_der(pair.public_key().as_ref());
        Ok(Sessions(Arc::new(Keys { tenant: tenant.clone(), sign: EncodingKey::from_ed_der(seed.as_ref()), check, validation })))
    }

    /// A session of who has just shown a password.
    pub fn begin(&self, user: &Id, generation: i64, now: Micros) -> Result<String, AccountError> {
        let now = seconds(now);
        self.signed(user, generation, now, now)
    }

    /// One that begins now, in place of one that is good. None: the password has to be shown again.
    pub fn renew(&self, claims: &Claims, now: Micros) -> Result<Option<String>, AccountError> {
        let now = seconds(now);
        if now - claims.auth_time >= i64::try_from(SESSION_RENEWED_SECONDS_MAX).unwrap_or(i64::MAX) {
            return Ok(None);
        }
        self.signed(&claims.sub, claims.generation, claims.auth_time, now).map(Some)
    }

    fn signed(&self, user: &Id, generation: i64, auth_time: i64, iat: i64) -> Result<String, AccountError> {
        let exp = iat + i64::try_from(SESSION_SECONDS).unwrap_or(i64::MAX);
        let claims = Claims { iss: ISSUER.to_owned(), sub: user.clone(), tenant: self.0.tenant.clone(), generation, auth_time, iat, exp };
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.0.sign).map_err(|error| AccountError::Sign(error.to_string()))
    }

    /// What a session says, if it is one of ours and of this time. Whether its user still has that password, who asks has to see.
    pub fn check(&self, shown: &str, now: Micros) -> Option<Claims> {
        let claims = jsonwebtoken::decode::<Claims>(shown, &self.0.check, &self.0.validation).ok()?.claims;
        let now = seconds(now);
        let is_now = now < claims.exp && claims.iat <= now + AHEAD_SECONDS_MAX;
        (is_now && claims.tenant == self.0.tenant).then_some(claims)
    }
}

fn seconds(time: Micros) -> i64 {
    time.0.div_euclid(Micros::SECOND)
}

/// Ed25519 of `ring`, which is in the node for TLS already, and nothing else: a header that asks for another algorithm is refused.
static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

struct Sign(Ed25519KeyPair);
struct Check(Vec<u8>);

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    match algorithm {
        Algorithm::EdDSA => {
            Ok(Box::new(Sign(Ed25519KeyPair::from_seed_unchecked(key.as_bytes()).map_err(|_| ErrorKind::InvalidEddsaKey)?)))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    match algorithm {
        Algorithm::EdDSA => Ok(Box::new(Check(key.try_get_as_bytes()?.to_vec()))),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

impl Signer<Vec<u8>> for Sign {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for Sign {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

impl Verifier<Vec<u8>> for Check {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> Result<(), signature::Error> {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signed).map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Check {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::id::default_tenant;

    fn at(seconds: u64) -> Micros {
        Micros(i64::try_from(seconds).unwrap() * Micros::SECOND)
    }

    #[test]
    fn a_session_is_good_for_its_time_on_every_node_with_the_same_secret() {
        let (ada, tenant) = (Id::new("ada").unwrap(), default_tenant());
        let [one, two, other] = [[1; 32], [1; 32], [2; 32]].map(|secret| Sessions::new(&secret, &tenant).unwrap());
        let session = one.begin(&ada, 7, at(1_000)).unwrap();
        assert!(looks_like_one(&session));
        let claims = two.check(&session, at(1_000 + SESSION_SECONDS - 1)).unwrap();
        assert_eq!((&claims.sub, claims.generation), (&ada, 7));
        assert_eq!(two.check(&session, at(1_000 + SESSION_SECONDS)), None, "its time is over");
        assert_eq!(two.check(&session, at(900)), None, "it is of a time to come");
        assert_eq!(other.check(&session, at(1_000)), None, "another secret");
        let north = Sessions::new(&[1; 32], &Id::new("north").unwrap()).unwrap();
        assert_eq!(north.check(&session, at(1_000)), None, "another tenant");
    }

    #[test]
    fn a_session_is_renewed_until_the_password_has_to_be_shown_again() {
        let sessions = Sessions::new(&[1; 32], &default_tenant()).unwrap();
        let (mut now, mut renewals) = (1_000, 0);
        let mut session = sessions.begin(&Id::new("ada").unwrap(), 7, at(now)).unwrap();
        loop {
            now += SESSION_SECONDS - 1;
            let claims = sessions.check(&session, at(now)).unwrap();
            match sessions.renew(&claims, at(now)).unwrap() {
                Some(renewed) => (session, renewals) = (renewed, renewals + 1),
                None => break,
            }
        }
        assert_eq!(renewals, SESSION_RENEWED_SECONDS_MAX / (SESSION_SECONDS - 1));
    }

    #[test]
    fn a_session_that_was_touched_or_signed_otherwise_is_none() {
        let sessions = Sessions::new(&[1; 32], &default_tenant()).unwrap();
        let session = sessions.begin(&Id::new("ada").unwrap(), 7, at(1_000)).unwrap();
        let parts: Vec<&str> = session.split('.').collect();
        let root = sessions.begin(&Id::new("root").unwrap(), 7, at(1_000)).unwrap();
        let claims_of_root = root.split('.').nth(1).unwrap();
        // {"alg":"none"} and {"alg":"HS256"}
        for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9"] {
            assert_eq!(sessions.check(&format!("{header}.{}.{}", parts[1], parts[2]), at(1_000)), None);
            assert_eq!(sessions.check(&format!("{header}.{}.", parts[1]), at(1_000)), None);
        }
        assert_eq!(sessions.check(&format!("{}.{claims_of_root}.{}", parts[0], parts[2]), at(1_000)), None);
        for nonsense in ["", "a", "..", "eyJ..", &session[..session.len() - 1]] {
            assert_eq!(sessions.check(nonsense, at(1_000)), None, "{nonsense}");
        }
    }
}
