//! Chains of chance over readings of chance, step by step as the slow ones, and what is kept of them in between.

use super::slow::{Slow, table};
use crate::preprocess::chain::{
    Beyond, Chain, Duplicate, Held, Instead, Line, Outside, Range, Reason, Sample, Spike, State, Step, Stuck, Thin, Verdict,
};

/// SplitMix64: the same numbers from the same seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// In tenths, so that many are the same.
    fn tenths(&mut self, from: i64, to: i64) -> f64 {
        (from + self.below((to - from) as u64) as i64) as f64 / 10.0
    }
}

type Points = (Vec<(f64, f64)>, Beyond);

fn step(chance: &mut Chance, tables: &mut Vec<Points>) -> Step {
    match chance.below(8) {
        0 => Step::Line(Line { gain: chance.tenths(1, 30), offset: chance.tenths(-50, 50) }),
        1 => Step::Polynomial((0..=chance.below(3)).map(|_| chance.tenths(-20, 20)).collect()),
        2 => {
            let (mut at, count) = (chance.tenths(-100, 0), chance.below(6) as usize);
            let mut point = || {
                at += chance.tenths(1, 80);
                (at, chance.tenths(-300, 300))
            };
            let mut points = vec![point(), point()];
            points.resize_with(2 + count, point);
            let beyond = [Beyond::Hold, Beyond::Extend, Beyond::Drop][chance.below(3) as usize];
            tables.push((points.clone(), beyond));
            table(points, beyond)
        }
        3 => {
            let outside = if chance.one_in(2) { Outside::Drop } else { Outside::Clamp };
            Step::Range(Range { min: chance.tenths(-200, 0), max: chance.tenths(1, 400), outside })
        }
        4 => {
            let instead = if chance.one_in(2) { Instead::Drop } else { Instead::Median };
            let at_least = if chance.one_in(2) { 0.0 } else { chance.tenths(1, 30) };
            Step::Spike(Spike { window: 3 + chance.below(62) as usize, sigmas: chance.tenths(5, 50), at_least, instead })
        }
        5 => {
            let (readings, micros) = (2 + chance.below(5) as u32, chance.below(300_000_000) as i64 + 1);
            Step::Stuck(match chance.below(3) {
                0 => Stuck { readings: Some(readings), micros: None },
                1 => Stuck { readings: None, micros: Some(micros) },
                _ => Stuck { readings: Some(readings), micros: Some(micros) },
            })
        }
        6 => Step::Duplicate(Duplicate { last: 1 + chance.below(12) as usize }),
        _ => {
            let (every, change) = (chance.below(200_000_000) as i64 + 1, chance.tenths(0, 20));
            Step::Thin(match chance.below(3) {
                0 => Thin { every: Some(every), change: None },
                1 => Thin { every: None, change: Some(change) },
                _ => Thin { every: Some(every), change: Some(change) },
            })
        }
    }
}

/// A sensor about a level that jumps, with spikes, values that stay, clocks that go back, readings sent again and words in between.
fn readings(chance: &mut Chance, count: usize) -> Vec<Sample> {
    let (mut level, mut measured) = (20.0, -5_000_000_000_i64);
    let mut all: Vec<Sample> = Vec::with_capacity(count);
    for _ in 0..count {
        if chance.one_in(60) {
            level = chance.tenths(-200, 400);
        }
        measured += chance.below(90_000_000) as i64;
        let value = match chance.below(20) {
            0 => Held::Number(chance.tenths(-10_000, 10_000)),
            1 => Held::Other(chance.below(3)),
            2..8 => Held::Number(level),
            _ => Held::Number(level + chance.tenths(-15, 16)),
        };
        let late = if chance.one_in(10) { chance.below(400_000_000) as i64 } else { 0 };
        let again = all.len().checked_sub(1 + chance.below(9) as usize).and_then(|n| all.get(n)).filter(|_| chance.one_in(8));
        all.push(again.copied().unwrap_or(Sample { measured: measured - late, value }));
    }
    all
}

fn same(ours: Verdict, theirs: Verdict) -> bool {
    match (ours, theirs) {
        (Verdict::Changed(ours), Verdict::Changed(theirs)) => ours.to_bits() == theirs.to_bits(),
        (ours, theirs) => ours == theirs,
    }
}

#[test]
fn every_chain_says_of_every_reading_what_the_slow_one_says() {
    let mut seen = std::collections::BTreeMap::new();
    for seed in 0..600 {
        let mut chance = Chance(seed);
        let mut tables = Vec::new();
        let steps: Vec<Step> = (0..1 + chance.below(6)).map(|_| step(&mut chance, &mut tables)).collect();
        let (chain, mut slow) = (Chain::new(steps.clone()), Slow::new(&steps, tables));
        let mut state = chain.start();
        for (n, sample) in readings(&mut chance, 400).into_iter().enumerate() {
            let (ours, theirs) = (chain.apply(&mut state, sample), slow.apply(sample));
            assert!(same(ours, theirs), "seed {seed}, reading {n} {sample:?}: {ours:?}, not {theirs:?}, by {steps:?}");
            let kind = match ours {
                Verdict::Passed => "passed",
                Verdict::Changed(_) => "changed",
                Verdict::Dropped(_, reason) => reason.code(),
            };
            *seen.entry(kind).or_insert(0) += 1;
            // All that it needs to go on is in what is kept.
            if chance.one_in(50) {
                let kept = postcard::to_allocvec(&state).unwrap();
                state = postcard::from_bytes::<State>(&kept).unwrap();
                assert!(chain.fits(&state));
                assert_eq!(postcard::to_allocvec(&state).unwrap(), kept);
            }
        }
    }
    let all = ["passed", "changed", "below", "above", "beyond", "spike", "stuck", "duplicate", "thinned", "unchanged"];
    assert!(all.iter().all(|kind| seen.get(kind).is_some_and(|count| *count > 500)), "all of them happen: {seen:?}");
}

fn over(steps: Vec<Step>, numbers: &[f64]) -> Vec<Verdict> {
    let chain = Chain::new(steps);
    let mut state = chain.start();
    let sample = |(n, number): (usize, &f64)| Sample { measured: n as i64, value: Held::Number(*number) };
    numbers.iter().enumerate().map(sample).map(|sample| chain.apply(&mut state, sample)).collect()
}

#[test]
fn a_spike_is_taken_out_and_what_stays_is_the_new_level() {
    let spike = Spike { window: 5, sigmas: 3.0, at_least: 1.0, instead: Instead::Drop };
    let jump = [8.0, 8.0, 8.1, 8.0, 8.0, 85.0, 8.0, 20.0, 20.1, 20.0, 20.0, 20.0];
    let dropped: Vec<bool> = over(vec![Step::Spike(spike)], &jump).iter().map(|v| matches!(v, Verdict::Dropped(..))).collect();
    let is = [false, false, false, false, false, true, false, true, true, false, false, false];
    assert_eq!(dropped, is, "one that comes alone, and the first two of those that stay");
    // Where all are the same, any noise would be a spike: without `at_least` nothing is said.
    let quiet = Spike { at_least: 0.0, ..spike };
    assert!(over(vec![Step::Spike(quiet)], &[8.0, 8.0, 8.0, 8.0, 8.0, 8.1]).iter().all(|v| *v == Verdict::Passed));
}

#[test]
fn a_step_sees_what_the_one_before_it_made_and_nothing_of_what_that_took_out() {
    let clamp = Step::Range(Range { min: 0.0, max: 10.0, outside: Outside::Clamp });
    let stuck = Step::Stuck(Stuck { readings: Some(3), micros: None });
    let verdicts = over(vec![clamp, stuck.clone()], &[11.0, 12.0, 13.0]);
    assert!(matches!(verdicts[2], Verdict::Dropped(1, Reason::Stuck { readings: 3, .. })), "{verdicts:?}");
    let drop = Step::Range(Range { min: 0.0, max: 10.0, outside: Outside::Drop });
    assert_eq!(over(vec![drop, stuck], &[5.0, 11.0, 5.0])[2], Verdict::Passed, "two of the same, not three in a row");
}

#[test]
fn what_is_larger_than_a_number_can_be_is_taken_out_and_never_no_number() {
    let much = Step::Line(Line { gain: 1e300, offset: 0.0 });
    let less = Step::Line(Line { gain: 0.5, offset: 0.0 });
    assert_eq!(over(vec![less.clone(), much, less], &[1e10]), [Verdict::Dropped(1, Reason::NotFinite)]);
    let wide = Spike { window: 4, sigmas: 3.0, at_least: 0.0, instead: Instead::Median };
    let largest = [1e308, -1e308, 1.7e308, -1.7e308, 1e308, f64::MAX];
    assert!(over(vec![Step::Spike(wide)], &largest).iter().all(|verdict| *verdict == Verdict::Passed));
}

#[test]
fn a_word_passes_what_calculates_and_is_judged_by_what_compares() {
    let steps = vec![
        Step::Line(Line { gain: 2.0, offset: 0.0 }),
        Step::Range(Range { min: 0.0, max: 1.0, outside: Outside::Drop }),
        Step::Stuck(Stuck { readings: Some(3), micros: None }),
    ];
    let chain = Chain::new(steps);
    let mut state = chain.start();
    let said: Vec<Verdict> = (0..3).map(|n| chain.apply(&mut state, Sample { measured: n, value: Held::Other(7) })).collect();
    assert_eq!(said[..2], [Verdict::Passed, Verdict::Passed]);
    assert!(matches!(said[2], Verdict::Dropped(2, Reason::Stuck { .. })));
}

#[test]
fn a_polynomial_is_the_sum_of_its_powers() {
    let coefficients = vec![1.5, -2.0, 0.25, 0.125];
    for number in [-3.0, 0.0, 0.1, 7.0] {
        let sum: f64 = coefficients.iter().enumerate().map(|(n, c)| c * f64::powi(number, n as i32)).sum();
        let [Verdict::Changed(is)] = over(vec![Step::Polynomial(coefficients.clone())], &[number])[..] else { panic!("{number}") };
        assert!((is - sum).abs() < 1e-9, "{number}: {is}, not {sum}");
    }
}
