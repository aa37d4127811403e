//! A plan as people read it: the tree of tables with what happens to their rows, or the exact
//! statements.

use super::{ChangeKind, Counts, Parameter, Part, PlacesPlan, Plan, SystemPlan};
use crate::anonymize::Maker;
use crate::lineage::{Edge, Fate, Lineage, Parent, Reached, SystemLineage};
use crate::name::TableName;
use crate::policy::{Action, Covers, HashAs, Policy, Strategy, TruncateTo};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The tree of tables, with counts where they are known (system to counts).
pub fn tree(
    policy: &Policy,
    lineage: &Lineage,
    plan: &Plan,
    counts: &BTreeMap<String, Counts>,
) -> String {
    let policy = &*policy.under(&lineage.scope);
    let mut out = format!(
        "{} · scope {} · {} (sha256 {}…)\n{}plan {}…\n",
        lineage.subject,
        lineage.scope,
        lineage.policy_file,
        &lineage.policy_sha256[..12.min(lineage.policy_sha256.len())],
        plan.covers.as_ref().map_or_else(String::new, covered),
        &plan.id()[..12]
    );
    for part in &plan.places {
        let _ = writeln!(
            out,
            "\n{}   {} · before any row",
            part.system,
            part.kind.word()
        );
        aligned(&mut out, places(part, counts.get(&part.system)));
    }
    for system in &lineage.systems {
        let fingerprint = &system.fingerprint[..12.min(system.fingerprint.len())];
        let _ = writeln!(
            out,
            "\n{}   one transaction{} · catalog {fingerprint}…",
            system.system,
            with_others(plan, &system.system)
        );
        let tree = Tree {
            policy,
            system,
            counts: counts.get(&system.system),
        };
        aligned(&mut out, tree.lines());
    }
    out
}

/// With which other systems it happens, or does not.
fn with_others(plan: &Plan, system: &str) -> String {
    let together = plan.atomic.iter().find(|set| set.contains(system));
    let others = together.into_iter().flatten();
    let others: Vec<&str> = others
        .map(String::as_str)
        .filter(|o| *o != system)
        .collect();
    match others.as_slice() {
        [] => String::new(),
        others => format!(", all or none with {}", others.join(", ")),
    }
}

type Line = (String, String, String);

fn aligned(out: &mut String, lines: Vec<Line>) {
    let widest = |of: fn(&Line) -> &str| {
        let widths = lines.iter().map(|line| of(line).chars().count());
        widths.max().unwrap_or(0)
    };
    let (width, what_width) = (widest(|line| &line.0), widest(|line| &line.1));
    for (left, what, why) in lines {
        let line = format!("{left:width$}  {what:what_width$}  {why}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

/// The places of one system, with how much lies there where that is known.
fn places(part: &PlacesPlan, counts: Option<&Counts>) -> Vec<Line> {
    let last = part.places.len().saturating_sub(1);
    let lines = part.places.iter().enumerate().map(|(at, place)| {
        let elbow = if at == last { "└─ " } else { "├─ " };
        let found = counts.and_then(|counts| counts.changed.get(&place.place));
        let what = match found {
            Some(kinds) => format!("delete {}", kinds.values().sum::<i64>()),
            None => "delete".to_owned(),
        };
        let sought: Vec<String> = place.sought.iter().map(ToString::to_string).collect();
        (format!("{elbow}{}", place.place), what, sought.join(", "))
    });
    lines.collect()
}

/// What the scope covers, a line for each kind.
fn covered(covers: &Covers) -> String {
    let kinds = [
        ("categories", &covers.categories),
        ("tables", &covers.tables),
        ("columns", &covers.columns),
    ];
    let lines = kinds
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(kind, names)| format!("covers {kind}: {}\n", names.join(", ")));
    lines.collect()
}

struct Tree<'a> {
    policy: &'a Policy,
    system: &'a SystemLineage,
    counts: Option<&'a Counts>,
}

impl Tree<'_> {
    fn lines(&self) -> Vec<(String, String, String)> {
        let mut lines = Vec::new();
        let roots: Vec<&Reached> = self
            .system
            .tables
            .iter()
            .filter(|t| self.place(t).is_none())
            .collect();
        for (at, root) in roots.iter().enumerate() {
            self.branch(root, "", at + 1 == roots.len(), &mut lines);
        }
        lines
    }

    /// The parent under which a table is drawn: the first that leads to it.
    fn place(&self, table: &Reached) -> Option<TableName> {
        table
            .edges
            .iter()
            .find_map(|e| match &e.parent {
                Parent::Table(parent) if *parent != table.table => Some(parent.clone()),
                _ => None,
            })
            .filter(|_| !table.edges.iter().any(|e| e.parent == Parent::Subject))
    }

    fn branch(
        &self,
        table: &Reached,
        indent: &str,
        last: bool,
        lines: &mut Vec<(String, String, String)>,
    ) {
        let elbow = if last { "└─ " } else { "├─ " };
        let (what, why) = (self.what(table), self.why(table));
        lines.push((format!("{indent}{elbow}{}", table.table), what, why));
        let indent = format!("{indent}{}", if last { "   " } else { "│  " });
        let children: Vec<&Reached> = self
            .system
            .tables
            .iter()
            .filter(|t| self.place(t).as_ref() == Some(&table.table))
            .collect();
        for (at, child) in children.iter().enumerate() {
            self.branch(child, &indent, at + 1 == children.len(), lines);
        }
    }

    /// `delete 3`, `anonymize 2`, `keep 1 until 2031-04-01`.
    fn what(&self, table: &Reached) -> String {
        let mut fates: Vec<Fate> = table.edges.iter().map(|e| self.fate(e)).collect();
        fates.sort_by_key(|f| *f as u8);
        fates.dedup();
        let mut words: Vec<String> = fates.iter().map(|f| self.count(table, *f)).collect();
        words.extend(self.unlinked(table));
        words.join(" · ")
    }

    /// What only points at the subject is left alone outside the scope, not for a reason.
    fn fate(&self, edge: &Edge) -> Fate {
        let action = &self.policy.tables[edge.decision.rule].action;
        match (edge.decision.fate, action) {
            (Fate::Exempt, Action::Detach) => Fate::Untouched,
            (fate, _) => fate,
        }
    }

    /// `unlink 2 large objects`.
    fn unlinked(&self, table: &Reached) -> Option<String> {
        let counts = self.counts?.changed.get(&table.table.to_string())?;
        let objects = counts.get(&ChangeKind::Unlinked)?;
        (*objects > 0).then(|| format!("unlink {objects} large objects"))
    }

    fn count(&self, table: &Reached, fate: Fate) -> String {
        let verb = match fate {
            Fate::Delete => "delete",
            Fate::Anonymize => "anonymize",
            Fate::Detach => "detach",
            Fate::Retain | Fate::RetainWithParent => "keep",
            Fate::Exempt => return "exempt".into(),
            Fate::Untouched => return "outside the scope".into(),
        };
        let Some(counts) = self.counts else {
            return verb.into();
        };
        let name = table.table.to_string();
        let of = |kind| {
            counts
                .changed
                .get(&name)
                .and_then(|k| k.get(&kind))
                .copied()
                .unwrap_or(0)
        };
        let rows = match fate {
            Fate::Delete => of(ChangeKind::Deleted),
            Fate::Anonymize => of(ChangeKind::Anonymized),
            Fate::Detach => of(ChangeKind::Detached),
            _ => {
                let kept: Vec<_> = counts.kept.iter().filter(|k| k.table == name).collect();
                let until = kept.iter().filter_map(|k| k.until).max();
                let until =
                    until.map_or_else(String::new, |u| format!(" until {}", u.format("%Y-%m-%d")));
                let gone = of(ChangeKind::Deleted);
                let gone = if gone > 0 {
                    format!(", delete {gone}")
                } else {
                    String::new()
                };
                return format!(
                    "keep {}{until}{gone}",
                    kept.iter().map(|k| k.rows).sum::<i64>()
                );
            }
        };
        format!("{verb} {rows}")
    }

    fn why(&self, table: &Reached) -> String {
        let mut said: Vec<String> = Vec::new();
        for edge in &table.edges {
            let reason = self.reason(edge);
            let line = if reason.is_empty() {
                edge.label.clone()
            } else {
                format!("{} ({reason})", edge.label)
            };
            if !said.contains(&line) {
                said.push(line);
            }
        }
        said.join("; ")
    }

    fn reason(&self, edge: &Edge) -> String {
        if edge.decision.fate == Fate::Untouched {
            return String::new();
        }
        match &self.policy.tables[edge.decision.rule].action {
            Action::Delete | Action::Detach => String::new(),
            Action::Shared { .. } => "with its last owner".into(),
            Action::Anonymize { set } => settings(set),
            Action::Retain(retain) => {
                let cleaned = if retain.set.is_empty() {
                    String::new()
                } else {
                    format!("; {}", settings(&retain.set))
                };
                format!("{}{cleaned}", retain.because)
            }
            Action::Exempt { reason } => reason.clone(),
        }
    }
}

fn settings(set: &super::sql::Set) -> String {
    let words: Vec<String> = set
        .iter()
        .map(|(column, (strategy, _))| {
            let value = match strategy {
                Strategy::Null => "null".to_owned(),
                Strategy::Constant(text) => format!("{text:?}"),
                Strategy::Redact => "redacted".into(),
                Strategy::Hash => "hash".into(),
                Strategy::Truncate(TruncateTo::Month) => "month only".into(),
                Strategy::Truncate(TruncateTo::Year) => "year only".into(),
                Strategy::Template(text) => format!("{text:?}"),
                Strategy::RedactIdentifiers => "the person's identifiers redacted".into(),
                Strategy::HashAs(HashAs::Email) => "hash as e-mail".into(),
                Strategy::HashAs(HashAs::Phone) => "hash as phone number".into(),
                Strategy::Mask { keep, last: false } => format!("masked but the first {keep}"),
                Strategy::Mask { keep, last: true } => format!("masked but the last {keep}"),
                Strategy::Bucket(width) => format!("down to a multiple of {width}"),
                Strategy::Choose(texts) => format!("one of {}", texts.len()),
            };
            format!("{column} → {value}")
        })
        .collect();
    words.join(", ")
}

/// Every statement in the order in which it runs, with the parameters it is given.
pub fn statements(plan: &Plan) -> String {
    let mut out = String::new();
    for part in &plan.places {
        let _ = writeln!(
            out,
            "-- {} ({}), before any row",
            part.system,
            part.kind.word()
        );
        for place in &part.places {
            let sought: Vec<String> = place.sought.iter().map(ToString::to_string).collect();
            let _ = writeln!(out, "--   {}: {}", place.place, sought.join(", "));
        }
        out.push('\n');
    }
    for system in &plan.systems {
        for piece in &system.pieces {
            let _ = writeln!(
                out,
                "-- {}: in transactions of its own, again until no more than a piece is left, with the same locks before it",
                system.system
            );
            one(
                &mut out,
                system,
                &piece.statement.sql,
                &piece.statement.parameters,
            );
        }
        let _ = writeln!(
            out,
            "-- {} (catalog {})\nBEGIN;",
            system.system, system.catalog_fingerprint
        );
        if !system.hold_definitions.is_empty() {
            let _ = writeln!(out, "{};", system.hold_definitions);
        }
        for capture in system.sets.iter().flat_map(|s| &s.captures) {
            one(
                &mut out,
                system,
                &format!("{}{}", capture.statement.sql, capture.lock),
                &capture.statement.parameters,
            );
        }
        for lock in system.changes.iter().filter_map(|c| c.lock.as_ref()) {
            one(&mut out, system, &lock.sql, &lock.parameters);
        }
        for probe in &system.spared {
            one(
                &mut out,
                system,
                &probe.statement.sql,
                &probe.statement.parameters,
            );
        }
        for change in &system.changes {
            let before = change.before.iter().map(|p| &p.statement);
            for statement in before.chain([&change.statement]) {
                one(&mut out, system, &statement.sql, &statement.parameters);
            }
        }
        let _ = writeln!(out, "SET CONSTRAINTS ALL IMMEDIATE;");
        for probe in &system.probes {
            one(
                &mut out,
                system,
                &probe.statement.sql,
                &probe.statement.parameters,
            );
        }
        let _ = writeln!(out, "-- the row in erasured.applied_step\nCOMMIT;\n");
    }
    out
}

/// What is worth knowing beforehand of a person with more rows in a table than go in one piece: a
/// line each.
pub fn large(plan: &Plan, counts: &BTreeMap<String, Counts>, piece_rows: i64) -> Vec<String> {
    let mut said = Vec::new();
    for system in &plan.systems {
        let Some(counts) = counts.get(&system.system) else {
            continue;
        };
        for (table, kinds) in &counts.changed {
            let rows: i64 = kinds.values().sum();
            if rows > piece_rows {
                let how = how_large(system, table, piece_rows);
                said.push(format!("{}: {table}: {rows} rows {how}", system.system));
            }
        }
    }
    said
}

fn how_large(system: &SystemPlan, table: &str, piece_rows: i64) -> String {
    let is = |name: &TableName| name.to_string() == table;
    if system.pieces.iter().any(|p| is(&p.table)) {
        return format!(
            "go beforehand in pieces of {piece_rows}, each a transaction of its own: what has gone stays gone"
        );
    }
    let once = "in one transaction, locked until its end";
    if system.sets.iter().any(|s| is(&s.table)) {
        return format!("are changed {once}, and their keys are held in memory");
    }
    let tree = system
        .changes
        .iter()
        .any(|c| is(&c.table) && c.kind == ChangeKind::Deleted && c.lock.is_some());
    if tree {
        return format!("go {once}");
    }
    format!("go {once}; large = \"batches\" in the policy would take them in pieces")
}

fn one(out: &mut String, system: &SystemPlan, sql: &str, parameters: &[Parameter]) {
    let _ = writeln!(out, "{sql};");
    for (at, parameter) in parameters.iter().enumerate() {
        let _ = writeln!(out, "  -- ${} = {}", at + 1, meaning(system, parameter));
    }
}

fn meaning(system: &SystemPlan, parameter: &Parameter) -> String {
    let of = |rows: &super::Rows| {
        let part = match rows.part {
            Part::Followed => "the subject's",
            Part::Gone => "to go,",
            Part::Kept => "kept,",
            Part::Leaving => "to go, all found so far,",
            Part::Staying => "staying,",
            Part::ChangedBy(_) => "to change,",
            Part::LinkedBy(_) => "to detach,",
        };
        format!("rows {part} in {}", system.sets[rows.set].table)
    };
    match parameter {
        Parameter::SubjectTickets | Parameter::IdentifierTickets(_) => {
            "the tickets' ordinals".into()
        }
        Parameter::SubjectKey(at) => format!("the subjects' key, part {}", at + 1),
        Parameter::IdentifierValues(name) => format!("the subjects' {name}, normalised"),
        Parameter::Tickets(rows) => format!("ordinals of {}", of(rows)),
        Parameter::Column(rows, at) => format!(
            "{} of {}",
            system.sets[rows.set].columns[*at].name,
            of(rows)
        ),
        Parameter::Hashes(rows, at) => format!(
            "keyed hash of {} of {}",
            system.sets[rows.set].columns[*at].name,
            of(rows)
        ),
        Parameter::Made(rows, at, maker) => {
            let what = match maker {
                Maker::Email(_) => "hashed e-mail address for",
                Maker::Phone => "hashed phone number for",
                Maker::Choose(_) => "choice by keyed hash for",
                Maker::Redact(..) => "text without the subjects' identifiers for",
            };
            let column = &system.sets[rows.set].columns[*at].name;
            format!("{what} {column} of {}", of(rows))
        }
        Parameter::Text(text) | Parameter::Value(text, _) => format!("{text:?}"),
        Parameter::PieceRows => "limits.piece_rows".into(),
        Parameter::Json(parts) => {
            let parts: Vec<String> = parts.iter().map(|p| meaning(system, p)).collect();
            format!("as JSON: {}", parts.join("; "))
        }
    }
}
