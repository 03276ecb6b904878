//! In: events of the ledger, in order; questions. Out: pages of what was measured, published, commanded and logged.
//! Never: changes the ledger, answers for another tenant, is part of a call's serializable reads.
//!
//! A projection of the log into Tantivy, one index (*partition*) for each UTC month of *measured* time, so that retention
//! drops directories and a question about a week opens one of them. How calls went is in partitions of its own (`runs.rs`). The formats are in `docs/formats/history.md`, the
//! language of questions in `docs/guide/search.md`.

mod disk;
mod error;
mod follow;
mod month;
mod part;
mod partition;
mod query;
mod reach;
mod run_schema;
mod runs;
mod schema;
mod search;
mod stretch;
mod writer;
mod zones;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use error::{HistoryError, HistoryErrorKind};
pub use query::{QueryError, devices_named};
pub use runs::{RunHit, RunPage, RunQuery};
pub use schema::Hit;
pub use search::{Page, Query, Sort, Source};
pub use stretch::{Order, Stretch};

use crate::{
    model::{
        Event, Micros, Seq,
        limit::{REACH_SECONDS_MAX, SEARCH_SECONDS_MAX, SEARCH_WAIT_SECONDS_MAX, SEARCHES_MAX},
    },
    telemetry::Standing,
};
use disk::{Disk, Folder};
use parking_lot::Mutex;
use partition::Partitions;
use search::Clock;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, watch};
use writer::Writers;

#[derive(Debug, Clone)]
pub struct HistoryOptions {
    /// The least time between two commits; what came in between is found after the second.
    pub commit_interval: Duration,
    /// Partitions that are written to at a time; each takes up to 15 MB and three threads.
    pub open_writers_max: usize,
    /// With nothing to write for this long, writers and readers are closed.
    pub rest_after: Duration,
    /// Questions that are answered at a time.
    pub searches_max: usize,
    /// How long a question waits for its turn, and how long it may take then.
    pub search_wait: Duration,
    pub search_time: Duration,
    /// How long a question waits for what came before it.
    pub reach_time: Duration,
}

impl Default for HistoryOptions {
    fn default() -> HistoryOptions {
        HistoryOptions {
            commit_interval: Duration::from_millis(500),
            open_writers_max: 3,
            rest_after: Duration::from_secs(10),
            searches_max: SEARCHES_MAX,
            search_wait: Duration::from_secs(SEARCH_WAIT_SECONDS_MAX),
            search_time: Duration::from_secs(SEARCH_SECONDS_MAX),
            reach_time: Duration::from_secs(REACH_SECONDS_MAX),
        }
    }
}

/// The searchable past. Cheap to clone.
#[derive(Clone)]
pub struct History {
    options: HistoryOptions,
    partitions: Arc<Partitions>,
    writers: Arc<Mutex<Writers>>,
    position: Arc<watch::Sender<Seq>>,
    standing: Standing,
    searches: Arc<Semaphore>,
}

impl History {
    /// Opens or makes a history in a directory of its own.
    pub fn open(dir: &Path, options: HistoryOptions) -> Result<History, HistoryError> {
        let folder = Folder::open(dir).map_err(|source| HistoryError::Disk { doing: "open the directory", source })?;
        History::on(Arc::new(folder), options)
    }

    fn on(disk: Arc<dyn Disk>, options: HistoryOptions) -> Result<History, HistoryError> {
        let partitions = Arc::new(Partitions::open(disk.clone())?);
        let writers = Writers::new(disk, partitions.clone(), options.clone())?;
        let (position, _) = watch::channel(writers.stored());
        let searches = Arc::new(Semaphore::new(options.searches_max));
        Ok(History {
            searches,
            options,
            partitions,
            writers: Arc::new(Mutex::new(writers)),
            position: Arc::new(position),
            standing: Standing::default(),
        })
    }

    /// Takes events in ascending order of sequence; what was taken before is skipped. Blocks.
    ///
    /// They are durable and found after the next [`History::commit`]. After an error everything since the last commit is
    /// forgotten, and has to be given again from [`History::next`] on.
    pub fn index(&self, events: &[Arc<Event>]) -> Result<(), HistoryError> {
        self.writers.lock().index(events)
    }

    /// Makes what was taken durable and found. Blocks.
    pub fn commit(&self) -> Result<(), HistoryError> {
        let mut writers = self.writers.lock();
        writers.commit()?;
        self.position.send_replace(writers.stored());
        Ok(())
    }

    /// Every event up to here is durable in the history and found by searches.
    pub fn position(&self) -> Seq {
        *self.position.borrow()
    }

    /// Follows [`History::position`].
    pub fn watch(&self) -> watch::Receiver<Seq> {
        self.position.subscribe()
    }

    /// The first event that [`History::index`] has not had.
    pub fn next(&self) -> Seq {
        self.writers.lock().processed() + 1
    }

    /// Whether following the ledger fails, and at what.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Answers a question. Blocks; [`History::ask`] does not.
    pub fn search(&self, query: &Query) -> Result<Page, HistoryError> {
        self.partitions.search(query, &Clock::new(self.options.search_time))
    }

    /// How many a question would find. Blocks.
    pub fn count(&self, query: &Query) -> Result<u64, HistoryError> {
        self.partitions.count(query, &Clock::new(self.options.search_time))
    }

    /// [`History::search`] off the threads that must not block, when it is this question's turn.
    pub async fn ask(&self, query: Query) -> Result<Page, HistoryError> {
        self.in_turn(move |history| history.search(&query)).await
    }

    /// [`History::count`] off the threads that must not block, when it is this question's turn.
    pub async fn ask_count(&self, query: Query) -> Result<u64, HistoryError> {
        self.in_turn(move |history| history.count(&query)).await
    }

    /// The newest calls that fit, off the threads that must not block, when it is this question's turn.
    pub async fn ask_runs(&self, query: RunQuery) -> Result<RunPage, HistoryError> {
        self.in_turn(move |history| history.runs(&query)).await
    }

    /// How many calls fit, off the threads that must not block, when it is this question's turn.
    pub async fn ask_run_count(&self, query: RunQuery) -> Result<u64, HistoryError> {
        self.in_turn(move |history| history.partitions.count_runs(&query, &Clock::new(history.options.search_time))).await
    }

    /// The newest calls that fit. Blocks; [`History::ask_runs`] does not.
    pub fn runs(&self, query: &RunQuery) -> Result<RunPage, HistoryError> {
        self.partitions.runs(query, &Clock::new(self.options.search_time))
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        question: impl FnOnce(&History) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let wait = self.options.search_wait;
        // Nobody closes the semaphore: only the time can be up.
        let Ok(Ok(turn)) = tokio::time::timeout(wait, self.searches.clone().acquire_owned()).await else {
            return Err(HistoryError::Busy(wait));
        };
        let history = self.clone();
        let answered = tokio::task::spawn_blocking(move || {
            // Given back when the work is done, not when who asked has gone.
            let _turn = turn;
            question(&history)
        });
        answered.await?
    }

    /// Commits, and closes what is open, for a node that has nothing to do. Blocks.
    pub fn rest(&self) -> Result<(), HistoryError> {
        let mut writers = self.writers.lock();
        writers.rest()?;
        self.position.send_replace(writers.stored());
        self.partitions.rest();
        Ok(())
    }

    /// Commits, closes what is open, and runs `look` while nothing changes on the disk. Blocks.
    pub fn at_rest<T>(&self, look: impl FnOnce() -> T) -> Result<T, HistoryError> {
        let mut writers = self.writers.lock();
        writers.rest()?;
        self.position.send_replace(writers.stored());
        Ok(look())
    }

    /// Drops every partition that ends before `before`, whole, and says how many. What a partition across it holds stays. Blocks.
    pub fn retain(&self, before: Micros) -> Result<usize, HistoryError> {
        let mut writers = self.writers.lock();
        let mut dropped = 0;
        for part in self.partitions.parts() {
            if part.month.end() <= before {
                writers.forget(part)?;
                self.partitions.drop_one(part)?;
                dropped += 1;
            }
        }
        self.position.send_replace(writers.stored());
        Ok(dropped)
    }
}
