//! In: notifications that users made, readings of the log. Out: messages on their way, commands in their owners' names, what became of each.
//! Never: loses what fired, sends it more often than its throttling says, lets anybody see a value that its owner may not see.
//!
//! A firing is one change of the records: the notification's state and its messages (or its command), by the sequence of the reading.
//! It is there or it is not, on every node of a log, and it is there once. What is sent is read from those records: so a node that dies
//! between a reading and its mail sends the mail when it is back, or another node does. `docs/decisions/0019` has the whole of it.

mod channel;
mod commit;
mod deliver;
mod document;
mod expression;
mod fire;
mod follow;
mod index;
mod look;
mod outbox;
mod recent;
mod wish;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use channel::{Channel, Channels, Refusal};
pub use document::{Action, ActuationAction, Condition, Notification, Sending, Social, SocialAction, State, Status};
pub use expression::{Expression, ExpressionError, Name, Operand};
pub use outbox::Pace;
pub use recent::Known;
pub use wish::{Letter, Wish, WishedCondition, status};

use crate::{
    identity::{Deed, Identity, Principal, Resource, ResourceKind, Role, may},
    ledger::{Ledger, LedgerError},
    model::{
        AppId, Id, Micros, Owned, Seq, Tenant, Visibility,
        limit::{FIRING_BYTES_MAX, NOTIFICATIONS_MAX, NOTIFICATIONS_PER_OWNER_MAX, SOCIALS_PENDING_PER_OWNER_MAX},
    },
    records::{Changes, Records, RecordsError, Space},
    telemetry::Standing,
};
use index::Index;
use outbox::Outbox;
use parking_lot::RwLock;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Whose a device is; none: nobody registered it.
pub type RegisteredOf = Arc<dyn Fn(&Id) -> Option<Registered> + Send + Sync>;
/// Who a user is; none: there is no such user. Blocks.
pub type PersonOf = Arc<dyn Fn(&Id) -> Option<Person> + Send + Sync>;
/// What a sensor of a device said last, everything up to the sequence counted. Blocks.
pub type CurrentOf = Arc<dyn Fn(&Id, &Id, Seq) -> Option<Known> + Send + Sync>;

/// What is asked of the rooms around; `node.rs` makes it.
#[derive(Clone)]
pub struct Lookup {
    pub registered: RegisteredOf,
    pub person: PersonOf,
    pub current: CurrentOf,
}

/// What of a device matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    pub owned: Owned,
    /// What it said before is nothing to its owner.
    pub since: Micros,
}

/// What of a user matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    pub admin: bool,
    pub email: Option<String>,
    /// An administrator set the address: who registers herself may have named anybody's.
    pub is_confirmed: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("there is no {what} `{id}`")]
    Unknown { what: &'static str, id: Id },
    #[error("{0}")]
    Forbidden(String),
    /// `field` is the name of a field of what was sent, or a path to it.
    #[error("`{field}`: {why}")]
    Invalid { field: &'static str, why: String },
    #[error("{what}: {max} at most; delete some that nobody needs")]
    Full { what: &'static str, max: usize },
    #[error("can't change or read the records of notifications")]
    Records(#[from] RecordsError),
    #[error("can't read the log for notifications, or note how far it was read")]
    Ledger(#[from] LedgerError),
    #[error("can't make an id")]
    Random(#[from] getrandom::Error),
    #[error("the worker of notifications ended early")]
    Task(#[from] tokio::task::JoinError),
}

/// The notifications of a node. Cheap to clone.
#[derive(Clone)]
pub struct Notify(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    tenant: Tenant,
    records: Records,
    lookup: Lookup,
    channels: Channels,
    index: RwLock<Index>,
    outbox: Outbox,
    /// Every event up to here was looked at, and what it fired is durable.
    position: AtomicU64,
    standing: Standing,
}

/// What a node remembers of itself stands beside the records, so that noting it makes no event to be looked at in turn.
const PLACE: &str = "~notify";
const POSITION: &str = "position";

impl Notify {
    /// Reads what there is. Blocks.
    pub fn open(ledger: Ledger, tenant: &Tenant, lookup: Lookup, channels: Channels, pace: Pace) -> Result<Notify, NotifyError> {
        let records = Records::new(ledger.clone(), tenant, Space::Devices);
        let (mut index, outbox) = (Index::default(), Outbox::new(pace));
        records.scan::<Notification>(Notification::PREFIX, |_, found| index.set(&found.id.clone(), Some(found)))?;
        records.scan::<Social>(Social::PREFIX, |_, found| outbox.set(&found.id, Some(&found)))?;
        let stored = ledger.state(&place(tenant), POSITION)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        // The first time, what was before is nobody's business.
        let position = AtomicU64::new(stored.unwrap_or(*ledger.head().borrow()));
        let (tenant, index, standing) = (tenant.clone(), RwLock::new(index), Standing::default());
        Ok(Notify(Arc::new(Inner { ledger, tenant, records, lookup, channels, index, outbox, position, standing })))
    }

    /// Every event up to here was looked at.
    pub fn position(&self) -> Seq {
        self.0.position.load(Ordering::Acquire)
    }

    /// Whether following the log fails, and at what.
    pub fn standing(&self) -> &Standing {
        &self.0.standing
    }

    pub async fn create(&self, who: &Principal, wish: Wish, now: Micros) -> Result<Id, NotifyError> {
        let owner = self.0.owner(who)?;
        let new = wish.create(Id::new(&random()?).unwrap_or_else(|e| unreachable!("{e}")), owner, now)?;
        self.0.may_see(who, &new)?;
        let room = |changes: &mut Changes| {
            let index = self.0.index.read();
            full("notifications of one owner", index.owned_by(new.owner.as_ref()), NOTIFICATIONS_PER_OWNER_MAX)?;
            full("notifications of this node", index.len(), NOTIFICATIONS_MAX)?;
            Ok::<(), NotifyError>(changes.put(Notification::key(&new.id), &new)?)
        };
        self.0.records.change(now, room).await?;
        self.0.index.write().set(&new.id.clone(), Some(new.clone()));
        Ok(new.id)
    }

    /// Those that somebody may see, by id.
    pub fn list(&self, who: &Principal) -> Vec<Notification> {
        let index = self.0.index.read();
        let all = index.all().map(|entry| &entry.notification);
        all.filter(|one| self.0.is_theirs(who, one.owner.as_ref())).cloned().collect()
    }

    /// As it is stored. Blocks.
    pub fn get(&self, who: &Principal, id: &Id) -> Result<Notification, NotifyError> {
        self.0.notification(who, id)
    }

    pub async fn change(&self, who: &Principal, id: &Id, wish: Wish, now: Micros) -> Result<(), NotifyError> {
        let change = |changes: &mut Changes| {
            let after = wish.clone().change(&self.0.notification(who, id)?, now)?;
            self.0.may_see(who, &after)?;
            changes.put(Notification::key(id), &after)?;
            Ok::<Notification, NotifyError>(after)
        };
        let after = self.0.records.change(now, change).await?;
        self.0.index.write().set(id, Some(after));
        Ok(())
    }

    /// What it has fired is sent all the same.
    pub async fn delete(&self, who: &Principal, id: &Id, now: Micros) -> Result<(), NotifyError> {
        let delete = |changes: &mut Changes| {
            self.0.notification(who, id)?;
            changes.delete(Notification::key(id));
            Ok::<(), NotifyError>(())
        };
        self.0.records.change(now, delete).await?;
        self.0.index.write().set(id, None);
        Ok(())
    }

    /// Messages on their way, durable: their ids.
    pub async fn send(&self, who: &Principal, letter: Letter, now: Micros) -> Result<Vec<Social>, NotifyError> {
        let owner = self.0.owner(who)?;
        let id = || Ok(Id::new(&random()?).unwrap_or_else(|e| unreachable!("{e}")));
        let mut socials = letter.messages(owner.clone(), now, id)?;
        for social in &mut socials {
            social.claimed_until = now.plus_millis(outbox::CLAIM_MILLIS);
        }
        fits_one_step(&socials)?;
        let on_the_way = self.0.outbox.pending(owner.as_ref()) + socials.len();
        full("messages of one owner on their way", on_the_way.saturating_sub(1), SOCIALS_PENDING_PER_OWNER_MAX)?;
        let put = |changes: &mut Changes| socials.iter().try_for_each(|social| changes.put(Social::key(&social.id), social));
        self.0.records.change::<(), RecordsError>(now, put).await?;
        self.0.outbox.take(&socials);
        Ok(socials)
    }

    /// Messages that somebody may see, newest first. Blocks.
    pub fn socials(&self, who: &Principal, limit: usize, offset: usize) -> Result<Vec<Social>, NotifyError> {
        let ids = self.0.outbox.newest(|owner| self.0.is_theirs(who, owner));
        let page = ids.into_iter().skip(offset).take(limit);
        let found = page.map(|id| self.0.records.get::<Social>(&Social::key(&id)));
        Ok(found.filter_map(Result::transpose).collect::<Result<_, _>>()?)
    }

    /// Blocks.
    pub fn social(&self, who: &Principal, id: &Id) -> Result<Social, NotifyError> {
        self.0.social(who, id)
    }

    /// One that is on its way is not sent any more, unless it is being sent at this moment.
    pub async fn delete_social(&self, who: &Principal, id: &Id, now: Micros) -> Result<(), NotifyError> {
        let delete = |changes: &mut Changes| {
            self.0.social(who, id)?;
            changes.delete(Social::key(id));
            Ok::<(), NotifyError>(())
        };
        self.0.records.change(now, delete).await?;
        self.0.outbox.set(id, None);
        Ok(())
    }
}

impl Inner {
    /// Whose is what somebody makes. Guests make nothing: nobody could ever delete it, and it sends mail.
    fn owner(&self, who: &Principal) -> Result<Option<Id>, NotifyError> {
        match who {
            _ if *who.tenant() != self.tenant => Err(NotifyError::Forbidden("this node has another tenant".to_owned())),
            Principal::User { id, .. } => Ok(Some(id.clone())),
            _ if who.is_admin() => Ok(None),
            _ => Err(NotifyError::Forbidden("only users and administrators have notifications and messages".to_owned())),
        }
    }

    fn is_theirs(&self, who: &Principal, owner: Option<&Id>) -> bool {
        *who.tenant() == self.tenant && (who.is_admin() || who.user().is_some_and(|user| owner == Some(user)))
    }

    /// What somebody may not see is not there for them.
    fn notification(&self, who: &Principal, id: &Id) -> Result<Notification, NotifyError> {
        let found = self.records.get::<Notification>(&Notification::key(id))?;
        found
            .filter(|one| self.is_theirs(who, one.owner.as_ref()))
            .ok_or_else(|| NotifyError::Unknown { what: "notification", id: id.clone() })
    }

    fn social(&self, who: &Principal, id: &Id) -> Result<Social, NotifyError> {
        let found = self.records.get::<Social>(&Social::key(id))?;
        found.filter(|one| self.is_theirs(who, one.owner.as_ref())).ok_or_else(|| NotifyError::Unknown { what: "message", id: id.clone() })
    }

    /// Told at once rather than never: a device that is registered and whose values somebody may not see. It is asked again at every reading.
    fn may_see(&self, who: &Principal, notification: &Notification) -> Result<(), NotifyError> {
        let entry = index::Entry::of(notification.clone());
        let named = entry.iter().flat_map(|entry| entry.names()).filter_map(|name| name.device.as_ref());
        for device in notification.condition.devices.iter().chain(named) {
            let Some(Registered { owned, .. }) = (self.lookup.registered)(device) else { continue };
            if !may(who, Deed::ViewData, Resource { kind: ResourceKind::Device, id: device, owned: &owned }) {
                return Err(NotifyError::Forbidden(format!("who asks may not see the values of the device `{device}`")));
            }
        }
        Ok(())
    }

    /// Who a notification acts as; none: its owner is gone. Blocks.
    fn acting(&self, owner: Option<&Id>) -> Option<Principal> {
        let tenant = self.tenant.clone();
        match owner {
            Some(id) => (self.lookup.person)(id).map(|person| Principal::User { tenant, id: id.clone(), admin: person.admin }),
            None => Some(Principal::Token(Identity { tenant, token: PLACE.to_owned(), name: PLACE.to_owned(), role: Role::Admin })),
        }
    }

    /// A device that nobody registered is nobody's, and administrators' alone.
    fn may(&self, who: &Principal, deed: Deed, device: &Id) -> bool {
        let nobodys = Owned { owner: None, visibility: Visibility::Private };
        let owned = (self.lookup.registered)(device).map_or(nobodys, |registered| registered.owned);
        may(who, deed, Resource { kind: ResourceKind::Device, id: device, owned: &owned })
    }
}

fn place(tenant: &Tenant) -> AppId {
    AppId::new(tenant.clone(), Id::new(PLACE).unwrap_or_else(|e| unreachable!("{e}")))
}

fn full(what: &'static str, is: usize, max: usize) -> Result<(), NotifyError> {
    if is < max { Ok(()) } else { Err(NotifyError::Full { what, max }) }
}

fn fits_one_step(socials: &[Social]) -> Result<(), NotifyError> {
    let mut changes = Changes::default();
    socials.iter().try_for_each(|social| changes.put(Social::key(&social.id), social))?;
    if changes.size_bytes() <= FIRING_BYTES_MAX {
        return Ok(());
    }
    let why =
        format!("as one message for each they are {} bytes, {FIRING_BYTES_MAX} fit; send them in several requests", changes.size_bytes());
    Err(NotifyError::Invalid { field: "message", why })
}

/// 16 hex digits: 64 bits that nobody has used before.
fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}
