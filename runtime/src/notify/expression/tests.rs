//! What conditions mean, and what no text can do to the node.

use super::*;
use crate::model::limit::{EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

fn met(text: &str) -> bool {
    let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    expression.is_met(|name| match (name.device.as_ref().map(Id::as_str), name.sensor.as_str()) {
        (None, "TC1") => Some(Operand::Number(41.0)),
        (None, "HUM") => Some(Operand::Text("61.10".to_owned())),
        (None, "DOOR") => Some(Operand::Text("open".to_owned())),
        (None, "RAIN") => Some(Operand::Bool(false)),
        (None | Some("gw-7"), "soil-temp") => Some(Operand::Number(9.0)),
        (Some("Pond"), "ph") => Some(Operand::Number(7.0)),
        _ => None,
    })
}

#[test]
fn conditions_mean_what_they_say() {
    for (text, is) in [
        ("TC1>40", true),
        ("TC1 > 41", false),
        ("TC1>=41 && TC1<=41", true),
        ("TC1==41", true),
        ("TC1 != 41", false),
        ("HUM > 61 && HUM == 61.1", true),
        ("DOOR == 'open'", true),
        ("DOOR != \"open\" || RAIN", false),
        ("!RAIN", true),
        ("RAIN == false", true),
        ("!(TC1 < 40) && !RAIN", true),
        ("false || TC1 > 40 && RAIN", false),
        ("1 + 2 * 3 == 7 && (1 + 2) * 3 == 9", true),
        ("10 - 2 - 3 == 5 && 8 / 2 / 2 == 2", true),
        ("-TC1 < -4e1", true),
        ("TC1 - HUM < -20", true),
        ("`soil-temp` == Pond.ph + 2", true),
        ("`gw-7`.`soil-temp` == 9", true),
    ] {
        assert_eq!(met(text), is, "{text}");
    }
}

#[test]
fn what_is_not_known_makes_no_condition_true_and_decides_nothing_that_is_decided() {
    for (text, is) in [
        ("NONE > 1", false),
        ("NONE <= 1", false),
        ("!(NONE > 1)", false),
        ("NONE == NONE", false),
        ("NONE > 1 || TC1 > 40", true),
        ("TC1 > 40 || NONE > 1", true),
        ("!(NONE > 1 && TC1 < 40)", true),
        ("TC1 > 40 && NONE > 1", false),
        ("DOOR > 1", false),
        ("!(DOOR > 1)", false),
        ("RAIN < 1", false),
        ("DOOR == 1", false),
        ("TC1 / 0 > 1", false),
        ("!(0 / 0 > 1)", false),
        ("TC1", false),
        ("!TC1", false),
    ] {
        assert_eq!(met(text), is, "{text}");
    }
}

#[test]
fn what_can_not_be_read_is_named_with_its_place() {
    for (text, column, what) in [
        ("", 1, "ends too early"),
        ("TC1 >", 6, "ends too early"),
        ("TC1 = 40", 5, "one too many"),
        ("TC1 > 40 TC2", 10, "`TC2` is one too many"),
        ("(TC1 > 40", 10, "`)` is missing"),
        ("1 < TC1 < 9", 9, "join them with `&&`"),
        ("TC1 == 'open", 8, "never closed"),
        ("7up > 1", 1, "back quotes"),
        ("Pond. > 1", 6, "a sensor's id"),
        ("`a/b` > 1", 1, "can't stand in an id"),
        ("TC1 & TC2", 5, "one too many"),
        ("42", 1, "no condition"),
        ("ü > 1 ; 2", 7, "`;` is one too many"),
    ] {
        let error = Expression::parse(text).unwrap_err();
        assert!(error.column == column && error.what.contains(what), "{text}: {error}");
    }
}

#[test]
fn a_condition_has_a_length_and_a_depth() {
    let deep = |depth: usize| format!("{}RAIN{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&deep(EXPRESSION_DEPTH_MAX)).is_ok());
    assert!(Expression::parse(&deep(EXPRESSION_DEPTH_MAX + 1)).unwrap_err().what.contains("deep"));
    assert!(Expression::parse(&format!("{}RAIN", "!".repeat(EXPRESSION_DEPTH_MAX + 1))).unwrap_err().what.contains("deep"));
    let long = |length: usize| format!("RAIN{}", " ".repeat(length - 4));
    assert!(Expression::parse(&long(EXPRESSION_BYTES_MAX)).is_ok());
    assert!(Expression::parse(&long(EXPRESSION_BYTES_MAX + 1)).unwrap_err().what.contains("bytes"));
    // As long as may be, without a parenthesis: walked by recursion all the same.
    assert!(!met(&format!("TC1{}>1e9", "+1".repeat((EXPRESSION_BYTES_MAX - 8) / 2))));
}

/// Garbage is refused or it is not, but nothing else; what is read can be asked, whatever is known.
#[test]
fn no_text_does_harm() {
    const PARTS: [&str; 26] = [
        "TC1",
        "a.b",
        "`x`",
        "1",
        "2e3",
        ".5",
        "'t'",
        "true",
        "(",
        ")",
        "!",
        "-",
        "+",
        "*",
        "/",
        "<",
        ">=",
        "==",
        "!=",
        "&&",
        "||",
        " ",
        ".",
        "`",
        "\u{e9}",
        "\u{1f346}",
    ];
    let mut random = StdRng::seed_from_u64(4);
    let mut read = 0;
    for round in 0..40_000 {
        let length = random.random_range(0..if round % 2 == 0 { 8 } else { 60 });
        let text: String = (0..length).map(|_| PARTS[random.random_range(0..PARTS.len())]).collect();
        let Ok(expression) = Expression::parse(&text) else { continue };
        read += 1;
        let unknown = expression.is_met(|_| None);
        for value in [Operand::Number(1.0), Operand::Text("t".to_owned()), Operand::Bool(true)] {
            let is_met = expression.is_met(|_| Some(value.clone()));
            assert!(is_met || !unknown, "{text}: knowing more made it less true");
        }
    }
    assert!(read > 500, "{read} of the texts were conditions: too few to say anything");
}

/// Without a sensor that is known, nothing that compares with it is true.
#[test]
fn a_comparison_with_what_is_not_known_is_never_met() {
    let mut random = StdRng::seed_from_u64(5);
    for _ in 0..2_000 {
        let number = f64::from_bits(random.next_u64());
        if !number.is_finite() {
            continue;
        }
        let sign = ["<", ">", "<=", ">=", "==", "!="][random.random_range(0..6)];
        let expression = Expression::parse(&format!("X {sign} {number:e}")).unwrap();
        assert!(!expression.is_met(|_| None), "{sign} {number}");
        assert_eq!(expression.is_met(|_| Some(Operand::Number(number))), sign.contains('=') && sign != "!=", "{sign} {number}");
    }
}
