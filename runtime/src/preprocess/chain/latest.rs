//! The last few of something. Kept as a list, the oldest first.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Vec<T>", into = "Vec<T>", bound(serialize = "T: Serialize + Copy", deserialize = "T: Deserialize<'de>"))]
pub struct Ring<T: Copy> {
    items: Vec<T>,
    /// How many there are at most.
    size: usize,
    /// The oldest, once it is full.
    next: usize,
}

impl<T: Copy> Ring<T> {
    pub fn new(size: usize) -> Ring<T> {
        Ring { items: Vec::with_capacity(size), size, next: 0 }
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// One that was read back does not know its size.
    pub fn resize(&mut self, size: usize) -> bool {
        let fits = self.items.len() <= size;
        if fits && self.size != size {
            self.items.reserve_exact(size - self.items.len());
            self.size = size;
        }
        fits
    }

    /// The one that had to go for it.
    pub fn push(&mut self, item: T) -> Option<T> {
        if self.items.len() < self.size {
            self.items.push(item);
            return None;
        }
        let old = std::mem::replace(self.items.get_mut(self.next)?, item);
        self.next = if self.next + 1 == self.size { 0 } else { self.next + 1 };
        Some(old)
    }
}

impl<T: Copy> From<Vec<T>> for Ring<T> {
    fn from(items: Vec<T>) -> Ring<T> {
        Ring { size: items.len(), items, next: 0 }
    }
}

impl<T: Copy> From<Ring<T>> for Vec<T> {
    fn from(mut ring: Ring<T>) -> Vec<T> {
        ring.items.rotate_left(ring.next);
        ring.items
    }
}
