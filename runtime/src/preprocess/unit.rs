//! Units by their UCUM codes: what turns one into another, computed once. Pure.

use super::chain::Line;
use crate::model::limit::TEXT_BYTES_MAX;
use octofhir_ucum::{EvalResult, SpecialKind, UcumError};

/// Why there is no line from one unit to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    /// Which of the two is no unit; none: they don't go together.
    pub which: Option<Which>,
    pub why: String,
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    From,
    To,
}

/// What a number in one unit is in another.
pub fn line(from: &str, to: &str) -> Result<Line, UnitError> {
    let (of, into) = (read(from, Which::From)?, read(to, Which::To)?);
    let apart = |why: String, hint: Option<&str>| UnitError { which: None, why, hint: hint.map(str::to_owned) };
    if !of.is_commensurable(&into) {
        let why = format!("`{from}` ({}) can't be `{to}` ({}): they measure different things", of.dim, into.dim);
        return Err(apart(why, Some("concentrations by mass and by amount, and quantities per something, are different things")));
    }
    for (unit, code) in [(&of, from), (&into, to)] {
        if !is_linear(unit) {
            let why = format!("`{code}` is not proportional to what it measures: a logarithm, or the like");
            return Err(apart(why, Some("a `calibrate` step with a table can say what its numbers mean")));
        }
    }
    let overflow = || apart(format!("what turns `{from}` into `{to}` is larger than a number can be"), None);
    let gain = size(&of).zip(size(&into)).and_then(|(of, into)| of.checked_div(into)).ok_or_else(overflow)?.to_f64();
    let offset = octofhir_ucum::convert(0.0, from, to).map_err(|error| apart(error.message, None))?;
    match gain.is_finite() && offset.is_finite() && gain != 0.0 {
        true => Ok(Line { gain, offset }),
        false => Err(overflow()),
    }
}

fn read(code: &str, which: Which) -> Result<EvalResult, UnitError> {
    let wrong = |why, hint| UnitError { which: Some(which), why, hint };
    if code.len() > TEXT_BYTES_MAX {
        return Err(wrong(format!("a unit has at most {TEXT_BYTES_MAX} bytes, this one has {}", code.len()), None));
    }
    let error = match octofhir_ucum::parse_expression(code) {
        Ok(unit) => match octofhir_ucum::evaluate(&unit) {
            Ok(unit) => return Ok(unit),
            Err(error) => error,
        },
        Err(error) => error,
    };
    Err(wrong(format!("`{code}` is no unit of UCUM: {}", error.message), Some(hint(code, error))))
}

fn hint(code: &str, error: UcumError) -> String {
    // It looks for what is alike only when it is asked whether a unit is valid.
    let alike = octofhir_ucum::validate(code).err().and_then(|error| error.suggestions.into_iter().next());
    let found = error.suggestions.into_iter().next().or(alike);
    found.unwrap_or_else(|| "codes are as in `Cel`, `[degF]`, `K`, `kPa`, `mm[Hg]`, `%`, `m3/h`, `mg/L`".to_owned())
}

/// Proportional to its quantity, or a temperature with a zero of its own.
fn is_linear(unit: &EvalResult) -> bool {
    let kind = unit.special.as_ref().map(|special| special.unit.special);
    matches!(kind, None | Some(SpecialKind::Celsius | SpecialKind::Fahrenheit | SpecialKind::Reaumur))
}

/// Of one of it, in base units.
fn size(unit: &EvalResult) -> Option<octofhir_ucum::Number> {
    match &unit.special {
        Some(special) => unit.factor.checked_mul(special.scale),
        None => Some(unit.factor),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_the_library_says_for_each_number() {
        let pairs = [
            ("Cel", "[degF]"),
            ("[degF]", "Cel"),
            ("[degF]", "K"),
            ("mCel", "[degF]"),
            ("[degRe]", "Cel"),
            ("K", "Cel"),
            ("kPa", "mm[Hg]"),
            ("hPa", "bar"),
            ("bar", "[psi]"),
            ("%", "1"),
            ("m3/h", "L/s"),
            ("L/min", "m3/h"),
            ("mg/L", "g/m3"),
            ("uS/cm", "mS/m"),
            ("km/h", "m/s"),
            ("[kn_i]", "m/s"),
            ("kW.h", "MJ"),
            ("[in_i]", "cm"),
            ("[ppm]", "mg/kg"),
            ("deg", "rad"),
            ("[gal_us]", "L"),
            ("har", "m2"),
            ("{count}", "1"),
        ];
        for (from, to) in pairs {
            let line = line(from, to).unwrap();
            for number in [-40.0, 0.0, 0.1, 1.0, 36.6, 101.325, 9_999.0] {
                let (ours, theirs) = (line.apply(number), octofhir_ucum::convert(number, from, to).unwrap());
                assert!((ours - theirs).abs() <= 1e-12 * theirs.abs().max(1.0), "{number} {from}: {ours} {to}, not {theirs}");
            }
        }
    }

    #[test]
    fn what_every_thermometer_knows_comes_out_to_the_digit() {
        for (from, number, to, is) in [
            ("Cel", 100.0, "[degF]", 212.0),
            ("[degF]", -40.0, "Cel", -40.0),
            ("Cel", 0.0, "K", 273.15),
            ("mg/L", 7.5, "g/m3", 7.5),
            ("kPa", 101.3, "Pa", 101_300.0),
        ] {
            assert!((line(from, to).unwrap().apply(number) - is).abs() < 1e-12, "{number} {from}");
        }
        assert_eq!(line("Cel", "[degF]").unwrap(), Line { gain: 1.8, offset: 32.0 });
        assert_eq!(line("Cel", "Cel").unwrap(), Line { gain: 1.0, offset: 0.0 });
    }

    #[test]
    fn units_that_do_not_convert_are_refused_by_name() {
        for (from, to, which, said) in [
            ("Cel", "m", None, "can't be `m`"),
            ("mg/dL", "mmol/L", None, "they measure different things"),
            ("[pH]", "mol/L", None, "`[pH]` is not proportional"),
            ("dB[W]", "W", None, "`dB[W]` is not proportional"),
            ("degC", "K", Some(Which::From), "`degC` is no unit of UCUM"),
            ("K", "°C", Some(Which::To), "`°C` is no unit of UCUM"),
            ("", "1", Some(Which::From), "`` is no unit of UCUM"),
            ("Cel/s", "K/s", Some(Which::From), "special unit"),
        ] {
            let error = line(from, to).unwrap_err();
            assert_eq!(error.which, which, "{from} {to}");
            assert!(error.why.contains(said), "{from} {to}: {}", error.why);
        }
        assert!(line("DegreeCelsius", "K").unwrap_err().hint.unwrap().contains("Cel"));
        let long = "m.".repeat(200);
        assert!(line(&long, "m").unwrap_err().why.starts_with("a unit has at most"));
        assert!(line("m99999999999999999999", "m").is_err());
        assert!(line(&"(".repeat(200), "m").is_err());
    }
}
