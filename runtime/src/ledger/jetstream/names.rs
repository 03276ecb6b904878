//! Names on the wire: `docs/formats/subjects.md`.

use crate::model::{AppId, Id, Tenant};

/// Partitions of what outsiders subscribe to: an outsider takes some of them and leaves the rest to its twin.
pub(super) const PARTITIONS: u32 = 16;

pub(super) fn operations_stream(tenant: &Tenant) -> String {
    format!("TAWI_{}", tenant.to_token())
}

pub(super) fn intake_stream(tenant: &Tenant) -> String {
    format!("TAWI_INTAKE_{}", tenant.to_token())
}

pub(super) fn out_stream(tenant: &Tenant) -> String {
    format!("TAWI_OUT_{}", tenant.to_token())
}

fn root(tenant: &Tenant) -> String {
    format!("tawi.v1.{}", tenant.to_token())
}

pub(super) fn append_subject(tenant: &Tenant) -> String {
    format!("{}.append", root(tenant))
}

/// Everything that names an app: its commits, and what is done to its consumers and dead letters.
pub(super) fn app_subject(tenant: &Tenant, app: &AppId) -> String {
    format!("{}.commit.{}", root(tenant), app.app.to_token())
}

pub(super) fn operations_subjects(tenant: &Tenant) -> Vec<String> {
    vec![append_subject(tenant), format!("{}.commit.*", root(tenant))]
}

/// Where outsiders publish readings; the rest of the subject is `DEVICE.SENSOR`.
pub(super) fn reading_prefix(tenant: &Tenant) -> String {
    format!("{}.reading.", root(tenant))
}

/// Where outsiders publish messages; the rest of the subject is the message's own.
pub(super) fn event_prefix(tenant: &Tenant) -> String {
    format!("{}.event.", root(tenant))
}

pub(super) fn intake_subjects(tenant: &Tenant) -> Vec<String> {
    vec![format!("{}*.*", reading_prefix(tenant)), format!("{}>", event_prefix(tenant))]
}

/// Each partition by its number: a wildcard in its place would overlap with what is published to intake.
pub(super) fn out_subjects(tenant: &Tenant) -> Vec<String> {
    (0..PARTITIONS).map(|partition| format!("{}.{partition}.>", root(tenant))).collect()
}

pub(super) fn out_prefix(tenant: &Tenant, key: &str) -> String {
    format!("{}.{}", root(tenant), partition(key))
}

/// FNV-1a: simple enough for every outsider to compute, the same for ever.
fn partition(key: &str) -> u32 {
    let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % PARTITIONS
}

/// One token after a prefix, as an id.
pub(super) fn id_of(token: &str) -> Option<Id> {
    Id::from_token(token).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_key_never_changes() {
        // Computed by hand with the published constants: consumers elsewhere rely on them.
        assert_eq!((partition(""), partition("a"), partition("fridge1")), (0x811c_9dc5 % 16, 0xe40c_292c_u32 % 16, partition("fridge1")));
        let tenant = Id::new("acme.org").unwrap();
        assert_eq!(out_prefix(&tenant, "a"), "tawi.v1.acme%2Eorg.12");
        assert_eq!(operations_stream(&tenant), "TAWI_acme%2Eorg");
    }
}
