//! How rows hang on the rows of a retention rule: a lineage whose root is the rule's table.
//!
//! What becomes of the rows that hang on them is what the policy's own `[[table]]` rules say, so a
//! booking that goes by its age takes the same rows with it as one that goes with its customer.

use super::owners::{Owners, back, owners};
use super::{
    Below, ConditionOf, DateKind, Due, Edge, Lineage, Linked, Parent, Reached, Spares, Step,
    SystemLineage, archive, condition, leads_from, linked, minimum, partition, still, trace,
};
use crate::catalog::{Catalog, Dialect, ForeignKey, Table};
use crate::diagnostic::{Diagnostic, Severity};
use crate::name::{QualifiedTable, TableName};
use crate::policy::retention::{Cutoff, Keep, RetentionAction, RetentionRule};
use crate::policy::{Action, Extent, Level, Policy, Scope, Span, TableRule};
use crate::reading::choose_or;
use chrono::{DateTime, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};

/// The one scope of the policy that a rule makes.
const SCOPE: &str = "retention";
/// A rule that the policy contradicts.
pub(super) const CONTRADICTED: &str = "E0255";
const LINKED: &str = "link them by a foreign key that the database holds, or let them lose the link: action = \"detach\"";
/// A rule for what goes by tickets.
const OF_PEOPLE: &str = "E0256";

/// What a rule makes of its policy.
#[derive(Debug)]
pub struct OfRule {
    /// The rules for what hangs on the table, and one for the table itself.
    pub policy: Policy,
    /// Traced from the table.
    pub lineage: Lineage,
    /// Whose the rows are.
    pub owners: Owners,
    /// Other kinds of subject whose policies speak of the rows: they may be theirs too.
    pub others: Vec<String>,
    /// What must hold of a row of the table; all of it.
    pub due: Vec<Due>,
    /// What hangs on its rows and keeps them.
    pub spared_by: Vec<Spares>,
    /// What is worth knowing, though nothing stops.
    pub warnings: Vec<Diagnostic>,
}

/// Traces a rule of one of these policies in force through its system's catalog. `now` decides what is due:
/// `None` where the calendar has nothing yet that could be.
///
/// # Errors
/// All that keeps the rule from running, warnings among them.
pub fn of_rule(
    policy: &Policy,
    rule: &RetentionRule,
    in_force: &[&Policy],
    now: DateTime<Utc>,
    catalog: &Catalog,
) -> Result<Option<OfRule>, Vec<Diagnostic>> {
    if catalog.dialect == Dialect::MariaDb {
        return Err(vec![not_on_mariadb(policy, rule)]);
    }
    let mut found = Vec::new();
    let mut error = |code, message: String, help: &str| {
        let diagnostic = Diagnostic::error(code, message, help);
        found.push(diagnostic.at(&policy.source, rule.span.clone()));
    };
    let name = &rule.name;
    let table = catalog.tables.get(&rule.table.table);
    let Some(table) = table else {
        error(
            "E0202",
            format!(
                "the retention rule {name} is for {}, which does not exist",
                rule.table
            ),
            "mend the name as the catalog spells it (case counts)",
        );
        return Err(found);
    };
    if table.row_key().is_empty() || table.has_heirs {
        error(
            "E0218",
            format!(
                "{} has no primary key, so a run could not go on where it stopped",
                rule.table
            ),
            "give it one, or a unique index over NOT NULL columns; of a table with heirs name the heirs",
        );
    }
    if let Some(column) = table.row_key().iter().find(|c| has_own_order(table, c)) {
        error(
            "E0218",
            format!(
                "the key of {} has the column {column:?} of a type with an order of its own, by which a run could not go on where it stopped",
                rule.table
            ),
            "give the table a unique index over NOT NULL columns of PostgreSQL's own types, or write the rule for another table",
        );
    }
    let due = times((policy, rule), in_force, table, now, catalog, &mut found);
    if rule.people.is_some() {
        return of_people(policy, rule, due, found);
    }
    found.extend(partition::misfit(policy, rule, table));
    found.extend(still::no_links(policy, rule, table, catalog));
    let own = of_table(policy, rule, in_force, catalog);
    let traced = trace(
        &own,
        SCOPE,
        &BTreeMap::from([(catalog.system.clone(), catalog.clone())]),
    );
    let (lineage, mut warnings) = match traced {
        Ok(traced) => traced,
        Err(more) => {
            found.extend(more);
            return Err(found);
        }
    };
    let of = Hanging {
        policy,
        rule,
        own: &own,
        lineage: &lineage,
        in_force,
        catalog,
        now,
    };
    let mut spared_by = Vec::new();
    if rule.action == RetentionAction::Keep {
        // What its own policy says stops the tickets too: `trace` looks.
        let others = in_force.iter().filter(|p| p.subject != policy.subject);
        let others: Vec<&Policy> = others.copied().collect();
        found.extend(minimum::against_tables(policy, rule, &others));
    } else {
        let (mut mistakes, due) = (of.mistakes(), due.as_deref().unwrap_or_default());
        spared_by = of.spared_by(due, &mut mistakes);
        // Of what is only counted nothing goes with it.
        if rule.action.changes() {
            found.extend(mistakes);
        }
    }
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Err(found);
    }
    warnings.extend(super::age_index::unindexed(policy, rule, table));
    let due = due.map(|due| still::only_once(due, rule, table));
    let changed = changed(rule, &lineage);
    Ok(due.map(|due| {
        let mut of = OfRule {
            owners: owners(policy, &rule.table, &changed, catalog),
            others: others(policy, rule, in_force, &changed),
            lineage: with_due(lineage, &due, &spared_by),
            policy: own,
            due,
            spared_by,
            warnings,
        };
        let more = partition::warnings(policy, rule, &of, catalog);
        of.warnings.extend(more);
        let more = archive::warnings(policy, rule, &of);
        of.warnings.extend(more);
        of
    }))
}

/// What must hold of a row on another day for a rule that fits; `None` beyond the calendar.
pub fn due_on(
    policy: &Policy,
    rule: &RetentionRule,
    in_force: &[&Policy],
    catalog: &Catalog,
    today: NaiveDate,
) -> Option<Vec<Due>> {
    let table = catalog.tables.get(&rule.table.table)?;
    // A time at which the day is that one in the rule's zone: rules that keep may have another.
    let noon = rule.zone.from_local_datetime(&today.and_hms_opt(12, 0, 0)?);
    let noon = noon.earliest()?.to_utc();
    times(
        (policy, rule),
        in_force,
        table,
        noon,
        catalog,
        &mut Vec::new(),
    )
    .map(|due| still::only_once(due, rule, table))
}

/// Whether a column's type is an extension's or the application's own, enumerations aside: rows would be passed
/// in one order and compared in another.
fn has_own_order(table: &Table, column: &str) -> bool {
    const KNOWN: [&str; 24] = [
        "bool",
        "bpchar",
        "bytea",
        "char",
        "cidr",
        "date",
        "float4",
        "float8",
        "inet",
        "int2",
        "int4",
        "int8",
        "interval",
        "macaddr",
        "macaddr8",
        "name",
        "numeric",
        "oid",
        "text",
        "time",
        "timestamp",
        "timestamptz",
        "uuid",
        "varchar",
    ];
    let column = table.column(column);
    column.is_some_and(|c| c.category != 'E' && !KNOWN.contains(&c.base.as_str()))
}

/// A rule for people: what becomes of theirs is their tickets'.
fn of_people(
    policy: &Policy,
    rule: &RetentionRule,
    due: Option<Vec<Due>>,
    mut found: Vec<Diagnostic>,
) -> Result<Option<OfRule>, Vec<Diagnostic>> {
    if rule.table != policy.root.0 {
        let message = format!(
            "the retention rule {} is for people, and {} are not those of the policy",
            rule.name, rule.table
        );
        let help = format!("name the policy's root: table = \"{}\"", policy.root.0);
        let diagnostic = Diagnostic::error(OF_PEOPLE, message, help);
        found.push(diagnostic.at(&policy.source, rule.span.clone()));
    }
    let mut not = |message: String, help: &str| {
        let diagnostic = Diagnostic::error(OF_PEOPLE, message, help);
        found.push(diagnostic.at(&policy.source, rule.span.clone()));
    };
    let scope = rule.people.as_ref().map(|people| people.scope.as_str());
    let under = policy.under(scope.unwrap_or_default());
    let root = |of: &&TableRule| of.table == policy.root.0;
    if !under
        .tables
        .iter()
        .filter(root)
        .any(|of| matches!(of.action, Action::Delete))
    {
        not(
            format!(
                "the retention rule {} is for people, and its scope does not delete them: they would be due again the next night",
                rule.name
            ),
            "name a scope under which the policy's root is deleted",
        );
    }
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Err(found);
    }
    let scope = scope.and_then(|scope| policy.scopes.get(scope));
    if !rule.approval && scope.is_none_or(|scope| scope.cooling_off.is_zero()) {
        let message = format!(
            "nobody is asked before people go by the retention rule {}, and they have no time to object",
            rule.name
        );
        let help = "say approval = \"first\" in the rule, or cooling_off in `verify` of its scope";
        let warning = Diagnostic::warning("E0267", message, help);
        found.push(warning.at(&policy.source, rule.span.clone()));
    }
    Ok(due.map(|due| OfRule {
        policy: policy.clone(),
        lineage: Lineage {
            policy_file: policy.source.path.to_string(),
            policy_sha256: policy.sha256.clone(),
            subject: policy.subject.clone(),
            scope: SCOPE.to_owned(),
            required_level: Level::None,
            four_eyes: false,
            systems: Vec::new(),
        },
        // Each row is a person's own.
        owners: Owners::Ways(vec![Vec::new()]),
        others: Vec::new(),
        due,
        spared_by: Vec::new(),
        warnings: found,
    }))
}

/// Everything wrong with a policy's rules, and what is worth knowing.
pub fn check_rules(
    policy: &Policy,
    in_force: &[&Policy],
    now: DateTime<Utc>,
    catalogs: &BTreeMap<String, Catalog>,
) -> Vec<Diagnostic> {
    let check = |rule: &RetentionRule| match catalogs.get(&rule.table.system) {
        None => vec![unregistered(policy, rule)],
        Some(catalog) => match of_rule(policy, rule, in_force, now, catalog) {
            Ok(of) => of.map_or_else(Vec::new, |of| of.warnings),
            Err(found) => found,
        },
    };
    policy.retention.iter().flat_map(check).collect()
}

/// That nothing is known of the rule's system.
pub fn unregistered(policy: &Policy, rule: &RetentionRule) -> Diagnostic {
    let (name, system) = (&rule.name, &rule.table.system);
    let message = format!(
        "the retention rule {name} names the system {system:?}, which erasured.toml does not register"
    );
    let help = format!("add [system.{system}] to erasured.toml, or mend the name here");
    Diagnostic::error("E0226", message, help).at(&policy.source, rule.span.clone())
}

/// That rows of a MariaDB system go by tickets only.
pub fn not_on_mariadb(policy: &Policy, rule: &RetentionRule) -> Diagnostic {
    let (name, table) = (&rule.name, &rule.table);
    let message = format!(
        "the retention rule {name} is for {table}, in a MariaDB system: rows go there by tickets only"
    );
    let help = "take the rule out: what goes by its age is the application's own business there";
    Diagnostic::error("E0290", message, help).at(&policy.source, rule.span.clone())
}

/// What goes with the rule's rows, or loses its link to them.
struct Hanging<'a> {
    policy: &'a Policy,
    rule: &'a RetentionRule,
    /// The policy that the rule makes.
    own: &'a Policy,
    lineage: &'a Lineage,
    in_force: &'a [&'a Policy],
    catalog: &'a Catalog,
    now: DateTime<Utc>,
}

impl Hanging<'_> {
    fn mistakes(&self) -> Vec<Diagnostic> {
        let systems = self.lineage.systems.iter();
        let tables = systems.flat_map(|s| s.tables.iter().map(move |t| (&s.system, t)));
        let mut found = Vec::new();
        for (system, reached) in tables {
            let table = QualifiedTable {
                system: system.clone(),
                table: reached.table.clone(),
            };
            if self.rule.action.rewrites() && table != self.rule.table {
                continue;
            }
            if self.in_force.iter().any(|p| p.root.0 == table) {
                found.push(self.of_people(&table));
            }
            if table == self.rule.table {
                continue;
            }
            if let Some(by) = self.retained_by(&table, reached) {
                let why = format!("which {by} retains for a time of its own");
                let help = format!(
                    "write a [[retention]] with action = \"delete\" for {table}, as long as the `retain`: rows then wait for what hangs on them"
                );
                found.push(self.kept_longer(&table, &why, &help));
            }
        }
        found
    }

    /// Which policy retains rows of a table that go, or change, with the rule's, and says nowhere when they go by
    /// themselves: a rule that does is never shorter, and its rows keep what they hang on.
    fn retained_by(&self, table: &QualifiedTable, reached: &Reached) -> Option<String> {
        if self.acts(reached, |action| matches!(action, Action::Retain(_))) {
            return Some(minimum::whose(self.policy, self.policy));
        }
        if go_by_themselves(self.in_force).contains(table) {
            return None;
        }
        if !self.acts(reached, |a| {
            matches!(a, Action::Delete | Action::Shared { .. })
        }) {
            return None;
        }
        let mut others = minimum::others(self.policy, self.in_force);
        let retains = |of: &TableRule| of.table == *table && matches!(of.action, Action::Retain(_));
        let other = others.find(|other| other.tables.iter().any(retains))?;
        Some(minimum::whose(self.policy, other))
    }

    /// Whether the policy does so with rows of a table that are reached.
    fn acts(&self, reached: &Reached, so: impl Fn(&Action) -> bool) -> bool {
        let mut edges = reached.edges.iter();
        edges.any(|e| so(&self.own.tables[e.decision.rule].action))
    }

    /// Rows that would go with the rule's and for which a rule of their own says how long: as long as they are
    /// kept, what they hang on is. By which keys they hang must be told, so that it can be asked of each row.
    fn spared_by(&self, own_due: &[Due], found: &mut Vec<Diagnostic>) -> Vec<Spares> {
        let mut spared_by = Vec::new();
        let systems = self.lineage.systems.iter();
        for (system, reached) in systems.flat_map(|s| s.tables.iter().map(move |t| (s, t))) {
            let goes = |action: &Action| matches!(action, Action::Delete | Action::Shared { .. });
            let own =
                system.system == self.rule.table.system && reached.table == self.rule.table.table;
            if own || !self.acts(reached, goes) {
                continue;
            }
            let rules = self.in_force.iter();
            let rules = rules.flat_map(|p| p.retention.iter().map(move |rule| (*p, rule)));
            let of_table = |rule: &RetentionRule| {
                rule.table.system == system.system && rule.table.table == reached.table
            };
            for (policy, rule) in rules.filter(|(_, rule)| of_table(rule)) {
                let Some(ways) = ways(system, &reached.table, &self.rule.table.table) else {
                    let why = format!("for which there is the retention rule {}", rule.name);
                    found.push(self.kept_longer(&rule.table, &why, LINKED));
                    continue;
                };
                let (catalog, facts) = (self.catalog, &reached.facts);
                let due = times(
                    (policy, rule),
                    self.in_force,
                    facts,
                    self.now,
                    catalog,
                    found,
                );
                spared_by.extend(ways.into_iter().map(|way| Spares {
                    way,
                    below: None,
                    due: due.clone().unwrap_or_default(),
                    dated_only: false,
                    only: None,
                    by: format!("the retention rule {}", rule.name),
                }));
            }
        }
        spared_by.extend(self.below(&spared_by, own_due, found));
        spared_by
    }

    /// Rows of the rule's own table that hang on each other: what is below a row goes with it, and must be due too.
    fn below(&self, also: &[Spares], due: &[Due], found: &mut Vec<Diagnostic>) -> Option<Spares> {
        let rule = &self.rule.table;
        let systems = self.lineage.systems.iter();
        let system = systems.into_iter().find(|s| s.system == rule.system)?;
        let reached = system.table(&rule.table)?;
        let own = |e: &&Edge| matches!(&e.parent, Parent::Table(p) if *p == rule.table);
        let goes = |e: &&Edge| e.decision.fate.may_delete();
        let edges: Vec<&Edge> = reached.edges.iter().filter(own).filter(goes).collect();
        let steps = edges.iter().map(|edge| {
            let key = edge.foreign_key.as_ref()?;
            step(rule.table.clone(), key)
        });
        let steps: Option<Vec<Step>> = steps.collect();
        let ring = system.rings.iter().any(|ring| ring.contains(&rule.table));
        match steps {
            Some(steps) if !ring => (!steps.is_empty()).then(|| Spares {
                way: Vec::new(),
                below: Some(Below {
                    steps,
                    key: reached.facts.row_key().to_vec(),
                    also: also.to_vec(),
                }),
                due: due.to_vec(),
                only: None,
                dated_only: false,
                by: format!("the retention rule {}", self.rule.name),
            }),
            _ => {
                let why = "which hang on each other otherwise than by one key, and may not be due";
                found.push(self.kept_longer(rule, why, LINKED));
                None
            }
        }
    }

    fn of_people(&self, table: &QualifiedTable) -> Diagnostic {
        let name = &self.rule.name;
        let message = match *table == self.rule.table {
            true => format!("the retention rule {name} is for {table}, whose rows are people"),
            false => format!("the retention rule {name} reaches {table}, whose rows are people"),
        };
        self.error(
            OF_PEOPLE,
            message,
            "people go by tickets, with all that is theirs and a certificate each: say people = true in a rule for them",
        )
    }

    fn kept_longer(&self, table: &QualifiedTable, why: &str, help: &str) -> Diagnostic {
        self.error(
            CONTRADICTED,
            format!(
                "with the rows of the retention rule {} go rows of {table}, {why}",
                self.rule.name
            ),
            help,
        )
    }

    fn error(&self, code: &'static str, message: String, help: &str) -> Diagnostic {
        Diagnostic::error(code, message, help).at(&self.policy.source, self.rule.span.clone())
    }
}

/// All ways by which rows of a table hang on the rule's, over foreign keys that the database holds; `None`
/// where one of them is none.
fn ways(system: &SystemLineage, from: &TableName, to: &TableName) -> Option<Vec<Vec<Step>>> {
    let mut ways = Vec::new();
    back(system, from, to, &mut Vec::new(), &mut ways)?;
    let outward = |way: Vec<Edge>| {
        let mut table = from.clone();
        let mut steps = Vec::new();
        for edge in &way {
            let Parent::Table(parent) = &edge.parent else {
                return None;
            };
            steps.push(step(table, edge.foreign_key.as_ref()?)?);
            table = parent.clone();
        }
        steps.reverse();
        Some(steps)
    };
    ways.into_iter().map(outward).collect()
}

pub(super) fn step(table: TableName, key: &ForeignKey) -> Option<Step> {
    let ties = key.child.1.iter().zip(&key.parent.1).zip(&key.equality);
    key.enforced.then(|| Step {
        table,
        ties: ties
            .map(|((child, parent), equal)| (child.clone(), parent.clone(), equal.clone()))
            .collect(),
    })
}

/// Tables of the rule's system whose rows go, or change, by it: where its own rows stay, no others do.
fn changed(rule: &RetentionRule, lineage: &Lineage) -> BTreeSet<TableName> {
    let mut changed = BTreeSet::from([rule.table.table.clone()]);
    if !rule.action.rewrites() {
        let systems = lineage.systems.iter();
        let here = systems.filter(|s| s.system == rule.table.system);
        changed.extend(here.flat_map(|s| s.tables.iter().map(|t| t.table.clone())));
    }
    changed
}

/// Kinds of subject, beside the policy's own, whose policies name one of these tables.
fn others(
    policy: &Policy,
    rule: &RetentionRule,
    in_force: &[&Policy],
    tables: &BTreeSet<TableName>,
) -> Vec<String> {
    let names = |other: &&&Policy| {
        let mut named = other.tables.iter().map(|of| &of.table);
        named.any(|of| of.system == rule.table.system && tables.contains(&of.table))
    };
    let others = in_force
        .iter()
        .filter(|other| other.subject != policy.subject);
    others
        .filter(names)
        .map(|other| other.subject.clone())
        .collect()
}

/// When rows of the rule's table are due, all of it; `None` if the calendar has no such day, or something is
/// wrong, which is noted.
fn times(
    (policy, rule): (&Policy, &RetentionRule),
    in_force: &[&Policy],
    table: &Table,
    now: DateTime<Utc>,
    catalog: &Catalog,
    found: &mut Vec<Diagnostic>,
) -> Option<Vec<Due>> {
    let before = found.len();
    let mut due = vec![own_time((policy, rule), table, now, catalog, found)];
    let retained = minimum::retained(policy, rule, in_force, found);
    for (column, term) in retained {
        let keep = Keep::Since {
            columns: vec![column.clone()],
            linked: Vec::new(),
            term,
        };
        let kind = table.column(&column).and_then(|c| kind(&c.base));
        let columns = kind.map(|kind| vec![(column, kind)]).unwrap_or_default();
        due.push(at(rule.zone, &keep, now, (columns, Vec::new(), None)));
    }
    for (policy, keeper) in minimum::keepers(policy, rule, in_force, found) {
        let time = own_time((policy, keeper), table, now, catalog, found);
        due.push(time.map(|time| Due {
            exempts: true,
            ..time
        }));
    }
    match found.len() == before {
        true => due.into_iter().collect(),
        false => None,
    }
}

/// When they are by the rule itself.
fn own_time(
    (policy, rule): (&Policy, &RetentionRule),
    table: &Table,
    now: DateTime<Utc>,
    catalog: &Catalog,
    found: &mut Vec<Diagnostic>,
) -> Option<Due> {
    let mut error = |code, message: String, help: &str| {
        let diagnostic = Diagnostic::error(code, message, help);
        found.push(diagnostic.at(&policy.source, rule.span.clone()));
    };
    let kinds = kinds(rule, table, &mut error);
    let mut linked = Vec::new();
    for column in rule.keep.linked() {
        match linked::of(rule, column, catalog) {
            Ok(of) => linked.push(of),
            Err(misfits) => found.extend(told(policy, misfits)),
        }
    }
    let condition = condition_of(policy, rule, table).unwrap_or_else(|misfits| {
        found.extend(misfits);
        None
    });
    at(rule.zone, &rule.keep, now, (kinds, linked, condition))
}

type Asked = (Vec<(String, DateKind)>, Vec<Linked>, Option<ConditionOf>);

/// `None` if the calendar has no such day.
fn at(zone: Tz, keep: &Keep, now: DateTime<Utc>, asked: Asked) -> Option<Due> {
    let day = keep.cutoff(now.with_timezone(&zone).date_naive())?;
    let cutoff = Cutoff { day, zone };
    let (columns, linked, condition) = asked;
    Some(Due {
        condition,
        exempts: false,
        still: None,
        columns,
        linked,
        cutoff,
        end: cutoff.end()?,
    })
}

/// The rule's condition, if it has one.
fn condition_of(
    policy: &Policy,
    rule: &RetentionRule,
    table: &Table,
) -> Result<Option<ConditionOf>, Vec<Diagnostic>> {
    let Some(condition) = &rule.condition else {
        return Ok(None);
    };
    condition::typed(rule, &condition.condition, (&rule.table, table))
        .map(Some)
        .map_err(|misfits| told(policy, misfits))
}

fn told(policy: &Policy, misfits: Vec<condition::Misfit>) -> Vec<Diagnostic> {
    let told = misfits.into_iter().map(|(code, span, message, help)| {
        Diagnostic::error(code, message, help).at(&policy.source, span)
    });
    told.collect()
}

/// What kind of date each column of the rule holds.
fn kinds(
    rule: &RetentionRule,
    table: &Table,
    error: &mut impl FnMut(&'static str, String, &str),
) -> Vec<(String, DateKind)> {
    let mut kinds = Vec::new();
    for name in rule.keep.columns() {
        let Some(column) = table.column(name) else {
            let message = format!(
                "the retention rule {} counts from column {name:?}, which {} lacks",
                rule.name, rule.table
            );
            let names: Vec<_> = table.columns.iter().map(|c| c.name.as_str()).collect();
            error("E0203", message, &choose_or(name, &names, "its columns:"));
            continue;
        };
        match kind(&column.base) {
            Some(kind) => kinds.push((name.clone(), kind)),
            None => error(
                "E0220",
                format!(
                    "{}.{name} is {}, not a date, so the retention rule {} cannot count from it",
                    rule.table, column.sql_type, rule.name
                ),
                "name a date or timestamp column",
            ),
        }
    }
    kinds
}

pub(super) fn kind(base: &str) -> Option<DateKind> {
    match base {
        "date" => Some(DateKind::Date),
        "timestamp" => Some(DateKind::Local),
        "timestamptz" => Some(DateKind::Instant),
        _ => None,
    }
}

fn with_due(mut lineage: Lineage, due: &[Due], spared_by: &[Spares]) -> Lineage {
    let systems = lineage.systems.iter_mut();
    let edges = systems.flat_map(|s| s.tables.iter_mut().flat_map(|t| t.edges.iter_mut()));
    for edge in edges.filter(|e| e.parent == Parent::Subject) {
        edge.due = due.to_vec();
        edge.spared_by = spared_by.to_vec();
    }
    lineage
}

/// The policy's rules for what can be reached from the table, which itself is deleted.
fn of_table(
    policy: &Policy,
    rule: &RetentionRule,
    in_force: &[&Policy],
    catalog: &Catalog,
) -> Policy {
    let mut tables = vec![TableRule {
        table: rule.table.clone(),
        via: None,
        link: None,
        scopes: Vec::new(),
        action: still::action(rule),
        span: rule.span.clone(),
        sweep_exempt: BTreeMap::new(),
        large_objects: object_columns(policy, &rule.table),
        in_pieces: None,
        told: Box::default(),
    }];
    match rule.action.rewrites() {
        true => tables.extend(still::all_stays(rule, catalog)),
        false => tables.extend(hanging_on(policy, &rule.table, in_force, catalog)),
    }
    let scopes = policy.scopes.values().take(1).map(|scope| {
        let whole = Scope {
            extent: Extent::All,
            ..scope.clone()
        };
        (SCOPE.to_owned(), whole)
    });
    Policy {
        root: (rule.table.clone(), rule.span.clone()),
        identifiers: BTreeMap::new(),
        scopes: scopes.collect(),
        tables,
        asking: crate::policy::asking::Asking::default(),
        // A run is one system's.
        atomic: Vec::new(),
        retention: Vec::new(),
        ..policy.clone()
    }
}

fn object_columns(policy: &Policy, table: &QualifiedTable) -> Option<(Vec<String>, Span)> {
    let rules = policy.tables.iter().filter(|r| r.table == *table);
    rules.filter_map(|r| r.large_objects.clone()).next()
}

/// The rules for rows that hang on the table's, over any number of others whose rows are followed. A
/// rule of one scope alone says nothing here, and one for rows that belong to a person by a value of
/// theirs has no person.
fn hanging_on<'p>(
    policy: &'p Policy,
    table: &'p QualifiedTable,
    in_force: &[&Policy],
    catalog: &Catalog,
) -> Vec<TableRule> {
    let timed = go_by_themselves(in_force);
    // Of the table itself only what is said of rows that hang on others of it.
    let itself = |rule: &TableRule| {
        let mut keys = catalog.foreign_keys.iter();
        rule.via.as_ref().is_some_and(|(via, _)| {
            keys.any(|k| k.name == *via && k.child.0 == table.table && k.parent.0 == table.table)
        })
    };
    let here = |rule: &&TableRule| {
        rule.table.system == table.system
            && rule.scopes.is_empty()
            && (rule.table != *table || itself(rule))
    };
    let rules: Vec<&TableRule> = policy.tables.iter().filter(here).collect();
    let mut reached: BTreeSet<&TableName> = BTreeSet::from([&table.table]);
    let mut chosen = vec![false; rules.len()];
    loop {
        let known = chosen.clone();
        for (rule, chosen) in rules.iter().zip(&mut chosen) {
            if *chosen || !leads_to(rule, &reached, catalog) {
                continue;
            }
            *chosen = true;
            if !matches!(rule.action, Action::Detach | Action::Exempt { .. }) {
                reached.insert(&rule.table.table);
            }
        }
        if known == chosen {
            let rules = rules.into_iter().zip(chosen);
            let rules = rules.filter(|(_, chosen)| *chosen);
            return rules
                .map(|(rule, _)| {
                    with_its_row(policy, rule.clone(), table, (&reached, &timed), catalog)
                })
                .collect();
        }
    }
}

/// Tables whose rows go by rules of their own: not before any `retain` of them, and what they hang on waits for them.
fn go_by_themselves<'p>(in_force: &[&'p Policy]) -> BTreeSet<&'p QualifiedTable> {
    let rules = in_force.iter().flat_map(|policy| &policy.retention);
    let go = rules.filter(|rule| rule.action == RetentionAction::Delete && rule.people.is_none());
    go.map(|rule| &rule.table).collect()
}

/// What the policy keeps as long as the row it hangs on goes with that row, if all such rows go: those of
/// the rule's own table, or what it keeps likewise; and what goes by a rule of its own, when its time is over.
fn with_its_row(
    policy: &Policy,
    rule: TableRule,
    of: &QualifiedTable,
    (reached, timed): (&BTreeSet<&TableName>, &BTreeSet<&QualifiedTable>),
    catalog: &Catalog,
) -> TableRule {
    let goes = |table: &TableName| {
        let mut rules = policy.tables.iter();
        let here = |r: &&TableRule| r.table.system == of.system && r.table.table == *table;
        let all_go = rules.by_ref().filter(here).all(|r| match &r.action {
            Action::Retain(retain) => {
                r.table == *of || retain.until.is_none() || timed.contains(&r.table)
            }
            action => matches!(action, Action::Delete),
        });
        reached.contains(table) && all_go
    };
    let retained = |table: &TableName| {
        let mut rules = policy.tables.iter();
        rules.any(|r| {
            r.table.system == of.system
                && r.table.table == *table
                && matches!(r.action, Action::Retain(_))
        })
    };
    let keys = catalog.foreign_keys.iter();
    let mut of_rule = keys.filter(|k| k.child.0 == rule.table.table);
    let all_go = of_rule.all(|k| goes(&k.parent.0) || !retained(&k.parent.0));
    match &rule.action {
        Action::Retain(retain)
            if rule.link.is_none()
                && match retain.until {
                    None => all_go,
                    Some(_) => rule.table != *of && timed.contains(&rule.table),
                } =>
        {
            TableRule {
                action: Action::Delete,
                ..rule
            }
        }
        _ => rule,
    }
}

/// Whether something leads from one of these tables to the rule's rows.
fn leads_to(rule: &TableRule, from: &BTreeSet<&TableName>, catalog: &Catalog) -> bool {
    if let Some(parent) = leads_from(rule) {
        return parent.system == rule.table.system && from.contains(&parent.table);
    }
    let named = |name: &str| rule.via.as_ref().is_none_or(|(via, _)| via == name);
    rule.link.is_none()
        && catalog.foreign_keys.iter().any(|key| {
            key.child.0 == rule.table.table && from.contains(&key.parent.0) && named(&key.name)
        })
}
