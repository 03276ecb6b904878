//! Where a rule keeps what it has to know after a restart.

use bytes::Bytes;

/// What one rule keeps, in parts that are stored one by one. Whatever was put is there for the next look, and is durable together with
/// the firings that came with it, or not at all.
pub trait Shelf {
    fn get(&mut self, part: &str) -> Option<Bytes>;
    /// None: the part is gone.
    fn put(&mut self, part: &str, value: Option<Bytes>);
    /// Parts whose names begin so, in the order of their names.
    fn list(&mut self, prefix: &str) -> Vec<(String, Bytes)>;
}

#[derive(Debug, thiserror::Error)]
#[error("can't read `{part}`, which a rule kept")]
pub struct ShelfError {
    pub part: String,
    #[source]
    pub source: postcard::Error,
}
