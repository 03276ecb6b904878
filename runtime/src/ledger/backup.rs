//! A consistent copy of the view while it goes on.

use super::{
    LedgerError,
    disk::{sync_dir_of, sync_file},
    tables,
    view::View,
};
use redb::{Database, Key, ReadTransaction, ReadableTable, TableDefinition, Value};
use std::path::Path;

/// Bytes copied in one transaction: bounds what the copy holds in memory.
const STEP_BYTES: usize = 8 * 1024 * 1024;
/// Cache of the copy's database; it is only written to, in key order.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

fn failed<E: Into<redb::Error>>(error: E) -> LedgerError {
    LedgerError::storage("copy the ledger", error.into())
}

/// Copies what one moment's view holds to a new file; whatever is written meanwhile is not in it.
pub(super) fn backup(view: &View, to: &Path) -> Result<(), LedgerError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(to);
    let file = file.map_err(|e| LedgerError::file("make the backup", to, e))?;
    let copy = builder.create_file(file).map_err(failed)?;
    view.read(|txn| {
        // The number of the format goes last: half a copy is not taken for a whole one.
        copy_table(txn, &copy, tables::LOG)?;
        copy_table(txn, &copy, tables::STATE)?;
        copy_table(txn, &copy, tables::VERSIONS)?;
        copy_table(txn, &copy, tables::CONSUMERS)?;
        copy_table(txn, &copy, tables::PARKED)?;
        copy_table(txn, &copy, tables::DEAD)?;
        copy_table(txn, &copy, tables::DEDUP)?;
        copy_table(txn, &copy, tables::EXPIRY)?;
        copy_table(txn, &copy, tables::INTAKE)?;
        copy_table(txn, &copy, tables::BATCHES)?;
        copy_table(txn, &copy, tables::FENCES)?;
        copy_table(txn, &copy, tables::lag::SIZES)?;
        copy_table(txn, &copy, tables::lag::PAUSED)?;
        copy_table(txn, &copy, tables::lag::LOST)?;
        copy_table(txn, &copy, tables::META)
    })?;
    drop(copy);
    sync_file(to)?;
    sync_dir_of(to)
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    txn: &ReadTransaction,
    copy: &Database,
    table: TableDefinition<'static, K, V>,
) -> Result<(), LedgerError> {
    let from = txn.open_table(table).map_err(failed)?;
    let mut rows = from.iter().map_err(failed)?.peekable();
    loop {
        let write = copy.begin_write().map_err(failed)?;
        let mut to = write.open_table(table).map_err(failed)?;
        let mut bytes = 0;
        while bytes < STEP_BYTES
            && let Some(row) = rows.next()
        {
            let (key, value) = row.map_err(failed)?;
            bytes += 32 + V::as_bytes(&value.value()).as_ref().len();
            to.insert(key.value(), value.value()).map_err(failed)?;
        }
        drop(to);
        write.commit().map_err(failed)?;
        if rows.peek().is_none() {
            return Ok(());
        }
    }
}
