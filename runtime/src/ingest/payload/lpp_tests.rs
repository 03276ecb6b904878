#![allow(clippy::unwrap_used)]

use super::*;

const NOW: Micros = Micros(1_700_000_000_000_000);

fn shown(found: Result<Vec<Measurement>, BodyError>) -> Vec<(String, String)> {
    let text = |value: &Value| value.to_json().to_string();
    found.unwrap().iter().map(|one| (one.sensor.to_string(), text(&one.value))).collect()
}

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// The examples that Cayenne's documentation prints.
#[test]
fn the_examples_of_cayenne_mean_what_they_say() {
    let two = cayenne(&hex("03 67 01 10 05 67 00 FF"));
    assert_eq!(shown(two), [("temperature_3".into(), "27.2".into()), ("temperature_5".into(), "25.5".into())]);
    let below = cayenne(&hex("01 67 FF D7"));
    assert_eq!(shown(below), [("temperature_1".into(), "-4.1".into())]);
    let moved = cayenne(&hex("06 71 04 D2 FB 2E 00 00"));
    assert_eq!(shown(moved), [("accelerometer_6".into(), r#"{"x":1.234,"y":-1.234,"z":0.0}"#.into())]);
    let place = cayenne(&hex("01 88 06 76 5f f2 96 0a 00 03 e8"));
    assert_eq!(shown(place), [("gps_1".into(), r#"{"latitude":42.3519,"longitude":-87.9094,"altitude":10.0}"#.into())]);
}

#[test]
fn every_type_has_its_size_and_its_resolution() {
    for (bytes, sensor, value) in [
        ("00 00 01", "digital_in_0", "1"),
        ("01 01 ff", "digital_out_1", "255"),
        ("02 02 ff ff", "analog_in_2", "-0.01"),
        ("03 03 01 a9", "analog_out_3", "4.25"),
        ("04 64 ff ff ff ff", "generic_4", "4294967295"),
        ("05 65 ff ff", "luminosity_5", "65535"),
        ("06 66 01", "presence_6", "1"),
        ("07 68 65", "relative_humidity_7", "50.5"),
        ("08 73 27 9b", "barometric_pressure_8", "1013.9"),
        ("09 74 01 4a", "voltage_9", "3.3"),
        ("0a 75 ff ff", "current_10", "65.535"),
        ("0b 76 33 ae bc 40", "frequency_11", "867089472"),
        ("0c 78 64", "percentage_12", "100"),
        ("0d 79 ff f6", "altitude_13", "-10"),
        ("0e 7d 01 90", "concentration_14", "400"),
        ("0f 80 03 e8", "power_15", "1000"),
        ("10 82 00 00 04 d2", "distance_16", "1.234"),
        ("11 83 00 00 04 d2", "energy_17", "1.234"),
        ("12 84 01 67", "direction_18", "359"),
        ("13 85 65 00 00 00", "unix_time_19", "1694498816"),
        ("14 86 00 64 ff 9c 00 00", "gyrometer_20", r#"{"x":1.0,"y":-1.0,"z":0.0}"#),
        ("15 87 ff aa 00", "colour_21", "\"#ffaa00\""),
        ("16 8e 01", "switch_22", "true"),
    ] {
        assert_eq!(shown(cayenne(&hex(bytes))), [(sensor.to_owned(), value.to_owned())], "{bytes}");
        assert_eq!(shown(xlpp(&hex(bytes), NOW)), [(sensor.to_owned(), value.to_owned())], "{bytes}");
    }
}

#[test]
fn xlpp_has_numbers_texts_lists_and_objects() {
    for (bytes, sensor, value) in [
        ("00 67 00 eb", "temperature_0", "23.5"),
        ("01 33 fc 50", "integer_1", "5182"),
        ("01 33 01", "integer_1", "-1"),
        ("01 33 ff ff ff ff ff ff ff ff ff 01", "integer_1", "-9223372036854775808"),
        ("02 34 74 65 73 74 20 3a 29 00", "string_2", "\"test :)\""),
        ("03 36", "bool_3", "true"),
        ("03 37", "bool_3", "false"),
        ("04 39 03 01 02 fe", "binary_4", r#"{"bytes":"0102fe"}"#),
        ("05 3a", "null_5", "null"),
        ("06 5b 66 05 65 00 2d 67 01 3c 5d", "array_6", "[5,45,31.6]"),
        ("07 7b 6e 00 33 02 6c 00 5b 5d 00", "object_7", r#"{"n":1,"l":[]}"#),
        ("08 95 07", "mosquito_8", "7"),
    ] {
        assert_eq!(shown(xlpp(&hex(bytes), NOW)), [(sensor.to_owned(), value.to_owned())], "{bytes}");
    }
}

#[test]
fn what_follows_a_delay_was_measured_before() {
    let found = xlpp(&hex("01 67 00 eb fd 01 1e 00 01 67 00 ea fd 00 00 0a 01 67 00 e9 fc 02 00 8e fb 01 05 8e"), NOW).unwrap();
    let ago = |seconds: i64| Some(Micros(NOW.0 - seconds * Micros::SECOND));
    assert_eq!(found.iter().map(|one| one.measured).collect::<Vec<_>>(), [None, ago(5_400), ago(5_410)]);
}

#[test]
fn what_is_wrong_is_named_with_its_byte() {
    for (bytes, said) in [
        ("03 67 01", "byte 2: temperature has 2 bytes, 1 are left"),
        ("03", "byte 1: the payload ends where a type should be"),
        ("01 67 00 eb 02 ee 00", "byte 5: CayenneLPP has no type 238"),
        ("01 33 02", "byte 1: CayenneLPP has no type 51"),
    ] {
        assert_eq!(cayenne(&hex(bytes)).unwrap_err().detail, said, "{bytes}");
    }
    for (bytes, said) in [
        ("02 34 74 65", "byte 2: a string has no end"),
        ("02 34 ff 00", "byte 2: a string is not UTF-8"),
        ("04 39 7f 01", "byte 3: a binary has 127 bytes, 1 are left"),
        ("04 39 ff ff ff ff ff ff ff ff ff 01 00", "byte 12: a binary has 18446744073709551615 bytes, 1 are left"),
        ("01 33 ff ff ff ff ff ff ff ff ff 02", "byte 2: a number has more than 64 bits"),
        ("fe 00 00", "byte 0: channel 254 is reserved"),
        ("06 5b 66 05", "byte 4: the payload ends where a value or the end of a list should be"),
    ] {
        assert_eq!(xlpp(&hex(bytes), NOW).unwrap_err().detail, said, "{bytes}");
    }
}

#[test]
fn lists_inside_lists_and_values_without_end_have_a_limit() {
    let deep = [vec![1], vec![ARRAY; XLPP_DEPTH_MAX + 1]].concat();
    assert!(xlpp(&deep, NOW).unwrap_err().detail.contains("inside each other"));
    let many = [5, NULL].repeat(crate::model::limit::UPLINK_READINGS_MAX + 1);
    assert!(xlpp(&many, NOW).unwrap_err().detail.contains("values in one uplink"));
}
