//! The door for clients of MQTT: where it listens, and what it asks of the rooms.

use super::NodeError;
use crate::{
    config::MqttListen,
    devices::Devices,
    identity::{Principal, Tokens},
    ingest::{
        Ingest,
        mqtt::{self, Broker, Door, Refused, Settings},
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

/// A listener that is bound, where one is wanted and can be had.
pub(super) async fn bind(listen: MqttListen) -> Result<Option<(TcpListener, SocketAddr)>, NodeError> {
    let (addr, is_wanted) = match listen {
        MqttListen::Off => return Ok(None),
        MqttListen::At(addr) => (addr, true),
        MqttListen::IfFree(addr) => (addr, false),
    };
    match TcpListener::bind(addr).await.and_then(|listener| listener.local_addr().map(|addr| (listener, addr))) {
        Ok(bound) => Ok(Some(bound)),
        Err(source) if is_wanted => Err(NodeError::ListenMqtt { addr, source }),
        Err(error) => {
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse => "a broker runs there already",
                _ => "the address can't be had",
            };
            tracing::warn!(%addr, %error, "no MQTT: {hint}; --mqtt ADDR:PORT chooses another address, --no-mqtt does without");
            Ok(None)
        }
    }
}

/// The rooms that the door leads into.
pub(super) struct Behind {
    pub tenant: Tenant,
    pub tokens: Tokens,
    pub ledger: Ledger,
    pub devices: Devices,
    pub ingest: Ingest,
    pub metrics: Metrics,
}

/// Opens the door; its tasks end after `stop`, and before the ledger may be closed.
pub(super) fn start(tasks: &mut Tasks, listener: Option<TcpListener>, behind: Behind, stop: &CancellationToken) {
    let Some(listener) = listener else { return };
    let Behind { tenant, tokens, ledger, devices, ingest, metrics } = behind;
    let revocations = tokens.revocations();
    let broker = Arc::new(Broker::new(door(&tenant, tokens), ingest, ledger, devices, metrics, Settings::default()));
    tasks.start("mqtt follower", broker.clone().follow(stop.clone()));
    tasks.start("mqtt sessions", broker.clone().look_after(tenant, revocations, stop.clone()));
    tasks.start("mqtt", mqtt::serve(listener, broker, stop.clone()));
}

fn door(tenant: &Tenant, tokens: Tokens) -> Door {
    let (ours, known) = (tenant.clone(), tokens.clone());
    Door {
        identify: Arc::new(move |username, password| {
            let who = match (username, password) {
                (None, None) => Some(Principal::Guest { tenant: ours.clone() }),
                // As with git: the token is the password, and the name says nothing.
                (_, Some(password)) => {
                    let token = std::str::from_utf8(&password).ok().and_then(|text| known.check(text));
                    token.filter(|who| who.tenant == ours).map(Principal::Token)
                }
                (Some(_), None) => None,
            };
            std::future::ready(who.ok_or(Refused::Unknown)).boxed()
        }),
        stays: Arc::new(move |who| match who {
            Principal::Token(identity) => tokens.is_valid(identity),
            _ => true,
        }),
        owned: Arc::new(|_, _| None),
        connected: Arc::new(|_, _, _| {}),
    }
}
