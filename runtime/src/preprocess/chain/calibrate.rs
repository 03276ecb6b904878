//! From what a sensor says to what is meant by it.

use super::{Held, Out, Reason};

/// `gain` times a number, and `offset` more: two points of a calibration, or two units, come to this.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    pub gain: f64,
    pub offset: f64,
}

/// Points with lines between them, ascending by what the sensor says; at least two.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    points: Vec<(f64, f64)>,
    beyond: Beyond,
}

/// What becomes of a number that is on no line of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Beyond {
    /// The nearest point is meant.
    #[default]
    Hold,
    /// The first and the last line go on.
    Extend,
    Drop,
}

impl Line {
    pub fn apply(self, number: f64) -> f64 {
        number * self.gain + self.offset
    }
}

/// By Horner's rule: one multiplication and one addition for each coefficient.
pub fn polynomial(coefficients: &[f64], number: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, coefficient| sum * number + coefficient)
}

impl Table {
    /// None: fewer than two points, or not ascending.
    pub fn new(points: Vec<(f64, f64)>, beyond: Beyond) -> Option<Table> {
        let ascending = points.windows(2).all(|pair| pair[0].0 < pair[1].0);
        (points.len() >= 2 && ascending).then_some(Table { points, beyond })
    }

    pub(super) fn apply(&self, number: f64) -> Out {
        let (first, last) = (self.points[0], self.points[self.points.len() - 1]);
        let inside = first.0 <= number && number <= last.0;
        match self.beyond {
            Beyond::Drop if !inside => return Out::Drop(Reason::OffTable { value: number, from: first.0, to: last.0 }),
            Beyond::Hold if number < first.0 => return Out::Value(Held::Number(first.1)),
            Beyond::Hold if number > last.0 => return Out::Value(Held::Number(last.1)),
            _ => {}
        }
        // The line that ends at or behind it; the first or the last of them for what is on none.
        let end = self.points.partition_point(|point| point.0 < number).clamp(1, self.points.len() - 1);
        let (a, b) = (self.points[end - 1], self.points[end]);
        Out::Value(Held::Number(a.1 + (number - a.0) * ((b.1 - a.1) / (b.0 - a.0))))
    }
}
