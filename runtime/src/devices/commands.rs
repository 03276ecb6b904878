//! What became of each command: rows of `devices.redb`, written as commands come in the log, and when somebody learns more.
//!
//! A command *waits* until a client that stands for its device has acknowledged it, or says that it won't do it; or until it is too old to
//! be done. That it is told twice can't be ruled out on this last hop: its id is the same each time.

use super::{DevicesError, store};
use crate::model::{
    Event, Id, Micros, Seq, Tenant,
    limit::{COMMAND_SECONDS_MAX, COMMANDS_MAX, COMMANDS_PER_DEVICE_MAX},
};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Sequence -> JSON of [`Command`].
pub(super) const COMMANDS: TableDefinition<u64, &[u8]> = TableDefinition::new("commands");
/// (tenant, id of a command) -> sequence.
pub(super) const IDS: TableDefinition<(&str, &str), u64> = TableDefinition::new("command ids");
/// (tenant, device, sequence): those that wait.
pub(super) const WAITING: TableDefinition<(&str, &str, u64), ()> = TableDefinition::new("commands waiting");
/// (tenant, device, sequence): all of them.
pub(super) const BY_DEVICE: TableDefinition<(&str, &str, u64), ()> = TableDefinition::new("commands by device");
/// Sequences of those that wait no more, as far as somebody said so.
pub(super) const ENDED: TableDefinition<u64, ()> = TableDefinition::new("commands ended");
/// (tenant, id) -> JSON of an end that an earlier Tawi knew before it had read the command from the log.
pub(super) const EARLY: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("commands ended early");

/// Bytes of one list of commands; one that is longer has fewer of them.
const LIST_BYTES_MAX: usize = 4 << 20;

/// How many commands are known at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub all: u64,
    pub of_device: usize,
}

impl Default for Most {
    fn default() -> Most {
        Most { all: COMMANDS_MAX, of_device: COMMANDS_PER_DEVICE_MAX }
    }
}

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

#[derive(Deserialize)]
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

/// Makes the tables, and fills those that an earlier Tawi did not have.
pub(super) fn prepare(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(IDS)?;
    txn.open_table(WAITING)?;
    txn.open_table(EARLY)?;
    let (rows, mut by_device, mut ended) = (txn.open_table(COMMANDS)?, txn.open_table(BY_DEVICE)?, txn.open_table(ENDED)?);
    if by_device.is_empty()? {
        for row in rows.iter()? {
            let Some(command) = read::<Command>(row?.1.value()) else { continue };
            by_device.insert((command.tenant.as_str(), command.device.as_str(), command.seq), ())?;
            if command.state != CommandState::Waiting {
                ended.insert(command.seq, ())?;
            }
        }
    }
    Ok(())
}

/// The tables of one transaction.
struct Tables<'t> {
    rows: Table<'t, u64, &'static [u8]>,
    ids: Table<'t, (&'static str, &'static str), u64>,
    waiting: Table<'t, (&'static str, &'static str, u64), ()>,
    by_device: Table<'t, (&'static str, &'static str, u64), ()>,
    ended: Table<'t, u64, ()>,
}

impl<'t> Tables<'t> {
    fn of(txn: &'t WriteTransaction) -> Result<Tables<'t>, redb::Error> {
        Ok(Tables {
            rows: txn.open_table(COMMANDS)?,
            ids: txn.open_table(IDS)?,
            waiting: txn.open_table(WAITING)?,
            by_device: txn.open_table(BY_DEVICE)?,
            ended: txn.open_table(ENDED)?,
        })
    }

    fn insert(&mut self, command: &Command) -> Result<(), redb::Error> {
        let (tenant, device, seq) = (command.tenant.as_str(), command.device.as_str(), command.seq);
        self.ids.insert((tenant, command.id.as_str()), seq)?;
        self.by_device.insert((tenant, device, seq), ())?;
        match command.state {
            CommandState::Waiting => drop(self.waiting.insert((tenant, device, seq), ())?),
            _ => drop(self.ended.insert(seq, ())?),
        }
        self.rows.insert(seq, write(command).as_slice())?;
        Ok(())
    }

    fn remove(&mut self, seq: Seq) -> Result<(), redb::Error> {
        let old = self.rows.remove(seq)?.and_then(|row| read::<Command>(row.value()));
        self.ended.remove(seq)?;
        if let Some(old) = old {
            let (tenant, device) = (old.tenant.as_str(), old.device.as_str());
            self.ids.remove((tenant, old.id.as_str()))?;
            self.waiting.remove((tenant, device, seq))?;
            self.by_device.remove((tenant, device, seq))?;
        }
        Ok(())
    }

    /// The oldest first.
    fn of_device(&self, tenant: &str, device: &str) -> Result<Vec<Seq>, redb::Error> {
        let rows = self.by_device.range((tenant, device, 0)..=(tenant, device, u64::MAX))?;
        Ok(rows.map(|row| row.map(|(key, _)| key.value().2)).collect::<Result<_, _>>()?)
    }

    /// Which one makes room: what nobody waits for any more, the oldest first; else an earlier one of a device that has just been told something, so
    /// that who commands many times takes nobody else's place.
    fn least(&mut self, told: &BTreeSet<(String, String)>, now: Micros) -> Result<Option<Seq>, redb::Error> {
        if let Some(seq) = self.ended.first()?.map(|(seq, _)| seq.value()) {
            return Ok(Some(seq));
        }
        let Some((oldest, row)) = self.rows.first()?.map(|(seq, row)| (seq.value(), read::<Command>(row.value()))) else { return Ok(None) };
        if row.is_none_or(|command| command.at(now).state != CommandState::Waiting) {
            return Ok(Some(oldest));
        }
        for (tenant, device) in told {
            if let [first, _, ..] = self.of_device(tenant, device)?[..] {
                return Ok(Some(first));
            }
        }
        Ok(Some(oldest))
    }
}

/// Takes the commands among some events, and lets others go for them.
pub(super) fn index(txn: &WriteTransaction, events: &[&Event], most: Most) -> Result<(), redb::Error> {
    let Some(now) = events.last().map(|event| event.received) else { return Ok(()) };
    let (mut tables, mut early) = (Tables::of(txn)?, txn.open_table(EARLY)?);
    let mut told = BTreeSet::new();
    for mut command in events.iter().filter_map(|event| Command::of(event)) {
        if let Some(end) = early.remove((command.tenant.as_str(), command.id.as_str()))?.and_then(|row| read::<Early>(row.value())) {
            (command.state, command.changed) = (end.state, end.changed);
        }
        tables.insert(&command)?;
        told.insert((command.tenant.to_string(), command.device.to_string()));
    }
    for (tenant, device) in &told {
        let all = tables.of_device(tenant, device)?;
        for seq in all.iter().take(all.len().saturating_sub(most.of_device)) {
            tables.remove(*seq)?;
        }
    }
    while tables.rows.len()? > most.all {
        let Some(seq) = tables.least(&told, now)? else { break };
        tables.remove(seq)?;
    }
    Ok(())
}

/// The device is gone: who registers one of this id has nothing to do with what it was told.
pub(super) fn forget(txn: &WriteTransaction, tenant: &str, device: &str) -> Result<(), redb::Error> {
    let mut tables = Tables::of(txn)?;
    for seq in tables.of_device(tenant, device)? {
        tables.remove(seq)?;
    }
    Ok(())
}

/// The first end of a command stands.
pub(super) fn end(txn: &WriteTransaction, tenant: &Tenant, id: &str, state: CommandState, now: Micros) -> Result<(), redb::Error> {
    let seq = txn.open_table(IDS)?.get((tenant.as_str(), id))?.map(|row| row.value());
    // An end stands behind its command in the log: one that is not known any more has made room for others, or its device is gone.
    let Some(seq) = seq else { return Ok(()) };
    let mut tables = Tables::of(txn)?;
    let known = tables.rows.get(seq)?.and_then(|row| read::<Command>(row.value()));
    if let Some(mut command) = known.filter(|command| command.state == CommandState::Waiting) {
        (command.state, command.changed) = (state, now);
        tables.insert(&command)?;
        tables.waiting.remove((tenant.as_str(), command.device.as_str(), seq))?;
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

/// The newest first.
pub(super) fn list(txn: &ReadTransaction, tenant: &Tenant, limit: usize, now: Micros) -> Result<Vec<Command>, redb::Error> {
    let rows = txn.open_table(COMMANDS)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    for row in rows.iter()?.rev() {
        let row = row?.1;
        bytes += row.value().len();
        if found.len() >= limit || (bytes > LIST_BYTES_MAX && !found.is_empty()) {
            break;
        }
        found.extend(read::<Command>(row.value()).filter(|command| command.tenant == *tenant).map(|command| command.at(now)));
    }
    Ok(found)
}

/// Those of one device, the newest first, as far back as `since`.
pub(super) fn of_device(
    txn: &ReadTransaction,
    tenant: &Tenant,
    device: &Id,
    since: Option<Micros>,
    limit: usize,
    now: Micros,
) -> Result<Vec<Command>, redb::Error> {
    let (by_device, rows) = (txn.open_table(BY_DEVICE)?, txn.open_table(COMMANDS)?);
    let (mut found, mut bytes) = (Vec::new(), 0);
    for row in by_device.range((tenant.as_str(), device.as_str(), 0)..=(tenant.as_str(), device.as_str(), u64::MAX))?.rev() {
        let Some(row) = rows.get(row?.0.value().2)? else { continue };
        bytes += row.value().len();
        if found.len() >= limit || (bytes > LIST_BYTES_MAX && !found.is_empty()) {
            break;
        }
        let command = read::<Command>(row.value()).filter(|command| since.is_none_or(|since| command.given >= since));
        found.extend(command.map(|command| command.at(now)));
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

    fn event(device: &str, seq: Seq) -> Event {
        let id = Id::new(device).unwrap();
        let mut body = NewEvent::reading(&default_tenant(), &id, &id, Micros(1), Micros(1), Value::json("1").unwrap());
        body.kind = Kind::Command;
        body.subject = Subject::new(&format!("command.{device}.{device}")).unwrap();
        body.value = Value::from_json(&serde_json::json!({ "id": format!("c{seq}"), "value": seq }));
        Event { seq, body }
    }

    fn database() -> (tempfile::TempDir, Database) {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::create(dir.path().join("x")).unwrap();
        let txn = db.begin_write().unwrap();
        prepare(&txn).unwrap();
        txn.commit().unwrap();
        (dir, db)
    }

    fn take(db: &Database, events: &[Event], most: Most) {
        let txn = db.begin_write().unwrap();
        index(&txn, &events.iter().collect::<Vec<_>>(), most).unwrap();
        txn.commit().unwrap();
    }

    fn known(db: &Database, device: &str) -> Vec<Seq> {
        let device = Id::new(device).unwrap();
        let found = of_device(&db.begin_read().unwrap(), &default_tenant(), &device, None, 1_000, Micros(9)).unwrap();
        found.into_iter().map(|command| command.seq).collect()
    }

    #[test]
    fn only_so_many_commands_are_remembered() {
        let (_dir, db) = database();
        let (tenant, pump) = (default_tenant(), Id::new("pump").unwrap());
        let txn = db.begin_write().unwrap();
        // Of one that is not there, and of one that an earlier Tawi has not read.
        end(&txn, &tenant, "c2", CommandState::Delivered, Micros(7)).unwrap();
        let early = br#"{"state": "delivered", "changed": 7}"#;
        txn.open_table(EARLY).unwrap().insert((tenant.as_str(), "c4"), early.as_slice()).unwrap();
        txn.commit().unwrap();
        let most = Most { all: 4, of_device: 100 };
        take(&db, &(1..=4).map(|seq| event("pump", seq)).collect::<Vec<_>>(), most);
        let txn = db.begin_write().unwrap();
        end(&txn, &tenant, "c3", CommandState::Refused, Micros(8)).unwrap();
        end(&txn, &tenant, "c3", CommandState::Delivered, Micros(9)).unwrap();
        txn.commit().unwrap();
        let states = |db: &Database| -> Vec<_> {
            let all = list(&db.begin_read().unwrap(), &tenant, 10, Micros(9)).unwrap();
            all.into_iter().map(|c| (c.seq, c.state)).collect()
        };
        use CommandState::{Delivered, Refused, Waiting};
        assert_eq!(states(&db), [(4, Delivered), (3, Refused), (2, Waiting), (1, Waiting)]);
        take(&db, &[event("pump", 5)], most);
        assert_eq!(states(&db), [(5, Waiting), (4, Delivered), (2, Waiting), (1, Waiting)], "what nobody waits for makes room");
        take(&db, &[event("pump", 6), event("pump", 7)], most);
        assert_eq!(states(&db), [(7, Waiting), (6, Waiting), (5, Waiting), (2, Waiting)]);
        let txn = db.begin_read().unwrap();
        assert_eq!(get(&txn, &tenant, "c1", Micros(9)).unwrap(), None);
        assert_eq!(waiting(&txn, &tenant, &pump, Micros(9)).unwrap().len(), 4);
    }

    #[test]
    fn who_commands_a_device_without_end_takes_nobody_elses_place() {
        let (_dir, db) = database();
        take(&db, &[event("pump", 1)], Most { all: 5, of_device: 3 });
        for seq in 2..100 {
            take(&db, &[event("siren", seq)], Most { all: 5, of_device: 3 });
        }
        assert_eq!(known(&db, "siren"), [99, 98, 97], "the newest of one device");
        take(&db, &[event("lamp", 100)], Most { all: 5, of_device: 3 });
        for seq in 101..200 {
            take(&db, &[event("siren", seq), event("lamp", seq + 1_000)], Most { all: 5, of_device: 3 });
        }
        assert_eq!(known(&db, "pump"), [1]);
    }

    #[test]
    fn what_a_device_was_told_before_it_was_registered_and_what_is_gone_is_not_listed() {
        let (_dir, db) = database();
        let mut late = event("pump", 2);
        late.body.received = Micros(5);
        take(&db, &[event("pump", 1), late, event("siren", 3)], Most::default());
        let (tenant, pump) = (default_tenant(), Id::new("pump").unwrap());
        let since = of_device(&db.begin_read().unwrap(), &tenant, &pump, Some(Micros(2)), 10, Micros(9)).unwrap();
        assert_eq!(since.iter().map(|command| command.seq).collect::<Vec<_>>(), [2]);
        let txn = db.begin_write().unwrap();
        forget(&txn, tenant.as_str(), "pump").unwrap();
        txn.commit().unwrap();
        assert_eq!((known(&db, "pump"), known(&db, "siren")), (vec![], vec![3]));
        assert_eq!(waiting(&db.begin_read().unwrap(), &tenant, &pump, Micros(9)).unwrap(), []);
    }

    #[test]
    fn what_an_earlier_tawi_wrote_is_found_by_its_device() {
        let (_dir, db) = database();
        take(&db, &[event("pump", 1), event("siren", 2)], Most::default());
        let txn = db.begin_write().unwrap();
        txn.delete_table(BY_DEVICE).unwrap();
        prepare(&txn).unwrap();
        txn.commit().unwrap();
        assert_eq!((known(&db, "pump"), known(&db, "siren")), (vec![1], vec![2]));
    }

    #[test]
    fn a_list_of_large_commands_is_short() {
        let (_dir, db) = database();
        let large = |seq| {
            let mut event = event("pump", seq);
            event.body.value = Value::from_json(&serde_json::json!({ "id": format!("c{seq}"), "value": "x".repeat(1 << 20) }));
            event
        };
        take(&db, &(1..=10).map(large).collect::<Vec<_>>(), Most::default());
        assert_eq!(known(&db, "pump"), [10, 9, 8]);
    }
}
