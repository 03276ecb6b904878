//! How far a long command has come: a bar on a terminal, and else a line now and then, for whoever reads a log.

use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::IsTerminal,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Lines where there is no terminal: one for each tenth, and none for what is done in a moment.
const LINES_MAX: usize = 10;
const LINE_MIN: usize = 100;

/// Several threads may tell it what they have done.
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
    all: usize,
    what: &'static str,
    done: AtomicUsize,
}

impl Progress {
    pub fn new(all: usize, what: &'static str) -> Progress {
        let plain = !std::io::stderr().is_terminal();
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {eta}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(all as u64).with_style(style) };
        Progress { bar, plain, all, what, done: AtomicUsize::new(0) }
    }

    pub fn done(&self, more: usize) {
        self.bar.inc(more as u64);
        let before = self.done.fetch_add(more, Ordering::Relaxed);
        if let Some(line) = line(before, before + more, self.all).filter(|_| self.plain) {
            eprintln!("{line} of {} {}", self.all, self.what);
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Leaves the bar where it is.
    pub fn abandon(&self) {
        self.bar.abandon();
    }
}

/// What a line says after this step, if there is one.
fn line(before: usize, after: usize, all: usize) -> Option<usize> {
    let each = all.div_ceil(LINES_MAX).max(LINE_MIN);
    (before / each != after / each).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_tell_of_much_and_none_of_little() {
        let lines = |all: usize, step: usize| (0..all).step_by(step).filter_map(|n| line(n, all.min(n + step), all)).collect::<Vec<_>>();
        assert!(lines(99, 1).is_empty());
        assert_eq!(lines(250, 1), [100, 200]);
        assert_eq!(lines(10_000, 1_500).len(), 7);
        assert_eq!(lines(100_000, 1).len(), LINES_MAX);
    }
}
