//! The `q=` of the WAZIUP API: which devices a list holds. Pure.
//!
//! The original hands it to its context broker, whose simple query language this is: statements between `;`, all of which have to be so,
//! with `,` between values of which one will do and `..` between two ends; a field alone has to be there, and one behind `!` not.
//! `docs/guide/devices.md` lists the fields. What the original finds by a pattern (`~=`) is found here by a piece of the text: a pattern
//! from outside could take any time.

mod field;
mod parse;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use crate::model::{Device, Micros, Visibility};
use field::Field;
use std::{cell::Cell, cmp::Ordering};

/// Of a text that are compared at once.
const PIECE_BYTES: usize = 256;

/// What devices have to be to be listed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query(Vec<Statement>);

/// What is wrong with a query, and at which of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the query can't be read at its byte {at}: {why}")]
pub struct QueryError {
    pub at: usize,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Statement {
    field: Field,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    There,
    NotThere,
    /// Any of them.
    Is(Vec<Wanted>),
    /// There, and none of them.
    IsNot(Vec<Wanted>),
    Less(Wanted),
    AtMost(Wanted),
    More(Wanted),
    AtLeast(Wanted),
    Has(String),
}

/// A value, or those between two.
#[derive(Debug, Clone, PartialEq)]
enum Wanted {
    One(Scalar),
    Between(Scalar, Scalar),
}

/// What a field is compared with, of the type that the field has.
#[derive(Debug, Clone, PartialEq)]
enum Scalar {
    Text(String),
    Bool(bool),
    Time(Micros),
    Visibility(Visibility),
    /// Free fields have no type: the value is a text, and maybe a number.
    Free(String, Option<f64>),
}

/// What a device has in a field.
#[derive(Debug, Clone, Copy)]
enum Found<'a> {
    Text(&'a str),
    Bool(bool),
    Number(f64),
    Time(Micros),
    Visibility(Visibility),
    /// Something that is compared with nothing: an object, a place.
    There,
}

impl Query {
    /// Every device fits.
    pub fn all() -> Query {
        Query::default()
    }

    pub fn parse(text: &str) -> Result<Query, QueryError> {
        parse::query(text)
    }

    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a device fits. Adds to `spent` what it took to see that, in comparisons.
    pub fn fits(&self, device: &Device, spent: &Cell<u64>) -> bool {
        self.0.iter().all(|statement| statement.fits(device, spent))
    }
}

impl Statement {
    fn fits(&self, device: &Device, spent: &Cell<u64>) -> bool {
        let values = self.test.values();
        spent.set(spent.get() + 1);
        let any = |test: &dyn Fn(Found<'_>) -> bool| {
            self.field.any(device, &|found| {
                spent.set(spent.get() + values * found.pieces());
                test(found)
            })
        };
        match &self.test {
            Test::There => any(&|_| true),
            Test::NotThere => !any(&|_| true),
            Test::Is(wanted) => any(&|found| wanted.iter().any(|wanted| wanted.is(found))),
            Test::IsNot(wanted) => any(&|_| true) && !any(&|found| wanted.iter().any(|wanted| wanted.is(found))),
            Test::Less(wanted) => any(&|found| wanted.ordering(found).is_some_and(Ordering::is_lt)),
            Test::AtMost(wanted) => any(&|found| wanted.ordering(found).is_some_and(Ordering::is_le)),
            Test::More(wanted) => any(&|found| wanted.ordering(found).is_some_and(Ordering::is_gt)),
            Test::AtLeast(wanted) => any(&|found| wanted.ordering(found).is_some_and(Ordering::is_ge)),
            Test::Has(piece) => any(&|found| matches!(found, Found::Text(text) if text.contains(piece.as_str()))),
        }
    }
}

impl Test {
    /// With how many values something is compared.
    fn values(&self) -> u64 {
        match self {
            Test::Is(wanted) | Test::IsNot(wanted) => wanted.len() as u64,
            _ => 1,
        }
    }
}

impl Found<'_> {
    /// A long text is as much work as several short ones.
    fn pieces(&self) -> u64 {
        match self {
            Found::Text(text) => 1 + (text.len() / PIECE_BYTES) as u64,
            _ => 1,
        }
    }
}

impl Wanted {
    fn is(&self, found: Found<'_>) -> bool {
        match self {
            Wanted::One(scalar) => scalar.ordering(found) == Some(Ordering::Equal),
            Wanted::Between(low, high) => {
                low.ordering(found).is_some_and(Ordering::is_ge) && high.ordering(found).is_some_and(Ordering::is_le)
            }
        }
    }

    fn ordering(&self, found: Found<'_>) -> Option<Ordering> {
        match self {
            Wanted::One(scalar) => scalar.ordering(found),
            // Refused when it was read.
            Wanted::Between(..) => None,
        }
    }
}

impl Scalar {
    /// How what was found stands to it; none where they can't be compared.
    fn ordering(&self, found: Found<'_>) -> Option<Ordering> {
        match (self, found) {
            (Scalar::Text(wanted), Found::Text(text)) => Some(text.cmp(wanted.as_str())),
            (Scalar::Bool(wanted), Found::Bool(is)) => Some(is.cmp(wanted)),
            (Scalar::Time(wanted), Found::Time(time)) => Some(time.cmp(wanted)),
            // No order, but the same or not.
            (Scalar::Visibility(wanted), Found::Visibility(is)) => (is == *wanted).then_some(Ordering::Equal),
            (Scalar::Free(wanted, _), Found::Text(text)) => Some(text.cmp(wanted.as_str())),
            (Scalar::Free(_, Some(wanted)), Found::Number(number)) => number.partial_cmp(wanted),
            (Scalar::Free(wanted, _), Found::Bool(is)) => (wanted == if is { "true" } else { "false" }).then_some(Ordering::Equal),
            _ => None,
        }
    }
}
