//! What the fake host makes of events is what a node tells of a trigger.

use std::time::Duration;
use tawi::testing::{Host, Told};
use tawi::trigger::Reading;
use tawi::{Batch, Crossing, Error, Event, Silence, Tick, Timestamp, Window, json, publish, state};

const HOUR: (&str, &str) = ("2026-05-01T08:00:00Z", "2026-05-01T09:00:00Z");

#[test]
fn a_window_adds_up_what_was_measured_in_the_order_of_measuring() {
    let host = Host::new();
    let oxygen = |value: &str, minute: u32| {
        let value: tawi::Json = value.parse().unwrap_or_else(|_| value.into());
        host.event("reading.pond1.oxygen", value).measured_at(format!("2026-05-01T08:{minute:02}:00Z").as_str())
    };
    let of = [oxygen("8", 30), oxygen("\"7.0\"", 10), oxygen("error", 59), oxygen("6", 20)];
    let window = host.window(HOUR.0, HOUR.1, of.clone());
    let it = &window.aggregate;
    assert_eq!((it.readings, it.count, it.sum, it.mean), (4, 3, Some(21.0), Some(7.0)));
    assert_eq!((it.min, it.max, it.first, it.last), (Some(6.0), Some(8.0), Some(7.0), Some(8.0)));
    assert_eq!((window.device().ok(), window.sensor().ok(), window.length()), (Some("pond1"), Some("oxygen"), Duration::from_secs(3600)));
    assert_eq!((window.is_correction(), &window.readings), (false, &None));
    let late = oxygen("5", 5);
    let corrected = window.with_percentile(95.0, 7.9).revised(1).with_readings(of.into_iter().chain([late]));
    assert_eq!((corrected.is_correction(), corrected.aggregate.first, corrected.aggregate.readings), (true, Some(5.0), 5));
    assert_eq!((corrected.aggregate.percentile(95.0), corrected.aggregate.percentile(50.0)), (Some(7.9), None));
    let minutes: Vec<_> = corrected.readings.iter().flatten().map(|it| it.measured.to_string()[14..16].to_owned()).collect();
    assert_eq!(minutes, ["05", "10", "20", "30", "59"]);
}

#[test]
fn a_window_without_numbers_has_no_mean_and_one_of_two_sensors_no_sensor() {
    let host = Host::new();
    let window = host.window(HOUR.0, HOUR.1, [host.event("reading.d.door", "open"), host.event("reading.d.lamp", true)]);
    let it = &window.aggregate;
    assert_eq!((it.readings, it.count, it.sum, it.mean, it.max), (2, 0, None, None, None));
    assert!(window.sensor().is_err_and(|error| !error.is_retry() && error.reason().contains("no sensor")));
    let one = host.window(HOUR.0, HOUR.1, [host.event("reading.d.door", "open")]);
    assert_eq!((one.sensor().ok(), one.clone().of_device().sensor), (Some("door"), None));
    let session = window.replacing([HOUR.0]);
    assert_eq!(session.replaces, [session.start]);
}

#[test]
#[should_panic(expected = "a window holds one reading at least")]
fn there_is_no_window_without_a_reading() {
    Host::new().window(HOUR.0, HOUR.1, []);
}

#[test]
fn every_call_has_an_id_of_its_own_and_its_readings_have_theirs() {
    let host = Host::new();
    let event = host.event("reading.d.s", 1);
    let (first, second) = (host.batch([event.clone()]), host.batch([event.clone()]));
    assert_eq!(first.delivery.function, "test");
    assert_ne!(first.delivery.id, second.delivery.id);
    assert!(event.sequence() < first.delivery.sequence && first.delivery.sequence < second.delivery.sequence);
    assert_eq!(first.readings, [Reading::from(event.clone())]);
    assert_eq!(first.readings[0].sequence, event.sequence());
    let again = first.clone().on_attempt(3).for_function("forward");
    assert_eq!((again.delivery.attempt, again.delivery.function.as_str(), again.call()), (3, "forward", first.call()));
}

#[test]
fn a_silence_lasts_from_the_last_reading_to_the_first() {
    let host = Host::new();
    let silence = host.silence("pond.1", "oxygen", "2026-01-01T11:00:00Z");
    assert_eq!((silence.device().ok(), silence.sensor().ok(), silence.lasted()), (Some("pond.1"), Some("oxygen"), None));
    let back = silence.back_with(host.event("reading.pond%2E1.oxygen", 7));
    assert_eq!(back.lasted(), Some(Duration::from_secs(3600)));
}

#[test]
fn a_change_is_a_difference_only_between_numbers() {
    let host = Host::new();
    let event = |value: tawi::Json| host.event("reading.d.s", value);
    assert_eq!(host.change(event(json!(4))).difference(), None);
    assert_eq!(host.change(event(json!("5.5"))).after(event(json!(4))).difference(), Some(1.5));
    assert_eq!(host.change(event(json!("open"))).after(event(json!(4))).difference(), None);
}

#[test]
fn a_crossing_is_when_it_was_measured_unless_it_was_held() {
    let host = Host::new();
    let crossing = host.crossing(host.event("reading.d.s", 9).measured_at(HOUR.1));
    assert_eq!((crossing.beyond, crossing.since), (true, crossing.reading.measured));
    let held = crossing.crossed_at(HOUR.0).and_back();
    assert_eq!((held.beyond, held.since.to_string().as_str()), (false, HOUR.0));
}

#[test]
fn a_reading_of_a_message_has_no_device() {
    let host = Host::new();
    let message = &host.batch([host.event("alerts.fridge1", json!({ "n": 1 }))]).readings[0];
    assert!(message.device().is_err() && message.sensor().is_err() && message.number().is_none());
    assert_eq!(message.value::<tawi::Json>().ok(), Some(json!({ "n": 1 })));
}

#[test]
fn a_handler_of_a_trigger_that_fails_leaves_nothing() -> tawi::Result {
    let host = Host::new();
    let count = |tick: Tick| -> tawi::Result {
        state::set("at", &tick.scheduled)?;
        publish("said", &tick.missed)?;
        if tick.delivery.attempt > 1 { Ok(()) } else { Err(Error::retry("not yet")) }
    };
    let tick = host.tick("2026-05-01T06:00:00Z").with_missed(2);
    assert!(host.run(count, tick.clone()).is_err_and(|error| error.is_retry()));
    assert!(host.published().is_empty() && host.state_keys().is_empty());
    host.run(count, tick.on_attempt(2))?;
    assert_eq!((host.state::<Timestamp>("at").map(|it| it.day()), host.published()[0].json()), (Some("2026-05-01".into()), json!(2)));
    Ok(())
}

/// One crate may have all of them.
mod app {
    use super::*;

    #[tawi::event]
    fn event(_: Event) {}
    #[tawi::schedule]
    fn schedule(_: Tick) {}
    #[tawi::batch]
    fn batch(_: Batch) {}
    #[tawi::window]
    fn window(_: Window) {}
    #[tawi::silence]
    fn silence(_: Silence) {}
    #[tawi::change]
    fn change(_: tawi::Change) {}
    #[tawi::threshold]
    fn threshold(_: Crossing) {}
}
