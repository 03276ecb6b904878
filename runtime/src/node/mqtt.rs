//! The door for clients of MQTT: where it listens, and what it asks of the rooms.

use super::NodeError;
use crate::{
    clock,
    config::{Mqtt, MqttListen},
    devices::{Connected, Devices, Registry},
    identity::{self, Identify, Shown},
    ingest::{
        Ingest,
        mqtt::{self, Around, Broker, Door, Gate, Known, Refused, Settings},
    },
    ledger::Ledger,
    model::Tenant,
    shutdown::Tasks,
    telemetry::Metrics,
};
use futures::FutureExt;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Gates that are bound, and where the plain one is.
pub(super) struct Bound {
    gates: Vec<Gate>,
    pub addr: Option<SocketAddr>,
}

pub(super) async fn bind(config: &Mqtt) -> Result<Bound, NodeError> {
    let mut bound = Bound { gates: Vec::new(), addr: None };
    if let Some((listener, addr)) = plain(config.listen).await? {
        bound.gates.push(Gate { listener, around: Around::Nothing });
        bound.addr = Some(addr);
    }
    if let Some(addr) = config.websocket {
        bound.gates.push(Gate { listener: at(addr).await?.0, around: Around::WebSocket });
    }
    if let Some(tls) = &config.tls {
        let around = Around::tls(&tls.certificate, &tls.key)?;
        bound.gates.push(Gate { listener: at(tls.listen).await?.0, around });
    }
    Ok(bound)
}

async fn at(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), NodeError> {
    let bound = TcpListener::bind(addr).await.and_then(|listener| listener.local_addr().map(|addr| (listener, addr)));
    let (listener, addr) = bound.map_err(|source| NodeError::ListenMqtt { addr, source })?;
    tracing::info!(%addr, "listening for MQTT");
    Ok((listener, addr))
}

/// The plain gate, where one is wanted and can be had.
async fn plain(listen: MqttListen) -> Result<Option<(TcpListener, SocketAddr)>, NodeError> {
    match listen {
        MqttListen::Off => Ok(None),
        MqttListen::At(addr) => at(addr).await.map(Some),
        MqttListen::IfFree(addr) => match at(addr).await {
            Err(NodeError::ListenMqtt { source, .. }) => {
                let why =
                    if source.kind() == io::ErrorKind::AddrInUse { "a broker runs there already".to_owned() } else { source.to_string() };
                tracing::warn!(%addr, "no MQTT: {why}; --mqtt ADDR:PORT chooses another address, --no-mqtt does without");
                Ok(None)
            }
            bound => bound.map(Some),
        },
    }
}

/// The rooms that the door leads into.
pub(super) struct Behind {
    pub tenant: Tenant,
    pub identify: Identify,
    pub ledger: Ledger,
    pub devices: Devices,
    pub registry: Registry,
    pub connected: Connected,
    pub ingest: Ingest,
    pub metrics: Metrics,
}

/// Opens the door; its tasks end after `stop`, and before the ledger may be closed.
pub(super) fn start(tasks: &mut Tasks, bound: Bound, behind: Behind, stop: &CancellationToken) {
    if bound.gates.is_empty() {
        return;
    }
    let Behind { tenant, identify, ledger, devices, registry, connected, ingest, metrics } = behind;
    let changes = identify.changes();
    let broker = Arc::new(Broker::new(door(identify, registry, connected), ingest, ledger, devices, metrics, Settings::default()));
    tasks.start("mqtt follower", broker.clone().follow(stop.clone()));
    tasks.start("mqtt sessions", broker.clone().look_after(tenant, changes, stop.clone()));
    for gate in bound.gates {
        tasks.start("mqtt", mqtt::serve(gate, broker.clone(), stop.clone()));
    }
}

fn door(identify: Identify, registry: Registry, connected: Connected) -> Door {
    Door {
        identify: Arc::new(move |name, password| {
            let identify = identify.clone();
            async move { who(&identify, name.as_deref(), password.as_deref()).await }.boxed()
        }),
        device: {
            let registry = registry.clone();
            Arc::new(move |tenant, device| if tenant == registry.tenant() { registry.device(device) } else { None })
        },
        gateway: Arc::new(move |tenant, gateway| if tenant == registry.tenant() { registry.gateway(gateway) } else { None }),
        connected: Arc::new(move |who, name, is_there| if is_there { connected.came(who, name) } else { connected.went(who, name) }),
    }
}

/// A name without a password shows no more than nothing does, and is no guest: somebody has forgotten something.
async fn who(identify: &Identify, name: Option<&str>, password: Option<&[u8]>) -> Result<Known, Refused> {
    let shown = match (name, password.map(std::str::from_utf8)) {
        (None, None) => Shown::Nothing,
        (name, Some(Ok(password))) => Shown::Pair { name: name.unwrap_or_default(), password },
        (_, Some(Err(_))) | (Some(_), None) => return Err(Refused::Unknown),
    };
    let known = identify.who(shown, clock::now()).await.map_err(|error| match error {
        identity::Refused::TooOften(_) | identity::Refused::Failed(_) => Refused::Busy,
        _ => Refused::Unknown,
    })?;
    let (identify, who) = (identify.clone(), known.who.clone());
    Ok(Known { who, stays: Arc::new(move || identify.is_still(&known)) })
}
