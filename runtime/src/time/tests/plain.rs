//! Silence, threshold, change, batch and one of every N, each against a few lines that go through everything.

use super::{
    stream::{Chance, Step, steps},
    *,
};
use crate::model::{
    manifest::{Difference, Threshold},
    trigger::{Crossing, Silence},
};

fn crossing(firing: &Firing) -> (bool, i64, i64) {
    let Fired::Threshold(Crossing { beyond, since, .. }) = &firing.fired else { panic!("{firing:?}") };
    (*beyond, since.0, firing.measured.0)
}

fn above(limit: f64, hysteresis: f64, hold: i64) -> Rule {
    Rule::Threshold(Threshold { above: true, limit, hysteresis, hold: micros(hold) })
}

#[test]
fn silences_are_what_a_look_at_every_sensor_at_every_step_gives() {
    for seed in 0..100 {
        let mut chance = Chance(seed);
        let after = chance.span(SECOND, HOUR);
        let mut bench = Bench::new(&Rule::Silence { after: micros(after) });
        let mut heard: BTreeMap<String, (i64, bool)> = BTreeMap::new();
        for step in steps(&mut chance, 300, false) {
            let (Step::Tick(now) | Step::Reading(Event { body: NewEvent { received: Micros(now), .. }, .. })) = step;
            let mut silent: Vec<_> = heard.iter_mut().filter(|(_, (last, silent))| !*silent && *last + after <= now).collect();
            silent.sort_by_key(|(name, (last, _))| (*last, (*name).clone()));
            let mut expected: Vec<_> = silent
                .into_iter()
                .map(|(name, (last, silent))| {
                    *silent = true;
                    (name.clone(), *last, false)
                })
                .collect();
            if let Step::Reading(event) = &step {
                let name = format!("{}/{}", event.device.as_ref().unwrap(), event.sensor.as_ref().unwrap());
                let (last, silent) = heard.entry(name.clone()).or_insert((now, false));
                if *silent {
                    expected.push((name, *last, true));
                }
                (*last, *silent) = (now.max(*last), false);
            }
            let found = bench.step(&step).into_iter().map(|firing| {
                let Fired::Silence(Silence { device, sensor, since, back }) = firing.fired else { panic!("{:?}", firing.fired) };
                (format!("{}/{}", device.unwrap(), sensor.unwrap()), since.0, back.is_some())
            });
            assert_eq!(found.collect::<Vec<_>>(), expected, "seed {seed}");
        }
    }
}

#[test]
fn a_silence_is_told_once_and_its_end_with_the_reading_that_ended_it() {
    let mut bench = Bench::new(&Rule::Silence { after: micros(10 * MINUTE) });
    assert!(bench.number(1.0, MONDAY - DAY, MONDAY).is_empty());
    assert_eq!(bench.rules.next(), Some(Micros(MONDAY + 10 * MINUTE)));
    assert_eq!(bench.tick(MONDAY + 10 * MINUTE).len(), 1);
    assert!(bench.tick(MONDAY + 30 * DAY).is_empty());
    let back = bench.number(2.0, MONDAY - DAY, MONDAY + 40 * DAY);
    assert!(
        matches!(&back[..], [Firing { fired: Fired::Silence(Silence { since: Micros(MONDAY), back: Some(reading), .. }), .. }] if reading.sequence == 2)
    );
}

/// A node's clock that is in another year for a moment must not make a sensor that stops go unnoticed until that year.
#[test]
fn a_sensor_that_was_heard_in_the_future_falls_silent_from_now_on() {
    let mut bench = Bench::new(&Rule::Silence { after: micros(10 * MINUTE) });
    bench.value("a", "temp", "1", MONDAY, MONDAY + 100 * 365 * DAY);
    assert!(bench.value("b", "temp", "1", MONDAY, MONDAY).is_empty());
    assert_eq!(bench.tick(MONDAY + 10 * MINUTE).len(), 2);
}

#[test]
fn a_value_crosses_its_threshold_once_and_comes_back_by_its_hysteresis() {
    for seed in 0..100 {
        let mut chance = Chance(seed);
        let (limit, hysteresis, is_above) = (chance.span(-20, 20) as f64, chance.span(0, 10) as f64, chance.one_in(2));
        let threshold = Threshold { above: is_above, limit, hysteresis, hold: Duration::ZERO };
        let mut bench = Bench::new(&Rule::Threshold(threshold));
        let mut beyond: BTreeMap<String, bool> = BTreeMap::new();
        let sign = if is_above { 1.0 } else { -1.0 };
        for step in steps(&mut chance, 300, true) {
            let found: Vec<bool> = bench.step(&step).iter().map(|firing| crossing(firing).0).collect();
            let Step::Reading(event) = step else { continue };
            let Some(value) = event.value.as_f64() else { continue };
            let was = beyond.entry(event.subject.as_str().to_owned()).or_default();
            let is = sign * value > sign * limit || *was && sign * value > sign * limit - hysteresis;
            assert_eq!(found, if is == *was { vec![] } else { vec![is] }, "seed {seed}");
            *was = is;
        }
    }
}

#[test]
fn a_threshold_is_held_by_measured_time_and_by_our_clock_when_nothing_more_comes() {
    let mut bench = Bench::new(&above(30.0, 1.0, 5 * MINUTE));
    let at = |minute: i64| MONDAY + minute * MINUTE;
    assert!(bench.number(31.0, at(0), at(0)).is_empty());
    assert!(bench.number(30.0, at(3), at(3)).is_empty(), "at the limit is not beyond it: it begins anew");
    assert!(bench.number(31.0, at(4), at(4)).is_empty());
    assert!(bench.number(32.0, at(8), at(8)).is_empty());
    let gone = bench.number(33.0, at(9), at(9));
    assert_eq!(gone.iter().map(crossing).collect::<Vec<_>>(), [(true, at(4), at(9))]);
    assert!(bench.number(29.5, at(10), at(10)).is_empty());
    assert_eq!(bench.number(29.0, at(11), at(11)).iter().map(crossing).collect::<Vec<_>>(), [(false, at(11), at(11))]);
    // A door that says once that it is open. Its word came a minute late.
    assert!(bench.number(31.0, at(20), at(21)).is_empty());
    assert_eq!(bench.rules.next(), Some(Micros(at(26))));
    assert!(bench.tick(at(26) - 1).is_empty());
    let held = bench.tick(at(26));
    assert_eq!(held.iter().map(crossing).collect::<Vec<_>>(), [(true, at(20), at(25))]);
    assert!(bench.number(31.0, at(27), at(27)).is_empty(), "it was told");
}

/// What was measured long ago and comes all at once holds by its own times.
#[test]
fn a_threshold_in_what_was_kept_offline_is_found_in_it() {
    let mut bench = Bench::new(&above(30.0, 0.0, 5 * MINUTE));
    let at = |minute: i64| MONDAY + minute * MINUTE;
    assert!(bench.number(31.0, at(0), at(600)).is_empty());
    assert_eq!(bench.number(31.0, at(5), at(600)).iter().map(crossing).collect::<Vec<_>>(), [(true, at(0), at(5))]);
}

#[test]
fn a_change_is_against_the_value_that_was_told_last() {
    let mut bench = Bench::new(&Rule::Change(Difference::Absolute(1.0)));
    let told: Vec<bool> =
        [20.0, 20.5, 20.9, 21.0, 20.5, 19.9].iter().map(|value| !bench.number(*value, MONDAY, MONDAY).is_empty()).collect();
    assert_eq!(told, [true, false, false, true, false, true]);
    let change = bench.number(25.0, MONDAY, MONDAY);
    let Fired::Change(change) = &change[0].fired else { panic!("{change:?}") };
    assert_eq!((change.previous.as_ref().unwrap().sequence, change.reading.sequence), (6, 7));
}

#[test]
fn one_of_every_n_is_told_for_each_sensor_by_itself() {
    let mut bench = Bench::new(&Rule::Every { n: 3 });
    let mut told = Vec::new();
    for i in 0..9 {
        for sensor in ["temp", "hum"] {
            told.extend(bench.value("fridge", sensor, &i.to_string(), MONDAY, MONDAY).into_iter().map(|firing| firing.source));
        }
    }
    assert_eq!(told, [5, 6, 11, 12, 17, 18]);
}

#[test]
fn batches_are_all_readings_in_the_order_of_the_log_none_of_them_twice() {
    for seed in 0..100 {
        let mut chance = Chance(seed);
        let (max, within) = (chance.span(1, 8), chance.span(SECOND, MINUTE));
        let mut bench = Bench::new(&Rule::Batch { max: max as u32, within: micros(within) });
        let (mut sent, mut told, mut first) = (Vec::new(), Vec::new(), None);
        for step in steps(&mut chance, 300, true) {
            for firing in bench.step(&step) {
                let Fired::Batch(batch) = firing.fired else { panic!("{:?}", firing.fired) };
                assert!((1..=max as usize).contains(&batch.readings.len()));
                told.extend(batch.readings.iter().map(|reading| reading.sequence));
            }
            let (Step::Tick(now) | Step::Reading(Event { body: NewEvent { received: Micros(now), .. }, .. })) = step;
            if told.len() == sent.len() {
                first = None;
            }
            if let Step::Reading(event) = step {
                sent.push(event.seq);
                first = first.or(Some(now)).filter(|_| told.len() < sent.len());
            }
            assert!(first.is_none_or(|first| now < first + within), "seed {seed}: none waits for longer");
        }
        told.extend(bench.tick(MONDAY + 999 * 365 * DAY).into_iter().flat_map(|firing| match firing.fired {
            Fired::Batch(batch) => batch.readings.into_iter().map(|reading| reading.sequence).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }));
        assert_eq!(told, sent, "seed {seed}");
        assert_eq!(bench.shelf.parts.len(), 1, "the rule alone");
    }
}
