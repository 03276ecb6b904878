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
        AppId, Micros,
        limit::{SOURCE_BODY_BYTES_MAX, SOURCE_SECONDS_MAX},
        manifest::{Grant, Source, SourceKind, secrets_in},
    },
    records::{Changes, RecordsError},
    telemetry::chain,
};
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::{collections::BTreeMap, time::Duration};
use tokio_util::sync::CancellationToken;

/// Sources asked at a time.
const ASKED_MAX: usize = 8;
/// How often the schedules are looked at, at least: another node may have gone.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A claim outlives the question, and the change after it.
const CLAIM_MILLIS: u64 = 2 * SOURCE_SECONDS_MAX * 1_000;

/// A source whose time has come.
struct Due {
    app: AppId,
    source: Source,
    grant: Grant,
    every: Duration,
}

impl Sources {
    /// Keeps the schedules until the shutdown. What fails is tried at the next time.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut changed = self.0.store.changed();
        while !shutdown.is_cancelled() {
            changed.mark_unchanged();
            let wait = self.round().await;
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// Asks everything whose time has come; says how long to wait for the next look, if there is anything to look at.
    pub(super) async fn round(&self) -> Option<Duration> {
        let all = self.0.scheduled();
        let count = all.len();
        let asked = futures::stream::iter(all).map(|due| self.0.run(due)).buffer_unordered(ASKED_MAX).collect::<Vec<_>>().await;
        let now = clock::now();
        let mut next: Vec<Duration> = Vec::new();
        for outcome in asked {
            match outcome {
                Ok(at) => next.push(Duration::from_millis(at.millis_since(now) + 1)),
                Err(error) => tracing::warn!(error = chain(&error), "how a source does can't be stored; it is asked later"),
            }
        }
        (count > 0).then(|| next.into_iter().min().unwrap_or(LOOK_EVERY).min(LOOK_EVERY))
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

    /// The time that is next, after asking if it has come.
    async fn run(&self, due: Due) -> Result<Micros, SourceError> {
        let key = key(&due.app, &due.source.name);
        let time = match self.claim(&key, due.every).await? {
            Ok(time) => time,
            Err(later) => return Ok(later),
        };
        let asked = self.ask(&due, time).await;
        let now = clock::now();
        let settle = |changes: &mut Changes| {
            let mut progress = self.records.get::<Progress>(&key)?.unwrap_or_default();
            progress.settle(&asked, time, due.every, now);
            changes.put(key.clone(), &progress)?;
            Ok::<Micros, RecordsError>(progress.next_run)
        };
        if let Err(why) = &asked {
            tracing::info!(app = %due.app, source = %due.source.name, why, "a source came to nothing");
        }
        Ok(self.records.change(now, settle).await?)
    }

    /// The time of the schedule that is this node's to ask for, or when to look again.
    async fn claim(&self, key: &str, every: Duration) -> Result<Result<Micros, Micros>, RecordsError> {
        let now = clock::now();
        let claim = |changes: &mut Changes| {
            let mut progress = self.records.get::<Progress>(key)?.unwrap_or(Progress { next_run: now, ..Progress::default() });
            // A shorter `every` counts from now on, and a clock that was ahead is not waited for.
            progress.next_run = progress.next_run.min(now.plus_millis(millis(every)));
            let free = progress.next_run.max(progress.claimed_until.min(now.plus_millis(CLAIM_MILLIS)));
            if free > now {
                return Ok(Err(free));
            }
            progress.claimed_until = now.plus_millis(CLAIM_MILLIS);
            changes.put(key, &progress)?;
            Ok::<_, RecordsError>(Ok(progress.next_run))
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
