//! Why a change of the registry was not made. Nothing of it is stored.

use crate::{
    devices::DevicesError,
    identity::Deed,
    model::{Id, limit::QUERY_COMPARISONS_MAX},
    preprocess::RuleError,
    records::RecordsError,
};

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("there is no {what} `{id}`")]
    Unknown { what: &'static str, id: Id },
    #[error("there is a {what} `{id}` already")]
    Exists { what: &'static str, id: Id },
    #[error("who asks may not {} the {what} `{id}`: its owner and administrators may", deed_text(*.deed))]
    Forbidden { deed: Deed, what: &'static str, id: Id },
    /// `field` is the name of a field of the document, or a path to it.
    #[error("`{field}`: {why}")]
    Invalid { field: &'static str, why: String },
    #[error("this node has its {max} {what} already; delete some that nobody needs")]
    Full { what: &'static str, max: usize },
    /// `whose`: a user's, or of nobody.
    #[error("{whose} have their share of this node's {what} already, which is {max}")]
    Share { whose: String, what: &'static str, max: usize },
    #[error("this takes more than {QUERY_COMPARISONS_MAX} comparisons with the devices that there are")]
    TooSlow,
    #[error(transparent)]
    Rule(#[from] RuleError),
    #[error("can't change or read the registry")]
    Records(#[from] RecordsError),
    #[error("can't read what devices sent")]
    Devices(#[from] DevicesError),
}

fn deed_text(deed: Deed) -> &'static str {
    match deed {
        Deed::Create => "create",
        Deed::Update => "change",
        Deed::View => "see",
        Deed::Delete => "delete",
        Deed::CreateData => "send values to",
        Deed::ViewData => "read the values of",
    }
}
