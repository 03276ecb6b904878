//! What a call may ask of its state, told without a guest: its imports are called as a guest would.
#![allow(clippy::unwrap_used)]

use super::super::{
    Call, CallStart, HistoryPage, HistoryQuery, HostError, MemoryBudget, NodeSecret, Seen, Shared, World,
    bindings::{
        tawi::app::state::Host,
        wasi::keyvalue::{batch, store, store::HostBucket},
    },
    keyvalue::Bucket,
};
use crate::model::{
    AppId, Digest, Id, Manifest, Micros, Release,
    id::default_tenant,
    limit::{READS_BYTES_MAX, READS_MAX, STATE_ENTRIES_MAX, STATE_KEY_BYTES_MAX, STATE_PAGE_BYTES_MAX, STATE_VALUE_BYTES_MAX},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};
use wasmtime::component::Resource;

/// A state that counts the most bytes of values it was asked for at once.
#[derive(Default)]
struct Kept {
    state: BTreeMap<String, Bytes>,
    most_bytes: Mutex<usize>,
}

impl World for Kept {
    fn state(&self, key: &str) -> Result<Seen<Option<Bytes>>, String> {
        Ok(Seen { value: self.state.get(key).cloned(), at: 0 })
    }

    fn state_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Seen<Vec<(String, Bytes)>>, String> {
        let found = self.state.iter().filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
        let value: Vec<(String, Bytes)> = found.take(limit).map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut most = self.most_bytes.lock();
        *most = value.iter().map(|(_, value)| value.len()).sum::<usize>().max(*most);
        Ok(Seen { value, at: 0 })
    }

    fn history(&self, _: HistoryQuery) -> BoxFuture<'static, Result<HistoryPage, String>> {
        Box::pin(async { Ok(HistoryPage::default()) })
    }

    fn may_command(&self, _: &crate::model::Id) -> bool {
        true
    }

    fn config(&self) -> Arc<BTreeMap<String, String>> {
        Arc::default()
    }

    fn secrets(&self) -> Arc<BTreeMap<String, String>> {
        Arc::default()
    }
}

fn call(world: Arc<Kept>) -> Call {
    let manifest = Manifest::parse("[app]\nname='a'\n[[on]]\nname='f'\nsubject='reading.>'\n[grant]\nstate=true").unwrap();
    let (artifact, created) = (Digest::of(b""), Micros(0));
    let release = Release { number: 1, artifact, manifest, commit: String::new(), summary: String::new(), created, rollback_of: None };
    let shared = Shared { memory: MemoryBudget::new(1 << 30), secret: NodeSecret::default() };
    let (now, end, collected) = (Micros(0), std::time::Instant::now(), Arc::default());
    let start = CallStart { id: "call".into(), now, world, end, collected };
    Call::new(start, AppId::new(default_tenant(), Id::new("a").unwrap()), Arc::new(release), &shared)
}

fn world(entries: impl IntoIterator<Item = (String, usize)>) -> Arc<Kept> {
    let state = entries.into_iter().map(|(key, bytes)| (key, Bytes::from(vec![7; bytes]))).collect();
    Arc::new(Kept { state, ..Kept::default() })
}

fn bucket() -> Resource<Bucket> {
    Resource::new_own(0)
}

fn limit<T: std::fmt::Debug>(answer: Result<T, HostError>) -> String {
    match answer {
        Err(HostError::Limit(text)) => text,
        other => panic!("not refused by a limit: {other:?}"),
    }
}

fn other<T>(answer: Result<T, store::Error>) -> String {
    match answer {
        Err(store::Error::Other(text)) => text,
        Err(error) => panic!("another error: {error:?}"),
        Ok(_) => panic!("not refused"),
    }
}

/// Each read is remembered until the commit, so a guest that reads on and on would fill the node's memory.
#[tokio::test]
async fn a_call_reads_only_so_many_keys() {
    let mut call = call(world([]));
    for n in 0..READS_MAX {
        assert_eq!(HostBucket::get(&mut call, bucket(), format!("{n}")).unwrap(), None);
    }
    assert_eq!(Host::get(&mut call, "0".into()).unwrap(), None, "what was read is read again");
    let refused = limit(Host::get(&mut call, "one more".into()));
    assert!(refused.contains(&READS_MAX.to_string()), "{refused}");
    assert!(other(call.exists(bucket(), "one more".into())).contains(&READS_MAX.to_string()));
    limit(call.entries("prefix".into(), None, 1).await);
    assert_eq!(call.collected.lock().reads.len(), READS_MAX);
}

#[tokio::test]
async fn the_keys_that_a_call_reads_have_only_so_many_bytes() {
    let mut call = call(world([]));
    let long = |n: usize| format!("{n:0width$}", width = STATE_KEY_BYTES_MAX);
    let fit = READS_BYTES_MAX / STATE_KEY_BYTES_MAX;
    assert!(fit < READS_MAX, "else this is not about bytes");
    for n in 0..fit {
        Host::get(&mut call, long(n)).unwrap();
    }
    let refused = limit(Host::get(&mut call, long(fit)));
    assert!(refused.contains(&READS_BYTES_MAX.to_string()), "{refused}");
}

#[tokio::test]
async fn a_key_has_a_longest_under_every_name() {
    let mut call = call(world([]));
    let long = "k".repeat(STATE_KEY_BYTES_MAX + 1);
    let named = STATE_KEY_BYTES_MAX.to_string();
    assert!(limit(Host::get(&mut call, long.clone())).contains(&named));
    assert!(limit(call.entries(long.clone(), None, 1).await).contains(&named));
    assert!(limit(call.entries(String::new(), Some(long.clone()), 1).await).contains(&named));
    assert!(other(HostBucket::get(&mut call, bucket(), long.clone())).contains(&named));
    assert!(other(call.exists(bucket(), long.clone())).contains(&named));
    assert!(other(batch::Host::get_many(&mut call, bucket(), vec![long])).contains(&named));
    assert!(call.collected.lock().reads.is_empty(), "what was refused is not remembered");
}

/// A thousand of the largest values are 256 MiB; a page of them is not, and neither is what the host holds to make one.
#[tokio::test]
async fn a_page_of_large_values_is_short_and_the_next_one_goes_on() {
    let world = world((0..40).map(|n| (format!("{n:02}"), STATE_VALUE_BYTES_MAX)));
    let mut call = call(world.clone());
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = call.entries(String::new(), after, 1_000).await.unwrap();
        let bytes: usize = page.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
        assert!(bytes <= STATE_PAGE_BYTES_MAX, "{bytes} bytes");
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        seen.extend(page.into_iter().map(|entry| entry.key));
    }
    assert_eq!(seen, (0..40).map(|n| format!("{n:02}")).collect::<Vec<_>>());
    assert!(*world.most_bytes.lock() <= 4 << 20, "{} bytes at once", world.most_bytes.lock());
}

#[tokio::test]
async fn own_writes_stand_among_the_worlds_entries_on_every_page() {
    let mut call = call(world((0..100).map(|n| (format!("k{n:02}"), 1))));
    for n in (0..100).filter(|n| n % 3 == 0) {
        call.state_write(format!("k{n:02}"), None).unwrap();
    }
    for n in 0..20 {
        call.state_write(format!("k{:02}+", n * 5), Some(Bytes::from_static(b"own"))).unwrap();
    }
    call.state_write("l".into(), Some(Bytes::new())).unwrap();
    let mut expected: Vec<String> = (0..100).filter(|n| n % 3 != 0).map(|n| format!("k{n:02}")).collect();
    expected.extend((0..20).map(|n| format!("k{:02}+", n * 5)));
    expected.sort();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = call.entries("k".into(), after, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        seen.extend(page.into_iter().map(|entry| entry.key));
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_standards_list_of_keys_comes_in_pages_and_holds_no_values() {
    let world = world((0..2_500).map(|n| (format!("{n:04}"), if n < 50 { STATE_VALUE_BYTES_MAX } else { 1 })));
    let mut call = call(world.clone());
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = call.list_keys(bucket(), cursor).await.unwrap();
        assert!(page.keys.len() <= STATE_ENTRIES_MAX);
        seen.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..2_500).map(|n| format!("{n:04}")).collect::<Vec<_>>());
    assert!(*world.most_bytes.lock() <= 4 << 20, "{} bytes at once", world.most_bytes.lock());
    let again = call.list_keys(bucket(), Some(2_400)).await.unwrap();
    assert_eq!((again.keys.len(), again.keys[0].as_str()), (100, "2400"), "a cursor from anywhere");
}

#[tokio::test]
async fn many_values_at_once_have_a_limit() {
    let mut call = call(world([("large".to_owned(), STATE_VALUE_BYTES_MAX)]));
    let times = |n: usize| vec!["large".to_owned(); n];
    assert_eq!(batch::Host::get_many(&mut call, bucket(), times(3)).unwrap().len(), 3);
    assert!(other(batch::Host::get_many(&mut call, bucket(), times(5))).contains(&STATE_PAGE_BYTES_MAX.to_string()));
    let nothing = vec!["none".to_owned(); STATE_ENTRIES_MAX + 1];
    assert!(other(batch::Host::get_many(&mut call, bucket(), nothing)).contains(&STATE_ENTRIES_MAX.to_string()));
}

/// Others run between two pieces of a long walk, and so does the clock that ends the call.
#[tokio::test]
async fn a_long_walk_lets_others_run() {
    let mut call = call(world((0..2_000).map(|n| (format!("{n:04}"), 1))));
    let mut turns = 0;
    let other = async {
        loop {
            turns += 1;
            tokio::task::yield_now().await;
        }
    };
    let walked = tokio::select! {
        biased;
        page = call.entries(String::new(), None, 1_000) => page.unwrap().len(),
        () = other => 0,
    };
    assert_eq!(walked, 1_000);
    assert!(turns > 10, "{turns} turns of somebody else");
}
