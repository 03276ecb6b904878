//! Derived sensors as documents: what they come to, and what is refused, where and why.

use crate::{
    model::{
        Id,
        derive::What,
        limit::CLEAN_FILLED_MAX,
        manifest::{Clean, Method, Rule, Shape},
    },
    preprocess::{Declared, Name, RuleError, check},
};
use serde_json::{Value as Json, json};
use std::time::Duration;

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

/// Of `soil1/moisture`.
fn derived(into: &str, how: Json) -> Result<Declared, RuleError> {
    let mut document = json!({ "device": "soil1", "sensor": "moisture", "into": into });
    document.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
    Declared::of(&id("r"), document)
}

fn rule(how: Json) -> (Rule, What) {
    let declared = derived("{sensor}.made", how).unwrap();
    let derive = &declared.derived().unwrap().derive;
    assert_eq!(derive.sensor(&id("moisture")), Some(id("moisture.made")));
    (derive.rule.clone(), derive.what)
}

#[test]
fn a_derived_sensor_is_said_in_a_line() {
    let hour = Duration::from_secs(3_600);
    let (Rule::Fill(fill), What::Value) = rule(json!({ "fill": { "every": "1h" } })) else { panic!("a fill") };
    assert_eq!((fill.every, fill.method, fill.ahead), (hour, Method::Linear, hour / 12));
    assert_eq!(fill.max_gap, Duration::from_secs(366 * 86_400), "as long as a duration is");
    let (Rule::Fill(fill), _) = rule(json!({ "fill": { "every": "1m", "method": "trend" } })) else { panic!("a fill") };
    assert_eq!((fill.method, fill.max_gap), (Method::Trend, Duration::from_secs(60 * CLEAN_FILLED_MAX as u64)));
    let (Rule::Fill(fill), _) = rule(json!({ "fill": { "every": "1h", "method": "hold", "max_gap": "6h" } })) else { panic!("a fill") };
    assert_eq!((fill.method, fill.max_gap), (Method::Hold, 6 * hour));
    for (what, is) in [("mean", What::Mean), ("min", What::Min), ("max", What::Max), ("sum", What::Sum), ("count", What::Count)] {
        let (Rule::Window(window), found) = rule(json!({ "aggregate": { "window": "1d", "what": what } })) else { panic!("a window") };
        assert_eq!((window.shape, found), (Shape::Tumbling { length: 24 * hour }, is));
        assert_eq!((window.lateness, window.idle), (hour, 24 * hour));
    }
    let how = json!({ "aggregate": { "window": "1h", "every": "10m", "what": "p99.5", "lateness": "2d", "idle": "1h" } });
    let (Rule::Window(window), What::Percentile) = rule(how) else { panic!("a window") };
    assert_eq!((window.shape, window.percentiles), (Shape::Sliding { length: hour, every: hour / 6 }, vec![99.5]));
    assert_eq!((window.lateness, window.idle), (48 * hour, hour));
}

#[test]
fn what_can_not_be_made_is_refused_with_its_field_and_a_hint() {
    let fill = |json: Json| json!({ "fill": json });
    let aggregate = |json: Json| json!({ "aggregate": json });
    for (into, how, field, said) in [
        ("moisture", fill(json!({ "every": "1h" })), "into", "can't be made of itself"),
        ("{sensor}", fill(json!({ "every": "1h" })), "into", "can't be made of itself"),
        ("a b", fill(json!({ "every": "1h" })), "into", "can't stand in an id"),
        ("x", json!({}), "into", "one of `fill` and `aggregate`"),
        ("x", fill(json!({})), "fill.every", "it is missing"),
        ("x", fill(json!({ "every": "10ms" })), "fill.every", "from `1s` to a year"),
        ("x", fill(json!({ "every": "1h", "method": "spline" })), "fill.method", "none of linear, hold, trend"),
        ("x", fill(json!({ "every": "1h", "max_gap": "1h" })), "fill.max_gap", "nothing would be filled"),
        ("x", fill(json!({ "every": "1s", "max_gap": "365d" })), "fill.max_gap", "at most 10080 values fill a gap"),
        ("x", fill(json!({ "every": "1h", "gap": "1h" })), "fill.gap", "no such field"),
        ("x", aggregate(json!({ "what": "mean" })), "aggregate.window", "it is missing"),
        ("x", aggregate(json!({ "window": "0s", "what": "mean" })), "aggregate.window", "from `1ms`"),
        ("x", aggregate(json!({ "window": "1h" })), "aggregate.what", "it is missing"),
        ("x", aggregate(json!({ "window": "1h", "what": "median" })), "aggregate.what", "nothing that is made of readings"),
        ("x", aggregate(json!({ "window": "1h", "what": "p101" })), "aggregate.what", "nothing that is made of readings"),
        ("x", aggregate(json!({ "window": "1h", "every": "2h", "what": "mean" })), "aggregate.every", "at most as long"),
        ("x", aggregate(json!({ "window": "1h", "every": "10s", "what": "mean" })), "aggregate.every", "64 windows"),
        ("x", aggregate(json!({ "window": "1s", "what": "mean", "lateness": "31d" })), "aggregate", "windows of each sensor would be kept"),
        ("x", aggregate(json!({ "window": "1h", "what": "mean", "ahead": "2d" })), "aggregate.ahead", "86400s at most"),
        ("x", json!({ "fill": { "every": "1h" }, "steps": [{ "duplicate": {} }] }), "steps", "not both"),
    ] {
        let error = derived(into, how.clone()).unwrap_err();
        assert_eq!(error.field, field, "{how}: {error}");
        assert!(error.why.contains(said), "{how}: {error}");
    }
    let select = |into: &str| Declared::of(&id("r"), json!({ "select": "tags=soil", "into": into, "fill": { "every": "1h" } }));
    assert!(select("filled").unwrap_err().why.contains("two sensors of one device would become one"));
    assert!(select("{sensor}").unwrap_err().why.contains("can't be made of itself"));
    assert!(select("{sensor}.filled").is_ok());
}

#[test]
fn rules_of_an_app_that_feed_each_other_are_refused_with_the_way_round() {
    let clean = |name: &str, sensor: &str, into: &str| {
        let rule = json!({ "device": "d", "sensor": sensor, "into": into, "fill": { "every": "1h" } });
        Clean { name: id(name), rule }
    };
    let app = id("soil");
    let line = [clean("x", "a", "{sensor}b"), clean("y", "ab", "c"), clean("z", "c", "d")];
    assert_eq!(check(&app, &line), []);
    let found = check(
        &app,
        &[clean("w", "q", "a"), clean("x", "a", "{sensor}b"), clean("y", "ab", "c"), clean("z", "c", "a"), clean("v", "c", "e")],
    );
    let [(nth, error)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((*nth, error.field.as_str()), (1, "into"));
    assert!(error.why.ends_with("soil/x → soil/y → soil/z → soil/x"), "{error}");
    let other = Clean { name: id("u"), rule: json!({ "device": "other", "sensor": "c", "into": "a", "fill": { "every": "1h" } }) };
    assert_eq!(check(&app, &[clean("x", "a", "c"), other]), [], "of another device");
    assert_eq!(Name::of_app(&app, &id("x")).to_string(), "soil/x");
}
