//! From text to a condition. By recursion, as deep as [`EXPRESSION_DEPTH_MAX`].

use super::{Expression, ExpressionError, Infix, Name, Node, Operand};
use crate::model::{
    Id,
    limit::{EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX},
};

type Parsed<T> = Result<T, ExpressionError>;

/// Loosest first; all of one line bind alike, from the left.
const LEVELS: [&[(&str, Infix)]; 5] = [
    &[("||", Infix::Or)],
    &[("&&", Infix::And)],
    &[
        ("<=", Infix::LessOrEqual),
        (">=", Infix::GreaterOrEqual),
        ("==", Infix::Equal),
        ("!=", Infix::NotEqual),
        ("<", Infix::Less),
        (">", Infix::Greater),
    ],
    &[("+", Infix::Plus), ("-", Infix::Minus)],
    &[("*", Infix::Times), ("/", Infix::Over)],
];
/// The level of comparisons: one of them is enough, `1 < x < 9` would mean something else.
const COMPARISONS: usize = 2;

pub(super) fn parse(text: &str) -> Parsed<Expression> {
    if text.len() > EXPRESSION_BYTES_MAX {
        let what = format!("the expression has {} bytes, {EXPRESSION_BYTES_MAX} are allowed", text.len());
        return Err(ExpressionError { column: 1, what });
    }
    let mut reader = Reader { text, at: 0, depth: 0, names: Vec::new() };
    let root = reader.level(0)?;
    reader.skip();
    if !reader.rest().is_empty() {
        return Err(reader.error(format!("`{}` is one too many; `&&` and `||` join conditions", reader.word())));
    }
    if matches!(root, Node::Constant(_) | Node::Minus(_)) {
        return Err(ExpressionError { column: 1, what: "this is no condition: compare something, as in `TC1 > 40`".to_owned() });
    }
    Ok(Expression { root, names: reader.names })
}

impl Name {
    /// `TC1`, `Pond.ph`, `` `gw-7`.`soil-temp` ``.
    pub fn parse(text: &str) -> Option<Name> {
        let mut reader = Reader { text: text.trim(), at: 0, depth: 0, names: Vec::new() };
        reader.name().ok()?;
        reader.names.pop().filter(|_| reader.at == reader.text.len())
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    names: Vec<Name>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is = self.rest().starts_with(sign);
        self.at += if is { sign.len() } else { 0 };
        is
    }

    fn error_at(&self, at: usize, what: impl Into<String>) -> ExpressionError {
        let column = self.text.get(..at).map_or(0, |before| before.chars().count()) + 1;
        ExpressionError { column, what: what.into() }
    }

    fn error(&self, what: impl Into<String>) -> ExpressionError {
        self.error_at(self.at, what)
    }

    /// What stands here, for a message.
    fn word(&self) -> String {
        self.rest().chars().take_while(|c| !c.is_whitespace()).take(20).collect()
    }

    /// One level deeper, if that is allowed.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= EXPRESSION_DEPTH_MAX {
            return Err(self.error(format!("nested more than {EXPRESSION_DEPTH_MAX} deep")));
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    fn level(&mut self, level: usize) -> Parsed<Node> {
        let Some(infixes) = LEVELS.get(level) else { return self.prefix() };
        let mut left = self.level(level + 1)?;
        let mut found = 0;
        loop {
            self.skip();
            let at = self.at;
            let Some(infix) = infixes.iter().find(|(sign, _)| self.takes(sign)).map(|(_, infix)| *infix) else { return Ok(left) };
            found += 1;
            if level == COMPARISONS && found > 1 {
                return Err(self.error_at(at, "two comparisons in a row: join them with `&&`"));
            }
            let right = self.level(level + 1)?;
            left = Node::Two(Box::new(left), infix, Box::new(right));
        }
    }

    fn prefix(&mut self) -> Parsed<Node> {
        self.skip();
        if !self.rest().starts_with("!=") && self.takes("!") {
            return Ok(Node::Not(Box::new(self.deeper(Reader::prefix)?)));
        }
        if self.takes("-") {
            return Ok(Node::Minus(Box::new(self.deeper(Reader::prefix)?)));
        }
        if self.takes("(") {
            let inside = self.deeper(|reader| reader.level(0))?;
            self.skip();
            return if self.takes(")") { Ok(inside) } else { Err(self.error("a `)` is missing")) };
        }
        match self.peek() {
            None => Err(self.error("the expression ends too early")),
            Some('"' | '\'') => self.quoted().map(|text| Node::Constant(Operand::Text(text))),
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if is_first(c) || c == '`' => self.name(),
            Some('=') => Err(self.error("`=` is no comparison; write `==`")),
            Some('&' | '|') => Err(self.error("write `&&` and `||`, with something on both sides")),
            Some(_) => Err(self.error(format!("`{}` can't stand here; a sensor, a number, a text or `(` can", self.word()))),
        }
    }

    /// Up to the same quote; there are no escapes.
    fn quoted(&mut self) -> Parsed<String> {
        let begin = self.at;
        let quote = self.peek().unwrap_or('"');
        self.at += quote.len_utf8();
        let Some(length) = self.rest().find(quote) else {
            return Err(self.error_at(begin, format!("the {quote} is never closed")));
        };
        let text = self.rest().get(..length).unwrap_or_default().to_owned();
        self.at += length + quote.len_utf8();
        Ok(text)
    }

    fn number(&mut self) -> Parsed<Node> {
        let begin = self.at;
        let mut before = ' ';
        let ends = |c: char| {
            let is_part = c.is_ascii_alphanumeric() || c == '.' || ("+-".contains(c) && matches!(before, 'e' | 'E'));
            before = c;
            !is_part
        };
        let length = self.rest().find(ends).unwrap_or(self.rest().len());
        let text = self.rest().get(..length).unwrap_or_default();
        self.at += length;
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Node::Constant(Operand::Number(number))),
            _ => Err(self.error_at(begin, format!("`{text}` is not a number; an id that is no plain name stands in back quotes"))),
        }
    }

    fn name(&mut self) -> Parsed<Node> {
        let begin = self.at;
        let (first, is_plain) = self.part()?;
        match first.as_str() {
            "true" if is_plain => return Ok(Node::Constant(Operand::Bool(true))),
            "false" if is_plain => return Ok(Node::Constant(Operand::Bool(false))),
            _ => {}
        }
        let (device, sensor) = match self.takes(".") {
            true => (Some(first), self.part()?.0),
            false => (None, first),
        };
        let id = |text: String| Id::new(&text).map_err(|error| self.error_at(begin, error.to_string()));
        let name = Name { device: device.map(id).transpose()?, sensor: id(sensor)? };
        let at = self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        Ok(Node::Sensor(at))
    }

    /// A name, and whether it was without quotes.
    fn part(&mut self) -> Parsed<(String, bool)> {
        match self.peek() {
            Some('`') => Ok((self.quoted()?, false)),
            Some(c) if is_first(c) => {
                let length = self.rest().find(|c| !is_inner(c)).unwrap_or(self.rest().len());
                let text = self.rest().get(..length).unwrap_or_default().to_owned();
                self.at += length;
                Ok((text, true))
            }
            _ => Err(self.error("a sensor's id has to follow the `.`")),
        }
    }
}

fn is_first(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_inner(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
