//! A node with a builder in it: what `tawi up` runs.

use crate::failure::{Done, Failure};
use futures::{FutureExt, StreamExt, stream::BoxStream};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tawi_builder::{Access, Builder, BuilderOptions, Checks};
use tawi_runtime::{
    config::NodeConfig,
    deploy::try_out,
    identity::{Action, allow},
    model::{AppId, Id, Manifest},
    node::Node,
    server::{ForgetSource, Progress, Redeploy},
    telemetry,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// What the node knows once it serves.
pub struct Started {
    pub url: String,
    /// Where clients of MQTT connect, if they can.
    pub mqtt: Option<SocketAddr>,
    /// On the first start only.
    pub admin_token: Option<String>,
    /// Name and password of the first administrator; on the first start only.
    pub admin_user: Option<(String, String)>,
}

/// How long a push waits for its release to serve.
const LIVE_MAX: Duration = Duration::from_secs(60);
/// Lines of a build that wait for a slow reader.
const LINES_MAX: usize = 256;

/// Opens everything, says that it serves, and runs until a signal to stop.
pub async fn run(config: NodeConfig, announce: impl FnOnce(Started) -> Done + Send + 'static) -> Done {
    let failed = |what: &str, error: &(dyn std::error::Error + 'static)| Failure::because(what.to_owned(), error);
    let mut node = Node::open(config).await.map_err(|e| failed("the node can't start", &e))?;
    let options = options(&node).map_err(|e| failed("the builder can't start", &e))?;
    let builder = Builder::open(options, node.store.clone(), checks(&node)).await.map_err(|e| failed("the builder can't start", &e))?;
    let rooms = node.rooms(redeploy(builder.clone()), forget_source(builder.clone()));
    let doors = node.doors(rooms, builder.router(access(&node)));
    let stop = stop_on_signal().map_err(|e| failed("can't listen for signals", &e))?;
    let hooks = tokio::spawn({
        let (builder, stop) = (builder, stop.clone());
        async move { builder.run(stop).await }
    });
    let first_user = node.first_user.take().map(|(name, password)| (name.to_string(), password));
    let started = Started { url: node.url(), mqtt: node.mqtt_addr(), admin_token: node.first_token.take(), admin_user: first_user };
    let abandon = stop.clone();
    let ready = move || {
        if let Err(failure) = announce(started) {
            eprintln!("{failure}");
            abandon.cancel();
        }
    };
    node.run(doors, ready, stop.clone()).await;
    stop.cancel();
    match hooks.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(error = telemetry::chain(&error), "the builder stopped early"),
        Err(error) => tracing::error!(%error, "the builder panicked"),
    }
    Ok(())
}

fn options(node: &Node) -> std::io::Result<BuilderOptions> {
    let mut options = BuilderOptions::new(&node.config.data)?;
    options.tenant = node.config.tenant.clone();
    options.base_url = node.url();
    Ok(options)
}

/// What a build is held against: this very node's engine.
fn checks(node: &Node) -> Checks {
    let (engine, store, reconciler) = (node.engine.clone(), node.store.clone(), node.reconciler.clone());
    let (verifier, tenant) = (engine.clone(), node.config.tenant.clone());
    Checks {
        verify: Arc::new(move |component, manifest: &Manifest| {
            verifier.verify(component, manifest).map(drop).map_err(|e| telemetry::chain(&e))
        }),
        prepare: Arc::new(move |component, digest, manifest| {
            try_out(&store, &engine, &tenant, digest, component, manifest).map_err(|e| telemetry::chain(&e))
        }),
        live: Arc::new(move |app, release| {
            let reconciler = reconciler.clone();
            async move { reconciler.wait_live(&app, release, LIVE_MAX).await }.boxed()
        }),
    }
}

fn access(node: &Node) -> tawi_builder::CheckAccess {
    let (tokens, tenant) = (node.tokens.clone(), node.config.tenant.clone());
    Arc::new(move |app, token| {
        let Some(who) = tokens.check(token).filter(|who| who.tenant == tenant) else { return Access::Unknown };
        match Id::new(app) {
            Ok(app) if allow(&who, Action::Operate(&app)) => Access::Granted { name: who.name },
            _ => Access::Forbidden,
        }
    })
}

fn redeploy(builder: Builder) -> Redeploy {
    Arc::new(move |app: AppId| -> BoxStream<'static, Progress> {
        let (lines, said) = mpsc::channel(LINES_MAX);
        let builder = builder.clone();
        let build = async move {
            match builder.redeploy(&app, lines).await {
                Ok(release) => Progress::Release(release.number),
                Err(error) => Progress::Error(telemetry::chain(&error)),
            }
        };
        let lines = futures::stream::unfold(said, |mut said| async { said.recv().await.map(|line| (Progress::Line(line), said)) });
        // Polled as one with the lines: the build goes on only while somebody listens. Its end comes after the last line.
        let (done, end) = oneshot::channel();
        let drive = build.map(|end| done.send(end)).into_stream().filter_map(|_| async { None });
        futures::stream::select(lines, drive).chain(end.into_stream().filter_map(|end| async { end.ok() })).boxed()
    })
}

fn forget_source(builder: Builder) -> ForgetSource {
    Arc::new(move |app| {
        let builder = builder.clone();
        async move { builder.delete_app(&app).await.map_err(|e| std::io::Error::other(telemetry::chain(&e))) }.boxed()
    })
}

/// Cancelled by SIGTERM or SIGINT; a second one ends the process where it stands, as a power cut would.
fn stop_on_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        let mut asked = async || {
            tokio::select! {
                _ = term.recv() => SignalKind::terminate(),
                _ = int.recv() => SignalKind::interrupt(),
            }
        };
        asked().await;
        tracing::info!("stopping: requests and calls under way may end; a second signal ends them at once");
        cancelled.cancel();
        let signal = asked().await;
        std::process::exit(128 + signal.as_raw_value());
    });
    Ok(stop)
}
