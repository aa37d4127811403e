//! The draft as a value: identifiers, a rule for each table, and why.

use super::identifiers::{Identifier, declared, suggested};
use super::names::row_name;
use super::onward::{generic_relations, pointed_at};
use super::personal::by_name;
use super::suggest::facts;
use super::walk::{Overrides, Start, Walked, Way, is_a_table};
use super::{Observed, Request};
use crate::catalog::Catalog;
use crate::name::{QualifiedTable, TableName};
use crate::policy::Draft;
use std::collections::BTreeSet;

/// What a draft says.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub(super) subject: String,
    pub(super) root: QualifiedTable,
    pub(super) identifiers: Vec<Identifier>,
    /// In the order in which they are written.
    pub(super) rules: Vec<Rule>,
    /// What no rule can say, each a comment.
    pub(super) notes: Vec<String>,
}

/// One `[[table]]`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The table.
    pub table: QualifiedTable,
    /// A foreign key, or what a link is called.
    pub via: Option<String>,
    /// How rows belong to the person where no foreign key says it.
    pub link: Option<Link>,
    /// The suggestion.
    pub action: Suggested,
    /// What stands in the comment above it.
    pub why: Vec<String>,
    /// The foreign keys that it speaks of; the empty one is the root itself.
    pub(super) keys: Vec<String>,
    /// The same keys, each with a table that it refers to.
    pub(super) parents: Vec<(String, TableName)>,
}

/// A link as a policy writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The referring column.
    pub column: String,
    /// An identifier, or else the table referred to.
    pub to: Result<String, QualifiedTable>,
    /// Column and constant.
    pub when: Option<(String, String)>,
}

/// What may be suggested: nothing that could lose what must be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suggested {
    /// The rows are the person's own.
    Delete,
    /// The row only mentions the person.
    Detach,
    /// A person must say.
    Decide,
}

impl Suggested {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Detach => "detach",
            Self::Decide => "decide",
        }
    }
}

/// Everything that is known when a draft is made.
pub(super) struct Maker<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) request: &'a Request,
    pub(super) observed: &'a Observed,
    pub(super) known: Option<&'a Draft>,
    /// Whether the person's row is in this system.
    pub(super) at_home: bool,
}

impl Maker<'_> {
    pub(super) fn propose(&self, overrides: &Overrides) -> Proposal {
        let identifiers = match self.known {
            Some(draft) => declared(draft),
            None => suggested(self.catalog, self.request, Some(self.observed)),
        };
        let (links, mut notes) = self.links(&identifiers);
        let walked = self.walk(overrides, &links);
        let mut rules = Vec::new();
        if self.known.is_none() {
            rules.push(self.root_rule(overrides));
        }
        for (table, ways) in &walked.tables {
            rules.extend(self.table_rules(table, ways));
        }
        rules.extend(links);
        self.name_the_links(&mut rules);
        if self.known.is_none() {
            notes.extend(self.perhaps_shared(&rules));
            notes.extend(generic_relations(
                self.catalog,
                &self.qualified(&self.request.root),
            ));
            notes.extend(self.not_reached(&walked, &rules));
        }
        Proposal {
            subject: self.subject(),
            root: self.qualified(&self.request.root),
            identifiers,
            rules,
            notes,
        }
    }

    fn walk<'s>(&'s self, overrides: &'s Overrides, links: &[Rule]) -> Walked<'s> {
        Start {
            catalog: self.catalog,
            root: self.at_home.then_some(&self.request.root),
            known: self.known,
            overrides,
            linked: links.iter().map(|r| r.table.table.clone()).collect(),
        }
        .walk()
    }

    fn subject(&self) -> String {
        let own = super::names::plain(&row_name(&self.request.root.table));
        let asked = self.request.subject.clone();
        asked.or(own).unwrap_or_else(|| "subject".into())
    }

    pub(super) fn qualified(&self, table: &TableName) -> QualifiedTable {
        QualifiedTable {
            system: self.catalog.system.clone(),
            table: table.clone(),
        }
    }

    fn root_rule(&self, overrides: &Overrides) -> Rule {
        let root = &self.request.root;
        let refused = overrides.get(&(root.clone(), String::new()));
        let mut why = vec![
            refused
                .cloned()
                .unwrap_or_else(|| "the person's own row".into()),
        ];
        why.extend(self.personal(root));
        Rule {
            table: self.qualified(root),
            via: None,
            link: None,
            action: refused.map_or(Suggested::Delete, |_| Suggested::Decide),
            why,
            keys: vec![String::new()],
            parents: Vec::new(),
        }
    }

    /// One rule where one is enough, else one for each key.
    fn table_rules(&self, table: &TableName, ways: &[Way<'_>]) -> Vec<Rule> {
        let same_kind =
            |w: &&Way<'_>| w.key.parent.0 == *table || self.at_home && *table == self.request.root;
        let new = || ways.iter().filter(|w| !w.known);
        let general: Vec<&Way<'_>> = new().filter(|w| !same_kind(w)).collect();
        let own: Vec<&Way<'_>> = new().filter(same_kind).collect();
        let parents: BTreeSet<_> = general.iter().map(|w| &w.key.parent.0).collect();
        let untouched = ways.iter().all(|w| !w.known);
        let alike = general
            .windows(2)
            .all(|w| w[0].verdict.action == w[1].verdict.action);
        let together = untouched && alike && parents.len() == general.len();
        let mut groups: Vec<Vec<&Way<'_>>> = Vec::new();
        if together && !general.is_empty() {
            groups.push(general);
        } else {
            groups.extend(by_key(general));
        }
        let several = !together || groups.is_empty();
        let mut rules: Vec<Rule> = groups
            .iter()
            .map(|g| self.rule(table, g, several))
            .collect();
        rules.extend(by_key(own).iter().map(|g| self.rule(table, g, true)));
        if let Some(first) = rules.first_mut() {
            first.why.extend(self.personal(table));
        }
        rules
    }

    fn rule(&self, table: &TableName, ways: &[&Way<'_>], via: bool) -> Rule {
        let facts_of = |w: &&Way<'_>| facts(w.key, self.catalog.tables.get(table));
        let mut why: Vec<String> = ways.iter().map(facts_of).collect();
        let action = ways
            .iter()
            .map(|w| w.verdict.action)
            .find(|a| *a == Suggested::Decide)
            .unwrap_or(ways[0].verdict.action);
        for way in ways.iter().filter(|w| w.verdict.action == action) {
            if !why.contains(&way.verdict.why) {
                why.push(way.verdict.why.clone());
            }
        }
        if !via && ways.len() > 1 {
            why.push("one rule for all of these keys: give one its own, with via, if it means something else".into());
        }
        Rule {
            table: self.qualified(table),
            via: via.then(|| ways[0].key.name.clone()),
            link: None,
            action,
            why,
            keys: ways.iter().map(|w| w.key.name.clone()).collect(),
            parents: ways
                .iter()
                .map(|w| (w.key.name.clone(), w.key.parent.0.clone()))
                .collect(),
        }
    }

    /// Which columns look personal, and what says so.
    pub(super) fn personal(&self, table: &TableName) -> Option<String> {
        let facts = self.catalog.tables.get(table)?;
        let says = |column: &str| {
            let by_name = by_name(column).map(|p| p.says().to_owned());
            let content = self
                .observed
                .contents
                .get(&(table.clone(), column.to_owned()));
            let by_content = content.map(|c| {
                let percent = c.matched * 100 / c.sampled.max(1);
                format!(
                    "{percent} % of {} sampled values {}",
                    c.sampled,
                    c.looks.says()
                )
            });
            let both: Vec<String> = by_name.into_iter().chain(by_content).collect();
            (!both.is_empty()).then(|| format!("{column} ({})", both.join("; ")))
        };
        let found: Vec<String> = facts.columns.iter().filter_map(|c| says(&c.name)).collect();
        let unread = self.observed.unread.get(table);
        let unread = unread.map(|why| format!("its rows could not be looked at: {why}"));
        let said = (!found.is_empty()).then(|| format!("looks personal: {}", found.join(", ")));
        match (said, unread) {
            (Some(said), Some(unread)) => Some(format!("{said}. {unread}")),
            (said, unread) => said.or(unread),
        }
    }

    /// A table whose key pairs people with something that nothing else leads to (participants and
    /// their conversation): that may be several people's, and go with the last of them.
    fn perhaps_shared(&self, rules: &[Rule]) -> Vec<String> {
        let ruled: BTreeSet<&TableName> = rules.iter().map(|r| &r.table.table).collect();
        let mut notes = Vec::new();
        for rule in rules.iter().filter(|r| !r.keys.is_empty()) {
            let owners = &rule.table.table;
            let Some(facts) = self.catalog.tables.get(owners) else {
                continue;
            };
            let of = |name: &String| {
                let mut keys = self.catalog.foreign_keys.iter();
                keys.find(|k| k.child.0 == *owners && k.name == *name)
            };
            let people: Vec<&String> = rule
                .keys
                .iter()
                .filter_map(of)
                .flat_map(|k| &k.child.1)
                .collect();
            for key in self
                .catalog
                .foreign_keys
                .iter()
                .filter(|k| k.child.0 == *owners)
            {
                let pairs = |set: &Vec<String>| {
                    key.child.1.iter().all(|c| set.contains(c))
                        && people.iter().any(|c| set.contains(c))
                };
                let free =
                    !ruled.contains(&key.parent.0) && is_a_table(self.catalog, &key.parent.0);
                if free && (pairs(&facts.primary_key) || facts.unique.iter().any(pairs)) {
                    notes.push(format!(
                        "{}: {owners} pairs it with people, perhaps with several: if it is theirs, a rule with \
                         action = \"shared\" and through = {:?} lets it go with the last of them",
                        key.parent.0,
                        rule.table.to_string()
                    ));
                }
            }
        }
        notes.sort();
        notes.dedup();
        notes
    }

    /// Tables that nothing leads to and that look personal all the same.
    fn not_reached(&self, walked: &Walked<'_>, rules: &[Rule]) -> Vec<String> {
        let ruled: BTreeSet<&TableName> = rules.iter().map(|r| &r.table.table).collect();
        let looks = |table: &TableName| {
            let facts = &self.catalog.tables[table];
            facts.columns.iter().any(|c| {
                let place = (table.clone(), c.name.clone());
                by_name(&c.name).is_some_and(|p| p.is_strong())
                    || self.observed.contents.contains_key(&place)
            })
        };
        let tables = self.catalog.tables.keys();
        let unruled = tables.filter(|t| !ruled.contains(t) && !walked.own.contains(t));
        unruled
            .filter(|t| looks(t))
            .filter_map(|t| {
                let what = if is_a_table(self.catalog, t) {
                    ""
                } else {
                    " (not a table)"
                };
                let said = self.personal(t)?;
                let by = pointed_at(self.catalog, t, &ruled);
                let by = by.map(|by| format!("; {by}")).unwrap_or_default();
                Some(format!("{t}{what}: nothing leads here; {said}{by}"))
            })
            .collect()
    }
}

/// Ways by one key (which may refer to a table and to those above it) belong together.
fn by_key<'w, 'a>(ways: Vec<&'w Way<'a>>) -> Vec<Vec<&'w Way<'a>>> {
    let mut groups: Vec<Vec<&Way<'_>>> = Vec::new();
    for way in ways {
        match groups.iter_mut().find(|g| g[0].key.name == way.key.name) {
            Some(group) => group.push(way),
            None => groups.push(vec![way]),
        }
    }
    groups
}
