//! Lists, of what somebody may see.

use super::{Registry, RegistryError};
use crate::{
    devices::Query,
    identity::{Deed, Principal, may},
    model::{Device, Gateway, Id, Project, limit::QUERY_COMPARISONS_MAX},
};
use std::{cell::Cell, collections::HashSet, sync::Arc};

/// Devices that are looked at while nobody can change one: some hundred microseconds.
const STEP: usize = 2_000;

impl Registry {
    /// Devices that `who` sees and that fit, in the order of their ids, `offset` skipped; and how many these are in all.
    pub fn list(&self, who: &Principal, query: &Query, limit: usize, offset: usize) -> Result<(Vec<Arc<Device>>, usize), RegistryError> {
        if *who.tenant() != self.0.tenant {
            return Ok((Vec::new(), 0));
        }
        if query.is_all() {
            return Ok(self.list_all(who, limit, offset));
        }
        let (mut page, mut total, spent) = (Vec::new(), 0, Cell::new(0));
        let mut last: Option<Id> = None;
        loop {
            let (devices, is_end) = self.step(who, &mut last);
            for device in devices {
                if query.fits(&device, &spent) {
                    if total >= offset && page.len() < limit {
                        page.push(device);
                    }
                    total += 1;
                }
                if spent.get() > QUERY_COMPARISONS_MAX {
                    return Err(RegistryError::TooSlow);
                }
            }
            if is_end {
                return Ok((page, total));
            }
        }
    }

    /// The next devices that somebody sees, to be looked at while others change them, and whether they are the last.
    pub(super) fn step(&self, who: &Principal, last: &mut Option<Id>) -> (Vec<Arc<Device>>, bool) {
        let index = self.0.index.read();
        let (mut devices, mut step, mut at) = (Vec::new(), 0, None);
        for entry in index.behind(last.as_ref()).take(STEP) {
            (step, at) = (step + 1, Some(&entry.id));
            if may(who, Deed::View, entry.resource()) {
                devices.push(entry.shown.clone());
            }
        }
        let at = at.cloned();
        drop(index);
        *last = at.or(last.take());
        (devices, step < STEP)
    }

    fn list_all(&self, who: &Principal, limit: usize, offset: usize) -> (Vec<Arc<Device>>, usize) {
        let counted = self.0.index.read().seen_by(who);
        let (mut page, mut seen) = (Vec::new(), 0);
        let mut last: Option<Id> = None;
        loop {
            let index = self.0.index.read();
            let (mut step, mut at) = (0, None);
            for entry in index.behind(last.as_ref()).take(STEP) {
                (step, at) = (step + 1, Some(&entry.id));
                if !may(who, Deed::View, entry.resource()) {
                    continue;
                }
                if seen >= offset && page.len() < limit {
                    page.push(entry.shown.clone());
                }
                seen += 1;
                if page.len() >= limit {
                    return (page, counted);
                }
            }
            if step < STEP {
                return (page, counted);
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
