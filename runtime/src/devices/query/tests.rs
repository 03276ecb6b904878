//! Stories about what people ask a list for.

use super::Query;
use crate::model::{
    Device,
    limit::{QUERY_BYTES_MAX, QUERY_CONDITIONS_MAX},
};
use std::cell::Cell;

fn pond() -> Device {
    serde_json::from_value(serde_json::json!({
        "id": "pond.1", "name": "My pond; old, deep", "gateway_id": "gw", "owner": "ada", "visibility": "private", "deployed": true,
        "location": { "latitude": 5.36, "longitude": -4.01 },
        "meta": { "depth": 2.5, "tags": ["fish", "river"], "site": { "district": "Bouaké" }, "nothing": null, "is": true },
        "sensors": [
            { "id": "t", "sensor_kind": "Thermometer", "quantity_kind": "WaterTemperature", "unit": "DegreeCelsius", "date_created": 0, "date_modified": 0 },
            { "id": "p", "name": "Acid", "sensor_kind": "PHMeter", "date_created": 0, "date_modified": 0 }
        ],
        "actuators": [{ "id": "b", "actuator_kind": "Buzzer", "date_created": 0, "date_modified": 0 }],
        "date_created": 1_526_313_600_000_000_i64, "date_modified": 1_526_313_600_000_000_i64,
    }))
    .unwrap()
}

#[test]
fn the_query_of_waziups_documentation_is_understood() {
    assert!(Query::parse("owner==ada").unwrap().fits(&pond(), &Cell::new(0)));
    assert!(!Query::parse("owner==bob").unwrap().fits(&pond(), &Cell::new(0)));
}

#[test]
fn each_field_is_compared_as_what_it_is() {
    let cases = [
        ("", true),
        ("id==pond.1", true),
        ("id:pond.1", true),
        ("id != pond.1", false),
        ("owner==bob,ada", true),
        ("owner!=bob,ada", false),
        ("owner==bob;id==pond.1", false),
        ("id==pond.1; owner==ada", true),
        ("name=='My pond; old, deep'", true),
        ("name~=pond", true),
        ("name~=Pond", false),
        ("name~='; old'", true),
        ("gateway_id", true),
        ("!gateway_id", false),
        ("domain", false),
        ("!domain", true),
        // What is not there is neither the same nor another.
        ("domain==waziup", false),
        ("domain!=waziup", false),
        ("visibility==private", true),
        ("visibility!=private", false),
        ("deployed==true", true),
        ("deployed!=true", false),
        ("location", true),
        ("date_created>2018-05-01", true),
        ("dateCreated<2018-05-14T16:00:00Z", false),
        ("date_created<=2018-05-14T16:00:00Z", true),
        ("date_modified==2018-05-14..2018-05-15", true),
        ("date_modified==2018-05-15..2018-05-16", false),
        ("meta.depth>2", true),
        ("meta.depth>10", false),
        ("meta.depth==2.50", true),
        ("meta.depth==1..3", true),
        ("meta.tags==river", true),
        ("meta.tags!=river", false),
        ("meta.tags~=ive", true),
        ("meta.site.district==Bouaké", true),
        ("meta.site", true),
        ("meta.site==x", false),
        ("meta.nothing", false),
        ("meta.is==true", true),
        ("meta.site.none", false),
        ("sensor_kind==PHMeter", true),
        ("sensors.sensor_kind!=PHMeter", false),
        ("quantity_kind==WaterTemperature", true),
        ("unit~=Celsius", true),
        ("sensors.id==t", true),
        ("sensors.name==Acid", true),
        ("actuator_kind==Buzzer", true),
        ("actuators.id==c", false),
        ("actuators.name", false),
        ("id>=pond.0;id<pond.2", true),
    ];
    for (text, fits) in cases {
        let query = Query::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(query.fits(&pond(), &Cell::new(0)), fits, "{text}");
        assert_eq!(query.is_all(), text.is_empty());
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases = [
        ("ownr==ada", 0, "no field `ownr`"),
        ("owner==ada;", 10 + 1, "a field is missing"),
        ("==ada", 0, "a field is missing"),
        ("owner==", 7, "a value is missing"),
        ("owner==a,,b", 9, "a value is missing"),
        ("owner=='ada", 7, "a quote has no end"),
        ("owner==a'd'a", 8, "a quote stands around a whole value"),
        ("owner=='a''b'", 9, "a quote stands around"),
        ("deployed==maybe", 10, "`true` or `false`"),
        ("deployed>true", 9, "no order"),
        ("visibility==secret", 12, "`public` or `private`"),
        ("date_created>yesterday", 13, "is not a time"),
        ("date_created~=2018", 14, "only a text"),
        ("location==here", 10, "a location can only be there or not"),
        ("owner==ada ;  nam==x", 14, "no field `nam`"),
        ("meta.", 0, "no field"),
        ("meta.a..b==1", 0, "no field"),
        ("TC1>40", 0, "no field `TC1`"),
        ("owner = ada", 0, "no field"),
        ("' OR 1=1 --", 0, "a quote has no end"),
        ("{\"$ne\": null}", 0, "no field"),
    ];
    for (text, at, why) in cases {
        let error = Query::parse(text).unwrap_err();
        assert!(error.at == at && error.why.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_filter_has_a_longest_and_a_most_of_conditions() {
    let long = format!("name=={}", "x".repeat(QUERY_BYTES_MAX));
    assert!(Query::parse(&long).unwrap_err().why.contains("at most"));
    let many = |count: usize| vec!["id"; count].join(";");
    assert!(Query::parse(&many(QUERY_CONDITIONS_MAX)).is_ok());
    assert!(Query::parse(&many(QUERY_CONDITIONS_MAX + 1)).is_err());
    let values = |count: usize| format!("id=={}", vec!["a"; count].join(","));
    assert!(Query::parse(&values(QUERY_CONDITIONS_MAX)).is_ok());
    assert!(Query::parse(&values(QUERY_CONDITIONS_MAX + 1)).is_err());
}

/// Pieces of queries in any order, cut anywhere: each is understood or refused at a place that it has.
#[test]
fn no_garbage_comes_through_and_none_stops_the_node() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    const PIECES: [&str; 30] = [
        "owner",
        "meta.",
        "meta.a.b",
        "date_created",
        "deployed",
        "==",
        "!=",
        "<",
        ">",
        "<=",
        "~=",
        ":",
        "..",
        ";",
        ",",
        "!",
        "'",
        "''",
        " ",
        "é",
        "\u{0}",
        "\n",
        "2018-05-14",
        "9e999",
        "-",
        "true",
        "{\"$gt\":\"\"}",
        "%27",
        "\u{1f41f}",
        "0",
    ];
    let (pond, mut understood) = (pond(), 0);
    for seed in 0..20_000 {
        let mut random = StdRng::seed_from_u64(seed);
        let text: String = (0..random.random_range(1..9)).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect();
        let cut = text.char_indices().map(|(at, _)| at).nth(random.random_range(0..text.chars().count())).unwrap_or_default();
        for text in [text.as_str(), &text[cut..], &text[..cut]] {
            match Query::parse(text) {
                Ok(query) => understood += usize::from(query.fits(&pond, &Cell::new(0))),
                Err(error) => assert!(text.is_char_boundary(error.at) && !error.why.is_empty(), "seed {seed}, {text:?}: {error:?}"),
            }
        }
    }
    assert!(understood > 1_000, "only {understood} of them were queries: the pieces make none");
}
