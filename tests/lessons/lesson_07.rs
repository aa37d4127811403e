//! Dry run and real run are one plan: same statements, same instant, same rule of identity.

use crate::support::{Server, load_demo, repository};
use crate::target::{Target, head, plan_on, subject, totals};
use erasured::plan::{FindBy, find_subject};
use erasured::policy::IdentifierKind;
use erasured::system::postgres::execute::Subject;
use std::collections::BTreeMap;

/// On frozen data of the demo company, table by table and ticket by ticket.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_07_dry_run_and_real_run_are_one_plan() {
    let server = Server::shared();
    let demo = load_demo(server, 200);
    let (shop, loyalty) = (
        Target::of("shop", &demo.shop),
        Target::of("loyalty", &demo.loyalty),
    );
    let policy =
        std::fs::read_to_string(repository().join("policies/travel/customer.toml")).unwrap();
    for (scope, from) in [("marketing", 40), ("account", 1)] {
        let planned = plan_on(&[&shop, &loyalty], &policy, scope).await.unwrap();
        let rows = server.query(
            &demo.shop,
            &format!("SELECT id, lower(member_no), lower(email) FROM customer WHERE id >= {from} ORDER BY id LIMIT 30"),
        );
        let subjects: Vec<Subject> = rows
            .into_iter()
            .map(|row| Subject {
                identifiers: BTreeMap::from([
                    // The same value twice, as a ticket's and as the row's, is one value.
                    ("member_no".into(), vec![row[1].clone().unwrap(); 2]),
                    ("email".into(), vec![row[2].clone().unwrap(); 2]),
                ]),
                ..subject(row[0].as_ref().unwrap())
            })
            .collect();
        for target in [&loyalty, &shop] {
            let before = target.rows();
            let dry = target.dry_run(&planned, &subjects).await.unwrap();
            assert_eq!(target.rows(), before, "a dry run changes nothing");
            let outcome = target.run(&planned, &subjects).await.unwrap();
            assert_eq!(dry, outcome.counts, "{scope} on {}", target.system);
            assert!(!totals(&dry).is_empty());
            // And the counts are the truth: rows really missing, table by table.
            for (table, rows) in target.rows() {
                let name = table.replace('"', "");
                let deleted: i64 = totals(&dry)
                    .iter()
                    .filter(|((t, kind), _)| {
                        *t == name && *kind == erasured::plan::ChangeKind::Deleted
                    })
                    .map(|(_, n)| n)
                    .sum();
                assert_eq!(
                    before[&table].len() as i64 - rows.len() as i64,
                    deleted,
                    "{table}"
                );
            }
            // A second time there is nothing left to do, and nothing is done twice.
            let again = target.run(&planned, &subjects).await.unwrap();
            assert_eq!(again.repeated.len(), subjects.len());
            assert_eq!(again.counts, outcome.counts);
        }
    }
}

/// One rule of identity: equal after normalisation. No LIKE, no "contains".
#[tokio::test(flavor = "multi_thread")]
async fn lesson_07_one_rule_of_identity() {
    let target = Target::new(
        "CREATE TABLE customer (id int PRIMARY KEY, email text);
         INSERT INTO customer VALUES (1, 'Taro.Yamada@Example.JP'), (2, 'taro_yamada@example.jp'),
           (3, 'xtaro.yamada@example.jp'), (4, 'taro.yamada@example.jp.uk'), (5, 'taro%@example.jp'), (6, 'ｔａｒｏ.yamada@example.jp'), (7, NULL);
         CREATE TABLE optin (email text); INSERT INTO optin SELECT email FROM customer;",
    );
    let client = target.client().await;
    client
        .batch_execute("SET search_path = pg_catalog")
        .await
        .unwrap();
    let root = erasured::name::TableName::new("public", "customer");
    let by = FindBy {
        column: "email".into(),
        kind: IdentifierKind::Email,
    };
    let sql = find_subject(&root, &by, &["id".into()], true);
    for (typed, ids) in [
        ("taro.yamada@example.jp", vec!["1", "6"]),
        ("taro_yamada@example.jp", vec!["2"]),
        ("taro%@example.jp", vec!["5"]),
        ("%", vec![]),
        ("", vec![]),
    ] {
        let rows = client
            .query(&sql, &[&vec![0i32], &vec![typed]])
            .await
            .unwrap();
        let mut found: Vec<String> = rows.iter().map(|row| row.get(1)).collect();
        found.sort();
        assert_eq!(found, ids, "{typed}");
    }
    // And the same rule where a table of another system knows the person by the address alone.
    let policy = head("s.public.customer")
        + "[[table]]\nname = \"s.public.customer\"\naction = \"delete\"\n\
           [[table]]\nname = \"s.public.optin\"\nlink = { columns = [\"email\"], identifier = \"email\" }\naction = \"delete\"\n";
    let planned = target.plan(&policy).await.unwrap();
    let one = Subject {
        identifiers: BTreeMap::from([("email".into(), vec!["taro.yamada@example.jp".into()])]),
        ..subject(1)
    };
    let outcome = target.run(&planned, &[one]).await.unwrap();
    assert_eq!(
        totals(&outcome.counts)
            .values()
            .copied()
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(target.count("SELECT count(*) FROM optin"), 5);
}

/// Masking two people, or one twice, breaks no unique constraint.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_07_hashing_two_people_breaks_no_unique_constraint() {
    let target = Target::new(
        "CREATE TABLE customer (id int PRIMARY KEY, email text UNIQUE, login varchar(24) UNIQUE NOT NULL, code char(20));
         INSERT INTO customer SELECT n, 'c' || n || '@example.jp', 'login' || n, 'code' || n FROM generate_series(1, 5) n;",
    );
    let policy = head("s.public.customer")
        + "[[table]]\nname = \"s.public.customer\"\naction = \"anonymize\"\nset = { email = \"hash\", login = \"hash\", code = \"hash\" }\n";
    let planned = target.plan(&policy).await.unwrap();
    target
        .run(&planned, &[subject(1), subject(2)])
        .await
        .unwrap();
    target.run(&planned, &[subject(3)]).await.unwrap();
    let masked = "SELECT count(DISTINCT (email, login, code)) FROM customer WHERE email NOT LIKE '%@%' AND login NOT LIKE 'login%'";
    assert_eq!(target.count(masked), 3);
    // The same person again: the values change, and stay unique.
    target.run(&planned, &[subject(1)]).await.unwrap();
    assert_eq!(target.count(masked), 3);
    assert_eq!(
        target
            .value("SELECT email || login || code FROM customer WHERE id = 4")
            .trim(),
        "c4@example.jplogin4code4"
    );
}
