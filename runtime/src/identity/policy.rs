//! The one decision that every door asks for.

use crate::model::{Id, Tenant};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a token is for. The narrowest one that does the job is the one to hand out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "role")]
pub enum Role {
    /// Everything in its tenant.
    Admin,
    /// Push to one app, run it and look after it: a continuous-integration job.
    Deploy { app: Id },
    /// Look at everything, change nothing: a dashboard.
    Read,
    /// Send readings, see nothing: a device.
    Send,
}

/// Somebody whose secret was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub tenant: Tenant,
    /// The token's id, for logs: never its secret.
    pub token: String,
    pub name: String,
    pub role: Role,
}

/// What somebody wants to do, inside the tenant of the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Put readings into the log.
    Send,
    /// See devices, values, history and live events, and the list of apps.
    Read,
    /// See an app's releases, functions, log, state, config and dead letters.
    Inspect(&'a Id),
    /// Push to an app, build it again, roll it back, set its config and secrets, replay its dead letters.
    Operate(&'a Id),
    /// Call an app's HTTP functions that want a token.
    Call(&'a Id),
    /// Delete an app, manage tokens, copy the node.
    Administer,
}

/// Whether `who` may do `action`. Pure: the same answer at every door.
pub fn allow(who: &Identity, action: Action<'_>) -> bool {
    match (&who.role, action) {
        (Role::Admin, _) => true,
        (Role::Deploy { app }, Action::Inspect(on) | Action::Operate(on) | Action::Call(on)) => app == on,
        (Role::Read, Action::Read | Action::Inspect(_)) => true,
        (Role::Send, Action::Send) => true,
        (Role::Deploy { .. } | Role::Read | Role::Send, _) => false,
    }
}

impl Role {
    /// As the API and the file of tokens call it.
    pub fn name(&self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Deploy { .. } => "deploy",
            Role::Read => "read",
            Role::Send => "send",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Deploy { app } => write!(f, "deploy({app})"),
            Role::Admin | Role::Read | Role::Send => f.write_str(self.name()),
        }
    }
}

impl fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Send => f.write_str("send readings"),
            Action::Read => f.write_str("read devices and history"),
            Action::Inspect(app) => write!(f, "inspect app `{app}`"),
            Action::Operate(app) => write!(f, "operate app `{app}`"),
            Action::Call(app) => write!(f, "call app `{app}`"),
            Action::Administer => f.write_str("administer the node"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::id::default_tenant;

    /// Every role against every action, so that a new one of either has to be thought about here.
    #[test]
    fn the_whole_policy_is_one_table() {
        let mine = Id::new("mine").unwrap();
        let other = Id::new("other").unwrap();
        let actions = [
            Action::Send,
            Action::Read,
            Action::Inspect(&mine),
            Action::Operate(&mine),
            Action::Call(&mine),
            Action::Inspect(&other),
            Action::Operate(&other),
            Action::Call(&other),
            Action::Administer,
        ];
        let table = [
            (Role::Admin, "yyyyyyyyy"),
            (Role::Deploy { app: mine.clone() }, "..yyy...."),
            (Role::Read, ".yy..y..."),
            (Role::Send, "y........"),
        ];
        for (role, wanted) in table {
            let who = Identity { tenant: default_tenant(), token: "t1".into(), name: "x".into(), role };
            let got: String = actions.iter().map(|a| if allow(&who, *a) { 'y' } else { '.' }).collect();
            assert_eq!(got, wanted, "{}", who.role);
        }
    }
}
