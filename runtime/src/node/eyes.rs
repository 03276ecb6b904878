//! What apps see that have an owner: wiring of the registry and the users to the calls.

use crate::{
    devices::{Devices, Query as All, Registry, registry::since},
    dispatch::{Eyes, Sight},
    history::{Source, devices_named},
    identity::{Deed, Principal, Users},
    ledger::Ledger,
    model::{AppId, Device, Event, Id, Seq, limit::DATA_DEVICES_MAX, selector::Selector},
    telemetry::chain,
};
use std::sync::Arc;

/// Events that the registry is behind, read at once.
const REACH_EVENTS: usize = 8_192;
const REACH_BYTES: usize = 4 << 20;

/// Looks up who an app sees with. Cheap to clone.
#[derive(Clone)]
pub struct Owners {
    pub registry: Registry,
    pub devices: Devices,
    pub users: Users,
    pub ledger: Ledger,
}

/// Whose eyes an app has.
enum Whose {
    /// It sees all: the node's own, or an administrator's.
    Everybodys,
    Users(Principal),
    /// Its owner is not there, or can't be read: it sees nothing.
    Nobodys,
}

impl Owners {
    fn of(&self, app: &AppId) -> Whose {
        let Some(owner) = self.registry.app_owner(&app.app) else { return Whose::Everybodys };
        match self.users.get(&owner) {
            Ok(Some(user)) if user.admin => Whose::Everybodys,
            Ok(Some(user)) => Whose::Users(Principal::User { tenant: app.tenant.clone(), id: user.id, admin: false }),
            Ok(None) => Whose::Nobodys,
            Err(error) => {
                tracing::warn!(%app, %owner, error = chain(&error), "the owner of an app can't be looked up: it sees nothing");
                Whose::Nobodys
            }
        }
    }

    pub fn sight(&self) -> Sight {
        let owners = self.clone();
        Arc::new(move |app| {
            let who = match owners.of(app) {
                Whose::Everybodys => return None,
                Whose::Users(who) => Some(who),
                Whose::Nobodys => None,
            };
            Some(Arc::new(Owner { of: owners.clone(), who }))
        })
    }

    /// Where an app may look in the history, as far as the text of its question names devices; none: everywhere.
    pub(super) fn sources(&self, app: &AppId, text: &str) -> Result<Option<Vec<Source>>, String> {
        let who = match self.of(app) {
            Whose::Everybodys => return Ok(None),
            Whose::Users(who) => who,
            Whose::Nobodys => return Ok(Some(Vec::new())),
        };
        let source = |device: &Arc<Device>| Source { device: device.id.clone(), since: since(&who, device) };
        if let Some(named) = devices_named(text) {
            let seen = named.iter().filter_map(|id| self.registry.device_for(&who, Deed::ViewData, id).ok());
            return Ok(Some(seen.take(DATA_DEVICES_MAX).map(|device| source(&device)).collect()));
        }
        let (devices, total) = self.registry.list(&who, &All::all(), DATA_DEVICES_MAX, 0).map_err(|error| chain(&error))?;
        if total > DATA_DEVICES_MAX {
            return Err(format!(
                "the owner of this app sees {total} devices, more than the {DATA_DEVICES_MAX} of one question: name some, `device:(a OR b)`"
            ));
        }
        Ok(Some(devices.iter().map(source).collect()))
    }
}

/// The eyes of a user; `who`: none sees nothing.
struct Owner {
    of: Owners,
    who: Option<Principal>,
}

impl Eyes for Owner {
    fn reach(&self, seq: Seq) -> Result<(), String> {
        let (devices, ledger) = (&self.of.devices, &self.of.ledger);
        while devices.position() < seq {
            let events = ledger.events(devices.position() + 1, REACH_EVENTS, REACH_BYTES).map_err(|error| chain(&error))?;
            if events.is_empty() {
                // What is not in the log any more nobody can read.
                return Ok(());
            }
            devices.index(&events).map_err(|error| chain(&error))?;
        }
        Ok(())
    }

    fn sees(&self, event: &Event) -> bool {
        match (&self.who, &event.device) {
            (Some(who), Some(device)) => self.of.registry.may_know(who, device, event.received),
            _ => false,
        }
    }

    fn fits(&self, selector: &Selector, event: &Event) -> bool {
        match (&self.who, &event.device, &event.sensor) {
            (Some(who), Some(device), Some(sensor)) => self.sees(event) && self.of.registry.fits(selector, who, device, sensor),
            _ => false,
        }
    }

    fn commands(&self, device: &Id) -> bool {
        self.who.as_ref().is_some_and(|who| self.of.registry.allows(who, Deed::CreateData, device) == Some(true))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        clock,
        config::NodeConfig,
        host::HistoryQuery,
        identity::NewUser,
        ledger::{Append, Op},
        model::{Micros, NewEvent, Value, Visibility, id::default_tenant},
        node::Node,
    };
    use std::net::SocketAddr;

    fn id(text: &str) -> Id {
        Id::new(text).unwrap()
    }

    fn app() -> AppId {
        AppId::new(default_tenant(), id("pumps"))
    }

    struct Farm {
        _dir: tempfile::TempDir,
        node: Node,
        owners: Owners,
    }

    impl Farm {
        async fn open() -> Farm {
            let dir = tempfile::tempdir().unwrap();
            let config = NodeConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..NodeConfig::new(dir.path()) };
            let node = Node::open(config).await.unwrap();
            let (registry, devices) = (node.registry.clone(), node.devices.clone());
            let owners = Owners { registry, devices, users: node.identify.users.clone(), ledger: node.ledger.clone() };
            Farm { _dir: dir, node, owners }
        }

        async fn user(&self, name: &str, admin: bool) -> Principal {
            let wanted = NewUser { admin, ..NewUser::new(id(name), None) };
            self.owners.users.create(wanted, clock::now()).await.unwrap();
            Principal::User { tenant: default_tenant(), id: id(name), admin }
        }

        async fn register(&self, who: &Principal, name: &str) {
            let mut device: Device =
                serde_json::from_value(serde_json::json!({ "id": name, "date_created": 0, "date_modified": 0 })).unwrap();
            device.owned.visibility = Visibility::Private;
            self.owners.registry.create_device(who, device, clock::now()).await.unwrap();
        }

        async fn give(&self, owner: Option<&str>) {
            self.owners.registry.set_app_owner(&app().app, owner.map(id).as_ref(), clock::now()).await.unwrap();
        }

        async fn say(&self, device: &str, value: &str) {
            let now = clock::now();
            let reading = NewEvent::reading(&default_tenant(), &id(device), &id("t"), now, now, Value::json(value).unwrap());
            let op = Op::Append(Append { tenant: default_tenant(), events: vec![reading], dedup: None, intake: None });
            self.node.ledger.apply(op).await.unwrap();
        }

        /// What a function of the app finds, as a text, and how many there are.
        async fn found(&self, text: &str) -> Result<(Vec<String>, u64), String> {
            let events = self.node.ledger.events(self.node.history.next(), usize::MAX, usize::MAX).unwrap();
            self.node.history.index(&events).unwrap();
            self.node.history.commit().unwrap();
            let query = HistoryQuery { text: text.to_owned(), from: None, to: None, limit: 100, offset: 0 };
            let page = (self.node.dispatch.context.history)(app(), query).await?;
            let mut said: Vec<_> =
                page.events.iter().map(|event| format!("{} {}", event.device.as_ref().unwrap(), event.value.to_json())).collect();
            said.sort();
            Ok((said, page.total))
        }
    }

    #[tokio::test]
    async fn an_app_finds_in_the_history_what_its_owner_may_know() {
        let farm = Farm::open().await;
        let (ada, bob) = (farm.user("ada", false).await, farm.user("bob", false).await);
        farm.user("root", true).await;
        farm.say("pond", "1").await;
        farm.register(&ada, "pond").await;
        farm.register(&bob, "well").await;
        farm.say("pond", "2").await;
        farm.say("well", "3").await;
        let found = async |text: &str| farm.found(text).await.unwrap();
        let texts = |all: &[&str]| (all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), all.len() as u64);
        assert_eq!(found("kind:reading").await, texts(&["pond 1", "pond 2", "well 3"]));
        farm.give(Some("ada")).await;
        // Not what it said before it was hers.
        assert_eq!(found("").await, texts(&["pond 2"]));
        assert_eq!(found("device:(pond OR well)").await, texts(&["pond 2"]));
        assert_eq!(found("device:well OR value:>0").await, texts(&["pond 2"]));
        assert_eq!(found("device:well").await, texts(&[]));
        farm.give(Some("root")).await;
        assert_eq!(found("kind:reading").await, texts(&["pond 1", "pond 2", "well 3"]));
        farm.give(Some("bob")).await;
        assert_eq!(found("").await, texts(&["well 3"]));
        farm.owners.users.delete(&id("bob"), clock::now()).await.unwrap();
        assert_eq!(found("").await, texts(&[]));
        farm.give(None).await;
        assert_eq!(found("device:well").await, texts(&["well 3"]));
    }

    #[tokio::test]
    async fn who_owns_many_devices_names_those_that_a_question_is_about() {
        let farm = Farm::open().await;
        let ada = farm.user("ada", false).await;
        for n in 0..=DATA_DEVICES_MAX {
            farm.register(&ada, &format!("d{n}")).await;
        }
        farm.say("d7", "1").await;
        farm.give(Some("ada")).await;
        assert!(farm.found("value:1").await.unwrap_err().contains("`device:(a OR b)`"));
        assert_eq!(farm.found("device:d7 value:1").await.unwrap().1, 1);
    }

    #[tokio::test]
    async fn what_was_registered_a_moment_ago_counts_for_the_reading_behind_it_and_an_earlier_life_does_not() {
        let farm = Farm::open().await;
        let (ada, before) = (farm.user("ada", false).await, clock::now());
        farm.register(&ada, "pond").await;
        farm.give(Some("ada")).await;
        farm.say("pond", "1").await;
        let eyes = farm.owners.sight()(&app()).unwrap();
        let seq = *farm.node.ledger.head().borrow();
        eyes.reach(seq).unwrap();
        assert!(farm.node.devices.position() >= seq);
        let mut event = crate::model::Event::clone(&farm.node.ledger.event(seq).unwrap().unwrap());
        let selector = Selector::parse("owner=ada").unwrap();
        assert!(eyes.sees(&event) && eyes.fits(&selector, &event));
        event.body.received = Micros(before.0 - 1);
        assert!(!eyes.sees(&event) && !eyes.fits(&selector, &event));
        event.body.device = None;
        assert!(!eyes.sees(&event));
    }
}
