//! A tree of the words of a query.

use super::{
    Field, QueryError, Vocabulary,
    lex::{Comparison, Kind, Token, Word, lex},
};
use crate::model::limit::{QUERY_BYTES_MAX, QUERY_CONDITIONS_MAX, QUERY_DEPTH_MAX};

#[derive(Debug, Clone, PartialEq)]
pub(in crate::history) enum Node {
    /// An empty query finds everything.
    All,
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Leaf(Leaf),
}

/// One condition; `field: None` looks in the text and in every id.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::history) struct Leaf {
    pub field: Option<Field>,
    pub test: Test,
    /// Of the value, for errors.
    pub column: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::history) enum Test {
    Is(String),
    /// `fridge*`; an empty prefix is `field:*`, whatever has the field.
    Begins(String),
    /// Quoted: never a number, a time or a prefix; in a text a phrase.
    Quoted(String),
    Range(End, End),
}

/// One end of a range.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::history) enum End {
    Open,
    Included(String),
    Excluded(String),
}

pub(in crate::history) fn parse(text: &str, vocabulary: &'static Vocabulary) -> Result<Node, QueryError> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(QueryError::too_long(text.len()));
    }
    let mut parser = Parser { tokens: lex(text)?, at: 0, end: text.chars().count() + 1, depth: 0, conditions: 0, vocabulary };
    if parser.tokens.is_empty() {
        return Ok(Node::All);
    }
    let node = parser.or(None)?;
    match parser.tokens.get(parser.at) {
        None => Ok(node),
        Some(token) => Err(QueryError::new(token.column, "nothing is open here that could be closed")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    /// The column behind the last character.
    end: usize,
    depth: usize,
    conditions: usize,
    vocabulary: &'static Vocabulary,
}

impl Parser {
    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|t| &t.kind)
    }

    fn column(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |t| t.column)
    }

    fn take(&mut self, kind: &Kind) -> bool {
        let found = self.peek() == Some(kind);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self, field: Option<Field>) -> Result<Node, QueryError> {
        let mut nodes = vec![self.and(field)?];
        while self.take(&Kind::Or) {
            nodes.push(self.and(field)?);
        }
        Ok(only(nodes, Node::Or))
    }

    /// Two conditions side by side must both hold, with `AND` between them or without.
    fn and(&mut self, field: Option<Field>) -> Result<Node, QueryError> {
        let mut nodes = vec![self.not(field)?];
        loop {
            let explicit = self.take(&Kind::And);
            match self.peek() {
                None | Some(Kind::Or | Kind::Close | Kind::RangeClose(_)) if !explicit => break,
                _ => nodes.push(self.not(field)?),
            }
        }
        Ok(only(nodes, Node::And))
    }

    fn not(&mut self, field: Option<Field>) -> Result<Node, QueryError> {
        if !self.take(&Kind::Not) {
            return self.condition(field);
        }
        self.deeper()?;
        let node = self.not(field)?;
        self.depth -= 1;
        Ok(Node::Not(Box::new(node)))
    }

    fn deeper(&mut self) -> Result<(), QueryError> {
        self.depth += 1;
        if self.depth > QUERY_DEPTH_MAX { Err(QueryError::too_deep(self.column())) } else { Ok(()) }
    }

    /// A group, a condition with a field, or a bare word.
    fn condition(&mut self, field: Option<Field>) -> Result<Node, QueryError> {
        let column = self.column();
        let Some(token) = self.tokens.get(self.at).cloned() else {
            return Err(QueryError::new(column, "a condition is missing at the end"));
        };
        self.at += 1;
        // A group and a field are counted by what is in them.
        self.conditions += usize::from(!matches!(token.kind, Kind::Open | Kind::Field(_)));
        if self.conditions > QUERY_CONDITIONS_MAX {
            return Err(QueryError::too_many(column));
        }
        let leaf = |test| Ok(Node::Leaf(Leaf { field, test, column }));
        match token.kind {
            Kind::Open => self.group(column, field),
            Kind::Field(name) if field.is_none() => {
                let named = self.vocabulary.named(&name).ok_or_else(|| unknown(self.vocabulary, column, &name))?;
                self.condition_of(named)
            }
            Kind::Field(name) => Err(QueryError::new(column, format!("`{name}:` stands inside the parentheses of another field"))),
            Kind::RangeOpen(included) => {
                let test = self.range(column, included)?;
                leaf(test)
            }
            Kind::Compare(comparison) => {
                let test = self.compare(comparison)?;
                leaf(test)
            }
            Kind::Word(Word { text, prefix: true }) => leaf(Test::Begins(text)),
            Kind::Word(Word { text, prefix: false }) => leaf(Test::Is(text)),
            Kind::Quoted(text) => leaf(Test::Quoted(text)),
            Kind::Close => Err(QueryError::new(column, "a condition is missing before `)`")),
            Kind::RangeClose(_) => Err(QueryError::new(column, "no range is open here; quote it if it belongs to a value")),
            Kind::And => Err(QueryError::new(column, "a condition is missing before `AND`; quote it if it is a word to look for")),
            Kind::Or => Err(QueryError::new(column, "a condition is missing before `OR`; quote it if it is a word to look for")),
            Kind::Not => Err(QueryError::new(column, "a condition is missing before `NOT`")),
        }
    }

    fn condition_of(&mut self, field: Field) -> Result<Node, QueryError> {
        match self.peek() {
            None | Some(Kind::Close | Kind::And | Kind::Or | Kind::Not) => {
                let name = field.name();
                Err(QueryError::new(self.column(), format!("`{name}:` has no value; `{name}:*` finds whatever has one")))
            }
            _ => self.condition(Some(field)),
        }
    }

    fn group(&mut self, column: usize, field: Option<Field>) -> Result<Node, QueryError> {
        self.deeper()?;
        let node = self.or(field)?;
        self.depth -= 1;
        if self.take(&Kind::Close) { Ok(node) } else { Err(QueryError::new(column, "the parenthesis that begins here has no end")) }
    }

    fn compare(&mut self, comparison: Comparison) -> Result<Test, QueryError> {
        let value = self.plain("a comparison needs a value")?;
        Ok(match comparison {
            Comparison::Over => Test::Range(End::Excluded(value), End::Open),
            Comparison::From => Test::Range(End::Included(value), End::Open),
            Comparison::Under => Test::Range(End::Open, End::Excluded(value)),
            Comparison::UpTo => Test::Range(End::Open, End::Included(value)),
        })
    }

    /// `[a TO b]`, `{a TO b}` without its ends, or one of each.
    fn range(&mut self, column: usize, from_included: bool) -> Result<Test, QueryError> {
        let how = "a range is `[a TO b]`, or `{a TO b}` without its ends; `*` leaves an end open";
        let from = self.range_end(how)?;
        match self.peek() {
            Some(Kind::Word(Word { text, prefix: false })) if text == "TO" => self.at += 1,
            _ => return Err(QueryError::new(self.column(), how)),
        }
        let to = self.range_end(how)?;
        let Some(Kind::RangeClose(to_included)) = self.peek() else {
            return Err(QueryError::new(column, "the range that begins here has no end"));
        };
        let to = end(to, *to_included);
        self.at += 1;
        Ok(Test::Range(end(from, from_included), to))
    }

    /// `None` for `*`.
    fn range_end(&mut self, how: &str) -> Result<Option<String>, QueryError> {
        if matches!(self.peek(), Some(Kind::Word(Word { text, prefix: true })) if text.is_empty()) {
            self.at += 1;
            return Ok(None);
        }
        self.plain(how).map(Some)
    }

    fn plain(&mut self, how: &str) -> Result<String, QueryError> {
        match self.peek() {
            Some(Kind::Word(Word { text, prefix: false }) | Kind::Quoted(text)) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(QueryError::new(self.column(), how)),
        }
    }
}

fn end(value: Option<String>, included: bool) -> End {
    match value {
        None => End::Open,
        Some(value) if included => End::Included(value),
        Some(value) => End::Excluded(value),
    }
}

fn only(mut nodes: Vec<Node>, many: impl Fn(Vec<Node>) -> Node) -> Node {
    match nodes.pop() {
        Some(node) if nodes.is_empty() => node,
        last => {
            nodes.extend(last);
            many(nodes)
        }
    }
}

fn unknown(vocabulary: &Vocabulary, column: usize, name: &str) -> QueryError {
    let near = vocabulary.names(|_| true).into_iter().max_by(|a, b| {
        let near = |field: &&str| strsim::jaro_winkler(name, field);
        near(a).total_cmp(&near(b))
    });
    let hint = match near {
        Some(near) if strsim::jaro_winkler(name, near) > 0.8 => format!("; did you mean `{near}`?"),
        _ => "; quote what is before and after the colon if it is to be looked for".to_owned(),
    };
    let fields = vocabulary.names(|_| true).join(", ");
    let name: String = name.chars().take(64).collect();
    QueryError::new(column, format!("there is no field `{name}`, only {fields}{hint}"))
}
