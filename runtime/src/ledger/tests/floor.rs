//! Ledgers without threads, for simulations: whoever has one gives each of its parts its turns.

use super::{
    super::{disk::Disk, embedded, queue, view::View},
    sim::SimDisk,
    *,
};
pub(crate) use crate::ledger::jetstream::tests::{Node, Stream};
use queue::Message;
use tokio::sync::mpsc;

/// Groups that may be written before one is applied; the writer would wait for the applier.
const GROUPS_AHEAD_MAX: usize = 48;

/// An embedded ledger. All of it happens in [`Embedded::write`], [`Embedded::apply`] and [`Embedded::rest`].
pub(crate) struct Embedded {
    pub ledger: Ledger,
    writer: embedded::Writer,
    applier: embedded::Applier,
    jobs: mpsc::Receiver<Message>,
    ahead: usize,
}

/// Whoever follows the log is woken in the order in which they began.
pub(in crate::ledger) fn seeded(view: View) -> View {
    view.in_order()
}

impl Embedded {
    pub(crate) fn open(disk: &SimDisk) -> Result<Embedded, LedgerError> {
        let options = LedgerOptions::default();
        let there: Arc<dyn Disk> = Arc::new(disk.clone());
        let view = Arc::new(seeded(View::open(there.clone())?));
        let (writer, applier) = embedded::prepare(there, view.clone(), options.rules(), 0)?;
        let (queue, jobs) = queue::queue();
        let queue = Arc::new(queue);
        let (closing, closed) = (writer.closing(), queue.clone());
        disk.when_power_goes(move || {
            closing.store(true, Ordering::Release);
            closed.close();
        });
        let ledger = Ledger(Arc::new(Inner { view, queue, writer: Mutex::new(None), relayed: None }), None);
        Ok(Embedded { ledger, writer, applier, jobs, ahead: 0 })
    }

    /// The writer's turn. False when it has nothing to do.
    pub(crate) fn write(&mut self) -> bool {
        if self.ahead >= GROUPS_AHEAD_MAX {
            self.apply();
        }
        let Ok(first) = self.jobs.try_recv() else { return false };
        self.ahead += 1;
        self.writer.turn(Some(first), &mut self.jobs)
    }

    pub(crate) fn apply(&mut self) {
        self.ahead = 0;
        self.applier.turn();
    }

    pub(crate) fn rest(&mut self) {
        self.applier.rest();
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.ahead == 0
    }
}

/// An embedded ledger with its threads, on a disk that fails.
pub(crate) fn threaded(disk: &SimDisk) -> Result<Ledger, LedgerError> {
    let options = LedgerOptions { disk_reserve_bytes: 0, ..LedgerOptions::default() };
    Ledger::embedded(Arc::new(disk.clone()), &options)
}
