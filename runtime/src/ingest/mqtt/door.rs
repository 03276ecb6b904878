//! What the listener asks of the rest of the node. Handed in by `node.rs`, so that nobody here knows how it is answered.

use crate::{
    identity::{Deed, Principal, Resource, ResourceKind, may},
    model::{Id, Owned, Tenant, Visibility},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::sync::Arc;

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The user name or the password is wrong, or there has to be one.
    Unknown,
    /// It can't be told now.
    Busy,
}

/// Somebody who is let in.
#[derive(Clone)]
pub struct Known {
    pub who: Principal,
    /// Whether who came in a while ago may stay.
    pub stays: Arc<dyn Fn() -> bool + Send + Sync>,
}

pub type Identify = Arc<dyn Fn(Option<Arc<str>>, Option<Bytes>) -> BoxFuture<'static, Result<Known, Refused>> + Send + Sync>;

pub type OwnedOf = Arc<dyn Fn(&Tenant, &Id) -> Option<Owned> + Send + Sync>;

pub type Connected = Arc<dyn Fn(&Principal, &str, bool) + Send + Sync>;

/// Cheap to clone. All but `identify` read memory, and are asked on the hot path.
#[derive(Clone)]
pub struct Door {
    /// Who comes with this user name and this password.
    pub identify: Identify,
    /// Whose a device is; none for one that nobody registered.
    pub owned: OwnedOf,
    /// A client with this id has come, or has gone: it may be a gateway.
    pub connected: Connected,
}

impl Door {
    pub(super) fn owned(&self, tenant: &Tenant, device: &Id) -> Owned {
        // Nobody's: administrators and machines of the node alone.
        (self.owned)(tenant, device).unwrap_or(Owned { owner: None, visibility: Visibility::Private })
    }

    pub(super) fn may_send(&self, who: &Principal, device: &Id) -> bool {
        may(who, Deed::CreateData, resource(device, &self.owned(who.tenant(), device)))
    }
}

pub(super) fn may_view(who: &Principal, tenant: &Tenant, device: &Id, owned: &Owned) -> bool {
    who.tenant() == tenant && may(who, Deed::ViewData, resource(device, owned))
}

fn resource<'a>(id: &'a Id, owned: &'a Owned) -> Resource<'a> {
    Resource { kind: ResourceKind::Device, id, owned }
}
