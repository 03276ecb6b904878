//! Whatever is lost of memory, and whenever, nothing else comes out.

use super::{
    stream::{Chance, Step, rule, steps},
    *,
};

/// Every rule over the same steps: once in one go, once with all in memory lost between any two of them.
#[test]
fn the_same_comes_out_however_often_memory_is_lost() {
    let mut fired = 0;
    for seed in 0..200 {
        let mut chance = Chance(seed);
        let rule = rule(&mut chance);
        let (mut whole, mut broken) = (Bench::new(&rule), Bench::new(&rule));
        for (i, step) in steps(&mut chance, 300, seed % 2 == 0).iter().enumerate() {
            if chance.one_in(7) {
                broken.reload();
            }
            let (one, other) = (whole.step(step), broken.step(step));
            assert_eq!(one, other, "seed {seed}, step {i}: {rule:?}");
            assert_eq!(whole.shelf.parts, broken.shelf.parts, "seed {seed}, step {i}: {rule:?}");
            fired += one.len();
        }
    }
    assert!(fired > 5_000, "{fired}");
}

/// Ticks say when it is time to look, and nothing else: what they bring is what the next reading would have brought.
#[test]
fn ticks_in_between_change_when_something_is_told_and_not_what() {
    for seed in 0..200 {
        let mut chance = Chance(seed);
        let rule = rule(&mut chance);
        let (mut often, mut never) = (Bench::new(&rule), Bench::new(&rule));
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let mut clock = 0;
        for step in steps(&mut chance, 300, false) {
            let (Step::Tick(now) | Step::Reading(Event { body: NewEvent { received: Micros(now), .. }, .. })) = step;
            clock = clock.max(now);
            // Each time it is asked for.
            while let Some(next) = often.rules.next().filter(|next| next.0 <= now) {
                one.extend(often.tick(next.0));
            }
            if let Step::Reading(event) = step {
                one.extend(often.take(&event));
                other.extend(never.take(&event));
            }
        }
        for (bench, told) in [(&mut often, &mut one), (&mut never, &mut other)] {
            told.extend(bench.tick(clock + 400 * DAY));
            bench.reload();
            assert_eq!(bench.rules.next(), None, "seed {seed}: {rule:?}");
        }
        assert_eq!(one, other, "seed {seed}: {rule:?}");
    }
}

#[test]
fn what_another_rule_kept_is_of_use_to_one_of_its_kind_alone() {
    let mut bench = Bench::new(&Rule::Every { n: 3 });
    bench.number(1.0, MONDAY, MONDAY);
    bench.number(2.0, MONDAY, MONDAY);
    bench.rule = Rule::Every { n: 5 };
    bench.reload();
    assert!(bench.number(3.0, MONDAY, MONDAY).is_empty());
    assert!(bench.number(4.0, MONDAY, MONDAY).is_empty());
    assert_eq!(bench.number(5.0, MONDAY, MONDAY).len(), 1);
    bench.rule = Rule::Batch { max: 10, within: micros(MINUTE) };
    bench.reload();
    assert_eq!(bench.shelf.parts.keys().collect::<Vec<_>>(), ["rule"]);
}

#[test]
fn what_can_t_be_read_is_named() {
    let mut bench = Bench::new(&Rule::Every { n: 3 });
    bench.number(1.0, MONDAY, MONDAY);
    bench.shelf.put("s/fridge/temp", Some(Bytes::from_static(b"\xff\xff")));
    let error = bench.rules.reload(&mut bench.shelf).unwrap_err();
    assert_eq!(error.to_string(), "can't read `s/fridge/temp`, which a rule kept");
}
