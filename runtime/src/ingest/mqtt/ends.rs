//! What became of commands, into the log: so that every node knows it, and no crash forgets it.

use crate::{
    devices::Ended,
    ledger::{Append, Ledger, LedgerError, Op},
    model::{Micros, Tenant},
};
use parking_lot::Mutex;

/// Ends in one event: some tens of kilobytes.
const ENDS: usize = 500;

/// Those that are not in the log yet: whoever has the turn writes them for all who wait.
#[derive(Default)]
pub struct Ends {
    waiting: Mutex<Vec<(Tenant, Ended)>>,
    turn: tokio::sync::Mutex<()>,
}

impl Ends {
    /// Returns when it is durable, or could not be made so. Each client has a few of them at a time.
    pub async fn note(&self, ledger: &Ledger, tenant: Tenant, end: Ended, now: Micros) -> Result<(), LedgerError> {
        self.waiting.lock().push((tenant, end));
        let _turn = self.turn.lock().await;
        loop {
            let Some((tenant, ends)) = self.some() else { return Ok(()) };
            let events = vec![Ended::event(&tenant, &ends, now)];
            ledger.apply(Op::Append(Append { tenant, events, dedup: None, intake: None })).await?;
        }
    }

    /// Some of them, of one tenant.
    fn some(&self) -> Option<(Tenant, Vec<Ended>)> {
        let mut waiting = self.waiting.lock();
        let tenant = waiting.first()?.0.clone();
        let count = waiting.iter().take_while(|(of, _)| *of == tenant).take(ENDS).count();
        Some((tenant, waiting.drain(..count).map(|(_, end)| end).collect()))
    }
}
