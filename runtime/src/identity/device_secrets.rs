//! Secrets of devices: each its own, so that one that was stolen is taken away from nobody else.

use super::{
    AccountError,
    registered::{Registered, is_same_life},
    secret::{self, Hash},
};
use crate::{
    model::{Id, Micros, limit::DEVICE_SECRETS_MAX},
    records::Records,
};
use serde::{Deserialize, Serialize};

/// A device's secret as it may be shown: without its hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceSecret {
    /// Public: it stands in logs, and names what is revoked.
    pub id: String,
    pub created: Micros,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    secret: DeviceSecret,
    hash: Hash,
    /// When the device was registered that it is of; none: it was only found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registered: Option<Micros>,
}

/// All of one device: the document `s:DEVICE`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Document {
    secrets: Vec<Kept>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct DeviceSecrets {
    records: Records,
    registered: Registered,
}

fn key(device: &Id) -> String {
    format!("s:{device}")
}

impl DeviceSecrets {
    pub fn new(records: Records) -> DeviceSecrets {
        DeviceSecrets { registered: Registered::beside(&records), records }
    }

    /// Makes a secret, and says its text this once.
    pub async fn create(&self, device: &Id, now: Micros) -> Result<(DeviceSecret, String), AccountError> {
        let text = secret::generate_for_device().map_err(AccountError::Random)?;
        let id = secret::short_id().map_err(AccountError::Random)?;
        let made = DeviceSecret { id, created: now };
        self.records
            .change(now, |changes| {
                let (mut document, registered) = (self.document(device)?, self.registered.at(device)?);
                if document.secrets.len() >= DEVICE_SECRETS_MAX {
                    return Err(AccountError::TooManySecrets(device.clone()));
                }
                document.secrets.push(Kept { secret: made.clone(), hash: Hash::of(&text), registered });
                Ok(changes.put(key(device), &document)?)
            })
            .await?;
        Ok((made, text))
    }

    pub fn list(&self, device: &Id) -> Result<Vec<DeviceSecret>, AccountError> {
        Ok(self.document(device)?.secrets.into_iter().map(|kept| kept.secret).collect())
    }

    /// Whether the device is one that somebody registered.
    pub(super) fn is_registered(&self, device: &Id) -> Result<bool, AccountError> {
        Ok(self.registered.at(device)?.is_some())
    }

    /// `false`: the device has no such secret.
    pub async fn revoke(&self, device: &Id, id: &str, now: Micros) -> Result<bool, AccountError> {
        self.records
            .change(now, |changes| {
                let mut document = self.document(device)?;
                let before = document.secrets.len();
                document.secrets.retain(|kept| kept.secret.id != id);
                match document.secrets.len() {
                    left if left == before => return Ok(false),
                    0 => changes.delete(key(device)),
                    _ => changes.put(key(device), &document)?,
                }
                Ok(true)
            })
            .await
    }

    /// The device goes: so do its secrets.
    pub async fn forget(&self, device: &Id, now: Micros) -> Result<(), AccountError> {
        self.records
            .change(now, |changes| {
                if self.records.get::<Document>(&key(device))?.is_some() {
                    changes.delete(key(device));
                }
                Ok(())
            })
            .await
    }

    /// The id of the secret that was shown, if the device has it. Looks at all of them.
    pub(super) fn check(&self, device: &Id, shown: &str) -> Result<Option<String>, AccountError> {
        let shown = Hash::of(shown);
        let kept = self.document(device)?.secrets;
        let found = kept.into_iter().fold(None, |found, kept| if kept.hash.equals(&shown) { Some(kept.secret.id) } else { found });
        Ok(found)
    }

    pub(super) fn has(&self, device: &Id, id: &str) -> Result<bool, AccountError> {
        Ok(self.document(device)?.secrets.iter().any(|kept| kept.secret.id == id))
    }

    /// The secrets of the device as it is registered now: those of an earlier life are as good as gone.
    fn document(&self, device: &Id) -> Result<Document, AccountError> {
        let mut document: Document = self.records.get(&key(device))?.unwrap_or_default();
        if !document.secrets.is_empty() {
            let now = self.registered.at(device)?;
            document.secrets.retain(|kept| is_same_life(kept.registered, kept.secret.created, now));
        }
        Ok(document)
    }
}
