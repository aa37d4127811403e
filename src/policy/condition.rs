//! `where`: a condition on a row's own columns, in a small part of SQL.
//!
//! A parser of PostgreSQL's syntax reads it, and what is more than columns compared with constants is
//! refused by name. What is kept is a value of our own, from which SQL is built anew: no text of a policy
//! ever reaches a database as anything but a quoted name or a bound value.

use super::Span;
use crate::reading::{Table, quoted};
use sqlparser::ast::{
    BinaryOperator, Expr, InTarget, Spanned, UnaryOperator, Value as SqlValue, ValueWithSpan,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span as Place, Token};

/// A condition that is none, or is more than it may be.
const NO_CONDITION: &str = "E0141";
/// Longer ones nobody reads.
const LONGEST: usize = 4_000;

/// A condition as the policy writes it, and what it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where {
    /// Its text.
    pub text: String,
    /// What it asks.
    pub condition: Condition,
}

/// It holds of a row, does not, or cannot be told, as in SQL: a comparison with NULL cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Each of them.
    All(Vec<Condition>),
    /// At least one of them.
    Any(Vec<Condition>),
    /// It does not.
    Not(Box<Condition>),
    /// What one column says.
    Test(Test),
}

/// What one column says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The column.
    pub column: String,
    /// Where it is named.
    pub span: Span,
    /// What is asked of it.
    pub asked: Asked,
}

/// What is asked of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// How it compares with a constant.
    Compared(Comparison, Constant),
    /// Whether it is like a pattern with `%` and `_`.
    Like(Constant),
    /// Whether it is empty.
    IsNull,
    /// Whether it is this, and not empty.
    Is(bool),
}

/// A comparison's sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is what it is called
pub enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// A constant as the policy writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant {
    /// How it is written.
    pub kind: ConstantKind,
    /// Its text, without quotes.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// How a constant is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is what it is called
pub enum ConstantKind {
    Text,
    Number,
    Boolean,
}

impl Condition {
    /// What it asks of columns, each by itself.
    pub fn tests(&self) -> Vec<&Test> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::tests).collect(),
            Self::Not(part) => part.tests(),
            Self::Test(test) => vec![test],
        }
    }
}

const HELP: &str = "allowed are a column compared with a constant (=, <>, <, <=, >, >=), IS [NOT] NULL, IS [NOT] TRUE, \
     IS [NOT] FALSE, [NOT] IN (…), [NOT] BETWEEN … AND …, [NOT] LIKE '…', and AND, OR, NOT and parentheses around these";

/// The condition under a key; `None` if there is none, or a mistake has been noted.
pub(super) fn condition(table: &Table<'_>, key: &'static str) -> Option<Where> {
    let (text, span) = table.string(key)?;
    let at = Text {
        text: &text,
        offset: offset(&table.reader().source().text, &span, &text),
        span,
    };
    match at.read() {
        Ok(condition) => Some(Where { text, condition }),
        Err((place, why)) => {
            let message = format!("`{key}` in {} cannot be read: {why}", table.label());
            table.reader().error(NO_CONDITION, place, message, HELP);
            None
        }
    }
}

/// Where a string's text begins in the file, if it stands there as it is, without escapes.
fn offset(file: &str, span: &Span, text: &str) -> Option<usize> {
    let written = file.get(span.clone())?;
    let inner = written.trim_matches(['"', '\'']);
    let start = written.len() - written.trim_start_matches(['"', '\'']).len();
    // What begins or ends with a quote of its own is not told from its delimiters.
    let plain = inner == text || inner.strip_prefix('\n') == Some(text);
    plain.then(|| span.start + start + (inner.len() - text.len()))
}

type Mistake = (Span, String);

/// The text of a condition in its file.
struct Text<'t> {
    text: &'t str,
    offset: Option<usize>,
    span: Span,
}

impl Text<'_> {
    fn read(&self) -> Result<Condition, Mistake> {
        if self.text.len() > LONGEST {
            return Err((
                self.span.clone(),
                format!("it is longer than {LONGEST} bytes"),
            ));
        }
        let dialect = PostgreSqlDialect {};
        let mut parser = Parser::new(&dialect)
            .try_with_sql(self.text)
            .map_err(|error| (self.span.clone(), words(error)))?;
        let parsed = parser.parse_expr();
        let next = parser.peek_token();
        match parsed {
            Ok(parsed) if next.token == Token::EOF => self.condition(&parsed),
            Ok(_) => Err((
                self.place(next.span),
                format!("{} is one word too many", quoted(&next.to_string())),
            )),
            Err(error @ ParserError::RecursionLimitExceeded) => {
                Err((self.span.clone(), words(error)))
            }
            Err(_) => {
                let stopped = parser.get_current_token();
                let what = match &stopped.token {
                    Token::EOF => "it ends too early".to_owned(),
                    token => format!("{} is not expected here", quoted(&token.to_string())),
                };
                Err((self.place(stopped.span), what))
            }
        }
    }

    /// In the file.
    fn place(&self, place: Place) -> Span {
        let place = self.byte(place.start).zip(self.byte(place.end));
        match (self.offset, place) {
            (Some(offset), Some((from, to))) if from < to => offset + from..offset + to,
            _ => self.span.clone(),
        }
    }

    fn byte(&self, at: Location) -> Option<usize> {
        let (line, column) = (
            usize::try_from(at.line).ok()?,
            usize::try_from(at.column).ok()?,
        );
        let mut lines = self.text.split_inclusive('\n');
        let before: usize = lines
            .by_ref()
            .take(line.checked_sub(1)?)
            .map(str::len)
            .sum();
        let line = lines.next().unwrap_or_default();
        let mut columns = line.char_indices().map(|(at, _)| at).chain([line.len()]);
        Some(before + columns.nth(column.checked_sub(1)?)?)
    }

    fn condition(&self, expr: &Expr) -> Result<Condition, Mistake> {
        let not = |negated, condition| match negated {
            true => Condition::Not(Box::new(condition)),
            false => condition,
        };
        match expr {
            Expr::Nested(inner) => self.condition(inner),
            Expr::UnaryOp {
                op: UnaryOperator::Not,
                expr,
            } => Ok(not(true, self.condition(expr)?)),
            Expr::BinaryOp {
                op: BinaryOperator::And,
                ..
            } => Ok(Condition::All(self.joined(expr, &BinaryOperator::And)?)),
            Expr::BinaryOp {
                op: BinaryOperator::Or,
                ..
            } => Ok(Condition::Any(self.joined(expr, &BinaryOperator::Or)?)),
            Expr::BinaryOp { left, op, right } => {
                let Some(sign) = sign(op) else {
                    return Err(self.no(expr, &format!("the operator {op}")));
                };
                let constant = self.constant(right)?;
                self.test(left, Asked::Compared(sign, constant))
            }
            Expr::IsNull(of) => self.test(of, Asked::IsNull),
            Expr::IsNotNull(of) => Ok(not(true, self.test(of, Asked::IsNull)?)),
            Expr::IsTrue(of) => self.test(of, Asked::Is(true)),
            Expr::IsNotTrue(of) => Ok(not(true, self.test(of, Asked::Is(true))?)),
            Expr::IsFalse(of) => self.test(of, Asked::Is(false)),
            Expr::IsNotFalse(of) => Ok(not(true, self.test(of, Asked::Is(false))?)),
            Expr::In {
                expr: of,
                target: InTarget::List(list),
                negated,
                global: false,
            } if !list.is_empty() => {
                let equal = |value| {
                    let constant = self.constant(value)?;
                    self.test(of, Asked::Compared(Comparison::Equal, constant))
                };
                let any: Result<Vec<_>, _> = list.iter().map(equal).collect();
                Ok(not(*negated, Condition::Any(any?)))
            }
            Expr::Between {
                expr: of,
                negated,
                low,
                high,
            } => {
                let (low, high) = (self.constant(low)?, self.constant(high)?);
                let both = vec![
                    self.test(of, Asked::Compared(Comparison::AtLeast, low))?,
                    self.test(of, Asked::Compared(Comparison::AtMost, high))?,
                ];
                Ok(not(*negated, Condition::All(both)))
            }
            Expr::Like {
                negated,
                any: false,
                expr: of,
                pattern,
                escape_char: None,
            } => {
                let pattern = self.constant(pattern)?;
                Ok(not(*negated, self.test(of, Asked::Like(pattern))?))
            }
            other => Err(self.no(other, called(other))),
        }
    }

    /// The parts that the operator joins, over any number of its kind.
    fn joined(&self, expr: &Expr, by: &BinaryOperator) -> Result<Vec<Condition>, Mistake> {
        // Left to right the tree leans to the left, as deep as the text is long.
        let (mut rest, mut parts) = (expr, Vec::new());
        while let Expr::BinaryOp { left, op, right } = rest
            && op == by
        {
            parts.push(self.condition(right)?);
            rest = left;
        }
        parts.push(self.condition(rest)?);
        parts.reverse();
        Ok(parts)
    }

    fn test(&self, of: &Expr, asked: Asked) -> Result<Condition, Mistake> {
        let column = match of {
            Expr::Nested(inner) => return self.test(inner, asked),
            Expr::Identifier(name) => name,
            Expr::Value(_) => {
                return Err((self.place(of.span()), "the column comes first".into()));
            }
            other => return Err(self.no(other, called(other))),
        };
        let name = match column.quote_style {
            None => column.value.to_ascii_lowercase(),
            Some(_) => column.value.clone(),
        };
        Ok(Condition::Test(Test {
            column: name,
            span: self.place(column.span),
            asked,
        }))
    }

    fn constant(&self, expr: &Expr) -> Result<Constant, Mistake> {
        let (sign, value) = match expr {
            Expr::Nested(inner) => return self.constant(inner),
            Expr::UnaryOp { op, expr } => match (op, &**expr) {
                (UnaryOperator::Minus, Expr::Value(value)) => ("-", value),
                _ => return Err(self.no(expr, "an operator before a constant")),
            },
            Expr::Value(value) => ("", value),
            Expr::Identifier(name) => {
                let name = quoted(&name.value);
                let why = format!("{name} is a column, where a constant is wanted");
                return Err((self.place(expr.span()), why));
            }
            other => return Err(self.no(other, called(other))),
        };
        self.of_value(sign, value)
    }

    fn of_value(&self, sign: &str, value: &ValueWithSpan) -> Result<Constant, Mistake> {
        let span = self.place(value.span);
        let (kind, text) = match (&value.value, sign) {
            (SqlValue::Number(number, false), _) => {
                (ConstantKind::Number, format!("{sign}{number}"))
            }
            (SqlValue::SingleQuotedString(text), "") => (ConstantKind::Text, text.clone()),
            (SqlValue::Boolean(value), "") => (ConstantKind::Boolean, value.to_string()),
            (SqlValue::Null, "") => {
                return Err((
                    span,
                    "nothing is ever equal to NULL, nor unequal: write IS NULL or IS NOT NULL"
                        .into(),
                ));
            }
            (SqlValue::Placeholder(_), _) => return Err((span, "it may have no parameter".into())),
            _ => {
                return Err((
                    span,
                    "constants are written as 'text', 12.5, TRUE or FALSE".into(),
                ));
            }
        };
        Ok(Constant { kind, text, span })
    }

    fn no(&self, expr: &Expr, what: &str) -> Mistake {
        (self.place(expr.span()), format!("it may have no {what}"))
    }
}

fn words(error: ParserError) -> String {
    match error {
        ParserError::TokenizerError(words) | ParserError::ParserError(words) => words,
        ParserError::RecursionLimitExceeded => "it is nested too deeply".into(),
    }
}

fn sign(op: &BinaryOperator) -> Option<Comparison> {
    Some(match op {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::Unequal,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::AtMost,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::AtLeast,
        _ => return None,
    })
}

/// What is not allowed, by its name.
fn called(expr: &Expr) -> &'static str {
    match expr {
        Expr::Function(_) => "function",
        Expr::Subquery(_)
        | Expr::Exists { .. }
        | Expr::In { .. }
        | Expr::AnyOp { .. }
        | Expr::AllOp { .. } => "subquery or array",
        Expr::Cast { .. } | Expr::TypedString(_) | Expr::Interval(_) => "cast, nor typed constant",
        Expr::CompoundIdentifier(_) | Expr::CompoundFieldAccess { .. } => {
            "name with a dot: columns are the table's own"
        }
        Expr::Identifier(_) => "column by itself: write IS TRUE behind it",
        Expr::Value(_) => "constant by itself",
        Expr::ILike { .. } | Expr::SimilarTo { .. } | Expr::Like { .. } => {
            "ILIKE, SIMILAR TO or ESCAPE"
        }
        Expr::IsUnknown(_) | Expr::IsNotUnknown(_) => "IS UNKNOWN: write IS NULL",
        Expr::Case { .. } => "CASE",
        _ => "such expression",
    }
}

#[cfg(test)]
mod tests;
