//! The condition of a notification: `TC1 > 40 && (HUM <= 20 || !RAIN)`. Pure.
//!
//! A name is a sensor of the device that sent the reading; `DEVICE.SENSOR` is a sensor of that one. Ids that are no plain names stand in
//! back quotes: `` `gw-7`.`soil-temp` ``. Texts stand in single or double quotes. What is not known (a sensor that said nothing yet, a
//! text where a number is needed, a division by zero) is neither true nor false, and stays so unless the rest decides alone
//! (`unknown || true` is true). A condition that is not known to be true is not met.

mod parse;

use crate::model::Id;
use std::fmt;

/// A condition that was read. Small: its text is bounded.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    root: Node,
    names: Vec<Name>,
}

/// A sensor that a condition asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// None: the device that sent the reading.
    pub device: Option<Id>,
    pub sensor: Id,
}

/// What a sensor said, as far as a condition can use it.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    Number(f64),
    Text(String),
    Bool(bool),
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Constant(Operand),
    /// Its position among the names.
    Sensor(usize),
    Not(Box<Node>),
    Minus(Box<Node>),
    Two(Box<Node>, Infix, Box<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Infix {
    Or,
    And,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    Plus,
    Minus,
    Times,
    Over,
}

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ExpressionError {
    /// Where, in characters, from 1.
    pub column: usize,
    pub what: String,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}", self.column, self.what)
    }
}

impl Expression {
    pub fn parse(text: &str) -> Result<Expression, ExpressionError> {
        parse::parse(text)
    }

    /// Each sensor once, in the order of the text.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// Whether the condition is met, as far as `value` knows. Never fails.
    pub fn is_met(&self, mut value: impl FnMut(&Name) -> Option<Operand>) -> bool {
        let known: Vec<Option<Operand>> = self.names.iter().map(&mut value).collect();
        self.root.value(&known) == Some(Operand::Bool(true))
    }
}

impl Operand {
    /// What a condition makes of a value. Devices quote numbers; a text that is too long to compare is not known.
    pub fn of(value: &crate::model::Value) -> Option<Operand> {
        match value.to_json() {
            serde_json::Value::Bool(is) => Some(Operand::Bool(is)),
            serde_json::Value::Number(number) => number.as_f64().map(Operand::Number),
            serde_json::Value::String(text) if text.len() <= crate::model::limit::EXPRESSION_BYTES_MAX => Some(Operand::Text(text)),
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Operand::Number(number) => Some(*number),
            Operand::Text(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            Operand::Bool(_) => None,
        }
    }

    fn truth(&self) -> Option<bool> {
        match self {
            Operand::Bool(is) => Some(*is),
            Operand::Number(_) | Operand::Text(_) => None,
        }
    }
}

impl Node {
    fn value(&self, known: &[Option<Operand>]) -> Option<Operand> {
        match self {
            Node::Constant(value) => Some(value.clone()),
            Node::Sensor(at) => known.get(*at).cloned().flatten(),
            Node::Not(node) => node.truth(known).map(|is| Operand::Bool(!is)),
            Node::Minus(node) => node.value(known)?.number().map(|number| Operand::Number(-number)),
            Node::Two(left, Infix::Or, right) => either(left.truth(known), true, || right.truth(known)),
            Node::Two(left, Infix::And, right) => either(left.truth(known), false, || right.truth(known)),
            Node::Two(left, infix, right) => infix.apply(&left.value(known)?, &right.value(known)?),
        }
    }

    fn truth(&self, known: &[Option<Operand>]) -> Option<bool> {
        self.value(known)?.truth()
    }
}

/// One side that is `decisive` decides alone, whatever is known of the other.
fn either(left: Option<bool>, decisive: bool, right: impl FnOnce() -> Option<bool>) -> Option<Operand> {
    if left == Some(decisive) {
        return Some(Operand::Bool(decisive));
    }
    let right = right()?;
    (right == decisive || left.is_some()).then_some(Operand::Bool(right))
}

impl Infix {
    fn apply(self, left: &Operand, right: &Operand) -> Option<Operand> {
        let numbers = || Some((left.number()?, right.number()?));
        let compared = |is: fn(&f64, &f64) -> bool| numbers().map(|(left, right)| Operand::Bool(is(&left, &right)));
        let computed = |of: fn(f64, f64) -> f64| {
            let (left, right) = numbers()?;
            Some(of(left, right)).filter(|number| number.is_finite()).map(Operand::Number)
        };
        match self {
            Infix::Less => compared(f64::lt),
            Infix::LessOrEqual => compared(f64::le),
            Infix::Greater => compared(f64::gt),
            Infix::GreaterOrEqual => compared(f64::ge),
            Infix::Equal => equal(left, right).map(Operand::Bool),
            Infix::NotEqual => equal(left, right).map(|is| Operand::Bool(!is)),
            Infix::Plus => computed(|left, right| left + right),
            Infix::Minus => computed(|left, right| left - right),
            Infix::Times => computed(|left, right| left * right),
            Infix::Over => computed(|left, right| left / right),
            Infix::Or | Infix::And => None,
        }
    }
}

/// Numbers as numbers, also where one of them is quoted; else like with like.
fn equal(left: &Operand, right: &Operand) -> Option<bool> {
    match (left, right) {
        (Operand::Text(left), Operand::Text(right)) => Some(left == right),
        (Operand::Bool(left), Operand::Bool(right)) => Some(left == right),
        _ => Some(left.number()? == right.number()?),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
