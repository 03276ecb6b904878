//! In: the readings of one sensor, one after another. Out: each as it was, changed, or taken out and why.
//! Never: allocates for a reading, knows where a number came from, uses anything but additions, multiplications, divisions and comparisons.
//!
//! So a chain comes to the same bits on every machine, in a cloud and in a field. It knows nothing of the rest of the runtime: a test compiles
//! it for another machine, and compares. Times are microseconds since 1970, by the clock of the device.

mod calibrate;
mod duplicate;
mod latest;
mod range;
mod reason;
mod spike;
mod stuck;
mod thin;

pub use calibrate::{Beyond, Line, Table};
pub use duplicate::Duplicate;
pub use range::{Outside, Range};
pub use reason::Reason;
pub use spike::{Instead, Spike};
pub use stuck::Stuck;
pub use thin::Thin;

use serde::{Deserialize, Serialize};

/// One reading on its way through a chain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub measured: i64,
    pub value: Held,
}

/// What a chain looks at of a value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Held {
    /// Finite.
    Number(f64),
    /// A mark of what is no number: steps that calculate let it pass, the others tell it from another one.
    Other(u64),
}

/// One thing that is done to every reading.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Line(Line),
    /// Coefficients, of the constant first.
    Polynomial(Vec<f64>),
    Table(Table),
    Range(Range),
    Spike(Spike),
    Stuck(Stuck),
    Duplicate(Duplicate),
    Thin(Thin),
}

/// What comes out of a step.
enum Out {
    Value(Held),
    Drop(Reason),
}

/// What became of a reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// It is as it came.
    Passed,
    Changed(f64),
    /// By the step of this place, from 0.
    Dropped(usize, Reason),
}

/// Steps in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    steps: Vec<Step>,
}

/// What the steps of a chain remember of a sensor, in the order of those that remember anything.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State(Vec<Memory>);

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Memory {
    Spike(spike::Window),
    Stuck(stuck::Run),
    Duplicate(duplicate::Seen),
    Thin(thin::Last),
}

impl Chain {
    pub fn new(steps: Vec<Step>) -> Chain {
        Chain { steps }
    }

    /// Whether a reading is judged by those before it.
    pub fn remembers(&self) -> bool {
        self.steps.iter().any(|step| step.memory().is_some())
    }

    /// What is remembered of a sensor that has not sent anything.
    pub fn start(&self) -> State {
        State(self.steps.iter().filter_map(Step::memory).collect())
    }

    /// Whether this is what these steps remember, and not those of another chain.
    pub fn fits(&self, state: &State) -> bool {
        let mut memories = state.0.iter();
        let each = self.steps.iter().filter(|step| step.memory().is_some()).all(|step| match (step, memories.next()) {
            (Step::Spike(spike), Some(Memory::Spike(window))) => window.fits(spike),
            (Step::Stuck(_), Some(Memory::Stuck(_))) | (Step::Thin(_), Some(Memory::Thin(_))) => true,
            (Step::Duplicate(duplicate), Some(Memory::Duplicate(seen))) => seen.fits(duplicate),
            _ => false,
        });
        each && memories.next().is_none()
    }

    /// `state` is one that fits.
    pub fn apply(&self, state: &mut State, sample: Sample) -> Verdict {
        let Sample { measured, mut value } = sample;
        let mut memories = state.0.iter_mut();
        for (place, step) in self.steps.iter().enumerate() {
            match step.apply(&mut memories, measured, value) {
                Out::Value(Held::Number(number)) if !number.is_finite() => return Verdict::Dropped(place, Reason::NotFinite),
                Out::Value(next) => value = next,
                Out::Drop(reason) => return Verdict::Dropped(place, reason),
            }
        }
        match (sample.value, value) {
            (Held::Number(before), Held::Number(after)) if before.to_bits() != after.to_bits() => Verdict::Changed(after),
            _ => Verdict::Passed,
        }
    }
}

impl Step {
    fn memory(&self) -> Option<Memory> {
        match self {
            Step::Line(_) | Step::Polynomial(_) | Step::Table(_) | Step::Range(_) => None,
            Step::Spike(spike) => Some(Memory::Spike(spike.start())),
            Step::Stuck(_) => Some(Memory::Stuck(stuck::Run::default())),
            Step::Duplicate(duplicate) => Some(Memory::Duplicate(duplicate.start())),
            Step::Thin(_) => Some(Memory::Thin(thin::Last::default())),
        }
    }

    fn apply<'m>(&self, memories: &mut impl Iterator<Item = &'m mut Memory>, measured: i64, value: Held) -> Out {
        match (self, value) {
            (Step::Line(line), Held::Number(number)) => Out::Value(Held::Number(line.apply(number))),
            (Step::Polynomial(coefficients), Held::Number(number)) => Out::Value(Held::Number(calibrate::polynomial(coefficients, number))),
            (Step::Table(table), Held::Number(number)) => table.apply(number),
            (Step::Range(range), Held::Number(number)) => range.apply(number),
            (Step::Line(_) | Step::Polynomial(_) | Step::Table(_) | Step::Range(_), other) => Out::Value(other),
            (Step::Spike(spike), _) => match (memories.next(), value) {
                (Some(Memory::Spike(window)), Held::Number(number)) => spike.apply(window, number),
                _ => Out::Value(value),
            },
            (Step::Stuck(stuck), _) => match memories.next() {
                Some(Memory::Stuck(run)) => stuck.apply(run, measured, value),
                _ => Out::Value(value),
            },
            (Step::Duplicate(_), _) => match memories.next() {
                Some(Memory::Duplicate(seen)) => seen.apply(measured, value),
                _ => Out::Value(value),
            },
            (Step::Thin(thin), _) => match memories.next() {
                Some(Memory::Thin(last)) => thin.apply(last, measured, value),
                _ => Out::Value(value),
            },
        }
    }
}
