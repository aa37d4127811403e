//! Reading one `[[table]]` of a policy: its action, its link, its strategies.

mod link;
mod set;

pub use set::Set;
pub(super) use set::strategies;

use super::basis::Bases;
use super::read::{CODES, DATABASE_NAME_HELP, UNKNOWN_WORD, database_name, table_name};
use super::scope::Declared;
use super::{
    Action, Identifier, Link, LinkFrom, LinkTo, Open, Period, Retain, Scope, Span, TableRule, Told,
    Until, basis, read, scope,
};
use crate::name::QualifiedTable;
use crate::reading::{Table, amount, did_you_mean, nearest, quoted};
use link::{BAD_LINK, link};
use std::collections::BTreeMap;

/// A key that does not go with another.
pub(super) const CONTRADICTION: &str = "E0109";

type Identifiers = BTreeMap<String, Option<Identifier>>;

/// All rules, in the order of the file: those that are decided, and those that are not yet.
pub(super) fn rules(
    file: &Table<'_>,
    identifiers: &Identifiers,
    declared: &Declared<Scope>,
    bases: &Bases,
) -> (Vec<TableRule>, Vec<Open>) {
    let mut ways: Vec<Known> = Vec::new();
    let (mut rules, mut open) = (Vec::new(), Vec::new());
    for mut table in file.list("table") {
        let Some((rule, scopes)) = rule(&mut table, identifiers, declared, bases) else {
            continue;
        };
        let (way, span) = match &rule {
            Rule::Decided(rule) => (way(&rule.table, &rule.via, &rule.link), rule.span.clone()),
            Rule::Open(open) => (way(&open.table, &open.via, &open.link), open.span.clone()),
        };
        let known = Known { way, scopes, span };
        known.stands_alone(&ways, &table);
        ways.push(known);
        match rule {
            Rule::Decided(rule) => rules.push(rule),
            Rule::Open(one) => open.push(one),
        }
    }
    (rules, open)
}

/// A rule read before: the rows that it speaks of, the scopes that it is for, and where it is.
struct Known {
    way: Way,
    scopes: Vec<(String, Span)>,
    span: Span,
}

impl Known {
    /// For the same rows no other rule is for the same scope, or for whatever scope is left.
    fn stands_alone(&self, others: &[Self], table: &Table<'_>) {
        let line = |other: &Self| table.reader().source().position(other.span.start).0;
        for other in others.iter().filter(|other| other.way == self.way) {
            if self.scopes.is_empty() && other.scopes.is_empty() {
                table.reader().error(
                    "E0110",
                    self.span.clone(),
                    format!(
                        "{} is decided twice, first in line {}",
                        self.way.0,
                        line(other)
                    ),
                    "remove one rule, or give each its own `via` or `link`",
                );
                return;
            }
            let named = |scope: &str| other.scopes.iter().any(|(known, _)| known == scope);
            if let Some((scope, at)) = self.scopes.iter().find(|(scope, _)| named(scope)) {
                table.reader().error(
                    scope::TWO_MEANINGS,
                    at.clone(),
                    format!(
                        "{} is decided twice for the scope {scope}, first in line {}",
                        self.way.0,
                        line(other)
                    ),
                    "take the scope out of one of the two rules",
                );
                return;
            }
        }
    }
}

/// One `[[table]]`.
enum Rule {
    Decided(TableRule),
    Open(Open),
}

/// The rows that a rule speaks of: one table reached in one way.
type Way = (
    QualifiedTable,
    Option<String>,
    Option<(LinkFrom, LinkTo, BTreeMap<String, String>)>,
);

fn way(table: &QualifiedTable, via: &Option<(String, Span)>, link: &Option<Link>) -> Way {
    let via = via.as_ref().map(|(name, _)| name.clone());
    let link = link
        .as_ref()
        .map(|l| (l.from.clone(), l.to.clone(), l.when.clone()));
    (table.clone(), via, link)
}

const ACTIONS: &[(&str, &str)] = &[
    ("delete", "delete"),
    ("anonymize", "anonymize"),
    ("detach", "detach"),
    ("retain", "retain"),
    ("shared", "shared"),
    ("exempt", "exempt"),
    (DECIDE, DECIDE),
];

/// Not an action: the mark of a rule that somebody must still decide.
const DECIDE: &str = "decide";

fn rule(
    table: &mut Table<'_>,
    identifiers: &Identifiers,
    declared: &Declared<Scope>,
    bases: &Bases,
) -> Option<(Rule, Vec<(String, Span)>)> {
    table.need("name", "name the table: name = \"system.schema.table\"");
    let name = table_name(table, "name");
    if let Some((name, _)) = &name {
        table.relabel(format!("the rule for {name}"));
    }
    let via = table.parsed("via", CODES.bad_value, DATABASE_NAME_HELP, database_name);
    let link = table
        .table("link")
        .map(|link_table| link(&link_table, table, name.as_ref(), identifiers));
    let of = name.as_ref().map(|(of, _)| of);
    let scopes = scope::scopes_of_rule(table, of, declared);
    let set = table.table("set").map(|set| strategies(&set));
    let span = name
        .as_ref()
        .map_or_else(|| table.span(), |(_, span)| span.clone());
    table.need(
        "action",
        "one of delete, anonymize, detach, retain, shared, exempt",
    );
    let action = table.word("action", UNKNOWN_WORD, ACTIONS);
    let until = table.table("until").map(|until_table| until(&until_table));
    let because = because(table, bases);
    let then = table.word("then", UNKNOWN_WORD, &[("delete", ())]);
    let reason = reason(table);
    let through = table_name(table, "through");
    let large = table.word("large", UNKNOWN_WORD, &[("batches", ())]);
    let undecided = action
        .as_ref()
        .filter(|(word, _)| *word == DECIDE)
        .map(|(_, at)| at.clone());
    let action = action.filter(|(word, _)| *word != DECIDE);
    let action = action.and_then(|(action, _)| {
        misplaced(table, action);
        match action {
            "delete" => Some(Action::Delete),
            "detach" => Some(Action::Detach),
            "anonymize" => {
                table.need(
                    "set",
                    "say what becomes of each column: set = { name = \"null\" }",
                );
                Some(Action::Anonymize { set: set? })
            }
            "retain" => {
                table.need(
                    "because",
                    "name the legal basis by its code, or say why in words",
                );
                if table.has("until") {
                    table.need("then", "say what happens at that date: then = \"delete\"");
                } else if let (Some(()), Some(at)) = (then.map(|(w, _)| w), table.span_of("then")) {
                    table.reader().error(
                        CONTRADICTION,
                        at,
                        format!("`then` in {} has no date to wait for", table.label()),
                        "add `until = { column = \"…\", plus = \"7 years\" }`, or remove `then`",
                    );
                }
                let until = match until {
                    Some(until) => Some(until?),
                    None => None,
                };
                Some(Action::Retain(Retain {
                    until,
                    because: because?,
                    set: set.unwrap_or_default(),
                    span: table.span_of("until").unwrap_or(span.clone()),
                }))
            }
            "shared" => {
                table.need(
                    "through",
                    "name the table whose rows are the owners: through = \"system.schema.participant\"",
                );
                let (through, span) = through?;
                if name.as_ref().is_some_and(|(of, _)| of.system != through.system) {
                    table.reader().error(
                        BAD_LINK,
                        span.clone(),
                        format!("the owners in {} are in another system", table.label()),
                        "name a table of the same system",
                    );
                }
                Some(Action::Shared { through, span })
            }
            _ => {
                table.need(
                    "reason",
                    "say why these rows are left alone; certificates repeat it",
                );
                Some(Action::Exempt { reason: reason? })
            }
        }
    });
    let sweep_exempt = table
        .table("sweep_exempt")
        .map(|t| reasons(&t))
        .unwrap_or_default();
    let large_objects = large_objects(table);
    let told = Box::new(Told {
        loses: table.table("loses").and_then(|t| read::words(&t)),
        keeps: table.table("keeps").and_then(|t| read::words(&t)),
    });
    table.finish();
    let scopes = scopes?;
    let link = match link {
        Some(link) => Some(link?),
        None => None,
    };
    if let Some(action) = undecided {
        let open = Open {
            table: name?.0,
            via,
            link,
            span,
            action,
        };
        return Some((Rule::Open(open), scopes));
    }
    let rule = TableRule {
        table: name?.0,
        via,
        link,
        scopes: scopes.clone(),
        action: action?,
        span,
        sweep_exempt,
        large_objects,
        in_pieces: large.map(|(_, span)| span),
        told,
    };
    Some((Rule::Decided(rule), scopes))
}

/// Keys that belong to another action.
fn misplaced(table: &Table<'_>, action: &str) {
    const OF: &[(&str, &[&str])] = &[
        ("set", &["anonymize", "retain"]),
        ("until", &["retain"]),
        ("because", &["retain"]),
        ("then", &["retain"]),
        ("reason", &["exempt"]),
        ("through", &["shared"]),
        (
            "large_objects",
            &["delete", "anonymize", "retain", "shared"],
        ),
        ("large", &["delete"]),
        (
            "loses",
            &["delete", "anonymize", "detach", "shared", "retain"],
        ),
        (
            "keeps",
            &["delete", "anonymize", "shared", "retain", "exempt"],
        ),
    ];
    for (key, actions) in OF {
        if actions.contains(&action) {
            continue;
        }
        if let Some(at) = table.span_of(key) {
            table.reader().error(
                CONTRADICTION,
                at,
                format!(
                    "`{key}` in {} does not go with action \"{action}\"",
                    table.label()
                ),
                format!("remove it, or make the action {}", actions.join(" or ")),
            );
        }
    }
}

fn until(table: &Table<'_>) -> Option<Until> {
    table.need(
        "column",
        "name the date or timestamp column that the period is added to",
    );
    let column = table.parsed("column", CODES.bad_value, DATABASE_NAME_HELP, database_name);
    table.need("plus", "say how long after it: plus = \"7 years\"");
    let plus = table.parsed("plus", "E0114", amount::PERIOD_HELP, amount::period);
    table.finish();
    let (months, days) = plus?.0;
    Some(Until {
        column: column?.0,
        plus: Period { months, days },
    })
}

pub(super) fn because(table: &Table<'_>, bases: &Bases) -> Option<String> {
    let (text, span) = table.string("because")?;
    if text.trim().is_empty() {
        let message = format!("`because` in {} is empty", table.label());
        let help = "name the legal basis by its code, or say why in words";
        table.reader().error(CODES.bad_value, span, message, help);
        return None;
    }
    if basis::looks_like_code(&text) && !bases.contains_key(&text) {
        let codes = bases.keys().map(String::as_str);
        let help = match nearest(&text, codes) {
            Some(near) => did_you_mean(near),
            None => "use a known code, or say the reason in words with spaces between".into(),
        };
        let message = format!("no legal basis has the code {}", quoted(&text));
        table.reader().error("E0108", span, message, help);
        return None;
    }
    Some(text)
}

fn reason(table: &Table<'_>) -> Option<String> {
    let (text, span) = table.string("reason")?;
    let given = !text.trim().is_empty();
    if !given {
        let message = format!("`reason` in {} is empty", table.label());
        table.reader().error(
            CODES.bad_value,
            span,
            message,
            "say why; certificates repeat it",
        );
    }
    given.then_some(text)
}

/// `large_objects`, if it is there; an empty list says that there are none.
fn large_objects(table: &Table<'_>) -> Option<(Vec<String>, Span)> {
    let listed = table.strings("large_objects")?;
    for (name, span) in &listed {
        column_key(table, name, span.clone());
    }
    let names = listed.into_iter().map(|(name, _)| name).collect();
    Some((names, table.span_of("large_objects")?))
}

/// Names of columns as keys.
fn column_key(table: &Table<'_>, name: &str, span: Span) {
    if let Err(why) = database_name(name) {
        let message = format!("a column in {} cannot be meant: {why}", table.label());
        table
            .reader()
            .error(CODES.bad_value, span, message, DATABASE_NAME_HELP);
    }
}

/// Column to reason.
fn reasons(table: &Table<'_>) -> BTreeMap<String, String> {
    let mut reasons = BTreeMap::new();
    for entry in table.entries() {
        column_key(table, &entry.name, entry.key.clone());
        let Some((reason, span)) = entry.string() else {
            continue;
        };
        if reason.trim().is_empty() {
            let message = format!("{} has no reason", entry.label);
            table.reader().error(
                CODES.bad_value,
                span,
                message,
                "say why; certificates repeat it",
            );
        }
        reasons.insert(entry.name, reason);
    }
    reasons
}

/// Column to constant.
fn constants(table: &Table<'_>) -> BTreeMap<String, String> {
    let mut constants = BTreeMap::new();
    for entry in table.entries() {
        column_key(table, &entry.name, entry.key.clone());
        if let Some((text, _)) = entry.string() {
            constants.insert(entry.name, text);
        }
    }
    constants
}
