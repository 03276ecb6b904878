//! What notifications and rules of pre-processing ask of other rooms, and how messages leave: wiring.

use super::NodeError;
use crate::{
    clock,
    config::{LedgerChoice, NodeConfig},
    deploy::SetRules,
    devices::{Devices, DevicesError, Registry, registry::People},
    identity::{Identify, Principal},
    ledger::Ledger,
    model::{AppId, Id, Seq, Tenant, manifest::Clean},
    notify::{Channels, Known, Lookup, Notify, Pace, Person, Registered},
    preprocess::{Declared, Name},
    server::RulesChanged,
    telemetry::chain,
};
use futures::FutureExt;
use parking_lot::Mutex;
use std::{collections::HashMap, path::Path, sync::Arc};

pub(super) fn notify(
    config: &NodeConfig,
    ledger: &Ledger,
    devices: &Devices,
    registry: &Registry,
    identify: &Identify,
) -> Result<Notify, NodeError> {
    let lookup = lookup(&config.tenant, ledger, devices, registry, identify);
    let smtp = match &config.smtp {
        Some(smtp) => Some((smtp, smtp.password_file.as_deref().map(password).transpose()?)),
        None => None,
    };
    let channels = Channels::new(smtp, config.webhooks_private.clone(), &lookup).map_err(NodeError::Smtp)?;
    let pace = Pace { is_alone: config.ledger == LedgerChoice::Embedded, ..Pace::default() };
    Ok(Notify::open(ledger.clone(), &config.tenant, lookup, channels, pace)?)
}

/// Who the owners of apps are, for what their rules touch.
pub(super) fn people(identify: &Identify, tenant: &Tenant) -> People {
    let (users, tenant) = (identify.users.clone(), tenant.clone());
    // Where nobody can be looked up for a moment, who was there is taken to be there still: what is decided by it is decided for long.
    let last: Mutex<HashMap<Id, Option<Principal>>> = Mutex::default();
    Arc::new(move |id| match users.get(id) {
        Ok(user) => {
            let who = user.map(|user| Principal::User { tenant: tenant.clone(), id: user.id, admin: user.admin });
            last.lock().insert(id.clone(), who.clone());
            who
        }
        Err(error) => {
            tracing::warn!(user = %id, error = chain(&error), "a user can't be looked up, and counts as before");
            last.lock().get(id).cloned().flatten()
        }
    })
}

/// Rules that releases say become rules of the registry.
pub(super) fn set_rules(registry: &Registry, changed: &RulesChanged) -> SetRules {
    let (registry, changed) = (registry.clone(), changed.clone());
    Arc::new(move |app, rules| {
        let (registry, changed) = (registry.clone(), changed.clone());
        async move {
            set_rules_of(&registry, &app, &rules).await?;
            changed().await;
            Ok(())
        }
        .boxed()
    })
}

async fn set_rules_of(registry: &Registry, app: &AppId, rules: &[Clean]) -> Result<(), String> {
    let read = |rule: &Clean| {
        // It was checked when it was pushed, perhaps by a later Tawi.
        Declared::of(Name::of_app(&app.app, &rule.name), rule.rule.clone()).map_err(|error| format!("`{}`: {error}", rule.name))
    };
    let rules: Vec<Declared> = rules.iter().map(read).collect::<Result<_, _>>()?;
    registry.set_app_rules(&app.app, &rules, clock::now()).await.map_err(|error| chain(&error))
}

fn password(path: &Path) -> Result<String, NodeError> {
    let text = std::fs::read_to_string(path).map_err(|source| NodeError::Folder {
        doing: "read the password in",
        path: path.to_owned(),
        source,
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn lookup(tenant: &Tenant, ledger: &Ledger, devices: &Devices, registry: &Registry, identify: &Identify) -> Lookup {
    let (users, registry) = (identify.users.clone(), registry.clone());
    let (tenant, ledger, devices) = (tenant.clone(), ledger.clone(), devices.clone());
    Lookup {
        registered: Arc::new(move |device| {
            registry.device(device).map(|device| Registered { owned: device.owned.clone(), since: device.date_created })
        }),
        person: Arc::new(move |id| {
            let user = users.get(id).inspect_err(|error| tracing::warn!(error = chain(error), "a user can't be looked up")).ok()??;
            Some(Person { admin: user.admin, email: user.profile.email, is_confirmed: user.email_confirmed })
        }),
        current: Arc::new(move |device, sensor, through| {
            let found = current(&tenant, &ledger, &devices, device, sensor, through);
            found.inspect_err(|error| tracing::warn!(error = chain(error), "a current value can't be looked up")).ok().flatten()
        }),
    }
}

/// Once the projection has taken everything up to `through`: after a crash it may be behind.
fn current(
    tenant: &Tenant,
    ledger: &Ledger,
    devices: &Devices,
    device: &Id,
    sensor: &Id,
    through: Seq,
) -> Result<Option<Known>, DevicesError> {
    while devices.position() < through {
        let events = ledger.events(devices.position() + 1, 8_192, 4 << 20).map_err(DevicesError::Ledger)?;
        if events.is_empty() {
            break;
        }
        devices.index(&events)?;
    }
    Ok(devices.sensor(tenant, device, sensor)?.map(|sensor| Known { value: sensor.current.value, received: sensor.current.received }))
}
