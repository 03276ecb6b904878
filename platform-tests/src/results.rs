//! Figures of `make bench`, for people on the terminal and for machines in `target/bench.json`.

use crate::repo;
use serde::{Deserialize, Serialize};
use std::{fs, io, path::PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Higher,
    Lower,
}

/// One figure. Where there is a peer to compare with, the goal is for the ratio to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: String,
    pub better: Better,
    pub goal: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_value: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// The goal is for the value, and the peer is there to be seen beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goal_for_value: bool,
    /// What a reader of the number must know: how it was measured, what was extrapolated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Figure {
    pub fn at_most(name: &str, value: f64, unit: &'static str, goal: f64) -> Figure {
        Figure {
            name: name.to_owned(),
            value,
            unit: unit.to_owned(),
            better: Better::Lower,
            goal,
            peer: None,
            peer_value: None,
            ratio: None,
            goal_for_value: false,
            note: String::new(),
        }
    }

    pub fn at_least(name: &str, value: f64, unit: &'static str, goal: f64) -> Figure {
        Figure { better: Better::Higher, ..Figure::at_most(name, value, unit, goal) }
    }

    /// Compares with what another did in the same run; from here on the goal is for the ratio.
    pub fn beside(mut self, peer: &str, peer_value: f64) -> Figure {
        self.ratio = Some(self.value / peer_value);
        self.peer = Some(peer.to_owned());
        self.peer_value = Some(peer_value);
        self
    }

    /// Shows what another did in the same run at something less; the goal stays for the value.
    pub fn seen_beside(self, peer: &str, peer_value: f64) -> Figure {
        Figure { goal_for_value: true, ..self.beside(peer, peer_value) }
    }

    pub fn note(mut self, note: impl Into<String>) -> Figure {
        self.note = note.into();
        self
    }

    pub fn reached(&self) -> bool {
        let value = self.ratio.filter(|_| !self.goal_for_value).unwrap_or(self.value);
        match self.better {
            Better::Higher => value >= self.goal,
            Better::Lower => value <= self.goal,
        }
    }
}

/// Of what was measured in turn with a peer, the pair whose ratio is the median: the machine is shared.
pub fn median_pair<T>(mut pairs: Vec<(T, T)>, of: impl Fn(&T) -> f64) -> Option<(T, T)> {
    pairs.sort_by(|a, b| (of(&a.0) / of(&a.1)).total_cmp(&(of(&b.0) / of(&b.1))));
    let middle = pairs.len() / 2;
    pairs.into_iter().nth(middle)
}

/// How many pairs there were, and how far apart their ratios.
pub fn spread<T>(pairs: &[(T, T)], of: impl Fn(&T) -> f64) -> String {
    let ratios = pairs.iter().map(|(ours, theirs)| of(ours) / of(theirs));
    let (low, high) = ratios.fold((f64::MAX, 0.0_f64), |(low, high), ratio| (low.min(ratio), high.max(ratio)));
    format!("median of {} pairs in turn, ratios {low:.2} to {high:.2}", pairs.len())
}

/// All figures of one run; written after each, so that a bench that breaks off leaves what it has.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    figures: Vec<Figure>,
}

impl Results {
    pub fn new() -> Results {
        Results { path: repo::root().join("target/bench.json"), figures: Vec::new() }
    }

    /// Those of a run before, to which this one adds, or whose figures it replaces.
    pub fn more() -> Results {
        let mut results = Results::new();
        let before = fs::read(&results.path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        results.figures = before.unwrap_or_default();
        results
    }

    /// Prints a figure and keeps it.
    #[allow(clippy::print_stdout)]
    pub fn add(&mut self, figure: Figure) {
        let sign = if figure.better == Better::Higher { "≥" } else { "≤" };
        let verdict = if figure.reached() { "reached" } else { "missed" };
        println!("{:<44} {:>12.2} {:<12} goal {sign} {:<9} {verdict}", figure.name, figure.value, figure.unit, figure.goal);
        if let (Some(peer), Some(value), Some(ratio)) = (&figure.peer, figure.peer_value, figure.ratio) {
            println!("    {ratio:.2} of {peer}: {value:.2}");
        }
        if !figure.note.is_empty() {
            println!("    {}", figure.note);
        }
        self.figures.retain(|before| before.name != figure.name);
        self.figures.push(figure);
        self.write().unwrap_or_else(|e| panic!("can't write `{}`: {e}", self.path.display()));
    }

    fn write(&self) -> io::Result<()> {
        fs::create_dir_all(self.path.parent().unwrap_or(&self.path))?;
        fs::write(&self.path, serde_json::to_string_pretty(&self.figures)? + "\n")
    }
}

impl Default for Results {
    fn default() -> Results {
        Results::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_pair_is_one_that_was_measured() {
        let pairs = vec![(9.0, 3.0), (1.0, 1.0), (4.0, 2.0)];
        assert_eq!(spread(&pairs, |rate| *rate), "median of 3 pairs in turn, ratios 1.00 to 3.00");
        assert_eq!(median_pair(pairs, |rate| *rate), Some((4.0, 2.0)));
    }

    #[test]
    fn with_a_peer_the_goal_is_for_the_ratio() {
        let slow = Figure::at_least("readings", 10.0, "1/s", 20.0);
        assert!(!slow.reached());
        assert!(Figure { peer: Some("other".to_owned()), peer_value: Some(0.4), ratio: Some(25.0), ..slow }.reached());
    }
}
