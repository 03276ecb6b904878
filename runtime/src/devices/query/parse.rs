//! From a text to a query. One pass, no recursion; everything that is wrong says at which byte.

use super::{
    Query, QueryError, Statement, Test, Wanted,
    field::{Field, NAMES},
};
use crate::model::limit::{QUERY_BYTES_MAX, QUERY_CONDITIONS_MAX};

/// Longer ones first, so that `<=` is not read as `<`.
const OPERATORS: [&str; 8] = ["==", "!=", "<=", ">=", "~=", "<", ">", ":"];

pub(super) fn query(text: &str) -> Result<Query, QueryError> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(wrong(QUERY_BYTES_MAX, format!("a query has at most {QUERY_BYTES_MAX} bytes, this one has {}", text.len())));
    }
    if text.trim().is_empty() {
        return Ok(Query::all());
    }
    let mut conditions = 0;
    let mut statements = Vec::new();
    for (at, part) in split(text, ';')? {
        let statement = statement(at, part)?;
        conditions += match &statement.test {
            Test::Is(wanted) | Test::IsNot(wanted) => wanted.len(),
            _ => 1,
        };
        if conditions > QUERY_CONDITIONS_MAX {
            return Err(wrong(at, format!("a query has at most {QUERY_CONDITIONS_MAX} conditions")));
        }
        statements.push(statement);
    }
    Ok(Query(statements))
}

fn statement(at: usize, part: &str) -> Result<Statement, QueryError> {
    let (at, part) = trimmed(at, part);
    let Some((name, operator, value)) = operator(part) else {
        let (test, name) = part.strip_prefix('!').map_or((Test::There, part), |name| (Test::NotThere, name));
        return Ok(Statement { field: field(at, name.trim())?, test });
    };
    let field = field(at, name.trim())?;
    let value_at = at + part.len() - value.len();
    let test = match operator {
        "==" | ":" => Test::Is(list(&field, value_at, value)?),
        "!=" => Test::IsNot(list(&field, value_at, value)?),
        "~=" if field.is_text() => Test::Has(text(value_at, value)?),
        "~=" => return Err(wrong(value_at, "only a text can hold a piece of text")),
        _ if !field.is_ordered() => return Err(wrong(value_at, format!("`{name}` is the same or not: it has no order"))),
        "<" => Test::Less(one(&field, value_at, value)?),
        "<=" => Test::AtMost(one(&field, value_at, value)?),
        ">" => Test::More(one(&field, value_at, value)?),
        _ => Test::AtLeast(one(&field, value_at, value)?),
    };
    Ok(Statement { field, test })
}

/// Where the first operator is, before any quote.
fn operator(part: &str) -> Option<(&str, &'static str, &str)> {
    for (at, _) in part.char_indices() {
        let rest = &part[at..];
        if rest.starts_with('\'') {
            return None;
        }
        if let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)) {
            return Some((&part[..at], operator, &rest[operator.len()..]));
        }
    }
    None
}

fn field(at: usize, name: &str) -> Result<Field, QueryError> {
    if name.is_empty() {
        return Err(wrong(at, "a field is missing, as `owner` in `owner==someone`"));
    }
    Field::of(name)
        .ok_or_else(|| wrong(at, format!("there is no field `{}`; there are {NAMES}", name.chars().take(40).collect::<String>())))
}

fn list(field: &Field, at: usize, values: &str) -> Result<Vec<Wanted>, QueryError> {
    split(values, ',')
        .map_err(|error| wrong(at + error.at, error.why))?
        .into_iter()
        .map(|(from, value)| range(field, at + from, value))
        .collect()
}

/// `low..high`, where both are given, and else one value.
fn range(field: &Field, at: usize, value: &str) -> Result<Wanted, QueryError> {
    let quoted = value.trim_start().starts_with('\'');
    match value.split_once("..").filter(|_| !quoted) {
        Some((low, high)) if field.is_ordered() => Ok(Wanted::Between(scalar(field, at, low)?, scalar(field, at + low.len() + 2, high)?)),
        _ => one(field, at, value),
    }
}

fn one(field: &Field, at: usize, value: &str) -> Result<Wanted, QueryError> {
    scalar(field, at, value).map(Wanted::One)
}

fn scalar(field: &Field, at: usize, value: &str) -> Result<super::Scalar, QueryError> {
    field.scalar(&text(at, value)?).map_err(|why| wrong(at, why))
}

/// A value without the quotes around it. It can't hold one: the original's language has no way to write that.
fn text(at: usize, value: &str) -> Result<String, QueryError> {
    let (at, value) = trimmed(at, value);
    let (from, inner) = match value.strip_prefix('\'') {
        None => (at, value),
        Some(rest) => (at + 1, rest.strip_suffix('\'').ok_or_else(|| wrong(at, "a value in quotes ends with a quote"))?),
    };
    match inner.find('\'') {
        Some(quote) => Err(wrong(from + quote, "a quote stands around a whole value")),
        None if value.is_empty() => Err(wrong(at, "a value is missing")),
        None => Ok(inner.to_owned()),
    }
}

/// Between `mark`s that are not in quotes, each with where it begins.
fn split(text: &str, mark: char) -> Result<Vec<(usize, &str)>, QueryError> {
    let (mut parts, mut from, mut quote) = (Vec::new(), 0, None);
    for (at, c) in text.char_indices() {
        match (c, quote) {
            ('\'', None) => quote = Some(at),
            ('\'', Some(_)) => quote = None,
            (c, None) if c == mark => {
                parts.push((from, &text[from..at]));
                from = at + c.len_utf8();
            }
            _ => {}
        }
    }
    if let Some(at) = quote {
        return Err(wrong(at, "a quote has no end"));
    }
    parts.push((from, &text[from..]));
    Ok(parts)
}

fn trimmed(at: usize, text: &str) -> (usize, &str) {
    let rest = text.trim_start();
    (at + text.len() - rest.len(), rest.trim_end())
}

fn wrong(at: usize, why: impl Into<String>) -> QueryError {
    QueryError { at, why: why.into() }
}
