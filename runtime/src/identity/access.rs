//! Who may do what with a device, a gateway or a project: one decision for every door, REST, MQTT, history and host calls alike.
//!
//! The rules are those of the WAZIUP cloud: everybody creates; the owner and administrators change and delete; what is not private everybody
//! sees and may send values to. Tokens of the node keep the roles that they have.

use super::policy::{Identity, Role};
use crate::model::{Id, Owned, Tenant, Visibility};

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Nobody said who it is.
    Guest { tenant: Tenant },
    /// Somebody with a password.
    User { tenant: Tenant, id: Id, admin: bool },
    /// A machine with a token of the node.
    Token(Identity),
    /// A device with a secret of its own.
    Device { tenant: Tenant, id: Id },
}

/// What a decision is about.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    pub kind: ResourceKind,
    pub id: &'a Id,
    pub owned: &'a Owned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    Device,
    Gateway,
    Project,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Create,
    Update,
    View,
    Delete,
    /// Send it values and commands.
    CreateData,
    /// Read its values.
    ViewData,
}

impl Principal {
    /// Whoever runs the node.
    pub fn operator(tenant: &Tenant) -> Principal {
        let identity = Identity { tenant: tenant.clone(), token: "node".to_owned(), name: "node".to_owned(), role: Role::Admin };
        Principal::Token(identity)
    }

    pub fn tenant(&self) -> &Tenant {
        match self {
            Principal::Guest { tenant } | Principal::User { tenant, .. } | Principal::Device { tenant, .. } => tenant,
            Principal::Token(identity) => &identity.tenant,
        }
    }

    /// The user behind it, who owns what it makes.
    pub fn user(&self) -> Option<&Id> {
        match self {
            Principal::User { id, .. } => Some(id),
            _ => None,
        }
    }

    pub fn is_admin(&self) -> bool {
        match self {
            Principal::User { admin, .. } => *admin,
            Principal::Token(identity) => identity.role == Role::Admin,
            Principal::Guest { .. } | Principal::Device { .. } => false,
        }
    }

    fn owns(&self, of: Resource<'_>) -> bool {
        self.user().is_some_and(|user| of.owned.owner.as_ref() == Some(user))
    }
}

/// Whether `who` may do `deed` to something of the same tenant. Pure, and cheap enough for each device of a long list.
pub fn may(who: &Principal, deed: Deed, of: Resource<'_>) -> bool {
    use Deed::{Create, CreateData, Delete, Update, View, ViewData};
    if who.is_admin() {
        return true;
    }
    match (who, deed) {
        (Principal::Token(Identity { role: Role::Read, .. }), View | ViewData) => true,
        (Principal::Token(Identity { role: Role::Send, .. }), CreateData) => true,
        (Principal::Token(_), _) => false,
        // Itself, and nothing else.
        (Principal::Device { id, .. }, View | CreateData | ViewData) => of.kind == ResourceKind::Device && of.id == id,
        (Principal::Device { .. }, _) => false,
        (_, Create) => true,
        (_, Update | Delete) => who.owns(of),
        (_, View | CreateData | ViewData) => who.owns(of) || of.owned.visibility == Visibility::Public,
    }
}

/// What `who` may do, in the words of the WAZIUP API.
pub fn scopes(who: &Principal, of: Resource<'_>) -> Vec<&'static str> {
    let named = SCOPES.iter().filter(|(kind, deed, _)| *kind == of.kind && may(who, *deed, of));
    named.map(|(_, _, name)| *name).collect()
}

const SCOPES: [(ResourceKind, Deed, &str); 16] = {
    use Deed::{Create, CreateData, Delete, Update, View, ViewData};
    use ResourceKind::{Device, Gateway, Project};
    [
        (Device, Create, "devices:create"),
        (Device, Update, "devices:update"),
        (Device, View, "devices:view"),
        (Device, Delete, "devices:delete"),
        (Device, CreateData, "devices-data:create"),
        (Device, ViewData, "devices-data:view"),
        (Project, Create, "projects:create"),
        (Project, Update, "projects:update"),
        (Project, View, "projects:view"),
        (Project, Delete, "projects:delete"),
        (Gateway, Create, "gateways:create"),
        (Gateway, Update, "gateways:update"),
        (Gateway, View, "gateways:view"),
        (Gateway, Delete, "gateways:delete"),
        (Gateway, CreateData, "gateways-data:create"),
        (Gateway, ViewData, "gateways-data:view"),
    ]
};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::id::default_tenant;

    /// Everybody against everything, so that a new one of either has to be thought about here.
    #[test]
    fn the_whole_of_who_may_what_is_one_table() {
        let id = |text| Id::new(text).unwrap();
        let tenant = default_tenant();
        let user = |name, admin| Principal::User { tenant: default_tenant(), id: id(name), admin };
        let token = |role| Principal::Token(Identity { tenant: default_tenant(), token: "t".into(), name: "n".into(), role });
        let device = |name| Principal::Device { tenant: default_tenant(), id: id(name) };
        let (open, closed) = (
            Owned { owner: Some(id("ada")), visibility: Visibility::Public },
            Owned { owner: Some(id("ada")), visibility: Visibility::Private },
        );
        let nobodys = Owned { owner: None, visibility: Visibility::Private };
        // create, update, view, delete, data create, data view
        let deeds = [Deed::Create, Deed::Update, Deed::View, Deed::Delete, Deed::CreateData, Deed::ViewData];
        let table = [
            (Principal::Guest { tenant }, "y.y.yy", "y.....", "y....."),
            (user("ada", false), "yyyyyy", "yyyyyy", "y....."),
            (user("bob", false), "y.y.yy", "y.....", "y....."),
            (user("root", true), "yyyyyy", "yyyyyy", "yyyyyy"),
            (token(Role::Admin), "yyyyyy", "yyyyyy", "yyyyyy"),
            (token(Role::Read), "..y..y", "..y..y", "..y..y"),
            (token(Role::Send), "....y.", "....y.", "....y."),
            (token(Role::Deploy { app: id("app") }), "......", "......", "......"),
            (device("d"), "..y.yy", "..y.yy", "..y.yy"),
            (device("other"), "......", "......", "......"),
        ];
        for (who, on_open, on_closed, on_nobodys) in table {
            for (owned, wanted) in [(&open, on_open), (&closed, on_closed), (&nobodys, on_nobodys)] {
                let of = Resource { kind: ResourceKind::Device, id: &id("d"), owned };
                let got: String = deeds.iter().map(|deed| if may(&who, *deed, of) { 'y' } else { '.' }).collect();
                assert_eq!(got, wanted, "{who:?} on {owned:?}");
            }
        }
    }

    #[test]
    fn scopes_are_named_as_waziup_names_them() {
        let owned = Owned::default();
        let (guest, id) = (Principal::Guest { tenant: default_tenant() }, Id::new("x").unwrap());
        let of = |kind| Resource { kind, id: &id, owned: &owned };
        assert_eq!(
            scopes(&guest, of(ResourceKind::Device)),
            ["devices:create", "devices:view", "devices-data:create", "devices-data:view"]
        );
        assert_eq!(scopes(&guest, of(ResourceKind::Project)), ["projects:create", "projects:view"]);
    }
}
