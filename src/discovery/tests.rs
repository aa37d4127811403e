//! Random catalogs: whatever the schema, a draft fits it, and an update of it finds nothing new.

use super::{Kinds, Observed, Pair, Request, Share, fresh, questions, update};
use crate::catalog::{Access, Catalog, Column, ForeignKey, OnDelete, Table, TableKind};
use crate::diagnostic::Severity;
use crate::lineage::check_draft;
use crate::name::TableName;
use crate::policy::{clocks, read};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
struct Key {
    child: usize,
    parent: usize,
    not_null: bool,
    actor: bool,
    in_key: bool,
    on_delete: OnDelete,
}

#[derive(Clone, Debug)]
struct Shape {
    tables: Vec<(usize, TableKind, Access, bool)>,
    keys: Vec<Key>,
    soft: Vec<(usize, u64)>,
    ruled: Vec<u8>,
}

const NAMES: &[&str] = &[
    "customer",
    "note",
    "invoice",
    "letter",
    "請求",
    "x\"]\n# [[table]]",
    "trip",
    "stay",
];

fn shape() -> impl Strategy<Value = Shape> {
    let access = (any::<bool>(), 0..12u8).prop_map(|(_, n)| Access {
        insert: true,
        rows_hidden: n == 0,
        select: true,
        update: n != 1,
        delete: n != 2,
        owner: true,
        delete_unpublishable: n == 3,
        update_unpublishable: n == 4,
    });
    let kind = prop_oneof![
        8 => Just(TableKind::Ordinary), 1 => Just(TableKind::Partitioned), 1 => Just(TableKind::View)
    ];
    let tables = prop::collection::vec((0..NAMES.len(), kind, access, any::<bool>()), 1..8);
    let on_delete = prop_oneof![
        Just(OnDelete::NoAction),
        Just(OnDelete::Restrict),
        Just(OnDelete::Cascade),
        Just(OnDelete::SetNull),
        Just(OnDelete::SetDefault)
    ];
    let key = (
        0..9usize,
        0..8usize,
        any::<bool>(),
        0..4u8,
        0..6u8,
        on_delete,
    )
        .prop_map(|(child, parent, not_null, actor, in_key, on_delete)| Key {
            child,
            parent,
            not_null,
            actor: actor == 0,
            in_key: in_key == 0,
            on_delete,
        });
    let soft = prop::collection::vec((0..8usize, 0..3u64), 0..3);
    (
        tables,
        prop::collection::vec(key, 0..14),
        soft,
        prop::collection::vec(0..5u8, 30),
    )
        .prop_map(|(tables, keys, soft, ruled)| Shape {
            tables,
            keys,
            soft,
            ruled,
        })
}

fn column(name: &str, base: &str, category: char, not_null: bool) -> Column {
    Column {
        name: name.into(),
        sql_type: base.into(),
        base: base.into(),
        category,
        not_null,
        ..Column::default()
    }
}

fn catalog(shape: &Shape) -> (Catalog, TableName) {
    let name = |at: usize| TableName::new("s", format!("{}_{at}", NAMES[shape.tables[at].0]));
    let count = shape.tables.len();
    let mut catalog = Catalog {
        system: "app".into(),
        utf8: true,
        ..Catalog::default()
    };
    for (at, (_, kind, access, keyed)) in shape.tables.iter().enumerate() {
        let root = at == 0;
        let id = vec!["id".to_owned()];
        let mut table = Table {
            kind: if root { TableKind::Ordinary } else { *kind },
            columns: vec![
                column("id", "int8", 'N', true),
                column("email", "text", 'S', false),
                column("owner_type", "text", 'S', false),
                column("owner_id", "int8", 'N', false),
            ],
            primary_key: if root || *keyed {
                id.clone()
            } else {
                Vec::new()
            },
            unique: vec![id],
            access: *access,
            ..Table::default()
        };
        if !*keyed {
            table.columns.retain(|c| c.name != "email");
        }
        catalog.tables.insert(name(at), table);
    }
    for (n, key) in shape.keys.iter().enumerate() {
        let parent = name(key.parent % count);
        // Beyond the tables: a partition, which the catalog does not list.
        let child = if key.child < count {
            name(key.child)
        } else {
            TableName::new("s", "part")
        };
        let column_name = if key.in_key {
            "id".to_owned()
        } else if key.actor {
            format!("made_{n}_by")
        } else {
            format!("ref_{n}")
        };
        if let Some(table) = catalog.tables.get_mut(&child)
            && !key.in_key
        {
            table
                .columns
                .push(column(&column_name, "int8", 'N', key.not_null));
        }
        catalog.foreign_keys.push(ForeignKey {
            name: format!("fk_{n}"),
            child: (child, vec![column_name]),
            parent: (parent, vec!["id".into()]),
            equality: vec!["OPERATOR(pg_catalog.=)".into()],
            on_delete: key.on_delete,
            enforced: true,
            ..ForeignKey::default()
        });
    }
    for (at, _) in &shape.soft {
        let row = super::names::row_name(&name(0).table);
        if let Some(table) = catalog.tables.get_mut(&name(at % count))
            && table.column(&format!("{row}_id")).is_none()
        {
            table
                .columns
                .push(column(&format!("{row}_id"), "int8", 'N', false));
        }
    }
    let root = name(0);
    (catalog, root)
}

/// Every link is measured, each in its own way; some pairs name the root.
fn observed(shape: &Shape, catalog: &Catalog, request: &Request) -> Observed {
    let asked = questions(catalog, request, None);
    let matched = shape.soft.first().map_or(0, |(_, n)| *n);
    let shares = asked.links.into_iter().map(|link| {
        (
            link,
            Share {
                matched,
                sampled: 2,
            },
        )
    });
    let kinds = asked
        .pairs
        .into_iter()
        .filter(|p| p.table.table.len().is_multiple_of(2));
    let of_root = |pair: Pair| {
        let known = vec![("Customer".to_owned(), request.root.clone())];
        (pair, Kinds { known, others: 1 })
    };
    Observed {
        shares: shares.collect(),
        kinds: kinds.map(of_root).collect(),
        ..Observed::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_draft_fits_and_an_update_adds_nothing_twice(shape in shape()) {
        let (catalog, root) = catalog(&shape);
        let request = Request {
            system: "app".into(),
            root: root.clone(),
            subject: None,
            region: "JP".into(),
        };
        let observed = observed(&shape, &catalog, &request);
        let text = fresh(&catalog, &request, &observed).unwrap();
        let catalogs = BTreeMap::from([("app".to_owned(), catalog.clone())]);
        let draft = read::draft("p.toml", &text, clocks::built_in()).unwrap();
        let errors: Vec<_> = check_draft(&draft, &catalogs)
            .into_iter()
            .filter(|d| d.severity == Severity::Error)
            .map(|d| (d.code, d.message))
            .collect();
        prop_assert!(errors.is_empty(), "{errors:?}\n{text}");
        prop_assert!(!text.contains("will also say"), "{text}");

        // Every way to rows that may be the person's has its rule.
        let stopped: BTreeSet<(TableName, String)> = draft.so_far().tables.iter()
            .filter(|r| matches!(r.action, crate::policy::Action::Detach))
            .flat_map(|r| {
                let table = r.table.table.clone();
                let via = r.via.as_ref().map(|(v, _)| v.clone());
                catalog.foreign_keys.iter()
                    .filter(move |k| k.child.0 == table && via.as_ref().is_none_or(|v| *v == k.name))
                    .map(|k| (k.child.0.clone(), k.name.clone()))
            })
            .collect();
        let ruled: BTreeSet<&TableName> = draft.so_far().tables.iter().map(|r| &r.table.table)
            .chain(draft.open().iter().map(|o| &o.table.table)).collect();
        let mut queue = vec![root.clone()];
        let mut seen = BTreeSet::from([root]);
        while let Some(parent) = queue.pop() {
            for key in catalog.referring_to(&parent) {
                prop_assert!(ruled.contains(&key.child.0), "{key:?}\n{text}");
                let stops = stopped.contains(&(key.child.0.clone(), key.name.clone()));
                if !stops && seen.insert(key.child.0.clone()) {
                    queue.push(key.child.0.clone());
                }
            }
        }

        let same = update(&catalogs, &request, &observed, &draft, &text).unwrap();
        prop_assert_eq!(&same.said, &Vec::<String>::new(), "{}", text);
        prop_assert_eq!(&same.text, &text);

        // People decide some of it, well or badly: an update says so once, and then no more.
        let mut decisions = shape.ruled.iter().cycle();
        let decided: String = text.split_inclusive('\n').map(|line| {
            match (line.contains("\"decide\"") && line.starts_with("action"), decisions.next().unwrap()) {
                (true, 0) => "action = \"delete\"\n".to_owned(),
                (true, 1) => "action = \"detach\"\n".to_owned(),
                (true, 2) => "action = \"exempt\"\nreason = \"so it is\"\n".to_owned(),
                _ => line.to_owned(),
            }
        }).collect();
        let draft = read::draft("p.toml", &decided, clocks::built_in()).unwrap();
        let once = update(&catalogs, &request, &observed, &draft, &decided).unwrap();
        let draft = read::draft("p.toml", &once.text, clocks::built_in()).unwrap();
        let twice = update(&catalogs, &request, &observed, &draft, &once.text).unwrap();
        prop_assert_eq!(&twice.said, &Vec::<String>::new(), "{}", once.text);
        prop_assert_eq!(twice.text, once.text);
    }
}

/// A school's: a conversation is shared by those who take part, its creator is not its owner, and of
/// the history somebody has said by which column it is the person's.
#[test]
fn an_update_asks_what_nobody_has_said_and_nothing_twice() {
    let mut catalog = Catalog {
        system: "app".into(),
        ..Catalog::default()
    };
    for (name, columns) in [
        ("member", ["member_no", "email"]),
        ("talk", ["created_by", "closed_by"]),
        ("taking_part", ["talk_id", "member_id"]),
        ("history", ["member_id", "member_no"]),
    ] {
        let mut table = Table {
            primary_key: vec!["id".into()],
            unique: vec![vec!["id".into()]],
            columns: vec![column("id", "int8", 'N', true)],
            access: Access {
                select: true,
                update: true,
                delete: true,
                ..Access::default()
            },
            ..Table::default()
        };
        for name in columns {
            let (base, category) = match name {
                "member_no" | "email" => ("text", 'S'),
                _ => ("int8", 'N'),
            };
            table.columns.push(column(name, base, category, false));
        }
        catalog.tables.insert(TableName::new("public", name), table);
    }
    for (child, of, parent) in [
        ("talk", "created_by", "member"),
        ("talk", "closed_by", "member"),
        ("taking_part", "talk_id", "talk"),
        ("taking_part", "member_id", "member"),
    ] {
        catalog.foreign_keys.push(ForeignKey {
            name: format!("{child}_{of}"),
            child: (TableName::new("public", child), vec![of.into()]),
            parent: (TableName::new("public", parent), vec!["id".into()]),
            equality: vec!["OPERATOR(pg_catalog.=)".into()],
            enforced: true,
            ..ForeignKey::default()
        });
    }
    let text = r#"
subject = "member"
root = "app.public.member"
[identifier.member_no]
column = "member_no"
type = "plain"
find = true
[scope.all]
tables = "all"
verify = { at_least = "basic" }
sla = "jp-appi"
[[table]]
name = "app.public.member"
action = "delete"
[[table]]
name = "app.public.taking_part"
action = "delete"
[[table]]
name = "app.public.talk"
action = "shared"
through = "app.public.taking_part"
[[table]]
name = "app.public.talk"
via = "talk_created_by"
action = "detach"
[[table]]
name = "app.public.history"
link = { columns = ["member_id"], to = "app.public.member" }
action = "delete"
"#;
    let request = Request {
        system: "app".into(),
        root: TableName::new("public", "member"),
        subject: None,
        region: "JP".into(),
    };
    let catalogs = BTreeMap::from([("app".to_owned(), catalog)]);
    let draft = read::draft("p.toml", text, clocks::built_in()).unwrap();
    let asked = questions(&catalogs["app"], &request, Some(&draft));
    let all = Share {
        matched: 2,
        sampled: 2,
    };
    let observed = Observed {
        shares: asked.links.into_iter().map(|link| (link, all)).collect(),
        ..Observed::default()
    };
    let updated = update(&catalogs, &request, &observed, &draft, text).unwrap();
    assert_eq!(
        updated.said,
        ["new: app.public.talk, via talk_closed_by: detach"],
        "{}",
        updated.text
    );
}
