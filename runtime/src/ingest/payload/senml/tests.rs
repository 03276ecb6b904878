//! The examples are those of RFC 8428, chapters 5 and 6.
#![allow(clippy::unwrap_used)]

use super::*;

/// 2020-01-01T00:00:00Z.
const NOW: Micros = Micros(1_577_836_800_000_000);

fn resolved(text: &str) -> Vec<(String, String, String, i64)> {
    shown(samples(&json(text.as_bytes()).unwrap(), NOW).unwrap())
}

fn shown(samples: Vec<Sample>) -> Vec<(String, String, String, i64)> {
    let one = |s: Sample| (s.device.to_string(), s.sensor.to_string(), s.value.to_json().to_string(), s.measured.unwrap().0 - NOW.0);
    samples.into_iter().map(one).collect()
}

fn row(device: &str, sensor: &str, value: &str, micros: i64) -> (String, String, String, i64) {
    (device.to_owned(), sensor.to_owned(), value.to_owned(), micros)
}

fn refused(text: &str) -> BodyError {
    json(text.as_bytes()).and_then(|records| samples(&records, NOW)).unwrap_err()
}

#[test]
fn a_single_value_and_two_of_one_device() {
    let found = resolved(r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#);
    assert_eq!(found, [row("urn:dev:ow:10e2073a01080063", "Cel", "23.1", 0)]);
    let found = resolved(r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},{"n":"current","u":"A","v":1.2}]"#);
    let device = "urn:dev:ow:10e2073a01080063";
    assert_eq!(found, [row(device, "voltage", "120.1", 0), row(device, "current", "1.2", 0)]);
}

/// The times are less than 2^28 seconds away from the base, and the base is not.
const SERIES: &str = r#"[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
    {"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","t":-3,"v":1.4},{"n":"current","t":-2,"v":1.5},
    {"n":"current","t":-1,"v":1.6},{"n":"current","v":1.7}]"#;

#[test]
fn times_are_added_to_that_of_the_base() {
    let found = samples(&json(SERIES.as_bytes()).unwrap(), NOW).unwrap();
    let base = 1_276_020_076_001_000;
    let expected = [0, -5, -4, -3, -2, -1, 0].map(|seconds| Some(Micros(base + seconds * Micros::SECOND)));
    assert_eq!(found.iter().map(|sample| sample.measured).collect::<Vec<_>>(), expected);
    assert_eq!(found[0].sensor.as_str(), "voltage");
    assert!(found[1..].iter().all(|sample| sample.sensor.as_str() == "current"));
}

#[test]
fn a_small_time_counts_from_now_and_a_large_one_from_1970() {
    let found = resolved(r#"[{"n":"d/t","t":-60,"v":1},{"n":"d/t","t":0.5,"v":2},{"n":"d/t","t":1577836800,"v":3}]"#);
    assert_eq!(found.iter().map(|row| row.3).collect::<Vec<_>>(), [-60_000_000, 500_000, 0]);
    assert_eq!(refused(r#"[{"n":"d/t","t":1e300,"v":1}]"#).field.as_deref(), Some("[0].t"));
}

#[test]
fn where_all_have_one_name_their_units_are_the_sensors() {
    let found = resolved(
        r#"[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},{"u":"lon","v":24.30621},
            {"u":"lat","v":60.07965},{"t":60,"v":20.3},{"u":"%EL","t":150,"v":98}]"#,
    );
    assert_eq!(found.iter().map(|row| row.1.as_str()).collect::<Vec<_>>(), ["%RH", "lon", "lat", "%RH", "%EL"]);
    assert!(found.iter().all(|row| row.0 == "urn:dev:ow:10e2073a01080063"));
    assert_eq!(found[3].3 - found[0].3, 60_000_000);
}

#[test]
fn texts_flags_and_data_are_values_too() {
    let found = samples(
        &json(
            br#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},{"n":"label","vs":"Machine Room"},
                {"n":"open","vb":false},{"n":"nfc-reader","vd":"aGkgCg"}]"#,
        )
        .unwrap(),
        NOW,
    )
    .unwrap();
    assert_eq!(found[1].value, Value::json("\"Machine Room\"").unwrap());
    assert_eq!(found[2].value, Value::json("false").unwrap());
    assert_eq!(found[3].value, Value::Bytes(bytes::Bytes::from_static(b"hi \n")));
}

#[test]
fn a_base_holds_until_the_next_one() {
    let found = resolved(
        r#"[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},{"n":"humidity","u":"%RH","v":30},
            {"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3},{"n":"humidity","u":"%RH","v":67}]"#,
    );
    let names: Vec<_> = found.iter().map(|row| (row.0.as_str(), row.1.as_str())).collect();
    let both = |device| [(device, "temperature"), (device, "humidity")];
    assert_eq!(names, [both("2001:db8::2"), both("2001:db8::1")].concat());
}

#[test]
fn base_values_are_added_and_sums_are_sensors_of_their_own() {
    let found = resolved(r#"[{"bn":"d:","bv":20,"bs":100,"n":"t","v":1.5,"s":7},{"n":"t","v":2},{"n":"u"}]"#);
    let expected = [row("d", "t", "21.5", 0), row("d", "t.sum", "107", 0), row("d", "t", "22", 0), row("d", "u", "20", 0)];
    assert_eq!(found, expected);
    assert_eq!(resolved(r#"[{"n":"meter/energy","u":"J","s":15}]"#), [row("meter", "energy.sum", "15", 0)]);
}

#[test]
fn what_is_no_record_is_refused_with_its_place() {
    for (text, field, said) in [
        (r#"[{"n":"d/t","v":1},{"n":"d/u"}]"#, Some("[1].v"), "no value"),
        (r#"[{"n":"d/t","v":1,"vs":"x"}]"#, Some("[0].v"), "more than one value"),
        (r#"[{"v":1}]"#, Some("[0].n"), "no name"),
        (r#"[{"bver":11,"n":"d/t","v":1}]"#, Some("[0].bver"), "version 11"),
        (r#"[{"n":"d/t","v":1,"new_":2}]"#, None, "`new_` has to be understood"),
        (r#"[{"n":"d/t","v":1,"v":2}]"#, None, "stands twice"),
        (r#"[{"n":"d/t","v":"1"}]"#, None, "expected a number"),
        (r#"[{"n":"d/t","vd":"**"}]"#, None, "not base64url"),
        (r#"{"n":"d/t","v":1}"#, None, "expected"),
        (r#"[{"n":"a b/t","v":1}]"#, Some("[0].bn"), "can't stand in an id"),
    ] {
        let error = refused(text);
        assert_eq!(error.field.as_deref(), field, "{text}: {error}");
        assert!(error.detail.contains(said), "{text}: {error}");
    }
    assert_eq!(resolved(r#"[{"n":"d/t","v":1,"new":[{}],"ut":60}]"#), [row("d", "t", "1", 0)], "what may be ignored is");
}

/// The dump of chapter 6: the series above, in CBOR.
const CBOR: &str = "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120050067\
    766f6c7461676501615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333a3006763757272656e74062302fb3ff4\
    cccccccccccda3006763757272656e74062202fb3ff6666666666666a3006763757272656e74062102f93e00a3006763757272656e74062002fb\
    3ff999999999999aa3006763757272656e74060002fb3ffb333333333333";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn cbor_says_the_same_as_json() {
    let from_cbor = samples(&cbor(&hex(CBOR)).unwrap(), NOW).unwrap();
    let from_json = samples(&json(SERIES.as_bytes()).unwrap(), NOW).unwrap();
    assert_eq!(shown(from_cbor), shown(from_json));
}

#[test]
fn cbor_has_decimal_fractions_bytes_and_names_as_labels() {
    // [{"n": "d/t", 2: 4([-2, 27315])}, {0: "d/b", 8: h'0102'}, {0: "d/c", "ignored": [1], 4: true}]
    let found =
        samples(&cbor(&hex("83a2616e63642f7402c48221196ab3a20063642f6208420102a30063642f636769676e6f726564810104f5")).unwrap(), NOW);
    let values: Vec<Value> = found.unwrap().into_iter().map(|sample| sample.value).collect();
    let expected = [Value::json("273.15").unwrap(), Value::Bytes(bytes::Bytes::from_static(&[1, 2])), Value::json("true").unwrap()];
    assert_eq!(values, expected);
}

#[test]
fn broken_cbor_is_refused_with_its_byte() {
    for (bytes, said) in [
        ("81a10063642f", "ends after 6 bytes"),
        ("81a20063642f7402ff", "byte 9: "),
        ("81a20063642f74020100", "byte 9: something follows"),
        ("81a20063642f7402c1190100", "tag 1 is not a number"),
        ("a0", "expected"),
        ("81a20063642f7402f97e00", "not finite"),
        ("", "ends after 0 bytes"),
    ] {
        let error = cbor(&hex(bytes)).unwrap_err();
        assert!(error.detail.contains(said), "{bytes}: {error}");
    }
}

#[test]
fn an_uplink_is_of_its_device_whatever_it_calls_itself() {
    let device = Id::new("d1").unwrap();
    let sensors = |text: &str| -> Vec<String> {
        let found = measurements(&json(text.as_bytes()).unwrap(), &device, NOW).unwrap();
        found.iter().map(|one| one.sensor.to_string()).collect()
    };
    assert_eq!(sensors(r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","v":1},{"n":"hum","v":2}]"#), ["temp", "hum"]);
    assert_eq!(sensors(r#"[{"bn":"d1/","n":"temp","v":1}]"#), ["temp"]);
    assert_eq!(sensors(r#"[{"n":"temp","v":1},{"n":"a/b","v":1},{"u":"Cel","v":1},{"v":1}]"#), ["temp", "a.b", "Cel", "value"]);
    assert_eq!(sensors(r#"[{"bn":"temp","u":"Cel","v":1}]"#), ["temp"]);
    // The objects of LwM2M.
    assert_eq!(sensors(r#"[{"bn":"/3303/0/","n":"5700","v":1},{"bn":"/3303/1/","n":"5700","v":1}]"#), ["3303.0.5700", "3303.1.5700"]);
}
