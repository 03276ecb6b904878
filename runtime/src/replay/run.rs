//! One replay, from where it is to its end.

use super::{
    Failure, Replays,
    job::{Job, State},
    output::Output,
    past::Past,
    source::{Range, Source},
};
use crate::{
    dispatch::{Again, End, PastLedgers, Settings},
    engine::Loaded,
    ledger::{Ledger, LedgerConfig, LedgerOptions},
    model::{Event, FunctionId, Pattern, Release, Seq, limit::REPLAY_OUTPUT_BYTES_MAX, manifest::Trigger},
};
use parking_lot::Mutex;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const LEDGER: &str = "ledger";
const TRIGGERS: &str = "triggers";
/// Memory for pages of the scratch ledger.
const CACHE_BYTES: usize = 16 << 20;
/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_millis(20);
/// How often the output and what is shown of the replay are made durable.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// What has to be free on the disk beyond what live functions need.
const ROOM_BYTES: u64 = 256 << 20;
/// Until there is room again for what is read ahead.
const ROOM: Duration = Duration::from_millis(1);

/// How a run ended that did not fail.
pub(super) enum Ended {
    Through,
    /// It goes on when somebody runs it again.
    Stopped,
}

/// One function of a release, which has one try: the next one could see another time than the first, and would not be the same again.
pub(super) fn narrowed(release: &Release, function: &crate::model::Id) -> Result<(Release, Pattern), Failure> {
    let mut release = release.clone();
    release.manifest.functions.retain(|it| it.name == *function);
    let Some(it) = release.manifest.functions.first_mut() else {
        return Err(Failure::NoFunction { release: release.number, function: function.clone() });
    };
    it.delivery.retry = 0;
    let pattern = match &it.trigger {
        Trigger::Event { subject, .. } => subject.clone(),
        Trigger::Schedule(_) => return Err(Failure::NotOfEvents { function: function.clone(), what: "a schedule" }),
        Trigger::Http { .. } => return Err(Failure::NotOfEvents { function: function.clone(), what: "HTTP requests" }),
    };
    Ok((release, pattern))
}

/// Runs until it is over, or stopped. What is told of it goes through `told`.
pub(super) async fn run(replays: &Replays, job: &Arc<Mutex<Job>>, dir: &Path, stop: &CancellationToken) -> Result<Ended, Failure> {
    let Job { wanted, created, last, number, .. } = job.lock().clone();
    let rooms = &replays.0.rooms;
    let no_release = || Failure::NoRelease { app: wanted.app.app.clone(), release: wanted.release };
    let release = rooms.store.release(&wanted.app, wanted.release).ok_or_else(no_release)?;
    let (release, pattern) = narrowed(&release, &wanted.function)?;
    let loaded = rooms.reconciler.load_for_replay(wanted.app.clone(), &release).await;
    let loaded: Arc<Loaded> = Arc::new(loaded.map_err(|source| Failure::Load(Box::new(source)))?);
    let settings = Settings { config: Arc::new(rooms.store.config(&wanted.app)), secrets: Arc::new(rooms.store.secrets(&wanted.app)) };

    let open = |name: &str| {
        let options = LedgerOptions { cache_bytes: CACHE_BYTES, ..LedgerOptions::default() };
        let config = LedgerConfig::Embedded { dir: dir.join(name), options };
        async move { Ledger::open(&config).await }
    };
    let (scratch, triggers) = (open(LEDGER).await?, open(TRIGGERS).await?);
    has_room(&scratch, rooms.disk_free_bytes_min)?;
    let function = FunctionId { app: wanted.app.clone(), function: wanted.function.clone() };
    let is_told = matches!(release.manifest.functions[0].trigger, Trigger::Event { rule: Some(_), .. });
    // What is settled is of no use to anybody: reading begins behind it.
    let settled = if is_told { triggers.position(&function.evaluator())? } else { scratch.position(&function)? };
    let through = settled.map_or(0, |position| position.through);
    let may: Arc<dyn Fn(&Event) -> bool + Send + Sync> = {
        let (dispatch, app) = (rooms.dispatch.clone(), wanted.app.clone());
        Arc::new(move |event| dispatch.shows(&app, event))
    };
    let range =
        Range { tenant: wanted.app.tenant.clone(), pattern, from: wanted.from, to: wanted.to, last, by_measured: wanted.by_measured, may };
    let clock = crate::dispatch::seen(&triggers, &function)?;
    let source = Source::new(rooms.ledger.clone(), rooms.history.clone(), range, is_told, through, clock);
    let end = End { last: source.last(), until: wanted.to.unwrap_or(created).min(created), measured: wanted.to };
    let past = Arc::new(Past::new(through));
    let ledgers = PastLedgers { scratch: scratch.clone(), triggers: triggers.clone(), past: past.clone() };
    let again = Arc::new(rooms.dispatch.again(loaded, settings, ledgers, end).await?);

    // Who reads and who tells end with this run, however that ends.
    let reading = stop.child_token();
    let _end = reading.clone().drop_guard();
    let reader = tokio::task::spawn_blocking({
        let (past, again, reading) = (past.clone(), again.clone(), reading.clone());
        move || read(source, &past, &again, end.last, &reading)
    });
    let teller = tokio::spawn({
        let (again, reading) = (again.clone(), reading.clone());
        async move { Ok(again.tell(reading).await?) }
    });
    tracing::info!(replay = number, function = %function, release = wanted.release, "a replay runs");
    let output = Output::open(dir, function.clone())?;
    let running = Running {
        job,
        dir,
        scratch: &scratch,
        triggers: &triggers,
        again: &again,
        function: &function,
        last: end.last,
        disk_free_bytes_min: rooms.disk_free_bytes_min,
    };
    let ended = running.follow(output, reader, teller, stop).await;
    again.stop().await;
    reading.cancel();
    let ended = match ended {
        Ok(Some(output)) => running.finish(output).await.map(|()| Ended::Through),
        Ok(None) => Ok(Ended::Stopped),
        Err(failure) => Err(failure),
    };
    scratch.close().await;
    triggers.close().await;
    ended
}

/// Reads ahead of the function, as far as there is room.
fn read(mut source: Source, past: &Past, again: &Again, last: Seq, stop: &CancellationToken) -> Result<(), Failure> {
    while let Some(page) = source.next()? {
        // Where there is nothing yet it is asked again, as where there is no room.
        let mut waits = page.events.is_empty();
        past.push(page.events, page.through);
        while waits || past.is_full() {
            if stop.is_cancelled() {
                return Ok(());
            }
            past.forget(again.looked_at()?);
            std::thread::sleep(ROOM);
            waits = false;
        }
        if stop.is_cancelled() {
            return Ok(());
        }
    }
    past.push(Vec::new(), last);
    Ok(())
}

type Task = tokio::task::JoinHandle<Result<(), Failure>>;

/// What runs, and where it is kept.
struct Running<'a> {
    job: &'a Arc<Mutex<Job>>,
    dir: &'a Path,
    scratch: &'a Ledger,
    triggers: &'a Ledger,
    again: &'a Again,
    function: &'a FunctionId,
    /// The last number of an event.
    last: Seq,
    disk_free_bytes_min: u64,
}

impl Running<'_> {
    /// Until all is settled: the output then, which has everything but the state. None: it was stopped.
    async fn follow(
        &self,
        mut output: Output,
        mut reader: Task,
        mut teller: Task,
        stop: &CancellationToken,
    ) -> Result<Option<Output>, Failure> {
        let Running { job, dir, scratch, triggers, again, .. } = *self;
        let (mut has_read, mut has_told, mut synced) = (false, false, Instant::now());
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                read = &mut reader, if !has_read => {
                    read??;
                    has_read = true;
                }
                told = &mut teller, if !has_told => {
                    told??;
                    has_told = true;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            if again.is_lost() {
                return Err(Failure::Lost);
            }
            // Asked in this order: what is settled when it is through is all.
            let is_through = has_read && has_told && again.is_through();
            let through = if is_through { Seq::MAX } else { again.through() };
            let looked_at = again.looked_at()?;
            let sync = is_through || synced.elapsed() >= SYNC_EVERY;
            let ledger = scratch.clone();
            let advanced = tokio::task::spawn_blocking(move || {
                output.advance(&ledger, through)?;
                let needed = if sync { Some(output.sync()?) } else { None };
                Ok::<_, Failure>((output, needed))
            });
            let needed;
            (output, needed) = advanced.await??;
            let shown = {
                let mut job = job.lock();
                let place = output.place();
                (job.through, job.bytes, job.lines, job.failed) =
                    (if self.last == job.last { looked_at } else { 0 }, place.bytes, place.lines, place.failed);
                job.clone()
            };
            check(shown.bytes)?;
            has_room(scratch, self.disk_free_bytes_min)?;
            if let Some(from) = needed {
                synced = Instant::now();
                scratch.trim(from).await?;
                // Told and settled.
                let settled = scratch.position(self.function)?.map_or(0, |position| position.through);
                triggers.trim(settled + 1).await?;
                let dir = dir.to_owned();
                tokio::task::spawn_blocking(move || shown.write(&dir)).await??;
            }
            if is_through {
                return Ok(Some(output));
            }
        }
    }

    /// Over: the state is the end of the output, and the scratch ledger has done its duty.
    async fn finish(&self, output: Output) -> Result<(), Failure> {
        let (ledger, dir, job) = (self.scratch.clone(), self.dir.to_owned(), self.job.clone());
        let finished = tokio::task::spawn_blocking(move || {
            let place = output.finish(&ledger)?;
            check(place.bytes)?;
            let shown = {
                let mut job = job.lock();
                (job.through, job.bytes, job.lines) = (job.last, place.bytes, place.lines);
                job.state = State::Done;
                job.ended = Some(crate::clock::now());
                job.clone()
            };
            shown.write(&dir)
        });
        finished.await?
    }
}

/// What a replay keeps is of less use than what is live.
fn has_room(scratch: &Ledger, free_min: u64) -> Result<(), Failure> {
    let wanted = free_min.saturating_add(ROOM_BYTES);
    if scratch.free_bytes()? < wanted { Err(Failure::NoRoom(wanted)) } else { Ok(()) }
}

/// A disk is not filled by a question.
fn check(bytes: u64) -> Result<(), Failure> {
    if bytes > REPLAY_OUTPUT_BYTES_MAX { Err(Failure::TooMuch(REPLAY_OUTPUT_BYTES_MAX >> 30)) } else { Ok(()) }
}

/// What a replay needs no more once it is over. Blocks.
pub(super) fn clear(dir: &Path) {
    for name in [LEDGER, TRIGGERS] {
        let _ = std::fs::remove_dir_all(dir.join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_that_writes_without_end_is_ended() {
        assert!(check(REPLAY_OUTPUT_BYTES_MAX).is_ok());
        assert!(check(REPLAY_OUTPUT_BYTES_MAX + 1).is_err_and(|failure| failure.to_string().contains("more than 4 GiB")));
    }
}
