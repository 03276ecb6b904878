//! What people type, and what they find.

use super::{History, Place, find, history_of, log_line, message, micros, reading, sorted};
use crate::{
    history::{HistoryError, HistoryErrorKind, Query},
    model::{Event, Id, id::default_tenant},
};
use std::sync::Arc;

fn place() -> Place {
    let day = |day: u32| micros(&format!("2026-03-{day:02}T12:00:00Z"));
    history_of(&[
        reading(1, "fridge1", "temp", day(1), "9.5"),
        reading(2, "fridge1", "temp", day(2), "\"7.25\""),
        reading(3, "fridge2", "temp", day(3), "-3"),
        reading(4, "gw.7-a:b", "door-1", day(4), "\"open wide\""),
        reading(5, "fridge1", "state", day(5), r#"{"mode":"eco","alarm":true,"parts":["Fan","lamp"]}"#),
        message(6, "alerts.fridge1", day(6), r#"{"device":"fridge1","text":"The door open too long"}"#),
        message(7, "alerts.cellar", day(7), r#""flooded""#),
        log_line(8, "fridge-alert", "on-temp", "c-77.x", day(8), "error", "door open: too warm at 9.5"),
        log_line(9, "fridge-alert", "on-temp", "c-78.x", day(9), "info", "all good"),
        log_line(10, "daily", "sum", "c-79.x", day(10), "warn", "door closed; open window"),
        reading(11, "fridge1", "temp", day(11), "0.0"),
    ])
}

#[test]
fn the_language() {
    let place = place();
    let table: &[(&str, &[u64])] = &[
        ("", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("*", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        // Fields and numbers.
        ("device:fridge1 AND value:>8", &[1]),
        ("device:fridge1 value:>=7.25", &[1, 2]),
        ("value:[-3 TO 7.25]", &[2, 3, 11]),
        ("value:{-3 TO 7.25]", &[2, 11]),
        ("value:[-3 TO 7.25}", &[3, 11]),
        ("value:{* TO 0}", &[3]),
        ("value:-3", &[3]),
        ("value:<=-3", &[3]),
        ("value:-0", &[11]),
        ("value:7.25", &[2]),
        ("value:>1e1", &[]),
        // Ids mean themselves.
        ("device:gw.7-a:b", &[4]),
        ("device:\"gw.7-a:b\"", &[4]),
        ("sensor:door-1", &[4]),
        ("device:gw.7-a", &[]),
        ("device:FRIDGE1", &[]),
        ("device:fridge*", &[1, 2, 3, 5, 11]),
        ("device:*", &[1, 2, 3, 4, 5, 11]),
        ("subject:alerts.*", &[6, 7]),
        ("subject:alerts.fridge1", &[6]),
        ("device:fridge\\1", &[1, 2, 5, 11]),
        // Texts.
        ("value:open", &[4, 6, 8, 10]),
        ("kind:reading value:open", &[4]),
        ("\"door open\"", &[6, 8]),
        ("text:\"open door\"", &[]),
        ("text:(door window)", &[10]),
        ("eco", &[5]),
        ("text:fa*", &[5]),
        ("text:true", &[5]),
        ("text:LAMP", &[5]),
        ("flooded", &[7]),
        // A bare word is an id too.
        ("fridge1", &[1, 2, 5, 6, 11]),
        ("fridge-alert", &[8, 9]),
        ("c-77.x", &[8]),
        // Log lines.
        ("kind:log level:error app:fridge-alert", &[8]),
        ("level:>=warn", &[8, 10]),
        ("level:<warn", &[9]),
        ("level:Error", &[8]),
        ("function:sum", &[10]),
        ("call:c-78.x", &[9]),
        ("cause:8", &[9]),
        // Both, either, neither.
        ("device:fridge2 OR kind:message", &[3, 6, 7]),
        ("device:fridge1 sensor:temp OR device:fridge2", &[1, 2, 3, 11]),
        ("device:fridge1 AND (value:>9 OR value:<1)", &[1, 11]),
        ("device:(fridge1 OR fridge2) sensor:temp", &[1, 2, 3, 11]),
        ("device:fridge1 NOT sensor:temp", &[5]),
        ("device:fridge1 -sensor:temp", &[5]),
        ("NOT kind:reading", &[6, 7, 8, 9, 10]),
        ("NOT (kind:reading OR kind:log)", &[6, 7]),
        ("kind:log NOT NOT level:info", &[9]),
        ("device:\"AND\"", &[]),
        // Times and sequences.
        ("measured:2026-03-03", &[3]),
        ("measured:[2026-03-03 TO 2026-03-04]", &[3, 4]),
        ("measured:{2026-03-03 TO 2026-03-05}", &[4]),
        ("measured:>=2026-03-10", &[10, 11]),
        ("measured:<2026-03-02T12:00:00Z", &[1]),
        ("measured:2026-03-02T13:00:00+01:00", &[2]),
        ("seq:5", &[5]),
        ("seq:[3 TO 4]", &[3, 4]),
        ("seq:>9", &[10, 11]),
        ("received:*", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    ];
    for (text, wanted) in table {
        let page = find(&place.history, text);
        assert_eq!(sorted(&page), *wanted, "{text}");
        assert_eq!(page.total, wanted.len() as u64, "{text}");
        let count = place.history.count(&Query::new(default_tenant(), text)).unwrap();
        assert_eq!(count, page.total, "{text}");
    }
}

fn refusal(history: &History, text: &str) -> String {
    let error = history.search(&Query::new(default_tenant(), text)).unwrap_err();
    assert_eq!(error.kind(), HistoryErrorKind::Query, "{text}");
    error.to_string()
}

#[test]
fn what_is_wrong_is_said_with_its_column() {
    let place = place();
    for (text, column, part) in [
        ("devise:fridge1", 1, "there is no field `devise`, only device, sensor, value"),
        ("devise:fridge1", 1, "did you mean `device`?"),
        ("a b 10:30", 5, "quote what is before and after the colon"),
        ("device:fridge1 AND", 19, "a condition is missing at the end"),
        ("AND device:x", 1, "a condition is missing before `AND`"),
        ("(device:x", 1, "the parenthesis that begins here has no end"),
        ("device:x )", 10, "nothing is open here"),
        ("device:", 8, "`device:` has no value; `device:*` finds"),
        ("say \"hello", 5, "the quote that begins here has no end"),
        ("value:[1 5]", 10, "a range is `[a TO b]`"),
        ("value:[1 TO 5", 7, "the range that begins here has no end"),
        ("value:>warm", 7, "`warm` is not a number"),
        ("value:[1 TO NaN]", 7, "`NaN` is not a number"),
        ("device:[a TO b]", 8, "`device` has no ranges"),
        ("[1 TO 2]", 1, "a range needs a field"),
        ("measured:yesterday", 10, "`yesterday` is not a time"),
        ("measured:2026-02-30", 10, "is not a time"),
        ("kind:readings", 6, "`readings` is not a kind: reading, message, command, log"),
        ("level:loud", 7, "`loud` is not a level: trace"),
        ("seq:-1", 5, "`-1` is not a sequence number"),
        ("device:fr*ge", 10, "`*` stands for the end of a word"),
        ("device:(sensor:x)", 9, "stands inside the parentheses of another field"),
        ("x\\", 2, "escapes nothing"),
    ] {
        let error = refusal(&place.history, text);
        assert!(error.starts_with(&format!("column {column}: ")), "{text}: {error}");
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_query_has_a_length_and_a_depth() {
    let place = place();
    let deep = |depth: usize| format!("{}temp{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(find(&place.history, &deep(32)).total, 4);
    assert!(refusal(&place.history, &deep(33)).contains("more than 32 parentheses"));
    assert!(refusal(&place.history, &"NOT ".repeat(40)).contains("inside each other"));
    let long = "x ".repeat(3_000);
    assert!(refusal(&place.history, &long).contains("at most 4096 bytes"));
    let many = vec!["device:fridge1"; 200].join(" OR ");
    assert_eq!(find(&place.history, &many).total, 4);
}

#[test]
fn a_query_has_a_most_of_conditions() {
    let place = place();
    let of = |count: usize| format!("value:({})", vec!["1"; count].join(" OR "));
    find(&place.history, &of(256));
    let refused = refusal(&place.history, &of(257));
    assert!(refused.contains("at most 256 conditions"), "{refused}");
}

#[test]
fn another_tenant_is_out_of_reach_whatever_the_text_says() {
    let day = micros("2026-03-01T00:00:00Z");
    let of = |seq: u64, tenant: &str| {
        let mut event = Event::clone(&reading(seq, "fridge1", "temp", day, "1"));
        event.body.tenant = Id::new(tenant).unwrap();
        Arc::new(event)
    };
    let place = history_of(&[of(1, "main"), of(2, "other"), of(3, "other")]);
    for text in ["", "*", "NOT device:x", "device:fridge1 OR device:fridge1", "NOT NOT NOT device:y", "seq:[1 TO 9]", "value:* OR kind:*"] {
        assert_eq!(sorted(&find(&place.history, text)), [1], "{text}");
    }
    for text in ["tenant:other", ") OR (tenant:other", "device:fridge1) OR (device:*"] {
        assert!(matches!(place.history.search(&Query::new(default_tenant(), text)), Err(HistoryError::Query(_))), "{text}");
    }
    let theirs = place.history.search(&Query::new(Id::new("other").unwrap(), "")).unwrap();
    assert_eq!(sorted(&theirs), [2, 3]);
}
