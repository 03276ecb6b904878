//! `devices.redb`: one row for each device, one for each sensor and actuator, and the position in the log that they are the state of.
//!
//! All of it changes in one transaction, so a restart goes on where the file is, whenever that was written.

use super::{
    Actuator, Current, Currents, Device, DevicesError, Sensor,
    batch::{Batch, Gone},
    commands::{self, Command, Most},
};
use crate::model::{Event, Id, Micros, Seq, Tenant, Value};
use parking_lot::Mutex;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const FORMAT: u64 = 1;
const FILE: &str = "devices.redb";
/// redb's own default is a gigabyte.
const CACHE_BYTES: usize = 4 << 20;
/// Times the bytes of an answer that are looked at for it, when devices have to be left out.
const LOOKED_AT_TIMES: usize = 4;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// (tenant, device) -> when.
const DEVICES: TableDefinition<(&str, &str), Times> = TableDefinition::new("devices");
/// (tenant, device, sensor) -> JSON of [`Row`].
const SENSORS: Rows = TableDefinition::new("sensors");
/// (tenant, device, actuator) -> JSON of [`Row`]: what it was commanded last.
const ACTUATORS: Rows = TableDefinition::new("actuators");

type Rows = TableDefinition<'static, (&'static str, &'static str, &'static str), &'static [u8]>;

/// Created and modified, in microseconds.
type Times = (i64, i64);

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<Vec<u8>>,
    measured: i64,
    received: i64,
    seq: Seq,
}

pub(super) struct Store {
    db: Database,
    position: AtomicU64,
    /// Taken since the last durable commit.
    dirty: Mutex<bool>,
}

impl Store {
    pub fn open(dir: &Path) -> Result<Store, DevicesError> {
        let doing = "open the file";
        std::fs::create_dir_all(dir).map_err(|e| storage(doing, redb::Error::Io(e)))?;
        let path = dir.join(FILE);
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(&path).map_err(|e| storage(doing, e))?;
        // A new file has a name only once its directory is synced.
        std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| storage(doing, redb::Error::Io(e)))?;
        let position = prepare(&db).map_err(|e| storage(doing, e))?;
        match position {
            (FORMAT, position) => Ok(Store { db, position: AtomicU64::new(position), dirty: Mutex::new(false) }),
            (format, _) => {
                let why = format!("it has format {format}, this version knows {FORMAT}");
                Err(DevicesError::Format { name: "devices.redb".to_owned(), why })
            }
        }
    }

    pub fn position(&self) -> Seq {
        self.position.load(Ordering::Acquire)
    }

    /// `told` hears of what is new before the position says that it was taken.
    pub fn index(&self, events: &[Arc<Event>], told: impl FnOnce(&Batch<'_>) -> Result<(), DevicesError>) -> Result<(), DevicesError> {
        let mut dirty = self.dirty.lock();
        let new = events.partition_point(|event| event.seq <= self.position());
        let events = events.get(new..).unwrap_or_default();
        let Some(end) = events.last().map(|event| event.seq) else { return Ok(()) };
        let batch = Batch::of(events);
        self.write(&batch, end).map_err(|e| storage("write to the file", e))?;
        told(&batch)?;
        self.position.store(end, Ordering::Release);
        *dirty = true;
        Ok(())
    }

    fn write(&self, batch: &Batch<'_>, end: Seq) -> Result<(), redb::Error> {
        let mut txn = self.db.begin_write()?;
        // The log can tell it again.
        txn.set_durability(Durability::None)?;
        for gone in &batch.gone {
            forget(&txn, gone)?;
        }
        commands::index(&txn, &batch.orders, Most::default())?;
        for (tenant, end) in &batch.ended {
            commands::end(&txn, tenant, &end.id, end.state, end.changed)?;
        }
        {
            let mut table = txn.open_table(DEVICES)?;
            for (key, (first, last)) in &batch.devices {
                let created = table.get(key)?.map_or(first.0, |row| row.value().0);
                table.insert(key, (created, last.0))?;
            }
            let mut table = txn.open_table(SENSORS)?;
            for (key, event) in &batch.readings {
                table.insert(key, row(event, &event.value).as_slice())?;
            }
            let mut table = txn.open_table(ACTUATORS)?;
            for (key, (event, value)) in &batch.commands {
                table.insert(key, row(event, value).as_slice())?;
            }
            txn.open_table(META)?.insert("position", end)?;
        }
        txn.commit()?;
        Ok(())
    }

    pub fn commit(&self) -> Result<(), DevicesError> {
        let mut dirty = self.dirty.lock();
        if *dirty {
            let commit = || -> Result<(), redb::Error> { Ok(self.db.begin_write()?.commit()?) };
            commit().map_err(|e| storage("sync the file", e))?;
            *dirty = false;
        }
        Ok(())
    }

    /// Every table as one read transaction sees it, in one transaction of a new file.
    pub fn backup(&self, dir: &Path) -> Result<(), DevicesError> {
        let copy = || -> Result<(), redb::Error> {
            let from = self.db.begin_read()?;
            let to = Database::create(dir.join(FILE))?;
            let txn = to.begin_write()?;
            copy_table(&from, &txn, META)?;
            copy_table(&from, &txn, DEVICES)?;
            copy_table(&from, &txn, SENSORS)?;
            copy_table(&from, &txn, ACTUATORS)?;
            copy_table(&from, &txn, commands::COMMANDS)?;
            copy_table(&from, &txn, commands::IDS)?;
            copy_table(&from, &txn, commands::WAITING)?;
            copy_table(&from, &txn, commands::EARLY)?;
            copy_table(&from, &txn, commands::BY_DEVICE)?;
            copy_table(&from, &txn, commands::ENDED)?;
            Ok(txn.commit()?)
        };
        copy().map_err(|e| storage("copy the file", e))
    }

    pub fn command(&self, tenant: &Tenant, id: &str, now: Micros) -> Result<Option<Command>, DevicesError> {
        let read = || commands::get(&self.db.begin_read()?, tenant, id, now);
        read().map_err(commands::failed)
    }

    pub fn waiting(&self, tenant: &Tenant, device: &Id, now: Micros) -> Result<Vec<Command>, DevicesError> {
        let read = || commands::waiting(&self.db.begin_read()?, tenant, device, now);
        read().map_err(commands::failed)
    }

    pub fn commands(&self, tenant: &Tenant, limit: usize, now: Micros) -> Result<Vec<Command>, DevicesError> {
        let read = || commands::list(&self.db.begin_read()?, tenant, limit, now);
        read().map_err(commands::failed)
    }

    pub fn commands_since(
        &self,
        tenant: &Tenant,
        device: &Id,
        since: Option<Micros>,
        limit: usize,
        now: Micros,
    ) -> Result<Vec<Command>, DevicesError> {
        let read = || commands::of_device(&self.db.begin_read()?, tenant, device, since, limit, now);
        read().map_err(commands::failed)
    }

    pub fn is_dirty(&self) -> bool {
        *self.dirty.lock()
    }

    pub fn known(&self, tenant: &Tenant, device: &Id) -> Result<bool, DevicesError> {
        let known = || -> Result<bool, redb::Error> {
            let table = self.db.begin_read()?.open_table(DEVICES)?;
            Ok(table.get((tenant.as_str(), device.as_str()))?.is_some())
        };
        known().map_err(|e| storage("look up a device", e))
    }

    pub fn get(&self, tenant: &Tenant, device: &Id) -> Result<Option<Device>, DevicesError> {
        let read = || -> Result<Option<Times>, redb::Error> {
            let table = self.db.begin_read()?.open_table(DEVICES)?;
            Ok(table.get((tenant.as_str(), device.as_str()))?.map(|row| row.value()))
        };
        match read().map_err(|e| storage("look up a device", e))? {
            None => Ok(None),
            Some(times) => self.device(tenant, device.clone(), times).map(Some),
        }
    }

    pub fn list(&self, tenant: &Tenant, limit: usize, offset: usize) -> Result<(Vec<Device>, usize), DevicesError> {
        let doing = "list the devices";
        let read = || -> Result<(Vec<(String, Times)>, usize), redb::Error> {
            let table = self.db.begin_read()?.open_table(DEVICES)?;
            let (mut page, mut total) = (vec![], 0);
            for row in table.range((tenant.as_str(), "")..)? {
                let (key, times) = row?;
                let (of, device) = key.value();
                if of != tenant.as_str() {
                    break;
                }
                if total >= offset && page.len() < limit {
                    page.push((device.to_owned(), times.value()));
                }
                total += 1;
            }
            Ok((page, total))
        };
        let (page, total) = read().map_err(|e| storage(doing, e))?;
        let devices = page.into_iter().map(|(device, times)| self.device(tenant, id(&device)?, times));
        Ok((devices.collect::<Result<_, _>>()?, total))
    }

    pub fn after(&self, tenant: &Tenant, after: Option<&Id>, limit: usize) -> Result<Vec<Device>, DevicesError> {
        let from = after.map_or("", Id::as_str);
        let read = || -> Result<Vec<(String, Times)>, redb::Error> {
            let table = self.db.begin_read()?.open_table(DEVICES)?;
            let mut page = Vec::new();
            for row in table.range((tenant.as_str(), from)..)? {
                let (key, times) = row?;
                let (of, device) = key.value();
                if of != tenant.as_str() || page.len() >= limit {
                    break;
                }
                if device > from {
                    page.push((device.to_owned(), times.value()));
                }
            }
            Ok(page)
        };
        let page = read().map_err(|e| storage("list the devices", e))?;
        page.into_iter().map(|(device, times)| self.device(tenant, id(&device)?, times)).collect()
    }

    fn device(&self, tenant: &Tenant, device: Id, (created, modified): Times) -> Result<Device, DevicesError> {
        let sensors = self.currents(SENSORS, tenant, &device)?.into_iter().map(|(id, current)| Sensor { id, current }).collect();
        let actuators = self.actuators(tenant, &device)?;
        Ok(Device { id: device, created: Micros(created), modified: Micros(modified), sensors, actuators })
    }

    pub fn actuators(&self, tenant: &Tenant, device: &Id) -> Result<Vec<Actuator>, DevicesError> {
        let actuators = self.currents(ACTUATORS, tenant, device)?.into_iter();
        Ok(actuators.map(|(id, current)| Actuator { id, current }).collect())
    }

    /// Of many devices as one moment has them, as far as that goes.
    pub fn all_currents<'a>(
        &self,
        tenant: &Tenant,
        devices: impl Iterator<Item = &'a Id>,
        bytes_max: usize,
    ) -> Result<Vec<Currents>, DevicesError> {
        let tables = || -> Result<_, redb::Error> {
            let txn = self.db.begin_read()?;
            Ok((txn.open_table(SENSORS)?, txn.open_table(ACTUATORS)?))
        };
        let (sensors, actuators) = tables().map_err(|e| storage("read what devices said", e))?;
        let (mut all, mut bytes, mut looked_at) = (Vec::new(), 0, 0);
        for device in devices {
            let mut own = 0;
            let said = rows_of(&sensors, tenant, device, bytes_max, &mut own)?;
            let told = rows_of(&actuators, tenant, device, bytes_max, &mut own)?;
            let currents = match own > bytes_max {
                true => Currents { is_left_out: true, ..Currents::default() },
                false => Currents {
                    sensors: said.into_iter().map(|(id, current)| Sensor { id, current }).collect(),
                    actuators: told.into_iter().map(|(id, current)| Actuator { id, current }).collect(),
                    is_left_out: false,
                },
            };
            bytes += if currents.is_left_out { 0 } else { own };
            looked_at += own;
            // What was looked at for nothing takes its time too.
            if !all.is_empty() && (bytes > bytes_max || looked_at > bytes_max.saturating_mul(LOOKED_AT_TIMES)) {
                break;
            }
            all.push(currents);
        }
        Ok(all)
    }

    pub fn sensor(&self, tenant: &Tenant, device: &Id, id: &Id) -> Result<Option<Sensor>, DevicesError> {
        Ok(self.current(SENSORS, tenant, device, id)?.map(|current| Sensor { id: id.clone(), current }))
    }

    pub fn actuator(&self, tenant: &Tenant, device: &Id, id: &Id) -> Result<Option<Actuator>, DevicesError> {
        Ok(self.current(ACTUATORS, tenant, device, id)?.map(|current| Actuator { id: id.clone(), current }))
    }

    fn current(&self, rows: Rows, tenant: &Tenant, device: &Id, id: &Id) -> Result<Option<Current>, DevicesError> {
        let row = || -> Result<_, redb::Error> {
            let table = self.db.begin_read()?.open_table(rows)?;
            Ok(table.get((tenant.as_str(), device.as_str(), id.as_str()))?.map(|row| current(id.as_str(), row.value())))
        };
        row().map_err(|e| storage("read a device", e))?.transpose()
    }

    fn currents(&self, rows: Rows, tenant: &Tenant, device: &Id) -> Result<Vec<(Id, Current)>, DevicesError> {
        let table = || -> Result<_, redb::Error> { Ok(self.db.begin_read()?.open_table(rows)?) };
        rows_of(&table().map_err(|e| storage("read a device", e))?, tenant, device, usize::MAX, &mut 0)
    }

    /// Every sensor of a tenant that sent something, in the order of ids: device, sensor, when its device was heard first, and when it
    /// was heard last.
    pub fn heard(&self, tenant: &Tenant, mut each: impl FnMut(Id, Id, Micros, Micros)) -> Result<(), DevicesError> {
        let doing = "read all devices";
        let read = || -> Result<_, redb::Error> {
            let txn = self.db.begin_read()?;
            Ok((txn.open_table(DEVICES)?, txn.open_table(SENSORS)?))
        };
        let (devices, sensors) = read().map_err(|e| storage(doing, e))?;
        let of_tenant = (tenant.as_str(), "", "")..;
        for row in sensors.range(of_tenant).map_err(|e| storage(doing, e))? {
            let (key, row) = row.map_err(|e| storage(doing, e))?;
            let (of, device, sensor) = key.value();
            if of != tenant.as_str() {
                break;
            }
            let when: When =
                serde_json::from_slice(row.value()).map_err(|e| DevicesError::Format { name: sensor.to_owned(), why: e.to_string() })?;
            let first = devices.get((of, device)).map_err(|e| storage(doing, e))?.map_or(when.received, |times| times.value().0);
            each(id(device)?, id(sensor)?, Micros(first), Micros(when.received));
        }
        Ok(())
    }
}

type Open = redb::ReadOnlyTable<(&'static str, &'static str, &'static str), &'static [u8]>;

/// The rows of one device, by id, until `bytes` are more than `bytes_max`.
fn rows_of(table: &Open, tenant: &Tenant, device: &Id, bytes_max: usize, bytes: &mut usize) -> Result<Vec<(Id, Current)>, DevicesError> {
    let failed = |e: redb::StorageError| storage("read a device", e);
    let mut rows = vec![];
    for row in table.range((tenant.as_str(), device.as_str(), "")..).map_err(failed)? {
        let (key, row) = row.map_err(failed)?;
        let (of, by, name) = key.value();
        if (of, by) != (tenant.as_str(), device.as_str()) {
            break;
        }
        *bytes += row.value().len();
        if *bytes > bytes_max {
            break;
        }
        rows.push((id(name)?, current(name, row.value())?));
    }
    Ok(rows)
}

/// What of a [`Row`] tells when it was heard.
#[derive(Deserialize)]
struct When {
    received: i64,
}

/// Takes away what was said of a device, or of some of its sensors and actuators, before it was taken away itself.
fn forget(txn: &redb::WriteTransaction, gone: &Gone) -> Result<(), redb::Error> {
    let (tenant, device) = (gone.tenant.as_str(), gone.device.as_str());
    for (rows, named) in [(SENSORS, &gone.what.sensors), (ACTUATORS, &gone.what.actuators)] {
        let mut table = txn.open_table(rows)?;
        match named {
            Some(named) => {
                for id in named {
                    table.remove((tenant, device, id.as_str()))?;
                }
            }
            None => {
                let of_device = |key: (&str, &str, &str)| (key.0, key.1) == (tenant, device);
                let all = table.range((tenant, device, "")..)?.map_while(|row| {
                    let key = row.map(|(key, _)| of_device(key.value()).then(|| key.value().2.to_owned()));
                    key.transpose()
                });
                for id in all.collect::<Result<Vec<String>, _>>()? {
                    table.remove((tenant, device, id.as_str()))?;
                }
            }
        }
    }
    if gone.what.is_all() {
        txn.open_table(DEVICES)?.remove((tenant, device))?;
        commands::forget(txn, tenant, device)?;
    }
    Ok(())
}

/// Makes the tables, so that reading finds them, and reads format and position.
fn prepare(db: &Database) -> Result<(u64, Seq), redb::Error> {
    let txn = db.begin_write()?;
    let read = {
        txn.open_table(DEVICES)?;
        txn.open_table(SENSORS)?;
        txn.open_table(ACTUATORS)?;
        commands::prepare(&txn)?;
        let mut meta = txn.open_table(META)?;
        let format = meta.get("format")?.map(|row| row.value());
        if format.is_none() {
            meta.insert("format", FORMAT)?;
        }
        let position = meta.get("position")?.map_or(0, |row| row.value());
        (format.unwrap_or(FORMAT), position)
    };
    txn.commit()?;
    Ok(read)
}

fn row(event: &Event, value: &Value) -> Vec<u8> {
    let (json, bytes) = match value {
        Value::Json(text) => (Some(text.to_string()), None),
        Value::Bytes(bytes) => (None, Some(bytes.to_vec())),
    };
    let row = Row { json, bytes, measured: event.measured.0, received: event.received.0, seq: event.seq };
    serde_json::to_vec(&row).unwrap_or_else(|e| unreachable!("texts and numbers are JSON: {e}"))
}

fn current(sensor: &str, row: &[u8]) -> Result<Current, DevicesError> {
    let wrong = |why: String| DevicesError::Format { name: sensor.to_owned(), why };
    let row: Row = serde_json::from_slice(row).map_err(|e| wrong(e.to_string()))?;
    let value = match (row.json, row.bytes) {
        (Some(json), _) => Value::Json(json.into()),
        (None, Some(bytes)) => Value::Bytes(bytes.into()),
        (None, None) => return Err(wrong("it has no value".to_owned())),
    };
    Ok(Current { value, measured: Micros(row.measured), received: Micros(row.received), seq: row.seq })
}

fn id(text: &str) -> Result<Id, DevicesError> {
    Id::new(text).map_err(|e| DevicesError::Format { name: text.to_owned(), why: e.to_string() })
}

fn copy_table<K: redb::Key + 'static, V: redb::Value + 'static>(
    from: &redb::ReadTransaction,
    to: &redb::WriteTransaction,
    table: TableDefinition<K, V>,
) -> Result<(), redb::Error> {
    let mut copy = to.open_table(table)?;
    for row in from.open_table(table)?.iter()? {
        let (key, value) = row?;
        copy.insert(key.value(), value.value())?;
    }
    Ok(())
}

pub(super) fn storage(doing: &'static str, source: impl Into<redb::Error>) -> DevicesError {
    DevicesError::Storage { doing, source: Box::new(source.into()) }
}
