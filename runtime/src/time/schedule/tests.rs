use super::*;
use std::time::Duration;

const MINUTE: i64 = 60 * Micros::SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn schedule(cron: &str, zone: &str, missed: Missed) -> Schedule {
    Schedule { cron: cron.into(), zone: zone.into(), jitter: Duration::ZERO, missed }
}

fn ticks(cron: &str, zone: &str, missed: Missed) -> Ticks {
    let schedule = schedule(cron, zone, missed);
    assert_eq!(schedule.check(), Ok(()));
    Ticks::new(&schedule, "main/app/function").unwrap()
}

fn time(text: &str) -> Micros {
    Micros::parse(text).unwrap()
}

/// The moments of a few days, in UTC.
fn moments(cron: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
    let moments = Moments::of(&schedule(cron, zone, Missed::Skip)).unwrap().newest(time(from), time(until), 1_000);
    moments.into_iter().map(|moment| moment.to_string()).collect()
}

fn shown(due: &Due) -> Vec<(String, u64)> {
    due.ticks.iter().map(|tick| (tick.scheduled.to_string(), tick.missed)).collect()
}

#[test]
fn a_schedule_whose_zone_is_gone_says_so() {
    let error = Ticks::new(&schedule("0 6 * * *", "Europe/Berln", Missed::Skip), "main/app/function").err().unwrap();
    assert_eq!(error.to_string(), "there is no time zone `Europe/Berln`");
}

#[test]
fn a_schedule_that_names_its_last_year_ends_with_it() {
    let ticks = ticks("0 0 12 1 1 * 2027", "UTC", Missed::Skip);
    let now = time("2026-03-02T00:00:00Z");
    assert_eq!(ticks.next(Some(now), now), Some(time("2027-01-01T12:00:00Z")));
    let after = time("2027-01-01T12:00:01Z");
    assert_eq!(ticks.next(Some(ticks.due(Some(now), after).last), after), None);
}

#[test]
fn where_clocks_go_forward_a_call_of_the_hour_that_is_not_comes_after_it() {
    // 2026-03-29, 02:00 to 03:00 in Berlin.
    let daily = moments("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z");
    assert_eq!(daily, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    let hourly = moments("0 * * * *", "Europe/Berlin", "2026-03-28T23:30:00Z", "2026-03-29T02:30:00Z");
    assert_eq!(hourly, ["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]);
}

#[test]
fn where_clocks_go_back_a_call_of_the_hour_that_is_twice_comes_once_and_one_of_each_hour_each_hour() {
    // 2026-10-25, 03:00 to 02:00 in Berlin.
    let daily = moments("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
    assert_eq!(daily, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    let hourly = moments("30 * * * *", "Europe/Berlin", "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z");
    assert_eq!(hourly, ["2026-10-24T23:30:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"]);
}

#[test]
fn where_clocks_stay_as_they_are_so_does_the_schedule() {
    let lagos = moments("0 6 * * *", "Africa/Lagos", "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z");
    assert_eq!(lagos, ["2026-03-28T05:00:00Z", "2026-03-29T05:00:00Z", "2026-03-30T05:00:00Z"]);
    let berlin = moments("0 6 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z");
    assert_eq!(berlin, ["2026-03-28T05:00:00Z", "2026-03-29T04:00:00Z", "2026-03-30T04:00:00Z"]);
}

/// Minute by minute through a year, with the calendar alone.
#[test]
fn moments_are_what_a_look_at_every_minute_finds() {
    type Fits = fn(&jiff::Zoned) -> bool;
    let cases: [(&str, Fits); 4] = [
        ("*/15 6-8 * * 1-5", |t| t.minute() % 15 == 0 && (6..=8).contains(&t.hour()) && t.weekday().to_monday_one_offset() <= 5),
        ("0 12 1,15 * *", |t| t.minute() == 0 && t.hour() == 12 && [1, 15].contains(&t.day())),
        ("59 23 L * *", |t| t.minute() == 59 && t.hour() == 23 && t.day() == t.days_in_month()),
        ("7 * 29 2 *", |t| t.minute() == 7 && t.day() == 29 && t.month() == 2),
    ];
    let (from, until) = (time("2027-12-01T00:00:00Z"), time("2028-12-01T00:00:00Z"));
    for zone in ["Europe/Berlin", "Africa/Lagos", "America/St_Johns"] {
        let tz = jiff::tz::TimeZone::get(zone).unwrap();
        let minutes = (from.0 / MINUTE + 1..=until.0 / MINUTE).map(|minute| Micros(minute * MINUTE));
        let local: Vec<(Micros, jiff::Zoned)> =
            minutes.map(|time| (time, jiff::Timestamp::from_microsecond(time.0).unwrap().to_zoned(tz.clone()))).collect();
        for (cron, fits) in &cases {
            let slow: Vec<Micros> = local.iter().filter(|(_, local)| fits(local)).map(|(time, _)| *time).collect();
            let moments = Moments::of(&schedule(cron, zone, Missed::Skip)).unwrap();
            assert_eq!(moments.newest(from, until, 100_000), slow, "{cron} {zone}");
            assert_eq!(moments.newest(from, until, 5), slow[slow.len().saturating_sub(5)..], "{cron} {zone}");
        }
    }
}

#[test]
fn a_new_schedule_begins_now_and_each_moment_is_called_once() {
    let ticks = ticks("0 6 * * *", "UTC", Missed::Skip);
    let start = time("2026-03-02T05:59:59Z");
    let due = ticks.due(None, start);
    assert_eq!(due, Due { ticks: vec![], last: start });
    assert_eq!(ticks.next(Some(due.last), start), Some(time("2026-03-02T06:00:00Z")));
    let now = time("2026-03-02T06:00:00.250Z");
    let due = ticks.due(Some(due.last), now);
    assert_eq!(shown(&due), [("2026-03-02T06:00:00Z".to_owned(), 0)]);
    assert_eq!(ticks.due(Some(due.last), now).ticks, []);
    assert_eq!(ticks.next(Some(due.last), now), Some(time("2026-03-03T06:00:00Z")));
}

#[test]
fn what_was_missed_is_skipped_called_once_or_all_of_it() {
    let (last, now) = (time("2026-03-02T06:00:00Z"), time("2026-03-05T12:00:00Z"));
    let at = |day: u32| format!("2026-03-0{day}T06:00:00Z");
    let skip = ticks("0 6 * * *", "UTC", Missed::Skip);
    let due = skip.due(Some(last), now);
    assert_eq!((shown(&due), due.last), (vec![], last));
    let next = skip.next(Some(last), now).unwrap();
    assert_eq!(next.to_string(), at(6));
    assert_eq!(shown(&skip.due(Some(last), next)), [(at(6), 3)], "the next one knows of those that were let go");
    let once = ticks("0 6 * * *", "UTC", Missed::Once).due(Some(last), now);
    assert_eq!(shown(&once), [(at(5), 2)]);
    let all = ticks("0 6 * * *", "UTC", Missed::All).due(Some(last), now);
    assert_eq!(shown(&all), [(at(3), 0), (at(4), 0), (at(5), 0)]);
    assert_eq!(all.last.to_string(), at(5));
}

#[test]
fn of_what_was_missed_the_newest_are_called_and_the_others_counted() {
    let (last, now) = (time("2026-03-02T00:00:00Z"), time("2026-03-05T00:00:00Z"));
    let due = ticks("* * * * *", "UTC", Missed::All).due(Some(last), now);
    assert_eq!(due.ticks.len() as u64, MISSED_ALL_MAX);
    assert_eq!(due.ticks[0].missed, 3 * 24 * 60 - MISSED_ALL_MAX);
    let seconds = ticks("* * * * * *", "UTC", Missed::Once).due(Some(last), now);
    assert_eq!(seconds.ticks[0].missed, TICKS_COUNTED_MAX as u64 - 61, "those of the last minute were not missed");
    assert_eq!(seconds.ticks.len(), 61);
}

#[test]
fn a_node_that_starts_within_a_minute_has_missed_nothing() {
    let ticks = ticks("0 6 * * *", "UTC", Missed::Skip);
    let (last, moment) = (time("2026-03-01T06:00:00Z"), time("2026-03-02T06:00:00Z"));
    assert_eq!(ticks.due(Some(last), later(moment, TICK_LATE)).ticks.len(), 1);
    assert_eq!(ticks.due(Some(last), later(moment, TICK_LATE + 1)).ticks.len(), 0);
}

#[test]
fn jitter_is_the_same_on_every_node_and_another_for_each_function_and_moment() {
    let jittery = Schedule { jitter: Duration::from_secs(600), ..schedule("0 * * * *", "UTC", Missed::Skip) };
    let [one, again, other] = ["a/one", "a/one", "a/other"].map(|name| Ticks::new(&jittery, name).unwrap());
    let hours: Vec<Micros> = (0..200).map(|hour| Micros(time("2026-03-02T00:00:00Z").0 + hour * HOUR)).collect();
    let late = |ticks: &Ticks| hours.iter().map(|hour| ticks.called_at(*hour).0 - hour.0).collect::<Vec<i64>>();
    assert_eq!(late(&one), late(&again));
    let same = late(&one).iter().zip(late(&other)).filter(|(a, b)| *a == b).count();
    assert_eq!(same, 0);
    assert!(late(&one).iter().all(|late| (0..10 * MINUTE).contains(late)));
    let early = late(&one).iter().filter(|late| **late < 5 * MINUTE).count();
    assert!((60..140).contains(&early), "{early} of 200 in the first half");
    let due = one.due(Some(Micros(hours[0].0 - 1)), Micros(hours[0].0 + late(&one)[0] - 1));
    assert_eq!(due.ticks, []);
    let due = one.due(Some(Micros(hours[0].0 - 1)), Micros(hours[0].0 + late(&one)[0]));
    assert_eq!(due.ticks, [Tick { scheduled: hours[0], missed: 0 }]);
}

/// A clock that leaps to and fro by up to a day, whatever the node does then.
#[test]
fn a_clock_that_leaps_fires_no_moment_twice_and_loses_none() {
    for seed in 0..100_u64 {
        let mut mixed = seed;
        let mut chance = |n: i64| {
            mixed = mixed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((mixed >> 33) as i64).rem_euclid(n)
        };
        let ticks = ticks("*/7 * * * *", "Europe/Berlin", Missed::All);
        let start = time("2026-10-24T00:00:00Z").0;
        let (mut real, mut last, mut called) = (start, None, Vec::new());
        while real < start + 3 * DAY {
            real += chance(40 * MINUTE);
            let wrong = if chance(5) == 0 { chance(22 * HOUR) - 11 * HOUR } else { 0 };
            let due = ticks.due(last, Micros(real + wrong));
            last = Some(due.last);
            called.extend(due.ticks);
        }
        let all = ticks.moments.newest(Micros(start - DAY), Micros(start + 10 * DAY), 10_000);
        let first = called[0].scheduled;
        let expected: Vec<Micros> = all.into_iter().skip_while(|moment| *moment < first).take(called.len()).collect();
        assert_eq!(called.iter().map(|tick| tick.scheduled).collect::<Vec<_>>(), expected, "seed {seed}");
    }
}

#[test]
fn a_clock_that_was_days_ahead_leaves_a_schedule_that_goes_on_from_now() {
    let ticks = ticks("0 6 * * *", "UTC", Missed::Once);
    let (last, wrong, now) = (time("2026-03-02T06:00:00Z"), time("2300-01-01T00:00:00Z"), time("2026-03-02T07:00:00Z"));
    let due = ticks.due(Some(last), wrong);
    assert_eq!(due.ticks.len(), 1, "a leap is like having been off");
    assert_eq!(ticks.next(Some(due.last), now), Some(time("2026-03-03T06:00:00Z")));
    let due = ticks.due(Some(due.last), now);
    assert_eq!(due, Due { ticks: vec![], last: now });
}

#[test]
fn a_clock_that_was_set_back_by_an_hour_waits_until_it_is_there_again() {
    let ticks = ticks("*/30 * * * *", "UTC", Missed::All);
    let (last, now) = (time("2026-03-02T06:00:00Z"), time("2026-03-02T05:10:00Z"));
    assert_eq!(ticks.due(Some(last), now), Due { ticks: vec![], last });
    assert_eq!(ticks.next(Some(last), now), Some(time("2026-03-02T06:30:00Z")));
}
