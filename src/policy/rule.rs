//! Reading one `[[table]]` of a policy: its action, its link, its strategies.

use super::basis::Bases;
use super::read::{CODES, DATABASE_NAME_HELP, UNKNOWN_WORD, database_name, table_name};
use super::scope::Declared;
use super::{
    Action, HashAs, Identifier, Link, LinkFrom, LinkTo, Open, Period, Retain, Scope, Span,
    Strategy, TableRule, Told, TruncateTo, Until, basis, read, scope,
};
use crate::name::QualifiedTable;
use crate::reading::{Table, amount, choose, did_you_mean, nearest, quoted};
use std::collections::BTreeMap;

/// A key that does not go with another.
pub(super) const CONTRADICTION: &str = "E0109";
/// A link that cannot be one.
const BAD_LINK: &str = "E0118";

type Identifiers = BTreeMap<String, Option<Identifier>>;
/// Columns, and what becomes of each.
pub type Set = BTreeMap<String, (Strategy, Span)>;

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

/// What becomes of each column.
pub(super) fn strategies(table: &Table<'_>) -> Set {
    if table.is_empty() {
        let message = format!("{} is empty", table.label());
        let help = "say what becomes of each column: set = { name = \"null\" }";
        table
            .reader()
            .error(CODES.bad_value, table.span(), message, help);
    }
    let mut set = BTreeMap::new();
    for entry in table.entries() {
        column_key(table, &entry.name, entry.key.clone());
        let strategy = match entry.as_table() {
            Some(inner) => compound(&inner, entry.span()),
            None => simple(table, &entry),
        };
        if let Some(strategy) = strategy {
            set.insert(entry.name, (strategy, entry.key));
        }
    }
    set
}

const STRATEGIES: &[(&str, Strategy)] = &[
    ("null", Strategy::Null),
    ("redact", Strategy::Redact),
    ("hash", Strategy::Hash),
];

fn simple(table: &Table<'_>, entry: &crate::reading::Entry<'_>) -> Option<Strategy> {
    let (word, span) = entry.string()?;
    if let Some((_, strategy)) = STRATEGIES.iter().find(|(known, _)| *known == word) {
        return Some(strategy.clone());
    }
    let words: Vec<&str> = STRATEGIES.iter().map(|(word, _)| *word).collect();
    let help = match word.as_str() {
        "truncate" => "say to what: { truncate = \"year\" } or { truncate = \"month\" }".into(),
        _ => format!(
            "{}; a fixed text is written {{ constant = \"…\" }}, a shortened date {{ truncate = \"year\" }}",
            choose(&word, &words).trim_end_matches('?'),
        ),
    };
    let message = format!("{} names no strategy: {}", entry.label, quoted(&word));
    table.reader().error(UNKNOWN_WORD, span, message, help);
    None
}

/// The keys by which a strategy with parameters is told.
const COMPOUND: [&str; 7] = [
    "constant", "truncate", "template", "redact", "hash", "mask", "bucket",
];

/// `{ constant = "…" }`, `{ truncate = "year" }` and the like.
fn compound(table: &Table<'_>, span: Span) -> Option<Strategy> {
    let units = [("year", TruncateTo::Year), ("month", TruncateTo::Month)];
    let formats = [("email", HashAs::Email), ("phone", HashAs::Phone)];
    let constant = table.string("constant");
    let truncate = table.word("truncate", UNKNOWN_WORD, &units);
    let template = table.parsed("template", CODES.bad_value, TEMPLATE_HELP, template);
    let redact = table.word("redact", UNKNOWN_WORD, &[("identifiers", ())]);
    let hash = table.word("hash", UNKNOWN_WORD, &formats);
    let mask = table.integer("mask", 0..=64);
    let ends = [("first", false), ("last", true)];
    let last = table.word("keep", UNKNOWN_WORD, &ends);
    let bucket = table.integer("bucket", 2..=1_000_000_000);
    let choose = choices(table);
    table.finish();
    let named = COMPOUND.iter().chain(&["choose"]);
    if named.filter(|key| table.has(key)).count() != 1 {
        table.reader().error(
            CONTRADICTION,
            span,
            format!(
                "{} must have exactly one of {} and choose",
                table.label(),
                COMPOUND.join(", ")
            ),
            "write { constant = \"…\" }, or { truncate = \"year\" }, or another of them",
        );
        return None;
    }
    if let Some(at) = table.span_of("keep").filter(|_| !table.has("mask")) {
        let message = format!("`keep` in {} belongs to `mask`", table.label());
        table
            .reader()
            .error(CONTRADICTION, at, message, "remove it");
        return None;
    }
    let mask = mask.map(|keep| Strategy::Mask {
        keep: u32::try_from(keep).unwrap_or(u32::MAX),
        last: last.is_some_and(|(last, _)| last),
    });
    constant
        .map(|(text, _)| Strategy::Constant(text))
        .or(truncate.map(|(unit, _)| Strategy::Truncate(unit)))
        .or(template.map(|(text, _)| Strategy::Template(text)))
        .or(redact.map(|_| Strategy::RedactIdentifiers))
        .or(hash.map(|(format, _)| Strategy::HashAs(format)))
        .or(mask)
        .or(bucket.map(Strategy::Bucket))
        .or(choose.map(Strategy::Choose))
}

const TEMPLATE_HELP: &str = "write {key} where the row's key is to stand, and no other braces";

fn template(text: &str) -> Result<String, String> {
    let rest = text.replace("{key}", "");
    if rest.contains(['{', '}']) {
        return Err("it has braces that are not {key}".into());
    }
    Ok(text.to_owned())
}

/// Two texts or more, each once.
fn choices(table: &Table<'_>) -> Option<Vec<String>> {
    let listed = table.strings("choose")?;
    let mut texts: Vec<String> = Vec::new();
    for (text, _) in listed {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.len() < 2 {
        let message = format!("`choose` in {} has fewer than two texts", table.label());
        let help = "list two or more, or write { constant = \"…\" }";
        let at = table.span_of("choose")?;
        table.reader().error(CODES.bad_value, at, message, help);
        return None;
    }
    Some(texts)
}

fn link(
    table: &Table<'_>,
    rule: &Table<'_>,
    of: Option<&(QualifiedTable, Span)>,
    identifiers: &Identifiers,
) -> Option<Link> {
    let complain = |span: Span, message: &str, help: &str| {
        table.reader().error(
            BAD_LINK,
            span,
            format!("{message} in {}", table.label()),
            help,
        );
    };
    let span = rule.span_of("link")?;
    let columns = columns(table, "columns");
    let json = table.table("json").map(|json| json_path(&json));
    let elements = table.parsed(
        "elements",
        CODES.bad_value,
        DATABASE_NAME_HELP,
        database_name,
    );
    let to = table_name(table, "to");
    let key = columns_or_empty(table);
    let identifier = table.string("identifier");
    let when = table
        .table("when")
        .map(|when| constants(&when))
        .unwrap_or_default();
    table.finish();

    let given = ["columns", "json", "elements"].map(|key| table.has(key));
    if given.iter().filter(|given| **given).count() != 1 {
        let help = "say what in the row refers: columns = [\"customer_id\"], or \
             json = { column = \"payload\", path = [\"user\", \"id\"] }, or elements = \"member_ids\"";
        complain(
            span.clone(),
            "exactly one of `columns`, `json` and `elements` must stand",
            help,
        );
    }
    if table.has("to") == table.has("identifier") {
        let help =
            "say what it refers to: to = \"system.schema.table\", or identifier = \"member_no\"";
        complain(
            span.clone(),
            "exactly one of `to` and `identifier` must stand",
            help,
        );
    }
    let elements = elements.map(|(column, _)| LinkFrom::Elements(column));
    let from = columns
        .map(LinkFrom::Columns)
        .or(json.flatten())
        .or(elements)?;
    let width = match &from {
        LinkFrom::Columns(columns) => columns.len(),
        _ => 1,
    };
    let to = if let Some((name, at)) = identifier {
        if !identifiers.contains_key(&name) {
            let known: Vec<&str> = identifiers.keys().map(String::as_str).collect();
            let message = format!("no identifier is called {}", quoted(&name));
            table
                .reader()
                .error("E0112", at, message, choose(&name, &known));
        } else if width != 1 {
            complain(
                at,
                "one identifier cannot be in several columns",
                "name one column",
            );
        }
        if let Some(at) = table.span_of("key") {
            complain(
                at,
                "`key` belongs to `to`, not to `identifier`",
                "remove `key`",
            );
        }
        LinkTo::Identifier(name)
    } else {
        let ((to, at), key) = (to?, key?);
        if of.is_some_and(|(of, _)| of.system != to.system) {
            let help = "link by a value both systems have: identifier = \"member_no\"";
            complain(at, "a link to another system cannot name a table", help);
        }
        if !key.is_empty() && key.len() != width {
            let at = table.span_of("key").unwrap_or(span.clone());
            complain(
                at,
                "`key` and `columns` differ in length",
                "name as many of each",
            );
        }
        LinkTo::Table {
            table: to,
            columns: key,
        }
    };
    Some(Link {
        from,
        to,
        when,
        span,
    })
}

/// A list of columns that is not empty.
fn columns(table: &Table<'_>, key: &'static str) -> Option<Vec<String>> {
    let listed = table.strings(key)?;
    if listed.is_empty() {
        let message = format!("`{key}` in {} is empty", table.label());
        table.reader().error(
            BAD_LINK,
            table.span_of(key)?,
            message,
            "name at least one column",
        );
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    for (name, span) in listed {
        column_key(table, &name, span.clone());
        if names.contains(&name) {
            let message = format!("`{key}` in {} names {} twice", table.label(), quoted(&name));
            table
                .reader()
                .error(BAD_LINK, span, message, "name each column once");
        }
        names.push(name);
    }
    Some(names)
}

/// `key`, by default empty; `None` if it has mistakes.
fn columns_or_empty(table: &Table<'_>) -> Option<Vec<String>> {
    if table.has("key") {
        columns(table, "key")
    } else {
        Some(Vec::new())
    }
}

fn json_path(table: &Table<'_>) -> Option<LinkFrom> {
    table.need("column", "name the json or jsonb column");
    let column = table.parsed("column", CODES.bad_value, DATABASE_NAME_HELP, database_name);
    if table.has("keys") {
        return json_keys(table, column);
    }
    table.need(
        "path",
        "name the way to the value from the top: path = [\"user\", \"id\"]",
    );
    let path = table.strings("path");
    let complain = |message: &str, help: &str| {
        let message = format!("`path` in {} {message}", table.label());
        table.reader().error(BAD_LINK, table.span(), message, help);
    };
    if path.as_ref().is_some_and(Vec::is_empty) {
        complain(
            "is empty",
            "name the way to the value from the top: path = [\"user\", \"id\"]",
        );
    }
    table.finish();
    let column = column?.0;
    let path: Vec<String> = path?.into_iter().map(|(step, _)| step).collect();
    let mut parts = path.split(|step| step == EACH).map(<[String]>::to_vec);
    let list = parts.next()?;
    let from = match parts.next() {
        None => LinkFrom::Json { column, path: list },
        Some(path) => LinkFrom::JsonElements { column, list, path },
    };
    if parts.next().is_some() {
        complain(
            "says \"*\" twice",
            "a list in a list is not followed; link a column, or a table of its own",
        );
    }
    Some(from)
}

/// The keys of an object are what refers.
fn json_keys(table: &Table<'_>, column: Option<(String, Span)>) -> Option<LinkFrom> {
    let keys = table.strings("keys");
    if let Some(at) = table.span_of("path") {
        let message = format!("{} has both `path` and `keys`", table.label());
        let help = "`path` leads to a value that refers, `keys` to an object whose keys do";
        table.reader().error(BAD_LINK, at, message, help);
    }
    let keys = keys?;
    if let Some((_, at)) = keys.iter().find(|(step, _)| step == EACH) {
        let message = format!("`keys` in {} says \"*\"", table.label());
        let help = "keys of each object in a list are not followed; link a table of its own";
        table.reader().error(BAD_LINK, at.clone(), message, help);
    }
    table.finish();
    Some(LinkFrom::JsonKeys {
        column: column?.0,
        object: keys.into_iter().map(|(step, _)| step).collect(),
    })
}

/// In a path: each element of the list that stands there.
const EACH: &str = "*";

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
