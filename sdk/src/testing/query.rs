//! As much of the query language as unit tests need: `FIELD:VALUE` terms joined by `AND`.

use crate::{
    Error, Result,
    history::{Found, Query},
};

pub fn find<'a>(past: &'a [Found], query: &Query) -> Result<Vec<&'a Found>> {
    let terms: Vec<Term> = query.text.split_whitespace().filter(|word| *word != "AND").map(term).collect::<Result<_>>()?;
    let in_time = |it: &Found| query.from.is_none_or(|from| it.measured >= from) && query.to.is_none_or(|to| it.measured < to);
    Ok(past.iter().filter(|it| in_time(it) && terms.iter().all(|term| term.holds(it))).collect())
}

enum Term<'a> {
    Text(Field, &'a str),
    Number(fn(&f64, &f64) -> bool, f64),
}

enum Field {
    Device,
    Sensor,
    Subject,
}

fn term(word: &str) -> Result<Term<'_>> {
    let unknown = || {
        Error::invalid(format!("`{word}`: the fake host reads `FIELD:VALUE` joined by `AND` only, of device, sensor, subject and value"))
    };
    let (field, value) = word.split_once(':').ok_or_else(unknown)?;
    let text = value.trim_matches('"');
    let number = |text: &str, compare| text.parse().map(|number| Term::Number(compare, number)).map_err(|_| unknown());
    match field {
        "device" => Ok(Term::Text(Field::Device, text)),
        "sensor" => Ok(Term::Text(Field::Sensor, text)),
        "subject" => Ok(Term::Text(Field::Subject, text)),
        "value" if value.starts_with(">=") => number(&value[2..], f64::ge),
        "value" if value.starts_with("<=") => number(&value[2..], f64::le),
        "value" if value.starts_with('>') => number(&value[1..], f64::gt),
        "value" if value.starts_with('<') => number(&value[1..], f64::lt),
        "value" => number(text, f64::eq),
        _ => Err(unknown()),
    }
}

impl Term<'_> {
    fn holds(&self, found: &Found) -> bool {
        match self {
            Term::Text(Field::Device, text) => found.device.as_deref() == Some(text),
            Term::Text(Field::Sensor, text) => found.sensor.as_deref() == Some(text),
            Term::Text(Field::Subject, text) => found.subject == *text,
            Term::Number(compare, number) => found.value.number().is_some_and(|value| compare(&value, number)),
        }
    }
}
