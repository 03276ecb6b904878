//! The node's side of the hooks: one conversation for each, ended early when the hook goes away.

use crate::{
    BuildError,
    builder::Inner,
    hook::{Answer, Request, Stage},
    limit::{HOOK_REQUEST_BYTES_MAX, LOG_LINES_QUEUED_MAX},
    log::Log,
    pipeline::{self, Timing},
    push,
    session::Session,
};
use std::{io, sync::Arc, time::Duration};
use tawi_runtime::fault;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

/// Between two tries to accept a hook's connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub async fn serve(inner: &Arc<Inner>, listener: UnixListener, shutdown: &CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, most likely: hooks wait in the queue of the socket meanwhile.
                tracing::error!(%error, "can't answer a hook");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let inner = inner.clone();
        inner.clone().tasks.spawn(async move {
            if let Err(error) = converse(&inner, stream).await {
                tracing::debug!(%error, "a hook went away");
            }
        });
    }
}

async fn converse(inner: &Arc<Inner>, stream: UnixStream) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(HOOK_REQUEST_BYTES_MAX));
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let (lines, mut said) = mpsc::channel(LOG_LINES_QUEUED_MAX);
    let log = Log::new(lines);
    let pass_on = async {
        while let Some(line) = said.recv().await {
            send(&mut writer, &Answer::Line(line)).await?;
        }
        Ok::<_, io::Error>(())
    };
    let work = async {
        let verdict = answer(inner, &line, &log).await;
        if let Err(error) = &verdict {
            for line in error.to_string().lines() {
                log.line(line).await;
            }
        }
        drop(log);
        Ok::<_, io::Error>(verdict.is_ok())
    };
    // The hook says nothing more: what can be read is only its end.
    let mut more = [0];
    let verdict = tokio::select! {
        done = async { tokio::try_join!(work, pass_on) } => done?.0,
        _ = reader.read(&mut more) => return Err(io::ErrorKind::ConnectionAborted.into()),
        () = inner.shutdown.cancelled() => {
            send(&mut writer, &Answer::Line("error: the node is shutting down\nhint: nothing was changed; push again when it is up".to_owned())).await?;
            false
        }
    };
    send(&mut writer, &Answer::Verdict(verdict)).await
}

async fn send(writer: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

async fn answer(inner: &Inner, line: &str, log: &Log) -> Result<(), BuildError> {
    let request: Request = serde_json::from_str(line).map_err(|e| BuildError::node("understand the hook", e))?;
    let session = inner.sessions.find(&request.push).ok_or_else(|| BuildError::new("this push is not known to the node"))?;
    match request.stage {
        Stage::PreReceive => pre_receive(inner, &session, &request, log).await,
        Stage::PostReceive => post_receive(inner, &session, log).await,
    }
}

async fn pre_receive(inner: &Inner, session: &Session, request: &Request, log: &Log) -> Result<(), BuildError> {
    let plan = push::plan(&request.updates)?;
    for note in &plan.notes {
        log.step(note).await;
    }
    let Some(update) = plan.deploy else { return Ok(()) };
    let Some(commit) = &update.new else { return Ok(()) };
    let app = &session.app;
    let mut state = session.state.lock().await;
    state.lock = Some(inner.lock(app, log).await);
    let mut timing = Timing::start();
    let main = inner.repo(app).main().await?;
    if main != update.old {
        return Err(BuildError::new("`main` has moved while this push waited").hint("`git pull --rebase tawi main`, then push again"));
    }
    let draft = pipeline::build(inner, app, commit, &request.quarantine, log, &mut timing).await?;
    inner.stage(app, draft).await?;
    state.timing = Some(timing);
    Ok(())
}

/// The refs have moved. Whatever goes wrong here, they stay; the release is made up for when git ends, or at the next start.
async fn post_receive(inner: &Inner, session: &Session, log: &Log) -> Result<(), BuildError> {
    let state = session.state.lock().await;
    let (Some(_), Some(timing)) = (&state.lock, &state.timing) else { return Ok(()) };
    fault::point("release");
    if let Some(release) = inner.settle(&session.app).await? {
        // Said in the log of the push; the refs have moved, and nothing takes them back.
        let _ = inner.announce(&session.app, &release, timing, log).await;
    }
    Ok(())
}
