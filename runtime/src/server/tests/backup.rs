//! A node in a file, and another one made of it.

use super::Node;
use crate::{
    devices::Devices,
    history::{History, HistoryOptions, Query},
    identity::{Tokens, node_secret},
    ledger::{Ledger, LedgerConfig, LedgerOptions},
    model::{Id, id::default_tenant},
    server::archive::{ArchiveError, check, restore},
};
use std::path::Path;

async fn backup(node: &Node) -> Vec<u8> {
    node.ask("GET", "/api/v1/backup", "").await.is(200).body
}

#[tokio::test]
async fn a_running_node_is_copied_and_the_copy_goes_on() {
    let node = Node::start().await;
    for n in 0..10 {
        node.ask("POST", "/api/v2/devices/d/sensors/t/value", &n.to_string()).await.is(204);
    }
    node.index();
    node.ask("GET", "/api/v2/devices/d", "").await.is(200);
    // Not in history yet, when the copy is made.
    node.ask("POST", "/api/v2/devices/d/sensors/t/value", "10").await.is(204);
    node.ask("PUT", "/api/v1/apps/fridge/secrets/k", r#"{"value":"hush"}"#).await.is(204);
    let secret = node_secret(node.dir.path()).unwrap();
    let tar = backup(&node).await;
    node.ask("POST", "/api/v2/devices/d/sensors/t/value", "11").await.is(204);

    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("copy");
    restore(tar.as_slice(), &data).unwrap();
    let ledger = Ledger::open(&LedgerConfig::Embedded { dir: data.join("ledger"), options: LedgerOptions::default() }).await.unwrap();
    assert_eq!(*ledger.head().borrow(), 11);
    let history = History::open(&data.join("history"), HistoryOptions::default()).unwrap();
    assert_eq!((history.position(), history.count(&Query::new(default_tenant(), "device:d")).unwrap()), (10, 10));
    let devices = Devices::open(&data.join("devices")).unwrap();
    assert!(devices.known(&default_tenant(), &Id::new("d").unwrap()).unwrap());
    assert!(devices.position() <= 11);
    assert!(Tokens::open(&data).unwrap().check(&node.admin).is_some());
    assert_eq!(node_secret(&data).unwrap(), secret, "a call that is run again there has the same randomness");
    let store = crate::deploy::Store::open(&data).unwrap();
    assert_eq!(store.secrets(&node.app("fridge"))["k"], "hush");
    assert_eq!((mode(&data), mode(&data.join("tokens.json"))), (0o700, 0o600));
    let left: Vec<_> = std::fs::read_dir(node.dir.path()).unwrap().filter_map(|e| e.unwrap().file_name().into_string().ok()).collect();
    assert!(!left.iter().any(|name| name.starts_with(".backup-")), "{left:?}");
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn half_a_backup_and_other_files_are_refused_and_nothing_is_written() {
    let node = Node::start().await;
    let tar = backup(&node).await;
    check(tar.as_slice()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("copy");
    for (bytes, what) in [(&tar[..tar.len() / 2], "half"), (&tar[..0], "nothing"), (b"not a tar at all".as_slice(), "a text")] {
        let error = restore(bytes, &data).unwrap_err();
        assert!(
            matches!(error, ArchiveError::BrokenOff | ArchiveError::Read(_) | ArchiveError::Io { .. } | ArchiveError::NotOurs),
            "{what}: {error}"
        );
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "{what}");
    }
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("mine"), "").unwrap();
    assert!(matches!(restore(tar.as_slice(), &data), Err(ArchiveError::NotEmpty(_))));
}

#[test]
fn an_archive_that_climbs_out_or_links_is_refused() {
    for evil in ["../evil", "link"] {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind, contents: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(contents.len() as u64);
            // Set by hand: the builder refuses to write what a reader has to refuse.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_link_name("/etc").unwrap();
            header.set_cksum();
            tar.append(&header, contents).unwrap();
        };
        add("tawi-backup.json", tar::EntryType::Regular, br#"{"format":1,"version":"","created":""}"#);
        add(evil, if evil == "link" { tar::EntryType::Symlink } else { tar::EntryType::Regular }, b"");
        add("tawi-backup.end", tar::EntryType::Regular, b"");
        let bytes = tar.into_inner().unwrap();
        let place = tempfile::tempdir().unwrap();
        assert!(matches!(restore(bytes.as_slice(), &place.path().join("copy")), Err(ArchiveError::Outside(_))), "{evil}");
    }
}
