//! In: a secret somebody showed, an action somebody wants. Out: who it is, yes or no.
//! Never: knows HTTP, MQTT or git, keeps the text of a token or a password, asks the network.
//!
//! Tokens, passwords and secrets are made here and checked here: a node that is offline for a week still knows whom it trusts.

mod access;
mod account;
mod attempts;
mod device_claims;
mod device_secrets;
mod file;
mod identify;
mod node_secret;
mod password;
mod policy;
mod registered;
mod remembered;
mod secret;
mod session;
mod tokens;
mod user;
mod users;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use access::{Deed, Principal, Resource, ResourceKind, may, scopes};
pub use account::AccountError;
pub use attempts::Attempts;
pub use device_claims::{DeviceClaims, Redeemed};
pub use device_secrets::{DeviceSecret, DeviceSecrets};
pub use identify::{Identify, Known, Refused, Shown};
pub use node_secret::node_secret;
pub use policy::{Action, Identity, Role, allow};
pub use tokens::{IdentityError, TOKENS_MAX, Token, Tokens};
pub use user::{NewUser, Profile, User};
pub use users::Users;
