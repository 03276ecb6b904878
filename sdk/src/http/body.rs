//! Bodies, both ways: whole, read as they come, or written as they are made.

use crate::{Error, Result};
use serde::de::DeserializeOwned;
use std::io::{self, Cursor, Read, Write};

/// The body of a request or a response. It can be read ([`std::io::Read`]) whatever it was made of.
#[derive(Debug)]
pub struct Body(Kind);

type Producer = Box<dyn FnOnce(&mut dyn Write) -> Result>;

enum Kind {
    Whole(Cursor<Vec<u8>>),
    Reader(Box<dyn Read>),
    Stream(Producer),
}

/// Who writes a body into a connection.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
pub enum Source {
    Whole(Vec<u8>),
    Stream(Producer),
}

impl Body {
    /// No bytes at all.
    pub fn empty() -> Body {
        Body::from(Vec::new())
    }

    /// A body that is written while it is sent, after the head. `flush` sends what is written so far; `Ok` ends the body. An error
    /// breaks the connection off, since the head is gone already, and drops what this call did since then.
    pub fn stream(write: impl FnOnce(&mut dyn Write) -> Result + 'static) -> Body {
        Body(Kind::Stream(Box::new(write)))
    }

    /// A body that is read while it is sent.
    pub fn reader(read: impl Read + 'static) -> Body {
        Body(Kind::Reader(Box::new(read)))
    }

    /// All bytes. The function's memory limit is the only bound: read piece by piece where they may be many.
    pub fn bytes(mut self) -> Result<Vec<u8>> {
        let mut bytes = match &mut self.0 {
            Kind::Whole(cursor) if cursor.position() == 0 => return Ok(std::mem::take(cursor.get_mut())),
            _ => Vec::new(),
        };
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// All of it as text.
    pub fn text(self) -> Result<String> {
        String::from_utf8(self.bytes()?).map_err(|e| Error::reject(format!("the body is not UTF-8: {e}")))
    }

    /// All of it as JSON.
    pub fn json<T: DeserializeOwned>(self) -> Result<T> {
        serde_json::from_slice(&self.bytes()?).map_err(|e| Error::reject(format!("the body can't be read: {e}")))
    }

    /// Takes it apart for whoever sends it.
    #[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
    pub(crate) fn into_source(self) -> Source {
        match self.0 {
            Kind::Whole(cursor) if cursor.position() == 0 => Source::Whole(cursor.into_inner()),
            Kind::Whole(mut cursor) => Source::Stream(Box::new(move |out| copy(&mut cursor, out))),
            Kind::Reader(mut read) => Source::Stream(Box::new(move |out| copy(&mut read, out))),
            Kind::Stream(produce) => Source::Stream(produce),
        }
    }
}

/// Each piece is sent on as soon as it is there: who reads one end may be waiting for it.
fn copy(read: &mut dyn Read, out: &mut dyn Write) -> Result {
    let mut piece = vec![0; 16 * 1024];
    loop {
        match read.read(&mut piece)? {
            0 => return Ok(()),
            n => {
                out.write_all(&piece[..n])?;
                out.flush()?;
            }
        }
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Kind::Stream(_) = self.0 {
            let Kind::Stream(produce) = std::mem::replace(&mut self.0, Body::empty().0) else { return Ok(0) };
            let mut bytes = Vec::new();
            produce(&mut bytes).map_err(|e| io::Error::other(e.to_string()))?;
            self.0 = Body::from(bytes).0;
        }
        match &mut self.0 {
            Kind::Whole(cursor) => cursor.read(into),
            Kind::Reader(read) => read.read(into),
            Kind::Stream(_) => Ok(0),
        }
    }
}

impl Default for Body {
    fn default() -> Body {
        Body::empty()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body(Kind::Whole(Cursor::new(bytes)))
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Body {
        Body::from(bytes.to_vec())
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body::from(text.into_bytes())
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Body {
        Body::from(text.to_owned())
    }
}

impl From<()> for Body {
    fn from(_: ()) -> Body {
        Body::empty()
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Whole(cursor) => write!(f, "{} bytes", cursor.get_ref().len()),
            Kind::Reader(_) => f.write_str("reader"),
            Kind::Stream(_) => f.write_str("stream"),
        }
    }
}
