//! The text of a query as words, signs and quoted strings, each with its column.

use super::QueryError;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub kind: Kind,
    /// Counted in characters from 1.
    pub column: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Open,
    Close,
    /// `[` or `{`; true when the end belongs to the range.
    RangeOpen(bool),
    /// `]` or `}`.
    RangeClose(bool),
    /// `word:` with the colon right behind.
    Field(String),
    /// `>`, `>=`, `<`, `<=` before a word.
    Compare(Comparison),
    Word(Word),
    Quoted(String),
    And,
    Or,
    Not,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Over,
    From,
    Under,
    UpTo,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    pub text: String,
    /// An unescaped `*` stood at the end.
    pub prefix: bool,
}

pub(super) fn lex(text: &str) -> Result<Vec<Token>, QueryError> {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, tokens: vec![], ranges: 0 };
    while lexer.at < lexer.chars.len() {
        lexer.next()?;
    }
    Ok(lexer.tokens)
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    tokens: Vec<Token>,
    /// Inside a range, `]` and `}` end a word; elsewhere an id may hold them.
    ranges: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn push(&mut self, kind: Kind, len: usize) {
        self.tokens.push(Token { kind, column: self.at + 1 });
        self.at += len;
    }

    fn next(&mut self) -> Result<(), QueryError> {
        let Some(c) = self.peek(0) else { return Ok(()) };
        match c {
            c if c.is_whitespace() => self.at += 1,
            '(' => self.push(Kind::Open, 1),
            ')' => self.push(Kind::Close, 1),
            '[' | '{' => {
                self.ranges += 1;
                self.push(Kind::RangeOpen(c == '['), 1);
            }
            ']' | '}' => {
                self.ranges = self.ranges.saturating_sub(1);
                self.push(Kind::RangeClose(c == ']'), 1);
            }
            '"' => return self.quoted(),
            '>' | '<' => self.compare(c),
            // In front of a number after a colon or in a range it is a sign, in front of anything else a `NOT`.
            '-' if !self.wants_value() => self.push(Kind::Not, 1),
            _ => return self.word(),
        }
        Ok(())
    }

    fn wants_value(&self) -> bool {
        let last = self.tokens.last().map(|t| &t.kind);
        self.ranges > 0 || matches!(last, Some(Kind::Field(_) | Kind::Compare(_)))
    }

    fn compare(&mut self, c: char) {
        let equal = self.peek(1) == Some('=');
        let kind = match (c, equal) {
            ('>', false) => Comparison::Over,
            ('>', true) => Comparison::From,
            (_, false) => Comparison::Under,
            (_, true) => Comparison::UpTo,
        };
        self.push(Kind::Compare(kind), 1 + usize::from(equal));
    }

    fn quoted(&mut self) -> Result<(), QueryError> {
        let column = self.at + 1;
        let mut text = String::new();
        self.at += 1;
        loop {
            match self.peek(0) {
                None => return Err(QueryError::new(column, "the quote that begins here has no end")),
                Some('"') => break,
                Some('\\') => {
                    self.at += 1;
                    text.extend(self.peek(0));
                }
                Some(c) => text.push(c),
            }
            self.at += 1;
        }
        self.at += 1;
        self.tokens.push(Token { kind: Kind::Quoted(text), column });
        Ok(())
    }

    fn word(&mut self) -> Result<(), QueryError> {
        let column = self.at + 1;
        let value = self.wants_value();
        let (mut text, mut plain, mut star) = (String::new(), true, false);
        while let Some(c) = self.peek(0) {
            let end = c.is_whitespace() || "()\"".contains(c) || (self.ranges > 0 && "]}".contains(c));
            if end {
                break;
            }
            if star {
                return Err(QueryError::new(self.at, "`*` stands for the end of a word, and only there; quote the word or write `\\*`"));
            }
            self.at += 1;
            match c {
                '\\' => {
                    plain = false;
                    let Some(escaped) = self.peek(0) else {
                        return Err(QueryError::new(self.at, "`\\` at the end escapes nothing"));
                    };
                    text.push(escaped);
                    self.at += 1;
                }
                // The first colon ends the field's name; later ones belong to an id or to a time.
                ':' if !value && plain => {
                    self.tokens.push(Token { kind: Kind::Field(text), column });
                    return Ok(());
                }
                '*' => star = true,
                c => text.push(c),
            }
        }
        let operator = plain && !star && !value;
        let kind = match text.as_str() {
            "AND" if operator => Kind::And,
            "OR" if operator => Kind::Or,
            "NOT" if operator => Kind::Not,
            _ => Kind::Word(Word { text, prefix: star }),
        };
        self.tokens.push(Token { kind, column });
        Ok(())
    }
}
