//! The reference: it remembers everything, calculates everything again for each reading, and takes no short cut.

use crate::preprocess::chain::{Beyond, Duplicate, Held, Instead, Outside, Reason, Sample, Spike, Step, Stuck, Table, Thin, Verdict};

/// All that reached each step, the oldest first, and what the step let through of it.
pub struct Slow {
    steps: Vec<(Step, Vec<(Sample, bool)>)>,
    tables: Vec<(Vec<(f64, f64)>, Beyond)>,
}

impl Slow {
    /// `tables` are those of the steps that have one, in their order.
    pub fn new(steps: &[Step], tables: Vec<(Vec<(f64, f64)>, Beyond)>) -> Slow {
        Slow { steps: steps.iter().map(|step| (step.clone(), Vec::new())).collect(), tables }
    }

    pub fn apply(&mut self, sample: Sample) -> Verdict {
        let mut at = sample;
        let mut tables = self.tables.iter();
        for (place, (step, came)) in self.steps.iter_mut().enumerate() {
            let table = if matches!(step, Step::Table(_)) { tables.next() } else { None };
            let out = one(step, table, came, at);
            came.push((at, out.is_ok()));
            match out {
                Err(reason) => return Verdict::Dropped(place, reason),
                Ok(Held::Number(number)) if !number.is_finite() => return Verdict::Dropped(place, Reason::NotFinite),
                Ok(value) => at.value = value,
            }
        }
        match (sample.value, at.value) {
            (Held::Number(before), Held::Number(after)) if before.to_bits() != after.to_bits() => Verdict::Changed(after),
            _ => Verdict::Passed,
        }
    }
}

fn one(step: &Step, table: Option<&(Vec<(f64, f64)>, Beyond)>, came: &[(Sample, bool)], at: Sample) -> Result<Held, Reason> {
    match (step, at.value) {
        (Step::Stuck(stuck), _) => stuck_at(*stuck, came, at),
        (Step::Duplicate(duplicate), _) => duplicate_of(*duplicate, came, at),
        (Step::Thin(thin), _) => thinned(*thin, came, at),
        (_, Held::Other(_)) => Ok(at.value),
        (Step::Line(line), Held::Number(number)) => Ok(Held::Number(number * line.gain + line.offset)),
        (Step::Polynomial(coefficients), Held::Number(number)) => Ok(Held::Number(horner(coefficients, number))),
        (Step::Table(_), Held::Number(number)) => on_table(table.unwrap(), number),
        (Step::Range(range), Held::Number(number)) => {
            let (below, above) = (number < range.min, number > range.max);
            match (range.outside, below, above) {
                (Outside::Drop, true, _) => Err(Reason::Below { value: number, min: range.min }),
                (Outside::Drop, _, true) => Err(Reason::Above { value: number, max: range.max }),
                _ => Ok(Held::Number(number.max(range.min).min(range.max))),
            }
        }
        (Step::Spike(spike), Held::Number(number)) => hampel(*spike, came, number),
    }
}

fn horner(coefficients: &[f64], number: f64) -> f64 {
    match coefficients.split_first() {
        None => 0.0,
        Some((first, rest)) => horner(rest, number) * number + first,
    }
}

fn on_table((points, beyond): &(Vec<(f64, f64)>, Beyond), number: f64) -> Result<Held, Reason> {
    let (first, last) = (*points.first().unwrap(), *points.last().unwrap());
    if number < first.0 || number > last.0 {
        match beyond {
            Beyond::Drop => return Err(Reason::OffTable { value: number, from: first.0, to: last.0 }),
            Beyond::Hold => return Ok(Held::Number(if number < first.0 { first.1 } else { last.1 })),
            Beyond::Extend => {}
        }
    }
    let mut lines = points.windows(2).filter(|pair| pair[1].0 >= number);
    let line = lines.next().unwrap_or(&points[points.len() - 2..]);
    Ok(Held::Number(line[0].1 + (number - line[0].0) * ((line[1].1 - line[0].1) / (line[1].0 - line[0].0))))
}

fn numbers(came: &[(Sample, bool)]) -> Vec<f64> {
    came.iter().filter_map(|(sample, _)| if let Held::Number(number) = sample.value { Some(number) } else { None }).collect()
}

fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let half = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[half] } else { numbers[half - 1] * 0.5 + numbers[half] * 0.5 }
}

fn hampel(spike: Spike, came: &[(Sample, bool)], number: f64) -> Result<Held, Reason> {
    let before = numbers(came);
    if before.len() < spike.window {
        return Ok(Held::Number(number));
    }
    let window = before[before.len() - spike.window..].to_vec();
    let median = middle(window.clone());
    let mad = middle(window.iter().map(|other| (other - median).abs()).collect());
    let allowed = (spike.sigmas * (1.4826 * mad)).max(spike.at_least);
    match allowed > 0.0 && (number - median).abs() > allowed {
        false => Ok(Held::Number(number)),
        true if spike.instead == Instead::Median => Ok(Held::Number(median)),
        true => Err(Reason::Spike { value: number, median, allowed }),
    }
}

fn stuck_at(stuck: Stuck, came: &[(Sample, bool)], at: Sample) -> Result<Held, Reason> {
    let same: Vec<&Sample> = came.iter().rev().map(|(sample, _)| sample).take_while(|sample| sample.value == at.value).collect();
    let readings = same.len() as u32 + 1;
    let micros = at.measured - same.last().map_or(at.measured, |first| first.measured);
    let long = stuck.readings.is_some_and(|most| readings >= most) || stuck.micros.is_some_and(|most| micros > most);
    if long { Err(Reason::Stuck { readings, micros }) } else { Ok(at.value) }
}

fn duplicate_of(duplicate: Duplicate, came: &[(Sample, bool)], at: Sample) -> Result<Held, Reason> {
    let kept = came.iter().rev().filter(|(_, kept)| *kept).take(duplicate.last);
    if kept.map(|(sample, _)| sample).any(|sample| *sample == at) { Err(Reason::Duplicate) } else { Ok(at.value) }
}

fn thinned(thin: Thin, came: &[(Sample, bool)], at: Sample) -> Result<Held, Reason> {
    let interval = |sample: &Sample| thin.every.map_or(0, |every| (sample.measured as f64 / every as f64).floor() as i64);
    // What is late is let through without being taken for the last one.
    let (mut last, mut newest): (Option<Sample>, i64) = (None, i64::MIN);
    for sample in came.iter().filter(|(_, kept)| *kept).map(|(sample, _)| sample) {
        if interval(sample) >= newest {
            (last, newest) = (Some(*sample), interval(sample));
        }
    }
    let Some(last) = last else { return Ok(at.value) };
    let moved = |change: f64| match (last.value, at.value) {
        (Held::Number(before), Held::Number(number)) => (number - before).abs() > change,
        (before, other) => before != other,
    };
    if interval(&at) != newest || thin.change.is_some_and(moved) {
        return Ok(at.value);
    }
    Err(match thin.change {
        Some(change) => Reason::Unchanged { change },
        None => Reason::Thinned { every: thin.every.unwrap() },
    })
}

/// What is checked of a table elsewhere.
pub fn table(points: Vec<(f64, f64)>, beyond: Beyond) -> Step {
    Step::Table(Table::new(points, beyond).unwrap())
}
