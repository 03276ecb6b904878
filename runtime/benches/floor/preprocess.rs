//! Readings through a chain of five steps, on one core and without a log.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};
use tawi_platform_tests::results::{Figure, Results};
use tawi_runtime::preprocess::chain::{Chain, Duplicate, Held, Instead, Line, Outside, Range, Sample, Spike, Step, Thin, Verdict};

const MEASURED: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;
/// Each sensor has a state of its own; that many are more than fit the processor's nearest cache.
const SENSORS: usize = 1_000;
const READINGS: usize = 100_000;
/// What eKuiper publishes for one filter: 10,000 to 12,000 messages a second and core. A message of theirs is decoded, a reading of ours is a number.
const EKUIPER: f64 = 12_000.0;

fn chain() -> Chain {
    Chain::new(vec![
        Step::Duplicate(Duplicate { last: 8 }),
        Step::Line(Line { gain: 5.0 / 9.0, offset: -160.0 / 9.0 }),
        Step::Range(Range { min: -40.0, max: 60.0, outside: Outside::Drop }),
        Step::Spike(Spike { window: 21, sigmas: 3.0, at_least: 0.2, instead: Instead::Drop }),
        Step::Thin(Thin { every: Some(60_000_000), change: Some(0.05) }),
    ])
}

/// A level for each sensor that wanders, with noise and a spike now and then.
fn readings() -> Vec<Sample> {
    let mut seed = 7_u64;
    let mut part = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut level = 70.0;
    (0..READINGS as i64)
        .map(|n| {
            level += part() - 0.5;
            let spike = if part() < 0.005 { 100.0 * part() } else { 0.0 };
            Sample { measured: n * 10_000_000, value: Held::Number(level + part() + spike) }
        })
        .collect()
}

/// Readings a second, and which part of them came through.
fn rate(chain: &Chain, readings: &[Sample]) -> (f64, f64) {
    let mut states: Vec<_> = (0..SENSORS).map(|_| chain.start()).collect();
    let (begin, mut count, mut through) = (Instant::now(), 0_usize, 0_usize);
    while begin.elapsed() < MEASURED {
        for (n, sample) in readings.iter().enumerate() {
            let measured = sample.measured + count as i64 * 10_000_000;
            let verdict = chain.apply(&mut states[n % SENSORS], black_box(Sample { measured, ..*sample }));
            through += usize::from(!matches!(black_box(verdict), Verdict::Dropped(..)));
        }
        count += readings.len();
    }
    (count as f64 / begin.elapsed().as_secs_f64(), through as f64 / count as f64)
}

pub fn preprocess(results: &mut Results) {
    let (chain, readings) = (chain(), readings());
    let mut rates: Vec<(f64, f64)> = (0..ROUNDS).map(|_| rate(&chain, &readings)).collect();
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (rate, through) = rates[ROUNDS / 2];
    assert!((0.5..1.0).contains(&through), "some are taken out, and most are not: {through}");
    let name = "readings through five steps of pre-processing, on one core";
    let note = format!("a Hampel filter over 21 readings among them; median of {ROUNDS}, {:.0} % came through", through * 100.0);
    results.add(Figure::at_least(name, rate, "1/s", 1_000_000.0).note(note));
    let beside = Figure::at_least("the same beside one filter", rate, "1/s", 80.0);
    results.add(beside.beside("eKuiper's published rate for a core, which includes decoding a message", EKUIPER));
}
