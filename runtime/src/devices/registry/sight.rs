//! Who sees with whose eyes: whose an app is, and what somebody may know.
//!
//! An app that has an owner sees and does what its owner may; one without is the node's own. The owner of an app is a document like a device's.

use super::{Inner, Registry, RegistryError, since};
use crate::{
    identity::{Deed, Principal, may},
    model::{Id, Micros},
    records::RecordsError,
};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::atomic::Ordering};

/// The document of an app's owner stands under this and the app's name.
pub(super) const PREFIX: &str = "a:";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AppOwner {
    pub owner: Id,
}

impl Registry {
    /// Whether somebody may know what a device said at a time. Of one that is not there nobody but the node does.
    pub fn may_know(&self, who: &Principal, device: &Id, received: Micros) -> bool {
        let index = self.0.index.read();
        let Some(entry) = index.get(device).filter(|_| *who.tenant() == self.0.tenant) else { return who.is_admin() };
        may(who, Deed::ViewData, entry.resource()) && since(who, &entry.shown).is_none_or(|since| received >= since)
    }

    /// Whose an app is; none: the node's own. Costs nothing where no app has an owner.
    pub fn app_owner(&self, app: &Id) -> Option<Id> {
        if !self.0.has_app_owners.load(Ordering::Relaxed) {
            return None;
        }
        self.0.index.read().app_owners.get(app).cloned()
    }

    /// Gives an app to a user, or back to the node.
    pub async fn set_app_owner(&self, app: &Id, owner: Option<&Id>, now: Micros) -> Result<(), RegistryError> {
        let (key, inner) = (format!("{PREFIX}{app}"), &self.0);
        let set = |changes: &mut crate::records::Changes| {
            match (owner, inner.records.get::<AppOwner>(&key)?) {
                (Some(owner), was) if was.as_ref().is_none_or(|was| was.owner != *owner) => {
                    changes.put(key.as_str(), &AppOwner { owner: owner.clone() })?;
                }
                (None, Some(_)) => changes.delete(key.as_str()),
                _ => {}
            }
            Ok::<(), RegistryError>(())
        };
        inner.records.change(now, set).await?;
        Ok(inner.refresh(&key)?)
    }
}

impl Inner {
    pub(super) fn read_app_owners(&self) -> Result<(), RecordsError> {
        let mut owners = HashMap::new();
        self.records.scan::<AppOwner>(PREFIX, |key, of| {
            let app = key.strip_prefix(PREFIX).and_then(|app| Id::new(app).ok());
            owners.extend(app.map(|app| (app, of.owner)));
        })?;
        self.has_app_owners.store(!owners.is_empty(), Ordering::Relaxed);
        self.index.write().app_owners = owners;
        Ok(())
    }

    pub(super) fn read_app_owner(&self, key: &str, app: Id) -> Result<(), RecordsError> {
        let owner = self.records.get::<AppOwner>(key)?.map(|of| of.owner);
        let mut index = self.index.write();
        match owner {
            Some(owner) => drop(index.app_owners.insert(app, owner)),
            None => drop(index.app_owners.remove(&app)),
        }
        self.has_app_owners.store(!index.app_owners.is_empty(), Ordering::Relaxed);
        // Its rules are for other sensors now.
        self.rules_moved();
        Ok(())
    }
}
