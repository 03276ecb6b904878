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

#[derive(Clone)]
pub(super) struct Lines {
    context: &'static str,
    level: LogLevel,
    now: Micros,
    collected: Arc<Mutex<Collected>>,
    /// The beginning of a line whose end has not been written; at most one line long.
    rest: Arc<Mutex<Vec<u8>>>,
}

impl Lines {
    pub fn new(context: &'static str, level: LogLevel, now: Micros, collected: Arc<Mutex<Collected>>) -> Lines {
        Lines { context, level, now, collected, rest: Arc::default() }
    }

    fn take(&self, bytes: &[u8]) {
        let mut rest = self.rest.lock();
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let room = (LOG_LINE_BYTES_MAX + 4).saturating_sub(rest.len());
            rest.extend(piece.iter().take(room).filter(|b| **b != b'\n'));
            if piece.ends_with(b"\n") {
                self.line(&mut rest);
            }
        }
    }

    fn line(&self, rest: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(rest).trim_end().to_owned();
        rest.clear();
        if !text.is_empty() {
            self.collected.lock().log(self.now, self.level, self.context.to_owned(), cut(text, LOG_LINE_BYTES_MAX));
        }
    }
}

/// A line without an end is a line once nobody can write any more.
impl Drop for Lines {
    fn drop(&mut self) {
        if Arc::strong_count(&self.rest) == 1 {
            let mut rest = std::mem::take(&mut *self.rest.lock());
            self.line(&mut rest);
        }
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
        self.take(&bytes);
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
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
