//! Who cleans the readings that outsiders publish, before they are in the log. The ledger knows no rules: somebody says it, once, after it was opened.

use super::{Append, LedgerError, Op, Outcome, Pending};
use futures::future::BoxFuture;
use std::{fmt, sync::Arc};
use tokio::sync::SetOnce;

/// Makes of an append the operation that has it cleaned.
pub type Clean = Arc<dyn Fn(Append) -> BoxFuture<'static, Result<Cleaned, LedgerError>> + Send + Sync>;

/// What is to be submitted, and what waits for it: until then nobody else is at the sensors.
pub struct Cleaned {
    pub op: Op,
    pub wait: Box<dyn FnOnce(Pending) -> BoxFuture<'static, Result<Outcome, LedgerError>> + Send>,
}

/// Where it is said. Cheap to clone.
#[derive(Clone, Default)]
pub struct Cleaner(Arc<SetOnce<Clean>>);

impl Cleaner {
    pub fn set(&self, clean: Clean) {
        // The first one stays.
        let _ = self.0.set(clean);
    }

    /// Waits until it was said: nothing is taken in before.
    pub(super) async fn get(&self) -> Clean {
        self.0.wait().await.clone()
    }
}

impl fmt::Debug for Cleaner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "Cleaner(set)" } else { "Cleaner(not set yet)" })
    }
}
