//! Streams as devices make them, from a seed: disorder, gaps, back-fill, repeats, words among numbers, wrong clocks.

use super::*;

/// splitmix64.
#[derive(Clone)]
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn span(&mut self, from: i64, to: i64) -> i64 {
        from + self.below((to - from + 1) as u64) as i64
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}

#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)]
pub enum Step {
    Reading(Event),
    Tick(i64),
}

/// `count` steps of a few sensors. With `leaps`, the receive clock is now and then set wrong by years, and right again.
pub fn steps(chance: &mut Chance, count: usize, leaps: bool) -> Vec<Step> {
    let (mut steps, mut now, mut last_measured) = (Vec::new(), MONDAY + chance.span(0, DAY), MONDAY);
    let mut wrong = 0;
    for seq in 1..=count as u64 {
        now += if chance.one_in(15) { chance.span(0, 2 * HOUR) } else { chance.span(0, 20 * SECOND) };
        if leaps && chance.one_in(40) {
            wrong = if wrong == 0 { chance.pick(&[274 * 365 * DAY, 2 * DAY, -3 * DAY]) } else { 0 };
        }
        // Nodes of one log differ by a little.
        let clock = now + wrong - if chance.one_in(10) { chance.span(0, SECOND) } else { 0 };
        if chance.one_in(6) {
            steps.push(Step::Tick(clock));
            continue;
        }
        let measured = match chance.below(12) {
            0..6 => clock - chance.span(0, 3 * SECOND),
            6..8 => clock - chance.span(0, 5 * MINUTE),
            8 => clock - chance.span(0, 3 * HOUR),
            9 => last_measured,
            10 => clock + chance.span(0, 3 * HOUR),
            _ => chance.pick(&[0, i64::MIN, i64::MAX, 10_413_792_000 * SECOND, clock - 30 * DAY]),
        };
        last_measured = measured;
        let (device, sensor) = (chance.pick(&["a", "b"]), chance.pick(&["temp", "hum"]));
        let value =
            if chance.one_in(10) { chance.pick(&["\"broken\"", "true", "null"]).to_owned() } else { chance.span(-40, 40).to_string() };
        steps.push(Step::Reading(reading(seq, device, sensor, &value, measured, clock)));
    }
    steps
}

impl Bench {
    pub fn step(&mut self, step: &Step) -> Vec<Firing> {
        match step {
            Step::Reading(event) => self.take(event),
            Step::Tick(now) => self.tick(*now),
        }
    }
}

/// Rules of every kind.
pub fn rule(chance: &mut Chance) -> Rule {
    use crate::model::manifest::{Difference, Threshold};
    match chance.below(11) {
        0 => Rule::Batch { max: chance.span(1, 8) as u32, within: micros(chance.span(SECOND, MINUTE)) },
        1 => Rule::Silence { after: micros(chance.span(SECOND, HOUR)) },
        2 => Rule::Change(chance.pick(&[Difference::Any, Difference::Absolute(10.0), Difference::Relative(0.5)])),
        3 => Rule::Threshold(Threshold {
            above: chance.one_in(2),
            limit: chance.span(-20, 20) as f64,
            hysteresis: chance.span(0, 10) as f64,
            hold: micros(chance.pick(&[0, 10 * SECOND, 10 * MINUTE])),
        }),
        4 => Rule::Every { n: chance.span(1, 5) as u32 },
        5 => Rule::Fill(any_fill(chance)),
        _ => Rule::Window(any_window(chance)),
    }
}

pub fn any_fill(chance: &mut Chance) -> Fill {
    let every = chance.pick(&[SECOND, 7 * SECOND, MINUTE]);
    Fill {
        every: micros(every),
        method: chance.pick(&[Method::Hold, Method::Linear, Method::Trend]),
        max_gap: micros(every * chance.pick(&[2, 40, 1_000])),
        ahead: micros(chance.pick(&[0, HOUR])),
    }
}

pub fn any_window(chance: &mut Chance) -> Window {
    let sliding = [(MINUTE, 10 * SECOND), (10 * MINUTE, MINUTE), (HOUR, 7 * MINUTE), (10 * MINUTE, 7 * MINUTE), (MINUTE, 90 * MINUTE)];
    let shape = match chance.below(3) {
        0 => Shape::Tumbling { length: micros(chance.pick(&[7 * SECOND, MINUTE, 10 * MINUTE, HOUR])) },
        1 => {
            let (length, every) = chance.pick(&sliding);
            Shape::Sliding { length: micros(length), every: micros(every) }
        }
        _ => Shape::Session { gap: micros(chance.pick(&[5 * SECOND, MINUTE, 20 * MINUTE])) },
    };
    Window {
        shape,
        per: chance.pick(&[Per::Sensor, Per::Device]),
        lateness: micros(chance.pick(&[0, MINUTE, HOUR])),
        ahead: micros(chance.pick(&[0, HOUR])),
        idle: micros(chance.pick(&[0, MINUTE, HOUR])),
        readings: chance.one_in(2),
        percentiles: if chance.one_in(2) { vec![0.0, 50.0, 100.0] } else { vec![] },
    }
}
