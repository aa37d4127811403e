//! The definitions within a policy's reach as words, so that those of two days can be compared.
//!
//! They are kept in the control database beside the plans. What people may have written values
//! into, the source of a function and the expression of a CHECK, is kept as a digest only.

use super::{Reached, survey};
use crate::catalog::{Catalog, Column, ForeignKey, OnDelete, Table, TableKind, Trigger};
use crate::policy::Policy;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What kind of thing a definition is of, in the order in which differences are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Table,
    Column,
    PrimaryKey,
    Unique,
    Check,
    ForeignKey,
    Trigger,
}

/// Name to definition, by kind.
type Parts = BTreeMap<Kind, BTreeMap<String, String>>;

/// Of each table within reach in one system, what it is; of tables that nobody has decided yet,
/// the keys by which they are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Definitions(BTreeMap<String, Parts>);

/// How a difference is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// There now.
    New,
    /// Gone.
    Gone,
    /// There as before, but otherwise.
    Changed,
}

/// One difference between two states of the definitions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Whether it came, went or changed.
    pub mark: Mark,
    /// What, in words on one line, control characters escaped.
    pub what: String,
}

/// `+ column public.customer.phone text`.
impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = match self.mark {
            Mark::New => '+',
            Mark::Gone => '-',
            Mark::Changed => '~',
        };
        write!(f, "{mark} {}", self.what)
    }
}

/// The definitions that a scope reaches, by system, whether or not the policy fits them. Systems
/// that are not among `catalogs` are left out, and so is a scope that is not there.
pub fn within_reach(
    policy: &Policy,
    scope: &str,
    catalogs: &BTreeMap<String, Catalog>,
) -> BTreeMap<String, Definitions> {
    let surveyed = survey(policy, scope, catalogs).into_iter();
    let described = surveyed.map(|s| {
        let of = Definitions::of(&s.tables, &catalogs[&s.system]);
        (s.system, of)
    });
    described.collect()
}

impl Definitions {
    fn of(tables: &[Reached], catalog: &Catalog) -> Self {
        let mut all = Self::default();
        for reached in tables {
            all.table(&reached.table.to_string(), &reached.facts);
        }
        let reached: BTreeMap<_, bool> = tables
            .iter()
            .map(|t| {
                let mut edges = t.edges.iter();
                (&t.table, edges.any(|e| e.decision.fate.is_followed()))
            })
            .collect();
        // What refers to rows that are only detached or exempt is not the subject's.
        let concerns = |key: &&ForeignKey| {
            reached.contains_key(&key.child.0) || reached.get(&key.parent.0) == Some(&true)
        };
        for key in catalog.foreign_keys.iter().filter(concerns) {
            let table = key.child.0.to_string();
            all.put(&table, Kind::ForeignKey, &key.name, foreign_key(key));
        }
        all
    }

    fn table(&mut self, name: &str, table: &Table) {
        self.put(name, Kind::Table, "", kind_of(table));
        for column in &table.columns {
            self.put(name, Kind::Column, &column.name, words(column));
        }
        if !table.primary_key.is_empty() {
            self.put(name, Kind::PrimaryKey, "", list(&table.primary_key));
        }
        for unique in &table.unique {
            self.put(name, Kind::Unique, &list(unique), String::new());
        }
        for check in &table.checks {
            let says = format!("{} {}", list(&check.columns), digest(&check.expression));
            self.put(name, Kind::Check, &check.name, says);
        }
        for trigger in &table.triggers {
            self.put(name, Kind::Trigger, &trigger.name, fires(trigger));
        }
    }

    fn put(&mut self, table: &str, kind: Kind, name: &str, says: String) {
        let parts = self.0.entry(table.to_owned()).or_default();
        parts.entry(kind).or_default().insert(name.to_owned(), says);
    }

    /// What has come, gone and changed between `self` and `now`, table by table.
    pub fn differences(&self, now: &Self) -> Vec<Difference> {
        let none = Parts::new();
        let mut found = Vec::new();
        let tables: std::collections::BTreeSet<&String> =
            self.0.keys().chain(now.0.keys()).collect();
        for table in tables {
            match (self.0.get(table), now.0.get(table)) {
                (Some(_), None) => found.push(difference(Mark::Gone, format!("table {table}"))),
                (None, Some(parts)) => {
                    found.push(difference(Mark::New, format!("table {table}")));
                    // Its columns say nothing that its name does not; how it is tied does.
                    let ties = [Kind::ForeignKey, Kind::Trigger];
                    let ties = parts.iter().filter(|(kind, _)| ties.contains(kind));
                    let ties: Parts = ties.map(|(kind, of)| (*kind, of.clone())).collect();
                    compare(table, &none, &ties, &mut found);
                }
                (Some(before), Some(after)) => {
                    // Decided or undecided since, by the policy: no definition has changed.
                    let whole = |parts: &Parts| parts.contains_key(&Kind::Table);
                    if whole(before) == whole(after) {
                        compare(table, before, after, &mut found);
                    } else {
                        let keys = |parts: &Parts| -> Parts {
                            let of = parts.get_key_value(&Kind::ForeignKey);
                            of.map(|(k, v)| (*k, v.clone())).into_iter().collect()
                        };
                        compare(table, &keys(before), &keys(after), &mut found);
                    }
                }
                (None, None) => {}
            }
        }
        found
    }
}

fn compare(table: &str, before: &Parts, after: &Parts, found: &mut Vec<Difference>) {
    let none = BTreeMap::new();
    for kind in [
        Kind::Table,
        Kind::Column,
        Kind::PrimaryKey,
        Kind::Unique,
        Kind::Check,
        Kind::ForeignKey,
        Kind::Trigger,
    ] {
        let old = before.get(&kind).unwrap_or(&none);
        let new = after.get(&kind).unwrap_or(&none);
        for (name, was) in old {
            let place = place(kind, table, name);
            match new.get(name) {
                None => found.push(difference(Mark::Gone, format!("{place} {was}"))),
                Some(is) if is != was => {
                    let change = change(was, is);
                    found.push(difference(Mark::Changed, format!("{place} {change}")));
                }
                Some(_) => {}
            }
        }
        for (name, is) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
            let place = place(kind, table, name);
            found.push(difference(Mark::New, format!("{place} {is}")));
        }
    }
}

/// A name may hold anything, and this goes to a terminal.
fn difference(mark: Mark, what: String) -> Difference {
    let plain = |c: char| {
        if c.is_control() {
            c.escape_unicode().to_string()
        } else {
            c.to_string()
        }
    };
    Difference {
        mark,
        what: what.trim_end().chars().map(plain).collect(),
    }
}

fn place(kind: Kind, table: &str, name: &str) -> String {
    match kind {
        Kind::Table => format!("table {table}"),
        Kind::Column => format!("column {table}.{name}"),
        Kind::PrimaryKey => format!("primary key of {table}"),
        Kind::Unique => format!("unique key of {table} {name}"),
        Kind::Check => format!("check {name} of {table}"),
        Kind::ForeignKey => format!("foreign key {name} of {table}"),
        Kind::Trigger => format!("trigger {name} of {table}"),
    }
}

/// `ON DELETE NO ACTION → CASCADE`: what both begin with is said once, if something is left of both.
fn change(was: &str, is: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (was.split(' ').collect(), is.split(' ').collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    if same == 0 || same == old.len() || same == new.len() {
        return format!("{was} → {is}");
    }
    let rest = |words: &[&str]| words[same..].join(" ");
    format!("{} {} → {}", old[..same].join(" "), rest(&old), rest(&new))
}

fn kind_of(table: &Table) -> String {
    let kind = match table.kind {
        TableKind::Ordinary => "ordinary",
        TableKind::Partitioned => "partitioned",
        TableKind::View => "view",
        TableKind::MaterializedView => "materialized view",
        TableKind::Foreign => "foreign",
        TableKind::Versioned => "system-versioned",
    };
    let heirs = if table.has_heirs { ", inherited" } else { "" };
    let rules = if table.rewrites { ", with rules" } else { "" };
    format!("{kind}{heirs}{rules}")
}

fn words(column: &Column) -> String {
    let not_null = if column.not_null { " NOT NULL" } else { "" };
    let generated = if column.generated { " GENERATED" } else { "" };
    format!("{}{not_null}{generated}", column.sql_type)
}

fn foreign_key(key: &ForeignKey) -> String {
    let action = match key.on_delete {
        OnDelete::NoAction => "NO ACTION",
        OnDelete::Restrict => "RESTRICT",
        OnDelete::Cascade => "CASCADE",
        OnDelete::SetNull => "SET NULL",
        OnDelete::SetDefault => "SET DEFAULT",
    };
    let full = if key.match_full { " MATCH FULL" } else { "" };
    let weak = if key.enforced { "" } else { " not enforced" };
    let sets = if key.sets.is_empty() {
        String::new()
    } else {
        format!(" {}", list(&key.sets))
    };
    format!(
        "{} to {} {}{full} ON DELETE {action}{sets}{weak}",
        list(&key.child.1),
        key.parent.0,
        list(&key.parent.1)
    )
}

fn fires(trigger: &Trigger) -> String {
    let on = match (trigger.on_delete, trigger.on_update) {
        (true, true) => "on DELETE and UPDATE",
        (true, false) => "on DELETE",
        (false, true) => "on UPDATE",
        (false, false) => "on neither DELETE nor UPDATE",
    };
    let before = if trigger.may_veto {
        " before a row"
    } else {
        ""
    };
    let owner = if trigger.definer { " as its owner" } else { "" };
    format!(
        "{on}{before} runs {}{owner} {}",
        trigger.function,
        digest(&trigger.body)
    )
}

fn list(columns: &[String]) -> String {
    format!("({})", columns.join(", "))
}

fn digest(text: &str) -> String {
    let whole = format!("{:x}", Sha256::digest(text));
    format!("source {}", &whole[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: Kind, name: &str, says: &str) -> Definitions {
        let mut all = Definitions::default();
        all.put("public.a", Kind::Table, "", "ordinary".into());
        all.put("public.a", kind, name, says.into());
        all
    }

    fn said(before: &Definitions, after: &Definitions) -> Vec<String> {
        let found = before.differences(after);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_both_begin_with_is_said_once() {
        let was = one(
            Kind::ForeignKey,
            "fk",
            "(b) to public.b (id) ON DELETE NO ACTION",
        );
        let is = one(
            Kind::ForeignKey,
            "fk",
            "(b) to public.b (id) ON DELETE CASCADE",
        );
        assert_eq!(
            said(&was, &is),
            ["~ foreign key fk of public.a (b) to public.b (id) ON DELETE NO ACTION → CASCADE"]
        );
        let (was, is) = (
            one(Kind::Column, "c", "text NOT NULL"),
            one(Kind::Column, "c", "text"),
        );
        assert_eq!(
            said(&was, &is),
            ["~ column public.a.c text NOT NULL → text"]
        );
        assert!(said(&was, &was).is_empty());
    }

    #[test]
    fn a_name_cannot_write_on_the_terminal() {
        let none = one(Kind::Column, "c", "text");
        let mut more = none.clone();
        more.put("public.a", Kind::Column, "x\n\u{1b}[2J", "text".into());
        assert_eq!(
            said(&none, &more),
            ["+ column public.a.x\\u{a}\\u{1b}[2J text"]
        );
    }

    #[test]
    fn what_people_wrote_is_not_kept() {
        let trigger = Trigger {
            name: "t".into(),
            on_delete: true,
            on_update: false,
            may_veto: false,
            definer: false,
            spares: false,
            function: "public.f".into(),
            body: "… 'taro@example.jp' …".into(),
        };
        let table = Table {
            triggers: vec![trigger],
            checks: vec![crate::catalog::Check {
                name: "c".into(),
                columns: vec!["email".into()],
                expression: "email <> 'taro@example.jp'".into(),
            }],
            ..Table::default()
        };
        let mut all = Definitions::default();
        all.table("public.a", &table);
        let kept = serde_json::to_string(&all).unwrap();
        assert!(!kept.contains("taro"), "{kept}");
        let read: Definitions = serde_json::from_str(&kept).unwrap();
        assert_eq!(read, all);
    }
}
