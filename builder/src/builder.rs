//! The builder as a whole: its parts, what holds for all pushes, and how refs and releases are made to agree.

use crate::{
    BuildError, BuilderOptions, CheckAccess, Checks, OpenError, Toolchain,
    cargo::Place,
    gate, hook, http,
    limit::{BUILDS_MAX, GIT_PROCESSES_MAX, LIVE_WAIT_MAX},
    log::Log,
    pipeline::{self, Timing},
    repo::{Quarantine, Repo, clear, clear_leftovers},
    session::Sessions,
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::Arc,
};
use tawi_runtime::{
    deploy::{Draft, Store, StoreError},
    model::{AppId, Id, Release, manifest::Trigger},
};
use tokio::sync::{OwnedMutexGuard, Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Cheap to clone.
#[derive(Clone)]
pub struct Builder {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub options: BuilderOptions,
    pub store: Store,
    pub checks: Checks,
    pub toolchain: Mutex<Option<Arc<Toolchain>>>,
    pub builds: Semaphore,
    pub git_processes: Arc<Semaphore>,
    pub sessions: Sessions,
    /// Of every push, so that [`Builder::run`] ends after the last of them.
    pub tasks: TaskTracker,
    pub shutdown: CancellationToken,
    locks: Mutex<HashMap<AppId, Arc<tokio::sync::Mutex<()>>>>,
    listener: Mutex<Option<UnixListener>>,
}

impl Builder {
    /// Makes refs and releases agree where the node stopped between the two. Starts nothing.
    pub async fn open(options: BuilderOptions, store: Store, checks: Checks) -> Result<Builder, OpenError> {
        let io = |tried, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { tried, path, source }
        };
        let git = options.data.join("git");
        std::fs::create_dir_all(&git).map_err(io("create", &git))?;
        let inner = Inner {
            toolchain: Mutex::new(options.toolchain.clone().map(Arc::new)),
            builds: Semaphore::new(BUILDS_MAX),
            git_processes: Arc::new(Semaphore::new(GIT_PROCESSES_MAX)),
            sessions: Sessions::default(),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            locks: Mutex::default(),
            listener: Mutex::new(None),
            options,
            store,
            checks,
        };
        hook::install(&inner.hooks_dir()).map_err(io("write", &inner.hooks_dir()))?;
        let listener = hook::listen(&inner.socket()).map_err(io("listen on", &inner.socket()))?;
        *inner.listener.lock() = Some(listener);
        clear_leftovers(&inner.repos_dir()).map_err(io("clear", &inner.repos_dir()))?;
        inner.settle_all().await?;
        Ok(Builder { inner: Arc::new(inner) })
    }

    /// Answers git's hooks until `shutdown`; then pushes under way are given up, and it returns when the last is gone.
    pub async fn run(&self, shutdown: CancellationToken) -> io::Result<()> {
        let listener = self.inner.listener.lock().take().ok_or_else(|| io::Error::other("the builder runs already"))?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        gate::serve(&self.inner, listener, &shutdown).await;
        self.inner.shutdown.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        Ok(())
    }

    /// `/git/APP.git/…` for git clients. Whether a token may use an app's repository, `access` decides.
    pub fn router(&self, access: CheckAccess) -> axum::Router {
        http::router(self.inner.clone(), access)
    }

    /// Builds and releases what `main` is at, once more. `lines` gets the log. Dropping the future gives up.
    pub async fn redeploy(&self, app: &AppId, lines: mpsc::Sender<String>) -> Result<Arc<Release>, BuildError> {
        tokio::select! {
            release = self.build_again(app, Log::new(lines)) => release,
            () = self.inner.shutdown.cancelled() => Err(BuildError::new("the node is shutting down").hint("nothing was changed; try again when it is up")),
        }
    }

    async fn build_again(&self, app: &AppId, log: Log) -> Result<Arc<Release>, BuildError> {
        let inner = &self.inner;
        let repo = inner.repo(app);
        let nothing = || BuildError::new(format!("nothing was pushed to `{}` yet", app.app)).hint("`git push tawi main`");
        if !repo.exists() {
            return Err(nothing());
        }
        let _lock = inner.lock(app, &log).await;
        let commit = repo.main().await?.ok_or_else(nothing)?;
        let mut timing = Timing::start();
        let draft = pipeline::build(inner, app, &commit, &Quarantine::default(), &log, &mut timing).await?;
        let release = inner.add_release(app, draft).await?;
        let live = inner.announce(app, &release, &timing, &log).await;
        live.map(|()| release).map_err(|why| BuildError::new(why).hint("`tawi apps list` shows what serves"))
    }

    /// The app's repository, its caches and its releases, as far as they are there. The state in the ledger is not the builder's to forget.
    pub async fn delete_app(&self, app: &AppId) -> Result<(), BuildError> {
        let inner = &self.inner;
        let (lines, _) = mpsc::channel(1);
        let _lock = inner.lock(app, &Log::new(lines)).await;
        let (repo, place, builds) = (inner.repo(app), inner.place(app), inner.store.builds_dir(app));
        let (store, id) = (inner.store.clone(), app.clone());
        let deleted = tokio::task::spawn_blocking(move || {
            // The repository first: with it, the next push of the same commit would say that nothing is new.
            repo.forget().and_then(|()| clear(&place.home)).map_err(|e| BuildError::node("delete the source", e))?;
            match store.delete_app(&id) {
                Ok(()) | Err(StoreError::NoApp(_)) => {}
                Err(error) => return Err(BuildError::node("delete the app", error)),
            }
            clear(&builds).map_err(|e| BuildError::node("delete the logs", e))
        });
        deleted.await.map_err(|e| BuildError::node("delete the app", e))?
    }
}

impl Inner {
    pub fn app(&self, name: Id) -> AppId {
        AppId::new(self.options.tenant.clone(), name)
    }

    /// Where `git http-backend` finds the repositories.
    pub fn repos_dir(&self) -> PathBuf {
        self.options.data.join("git").join(self.options.tenant.to_token())
    }

    pub fn repo(&self, app: &AppId) -> Repo {
        Repo { dir: self.repos_dir().join(format!("{}.git", app.app)) }
    }

    pub fn place(&self, app: &AppId) -> Place {
        Place { home: self.options.data.join("build").join(app.tenant.to_token()).join(app.app.to_token()) }
    }

    pub fn hooks_dir(&self) -> PathBuf {
        self.options.data.join("git").join(".hooks")
    }

    pub fn socket(&self) -> PathBuf {
        self.options.data.join("git").join(".node").join("hook.sock")
    }

    /// Pushes of one app wait here in the order they came, and are told so.
    pub async fn lock(&self, app: &AppId, log: &Log) -> OwnedMutexGuard<()> {
        let lock = self.locks.lock().entry(app.clone()).or_default().clone();
        if let Ok(guard) = lock.clone().try_lock_owned() {
            return guard;
        }
        log.step(&format!("waiting for another push of `{}`", app.app)).await;
        lock.lock_owned().await
    }

    async fn settle_all(&self) -> Result<(), OpenError> {
        let names = std::fs::read_dir(self.repos_dir()).into_iter().flatten().filter_map(Result::ok);
        for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
            let Some(Ok(name)) = name.strip_suffix(".git").map(AppId::check_name) else { continue };
            let app = self.app(name);
            let settled = self.settle(&app).await;
            if let Some(release) = settled.map_err(|source| OpenError::Settle { app: app.clone(), source })? {
                tracing::info!(%app, release = release.number, commit = %release.commit, "released a build that the last run had finished");
            }
        }
        Ok(())
    }

    /// Releases the staged build whose commit `main` is at, drops the others. Whoever calls it holds the app's lock.
    pub async fn settle(&self, app: &AppId) -> Result<Option<Arc<Release>>, BuildError> {
        let main = self.repo(app).main().await?;
        let (store, app) = (self.store.clone(), app.clone());
        let settled = tokio::task::spawn_blocking(move || {
            let mut released = None;
            for draft in store.staged(&app) {
                if main.as_ref() == Some(&draft.commit) {
                    released = store.release_staged(&app, &draft.commit).map_err(|e| BuildError::node("write the release", e))?;
                } else {
                    store.unstage(&app, &draft.commit);
                }
            }
            let known = |commit: &String| store.releases(&app).iter().any(|release| release.commit == *commit);
            if let Some(commit) = main.filter(|commit| !known(commit)) {
                tracing::warn!(%app, commit, "`main` is at a commit that was never released; `tawi redeploy` builds it");
            }
            Ok(released)
        });
        settled.await.map_err(|e| BuildError::node("write the release", e))?
    }

    pub async fn stage(&self, app: &AppId, draft: Draft) -> Result<(), BuildError> {
        let (store, app) = (self.store.clone(), app.clone());
        let staged = tokio::task::spawn_blocking(move || store.stage(&app, draft)).await;
        staged.map_err(|e| BuildError::node("keep the build", e))?.map_err(|e| BuildError::node("keep the build", e))
    }

    async fn add_release(&self, app: &AppId, draft: Draft) -> Result<Arc<Release>, BuildError> {
        let (store, app) = (self.store.clone(), app.clone());
        let added = tokio::task::spawn_blocking(move || store.add_release(&app, draft)).await;
        added.map_err(|e| BuildError::node("write the release", e))?.map_err(|e| BuildError::node("write the release", e))
    }

    /// Waits until the release serves, and says where; or says why it does not.
    pub async fn announce(&self, app: &AppId, release: &Release, timing: &Timing, log: &Log) -> Result<(), String> {
        let live = (self.checks.live)(app.clone(), release.number);
        let trouble = match tokio::time::timeout(LIVE_WAIT_MAX, live).await {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(_) => Some(format!("it does not serve after {} s", LIVE_WAIT_MAX.as_secs())),
        };
        if let Some(why) = trouble {
            let why = format!("release {} is made, but it does not serve: {why}", release.number);
            log.step(&why).await;
            return Err(why);
        }
        log.step(&format!("Live: release {} of {}, {timing}", release.number, app.app)).await;
        for function in &release.manifest.functions {
            let line = match &function.trigger {
                Trigger::Http { path, .. } => format!("{}/run/{}{path}", self.options.base_url.trim_end_matches('/'), app.app),
                Trigger::Schedule(schedule) => format!("{} runs on the schedule {} ({})", function.name, schedule.cron, schedule.zone),
                Trigger::Event { select: Some(select), .. } => format!("{} runs on sensors with {select}", function.name),
                Trigger::Event { subject, .. } => format!("{} runs on {subject}", function.name),
            };
            log.detail(&line).await;
        }
        if release.manifest.codec.is_some() {
            log.detail(&format!("decodes the uplinks of devices whose `meta.codec` is `{}`", app.app)).await;
        }
        Ok(())
    }
}
