//! Claim codes: who holds a device in her hands, with the code that came with it, makes it hers.
//!
//! A code is made by an administrator or the owner of a device, printed on a sticker say, and good for one user. Using it takes two steps,
//! because the device is another room's: it is bound to the user, who alone can repeat it from then on, and when the device is hers it is gone.

use super::{
    AccountError,
    registered::{Registered, is_same_life},
    secret,
};
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
    /// Whose the device was when the code was made: one that has changed hands since is not claimed by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<Id>,
    /// Who uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<Id>,
    /// When the device was registered that it is of; none: it was only found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registered: Option<Micros>,
    ends: Micros,
}

impl Claim {
    fn made(&self) -> Micros {
        Micros(self.ends.0.saturating_sub(i64::try_from(CLAIM_DAYS_MAX * DAY_SECONDS).unwrap_or(i64::MAX) * Micros::SECOND))
    }
}

/// What a code is good for.
#[derive(Debug, Clone, PartialEq)]
pub struct Redeemed {
    pub device: Id,
    /// Whose it has to be still.
    pub owner: Option<Id>,
    /// When it has to have been registered.
    pub registered: Option<Micros>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct DeviceClaims {
    records: Records,
    registered: Registered,
}

fn key(code: &str) -> String {
    format!("c:{}", Digest::of(secret::plain_claim_code(code).as_bytes()).hex())
}

impl DeviceClaims {
    pub fn new(records: Records) -> DeviceClaims {
        DeviceClaims { registered: Registered::beside(&records), records }
    }

    /// Makes a code for a device, and says it this once. An earlier one of the device is good no more; those that are too old go.
    pub async fn create(&self, device: &Id, owner: Option<&Id>, now: Micros) -> Result<String, AccountError> {
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
                let registered = self.registered.at(device)?;
                let claim = Claim { device: device.clone(), owner: owner.cloned(), user: None, registered, ends };
                Ok(changes.put(key(&code), &claim)?)
            })
            .await?;
        Ok(code)
    }

    /// Binds a code to a user, and says which device is to be hers.
    pub async fn redeem(&self, code: &str, user: &Id, now: Micros) -> Result<Redeemed, AccountError> {
        let key = key(code);
        self.records
            .change(now, |changes| {
                let claim: Option<Claim> = self.records.get(&key)?;
                let claim = claim.filter(|claim| now < claim.ends && claim.user.as_ref().is_none_or(|other| other == user));
                let claim = claim.ok_or(AccountError::UnknownClaim)?;
                if !is_same_life(claim.registered, claim.made(), self.registered.at(&claim.device)?) {
                    return Err(AccountError::UnknownClaim);
                }
                let redeemed = Redeemed { device: claim.device.clone(), owner: claim.owner.clone(), registered: claim.registered };
                if claim.user.is_none() {
                    changes.put(key.as_str(), &Claim { user: Some(user.clone()), ..claim })?;
                }
                Ok(redeemed)
            })
            .await
    }

    /// The device goes: so do its codes.
    pub async fn forget(&self, device: &Id, now: Micros) -> Result<(), AccountError> {
        self.records
            .change(now, |changes| {
                self.records.scan("c:", |key, claim: Claim| {
                    if claim.device == *device {
                        changes.delete(key);
                    }
                })?;
                Ok(())
            })
            .await
    }

    /// The device is the user's: the code is gone.
    pub async fn done(&self, code: &str, now: Micros) -> Result<(), AccountError> {
        let delete = |changes: &mut crate::records::Changes| {
            changes.delete(key(code));
            Ok(())
        };
        self.records.change(now, delete).await
    }
}

/// Of codes that are good no more, forgotten in one change.
const OLD_AT_A_TIME: usize = 500;
