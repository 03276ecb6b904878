#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    ledger::{LedgerConfig, LedgerOptions},
    model::{Id, id::default_tenant},
};

fn put(key: &str) -> Write {
    Write { key: key.to_owned(), value: Some(Bytes::copy_from_slice(key.as_bytes())) }
}

fn delete(key: &str) -> Write {
    Write { key: key.to_owned(), value: None }
}

async fn lane(dir: &std::path::Path) -> Arc<Lane> {
    let config = LedgerConfig::Embedded { dir: dir.to_owned(), options: LedgerOptions::default() };
    let app = AppId::new(default_tenant(), Id::new("app").unwrap());
    Lane::new(app, Ledger::open(&config).await.unwrap()).unwrap()
}

/// A listing over what is durable and what is not yet is what it would be if all of it were.
#[tokio::test]
async fn a_listing_sees_what_is_written_over_what_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let lane = lane(dir.path()).await;
    let name = |n: u32| format!("k/{n:03}");
    let writes = (0..300).map(|n| put(&name(n))).chain([put("j"), put("l")]).collect();
    lane.fold(0, Fold { writes, ..Fold::default() }, false).unwrap();
    lane.settled().await;
    // Many are gone that a page would begin with, some are new between the others and behind them.
    let gone = (0..200).chain(210..230).map(|n| delete(&name(n)));
    let new = [5, 205, 299].map(|n| put(&format!("{}/new", name(n))));
    lane.inner.lock().write(&gone.chain(new).collect::<Vec<_>>());
    let all: Vec<String> = {
        let stored = (0..300).filter(|n| !(0..200).chain(210..230).any(|gone| gone == *n)).map(name);
        let mut all: Vec<String> = stored.chain([5, 205, 299].map(|n| format!("{}/new", name(n)))).collect();
        all.sort();
        all
    };
    for limit in [1, 7, 50, 1_000] {
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = lane.state_entries("k/", after.as_deref(), limit).unwrap().value;
            assert!(page.len() <= limit && page.iter().all(|(key, value)| key.as_bytes() == value.as_ref()));
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            found.extend(page.into_iter().map(|(key, _)| key));
        }
        assert_eq!(found, all, "in pages of {limit}");
    }
    assert_eq!(lane.state_entries("k/", None, 0).unwrap().value, []);
    assert_eq!(lane.state_entries("k/", Some("a"), 1).unwrap().value[0].0, "k/005/new", "an earlier `after` leaves nothing out");
}

/// A call that streams for an hour holds a part of the memory, not all of it, and is told when nobody knows what it has missed.
#[tokio::test]
async fn what_is_written_during_a_long_call_takes_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let lane = lane(dir.path()).await;
    let long = lane.begin(false).await;
    let read = |key: &str| Read::Key(key.to_owned());
    let mut inner = lane.inner.lock();
    let began = inner.clock;
    inner.write(&[put("first")]);
    assert!(inner.written_since(&read("first"), began) && !inner.written_since(&read("never"), began));
    for n in 0..3 * WRITTEN_MAX {
        inner.write(&[put(&n.to_string())]);
        inner.overlay.clear();
        assert!(inner.written.len() <= WRITTEN_MAX + 1, "{}", inner.written.len());
    }
    assert!(inner.written_since(&read("first"), began), "it can't be said that it was not");
    assert!(inner.written_since(&read("never"), began), "nor of any other key");
    let lately = inner.clock - 1_000;
    assert!(!inner.written_since(&read("never"), lately), "who began lately is not concerned");
    assert!(inner.written_since(&read(&(3 * WRITTEN_MAX - 1).to_string()), lately));
    drop(inner);
    drop(long);
    let mut inner = lane.inner.lock();
    inner.written_kept = 0;
    inner.write(&[put("last")]);
    assert!(inner.written.len() <= 1, "nobody is left to need them");
}
