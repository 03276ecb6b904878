use super::*;
use crate::{
    ledger::{LedgerConfig, LedgerOptions},
    model::id::default_tenant,
};
use serde::Deserialize;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Count {
    count: u64,
}

async fn ledger(dir: &std::path::Path) -> Ledger {
    Ledger::open(&LedgerConfig::Embedded { dir: dir.to_owned(), options: LedgerOptions::default() }).await.unwrap()
}

async fn add_one(records: &Records, key: &str) -> Result<u64, RecordsError> {
    let change = |changes: &mut Changes| {
        let count = records.get::<Count>(key)?.map_or(0, |record| record.count) + 1;
        changes.put(key, &Count { count })?;
        Ok(count)
    };
    records.change(Micros(1), change).await
}

#[tokio::test]
async fn changes_that_come_at_once_all_count_on_two_nodes_of_one_log_too() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger(dir.path()).await;
    // Each has a turn of its own, as on two nodes.
    let nodes = [(); 2].map(|()| Records::new(ledger.clone(), &default_tenant(), Space::Devices));
    let adds = (0..40).map(|n| add_one(&nodes[n % 2], "d:x"));
    for added in futures::future::join_all(adds).await {
        added.unwrap();
    }
    assert_eq!(nodes[0].get::<Count>("d:x").unwrap(), Some(Count { count: 40 }));
}

#[tokio::test]
async fn a_change_is_there_after_a_restart_and_the_log_says_which_records_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let first = ledger(dir.path()).await;
    let records = Records::new(first.clone(), &default_tenant(), Space::Devices);
    add_one(&records, "d:x").await.unwrap();
    first.close().await;
    let ledger = ledger(dir.path()).await;
    let records = Records::new(ledger.clone(), &default_tenant(), Space::Devices);
    let mut found = Vec::new();
    records.scan::<Count>("d:", |key, record| found.push((key.to_owned(), record.count))).unwrap();
    assert_eq!(found, [("d:x".to_owned(), 1)]);
    let log = ledger.events(1, 10, usize::MAX).unwrap();
    assert_eq!(log.iter().filter_map(|event| Space::Devices.changed(event)).collect::<Vec<_>>(), [["d:x"]]);
    assert_eq!(log.iter().find_map(|event| Space::Identity.changed(event)), None);
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::new(ledger(dir.path()).await, &default_tenant(), Space::Identity);
    let refused: Result<(), _> = records
        .change(Micros(1), |changes| {
            changes.put("u:x", &Count { count: 1 })?;
            Err(RecordsError::TooMany)
        })
        .await;
    assert!(matches!(refused, Err(RecordsError::TooMany)));
    let many = |changes: &mut Changes| (0..=WRITES_MAX).try_for_each(|n| changes.put(format!("u:{n}"), &Count { count: 1 }));
    assert!(matches!(records.change(Micros(1), many).await, Err(RecordsError::TooMany)));
    assert_eq!(records.get::<Count>("u:x").unwrap(), None);
    assert_eq!(*records.ledger.head().borrow(), 0);
}
