//! Lists, of what somebody may see.

use super::Registry;
use crate::{
    devices::Query,
    identity::{Deed, Principal, may},
    model::{Device, Gateway, Id, Project},
};
use std::{collections::HashSet, sync::Arc};

/// Devices that are looked at while nobody can change one: some hundred microseconds.
const STEP: usize = 2_000;

impl Registry {
    /// Devices that `who` sees and that fit, in the order of their ids, `offset` skipped; and how many these are in all.
    pub fn list(&self, who: &Principal, query: &Query, limit: usize, offset: usize) -> (Vec<Arc<Device>>, usize) {
        if *who.tenant() != self.0.tenant {
            return (Vec::new(), 0);
        }
        let counted = query.is_all().then(|| self.0.index.read().seen_by(who));
        let (mut page, mut total) = (Vec::new(), 0);
        let mut last: Option<Id> = None;
        loop {
            let index = self.0.index.read();
            let mut step = 0;
            let mut at = None;
            for entry in index.behind(last.as_ref()).take(STEP) {
                (step, at) = (step + 1, Some(&entry.id));
                if !may(who, Deed::View, entry.resource()) || !query.fits(&entry.shown) {
                    continue;
                }
                if total >= offset && page.len() < limit {
                    page.push(entry.shown.clone());
                }
                total += 1;
                if let Some(counted) = counted.filter(|_| page.len() >= limit) {
                    return (page, counted);
                }
            }
            if step < STEP {
                return (page, counted.unwrap_or(total));
            }
            last = at.cloned();
        }
    }

    /// Devices behind some gateways that `who` sees, `most` at most.
    pub fn behind(&self, who: &Principal, gateways: &[Id], most: usize) -> Vec<Arc<Device>> {
        let (wanted, mut found): (HashSet<&Id>, _) = (gateways.iter().collect(), Vec::new());
        let mut last: Option<Id> = None;
        while *who.tenant() == self.0.tenant && found.len() < most {
            let index = self.0.index.read();
            let (mut step, mut at) = (0, None);
            for entry in index.behind(last.as_ref()).take(STEP) {
                (step, at) = (step + 1, Some(&entry.id));
                let is_behind = entry.shown.gateway_id.as_ref().is_some_and(|gateway| wanted.contains(gateway));
                if is_behind && found.len() < most && may(who, Deed::View, entry.resource()) {
                    found.push(entry.shown.clone());
                }
            }
            if step < STEP {
                break;
            }
            last = at.cloned();
        }
        found
    }

    /// Every gateway that `who` sees, by id.
    pub fn gateways(&self, who: &Principal) -> Vec<Arc<Gateway>> {
        let index = self.0.index.read();
        let here = *who.tenant() == self.0.tenant;
        index
            .gateways
            .values()
            .filter(|gateway| here && may(who, Deed::View, super::document::Document::resource(&***gateway)))
            .cloned()
            .collect()
    }

    /// Every project that `who` sees, by id.
    pub fn projects(&self, who: &Principal) -> Vec<Arc<Project>> {
        let index = self.0.index.read();
        let here = *who.tenant() == self.0.tenant;
        let projects = index.projects.values().map(|group| &group.project);
        projects.filter(|project| here && may(who, Deed::View, super::document::Document::resource(&***project))).cloned().collect()
    }
}
