//! A policy as the oracle reads it: from the file, by the words of docs/policies.md, and without
//! any of `src/policy`.

use crate::definition::{Definition, Key};
use std::collections::BTreeMap;

/// What a rule does to a row reached by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Delete,
    Anonymize,
    Detach,
    /// Stays until a column's day and so many years.
    Retain,
    /// Stays as long as what it hangs off.
    WithParent,
    Exempt,
    /// Of rows that belong to several.
    Shared,
}

/// What becomes of a column.
#[derive(Clone, Debug)]
pub(crate) enum Set {
    To(Option<String>),
    /// The same for a value that is not NULL.
    NotNullTo(String),
    /// Something else than it was, which only the daemon's key says.
    Changed,
}

/// A rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) act: Act,
    pub(crate) set: BTreeMap<String, Set>,
    /// Column and years.
    pub(crate) until: Option<(String, i32)>,
}

/// How rows of a table come to be a person's: by a key of the catalog or a link of the policy.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) child: String,
    pub(crate) columns: Vec<String>,
    pub(crate) parent: String,
    pub(crate) referred: Vec<String>,
    pub(crate) when: BTreeMap<String, String>,
    /// Compared without regard to case.
    pub(crate) by_identifier: bool,
    /// Which of the rules.
    pub(crate) rule: usize,
}

/// `shared`: the table, its owners' table, and the columns by which owners refer to it.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) table: String,
    pub(crate) owners: String,
    pub(crate) columns: Vec<String>,
    pub(crate) referred: Vec<String>,
}

/// A policy.
pub(crate) struct Decided {
    pub(crate) subject: String,
    pub(crate) root: String,
    pub(crate) root_rule: usize,
    /// Name and column of every identifier.
    pub(crate) identifiers: Vec<(String, String)>,
    /// The one by which tickets name people.
    pub(crate) found_by: (String, String),
    pub(crate) rules: Vec<Rule>,
    pub(crate) ways: Vec<Way>,
    pub(crate) shared: Vec<Shared>,
    /// Tables with a rule.
    pub(crate) tables: Vec<String>,
}

/// The `[[table]]` entries of a policy: of the draft too.
pub(crate) fn entries(text: &str) -> Vec<toml::Table> {
    let file: toml::Table = toml::from_str(text).expect("TOML");
    let entries = file["table"].as_array().expect("[[table]]").clone();
    let tables = entries.into_iter().map(|t| t.try_into().expect("a table"));
    tables.collect()
}

/// `schema.table` of `system.schema.table`.
pub(crate) fn table_of(name: &toml::Value) -> String {
    let name = name.as_str().expect("a name");
    name.split_once('.')
        .expect("system.schema.table")
        .1
        .to_owned()
}

impl Decided {
    pub(crate) fn read(text: &str, definition: &Definition) -> Self {
        let file: toml::Table = toml::from_str(text).expect("TOML");
        let root = table_of(&file["root"]);
        let identifiers: Vec<(String, String)> = file["identifier"]
            .as_table()
            .unwrap()
            .iter()
            .map(|(name, i)| (name.clone(), i["column"].as_str().unwrap().to_owned()))
            .collect();
        let named = file["identifier"].as_table().unwrap().iter();
        let mut found_by =
            named.filter(|(_, i)| i.get("find").and_then(|f| f.as_bool()) == Some(true));
        let found_by = found_by.next().expect("one with find = true").0.clone();
        let found_by = identifiers
            .iter()
            .find(|(n, _)| *n == found_by)
            .cloned()
            .unwrap();
        let entries = entries(text);
        let mut decided = Self {
            subject: file["subject"].as_str().unwrap().to_owned(),
            root_rule: entries
                .iter()
                .position(|e| table_of(&e["name"]) == root && !e.contains_key("via"))
                .expect("a rule for the root"),
            rules: entries.iter().map(rule).collect(),
            tables: entries.iter().map(|e| table_of(&e["name"])).collect(),
            identifiers,
            found_by,
            ways: Vec::new(),
            shared: Vec::new(),
            root,
        };
        for (at, entry) in entries.iter().enumerate() {
            decided.link(at, entry, definition);
        }
        for key in &definition.keys {
            let named = |via: Option<&str>| {
                entries.iter().position(|e| {
                    table_of(&e["name"]) == key.child
                        && e.get("via").and_then(|v| v.as_str()) == via
                        && !e.contains_key("link")
                })
            };
            let same_kind = key.child == key.parent || key.child == decided.root;
            let general = || if same_kind { None } else { named(None) };
            if let Some(rule) = named(Some(&key.name)).or_else(general) {
                decided.by_key(key, rule);
            }
        }
        decided
    }

    fn by_key(&mut self, key: &Key, rule: usize) {
        let is_shared = self.rules[rule].act == Act::Shared;
        if is_shared {
            return;
        }
        self.ways.push(Way {
            child: key.child.clone(),
            columns: key.columns.clone(),
            parent: key.parent.clone(),
            referred: key.referred.clone(),
            when: BTreeMap::new(),
            by_identifier: false,
            rule,
        });
    }

    fn link(&mut self, rule: usize, entry: &toml::Table, definition: &Definition) {
        let table = table_of(&entry["name"]);
        if let Some(through) = entry.get("through") {
            let owners = table_of(through);
            let key = definition
                .keys_of(&owners)
                .into_iter()
                .find(|k| k.parent == table)
                .expect("owners refer to what they share");
            self.shared.push(Shared {
                table,
                owners,
                columns: key.columns.clone(),
                referred: key.referred.clone(),
            });
            return;
        }
        let Some(link) = entry.get("link") else {
            return;
        };
        let list = |key: &str| -> Option<Vec<String>> {
            let list = link.get(key)?.as_array()?;
            Some(
                list.iter()
                    .map(|c| c.as_str().unwrap().to_owned())
                    .collect(),
            )
        };
        let (parent, referred, by_identifier) = match link.get("identifier") {
            Some(name) => {
                let mut all = self.identifiers.iter();
                let found = all.find(|(n, _)| Some(n.as_str()) == name.as_str());
                (self.root.clone(), vec![found.unwrap().1.clone()], true)
            }
            None => {
                let to = table_of(&link["to"]);
                let primary = definition.tables[&to].primary.clone();
                let key = list("key").unwrap_or(primary);
                (to, key, false)
            }
        };
        let when = link.get("when").and_then(|w| w.as_table());
        let when = when.into_iter().flatten();
        self.ways.push(Way {
            child: table,
            columns: list("columns").expect("links by columns alone are used here"),
            parent,
            referred,
            when: when
                .map(|(c, v)| (c.clone(), v.as_str().unwrap().to_owned()))
                .collect(),
            by_identifier,
            rule,
        });
    }
}

fn rule(entry: &toml::Table) -> Rule {
    let until = entry.get("until").map(|until| {
        let years = until["plus"].as_str().unwrap();
        let years = years
            .split_once(' ')
            .unwrap()
            .0
            .parse()
            .expect("whole years");
        (until["column"].as_str().unwrap().to_owned(), years)
    });
    let act = match entry["action"].as_str().unwrap() {
        "delete" => Act::Delete,
        "anonymize" => Act::Anonymize,
        "detach" => Act::Detach,
        "retain" if until.is_some() => Act::Retain,
        "retain" => Act::WithParent,
        "exempt" => Act::Exempt,
        "shared" => Act::Shared,
        other => panic!("action {other}"),
    };
    let set = entry.get("set").and_then(|s| s.as_table());
    let set = set.into_iter().flatten();
    Rule {
        act,
        set: set.map(|(c, how)| (c.clone(), strategy(how))).collect(),
        until,
    }
}

fn strategy(how: &toml::Value) -> Set {
    if let Some(constant) = how.get("constant") {
        return Set::To(Some(constant.as_str().unwrap().to_owned()));
    }
    match how.as_str() {
        Some("null") => Set::To(None),
        Some("redact") => Set::NotNullTo("[erased]".to_owned()),
        _ => Set::Changed,
    }
}
