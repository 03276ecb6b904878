//! What a client gets that is not happening now: current values when it subscribes, and what it missed.

use super::{
    broker::{Broker, blocking},
    session::{Message, Parcel, Scan, Session},
    topic,
};
use crate::{
    clock,
    devices::{Command, Device, DevicesError},
    ledger::LedgerError,
    model::{Event, Seq, limit::MQTT_OFFLINE_EVENTS_MAX},
    telemetry::chain,
};
use std::sync::Arc;

/// Devices looked at before others have their turn.
const DEVICES: usize = 50;
/// Events looked at before others have their turn.
const EVENTS: usize = 1_024;
const EVENTS_BYTES: usize = 1 << 20;

/// Whether the client wants more than it has, and has room for it.
pub fn is_wanted(session: &Session) -> bool {
    let state = session.state.lock();
    (state.behind.is_some() || !state.scans.is_empty()) && state.room() > 0
}

/// Some more of it, if there is room.
pub async fn more(broker: Arc<Broker>, session: Arc<Session>) -> Result<(), LedgerError> {
    let scan = session.state.lock().scans.pop_front();
    if let Some(scan) = scan {
        return current_values(broker, session, scan).await;
    }
    let Some(next) = session.state.lock().behind else { return Ok(()) };
    // What comes after this, the session is given as everybody is, once it is live.
    let live = broker.next();
    let (next, events) = read(&broker, next).await?;
    let mut after = next;
    for event in events.into_iter().take_while(|event| event.seq < live) {
        if session.state.lock().room() == 0 && after != next {
            break;
        }
        if !missed(&broker, &session, &event) {
            break;
        }
        after = event.seq + 1;
    }
    broker.catch_up(&session, after);
    Ok(())
}

/// Events from `next` on, or from where the log or what a client may ask for begins.
async fn read(broker: &Arc<Broker>, next: Seq) -> Result<(Seq, Vec<Arc<Event>>), LedgerError> {
    let (ledger, from) = (broker.ledger.clone(), begin(next, broker.next(), broker.ledger.first()));
    let events = blocking(move || ledger.events(from, EVENTS, EVENTS_BYTES)).await?;
    Ok((from, events))
}

fn begin(next: Seq, live: Seq, first: Seq) -> Seq {
    next.max(live.saturating_sub(MQTT_OFFLINE_EVENTS_MAX)).max(first)
}

/// False when there is no room for it.
fn missed(broker: &Broker, session: &Session, event: &Event) -> bool {
    let Some(topic) = topic::of(event).filter(|_| event.tenant == session.key.tenant) else { return true };
    let mut state = session.state.lock();
    let wants = state.subscriptions.iter().filter(|s| !s.filter.is_shared() && event.seq > s.since && s.filter.matches(&topic));
    let Some(qos) = wants.map(|s| s.qos).max() else { return true };
    let Some(message) = Message::of(event) else { return true };
    let about = broker.door.about(&event.tenant, &message.device);
    if !about.is_shown_to(&session.principal, &event.tenant, &message.device, message.received) {
        return true;
    }
    let parcel = Parcel { message: Arc::new(message), qos, retain: false, share: None, again: false };
    let taken = state.offer(parcel);
    drop(state);
    session.wake.notify_one();
    taken
}

async fn current_values(broker: Arc<Broker>, session: Arc<Session>, scan: Scan) -> Result<(), LedgerError> {
    let (devices, ledger, tenant, at) = (broker.devices.clone(), broker.ledger.clone(), session.key.tenant.clone(), scan.clone());
    let read = tokio::task::spawn_blocking(move || {
        // What comes after it, the client gets as it comes; all that came before it has to be there.
        if !devices.reach(&ledger, at.through)? {
            return Ok(None);
        }
        let found = match at.filter.device() {
            Some(device) => {
                let known = if at.values { devices.get(&tenant, &device)? } else { None };
                (known.into_iter().collect(), devices.waiting(&tenant, &device, clock::now())?)
            }
            None => (devices.after(&tenant, at.after.as_ref(), DEVICES)?, Vec::new()),
        };
        Ok::<_, DevicesError>(Some(found))
    });
    let (page, waiting) = match read.await {
        Ok(Ok(Some(found))) => found,
        Ok(Ok(None)) => {
            session.state.lock().scans.push_front(scan);
            session.wake.notify_one();
            return Ok(());
        }
        Ok(Err(error)) => {
            tracing::warn!(error = chain(&error), "current values can't be read; a client does without");
            return Ok(());
        }
        Err(_) => return Ok(()),
    };
    if scan.sent == 0 {
        commands_of(&broker, &session, &scan, waiting);
    }
    let more = scan.filter.device().is_none() && page.len() == DEVICES;
    let mut rest = more.then(|| Scan { after: page.last().map(|device| device.id.clone()), sent: 0, ..scan.clone() });
    let (mut after, mut sent) = (scan.after.clone(), scan.sent);
    for device in page {
        if let Some(stopped) = values_of(&broker, &session, &scan, &device, sent) {
            rest = Some(Scan { after, sent: stopped, ..scan });
            break;
        }
        (after, sent) = (Some(device.id), 0);
    }
    if let Some(rest) = rest {
        session.state.lock().scans.push_front(rest);
    }
    session.wake.notify_one();
    Ok(())
}

/// Commands that wait for the device; those for which there is no room wait on.
fn commands_of(broker: &Broker, session: &Session, scan: &Scan, waiting: Vec<Command>) {
    for command in waiting.into_iter().filter(|command| command.seq <= scan.through) {
        let (tenant, topic) = (&session.key.tenant, topic::of_value(&command.device, "actuators", &command.actuator));
        let about = broker.door.about(tenant, &command.device);
        if !scan.filter.matches(&topic)
            || !broker.stands_for(session, &command.device)
            || !about.is_shown_to(&session.principal, tenant, &command.device, command.given)
        {
            continue;
        }
        let (payload, received) = (command.value.to_string().into(), command.given);
        let message = Message { topic, payload, seq: 0, device: command.device, received, command: Some(command.id.into()) };
        let parcel = Parcel { message: Arc::new(message), qos: scan.qos, retain: false, share: None, again: false };
        if !session.state.lock().offer(parcel) {
            return;
        }
    }
}

/// The sensor for which there was no room; none when all were given.
fn values_of(broker: &Broker, session: &Session, scan: &Scan, device: &Device, sent: usize) -> Option<usize> {
    let tenant = &session.key.tenant;
    let about = broker.door.about(tenant, &device.id);
    let sensors = device.sensors.iter().map(|sensor| ("sensors", &sensor.id, &sensor.current));
    // As commands go down: the value alone.
    let actuators = device.actuators.iter().map(|actuator| ("actuators", &actuator.id, &actuator.current));
    sensors.chain(actuators).enumerate().skip(sent).find_map(|(number, (kind, id, current))| {
        let topic = topic::of_value(&device.id, kind, id);
        let received = current.received;
        // A newer one comes as it came.
        let is_old = current.seq <= scan.through;
        if !is_old || !scan.filter.matches(&topic) || !about.is_shown_to(&session.principal, tenant, &device.id, received) {
            return None;
        }
        let payload = if kind == "sensors" { current.to_json() } else { current.value.to_json() };
        let payload = payload.to_string().into();
        let message = Arc::new(Message { topic, payload, seq: 0, device: device.id.clone(), received, command: None });
        let parcel = Parcel { message, qos: scan.qos, retain: true, share: None, again: false };
        let taken = session.state.lock().offer(parcel);
        (!taken).then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_away_for_long_is_read_only_so_much_of_the_log() {
        assert_eq!(begin(5, 100, 1), 5);
        assert_eq!(begin(5, 100, 7), 7, "the log begins there");
        assert_eq!(begin(5, MQTT_OFFLINE_EVENTS_MAX + 100, 1), 100);
    }
}
