//! Bytes of one connection, both ways. One that says nothing holds no buffer.

use crate::model::limit::MQTT_BUFFERS_BYTES_MAX;
use bytes::{Buf, BytesMut};
use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// Read at a time; one buffer a thread, not one a connection.
const READ_BYTES: usize = 16 * 1024;
/// Of a packet that has not come whole, what nobody counts: connections times this is little.
const FREE_BYTES: usize = 4 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub struct Io {
    stream: Box<dyn Stream>,
    pub input: BytesMut,
    pub output: BytesMut,
    unflushed: bool,
    /// When the other end last said something, and when it last took something.
    pub heard: Instant,
    pub taken: Instant,
    share: Share,
}

/// What a connection holds of the room for packets that have not come whole.
struct Share {
    of: Arc<AtomicUsize>,
    bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Read,
    Written,
    /// The other end says no more.
    End,
}

impl Io {
    pub fn new(stream: Box<dyn Stream>, buffered: Arc<AtomicUsize>) -> Io {
        let now = Instant::now();
        let share = Share { of: buffered, bytes: 0 };
        Io { stream, input: BytesMut::new(), output: BytesMut::new(), unflushed: false, heard: now, taken: now, share }
    }

    /// Writes what waits, and reads if it may: whichever goes on first.
    pub async fn step(&mut self, may_read: bool) -> io::Result<Step> {
        poll_fn(|context| self.poll(context, may_read)).await
    }

    /// Until everything is written.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() || self.unflushed {
            self.step(false).await?;
        }
        Ok(())
    }

    fn poll(&mut self, context: &mut Context<'_>, may_read: bool) -> Poll<io::Result<Step>> {
        if let Poll::Ready(written) = self.poll_write(context)? {
            return Poll::Ready(Ok(written));
        }
        if !may_read {
            return Poll::Pending;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(Step::End));
            }
            self.heard = Instant::now();
            self.input.extend_from_slice(read.filled());
            Poll::Ready(self.share.hold(self.input.len()).map(|()| Step::Read))
        })
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let mut went = false;
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, &self.output)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(bytes) => self.output.advance(bytes),
                Poll::Pending => break,
            }
            (went, self.unflushed) = (true, true);
        }
        if self.unflushed && Pin::new(&mut self.stream).poll_flush(context)?.is_ready() {
            (went, self.unflushed) = (true, false);
        }
        if !went {
            return Poll::Pending;
        }
        self.taken = Instant::now();
        if self.output.is_empty() {
            self.output = BytesMut::new();
        }
        Poll::Ready(Ok(Step::Written))
    }

    /// Gives back what whole packets took of the input.
    pub fn settle(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        // It holds less than before, which is always allowed.
        let _ = self.share.hold(self.input.len());
    }
}

impl Share {
    fn hold(&mut self, input: usize) -> io::Result<()> {
        let bytes = input.saturating_sub(FREE_BYTES);
        let before = self.of.fetch_add(bytes, Ordering::Relaxed);
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
        let grew = bytes > self.bytes;
        self.bytes = bytes;
        if grew && before > MQTT_BUFFERS_BYTES_MAX {
            return Err(io::Error::other("too many clients have begun to send large packets"));
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
