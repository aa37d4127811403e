//! What was met: so that a shape that is never drawn is seen.

use super::model::{Act, Dress, Form, Kind, Model};
use erasured::plan::SystemPlan;
use std::collections::BTreeMap;

/// Every shape that three hundred cases must meet.
const SHAPES: &[&str] = &[
    "ring of two tables",
    "ring of three or more",
    "ring of NOT NULL keys",
    "ring with RESTRICT",
    "ring with CASCADE",
    "ring, deferrable",
    "table to itself",
    "two keys between two tables",
    "shared",
    "shared, others hang off it",
    "shared, both owners in one batch",
    "shared, owners in turn",
    "several subjects in one batch",
    "several subjects in turn",
    "polymorphic link",
    "link through JSON",
    "link by elements of an array",
    "link by elements of a JSON list",
    "element taken out of a list",
    "soft link",
    "list partitions",
    "range partitions",
    "hash partitions",
    "two levels of partitions",
    "key to a partitioned table",
    "key of a partitioned table",
    "inheritance the old way",
    "key to UNIQUE",
    "composite key",
    "composite key, other order",
    "MATCH FULL",
    "composite key, partly NULL",
    "multi-tenant key",
    "MATCH FULL, all NULL",
    "ON UPDATE CASCADE",
    "ON UPDATE RESTRICT",
    "ON UPDATE SET NULL",
    "ON UPDATE SET DEFAULT",
    "ON UPDATE NO ACTION",
    "ON DELETE NO ACTION",
    "ON DELETE RESTRICT",
    "ON DELETE CASCADE",
    "ON DELETE SET NULL",
    "ON DELETE SET NULL (column)",
    "ON DELETE SET DEFAULT",
    "NOT VALID",
    "NOT VALID, with a row that refers to nothing",
    "NOT VALID, deferrable",
    "DEFERRABLE INITIALLY IMMEDIATE",
    "DEFERRABLE INITIALLY DEFERRED",
    "deferrable, composite",
    "two schemas",
    "names with quotes, blanks, upper case",
    "names of 63 bytes",
    "names in kanji",
    "generated column",
    "identity column",
    "domain",
    "enum",
    "dropped column",
    "no primary key",
    "delete",
    "anonymize",
    "detach",
    "retain",
    "retain with parent",
    "exempt",
    "tree deleted without being read",
    "rows in pieces",
    NARROW,
];

/// A scope of some tables that had something to do.
const NARROW: &str = "scope of some tables";

/// Schemas, rows and, for each shape, schemas that have it.
#[derive(Clone, Debug, Default)]
pub(super) struct Met {
    pub(super) erased: u32,
    pub(super) refused: BTreeMap<String, u32>,
    tables: usize,
    rows: usize,
    changed: i64,
    shapes: BTreeMap<&'static str, u32>,
}

impl Met {
    pub(super) fn add(&mut self, model: &Model, plan: &SystemPlan, changed: i64) {
        self.erased += 1;
        self.changed += changed;
        self.tables += model.tables.len();
        self.rows += model.tables.iter().map(|t| t.rows.len()).sum::<usize>();
        let mut shapes = Vec::new();
        of_case(model, &mut |s| shapes.push(s));
        if plan.changes.iter().any(|c| c.lock.is_some()) {
            shapes.push("tree deleted without being read");
        }
        if !plan.pieces.is_empty() {
            shapes.push("rows in pieces");
        }
        shapes.sort_unstable();
        shapes.dedup();
        for shape in shapes {
            assert!(SHAPES.contains(&shape), "{shape} is not listed");
            *self.shapes.entry(shape).or_default() += 1;
        }
    }

    /// So many changes under a scope of some tables.
    pub(super) fn narrow(&mut self, changed: i64) {
        self.changed += changed;
        if changed > 0 {
            *self.shapes.entry(NARROW).or_default() += 1;
        }
    }

    pub(super) fn never(&self) -> Vec<&'static str> {
        let met = |s: &&&str| !self.shapes.contains_key(**s);
        SHAPES.iter().filter(met).copied().collect()
    }

    pub(super) fn refusals(&self) -> u32 {
        self.refused.values().sum()
    }

    pub(super) fn print(&self) {
        for shape in SHAPES {
            let count = self.shapes.get(shape).copied().unwrap_or_default();
            eprintln!("{count:>7}  {shape}");
        }
        let (refused, by) = (self.refusals(), &self.refused);
        eprintln!(
            "{} schemas erased ({} tables, {} rows, {} changes), {refused} policies refused {by:?}",
            self.erased, self.tables, self.rows, self.changed
        );
    }
}

fn of_case(model: &Model, say: &mut dyn FnMut(&'static str)) {
    match model.names {
        3 => say("names with quotes, blanks, upper case"),
        4 => say("names of 63 bytes"),
        5 => say("names in kanji"),
        _ => {}
    }
    if model.two_schemas {
        say("two schemas");
    }
    if model.batches.len() > 1 {
        say("several subjects in turn");
    }
    if model.batches[0].len() > 1 {
        say("several subjects in one batch");
    }
    for at in 0..model.tables.len() {
        of_table(model, at, say);
        of_keys(model, at, say);
        of_rings(model, at, say);
    }
}

fn of_table(model: &Model, at: usize, say: &mut dyn FnMut(&'static str)) {
    let table = &model.tables[at];
    match table.form {
        Form::Plain => {}
        Form::List => say("list partitions"),
        Form::Range => say("range partitions"),
        Form::Hash => say("hash partitions"),
        Form::TwoLevels => say("two levels of partitions"),
        Form::Heir => say("inheritance the old way"),
    }
    let dresses = [
        (Dress::Generated, "generated column"),
        (Dress::Identity, "identity column"),
        (Dress::Domain, "domain"),
        (Dress::Enum, "enum"),
        (Dress::Dropped, "dropped column"),
    ];
    for (_, shape) in dresses.iter().filter(|(dress, _)| table.has(*dress)) {
        say(shape);
    }
    if table.key.is_empty() {
        say("no primary key");
    }
    let Some((owners, _)) = table.shared else {
        return;
    };
    say("shared");
    let hangs = |(t, table): (usize, &super::model::Table)| {
        t != owners && table.keys.iter().any(|k| k.parent == at)
    };
    if model.tables.iter().enumerate().any(hangs) {
        say("shared, others hang off it");
    }
    let rows = 0..model.tables[owners].rows.len();
    let of = |row: usize| {
        rows.clone()
            .filter(move |o| model.target(owners, *o, 1) == Some(row))
    };
    if (0..table.rows.len()).any(|row| of(row).count() > 1) {
        if model.batches.len() > 1 {
            say("shared, owners in turn");
        } else if model.batches[0].len() > 1 {
            say("shared, both owners in one batch");
        }
    }
}

fn of_keys(model: &Model, at: usize, say: &mut dyn FnMut(&'static str)) {
    let table = &model.tables[at];
    for (n, key) in table.keys.iter().enumerate() {
        say(match key.rule.act {
            Act::Delete => "delete",
            Act::Anonymize => "anonymize",
            Act::Detach => "detach",
            Act::Retain => "retain",
            Act::WithParent => "retain with parent",
            Act::Exempt => "exempt",
        });
        let others = table.keys.iter().filter(|k| k.parent == key.parent);
        if others.count() > 1 {
            say("two keys between two tables");
        }
        match key.kind {
            Kind::Foreign => {}
            Kind::Soft => say("soft link"),
            Kind::When => say("polymorphic link"),
            Kind::Json => say("link through JSON"),
            Kind::Array => say("link by elements of an array"),
            Kind::JsonList => say("link by elements of a JSON list"),
        }
        if key.by_element() && key.rule.act == Act::Detach {
            say("element taken out of a list");
        }
        if key.columns.len() == 2 {
            say("composite key");
            let half = |r: &super::model::Row| matches!(r.refs[n], super::model::Ref::Half(_));
            if table.rows.iter().any(half) {
                say("composite key, partly NULL");
            }
        }
        if key.foreign() {
            of_foreign_key(model, at, n, say);
        }
    }
}

fn of_foreign_key(model: &Model, at: usize, n: usize, say: &mut dyn FnMut(&'static str)) {
    let (table, key) = (&model.tables[at], &model.tables[at].keys[n]);
    let partitioned = |form: Form| !matches!(form, Form::Plain | Form::Heir);
    let nowhere = |r: &super::model::Row| r.refs[n] == super::model::Ref::Nowhere;
    let shapes = [
        (key.parent == at, "table to itself"),
        (key.to == ["u"], "key to UNIQUE"),
        (key.swapped, "composite key, other order"),
        (key.full, "MATCH FULL"),
        (key.tenant, "multi-tenant key"),
        (
            key.full
                && table
                    .rows
                    .iter()
                    .any(|r| r.refs[n] == super::model::Ref::Null),
            "MATCH FULL, all NULL",
        ),
        (key.not_valid, "NOT VALID"),
        (
            table.rows.iter().any(nowhere),
            "NOT VALID, with a row that refers to nothing",
        ),
        (
            key.not_valid && !key.deferrable.is_empty(),
            "NOT VALID, deferrable",
        ),
        (
            !key.deferrable.is_empty() && key.columns.len() > 1,
            "deferrable, composite",
        ),
        (
            key.deferrable == " DEFERRABLE",
            "DEFERRABLE INITIALLY IMMEDIATE",
        ),
        (
            key.deferrable == " DEFERRABLE INITIALLY DEFERRED",
            "DEFERRABLE INITIALLY DEFERRED",
        ),
        (partitioned(table.form), "key of a partitioned table"),
        (
            partitioned(model.tables[key.parent].form),
            "key to a partitioned table",
        ),
    ];
    for (_, shape) in shapes.iter().filter(|(is, _)| *is) {
        say(shape);
    }
    say(match key.on_update {
        " ON UPDATE CASCADE" => "ON UPDATE CASCADE",
        " ON UPDATE RESTRICT" => "ON UPDATE RESTRICT",
        " ON UPDATE SET NULL" => "ON UPDATE SET NULL",
        " ON UPDATE SET DEFAULT" => "ON UPDATE SET DEFAULT",
        _ => "ON UPDATE NO ACTION",
    });
    say(match key.on_delete {
        "RESTRICT" => "ON DELETE RESTRICT",
        "CASCADE" => "ON DELETE CASCADE",
        "SET NULL" => "ON DELETE SET NULL",
        "SET NULL (column)" => "ON DELETE SET NULL (column)",
        "SET DEFAULT" => "ON DELETE SET DEFAULT",
        _ => "ON DELETE NO ACTION",
    });
}

/// Rings that go through a key to a later table, all of whose keys are followed.
fn of_rings(model: &Model, at: usize, say: &mut dyn FnMut(&'static str)) {
    for key in model.tables[at].keys.iter().filter(|k| k.back) {
        let mut way = Vec::new();
        if !followed(key.rule.act) || !way_up(model, key.parent, at, &mut way) {
            continue;
        }
        way.push(key);
        say(match way.len() {
            2 => "ring of two tables",
            _ => "ring of three or more",
        });
        let shapes = [
            (way.iter().all(|k| !k.nullable), "ring of NOT NULL keys"),
            (
                way.iter().any(|k| k.on_delete == "RESTRICT"),
                "ring with RESTRICT",
            ),
            (
                way.iter().any(|k| k.on_delete == "CASCADE"),
                "ring with CASCADE",
            ),
            (
                way.iter().any(|k| !k.deferrable.is_empty()),
                "ring, deferrable",
            ),
        ];
        for (_, shape) in shapes.iter().filter(|(is, _)| *is) {
            say(shape);
        }
    }
}

fn way_up<'m>(
    model: &'m Model,
    from: usize,
    to: usize,
    way: &mut Vec<&'m super::model::Key>,
) -> bool {
    let keys = model.tables[from].keys.iter();
    for key in keys.filter(|k| !k.back && k.parent != from && followed(k.rule.act)) {
        way.push(key);
        if key.parent == to || way_up(model, key.parent, to, way) {
            return true;
        }
        way.pop();
    }
    false
}

fn followed(act: Act) -> bool {
    !matches!(act, Act::Detach | Act::Exempt)
}
