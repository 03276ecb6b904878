//! A number that is far from those before it (Hampel's filter, looking back alone: a reading does not wait for those behind it).
//!
//! Every number comes into the window, spikes too: what seemed one and stays is the new level after half a window.

use super::{Held, Out, Reason, latest::Ring};
use serde::{Deserialize, Serialize};

/// Makes the median distance from the median a standard deviation, where values are spread as by chance.
const SIGMA_OF_MAD: f64 = 1.4826;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spike {
    /// How many readings before it judge a reading; until there are so many, all pass.
    pub window: usize,
    pub sigmas: f64,
    /// Whatever is nearer to the median is none. Where the readings before are all the same there is no other measure, and without this one no spike.
    pub at_least: f64,
    pub instead: Instead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Instead {
    #[default]
    Drop,
    /// The median of those before it is meant.
    Median,
}

/// The numbers in the order in which they came, and by size.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Ring<f64>", into = "Ring<f64>")]
pub(super) struct Window {
    came: Ring<f64>,
    sorted: Vec<f64>,
}

impl From<Ring<f64>> for Window {
    fn from(came: Ring<f64>) -> Window {
        let mut sorted: Vec<f64> = came.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Window { came, sorted }
    }
}

impl From<Window> for Ring<f64> {
    fn from(window: Window) -> Ring<f64> {
        window.came
    }
}

impl Spike {
    pub(super) fn start(&self) -> Window {
        Window { came: Ring::new(self.window), sorted: Vec::with_capacity(self.window) }
    }

    pub(super) fn apply(&self, window: &mut Window, number: f64) -> Out {
        let judged = (window.sorted.len() == self.window).then(|| self.judge(&window.sorted, number)).flatten();
        window.push(number, self.window);
        match (judged, self.instead) {
            (None, _) => Out::Value(Held::Number(number)),
            (Some((median, _)), Instead::Median) => Out::Value(Held::Number(median)),
            (Some((median, allowed)), Instead::Drop) => Out::Drop(Reason::Spike { value: number, median, allowed }),
        }
    }

    /// For a spike: the median of those before it, and how far from it would have been far enough to be none.
    fn judge(&self, sorted: &[f64], number: f64) -> Option<(f64, f64)> {
        let median = median(sorted);
        let spread = self.sigmas * (SIGMA_OF_MAD * distance(sorted, median));
        let allowed = if spread > self.at_least { spread } else { self.at_least };
        (allowed > 0.0 && (number - median).abs() > allowed).then_some((median, allowed))
    }
}

impl Window {
    pub fn fits(&self, spike: &Spike) -> bool {
        self.came.len() <= spike.window && self.sorted.iter().all(|number| number.is_finite())
    }

    fn push(&mut self, number: f64, size: usize) {
        // -0 is 0: both would have to be found again.
        let number = number + 0.0;
        self.came.resize(size);
        let to = self.sorted.partition_point(|other| other.total_cmp(&number).is_lt());
        let Some(old) = self.came.push(number) else {
            self.sorted.insert(to, number);
            return;
        };
        let from = self.sorted.partition_point(|other| other.total_cmp(&old).is_lt());
        // What is between the two moves up by one place.
        if from < to {
            self.sorted.copy_within(from + 1..to, from);
            self.sorted[to - 1] = number;
        } else {
            self.sorted.copy_within(to..from, to + 1);
            self.sorted[to] = number;
        }
    }
}

fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[half],
        // Each by itself: their sum may be larger than a number can be.
        _ => sorted[half - 1] * 0.5 + sorted[half] * 0.5,
    }
}

/// The median of the distances from `median`: numbers below it and numbers above it are two ascending lists of distances, which are merged up to
/// their middle.
fn distance(sorted: &[f64], median: f64) -> f64 {
    let count = sorted.len();
    let mut above = sorted.partition_point(|number| *number < median);
    let mut below = above;
    let (mut before, mut last) = (0.0, 0.0);
    for _ in 0..=count / 2 {
        before = last;
        let down = if below > 0 { median - sorted[below - 1] } else { f64::INFINITY };
        let up = if above < count { sorted[above] - median } else { f64::INFINITY };
        if down <= up && below > 0 {
            (last, below) = (down, below - 1);
        } else {
            (last, above) = (up, above + 1);
        }
    }
    match count % 2 {
        1 => last,
        _ => before * 0.5 + last * 0.5,
    }
}
