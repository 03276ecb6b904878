//! What of the registry belongs to whom, so that nobody fills it for all others.
//!
//! What belongs to nobody is counted together: guests register such things, and so do tokens of the node, which have no share of their own.

use super::{RegistryError, document::Document};
use crate::{
    identity::{Principal, ResourceKind},
    model::{
        Id,
        limit::{
            DEVICES_MAX, GATEWAYS_MAX, GUESTS_DOCUMENTS_BYTES_MAX, GUESTS_SHARE_PERCENT, PROJECTS_MAX, USER_DOCUMENTS_BYTES_MAX,
            USER_SHARE_PERCENT,
        },
    },
};
use std::{collections::HashMap, io};

/// Documents by their owners.
#[derive(Default)]
pub(super) struct Shares(HashMap<Option<Id>, Share>);

/// Of one owner, or of nobody.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Share {
    devices: usize,
    gateways: usize,
    projects: usize,
    bytes: usize,
}

impl Share {
    fn of(&mut self, kind: ResourceKind) -> &mut usize {
        match kind {
            ResourceKind::Device => &mut self.devices,
            ResourceKind::Gateway => &mut self.gateways,
            ResourceKind::Project => &mut self.projects,
        }
    }
}

impl Shares {
    pub fn add<D: Document>(&mut self, document: &D) {
        let share = self.0.entry(document.owned().owner.clone()).or_default();
        *share.of(D::KIND) += 1;
        share.bytes += bytes(document);
    }

    pub fn remove<D: Document>(&mut self, document: &D) {
        let owner = &document.owned().owner;
        let Some(share) = self.0.get_mut(owner) else { return };
        let count = share.of(D::KIND);
        *count = count.saturating_sub(1);
        share.bytes = share.bytes.saturating_sub(bytes(document));
        if *share == Share::default() {
            self.0.remove(owner);
        }
    }

    /// Documents and bytes of an owner.
    #[cfg(test)]
    pub fn of(&self, owner: Option<&Id>) -> (usize, usize) {
        let share = self.0.get(&owner.cloned()).copied().unwrap_or_default();
        (share.devices + share.gateways + share.projects, share.bytes)
    }

    /// Whether somebody may add these documents, or have one where there was another.
    pub fn has_room<D: Document>(&self, who: &Principal, after: &[D], before: Option<&D>) -> Result<(), RegistryError> {
        let (percent, bytes_max) = match who {
            Principal::Guest { .. } => (GUESTS_SHARE_PERCENT, GUESTS_DOCUMENTS_BYTES_MAX),
            Principal::User { admin: false, .. } => (USER_SHARE_PERCENT, USER_DOCUMENTS_BYTES_MAX),
            _ => return Ok(()),
        };
        let Some(owner) = after.first().map(|document| &document.owned().owner) else { return Ok(()) };
        let mut share = self.0.get(owner).copied().unwrap_or_default();
        let had = before.filter(|before| before.owned().owner == *owner);
        let (count, most) = (*share.of(D::KIND), most::<D>() * percent / 100);
        let whose = || owner.as_ref().map_or_else(|| "guests".to_owned(), |owner| format!("the user `{owner}` and its devices"));
        if had.is_none() && count + after.len() > most {
            return Err(RegistryError::Share { whose: whose(), what: plural::<D>(), max: most });
        }
        let (old, new): (usize, usize) = (had.map_or(0, bytes), after.iter().map(bytes).sum());
        if new > old && share.bytes + (new - old) > bytes_max {
            return Err(RegistryError::Share { whose: whose(), what: "bytes of devices, gateways and projects", max: bytes_max });
        }
        Ok(())
    }
}

fn most<D: Document>() -> usize {
    match D::KIND {
        ResourceKind::Device => DEVICES_MAX,
        ResourceKind::Gateway => GATEWAYS_MAX,
        ResourceKind::Project => PROJECTS_MAX,
    }
}

fn plural<D: Document>() -> &'static str {
    match D::KIND {
        ResourceKind::Device => "devices",
        ResourceKind::Gateway => "gateways",
        ResourceKind::Project => "projects",
    }
}

/// As JSON, which is about what it is in memory.
fn bytes<D: Document>(document: &D) -> usize {
    struct Counted(usize);
    impl io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    // What can't be written is not stored either.
    let _ = serde_json::to_writer(&mut counted, document);
    counted.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::{Device, Gateway, id::default_tenant};
    use serde_json::json;

    fn device(id: &str, owner: Option<&str>, meta: usize) -> Device {
        let sensor =
            |n: usize| json!({ "id": format!("s{n}"), "meta": { "x": "x".repeat(10_000) }, "date_created": 0, "date_modified": 0 });
        let sensors: Vec<_> = (0..meta / 10_000).map(sensor).collect();
        serde_json::from_value(json!({ "id": id, "owner": owner, "sensors": sensors, "date_created": 0, "date_modified": 0 })).unwrap()
    }

    fn user(name: &str) -> Principal {
        Principal::User { tenant: default_tenant(), id: Id::new(name).unwrap(), admin: name == "root" }
    }

    /// Whether somebody may register one more.
    fn may_add(shares: &Shares, who: &Principal, owner: Option<&str>) -> bool {
        shares.has_room(who, &[device("another", owner, 0)], None).is_ok()
    }

    #[test]
    fn guests_and_each_user_have_a_share_of_the_devices_and_no_more() {
        let (mut shares, guest) = (Shares::default(), Principal::Guest { tenant: default_tenant() });
        let (nobodys, adas) = (device("d", None, 0), device("d", Some("ada"), 0));
        (0..DEVICES_MAX * GUESTS_SHARE_PERCENT / 100).for_each(|_| shares.add(&nobodys));
        assert!(!may_add(&shares, &guest, None));
        assert!(may_add(&shares, &user("ada"), Some("ada")) && may_add(&shares, &user("root"), None), "others have theirs");
        shares.remove(&nobodys);
        assert!(may_add(&shares, &guest, None));
        (0..DEVICES_MAX * USER_SHARE_PERCENT / 100).for_each(|_| shares.add(&adas));
        assert!(!may_add(&shares, &user("ada"), Some("ada")) && may_add(&shares, &user("bob"), Some("bob")));
        assert!(shares.has_room(&user("ada"), std::slice::from_ref(&adas), Some(&adas)).is_ok(), "she may change what she has");
        assert!(
            shares.has_room(&user("bob"), std::slice::from_ref(&adas), Some(&device("d", Some("bob"), 0))).is_err(),
            "nor be given more"
        );
        let gateway: Gateway = serde_json::from_value(json!({ "id": "g", "owner": "ada", "date_created": 0, "date_modified": 0 })).unwrap();
        assert!(shares.has_room(&user("ada"), &[gateway], None).is_ok(), "of another kind");
    }

    #[test]
    fn guests_and_each_user_have_a_share_of_the_bytes() {
        let (mut shares, guest) = (Shares::default(), Principal::Guest { tenant: default_tenant() });
        let (large, small) = (device("d", None, 250_000), device("d", None, 0));
        while shares.0.get(&None).is_none_or(|share| share.bytes + bytes(&large) <= GUESTS_DOCUMENTS_BYTES_MAX) {
            assert!(shares.has_room(&guest, std::slice::from_ref(&large), None).is_ok());
            shares.add(&large);
        }
        assert!(shares.has_room(&guest, std::slice::from_ref(&large), None).is_err());
        assert!(shares.has_room(&guest, std::slice::from_ref(&large), Some(&small)).is_err(), "what is there does not grow either");
        assert!(shares.has_room(&guest, std::slice::from_ref(&small), Some(&large)).is_ok(), "but it may shrink");
        let large = device("d", Some("ada"), 250_000);
        while shares.has_room(&user("ada"), std::slice::from_ref(&large), None).is_ok() {
            shares.add(&large);
        }
        let had = shares.0[&Some(Id::new("ada").unwrap())].bytes;
        assert!((USER_DOCUMENTS_BYTES_MAX - bytes(&large)..=USER_DOCUMENTS_BYTES_MAX).contains(&had));
        shares.0.values_mut().for_each(|share| *share = Share { bytes: bytes(&small), devices: 1, ..Share::default() });
        shares.remove(&small);
        assert_eq!(shares.0.get(&None), None, "nothing is left of who has nothing");
    }
}
