//! In: a function of some release, a range of the past. Out: what it would have done with it, as lines of a file.
//! Never: writes into the node's ledger, asks anybody outside, reads a record of a call.
//!
//! A replay is the data path once more: the same consumer, lane and rules of time, in a ledger of its own whose log is the past
//! (decision 0031). So it is as parallel and as exact as what is live, and goes on where it was when its node dies.

mod job;
mod measured;
mod output;
mod past;
mod run;
mod source;

pub use job::{Job, State, Wanted};

use crate::{
    clock,
    deploy::{DeployError, Reconciler, Store},
    dispatch::Dispatch,
    history::{History, HistoryError},
    ledger::{Ledger, LedgerError},
    model::{
        AppId, Id, Tenant,
        limit::{REPLAYS_KEPT_MAX, REPLAYS_RUNNING_MAX, REPLAYS_WAITING_MAX},
    },
    telemetry::chain,
};
use bytes::Bytes;
use parking_lot::Mutex;
use run::Ended;
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("can't {doing} `{}`", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("can't read or write what the replay keeps")]
    Ledger(#[from] LedgerError),
    #[error("can't read the past")]
    History(#[from] HistoryError),
    #[error("the release does not load")]
    Load(#[source] Box<DeployError>),
    #[error("there is no release {release} of `{app}`")]
    NoRelease { app: Id, release: u64 },
    #[error("release {release} has no function `{function}`")]
    NoFunction { release: u64, function: Id },
    #[error("`{function}` is for {what}, not for events: of what was in the past there is nothing to give it")]
    NotOfEvents { function: Id, what: &'static str },
    #[error("`from` is not before `to`")]
    Empty,
    #[error("{REPLAYS_WAITING_MAX} replays wait or run already; wait until one has ended, or forget one")]
    Busy,
    #[error("there is no replay {0} of this app")]
    Unknown(u64),
    #[error("its output would be more than {0} GiB: ask for a shorter time, or let the function publish less")]
    TooMuch(u64),
    #[error("less than {} MiB are free on the disk, which what is live may need", .0 >> 20)]
    NoRoom(u64),
    #[error("the function's consumer ended early")]
    Lost,
    #[error("a task of the replay ended early")]
    Task(#[from] tokio::task::JoinError),
}

impl Failure {
    fn file(doing: &'static str, path: PathBuf, source: io::Error) -> Failure {
        Failure::File { doing, path, source }
    }
}

/// What a replay works with.
#[derive(Clone)]
pub struct Parts {
    pub ledger: Ledger,
    pub history: History,
    pub dispatch: Arc<Dispatch>,
    pub store: Store,
    pub reconciler: Arc<Reconciler>,
    /// What has to stay free on the disk for what is live.
    pub disk_free_bytes_min: u64,
}

/// The replays of this node. Cheap to clone.
#[derive(Clone)]
pub struct Replays(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    rooms: Parts,
    jobs: Mutex<Jobs>,
    /// Held while one is begun: two of one number would be one. Who only looks does not wait for the disk.
    begins: Mutex<()>,
    wake: Notify,
}

#[derive(Default)]
struct Jobs {
    all: BTreeMap<u64, Known>,
    /// The highest number there was.
    last: u64,
}

#[derive(Clone)]
struct Known {
    job: Arc<Mutex<Job>>,
    stop: CancellationToken,
}

impl Known {
    fn new(job: Job) -> Known {
        Known { job: Arc::new(Mutex::new(job)), stop: CancellationToken::new() }
    }
}

impl Replays {
    /// Those that are kept in `dir`, which is made; what ran when the node went down waits for its turn again. Blocks.
    pub fn open(dir: &Path, rooms: Parts) -> Result<Replays, Failure> {
        let failed = |source| Failure::file("open", dir.to_owned(), source);
        fs::create_dir_all(dir).map_err(failed)?;
        let mut jobs = Jobs { last: job::last_number(dir), ..Jobs::default() };
        for (number, path) in job::numbered(dir).map_err(failed)? {
            jobs.last = jobs.last.max(number);
            match Job::read(&path) {
                // It is only a question: the node goes on without.
                Err(error) => tracing::warn!(replay = number, error = chain(&error), "a replay can't be read, and is left alone"),
                Ok(Some(mut job)) => {
                    if job.is_over() {
                        run::clear(&path);
                    } else {
                        job.state = State::Waiting;
                    }
                    jobs.all.insert(number, Known::new(job));
                }
                // It was never answered for.
                Ok(None) => fs::remove_dir_all(&path).map_err(failed)?,
            }
        }
        Ok(Replays(Arc::new(Inner { dir: dir.to_owned(), rooms, jobs: Mutex::new(jobs), begins: Mutex::default(), wake: Notify::new() })))
    }

    fn dir(&self, number: u64) -> PathBuf {
        self.0.dir.join(number.to_string())
    }

    /// Takes one in, durably: it runs when it is its turn. Blocks.
    pub fn start(&self, wanted: Wanted) -> Result<Job, Failure> {
        if wanted.from.zip(wanted.to).is_some_and(|(from, to)| from >= to) {
            return Err(Failure::Empty);
        }
        let no_release = || Failure::NoRelease { app: wanted.app.app.clone(), release: wanted.release };
        let release = self.0.rooms.store.release(&wanted.app, wanted.release).ok_or_else(no_release)?;
        run::narrowed(&release, &wanted.function)?;
        let last = *self.0.rooms.ledger.head().borrow();
        let created = clock::now();
        let turn = self.0.begins.lock();
        let number = {
            let jobs = self.0.jobs.lock();
            if jobs.all.values().filter(|known| !known.job.lock().is_over()).count() >= REPLAYS_WAITING_MAX {
                return Err(Failure::Busy);
            }
            jobs.last + 1
        };
        job::set_last_number(&self.0.dir, number)?;
        self.0.jobs.lock().last = number;
        let state = State::Waiting;
        let job = Job { number, wanted, state, created, ended: None, last, through: 0, lines: 0, failed: 0, bytes: 0 };
        if let Err(failure) = self.store(&job) {
            // It was not promised.
            let _ = fs::remove_dir_all(self.dir(number));
            return Err(failure);
        }
        self.0.jobs.lock().all.insert(number, Known::new(job.clone()));
        drop(turn);
        self.make_room();
        self.0.wake.notify_one();
        Ok(job)
    }

    fn store(&self, job: &Job) -> Result<(), Failure> {
        let dir = self.dir(job.number);
        fs::create_dir(&dir).map_err(|source| Failure::file("make the folder", dir.clone(), source))?;
        job.write(&dir)?;
        job::sync_dir(&self.0.dir).map_err(|source| Failure::file("write to", self.0.dir.clone(), source))
    }

    /// The oldest that are over go when there are too many.
    fn make_room(&self) {
        let over: Vec<u64> = {
            let jobs = self.0.jobs.lock();
            let over = jobs.all.iter().filter(|(_, known)| known.job.lock().is_over()).map(|(number, _)| *number);
            let too_many = jobs.all.len().saturating_sub(REPLAYS_KEPT_MAX);
            over.take(too_many).collect()
        };
        for number in over {
            self.0.jobs.lock().all.remove(&number);
            let _ = fs::remove_dir_all(self.dir(number));
        }
    }

    /// Those of a tenant, oldest first.
    pub fn list(&self, tenant: &Tenant) -> Vec<Job> {
        let jobs = self.0.jobs.lock().all.values().map(|known| known.job.lock().clone()).collect::<Vec<_>>();
        jobs.into_iter().filter(|job| job.wanted.app.tenant == *tenant).collect()
    }

    fn known(&self, app: &AppId, number: u64) -> Result<Known, Failure> {
        let known = self.0.jobs.lock().all.get(&number).cloned();
        known.filter(|known| known.job.lock().wanted.app == *app).ok_or(Failure::Unknown(number))
    }

    pub fn get(&self, app: &AppId, number: u64) -> Result<Job, Failure> {
        self.known(app, number).map(|known| known.job.lock().clone())
    }

    /// Bytes of its output from `offset` on, at most so many, and how it was then. What is given is there again after a crash. Blocks.
    pub fn output(&self, app: &AppId, number: u64, offset: u64, max: usize) -> Result<(Bytes, Job), Failure> {
        // The job first: there is at least as much in the file.
        let job = self.get(app, number)?;
        let left = usize::try_from(job.bytes.saturating_sub(offset)).unwrap_or(usize::MAX).min(max);
        if left == 0 {
            return Ok((Bytes::new(), job));
        }
        let path = self.dir(number).join(output::OUTPUT);
        let mut bytes = vec![0; left];
        let read = fs::File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, offset));
        read.map_err(|source| Failure::file("read", path, source))?;
        Ok((bytes.into(), job))
    }

    /// Stops it where it runs, and forgets it with its output: nobody sees it any more when this returns. Blocks.
    pub fn remove(&self, app: &AppId, number: u64) -> Result<(), Failure> {
        let known = self.known(app, number)?;
        known.stop.cancel();
        self.0.jobs.lock().all.remove(&number);
        self.remove_files(number);
        Ok(())
    }

    /// Those of an app. Blocks.
    pub fn forget(&self, app: &AppId) {
        for job in self.list(&app.tenant).into_iter().filter(|job| job.wanted.app == *app) {
            // Somebody else may have been faster.
            let _ = self.remove(app, job.number);
        }
    }

    /// Where it still runs, it does this again when it has ended; without its first file it is nothing, after a crash too.
    fn remove_files(&self, number: u64) {
        let dir = self.dir(number);
        let removed = Job::unmake(&dir).and_then(|()| fs::remove_dir_all(&dir));
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::info!(replay = number, %error, "something of a replay that was forgotten is left for now");
        }
    }

    /// Runs what waits, until it is stopped; what runs then waits for the next time.
    pub async fn run(self, stop: CancellationToken) {
        let turns = Arc::new(Semaphore::new(REPLAYS_RUNNING_MAX));
        let mut running = tokio::task::JoinSet::new();
        while let Some(Ok(turn)) = stop.run_until_cancelled(turns.clone().acquire_owned()).await {
            let Some((number, known)) = stop.run_until_cancelled(self.next()).await else { break };
            let (replays, stop) = (self.clone(), stop.clone());
            running.spawn(async move {
                replays.run_one(number, known, &stop).await;
                drop(turn);
            });
            while running.try_join_next().is_some() {}
        }
        while running.join_next().await.is_some() {}
    }

    /// The oldest that waits.
    async fn next(&self) -> (u64, Known) {
        loop {
            let woken = self.0.wake.notified();
            let waiting = |known: &&Known| known.job.lock().state == State::Waiting;
            let next = self.0.jobs.lock().all.values().find(waiting).cloned();
            if let Some(known) = next {
                let mut job = known.job.lock();
                job.state = State::Running;
                let number = job.number;
                drop(job);
                return (number, known);
            }
            woken.await;
        }
    }

    async fn run_one(&self, number: u64, known: Known, stop: &CancellationToken) {
        let Known { job, stop: removed } = known;
        let dir = self.dir(number);
        let ending = removed.child_token();
        // Whoever stops first.
        let stopped = async {
            stop.cancelled().await;
            ending.cancel();
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = run::run(self, &job, &dir, &ending) => ended,
            ended = stopped => ended,
        };
        if removed.is_cancelled() {
            self.remove_files(number);
            return;
        }
        match ended {
            Ok(Ended::Through) => {
                let lines = job.lock().lines;
                tracing::info!(replay = number, lines, "a replay is done");
            }
            Ok(Ended::Stopped) => {
                job.lock().state = State::Waiting;
                return;
            }
            Err(failure) => {
                let why = chain(&failure);
                tracing::warn!(replay = number, error = why, "a replay failed");
                let shown = {
                    let mut job = job.lock();
                    (job.state, job.ended) = (State::Failed(why), Some(clock::now()));
                    job.clone()
                };
                if let Err(error) = shown.write(&dir) {
                    tracing::warn!(
                        replay = number,
                        error = chain(&error),
                        "that it failed could not be written: it runs again after the next start"
                    );
                }
            }
        }
        run::clear(&dir);
    }
}
