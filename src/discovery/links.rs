//! Rules for links that no foreign key says: soft ones by name and sample, polymorphic pairs.

use super::identifiers::Identifier;
use super::propose::{Link, Maker, Rule, Suggested};
use super::soft::{Candidate, Target, comparable};
use super::walk::{leads_to, links_column};
use super::{Pair, Share};
use crate::name::{QualifiedTable, TableName};
use std::collections::BTreeMap;

impl Maker<'_> {
    /// Rules for links that no foreign key says, and notes on those that are too weak for one.
    pub(super) fn links(&self, identifiers: &[Identifier]) -> (Vec<Rule>, Vec<String>) {
        let (mut rules, mut notes) = (Vec::new(), Vec::new());
        if !self.at_home {
            return (rules, notes);
        }
        let candidates = super::soft::candidates(self.catalog, &self.request.root, identifiers);
        for candidate in &candidates {
            if self.is_ruled(candidate) || self.is_decided(&candidate.table) {
                continue;
            }
            let share = self.observed.shares.get(candidate).copied();
            match weigh(candidate, share) {
                Weight::Rule => rules.push(self.link_rule(candidate, share)),
                Weight::Note => notes.push(self.link_note(candidate, share)),
                Weight::Nothing => {}
            }
        }
        for (pair, kinds) in &self.observed.kinds {
            let before = rules.len();
            for (word, table) in &kinds.known {
                rules.extend(self.pair_rule(pair, word, table));
            }
            if rules.len() == before && self.known.is_none() {
                notes.push(self.pair_note(pair));
            }
        }
        (rules, notes)
    }

    fn is_ruled(&self, candidate: &Candidate) -> bool {
        let identifier = match &candidate.target {
            Target::Identifier { name, .. } => Some(name.as_str()),
            Target::Key { .. } => None,
        };
        self.is_linked(&candidate.table, |link| {
            links_column(link, &candidate.column) && leads_to(link, identifier, &self.request.root)
        })
    }

    /// Whether somebody has said already what becomes of the table's rows: by which of its columns was
    /// a question then, and is not asked again each time.
    fn is_decided(&self, table: &TableName) -> bool {
        let here = |t: &QualifiedTable| t.system == self.catalog.system && t.table == *table;
        let rules = self.known.map(|draft| draft.so_far().tables.iter());
        rules.is_some_and(|mut rules| rules.any(|r| here(&r.table)))
    }

    /// Whether the policy that is there has such a link.
    fn is_linked(&self, table: &TableName, is_it: impl Fn(&crate::policy::Link) -> bool) -> bool {
        let Some(draft) = self.known else {
            return false;
        };
        let here = |t: &QualifiedTable| t.system == self.catalog.system && t.table == *table;
        let decided = draft.so_far().tables.iter().filter(|r| here(&r.table));
        let open = draft.open().iter().filter(|o| here(&o.table));
        let links = decided.filter_map(|r| r.link.as_ref());
        links.chain(open.filter_map(|o| o.link.as_ref())).any(is_it)
    }

    fn link_rule(&self, candidate: &Candidate, share: Option<Share>) -> Rule {
        let to = match &candidate.target {
            Target::Key { .. } => Err(self.qualified(&self.request.root)),
            Target::Identifier { name, .. } => Ok(name.clone()),
        };
        let mut why = vec![self.link_note(candidate, share)];
        why.extend(self.personal(&candidate.table));
        Rule {
            table: self.qualified(&candidate.table),
            via: None,
            link: Some(Link {
                column: candidate.column.clone(),
                to,
                when: None,
            }),
            action: Suggested::Decide,
            why,
            keys: Vec::new(),
            parents: Vec::new(),
        }
    }

    fn link_note(&self, candidate: &Candidate, share: Option<Share>) -> String {
        let Candidate {
            table,
            column,
            target,
            ..
        } = candidate;
        let root = &self.request.root.table;
        let measured = match share {
            None => "not measured".to_owned(),
            Some(Share { sampled: 0, .. }) => "no rows to measure it by".to_owned(),
            Some(share) => format!(
                "{} % of {} sampled rows match",
                share.percent(),
                thousands(share.sampled)
            ),
        };
        let target = target.column();
        format!(
            "{table}: {column} may be {root}.{target}, though no foreign key says so: {measured}"
        )
    }

    fn pair_rule(&self, pair: &Pair, word: &str, of: &TableName) -> Option<Rule> {
        let table = self.catalog.tables.get(&pair.table)?;
        let person = self.catalog.tables.get(of)?;
        let [key] = person.primary_key.as_slice() else {
            return None;
        };
        let fits = comparable(table.column(&pair.id)?, person.column(key)?);
        let own = super::walk::closure(self.catalog, &self.request.root).contains(of);
        let linked = self.is_linked(&pair.table, |link| {
            links_column(link, &pair.id) && link.when.get(&pair.kind).is_some_and(|w| w == word)
        });
        if !own || !fits || linked || *of == pair.table {
            return None;
        }
        let mut why = vec![format!(
            "polymorphic: {} says what {} is the id of{}",
            pair.kind,
            pair.id,
            self.others(pair)
        )];
        why.extend(self.personal(&pair.table));
        Some(Rule {
            table: self.qualified(&pair.table),
            via: None,
            link: Some(Link {
                column: pair.id.clone(),
                to: Err(self.qualified(of)),
                when: Some((pair.kind.clone(), word.to_owned())),
            }),
            action: Suggested::Decide,
            why,
            keys: Vec::new(),
            parents: Vec::new(),
        })
    }

    /// What the type column was seen to name.
    fn others(&self, pair: &Pair) -> String {
        let Some(kinds) = self.observed.kinds.get(pair) else {
            return String::new();
        };
        let words: Vec<String> = kinds
            .known
            .iter()
            .map(|(w, t)| format!("{w} ({t})"))
            .collect();
        let seen = if words.is_empty() {
            ", no name of a table seen".to_owned()
        } else {
            format!("; seen: {}", words.join(", "))
        };
        match kinds.others {
            0 => seen,
            n => format!("{seen}; {n} other value(s), not shown"),
        }
    }

    fn pair_note(&self, pair: &Pair) -> String {
        format!(
            "{}: {} and {} look like a polymorphic pair{}",
            pair.table,
            pair.kind,
            pair.id,
            self.others(pair)
        )
    }

    /// Several rules for a table, or a link beside a key: then the link needs a name, or it would
    /// be taken for the table's general rule.
    pub(super) fn name_the_links(&self, rules: &mut [Rule]) {
        let mut of_table: BTreeMap<QualifiedTable, usize> = BTreeMap::new();
        for rule in rules.iter() {
            *of_table.entry(rule.table.clone()).or_default() += 1;
        }
        let known = |table: &QualifiedTable| {
            self.known.is_some_and(|d| {
                d.so_far().tables.iter().any(|r| r.table == *table)
                    || d.open().iter().any(|o| o.table == *table)
            })
        };
        let keys = &self.catalog.foreign_keys;
        for rule in rules {
            let Some(link) = &rule.link else { continue };
            let has_keys = keys.iter().any(|k| k.child.0 == rule.table.table);
            if of_table[&rule.table] > 1 || known(&rule.table) || has_keys {
                let name = match &link.when {
                    Some((_, word)) => format!("{} as {word}", link.column),
                    None => format!("by {}", link.column),
                };
                rule.via = Some(shortened(&name));
            }
        }
    }
}

enum Weight {
    Rule,
    Note,
    Nothing,
}

/// A plain name counts much, a share of matches the rest.
fn weigh(candidate: &Candidate, share: Option<Share>) -> Weight {
    match (candidate.exact, share) {
        (true, None | Some(Share { sampled: 0, .. })) => Weight::Rule,
        (true, Some(share)) if share.matched > 0 => Weight::Rule,
        (true, Some(_)) => Weight::Note,
        (false, Some(share)) if share.sampled > 0 && share.percent() >= 50 => Weight::Rule,
        (false, Some(share)) if share.matched > 0 => Weight::Note,
        (false, None) => Weight::Note,
        (false, Some(_)) => Weight::Nothing,
    }
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// To what a name may be long.
fn shortened(name: &str) -> String {
    let mut end = name.len().min(63);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}
