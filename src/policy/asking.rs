//! Reading `[identity]`: what of the subject's own row may be compared with what a caller says.

use super::read::{
    BAD_PERIOD, CODES, DATABASE_NAME_HELP, UNKNOWN_WORD, database_name, made_up_name, text_kind,
};
use super::{Identifier, IdentifierKind, Policy, Span};
use crate::identifier::{self, BadIdentifier};
use crate::reading::{Table, amount, quoted};
use std::collections::BTreeMap;
use std::time::Duration;
use zeroize::Zeroizing;

/// A point that is an identifier already.
const TWICE_DECLARED: &str = "E0123";

/// What the policy says about proof.
#[derive(Clone, Debug, Default)]
pub struct Asking {
    /// Points by name; identifiers are points by their own names.
    pub points: BTreeMap<String, Point>,
    /// Ways to reach the person, by name, where the row says when they were changed: an impostor
    /// changes them first.
    pub changed: BTreeMap<String, Changed>,
}

/// When something was changed by which the person is reached.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Column of the root table with the date or time.
    pub column: String,
    /// How long a change is a sign that somebody else may be asking.
    pub within: Duration,
    /// Where the file declares it.
    pub span: Span,
}

/// A value of the root row that a caller may be asked for.
#[derive(Clone, Debug)]
pub struct Point {
    /// Column of the root table.
    pub column: String,
    /// How answers and stored values are brought to one writing.
    pub kind: PointKind,
    /// Where the file declares it.
    pub span: Span,
}

/// How a point is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointKind {
    /// As an identifier of this kind.
    As(IdentifierKind),
    /// As a date, however it is written.
    Date,
    /// By its letters and digits alone.
    Code,
}

impl PointKind {
    /// The one writing in which two values are compared.
    ///
    /// # Errors
    /// That the text is no such value; never repeats it.
    pub fn normalise(&self, raw: &str) -> Result<Zeroizing<String>, BadIdentifier> {
        match self {
            Self::As(kind) => {
                let normalised = identifier::normalise(kind, raw)?;
                Ok(Zeroizing::new(normalised.value().to_owned()))
            }
            Self::Date => identifier::date(raw),
            Self::Code => identifier::code(raw),
        }
    }
}

impl Policy {
    /// Where a point stands and how it is compared, if the policy says so.
    pub fn point(&self, name: &str) -> Option<(&str, PointKind)> {
        if let Some(point) = self.asking.points.get(name) {
            return Some((&point.column, point.kind.clone()));
        }
        let identifier = self.identifiers.get(name)?;
        Some((&identifier.column, PointKind::As(identifier.kind.clone())))
    }
}

/// `[identity]`, if there is one; `None` if it has mistakes.
pub(super) fn asking(
    file: &Table<'_>,
    identifiers: &BTreeMap<String, Option<Identifier>>,
) -> Option<Asking> {
    let Some(table) = file.table("identity") else {
        return (!file.has("identity")).then(Asking::default);
    };
    let mut points = Some(BTreeMap::new());
    for (name, span, of) in table.named("point") {
        made_up_name(&of, &name, &span);
        if identifiers.contains_key(&name) {
            let message = format!("{} is an identifier, and so a point already", quoted(&name));
            let help = "remove this, or give it another name";
            file.reader()
                .error(TWICE_DECLARED, span.clone(), message, help);
        }
        match (point(&of, span), &mut points) {
            (Some(point), Some(points)) => drop(points.insert(name, point)),
            _ => points = None,
        }
    }
    let mut changed = Some(BTreeMap::new());
    for (name, span, of) in table.named("changed") {
        made_up_name(&of, &name, &span);
        match (change(&of, span), &mut changed) {
            (Some(change), Some(changed)) => drop(changed.insert(name, change)),
            _ => changed = None,
        }
    }
    table.finish();
    Some(Asking {
        points: points?,
        changed: changed?,
    })
}

fn change(table: &Table<'_>, span: Span) -> Option<Changed> {
    table.need(
        "column",
        "name the column of the root table that says when it was changed",
    );
    table.need(
        "within",
        "say how long a change is suspect, such as within = \"14 days\"",
    );
    let column = table.parsed("column", CODES.bad_value, DATABASE_NAME_HELP, database_name);
    let within = table.parsed(
        "within",
        BAD_PERIOD,
        amount::DURATION_HELP,
        amount::duration,
    );
    table.finish();
    Some(Changed {
        column: column?.0,
        within: within?.0,
        span,
    })
}

fn point(table: &Table<'_>, span: Span) -> Option<Point> {
    table.need("column", "name the column of the root table that holds it");
    let column = table.parsed("column", CODES.bad_value, DATABASE_NAME_HELP, database_name);
    let words = ["plain", "email", "phone", "name", "date", "code"].map(|word| (word, word));
    let word = table
        .word("type", UNKNOWN_WORD, &words)
        .map(|(word, _)| word);
    let kind = match word {
        Some("date") => text_kind(table, &span, Some("plain")).map(|_| PointKind::Date),
        Some("code") => text_kind(table, &span, Some("plain")).map(|_| PointKind::Code),
        word => text_kind(table, &span, word).map(PointKind::As),
    };
    table.finish();
    Some(Point {
        column: column?.0,
        kind: kind?,
        span,
    })
}
