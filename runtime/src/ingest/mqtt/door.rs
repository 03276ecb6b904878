//! What the listener asks of the rest of the node. Handed in by `node.rs`, so that nobody here knows how it is answered.

use crate::{
    devices::{registry::since, speaks_for},
    identity::{Deed, Principal, Resource, ResourceKind, may},
    model::{Device, Gateway, Id, Micros, Owned, Tenant, Visibility},
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

pub type DeviceOf = Arc<dyn Fn(&Tenant, &Id) -> Option<Arc<Device>> + Send + Sync>;

pub type GatewayOf = Arc<dyn Fn(&Tenant, &Id) -> Option<Arc<Gateway>> + Send + Sync>;

pub type Connected = Arc<dyn Fn(&Principal, &str, bool) + Send + Sync>;

/// Cheap to clone. All but `identify` read memory, and are asked on the hot path.
#[derive(Clone)]
pub struct Door {
    /// Who comes with this user name and this password.
    pub identify: Identify,
    /// A device as it is registered, or was heard; none for one that nobody knows.
    pub device: DeviceOf,
    pub gateway: GatewayOf,
    /// A client with this id has come, or has gone: it may be a gateway.
    pub connected: Connected,
}

/// A device as one message after another asks for it.
pub(super) struct About(Option<Arc<Device>>);

/// Nobody's: administrators and machines of the node alone.
static NOBODYS: Owned = Owned { owner: None, visibility: Visibility::Private };

impl Door {
    pub(super) fn about(&self, tenant: &Tenant, device: &Id) -> About {
        About((self.device)(tenant, device))
    }

    pub(super) fn may_send(&self, who: &Principal, device: &Id) -> bool {
        may(who, Deed::CreateData, self.about(who.tenant(), device).resource(device))
    }

    /// Whether it may be a sensor that nobody has heard of yet: a guest sends to those that somebody's device has, and adds none to it.
    pub(super) fn may_add(&self, who: &Principal, device: &Id, sensor: &Id) -> bool {
        let Some(device) = self.about(who.tenant(), device).0 else { return true };
        !matches!(who, Principal::Guest { .. }) || device.owned.owner.is_none() || device.sensors.iter().any(|known| known.id == *sensor)
    }

    /// Whether somebody who came under this name takes the commands of a device: the device, by its secret; the gateway that it is behind; and, where
    /// `calls_it_by_name`, its owner, an administrator or a token that sends. Others look on.
    pub(super) fn stands_for(&self, who: &Principal, name: &str, calls_it_by_name: bool, device: &Id) -> bool {
        if let Principal::Device { id, .. } = who
            && id == device
        {
            return true;
        }
        let about = self.about(who.tenant(), device);
        let gateway = about.0.as_ref().and_then(|device| device.gateway_id.clone()).filter(|gateway| gateway.as_str() == name);
        if gateway.and_then(|gateway| (self.gateway)(who.tenant(), &gateway)).is_some_and(|gateway| speaks_for(who, &gateway)) {
            return true;
        }
        let of = about.resource(device);
        calls_it_by_name && (may(who, Deed::Update, of) || (matches!(who, Principal::Token(_)) && may(who, Deed::CreateData, of)))
    }
}

impl About {
    fn resource<'a>(&'a self, id: &'a Id) -> Resource<'a> {
        Resource { kind: ResourceKind::Device, id, owned: self.0.as_ref().map_or(&NOBODYS, |device| &device.owned) }
    }

    /// Whether somebody may know what was received of it then.
    pub(super) fn is_shown_to(&self, who: &Principal, tenant: &Tenant, device: &Id, received: Micros) -> bool {
        let since = self.0.as_ref().and_then(|device| since(who, device));
        who.tenant() == tenant && may(who, Deed::ViewData, self.resource(device)) && since.is_none_or(|since| received >= since)
    }
}
