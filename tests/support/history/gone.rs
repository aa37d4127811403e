//! Rows that were there before, and are not now: as many as the systems' own rows say, and of the people
//! themselves only those for whom there is a ticket.

use super::chain::hex;
use super::{History, blocking, mariadb, one};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};

/// `system.schema.table` to the keys of its rows. Nobody else may take rows away meanwhile.
#[derive(Clone, Debug)]
pub struct Before {
    systems: Vec<(String, String)>,
    /// Kinds of people: the kind, and its table.
    roots: Vec<(String, String)>,
    keys: BTreeMap<String, BTreeSet<String>>,
}

/// Each ordinary table with the text of its key, or of the whole row where it has none.
const TABLES: &str = "SELECT coalesce(jsonb_object_agg(format('%I.%I', n.nspname, c.relname), coalesce(
    (SELECT string_agg(format('t.%I::text', a.attname), ' || chr(31) || ' ORDER BY array_position(i.indkey::int2[], a.attnum))
       FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
      WHERE i.indrelid = c.oid AND i.indisprimary), 't::text')), '{}')::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'erasured') AND n.nspname !~ '^pg_'";

impl Before {
    /// Systems as (name, URL); kinds of people as (kind, `system.schema.table`).
    pub fn of(systems: &[(&str, String)], roots: &[(&str, &str)]) -> Before {
        let systems: Vec<_> = systems
            .iter()
            .map(|(n, u)| ((*n).to_owned(), u.clone()))
            .collect();
        Before {
            keys: keys(&systems),
            systems,
            roots: roots
                .iter()
                .map(|(k, t)| ((*k).to_owned(), (*t).to_owned()))
                .collect(),
        }
    }
}

impl Before {
    /// That there were these keys, known otherwise.
    pub fn that<const N: usize>(
        systems: &[(&str, String)],
        roots: &[(&str, &str)],
        keys: [(&str, BTreeSet<String>); N],
    ) -> Before {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        Before {
            systems: systems
                .iter()
                .map(|(n, u)| ((*n).to_owned(), u.clone()))
                .collect(),
            roots: roots.iter().map(owned).collect(),
            keys: keys
                .into_iter()
                .map(|(table, keys)| (table.to_owned(), keys))
                .collect(),
        }
    }
}

fn keys(systems: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    blocking(async {
        let mut all = BTreeMap::new();
        for (system, url) in systems {
            if mariadb::is(url) {
                let tables = mariadb::keys(url).await.into_iter();
                all.extend(tables.map(|(table, keys)| (format!("{system}.{table}"), keys)));
                continue;
            }
            let tables: BTreeMap<String, String> =
                serde_json::from_str(&one(url, TABLES).await).expect("a list of tables");
            for (table, key) in tables {
                let sql =
                    format!("SELECT coalesce(jsonb_agg({key}), '[]')::text FROM ONLY {table} t");
                let keys = serde_json::from_str(&one(url, &sql).await).expect("a list of keys");
                all.insert(format!("{system}.{table}"), keys);
            }
        }
        all
    })
}

pub(super) fn wrong(history: &History, before: &Before, hash_key: &[u8]) -> Vec<String> {
    let now = keys(&before.systems);
    let none = BTreeSet::new();
    let gone: BTreeMap<&String, BTreeSet<&String>> = before
        .keys
        .iter()
        .map(|(table, keys)| {
            (
                table,
                keys.difference(now.get(table).unwrap_or(&none)).collect(),
            )
        })
        .collect();
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    for row in history.applied.values().flatten() {
        for (table, kinds) in row.counts["changed"].as_object().into_iter().flatten() {
            let rows = kinds["deleted"].as_u64().unwrap_or(0);
            *said.entry(format!("{}.{table}", row.system)).or_default() +=
                usize::try_from(rows).expect("rows");
        }
    }
    let mut wrong = Vec::new();
    for (table, gone) in &gone {
        let said = said.remove(*table).unwrap_or(0);
        if gone.len() != said {
            wrong.push(format!(
                "{table}: {} rows are gone, and {said} are said to be",
                gone.len()
            ));
        }
    }
    for (subject, table) in &before.roots {
        let asked: BTreeSet<&String> = history
            .control
            .tickets
            .iter()
            .filter(|t| t.subject == *subject)
            .filter_map(|t| t.subject_hash.as_ref())
            .collect();
        let nobodys = gone
            .get(table)
            .into_iter()
            .flatten()
            .filter(|key| !asked.contains(&hash(hash_key, subject, key)));
        wrong.extend(nobodys.map(|key| format!("{table}: {key} is gone, and nobody asked for it")));
    }
    wrong
}

/// As docs/audit.md says a person's key is hashed.
fn hash(key: &[u8], subject: &str, value: &str) -> String {
    let mac = |key: &[u8], parts: &[&[u8]]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes()
    };
    let hashing = mac(key, &[b"erasured hash v1"]);
    let kind = format!("subject:{subject}");
    hex(&mac(&hashing, &[kind.as_bytes(), &[0], value.as_bytes()]))
}
