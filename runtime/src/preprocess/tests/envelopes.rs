use crate::model::id::default_tenant;
use crate::preprocess::*;

const NOW: Micros = Micros(1_700_000_000_000_000);

fn envelope(measured: Option<Micros>) -> Envelope {
    let id = |text| Id::new(text).unwrap();
    let sample = Sample { device: id("fridge1"), sensor: id("temp"), measured, value: Value::json("\"61.10\"").unwrap() };
    Envelope { tenant: default_tenant(), received: NOW, samples: vec![sample] }
}

#[test]
fn a_device_without_a_clock_measures_when_we_receive() {
    let readings = readings(envelope(None)).unwrap();
    assert_eq!((readings[0].measured, readings[0].received), (NOW, NOW));
}

#[test]
fn a_value_stays_as_it_was_sent() {
    assert_eq!(readings(envelope(None)).unwrap()[0].value, Value::Json("\"61.10\"".into()));
}

#[test]
fn a_clock_two_hours_ahead_is_kept_and_one_of_the_next_century_refused() {
    let ahead = Micros(NOW.0 + 7_200 * Micros::SECOND);
    assert_eq!(readings(envelope(Some(ahead))).unwrap()[0].measured, ahead);
    let garbage = Micros(NOW.0 + 100 * 366 * 86_400 * Micros::SECOND);
    assert_eq!(readings(envelope(Some(garbage))), Err(TooFarAhead { index: 0, measured: garbage }));
}
