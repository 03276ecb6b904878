//! Claim codes: who holds a device in her hands, with the code that came with it, makes it hers.
//!
//! A code is made by an administrator or the owner of a device, printed on a sticker say, and good for one user. Who has used it may use it
//! again and gets the same answer, so that a step after it that failed can be repeated; nobody else can.

use super::{AccountError, secret};
use crate::{
    model::{
        Digest, Id, Micros,
        limit::{CLAIM_DAYS_MAX, CLAIMS_MAX},
    },
    records::Records,
};
use serde::{Deserialize, Serialize};

const DAY_SECONDS: u64 = 86_400;

/// The document `c:HASH`, by the hash of the code.
#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    device: Id,
    /// Who used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<Id>,
    ends: Micros,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct DeviceClaims {
    records: Records,
}

fn key(code: &str) -> String {
    format!("c:{}", Digest::of(secret::plain_claim_code(code).as_bytes()).hex())
}

impl DeviceClaims {
    pub fn new(records: Records) -> DeviceClaims {
        DeviceClaims { records }
    }

    /// Makes a code for a device, and says it this once. An earlier one of the device is good no more; those that are too old go.
    pub async fn create(&self, device: &Id, now: Micros) -> Result<String, AccountError> {
        let code = secret::claim_code().map_err(AccountError::Random)?;
        let ends = now.plus_millis(CLAIM_DAYS_MAX * DAY_SECONDS * 1_000);
        self.records
            .change(now, |changes| {
                let (mut kept, mut old) = (0, Vec::new());
                self.records.scan("c:", |key, claim: Claim| {
                    let is_old = claim.ends <= now || claim.device == *device;
                    if is_old { old.push(key.to_owned()) } else { kept += 1 }
                })?;
                if kept >= CLAIMS_MAX {
                    return Err(AccountError::TooManyClaims);
                }
                // A change writes so many keys at most; the others go with the next.
                old.into_iter().take(OLD_AT_A_TIME).for_each(|key| changes.delete(key));
                Ok(changes.put(key(&code), &Claim { device: device.clone(), user: None, ends })?)
            })
            .await?;
        Ok(code)
    }

    /// Uses a code: the device that is the user's now, which the registry has to be told.
    pub async fn redeem(&self, code: &str, user: &Id, now: Micros) -> Result<Id, AccountError> {
        let key = key(code);
        self.records
            .change(now, |changes| {
                let claim: Option<Claim> = self.records.get(&key)?;
                let claim = claim.filter(|claim| now < claim.ends).ok_or(AccountError::UnknownClaim)?;
                match &claim.user {
                    Some(other) if other != user => Err(AccountError::UnknownClaim),
                    Some(_) => Ok(claim.device),
                    None => {
                        let device = claim.device.clone();
                        changes.put(key.as_str(), &Claim { user: Some(user.clone()), ..claim })?;
                        Ok(device)
                    }
                }
            })
            .await
    }
}

/// Of codes that are good no more, forgotten in one change.
const OLD_AT_A_TIME: usize = 500;
