//! Readings that a seed decides through a chain of all steps, and one number for every bit of what becomes of them. The test that compares
//! compiles this file too.

use crate::chain::{Beyond, Chain, Duplicate, Held, Instead, Line, Outside, Range, Sample, Spike, Step, Stuck, Table, Thin, Verdict};

const READINGS: usize = 20_000;

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1, with all digits a number has.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn chain(chance: &mut Chance) -> Chain {
    let window = 3 + (chance.next() % 62) as usize;
    let points = [(-9.7, -11.0), (-0.3, 0.1), (7.0 / 3.0, 2.2), (31.0, 30.0 + chance.part()), (70.1, 77.0)];
    let table = Table::new(points.to_vec(), Beyond::Extend).map(Step::Table);
    let mut steps = vec![
        Step::Duplicate(Duplicate { last: 8 }),
        Step::Line(Line { gain: 1.0 / 3.0 + chance.part(), offset: chance.part() - 0.5 }),
        Step::Polynomial(vec![chance.part(), 1.0 - chance.part() / 9.0, chance.part() / 1e4]),
    ];
    steps.extend(table);
    steps.extend([
        Step::Spike(Spike { window, sigmas: 2.0 + chance.part(), at_least: 0.01, instead: Instead::Median }),
        Step::Spike(Spike { window: 5, sigmas: 4.0, at_least: 0.0, instead: Instead::Drop }),
        Step::Stuck(Stuck { readings: Some(4), micros: None }),
        Step::Range(Range { min: -1e3, max: 1e290, outside: Outside::Clamp }),
        Step::Thin(Thin { every: Some(90_000_000), change: Some(0.05) }),
    ]);
    Chain::new(steps)
}

/// What comes out, folded into 64 bits.
pub fn bits(seed: u64) -> u64 {
    let mut chance = Chance(seed);
    let chain = chain(&mut chance);
    let (mut state, mut hash, mut level) = (chain.start(), 0xcbf2_9ce4_8422_2325, 20.0);
    let mut last = Sample { measured: 0, value: Held::Number(level) };
    for n in 0..READINGS as i64 {
        level += chance.part() - 0.5;
        let number = match chance.next() % 40 {
            0 => level * 1e3 * chance.part(),
            1 => f64::from_bits(chance.next() >> 12),
            2 => -0.0,
            3 => 1e300 * chance.part(),
            4..10 => level.trunc(),
            _ => level,
        };
        // `is_multiple_of` is younger than the Rust that functions ask for.
        #[allow(clippy::manual_is_multiple_of)]
        if chance.next() % 20 > 0 {
            last = Sample { measured: n * 30_000_000, value: Held::Number(number) };
        }
        for word in words(chain.apply(&mut state, last)) {
            hash = (hash ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

fn words(verdict: Verdict) -> [u64; 2] {
    match verdict {
        Verdict::Passed => [0, 0],
        Verdict::Changed(number) => [1, number.to_bits()],
        // All numbers of the reason are in its text, with as many digits as it takes to tell them apart.
        Verdict::Dropped(step, reason) => {
            let text = format!("{} {reason}", reason.code());
            let mark = text.bytes().fold(0, |mark: u64, byte| mark.wrapping_mul(31).wrapping_add(u64::from(byte)));
            [2 + step as u64, mark]
        }
    }
}
