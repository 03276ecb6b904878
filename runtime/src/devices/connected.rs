//! Gateways that hold a line to the node: somebody's whose name is theirs, and who may speak for them.
//!
//! Of this node and of this moment, so nothing of it is kept: a restart hears of each again.

use crate::{
    identity::{Deed, Principal, Resource, ResourceKind, may},
    model::{Gateway, Id},
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// Who is there under which name, each once however many lines there are: a line that takes the place of another comes, and the other does
/// not go. The listener has a most of lines. Cheap to clone.
#[derive(Clone, Default)]
pub struct Connected(Arc<Mutex<HashMap<Id, Vec<Principal>>>>);

impl Connected {
    /// Somebody has come with a name. What can't be an id is no gateway's.
    pub fn came(&self, who: &Principal, name: &str) {
        if let Ok(name) = Id::new(name) {
            let mut all = self.0.lock();
            let there = all.entry(name).or_default();
            if !there.contains(who) {
                there.push(who.clone());
            }
        }
    }

    /// And has gone.
    pub fn went(&self, who: &Principal, name: &str) {
        let Ok(name) = Id::new(name) else { return };
        let mut all = self.0.lock();
        let Some(there) = all.get_mut(&name) else { return };
        if let Some(at) = there.iter().position(|other| other == who) {
            there.swap_remove(at);
        }
        if there.is_empty() {
            all.remove(&name);
        }
    }

    /// Whether one of those who are there under its name is the gateway. It is asked now, and not when they came, because a gateway may be
    /// registered after that.
    pub fn is(&self, gateway: &Gateway) -> bool {
        self.0.lock().get(&gateway.id).is_some_and(|there| there.iter().any(|who| speaks_for(who, gateway)))
    }
}

/// Who comes with a gateway's name is the gateway: its owner, an administrator, or a token that sends.
pub fn speaks_for(who: &Principal, gateway: &Gateway) -> bool {
    let of = Resource { kind: ResourceKind::Gateway, id: &gateway.id, owned: &gateway.owned };
    may(who, Deed::Update, of) || (matches!(who, Principal::Token(_)) && may(who, Deed::CreateData, of))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::{Micros, Owned, id::default_tenant};

    #[test]
    fn a_gateway_is_there_while_somebody_who_speaks_for_it_is() {
        let user = |name| Principal::User { tenant: default_tenant(), id: Id::new(name).unwrap(), admin: false };
        let gateway = Gateway {
            id: Id::new("MyGW").unwrap(),
            name: None,
            owned: Owned { owner: Some(Id::new("ada").unwrap()), ..Owned::default() },
            location: None,
            meta: Default::default(),
            heartbeat: None,
            date_created: Micros(1),
            date_modified: Micros(1),
        };
        let connected = Connected::default();
        // Strangers may well call themselves so.
        for stranger in [user("bob"), Principal::Guest { tenant: default_tenant() }] {
            connected.came(&stranger, "MyGW");
            assert!(!connected.is(&gateway));
        }
        connected.came(&user("ada"), "not an id");
        connected.came(&user("ada"), "MyGW");
        connected.came(&user("ada"), "MyGW");
        assert!(connected.is(&gateway));
        connected.went(&user("ada"), "MyGW");
        connected.went(&user("ada"), "MyGW");
        assert!(!connected.is(&gateway));
        connected.went(&user("bob"), "MyGW");
        connected.went(&Principal::Guest { tenant: default_tenant() }, "MyGW");
        assert!(connected.0.lock().is_empty());
    }
}
