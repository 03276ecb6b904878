//! What became of each command: rows of `devices.redb`, written as commands come in the log, and when somebody learns more.
//!
//! A command *waits* until a client that stands for its device has acknowledged it, or says that it won't do it; or until it is too old to
//! be done. That it is told twice can't be ruled out on this last hop: its id is the same each time.

use super::{DevicesError, store};
use crate::model::{Event, Id, Micros, Seq, Tenant, limit::COMMAND_SECONDS_MAX};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

/// Sequence -> JSON of [`Command`].
pub(super) const COMMANDS: TableDefinition<u64, &[u8]> = TableDefinition::new("commands");
/// (tenant, id of a command) -> sequence.
pub(super) const IDS: TableDefinition<(&str, &str), u64> = TableDefinition::new("command ids");
/// (tenant, device, sequence): those that wait.
pub(super) const WAITING: TableDefinition<(&str, &str, u64), ()> = TableDefinition::new("commands waiting");
/// (tenant, id) -> JSON of an end that was known before the command was read from the log.
pub(super) const EARLY: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("commands ended early");

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandState {
    Waiting,
    /// The device, or its gateway, has acknowledged it.
    Delivered,
    /// Nobody came for it in time.
    Expired,
    /// The device, or its gateway, said that it won't.
    Refused,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    pub id: String,
    pub seq: Seq,
    pub device: Id,
    pub actuator: Id,
    pub value: serde_json::Value,
    /// When it came into the log.
    pub given: Micros,
    pub state: CommandState,
    /// When it came into its state.
    pub changed: Micros,
    tenant: Tenant,
}

#[derive(Serialize, Deserialize)]
struct Early {
    state: CommandState,
    changed: Micros,
}

impl Command {
    fn of(event: &Event) -> Option<Command> {
        let body = event.value.to_json();
        Some(Command {
            id: body.get("id")?.as_str()?.to_owned(),
            seq: event.seq,
            device: event.device.clone()?,
            actuator: event.sensor.clone()?,
            value: body.get("value").cloned().unwrap_or_default(),
            given: event.received,
            state: CommandState::Waiting,
            changed: event.received,
            tenant: event.tenant.clone(),
        })
    }

    /// As it stands at a time: one that waits for too long has expired.
    fn at(mut self, now: Micros) -> Command {
        let end = self.given.plus_millis(COMMAND_SECONDS_MAX * 1_000);
        if self.state == CommandState::Waiting && end <= now {
            (self.state, self.changed) = (CommandState::Expired, end);
        }
        self
    }
}

pub(super) fn prepare(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(COMMANDS)?;
    txn.open_table(IDS)?;
    txn.open_table(WAITING)?;
    txn.open_table(EARLY)?;
    Ok(())
}

/// Takes the commands among some events; the oldest make room.
pub(super) fn index(txn: &WriteTransaction, events: &[&Event], max: u64) -> Result<(), redb::Error> {
    if events.is_empty() {
        return Ok(());
    }
    let (mut rows, mut ids) = (txn.open_table(COMMANDS)?, txn.open_table(IDS)?);
    let (mut waiting, mut early) = (txn.open_table(WAITING)?, txn.open_table(EARLY)?);
    for mut command in events.iter().filter_map(|event| Command::of(event)) {
        let tenant = command.tenant.to_string();
        if let Some(end) = early.remove((tenant.as_str(), command.id.as_str()))?.and_then(|row| read::<Early>(row.value())) {
            (command.state, command.changed) = (end.state, end.changed);
        }
        ids.insert((tenant.as_str(), command.id.as_str()), command.seq)?;
        if command.state == CommandState::Waiting {
            waiting.insert((tenant.as_str(), command.device.as_str(), command.seq), ())?;
        }
        rows.insert(command.seq, write(&command).as_slice())?;
    }
    while rows.len()? > max {
        let Some((_, row)) = rows.pop_first()? else { break };
        if let Some(old) = read::<Command>(row.value()) {
            ids.remove((old.tenant.as_str(), old.id.as_str()))?;
            waiting.remove((old.tenant.as_str(), old.device.as_str(), old.seq))?;
        }
    }
    Ok(())
}

/// The first end of a command stands.
pub(super) fn end(txn: &WriteTransaction, tenant: &Tenant, id: &str, state: CommandState, now: Micros) -> Result<(), redb::Error> {
    let seq = txn.open_table(IDS)?.get((tenant.as_str(), id))?.map(|row| row.value());
    let Some(seq) = seq else {
        let early = write(&Early { state, changed: now });
        txn.open_table(EARLY)?.insert((tenant.as_str(), id), early.as_slice())?;
        return Ok(());
    };
    let mut rows = txn.open_table(COMMANDS)?;
    let known = rows.get(seq)?.and_then(|row| read::<Command>(row.value()));
    if let Some(mut command) = known.filter(|command| command.state == CommandState::Waiting) {
        (command.state, command.changed) = (state, now);
        rows.insert(seq, write(&command).as_slice())?;
        txn.open_table(WAITING)?.remove((tenant.as_str(), command.device.as_str(), seq))?;
    }
    Ok(())
}

pub(super) fn get(txn: &ReadTransaction, tenant: &Tenant, id: &str, now: Micros) -> Result<Option<Command>, redb::Error> {
    let Some(seq) = txn.open_table(IDS)?.get((tenant.as_str(), id))?.map(|row| row.value()) else { return Ok(None) };
    Ok(txn.open_table(COMMANDS)?.get(seq)?.and_then(|row| read::<Command>(row.value())).map(|command| command.at(now)))
}

/// Those of a device that wait, in their order.
pub(super) fn waiting(txn: &ReadTransaction, tenant: &Tenant, device: &Id, now: Micros) -> Result<Vec<Command>, redb::Error> {
    let (waiting, rows) = (txn.open_table(WAITING)?, txn.open_table(COMMANDS)?);
    let mut found = Vec::new();
    for row in waiting.range((tenant.as_str(), device.as_str(), 0)..=(tenant.as_str(), device.as_str(), u64::MAX))? {
        let seq = row?.0.value().2;
        found.extend(rows.get(seq)?.and_then(|row| read::<Command>(row.value())).map(|command| command.at(now)));
    }
    found.retain(|command| command.state == CommandState::Waiting);
    Ok(found)
}

/// The newest first; of one device or of all.
pub(super) fn list(
    txn: &ReadTransaction,
    tenant: &Tenant,
    device: Option<&Id>,
    limit: usize,
    now: Micros,
) -> Result<Vec<Command>, redb::Error> {
    let rows = txn.open_table(COMMANDS)?;
    let mut found = Vec::new();
    for row in rows.iter()?.rev() {
        if found.len() >= limit {
            break;
        }
        let Some(command) = read::<Command>(row?.1.value()) else { continue };
        if command.tenant == *tenant && device.is_none_or(|device| *device == command.device) {
            found.push(command.at(now));
        }
    }
    Ok(found)
}

pub(super) fn failed(error: redb::Error) -> DevicesError {
    store::storage("read or write the commands", error)
}

fn read<T: for<'de> Deserialize<'de>>(row: &[u8]) -> Option<T> {
    serde_json::from_slice(row).ok()
}

fn write<T: Serialize>(row: &T) -> Vec<u8> {
    serde_json::to_vec(row).unwrap_or_else(|e| unreachable!("texts and numbers are JSON: {e}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::{Kind, NewEvent, Subject, Value, id::default_tenant};
    use redb::{Database, ReadableDatabase};

    fn event(seq: Seq) -> Event {
        let id = Id::new("pump").unwrap();
        let mut body = NewEvent::reading(&default_tenant(), &id, &id, Micros(1), Micros(1), Value::json("1").unwrap());
        body.kind = Kind::Command;
        body.subject = Subject::new("command.pump.pump").unwrap();
        body.value = Value::from_json(&serde_json::json!({ "id": format!("c{seq}"), "value": seq }));
        Event { seq, body }
    }

    #[test]
    fn only_so_many_commands_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::create(dir.path().join("x")).unwrap();
        let (tenant, pump) = (default_tenant(), Id::new("pump").unwrap());
        let txn = db.begin_write().unwrap();
        prepare(&txn).unwrap();
        // What is known of one before it was read.
        end(&txn, &tenant, "c4", CommandState::Delivered, Micros(7)).unwrap();
        let events: Vec<Event> = (1..=5).map(event).collect();
        index(&txn, &events.iter().collect::<Vec<_>>(), 3).unwrap();
        end(&txn, &tenant, "c5", CommandState::Refused, Micros(8)).unwrap();
        end(&txn, &tenant, "c5", CommandState::Delivered, Micros(9)).unwrap();
        txn.commit().unwrap();
        let txn = db.begin_read().unwrap();
        let states: Vec<_> = list(&txn, &tenant, None, 10, Micros(9)).unwrap().into_iter().map(|c| (c.seq, c.state)).collect();
        assert_eq!(states, [(5, CommandState::Refused), (4, CommandState::Delivered), (3, CommandState::Waiting)]);
        assert_eq!(get(&txn, &tenant, "c1", Micros(9)).unwrap(), None);
        assert_eq!(waiting(&txn, &tenant, &pump, Micros(9)).unwrap().len(), 1);
    }
}
