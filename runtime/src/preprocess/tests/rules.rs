//! Rules as documents: what they come to, and what is refused, where and why.

use crate::{
    model::{Id, Kind, Micros, NewEvent, Value, id::default_tenant, limit::*},
    preprocess::{Of, Rule, RuleError},
};
use serde_json::{Value as Json, json};

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn rule(steps: Json) -> Result<Rule, RuleError> {
    Rule::of(&id("pond"), json!({ "device": "pond1", "sensor": "temp", "steps": steps }))
}

/// What becomes of values that come a minute apart: the value or, of what was taken out, the code.
fn cleaned(rule: &Rule, values: &[&str]) -> Vec<String> {
    let mut state = rule.recall(None);
    let reading = |(n, value): (usize, &&str)| {
        let time = Micros(n as i64 * 60 * Micros::SECOND);
        NewEvent::reading(&default_tenant(), &id("pond1"), &id("temp"), time, time, Value::json(value).unwrap())
    };
    let said = |event: NewEvent| match event.kind {
        Kind::Dropped => event.value.to_json()["code"].as_str().unwrap().to_owned(),
        _ => event.value.to_json().to_string(),
    };
    values.iter().enumerate().map(reading).map(|reading| said(rule.clean(&mut state, reading))).collect()
}

#[test]
fn each_step_is_said_in_a_line() {
    for (step, sent, becomes) in [
        (json!({ "calibrate": { "points": [[900, 100], [300, 0]] } }), vec!["900", "\"300\"", "609"], vec!["100", "0", "51.5"]),
        (json!({ "calibrate": { "gain": 2, "offset": 0.5 } }), vec!["10"], vec!["20.5"]),
        (json!({ "calibrate": { "polynomial": [1, 0, 2] } }), vec!["3"], vec!["19"]),
        (json!({ "calibrate": { "table": [[0, 0], [10, 100], [20, 150]] } }), vec!["5", "15", "30"], vec!["50", "125", "150"]),
        (json!({ "calibrate": { "table": [[0, 0], [10, 100]], "beyond": "drop" } }), vec!["11"], vec!["beyond"]),
        (json!({ "unit": { "from": "[degF]", "to": "Cel" } }), vec!["212", "-40"], vec!["100", "-40"]),
        (json!({ "range": { "min": 0, "max": 40 } }), vec!["-0.5", "0", "40.5", "\"dry\""], vec!["below", "0", "above", "\"dry\""]),
        (json!({ "range": { "max": 100, "outside": "clamp" } }), vec!["104"], vec!["100"]),
        (json!({ "spike": { "window": 3, "at_least": 1 } }), vec!["8", "8", "8", "85", "8"], vec!["8", "8", "8", "spike", "8"]),
        (json!({ "spike": { "window": 3, "at_least": 1, "instead": "median" } }), vec!["8", "8", "8", "85"], vec!["8", "8", "8", "8"]),
        (json!({ "stuck": { "readings": 3 } }), vec!["1", "1", "1", "2"], vec!["1", "1", "stuck", "2"]),
        (json!({ "stuck": { "for": "90s" } }), vec!["1", "1", "1", "2"], vec!["1", "1", "stuck", "2"]),
        (json!({ "duplicate": {} }), vec!["1", "1"], vec!["1", "1"]),
        (json!({ "thin": { "every": "2m" } }), vec!["1", "2", "3"], vec!["1", "thinned", "3"]),
        (json!({ "thin": { "change": 0.5 } }), vec!["1", "1.5", "1.6"], vec!["1", "unchanged", "1.6"]),
    ] {
        assert_eq!(cleaned(&rule(json!([step])).unwrap(), &sent), becomes, "{step}");
    }
}

#[test]
fn a_changed_reading_has_what_was_sent_beside_it_and_one_taken_out_says_why() {
    let rule = rule(json!([{ "unit": { "from": "[degF]", "to": "Cel" } }, { "range": { "max": 40 } }])).unwrap();
    let reading = |value: &str| {
        let value = Value::json(value).unwrap();
        NewEvent::reading(&default_tenant(), &id("pond1"), &id("temp"), Micros(1), Micros(2), value)
    };
    let mut state = rule.recall(None);
    let changed = rule.clean(&mut state, reading("\"50.0\""));
    assert_eq!(
        (changed.kind, changed.value, changed.raw),
        (Kind::Reading, Value::json("10").unwrap(), Value::json("\"50.0\"").map(Box::new))
    );
    let dropped = rule.clean(&mut state, reading("212"));
    assert_eq!((dropped.kind, dropped.subject.as_str()), (Kind::Dropped, "dropped.pond1.temp"));
    assert_eq!((dropped.raw, dropped.measured, dropped.device), (Value::json("212").map(Box::new), Micros(1), Some(id("pond1"))));
    let why = json!({ "rule": "pond", "step": "steps[1]", "code": "above", "reason": "100 is above 40" });
    assert_eq!(dropped.value.to_json(), why);
    let word = rule.clean(&mut state, reading("\"dry\""));
    assert_eq!((word.value, word.raw), (Value::json("\"dry\"").unwrap(), None));
}

#[test]
fn the_story_of_the_guide_is_told_as_it_is() {
    let guide = include_str!("../../../../docs/guide/cleaning.md");
    let part = |from: &str, to: &str| {
        let rest = guide.split_once(from).unwrap().1;
        rest.split_once(to).unwrap().0.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let document = crate::model::manifest::toml_to_json(&part("`pond.toml`:", "Set it").join("\n")).unwrap();
    let rule = Rule::of(&id("pond-temperature"), document).unwrap();
    let mut state = rule.recall(None);
    let mut told = Vec::new();
    for line in part("timestamp,value", "The rule is") {
        let (time, value) = line.split_once(',').unwrap();
        let (time, value) = (Micros::parse(time).unwrap(), Value::json(value).unwrap());
        let event = rule.clean(&mut state, NewEvent::reading(&default_tenant(), &id("pond1"), &id("temp"), time, time, value));
        let (sent, value) = (event.raw.unwrap().to_json(), event.value.to_json());
        told.push(match event.kind {
            Kind::Dropped => format!("dropped  dropped.pond1.temp  {sent} (pond-temperature: {})", value["reason"].as_str().unwrap()),
            _ => format!("reading  reading.pond1.temp  {value} (sent as {sent})"),
        });
    }
    told.reverse();
    let shown: Vec<&str> = part("VALUE\n", "The device was").iter().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(told, shown);
}

#[test]
fn what_is_remembered_counts_for_the_same_steps_alone() {
    let steps = json!([{ "stuck": { "readings": 3 } }]);
    let first = rule(steps.clone()).unwrap();
    let mut state = first.recall(None);
    let reading = || NewEvent::reading(&default_tenant(), &id("pond1"), &id("temp"), Micros(1), Micros(1), Value::json("1").unwrap());
    for _ in 0..2 {
        assert_eq!(first.clean(&mut state, reading()).kind, Kind::Reading);
    }
    let kept = first.keep(&state);
    let kind_by = |rule: &Rule, kept: &[u8]| rule.clean(&mut rule.recall(Some(kept)), reading()).kind;
    assert_eq!(kind_by(&rule(steps).unwrap(), &kept), Kind::Dropped, "the third of the same");
    assert_eq!(kind_by(&rule(json!([{ "stuck": { "readings": 2 } }])).unwrap(), &kept), Kind::Reading, "other steps begin anew");
    assert_eq!(kind_by(&first, b"garbage"), Kind::Reading);
    assert_eq!(kind_by(&first, &kept[..kept.len() - 1]), Kind::Reading);
}

#[test]
fn what_is_wrong_is_refused_with_its_place_and_a_reason() {
    let long: Vec<Json> = (0..=CLEAN_TABLE_POINTS_MAX).map(|n| json!([n, n])).collect();
    for (step, field, why) in [
        (json!({ "unit": { "from": "Cel", "to": "m" } }), "steps[0].unit", "measure different things"),
        (json!({ "unit": { "from": "celsius", "to": "K" } }), "steps[0].unit.from", "`celsius` is no unit of UCUM"),
        (json!({ "unit": { "from": "Cel" } }), "steps[0].unit.to", "it is missing"),
        (json!({ "spike": { "window": 0 } }), "steps[0].spike.window", "from 3 to 64"),
        (json!({ "spike": { "window": CLEAN_WINDOW_MAX + 1 } }), "steps[0].spike.window", "from 3 to 64"),
        (json!({ "spike": { "sigmas": 0 } }), "steps[0].spike.sigmas", "above 0"),
        (json!({ "spike": { "sigma": 3 } }), "steps[0].spike.sigma", "there is no such field"),
        (json!({ "range": {} }), "steps[0].range", "`min`, `max`, or both"),
        (json!({ "range": { "min": 5, "max": 5 } }), "steps[0].range.max", "above `min`"),
        (json!({ "range": { "min": 5, "outside": "hide" } }), "steps[0].range.outside", "none of drop, clamp"),
        (json!({ "stuck": { "readings": 1 } }), "steps[0].stuck.readings", "from 2"),
        (json!({ "stuck": { "for": "0s" } }), "steps[0].stuck.for", "from `1ms`"),
        (json!({ "stuck": { "for": "long" } }), "steps[0].stuck.for", "is not a duration"),
        (json!({ "duplicate": { "last": 65 } }), "steps[0].duplicate.last", "from 1 to 64"),
        (json!({ "thin": { "every": "9000000h" } }), "steps[0].thin.every", "to a year"),
        (json!({ "thin": { "change": -1 } }), "steps[0].thin.change", "no sign"),
        (json!({ "calibrate": {} }), "steps[0].calibrate", "one of"),
        (json!({ "calibrate": { "points": [[1, 2], [1, 3]] } }), "steps[0].calibrate.points", "no line goes through"),
        (json!({ "calibrate": { "points": [[1, 2], [2, 2]] } }), "steps[0].calibrate.points", "come to the same"),
        (json!({ "calibrate": { "points": [[1, 2]] } }), "steps[0].calibrate.points", "2 to 2 are wanted"),
        (json!({ "calibrate": { "table": [[1, 2], ["x", 2]] } }), "steps[0].calibrate.table[1]", "two numbers"),
        (json!({ "calibrate": { "table": [[1, 2], [1, 3]] } }), "steps[0].calibrate.table", "have to rise"),
        (json!({ "calibrate": { "table": long } }), "steps[0].calibrate.table", "2 to 64"),
        (json!({ "calibrate": { "polynomial": vec![1; CLEAN_COEFFICIENTS_MAX + 1] } }), "steps[0].calibrate.polynomial", "1 to 8"),
        (json!({ "calibrate": { "gain": 0 } }), "steps[0].calibrate.gain", "come to the same"),
        (json!({ "calibrate": { "gain": 2, "beyond": "drop" } }), "steps[0].calibrate.beyond", "said of a table"),
        (json!({ "smooth": {} }), "steps[0].smooth", "there is no such field"),
        (json!({ "range": { "min": 1 }, "duplicate": {} }), "steps[0]", "one step is wanted"),
        (json!({}), "steps[0]", "one step is wanted"),
        (json!("range"), "steps[0]", "a table is wanted"),
    ] {
        let error = rule(json!([step])).unwrap_err();
        assert_eq!(error.field, field, "{step}: {error}");
        assert!(error.why.contains(why), "{step}: {error}");
    }
}

#[test]
fn a_rule_says_whose_readings_it_is_for() {
    let steps = json!([{ "duplicate": {} }]);
    let of = |mut document: Json| {
        document["steps"] = steps.clone();
        Rule::of(&id("r"), document)
    };
    let by_text = of(json!({ "select": "kind=Thermometer,tags=pond" })).unwrap();
    let by_table = of(json!({ "select": { "kind": "Thermometer", "tags": ["pond"] } })).unwrap();
    assert_eq!(by_text.of, by_table.of);
    assert!(matches!(of(json!({ "device": "d", "sensor": "s" })).unwrap().of, Of::Sensor(_)));
    for (document, field) in [
        (json!({}), "select"),
        (json!({ "device": "d" }), "sensor"),
        (json!({ "sensor": "s" }), "device"),
        (json!({ "device": "d", "sensor": "s", "select": "kind=x" }), "select"),
        (json!({ "device": "a/b", "sensor": "s" }), "device"),
        (json!({ "select": "" }), "select"),
        (json!({ "select": "colour=red" }), "select.colour"),
        (json!({ "select": { "kind": null } }), "select.select"),
        (json!({ "select": "kind=x,seen_within=1h" }), "select.seen_within"),
        (json!({ "device": "d", "sensor": "s", "name": "other" }), "name"),
        (json!({ "device": "d", "sensor": "s", "after": 1 }), "after"),
    ] {
        assert_eq!(of(document.clone()).unwrap_err().field, field, "{document}");
    }
    let long = Rule::of(&id("r"), json!({ "select": "x".repeat(CLEAN_RULE_BYTES_MAX) })).unwrap_err();
    assert!(long.why.starts_with("a rule has at most 65536 bytes"), "{long}");
    let none = Rule::of(&id("r"), json!({ "device": "d", "sensor": "s" })).unwrap_err();
    assert_eq!(none.field, "steps");
    let many = vec![json!({ "duplicate": {} }); CLEAN_STEPS_MAX + 1];
    assert_eq!(rule(Json::Array(many)).unwrap_err().why, "1 to 16 are wanted, these are 17");
}
