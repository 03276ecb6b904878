//! The embedded ledger: the suite, and power and disk failing under it.

use super::{conformance::Place, *};

struct Dir(tempfile::TempDir);

impl Place for Dir {
    async fn open_with(&self, options: LedgerOptions) -> Ledger {
        let config = LedgerConfig::Embedded { dir: self.0.path().to_owned(), options };
        Ledger::open(&config).await.unwrap()
    }
}

super::conformance::all_stories! { Dir(tempfile::tempdir().unwrap()) }
