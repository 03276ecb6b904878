//! `git http-backend` as a CGI program: one process for a request, streamed both ways, killed with all its children when the client goes.

use crate::{
    limit::{CGI_HEAD_BYTES_MAX, UPLOAD_SILENCE_MAX},
    process::Group,
};
use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use std::{io, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, Command},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Chunks of git's answer on their way to the client.
const CHUNKS_QUEUED_MAX: usize = 16;
const CHUNK_BYTES: usize = 32 * 1024;

/// The first part of an answer.
#[derive(Debug)]
pub struct Head {
    pub status: StatusCode,
    pub headers: HeaderMap,
}

/// The rest of it, chunk by chunk.
pub type Chunks = mpsc::Receiver<io::Result<Bytes>>;

/// The variables of RFC 3875 that `git http-backend` reads.
pub fn describe(command: &mut Command, request: &Request<Body>, path: &str) {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    command.env("REQUEST_METHOD", request.method().as_str()).env("PATH_INFO", path);
    command.env("QUERY_STRING", request.uri().query().unwrap_or_default());
    for (variable, name) in [
        ("CONTENT_TYPE", "content-type"),
        ("CONTENT_LENGTH", "content-length"),
        ("HTTP_CONTENT_ENCODING", "content-encoding"),
        ("HTTP_GIT_PROTOCOL", "git-protocol"),
        ("GIT_PROTOCOL", "git-protocol"),
    ] {
        command.envs(header(name).map(|value| (variable, value)));
    }
}

/// Runs the program to its end. `head` gets the first part of the answer as soon as it is there, `end_max` is for the time between the
/// end of the answer and the end of the program. Dropping the receiver of the chunks kills the program.
pub async fn run(
    mut command: Command,
    body: Body,
    head: oneshot::Sender<io::Result<(Head, Chunks)>>,
    end_max: Duration,
    shutdown: &CancellationToken,
) {
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = head.send(Err(error));
            return;
        }
    };
    let mut group = Group::of(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (chunks, receiver) = mpsc::channel(CHUNKS_QUEUED_MAX);
    let answer = async {
        let Some(stdout) = stdout else { return Ok(()) };
        let mut stdout = BufReader::new(stdout);
        match read_head(&mut stdout).await {
            Ok(read) => drop(head.send(Ok((read, receiver)))),
            Err(error) => {
                let _ = head.send(Err(error));
                return Ok(());
            }
        }
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = tokio::select! {
                read = stdout.read(&mut buffer) => read?,
                // The client is gone, however quiet git is.
                () = chunks.closed() => return Err(io::ErrorKind::ConnectionAborted.into()),
            };
            if read == 0 || chunks.send(Ok(Bytes::copy_from_slice(&buffer[..read]))).await.is_err() {
                return if read == 0 { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) };
            }
        }
    };
    let complaints = async {
        let mut text = Vec::new();
        if let Some(mut stderr) = stderr {
            (&mut stderr).take(CGI_HEAD_BYTES_MAX as u64).read_to_end(&mut text).await?;
            if !text.is_empty() {
                tracing::debug!(text = %String::from_utf8_lossy(&text).trim(), "git http-backend");
            }
            tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
        }
        Ok(())
    };
    let whole = async { tokio::try_join!(answer, feed(stdin, body), complaints).map(drop) };
    tokio::pin!(whole);
    let ended = tokio::select! {
        ended = &mut whole => ended,
        () = shutdown.cancelled() => Err(io::Error::other("the node is shutting down")),
    };
    let clean = ended.is_ok() && timeout(end_max, child.wait()).await.is_ok();
    group.kill();
    if let (Err(error), false) = (&ended, clean) {
        tracing::debug!(%error, "a git request ended early");
        let _ = chunks.send(Err(io::Error::other("the request ended early"))).await;
    }
    let _ = child.wait().await;
}

/// git may stop reading before the end of what it was sent; that is its business.
async fn feed(stdin: Option<ChildStdin>, body: Body) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    let mut body = body.into_data_stream();
    loop {
        let next = timeout(UPLOAD_SILENCE_MAX, body.next()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        let Some(chunk) = next else { return Ok(()) };
        match stdin.write_all(&chunk.map_err(io::Error::other)?).await {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
}

async fn read_head(from: &mut BufReader<impl tokio::io::AsyncRead + Unpin>) -> io::Result<Head> {
    let (mut head, mut line) = (Head { status: StatusCode::OK, headers: HeaderMap::new() }, Vec::new());
    let mut limited = from.take(CGI_HEAD_BYTES_MAX as u64);
    loop {
        line.clear();
        limited.read_until(b'\n', &mut line).await?;
        let text = String::from_utf8_lossy(&line);
        if !text.ends_with('\n') {
            return Err(io::Error::other("git http-backend ended before its answer began"));
        }
        let text = text.trim_end();
        if text.is_empty() {
            return Ok(head);
        }
        head.take(text).ok_or_else(|| io::Error::other(format!("git http-backend answers `{text}`")))?;
    }
}

impl Head {
    fn take(&mut self, line: &str) -> Option<()> {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            self.status = StatusCode::from_bytes(value.split(' ').next()?.as_bytes()).ok()?;
        } else {
            self.headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?);
        }
        Some(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_head_of_an_answer_is_read_and_the_rest_left() {
        let mut from = BufReader::new(&b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\nbody"[..]);
        let head = read_head(&mut from).await.unwrap();
        assert_eq!((head.status, head.headers["content-type"].as_bytes()), (StatusCode::NOT_FOUND, &b"text/plain"[..]));
        let mut rest = String::new();
        from.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "body");
    }

    #[tokio::test]
    async fn an_endless_head_is_cut_off() {
        let long = vec![b'a'; 2 * CGI_HEAD_BYTES_MAX];
        assert!(read_head(&mut BufReader::new(&long[..])).await.is_err());
        assert!(read_head(&mut BufReader::new(&b""[..])).await.is_err());
    }
}
