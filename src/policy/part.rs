//! Parts of a scope that an approver may refuse while the rest goes on.

use super::{Action, Cover, Extent, Listed, Policy, TableRule};
use crate::name::QualifiedTable;
use crate::ticket::words::Words;
use std::collections::{BTreeMap, BTreeSet};

impl Policy {
    /// The parts of a scope by name: its tables, places, columns that are set where rows stay, and those of the
    /// policy's categories of which the scope covers all that they list.
    pub fn parts(&self, scope: &str) -> BTreeMap<String, Listed> {
        let policy = self.under(scope);
        let mut parts = BTreeMap::new();
        let Some(extent) = policy.scopes.get(scope).map(|s| &s.extent) else {
            return parts;
        };
        for rule in policy.tables.iter().filter(|rule| changes(rule)) {
            let table = &rule.table;
            let mut part = Listed::default();
            match extent.of(table) {
                Cover::Nothing => continue,
                _ => part.tables.insert(table.clone(), rule.span.clone()),
            };
            parts.insert(table.to_string(), part);
            for column in policy.set_by_themselves(table) {
                let mut part = Listed::default();
                let columns = part.columns.entry(table.clone()).or_default();
                columns.insert(column.clone(), rule.span.clone());
                parts.insert(table.column(&column), part);
            }
        }
        for place in policy.places_of(scope) {
            let mut part = Listed::default();
            part.places.insert(place.name.clone(), place.span.clone());
            parts.insert(place.name.to_string(), part);
        }
        for (name, listed) in &policy.categories {
            let places = listed.places.keys().map(ToString::to_string);
            let tables = listed.tables.keys().map(ToString::to_string);
            let columns = listed.columns.iter();
            let columns = columns.flat_map(|(t, names)| names.keys().map(|c| t.column(c)));
            if tables
                .chain(places)
                .chain(columns)
                .all(|part| parts.contains_key(&part))
            {
                parts.insert(name.clone(), listed.clone());
            }
        }
        parts
    }

    /// What a part is called to a customer who hears that it stays: the policy's words for what is kept of
    /// its tables, or its name.
    pub fn part_told(&self, scope: &str, name: &str, part: &Listed) -> Words {
        let policy = self.under(scope);
        let rules = policy.tables.iter();
        let rules = rules.filter(|rule| part.tables.contains_key(&rule.table));
        let mut told: Vec<&Words> = rules.filter_map(|rule| rule.told.keeps.as_ref()).collect();
        told.dedup();
        if told.is_empty() || !part.columns.is_empty() {
            return Words::same(name);
        }
        let joined = |of: fn(&Words) -> &str, by: &str| {
            let words: Vec<&str> = told.iter().map(|w| of(w)).collect();
            words.join(by)
        };
        Words {
            ja: joined(|w| &w.ja, "、"),
            en: joined(|w| &w.en, ", "),
        }
    }

    /// The policy under which these parts of a scope are refused, as far as they are columns, and the
    /// tables that are.
    ///
    /// # Errors
    /// The name of a part that the scope does not have.
    pub fn refusing<'n>(
        &self,
        scope: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<(Self, BTreeSet<QualifiedTable>), String> {
        let known = self.parts(scope);
        let (mut tables, mut places) = (BTreeSet::new(), BTreeSet::new());
        let mut columns: BTreeMap<QualifiedTable, BTreeSet<String>> = BTreeMap::new();
        for name in names {
            let part = known.get(name).ok_or_else(|| name.to_owned())?;
            tables.extend(part.tables.keys().cloned());
            places.extend(part.places.keys());
            for (table, names) in &part.columns {
                let of = columns.entry(table.clone()).or_default();
                of.extend(names.keys().cloned());
            }
        }
        let mut policy = self.without(scope, &BTreeSet::new());
        if let Some(Extent::Listed(listed)) = policy.scopes.get_mut(scope).map(|s| &mut s.extent) {
            listed.places.retain(|place, _| !places.contains(place));
        }
        for (table, refused) in columns {
            let under = self.under(scope);
            let mut left = under.set_by_themselves(&table);
            left.retain(|column| !refused.contains(column));
            if left.is_empty() {
                tables.insert(table);
                continue;
            }
            let Some(extent) = policy.scopes.get_mut(scope).map(|s| &mut s.extent) else {
                continue;
            };
            let Extent::Listed(listed) = extent else {
                continue;
            };
            let rule = self.tables.iter().find(|rule| rule.table == table);
            listed.tables.remove(&table);
            if let Some(rule) = rule {
                let left = left.into_iter().map(|column| (column, rule.span.clone()));
                listed.columns.insert(table, left.collect());
            }
        }
        Ok((policy, tables))
    }

    /// Columns of a table whose rows stay, whichever rule they are under; none where some may go. None
    /// either where one rule sets what another does not: beside a refused column the others would be
    /// asked of every rule, and what is refused is not taken back. Such a table stays or goes whole.
    fn set_by_themselves(&self, table: &QualifiedTable) -> BTreeSet<String> {
        let rules = self.tables.iter();
        let rules = rules.filter(|rule| rule.table == *table && changes(rule));
        let mut alike: Option<BTreeSet<String>> = None;
        for rule in rules {
            let Action::Anonymize { set } = &rule.action else {
                return BTreeSet::new();
            };
            let columns: BTreeSet<String> = set.keys().cloned().collect();
            if alike.get_or_insert_with(|| columns.clone()) != &columns {
                return BTreeSet::new();
            }
        }
        alike.unwrap_or_default()
    }
}

fn changes(rule: &TableRule) -> bool {
    !matches!(rule.action, Action::Detach | Action::Exempt { .. })
}

#[cfg(test)]
mod tests {
    use crate::policy::Policy;
    use crate::policy::read::read;

    fn policy(by_author: &str) -> Policy {
        let text = format!(
            r#"
subject = "customer"
root    = "s.public.customer"

[identifier.member_no]
column = "member_no"
find   = true

[scope.all]
tables = "all"
verify = {{ at_least = "basic" }}
sla    = "jp-appi"

[[table]]
name   = "s.public.customer"
action = "delete"

[[table]]
name   = "s.public.letter"
action = "anonymize"
set    = {{ name = "null", note = "null" }}

[[table]]
name   = "s.public.letter"
via    = "letter_author_fkey"
action = "anonymize"
set    = {{ {by_author} }}
"#
        );
        read("customer.toml", &text).unwrap()
    }

    /// Whatever is refused, what is left of a table is set by each of its rules: else the ticket could
    /// never run (E0234), and nobody can take a refusal back.
    #[test]
    fn a_column_is_offered_only_where_each_rule_sets_what_is_left() {
        let names = |policy: &Policy| -> Vec<String> { policy.parts("all").into_keys().collect() };
        let whole = ["s.public.customer", "s.public.letter"];
        assert_eq!(names(&policy(r#"note = "null""#)), whole);
        let alike = policy(r#"note = "redact", name = "null""#);
        let columns = ["s.public.letter.name", "s.public.letter.note"];
        assert_eq!(names(&alike), [whole, columns].concat());
        assert!(alike.refusing("all", ["s.public.letter.name"]).is_ok());
    }
}
