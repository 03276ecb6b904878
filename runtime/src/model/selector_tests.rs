//! Stories about what an app may ask for.

use super::*;

#[test]
fn a_manifest_and_a_text_say_the_same() {
    let manifest = r#"
        kind = "Thermometer"
        quantity = "AirTemperature"
        unit = "DegreeCelsius"
        owner = "ada"
        project = "farm"
        tags = ["river", "upstream"]
        within = { lat = 5.36, lon = -4.01, km = 10 }
        seen_within = "1h"
    "#;
    let text = "kind=Thermometer, quantity=AirTemperature, unit=DegreeCelsius, owner=ada, project=farm, tags=river, tags=upstream, \
                within=5.36:-4.01:10, seen_within=1h";
    let selector = Selector::parse(text).unwrap();
    assert_eq!(Selector::from_toml(&manifest.parse().unwrap()).unwrap(), selector);
    assert_eq!(selector.within, Some(Within { lat: 5.36, lon: -4.01, km: 10.0 }));
    assert_eq!((selector.tags.len(), selector.seen_within), (2, Some(Duration::from_secs(3_600))));
    assert_eq!(text.parse(), Ok(selector));
    assert!(Selector::parse(" , ").unwrap().is_empty());
}

#[test]
fn what_is_wrong_with_a_selector_is_named() {
    let cases = [
        ("kin=x", "kin"),
        ("kind", "kind"),
        ("kind=", "kind"),
        ("kind=a,kind=b", "kind"),
        ("owner=a b", "owner"),
        ("project=#", "project"),
        ("tags=", "tags"),
        ("within=1:2", "within"),
        ("within=1:2:3:4", "within"),
        ("within=91:0:1", "within"),
        ("within=0:181:1", "within"),
        ("within=NaN:0:1", "within"),
        ("within=0:0:-1", "within"),
        ("within=0:0:inf", "within"),
        ("within=0:0:1,within=0:0:1", "within"),
        ("seen_within=10", "seen_within"),
        ("seen_within=0s", "seen_within"),
        ("seen_within=99999h", "seen_within"),
        ("{\"kind\":1}", "{\"kind\":1}"),
    ];
    for (text, key) in cases {
        let error = Selector::parse(text).unwrap_err();
        assert_eq!(error.key, key, "{text}: {error}");
    }
    let cases = [
        ("kind = 1", "kind"),
        ("place = 'x'", "place"),
        ("tags = 'river'", "tags"),
        ("tags = [1]", "tags"),
        ("within = '1:2:3'", "within"),
        ("within = { lat = 1, lon = 2 }", "within.km"),
        ("within = { lat = 1, lon = 2, km = 3, m = 4 }", "within.m"),
        ("seen_within = 3", "seen_within"),
    ];
    for (text, key) in cases {
        let error = Selector::from_toml(&text.parse().unwrap()).unwrap_err();
        assert_eq!(error.key, key, "{text}: {error}");
    }
}

#[test]
fn a_selector_has_a_longest_and_a_most_of_tags() {
    let long = format!("kind={}", "x".repeat(SELECTOR_BYTES_MAX));
    assert_eq!(Selector::parse(&long).unwrap_err().key, "select");
    assert!(Selector::parse(&long[..SELECTOR_BYTES_MAX]).is_ok());
    let tags = |count| vec!["tags=a"; count].join(",");
    assert!(Selector::parse(&tags(SELECTOR_TAGS_MAX)).is_ok());
    assert_eq!(Selector::parse(&tags(SELECTOR_TAGS_MAX + 1)).unwrap_err().key, "tags");
    let table = toml::Table::from_iter([("kind".to_owned(), toml::Value::String("x".repeat(SELECTOR_BYTES_MAX + 1)))]);
    assert_eq!(Selector::from_toml(&table).unwrap_err().key, "kind");
}

/// Against the haversine of the angles, near and far, over the date line and at the poles.
#[test]
fn a_circle_holds_what_is_no_further_on_the_ball() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    let mut random = StdRng::seed_from_u64(4);
    let mut held = 0;
    for n in 0..20_000 {
        let reach = [0.001, 0.1, 1.0, 30.0, 180.0][n % 5];
        let lat: f64 = random.random_range(-90.0..=90.0);
        let lon: f64 = random.random_range(-180.0..=180.0);
        let place = Location {
            latitude: (lat + random.random_range(-reach..=reach)).clamp(-90.0, 90.0),
            longitude: (lon + random.random_range(-reach..=reach) + 540.0).rem_euclid(360.0) - 180.0,
        };
        let (a, b) = (lat.to_radians(), place.latitude.to_radians());
        let half = |angle: f64| (angle.to_radians() / 2.0).sin().powi(2);
        let haversine = half(place.latitude - lat) + a.cos() * b.cos() * half(place.longitude - lon);
        let km = 2.0 * EARTH_KM * haversine.sqrt().min(1.0).asin();
        let circle = |km: f64| Within { lat, lon, km }.circle();
        assert!(circle(km + 0.001).holds(Spot::of(place)), "{lat} {lon} {place:?} {km}");
        if km > 0.01 {
            assert!(!circle(km - 0.001).holds(Spot::of(place)), "{lat} {lon} {place:?} {km}");
        }
        held += usize::from(circle(reach * 60.0).holds(Spot::of(place)));
    }
    assert!(held > 1_000);
    let here = Location { latitude: 5.36, longitude: -4.01 };
    assert!(Within { lat: 5.36, lon: -4.01, km: 0.0 }.circle().holds(Spot::of(here)));
    assert!(Within { lat: 90.0, lon: 0.0, km: KM_MAX }.circle().holds(Spot::of(Location { latitude: -90.0, longitude: 77.0 })));
}

/// Words by chance over what selectors are made of: the same on every machine.
#[test]
fn whatever_comes_as_a_selector_is_one_or_is_named() {
    const PIECES: [&str; 22] = [
        "kind",
        "quantity",
        "unit",
        "owner",
        "project",
        "tags",
        "within",
        "seen_within",
        "=",
        "=",
        "=",
        ",",
        ",",
        ":",
        "-",
        "5.36",
        "1h",
        "0",
        "1e999",
        "ada",
        " ",
        "\u{1f41f}",
    ];
    let (mut understood, mut seed) = (0, 1_u32);
    for _ in 0..100_000 {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as usize
        };
        let text: String = (0..next() % 14).map(|_| PIECES[next() % PIECES.len()]).collect();
        match Selector::parse(&text) {
            Ok(selector) => {
                understood += usize::from(!selector.is_empty());
                if let Some(Within { lat, lon, km }) = selector.within {
                    assert!(lat.is_finite() && lon.is_finite() && km.is_finite() && km >= 0.0, "{text}");
                }
                assert!(selector.tags.len() <= crate::model::limit::SELECTOR_TAGS_MAX, "{text}");
            }
            Err(error) => assert!(!error.to_string().is_empty(), "{text}"),
        }
    }
    assert!(understood > 100, "only {understood} of them were selectors: the pieces make none");
}
