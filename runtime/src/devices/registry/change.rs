//! Changes: decided on what the ledger has, durable and in the index when they return.

use super::{
    Inner, Registry, RegistryError,
    document::{Document, taken_away},
    index::{device, eui, shown},
};
use crate::{
    devices::{
        DevicesError,
        batch::{Gone, What},
    },
    identity::{Deed, Principal, may},
    ledger::Ledger,
    model::{
        Device, Gateway, Id, Micros, Project,
        limit::{GATEWAYS_MAX, PROJECTS_MAX},
    },
    records::{Changes, RecordsError},
};
use serde::de::IgnoredAny;
use std::{collections::HashSet, sync::Arc};

/// What somebody wants of a document; asked again when another change came first.
type Wish<'a, D> = &'a mut (dyn FnMut(&mut D) -> Result<(), RegistryError> + Send);

impl Registry {
    /// A user owns what she makes; an administrator may make it for another.
    pub async fn create_device(&self, who: &Principal, device: Device, now: Micros) -> Result<Arc<Device>, RegistryError> {
        let id = device.id.clone();
        self.create_devices(who, vec![device], now).await?;
        self.device(&id).ok_or(RegistryError::Unknown { what: Device::WHAT, id })
    }

    /// All of them or none, in one commit of the ledger: at most [`crate::records::WRITES_MAX`], and a few hundred kilobytes.
    pub async fn create_devices(&self, who: &Principal, devices: Vec<Device>, now: Micros) -> Result<(), RegistryError> {
        let room = |inner: &Inner| (inner.index.read().len(), inner.devices_max, "devices");
        self.create(who, devices, now, room).await
    }

    /// A device that nobody knows becomes whose first reading makes it: private, hers. False where it is another's, or was heard and nobody registered it.
    pub async fn make(&self, ledger: &Ledger, who: &Principal, id: &Id, now: Micros) -> Result<bool, RegistryError> {
        let head = *ledger.head().borrow();
        // It may have been registered, or heard, a moment ago, on this node or another.
        let mut is_fresh = self.0.devices.position() >= head;
        while !is_fresh {
            let (devices, ledger) = (self.0.devices.clone(), ledger.clone());
            is_fresh = tokio::task::spawn_blocking(move || devices.reach(&ledger, head)).await.map_err(DevicesError::from)??;
        }
        if self.owned(id).is_none() {
            match self.create_device(who, device(id, now, Vec::new()), now).await {
                // Somebody was faster: the same user, with another reading, or not.
                Err(RegistryError::Exists { .. }) => self.0.refresh(&Device::key(id))?,
                made => return made.map(|_| true),
            }
        }
        Ok(self.allows(who, Deed::CreateData, id) == Some(true))
    }

    /// `wish` sees the device as [`Registry::device`] shows it: sensors that were only heard are registered with any change of their device. What
    /// sensors and actuators it takes away is forgotten with what they said.
    pub async fn update_device(
        &self,
        who: &Principal,
        id: &Id,
        now: Micros,
        mut wish: impl FnMut(&mut Device) -> Result<(), RegistryError> + Send,
    ) -> Result<Arc<Device>, RegistryError> {
        let read = |inner: &Inner| {
            let document = inner.records.get::<Device>(&Device::key(id))?.map(Arc::new);
            Ok(shown(id, document.as_ref(), &inner.index.read().heard(id)))
        };
        let gone = self.update(who, id, now, read, &mut wish, |before, after| Some(taken_away(before, after))).await?;
        self.0.forget_at_once(id, gone);
        self.0.refresh(&Device::key(id))?;
        self.device(id).ok_or_else(|| RegistryError::Unknown { what: Device::WHAT, id: id.clone() })
    }

    /// Deletes a device and what its sensors said last; what is in the history stays there. One that was only heard is forgotten until it is heard again.
    pub async fn delete_device(&self, who: &Principal, id: &Id, now: Micros) -> Result<(), RegistryError> {
        let (key, inner) = (Device::key(id), &self.0);
        let delete = |changes: &mut crate::records::Changes| {
            let document = inner.records.get::<Device>(&key)?.map(Arc::new);
            let device = shown(id, document.as_ref(), &inner.index.read().heard(id));
            let device = device.ok_or_else(|| RegistryError::Unknown { what: Device::WHAT, id: id.clone() })?;
            inner.allow(who, Deed::Delete, &*device, document.is_some())?;
            if let Some(document) = &document {
                changes.delete(key.clone());
                if let Some(eui) = eui(document) {
                    changes.delete(eui_key(&eui));
                }
            }
            changes.event(Gone { tenant: inner.tenant.clone(), device: id.clone(), what: What::ALL }.event(now));
            Ok::<(), RegistryError>(())
        };
        inner.records.change(now, delete).await?;
        inner.forget_at_once(id, Some(What::ALL));
        Ok(inner.refresh(&key)?)
    }

    pub async fn create_gateway(&self, who: &Principal, gateway: Gateway, now: Micros) -> Result<(), RegistryError> {
        let room = |inner: &Inner| (inner.index.read().gateways.len(), GATEWAYS_MAX, "gateways");
        self.create(who, vec![gateway], now, room).await
    }

    pub async fn update_gateway(
        &self,
        who: &Principal,
        id: &Id,
        now: Micros,
        mut wish: impl FnMut(&mut Gateway) -> Result<(), RegistryError> + Send,
    ) -> Result<(), RegistryError> {
        self.update(who, id, now, |inner| inner.document(id), &mut wish, |_, _| None).await?;
        Ok(self.0.refresh(&Gateway::key(id))?)
    }

    /// Its devices stay, and go on naming it.
    pub async fn delete_gateway(&self, who: &Principal, id: &Id, now: Micros) -> Result<(), RegistryError> {
        self.delete::<Gateway>(who, id, now).await
    }

    pub async fn create_project(&self, who: &Principal, project: Project, now: Micros) -> Result<(), RegistryError> {
        let room = |inner: &Inner| (inner.index.read().projects.len(), PROJECTS_MAX, "projects");
        self.create(who, vec![project], now, room).await
    }

    pub async fn update_project(
        &self,
        who: &Principal,
        id: &Id,
        now: Micros,
        mut wish: impl FnMut(&mut Project) -> Result<(), RegistryError> + Send,
    ) -> Result<(), RegistryError> {
        self.update(who, id, now, |inner| inner.document(id), &mut wish, |_, _| None).await?;
        Ok(self.0.refresh(&Project::key(id))?)
    }

    pub async fn delete_project(&self, who: &Principal, id: &Id, now: Micros) -> Result<(), RegistryError> {
        self.delete::<Project>(who, id, now).await
    }

    /// `room`: how many there are, how many there may be, and of what.
    async fn create<D: Document>(
        &self,
        who: &Principal,
        mut documents: Vec<D>,
        now: Micros,
        room: impl Fn(&Inner) -> (usize, usize, &'static str) + Send + Sync,
    ) -> Result<(), RegistryError> {
        for document in &mut documents {
            self.0.prepare(who, document, now)?;
        }
        let keys: Vec<String> = documents.iter().map(|document| D::key(document.id())).collect();
        let create = |changes: &mut crate::records::Changes| {
            let (mut new, mut names) = (HashSet::new(), HashSet::new());
            for (document, key) in documents.iter().zip(&keys) {
                if !new.insert(key) || self.0.records.get::<IgnoredAny>(key)?.is_some() {
                    return Err(RegistryError::Exists { what: D::WHAT, id: document.id().clone() });
                }
                changes.put(key.clone(), document)?;
                self.0.claim(changes, None, document, &mut names)?;
            }
            match room(&self.0) {
                (is, max, what) if is + new.len() > max => Err(RegistryError::Full { what, max }),
                _ => self.0.index.read().shares.has_room(who, &documents, None),
            }
        };
        self.0.records.change(now, create).await?;
        Ok(keys.iter().try_for_each(|key| self.0.refresh(key))?)
    }

    /// What the change took away, as `taken` finds it.
    async fn update<D: Document>(
        &self,
        who: &Principal,
        id: &Id,
        now: Micros,
        read: impl Fn(&Inner) -> Result<Option<Arc<D>>, RecordsError> + Send + Sync,
        wish: Wish<'_, D>,
        taken: impl Fn(&D, &D) -> Option<What> + Send + Sync,
    ) -> Result<Option<What>, RegistryError> {
        let key = D::key(id);
        let inner = &self.0;
        let update = |changes: &mut crate::records::Changes| {
            let before = read(inner)?.ok_or_else(|| RegistryError::Unknown { what: D::WHAT, id: id.clone() })?;
            inner.allow(who, Deed::Update, &*before, inner.records.get::<IgnoredAny>(&key)?.is_some())?;
            let mut after = D::clone(&before);
            wish(&mut after)?;
            if after == *before {
                return Ok(None);
            }
            if after.id() != id {
                return Err(RegistryError::Invalid { field: "id", why: "an id stays as it is".to_owned() });
            }
            after.stamp(Some(&before), now);
            after.check()?;
            inner.index.read().shares.has_room(who, std::slice::from_ref(&after), Some(&*before))?;
            changes.put(key.clone(), &after)?;
            inner.claim(changes, Some(&*before), &after, &mut HashSet::new())?;
            let gone = taken(&before, &after).filter(|what| !what.is_nothing());
            if let Some(what) = &gone {
                changes.event(Gone { tenant: inner.tenant.clone(), device: id.clone(), what: what.clone() }.event(now));
            }
            Ok::<Option<What>, RegistryError>(gone)
        };
        inner.records.change(now, update).await
    }

    async fn delete<D: Document>(&self, who: &Principal, id: &Id, now: Micros) -> Result<(), RegistryError> {
        let (key, inner) = (D::key(id), &self.0);
        let delete = |changes: &mut crate::records::Changes| {
            let document = inner.document::<D>(id)?.ok_or_else(|| RegistryError::Unknown { what: D::WHAT, id: id.clone() })?;
            inner.allow(who, Deed::Delete, &*document, true)?;
            changes.delete(key.clone());
            Ok::<(), RegistryError>(())
        };
        inner.records.change(now, delete).await?;
        Ok(inner.refresh(&key)?)
    }
}

/// Under which the device is found that has a DevEUI.
fn eui_key(eui: &str) -> String {
    format!("eui:{eui}")
}

impl Inner {
    /// What names a LoRaWAN device belongs to one document: the first that says it. `claimed`: those of the same change.
    fn claim<D: Document>(
        &self,
        changes: &mut Changes,
        before: Option<&D>,
        after: &D,
        claimed: &mut HashSet<String>,
    ) -> Result<(), RegistryError> {
        let (was, is) = (before.and_then(Document::eui), after.eui());
        if let Some(eui) = &is
            && was != is
        {
            if let Some(other) = self.holder_of(eui, after.id())? {
                let why = format!("its `dev_eui` {eui} is that of the device `{other}`");
                return Err(RegistryError::Invalid { field: "meta", why });
            }
            if !claimed.insert(eui.clone()) {
                return Err(RegistryError::Invalid { field: "meta", why: format!("the `dev_eui` {eui} is there twice") });
            }
            changes.put(eui_key(eui), after.id())?;
        }
        if let Some(was) = was.filter(|was| is.as_ref() != Some(was)) {
            changes.delete(eui_key(&was));
        }
        // Who is named as another's DevEUI would get what that one sends.
        match D::eui_of_id(after.id()).filter(|_| before.is_none()) {
            Some(eui) => match self.holder_of(&eui, after.id())? {
                Some(other) => Err(RegistryError::Invalid { field: "id", why: format!("it is the `dev_eui` of the device `{other}`") }),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// The registered device, other than `id`, that has a DevEUI: by its id, or by what it says. Documents from before there were keys for it are in the index.
    fn holder_of(&self, eui: &str, id: &Id) -> Result<Option<Id>, RecordsError> {
        let named = Id::new(eui).ok();
        let keyed = self.records.get::<Id>(&eui_key(eui))?;
        let indexed = self.index.read().of_eui(eui).cloned();
        for other in [named, keyed, indexed].into_iter().flatten().filter(|other| other != id) {
            let document = self.records.get::<Device>(&Device::key(&other))?;
            if document.is_some_and(|document| other.as_str() == eui || self::eui(&document).as_deref() == Some(eui)) {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    fn prepare<D: Document>(&self, who: &Principal, document: &mut D, now: Micros) -> Result<(), RegistryError> {
        let owner = &mut document.owned_mut().owner;
        if !who.is_admin() || owner.is_none() {
            *owner = who.user().cloned();
        }
        document.stamp(None, now);
        self.allow(who, Deed::Create, document, true)?;
        document.check()
    }

    fn document<D: Document>(&self, id: &Id) -> Result<Option<Arc<D>>, RecordsError> {
        Ok(self.records.get::<D>(&D::key(id))?.map(Arc::new))
    }

    /// What is not registered is unknown to those who can't see it.
    fn allow<D: Document>(&self, who: &Principal, deed: Deed, document: &D, registered: bool) -> Result<(), RegistryError> {
        let here = *who.tenant() == self.tenant;
        if here && may(who, deed, document.resource()) {
            return Ok(());
        }
        let id = document.id().clone();
        match registered || (here && may(who, Deed::View, document.resource())) {
            true => Err(RegistryError::Forbidden { deed, what: D::WHAT, id }),
            false => Err(RegistryError::Unknown { what: D::WHAT, id }),
        }
    }

    /// The projection finds it in the log a moment later, and takes the values away.
    fn forget_at_once(&self, id: &Id, what: Option<What>) {
        if let Some(What { sensors, .. }) = what {
            let _turn = self.turn.lock();
            self.index.write().forget(id, sensors.as_deref());
        }
    }
}
