//! In: a secret somebody showed, an action somebody wants. Out: who it is, yes or no.
//! Never: knows HTTP or git, keeps the text of a token, asks the network.
//!
//! Tokens are made here and checked here: a node that is offline for a week still knows whom it trusts.

mod access;
mod file;
mod node_secret;
mod policy;
mod secret;
mod tokens;

pub use access::{Deed, Principal, Resource, ResourceKind, may, scopes};
pub use node_secret::node_secret;
pub use policy::{Action, Identity, Role, allow};
pub use tokens::{IdentityError, TOKENS_MAX, Token, Tokens};
