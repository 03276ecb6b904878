//! What notifications ask of other rooms, and how their messages leave: wiring.

use super::NodeError;
use crate::{
    config::{LedgerChoice, NodeConfig},
    devices::{Devices, DevicesError, Registry},
    identity::Identify,
    ledger::Ledger,
    model::{Id, Seq, Tenant},
    notify::{Channels, Known, Lookup, Notify, Pace, Person, Registered},
    telemetry::chain,
};
use std::{path::Path, sync::Arc};

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
