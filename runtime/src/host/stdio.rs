//! Standard output and error of a guest as log lines.

use super::{Collected, log::cut};
use crate::model::{LogLevel, Micros, limit::LOG_LINE_BYTES_MAX};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

/// What a guest has written, and which of its calls that is for. A guest may hold a stream from one call to the next.
pub(super) struct Spoken(Arc<Mutex<Said>>);

struct Said {
    now: Micros,
    collected: Arc<Mutex<Collected>>,
    /// Beginnings of lines whose end has not been written, of each stream; at most one line long.
    rest: [Vec<u8>; 2],
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Out,
    Err,
}

#[derive(Clone)]
pub(super) struct Lines {
    stream: Stream,
    said: Arc<Mutex<Said>>,
}

impl Spoken {
    pub fn new(now: Micros, collected: Arc<Mutex<Collected>>) -> Spoken {
        Spoken(Arc::new(Mutex::new(Said { now, collected, rest: Default::default() })))
    }

    pub fn lines(&self, stream: Stream) -> Lines {
        Lines { stream, said: self.0.clone() }
    }

    /// What comes from here on is another call's.
    pub fn turn(&self, now: Micros, collected: Arc<Mutex<Collected>>) {
        let mut said = self.0.lock();
        said.finish();
        (said.now, said.collected) = (now, collected);
    }

    /// A line without an end is a line once the call has ended.
    pub fn finish(&self) {
        self.0.lock().finish();
    }
}

impl Said {
    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let rest = &mut self.rest[stream as usize];
            let room = (LOG_LINE_BYTES_MAX + 4).saturating_sub(rest.len());
            rest.extend(piece.iter().take(room).filter(|b| **b != b'\n'));
            if piece.ends_with(b"\n") {
                self.line(stream);
            }
        }
    }

    fn line(&mut self, stream: Stream) {
        let (level, context) = match stream {
            Stream::Out => (LogLevel::Info, "stdout"),
            Stream::Err => (LogLevel::Error, "stderr"),
        };
        let rest = &mut self.rest[stream as usize];
        let text = String::from_utf8_lossy(rest).trim_end().to_owned();
        rest.clear();
        if !text.is_empty() {
            self.collected.lock().log(self.now, level, context.to_owned(), cut(text, LOG_LINE_BYTES_MAX));
        }
    }

    fn finish(&mut self) {
        self.line(Stream::Out);
        self.line(Stream::Err);
    }
}

/// Of a call that was given up.
impl Drop for Said {
    fn drop(&mut self) {
        self.finish();
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.said.lock().take(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}

#[async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.said.lock().take(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
