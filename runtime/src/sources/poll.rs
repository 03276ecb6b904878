//! Sources that are asked, each at the times of its schedule, by one node.
//!
//! Where a source is in its schedule is a record. A node claims a time before it asks, and moves the schedule on when the readings are
//! durable. If it dies in between, another asks for the same time again when the claim is over; the readings of that time carry its key,
//! so that they are stored once. The record of a source that is gone stays, a few bytes: other nodes may have apps that this one has not. Times that nobody was there for are not made up for: what was measured then can't be asked for now.

use super::{Inner, Progress, SourceError, Sources, extract, key};
use crate::{
    clock,
    egress::{self, Ask},
    ingest::{IngestError, RepeatKey},
    model::{
        AppId, Id, Micros,
        limit::{SOURCE_BODY_BYTES_MAX, SOURCE_SECONDS_MAX, SOURCES_ASKED_MAX, SOURCES_ASKED_PER_APP_MAX},
        manifest::{Grant, Source, SourceKind, secrets_in},
    },
    records::{Changes, RecordsError},
    telemetry::chain,
};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often the schedules are looked at, at least: another node may have gone.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A claim outlives the question, and the change after it.
const CLAIM_MILLIS: u64 = 2 * SOURCE_SECONDS_MAX * 1_000;
/// How much the clocks of nodes may differ.
const CLOCKS_MILLIS: u64 = 5_000;

/// A source that is asked by a schedule.
struct Due {
    app: AppId,
    source: Source,
    grant: Grant,
    every: Duration,
}

/// Which source of which app.
type Which = (AppId, Id);

/// The questions that are under way, each on its own: one that is answered late makes no other late.
pub(super) struct Asking<'a> {
    inner: &'a Inner,
    under_way: FuturesUnordered<BoxFuture<'a, Which>>,
    busy: HashSet<Which>,
}

impl Sources {
    /// Keeps the schedules until the shutdown. What fails is tried at the next time. Questions under way then are asked again by whoever
    /// finds their claims over; what they had stored is known by its key.
    pub async fn run(&self, shutdown: CancellationToken) {
        let (mut changed, mut asking) = (self.0.store.changed(), self.asking());
        while !shutdown.is_cancelled() {
            changed.mark_unchanged();
            let wait = asking.look();
            tokio::select! {
                Some(()) = asking.ended() => {}
                _ = changed.changed() => {}
                () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    pub(super) fn asking(&self) -> Asking<'_> {
        Asking { inner: &self.0, under_way: FuturesUnordered::new(), busy: HashSet::new() }
    }
}

impl<'a> Asking<'a> {
    /// Begins with everything whose time has come and for which there is room; says how long to wait for the next look, if there is anything
    /// to look at.
    pub fn look(&mut self) -> Option<Duration> {
        let (inner, now) = (self.inner, clock::now());
        let (mut wait, all) = (LOOK_EVERY, inner.scheduled());
        let is_there = !all.is_empty();
        for due in all {
            let which = (due.app.clone(), due.source.name.clone());
            match inner.when(&due, now) {
                _ if self.busy.contains(&which) => {}
                Ok(at) if at > now => wait = wait.min(Duration::from_millis(at.millis_since(now) + 1)),
                // Until one that is under way has ended.
                Ok(_) if !self.has_room(&which.0) => {}
                Ok(_) => {
                    self.busy.insert(which.clone());
                    self.under_way.push(Box::pin(async move {
                        inner.run(due).await;
                        which
                    }));
                }
                Err(error) => tracing::warn!(error = chain(&error), "how a source does can't be read; it is asked later"),
            }
        }
        is_there.then_some(wait)
    }

    fn has_room(&self, app: &AppId) -> bool {
        let of_app = self.busy.iter().filter(|(busy, _)| busy == app).count();
        of_app < SOURCES_ASKED_PER_APP_MAX && self.busy.len() < SOURCES_ASKED_MAX
    }

    #[cfg(test)]
    pub fn under_way(&self) -> usize {
        self.busy.len()
    }

    /// Waits for one that is under way; none: there is none.
    pub async fn ended(&mut self) -> Option<()> {
        let which = self.under_way.next().await?;
        self.busy.remove(&which);
        Some(())
    }
}

impl Inner {
    fn scheduled(&self) -> Vec<Due> {
        let mut all = Vec::new();
        for app in self.store.apps().into_iter().filter(|app| app.tenant == self.tenant) {
            let Some(release) = self.store.current(&app) else { continue };
            for source in &release.manifest.sources {
                if let SourceKind::Http { every, .. } = &source.kind {
                    all.push(Due { app: app.clone(), source: source.clone(), grant: release.manifest.grant.clone(), every: *every });
                }
            }
        }
        all
    }

    /// When to ask next, as far as is known.
    fn when(&self, due: &Due, now: Micros) -> Result<Micros, RecordsError> {
        let progress = self.records.get::<Progress>(&key(&due.app, &due.source.name))?.unwrap_or_default();
        // What is to be put right is a change, and so a reason to claim.
        Ok(if progress.put_right(due.every, now) == progress { progress.free() } else { now })
    }

    /// Asks, if it is this node's to ask and its time has come.
    async fn run(&self, due: Due) {
        if let Err(error) = self.try_run(&due).await {
            tracing::warn!(app = %due.app, source = %due.source.name, error = chain(&error), "how a source does can't be stored; it is asked later");
        }
    }

    async fn try_run(&self, due: &Due) -> Result<(), RecordsError> {
        let key = key(&due.app, &due.source.name);
        let Some(time) = self.claim(&key, due.every).await? else { return Ok(()) };
        let asked = self.ask(due, time).await;
        if let Err(why) = &asked {
            tracing::info!(app = %due.app, source = %due.source.name, why, "a source came to nothing");
        }
        let now = clock::now();
        let settle = |changes: &mut Changes| {
            let mut progress = self.records.get::<Progress>(&key)?.unwrap_or_default();
            progress.settle(&asked, time, due.every, now);
            changes.put(key.clone(), &progress)
        };
        self.records.change(now, settle).await
    }

    /// The time of the schedule that is this node's to ask for, if it has come.
    async fn claim(&self, key: &str, every: Duration) -> Result<Option<Micros>, RecordsError> {
        let now = clock::now();
        let claim = |changes: &mut Changes| {
            let stored = self.records.get::<Progress>(key)?.unwrap_or(Progress { next_run: now, ..Progress::default() });
            let mut progress = stored.put_right(every, now);
            let is_free = progress.free() <= now;
            if is_free {
                progress.claimed_until = now.plus_millis(CLAIM_MILLIS);
            }
            // Stored also where it is not free: decided again at each look, it would move on with the clock and never come.
            if progress != stored {
                changes.put(key, &progress)?;
            }
            Ok::<_, RecordsError>(is_free.then_some(progress.next_run))
        };
        self.records.change(now, claim).await
    }

    /// How many readings it came to.
    async fn ask(&self, due: &Due, time: Micros) -> Result<u64, String> {
        let SourceKind::Http { url, headers, .. } = &due.source.kind else { return Err("it is not asked".to_owned()) };
        let ask = Ask {
            method: Method::GET,
            url: url.clone(),
            headers: self.headers(&due.app, headers)?,
            body: Vec::new().into(),
            seconds_max: SOURCE_SECONDS_MAX,
            answer_bytes_max: SOURCE_BODY_BYTES_MAX,
        };
        let answer = egress::ask(ask, |authority, tls| egress::reach(&due.grant, authority, tls)).await.map_err(|error| chain(&error))?;
        if !answer.status.is_success() {
            return Err(format!("it answered with {}", answer.status));
        }
        let samples = extract::samples(&due.source, &answer.body)?;
        let of = ["schedule", due.app.app.as_str(), due.source.name.as_str()];
        let repeat = RepeatKey::http("", &of, &time.0.to_string());
        match self.store(&due.source, samples, clock::now(), Some(repeat)).await {
            Ok(stored) if stored.duplicate => Ok(0),
            Ok(stored) => Ok(stored.seqs.len() as u64),
            // Stored for this time, before whoever asked could say so; the values have changed since.
            Err(SourceError::Ingest(IngestError::KeyReused | IngestError::KeyForgotten)) => Ok(0),
            Err(error) => Err(chain(&error)),
        }
    }

    /// The headers with the secrets in them. No error holds one.
    fn headers(&self, app: &AppId, wanted: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
        let secrets = self.store.secrets(app);
        let mut headers = HeaderMap::new();
        for (name, text) in wanted {
            let mut full = text.clone();
            for secret in secrets_in(text) {
                let known = secrets.get(secret).ok_or_else(|| format!("the secret `{secret}` is not set; `tawi secrets set` does"))?;
                full = full.replace(&format!("${{{secret}}}"), known);
            }
            let wrong = || format!("the header `{name}` can't be sent: its secret holds something that no header may");
            let mut value = HeaderValue::from_str(full.trim()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(HeaderName::try_from(name).map_err(|_| wrong())?, value);
        }
        Ok(headers)
    }
}

impl Progress {
    /// When a node may ask.
    fn free(&self) -> Micros {
        self.next_run.max(self.claimed_until)
    }

    /// A shorter `every` counts from now on, and a clock that was ahead is not waited for. What lies ahead by no more than clocks of nodes may
    /// differ stays, so that the times of the schedule do.
    fn put_right(&self, every: Duration, now: Micros) -> Progress {
        let mut right = self.clone();
        let at_most = |time: Micros, after: u64| {
            if time > now.plus_millis(after.saturating_add(CLOCKS_MILLIS)) { now.plus_millis(after) } else { time }
        };
        right.next_run = at_most(self.next_run, millis(every));
        right.claimed_until = at_most(self.claimed_until, CLAIM_MILLIS);
        right
    }

    /// The schedule moves on to its first time that is not over.
    fn settle(&mut self, asked: &Result<u64, String>, time: Micros, every: Duration, now: Micros) {
        let every = i64::try_from(millis(every)).unwrap_or(i64::MAX).saturating_mul(1_000).max(1);
        let passed = now.0.saturating_sub(time.0).max(0) / every;
        self.next_run = Micros(time.0.saturating_add(every.saturating_mul(passed + 1)));
        self.claimed_until = Micros(0);
        self.last_run = Some(now);
        self.runs += 1;
        match asked {
            Ok(readings) => {
                self.last_success = Some(now);
                self.last_error = None;
                self.readings += readings;
            }
            Err(why) => self.last_error = Some(why.clone()),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
