//! Windows against a reference that keeps all readings in lists and goes through them each time.

use super::{
    stream::{Chance, Step, any_window, steps},
    *,
};
use crate::model::trigger::{Aggregate, Percentile, Sampled};

#[derive(Clone)]
struct Heard {
    time: i64,
    sampled: Sampled,
}

/// Either one window of a grid, by its start, or one session.
#[derive(Clone, Default)]
struct Group {
    start: Option<i64>,
    heard: Vec<Heard>,
    told: Vec<i64>,
    revision: u32,
    closed: bool,
    pending: Option<i64>,
}

struct Series {
    groups: Vec<Group>,
    watermark: i64,
    last: i64,
}

struct Slow {
    window: Window,
    series: BTreeMap<String, Series>,
    late: u64,
}

fn number(heard: &Heard) -> Option<f64> {
    heard.sampled.value.as_f64()
}

impl Slow {
    fn span(&self, of: Duration) -> i64 {
        of.as_micros() as i64
    }

    fn grid(&self) -> Option<(i64, i64)> {
        match self.window.shape {
            Shape::Tumbling { length } => Some((self.span(length), self.span(length))),
            Shape::Sliding { length, every } => Some((self.span(length), self.span(every))),
            Shape::Session { .. } => None,
        }
    }

    fn gap(&self) -> i64 {
        match self.window.shape {
            Shape::Session { gap } => self.span(gap),
            _ => 0,
        }
    }

    fn bounds(&self, group: &Group) -> (i64, i64) {
        let times = || group.heard.iter().map(|heard| heard.time);
        match (self.grid(), group.start) {
            (Some((length, _)), Some(start)) => (start, start + length),
            _ => (times().min().unwrap(), times().max().unwrap() + self.gap()),
        }
    }

    /// Those that the time falls into, by walking over all there could be.
    fn starts(&self, time: i64) -> Vec<i64> {
        let Some((length, every)) = self.grid() else { return vec![] };
        let mut start = (time.div_euclid(every) + 1) * every;
        let mut starts = vec![];
        while start > time - length {
            if start <= time {
                starts.insert(0, start);
            }
            start -= every;
        }
        starts
    }

    fn belongs(&self, group: &Group, time: i64) -> bool {
        match group.start {
            Some(start) => start <= time && time < start + self.grid().unwrap().0,
            None => group.heard.iter().any(|heard| (heard.time - time).abs() < self.gap()),
        }
    }

    fn is_past(&self, end: i64, watermark: i64) -> bool {
        end + self.span(self.window.lateness) <= watermark
    }

    fn result(&self, name: &str, group: &mut Group) -> WindowResult {
        let (start, end) = self.bounds(group);
        let mut heard = group.heard.clone();
        heard.sort_by_key(|heard| (heard.time, heard.sampled.sequence));
        let numbers: Vec<f64> = heard.iter().filter_map(number).collect();
        let mut sorted = numbers.clone();
        sorted.sort_by(f64::total_cmp);
        let sum = numbers.iter().sum::<f64>();
        let any = |value: f64| (!numbers.is_empty()).then_some(value);
        let percentile = |percent: &f64| {
            let rank = percent / 100.0 * (sorted.len() as f64 - 1.0);
            let (below, above) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
            let value = below + (above - below) * (rank - rank.floor());
            Percentile { percent: *percent, value }
        };
        let aggregate = Aggregate {
            readings: heard.len() as u64,
            count: numbers.len() as u64,
            sum: any(sum),
            mean: any(sum / numbers.len() as f64),
            min: sorted.first().copied(),
            max: sorted.last().copied(),
            first: numbers.first().copied(),
            last: numbers.last().copied(),
            percentiles: if numbers.is_empty() { vec![] } else { self.window.percentiles.iter().map(percentile).collect() },
        };
        let id = |text: &str| Some(Id::new(text).unwrap());
        let (device, sensor) = name.split_once('/').map_or_else(|| (id(name), None), |(device, sensor)| (id(device), id(sensor)));
        let replaces = group.told.iter().filter(|told| **told != start).map(|told| Micros(*told)).collect();
        let readings = self.window.readings.then(|| heard.into_iter().map(|heard| heard.sampled).collect());
        let result = WindowResult {
            device,
            sensor,
            start: Micros(start),
            end: Micros(end),
            revision: group.revision,
            replaces,
            aggregate,
            readings,
        };
        (group.revision, group.told, group.pending, group.closed) = (group.revision + 1, vec![start], None, true);
        result
    }

    /// Tells those that are chosen, in the order of their ends.
    fn tell(&self, name: &str, series: &mut Series, chosen: impl Fn(&Group) -> bool, out: &mut Vec<WindowResult>) {
        let mut chosen: Vec<&mut Group> = series.groups.iter_mut().filter(|group| chosen(group)).collect();
        chosen.sort_by_key(|group| self.bounds(group).1);
        out.extend(chosen.into_iter().map(|group| self.result(name, group)));
    }

    fn deadline(&self, series: &Series) -> Option<i64> {
        let of = |group: &Group| match (group.pending, group.closed) {
            (Some(since), _) => Some(since + SECOND),
            (None, false) => Some(self.bounds(group).1.max(series.last + self.span(self.window.idle))),
            (None, true) => None,
        };
        series.groups.iter().filter_map(of).min()
    }

    fn first_due(&self) -> Option<(i64, String)> {
        self.series.iter().filter_map(|(name, series)| Some((self.deadline(series)?, name.clone()))).min()
    }

    fn run(&mut self, at: i64, out: &mut Vec<WindowResult>) {
        while let Some((due, name)) = self.first_due().filter(|(due, _)| *due <= at) {
            let mut series = self.series.remove(&name).unwrap();
            self.tell(&name, &mut series, |group| group.pending.is_some_and(|since| since + SECOND <= due), out);
            if series.last + self.span(self.window.idle) <= due {
                self.tell(&name, &mut series, |group| !group.closed && self.bounds(group).1 <= due, out);
            }
            self.series.insert(name, series);
        }
    }

    fn take(&mut self, event: &Event, out: &mut Vec<WindowResult>) {
        let (measured, received) = (event.measured.0, event.received.0);
        self.run(received, out);
        let ahead = measured.saturating_sub(received) > self.span(self.window.ahead);
        let time = if ahead { received } else { measured }.max(-500_000_000_000_000_000);
        let (device, sensor) = (event.device.clone().unwrap(), event.sensor.clone().unwrap());
        let name = if self.window.per == Per::Device { device.to_string() } else { format!("{device}/{sensor}") };
        let new = || Series { groups: vec![], watermark: i64::MIN / 2, last: i64::MIN / 2 };
        let mut series = self.series.remove(&name).unwrap_or_else(new);
        self.tell(&name, &mut series, |group| group.pending.is_some() && !self.belongs(group, time), out);
        let is_ahead = time > series.watermark;
        if is_ahead {
            series.watermark = time;
            self.tell(&name, &mut series, |group| !group.closed && self.bounds(group).1 <= time, out);
        }
        let watermark = series.watermark;
        series.groups.retain(|group| !self.is_past(self.bounds(group).1, watermark));
        let heard = Heard { time, sampled: Sampled::of(event) };
        let late = if self.grid().is_some() {
            self.add_to_grid(&mut series, heard, received)
        } else {
            self.add_to_sessions(&mut series, heard, received, is_ahead)
        };
        self.late += u64::from(late);
        series.last = series.last.max(received);
        self.series.insert(name, series);
    }

    fn add_to_grid(&self, series: &mut Series, heard: Heard, received: i64) -> bool {
        let mut late = false;
        // Where a window was closed for nothing being received, one before it is late as well.
        let closed = series.groups.iter().filter(|group| group.closed).map(|group| self.bounds(group).1).max().unwrap_or(i64::MIN);
        let closed = closed.max(series.watermark);
        for start in self.starts(heard.time) {
            let end = start + self.grid().unwrap().0;
            if self.is_past(end, series.watermark) {
                late = true;
                continue;
            }
            let place = series.groups.iter().position(|group| group.start == Some(start)).unwrap_or_else(|| {
                series.groups.push(Group { start: Some(start), closed: end <= closed, ..Group::default() });
                series.groups.len() - 1
            });
            let group = &mut series.groups[place];
            group.heard.push(heard.clone());
            if group.closed {
                group.pending = group.pending.or(Some(received));
            }
        }
        late
    }

    fn add_to_sessions(&self, series: &mut Series, heard: Heard, received: i64, is_ahead: bool) -> bool {
        let all = std::mem::take(&mut series.groups);
        let (mut touched, rest): (Vec<Group>, Vec<Group>) = all.into_iter().partition(|group| self.belongs(group, heard.time));
        series.groups = rest;
        if touched.is_empty() && self.is_past(heard.time + self.gap(), series.watermark) {
            return true;
        }
        touched.sort_by_key(|group| self.bounds(group).0);
        let closed = !is_ahead && touched.iter().all(|group| group.closed);
        let pending = touched.iter().find_map(|group| group.pending).unwrap_or(received);
        let mut one = Group { closed, pending: closed.then_some(pending), ..Group::default() };
        for group in touched {
            one.heard.extend(group.heard);
            one.told.extend(group.told);
            one.revision = one.revision.max(group.revision);
        }
        one.heard.push(heard);
        series.groups.push(one);
        false
    }
}

#[test]
fn windows_of_every_shape_are_what_a_look_at_all_readings_gives() {
    let (mut told, mut revised, mut joined) = (0, 0, 0);
    for seed in 0..300 {
        let mut chance = Chance(seed);
        let window = any_window(&mut chance);
        let mut bench = Bench::new(&Rule::Window(window.clone()));
        let mut slow = Slow { window: window.clone(), series: BTreeMap::new(), late: 0 };
        for (i, step) in steps(&mut chance, 250, false).iter().enumerate() {
            let mut expected = Vec::new();
            match step {
                Step::Reading(event) => slow.take(event, &mut expected),
                Step::Tick(now) => slow.run(*now, &mut expected),
            }
            let found = windows(bench.step(step));
            assert_eq!(found, expected, "seed {seed}, step {i} {step:?}: {window:?}");
            told += found.len();
            revised += found.iter().filter(|result| result.revision > 0).count();
            joined += found.iter().filter(|result| !result.replaces.is_empty()).count();
        }
        let late = bench.rules.trouble().into_iter().map(|trouble| match trouble {
            super::super::Trouble::Late { readings, .. } => readings,
            other => panic!("{other}"),
        });
        assert_eq!(late.sum::<u64>(), slow.late, "seed {seed}: {window:?}");
    }
    assert!(told > 20_000 && revised > 2_000 && joined > 50, "{told} {revised} {joined}");
}
