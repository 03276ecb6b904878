//! The steps from a commit to a build that is ready to be released.

use crate::{
    BuildError, Toolchain,
    builder::Inner,
    cargo::{Cargo, Place, read_component},
    log::Log,
    repo::{Commit, Entry, Quarantine},
    source::{self, Language},
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tawi_runtime::{
    deploy::{Draft, circles, read_manifest},
    model::{AppId, Digest, Manifest, Micros},
};

/// How long each step took.
#[derive(Debug, Clone)]
pub struct Timing {
    start: Instant,
    last: Instant,
    steps: Vec<(&'static str, Duration)>,
}

impl Timing {
    pub fn start() -> Timing {
        let now = Instant::now();
        Timing { start: now, last: now, steps: Vec::new() }
    }

    fn done(&mut self, step: &'static str) {
        let now = Instant::now();
        self.steps.push((step, now - self.last));
        self.last = now;
    }
}

/// `1.42 s (checkout 0.05, compile 1.30, …)`, up to now.
impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s (", self.start.elapsed().as_secs_f64())?;
        for (n, (step, took)) in self.steps.iter().enumerate() {
            write!(f, "{}{step} {:.2}", if n > 0 { ", " } else { "" }, took.as_secs_f64())?;
        }
        f.write_str(")")
    }
}

/// Builds a commit, whose objects may still be in quarantine. Whoever calls it holds the app's lock.
pub(crate) async fn build(
    inner: &Inner,
    app: &AppId,
    commit: &str,
    quarantine: &Quarantine,
    log: &Log,
    timing: &mut Timing,
) -> Result<Draft, BuildError> {
    let now = jiff::Timestamp::now();
    let short = &commit[..commit.len().min(7)];
    log.keep_in(&inner.store.builds_dir(app), &format!("{}-{short}", now.strftime("%Y%m%dT%H%M%S.%6fZ")));
    let built = steps(inner, app, commit, quarantine, log, timing, Micros(now.as_microsecond())).await;
    if let Err(error) = &built {
        tracing::info!(%app, commit, error = %error.message, "a build failed");
    }
    built
}

async fn steps(
    inner: &Inner,
    app: &AppId,
    commit: &str,
    quarantine: &Quarantine,
    log: &Log,
    timing: &mut Timing,
    created: Micros,
) -> Result<Draft, BuildError> {
    let limits = &inner.options.limits;
    let _turn = match inner.builds.try_acquire() {
        Ok(turn) => turn,
        Err(_) => {
            log.step("waiting for builds of other apps").await;
            inner.builds.acquire().await.map_err(|e| BuildError::node("start the build", e))?
        }
    };
    let (repo, place) = (inner.repo(app), inner.place(app));
    let commit_id = commit;
    let commit = repo.commit(commit_id, quarantine, limits, log);
    let summary = commit.summary().await?;
    log.step(&format!("Checking out {} \"{summary}\"", &commit_id[..commit_id.len().min(7)])).await;
    let (manifest, entries) = inspect(app, &commit).await?;
    let language = source::detect(&entries, &manifest)?;
    place.prepare(inner.options.registry_config.as_deref()).map_err(|e| BuildError::node("prepare the build directory", e))?;
    commit.check_out(&place.source(), &place.index()).await?;
    source::check_links(&entries, &place.source())?;
    timing.done("checkout");

    let component = match language {
        Language::Prebuilt(path) => {
            log.step(&format!("Taking `{}` as it is", path.display())).await;
            read_component(&place.source().join(path), limits)?
        }
        Language::Rust => compile(inner, &place, &manifest, log, timing).await?,
    };
    look_for_circles(inner, app, &manifest, log).await?;
    let artifact = examine(inner, component, &manifest, log, timing).await?;
    Ok(Draft { artifact, manifest, commit: commit_id.to_owned(), summary, created, rollback_of: None })
}

/// The manifest, and every file; refused before anything is written.
async fn inspect(app: &AppId, commit: &Commit<'_>) -> Result<(Manifest, Vec<Entry>), BuildError> {
    let entries = commit.entries().await?;
    source::check_manifest_file(&entries)?;
    source::check(&entries)?;
    let text = String::from_utf8(commit.read("tawi.toml").await?).map_err(|_| BuildError::new("`tawi.toml` is not UTF-8 text"))?;
    let manifest = read_manifest(&text).map_err(|e| BuildError::new(format!("`tawi.toml` has mistakes\n{e}")))?;
    if manifest.app != app.app {
        let (says, pushed) = (&manifest.app, &app.app);
        return Err(BuildError::new(format!("`tawi.toml` calls the app `{says}`, but it was pushed to `{pushed}.git`"))
            .hint(format!("write `name = \"{pushed}\"`, or push to `{says}.git` (`git remote set-url`)")));
    }
    Ok((manifest, entries))
}

async fn compile(inner: &Inner, place: &Place, manifest: &Manifest, log: &Log, timing: &mut Timing) -> Result<Vec<u8>, BuildError> {
    let toolchain = toolchain(inner).await?;
    let limits = &inner.options.limits;
    let deadline = tokio::time::Instant::now() + limits.wall;
    let (keeper, confiner) = (&inner.options.keeper, &inner.options.confiner);
    let cargo = Cargo { toolchain: &toolchain, keeper, confiner, data: &inner.options.data, place, limits, deadline, log };
    log.step(&format!("Fetching what Cargo.lock names, with {}", toolchain.version)).await;
    cargo.fetch().await?;
    timing.done("fetch");
    let target = cargo.find_crate(manifest.build.package.as_deref()).await?;
    log.step(&format!("Compiling {} {}", target.name, target.version)).await;
    let component = cargo.compile(&target).await;
    if component.is_err() {
        // It may be the compiler that has changed under us: the next build looks at it again.
        *inner.toolchain.lock() = inner.options.toolchain.clone().map(Arc::new);
    }
    // Also after a failure, or a build that always fails would grow without bounds.
    if let Err(error) = place.trim() {
        tracing::warn!(path = %place.home.display(), %error, "could not look after a build cache");
    }
    timing.done("compile");
    component
}

async fn toolchain(inner: &Inner) -> Result<Arc<Toolchain>, BuildError> {
    if let Some(toolchain) = inner.toolchain.lock().clone() {
        return Ok(toolchain);
    }
    let detected = tokio::task::spawn_blocking(Toolchain::detect).await.map_err(|e| BuildError::node("look for a toolchain", e))?;
    let detected = detected.map_err(|e| {
        BuildError::new(e.to_string())
            .hint("on the node: `rustup target add wasm32-wasip2`, or `tools/setup-wasm` where rustup can't reach its servers")
    })?;
    let toolchain = Arc::new(detected);
    *inner.toolchain.lock() = Some(toolchain.clone());
    Ok(toolchain)
}

/// Functions that would feed themselves are refused where their own words say so, and shown where they only may.
async fn look_for_circles(inner: &Inner, app: &AppId, manifest: &Manifest, log: &Log) -> Result<(), BuildError> {
    let serving = inner.store.apps().into_iter().filter(|other| other.tenant == app.tenant).filter_map(|other| inner.store.current(&other));
    let serving: Vec<_> = serving.collect();
    for circle in circles(manifest, serving.iter().map(|release| &release.manifest)) {
        if circle.certain {
            return Err(BuildError::new(format!("functions would call each other without end: {circle}"))
                .hint("each publishes what the next is called for; let one of them publish, or listen to, another subject"));
        }
        log.step(&format!("functions may call each other in a circle: {circle}")).await;
        log.detail("it is ended after 16 events; with `publish = [...]` in their [[on]] entries each says what it really publishes").await;
    }
    Ok(())
}

/// Verified, stored, compiled for this node, and tried: what comes out of here can be released.
async fn examine(inner: &Inner, component: Vec<u8>, manifest: &Manifest, log: &Log, timing: &mut Timing) -> Result<Digest, BuildError> {
    let (checks, store) = (inner.checks.clone(), inner.store.clone());
    let (component, manifest) = (Arc::new(component), Arc::new(manifest.clone()));
    let refused = |why: String| match why.split_once("\nhint: ") {
        Some((why, hint)) => BuildError::new(why).hint(hint),
        None => BuildError::new(why),
    };

    log.step(&format!("Verifying the component, {} KiB", component.len().div_ceil(1024))).await;
    let (verify, bytes, of) = (checks.verify.clone(), component.clone(), manifest.clone());
    blocking("verify the component", move || verify(&bytes, &of)).await?.map_err(refused)?;
    timing.done("verify");

    let (bytes, to) = (component.clone(), store.clone());
    let stored = blocking("store the component", move || to.put_artifact(&bytes)).await?;
    let digest = stored.map_err(|e| BuildError::node("store the component", e))?;
    timing.done("store");

    log.step(&format!("Trying {}", &digest.to_string()[..19])).await;
    let prepare = checks.prepare.clone();
    // Kept until a release or a staged build names it: a push that ends otherwise leaves it to the next start.
    let tried = blocking("try the component", move || prepare(&component, &digest, &manifest).inspect_err(|_| store.discard(&digest)));
    tried.await?.map_err(refused)?;
    timing.done("try");
    Ok(digest)
}

async fn blocking<T: Send + 'static>(tried: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| BuildError::node(tried, e))
}
