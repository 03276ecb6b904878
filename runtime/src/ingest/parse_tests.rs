#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    ingest::BodyErrorKind,
    model::{Micros, limit::VALUE_BYTES_MAX},
};

fn one(format: Format, body: &str) -> Result<Measured, BodyError> {
    value(format, &Bytes::copy_from_slice(body.as_bytes()))
}

fn json_value(body: &str) -> Value {
    one(Format::Json, body).unwrap().1
}

#[test]
fn a_value_is_any_json_and_stays_as_it_was_sent() {
    for text in ["9.5", "\"61.10\"", "null", "true", "[1, 2]", "{\"a\" : [1.0e3]}", "12345678901234567890.123", "\"a\\nb\""] {
        assert_eq!(json_value(&format!("{{\"value\": {text} }}")), Value::Json(text.into()), "{text}");
    }
    assert_eq!(json_value(" 9.5\n"), Value::Json("9.5".into()));
    assert_eq!(json_value("[1,2]"), Value::Json("[1,2]".into()));
}

#[test]
fn a_text_is_a_number_where_it_is_one_and_bytes_are_left_alone() {
    assert_eq!(one(Format::Text, "25.6\n").unwrap().1, Value::Json("25.6".into()));
    assert_eq!(one(Format::Text, "rather warm").unwrap().1, Value::Json("\"rather warm\"".into()));
    assert_eq!(one(Format::Bytes, "\u{1}x").unwrap().1, Value::Bytes(Bytes::from_static(b"\x01x")));
    assert_eq!(Format::of(Some("Text/Plain; charset=utf-8")), Format::Text);
    assert_eq!(Format::of(Some("application/x-www-form-urlencoded")), Format::Json);
    assert_eq!(Format::of(None), Format::Json);
}

#[test]
fn a_time_is_rfc_3339_with_any_offset_or_absent() {
    let at = |text: &str| one(Format::Json, &format!("{{\"value\":1,\"timestamp\":{text}}}")).map(|m| m.0);
    assert_eq!(at("\"2018-05-14T17:49:28.898+02:00\"").unwrap(), Some(Micros::parse("2018-05-14T15:49:28.898Z").unwrap()));
    assert_eq!(at("null").unwrap(), None);
    for wrong in ["\"yesterday\"", "1526313600", "\"1526313600\"", "{}", "\"2018-05-14T17:49:28\""] {
        let error = at(wrong).unwrap_err();
        assert_eq!((error.kind, error.field.as_deref()), (BodyErrorKind::Malformed, Some("timestamp")), "{wrong}");
    }
}

#[test]
fn what_no_function_could_read_is_refused_at_the_door() {
    let deep = format!("{}1{}", "[".repeat(1_000), "]".repeat(1_000));
    for bad in ["1e999", r#""\ud800""#, &deep] {
        let error = one(Format::Json, &format!("{{\"value\":{bad}}}")).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("value"), "{error}");
    }
}

#[test]
fn broken_json_names_its_place() {
    let error = one(Format::Json, "{\"value\": 9.5").unwrap_err();
    assert_eq!(error.line, Some(1));
    assert!(error.detail.contains("column"), "{error}");
    assert_eq!(one(Format::Json, "{\"valeu\": 9.5}").unwrap_err().field.as_deref(), Some("value"));
    assert!(one(Format::Json, "{\"value\":1,\"value\":2}").unwrap_err().detail.contains("duplicate"));
    assert!(one(Format::Json, "").is_err());
    assert!(values(b"[[1,2]]").is_err(), "a list is not an object");
}

#[test]
fn a_value_over_the_limit_is_too_large_in_every_format() {
    let long = format!("\"{}\"", "x".repeat(VALUE_BYTES_MAX));
    for format in [Format::Json, Format::Text, Format::Bytes] {
        let error = one(format, &long).unwrap_err();
        assert_eq!((error.kind, error.field.as_deref()), (BodyErrorKind::TooLarge, Some("value")));
    }
}

#[test]
fn an_error_in_a_list_names_the_element_and_in_lines_the_line() {
    let error = values(br#"[{"value":1},{"value":2,"timestamp":"x"}]"#).unwrap_err();
    assert_eq!(error.field.as_deref(), Some("[1].timestamp"));
    let error = readings(b"{\"device\":\"d\",\"sensor\":\"s\",\"value\":1}\n\n{\"device\":\"d\",\"value\":1}\n").unwrap_err();
    assert_eq!((error.field.as_deref(), error.line), (Some("sensor"), Some(3)));
    let error = readings(br#"[{"device":"d/1","sensor":"s","value":1}]"#).unwrap_err();
    assert_eq!(error.field.as_deref(), Some("[0].device"));
}

#[test]
fn a_batch_is_a_list_or_lines_and_means_the_same() {
    let lines = b"{\"device\":\"d1\",\"sensor\":\"t\",\"value\":1,\"extra\":[{}]}\r\n{\"sensor\":\"t\",\"device\":\"d2\",\"value\":\"x\"}";
    let list = br#"[{"device":"d1","sensor":"t","value":1},{"device":"d2","sensor":"t","value":"x"}]"#;
    let samples = readings(lines).unwrap();
    assert_eq!(samples, readings(list).unwrap());
    assert_eq!(samples.iter().map(|s| s.device.as_str()).collect::<Vec<_>>(), ["d1", "d2"]);
    assert_eq!(readings(b"\n").unwrap(), []);
}

#[test]
fn a_list_over_the_limit_is_refused_before_it_is_all_in_memory() {
    let body = format!("[{}{{\"value\":1}}]", "{\"value\":1},".repeat(INGEST_READINGS_MAX));
    assert_eq!(values(body.as_bytes()).unwrap_err().kind, BodyErrorKind::TooLarge);
}
