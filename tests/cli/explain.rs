//! `erasured explain`, and whether its examples do what they claim.

use crate::explained;
use crate::support::{Server, Workspace, erasured};
use erasured::catalog::Catalog;
use erasured::lineage;
use erasured::policy::read;
use erasured::system::postgres::catalog;
use std::collections::{BTreeMap, BTreeSet};

fn says(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = erasured().arg("explain").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_code_gets_its_half_page() {
    let (code, said, _) = says(&["e0219"]);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("E0219: nothing leads to"), "{said}");
    assert!(said.contains("\n    action = \"delete\"\n"), "{said}");
    assert!(said.contains("\nWhat to do. Say how"), "{said}");
    assert!(!said.contains("**") && !said.contains("```") && !said.contains('\x1b'));
    let (code, both, _) = says(&["219", "E0201"]);
    assert_eq!(code, Some(0));
    assert!(
        both.starts_with(&said) && both.contains("\nE0201: "),
        "{both}"
    );
}

#[test]
fn without_a_code_all_are_listed() {
    let (code, said, _) = says(&[]);
    assert_eq!(code, Some(0));
    assert!(said.lines().count() > 90, "{said}");
    assert!(said.contains("\nE0510  a residual was found\n"), "{said}");
}

#[test]
fn an_unknown_code_offers_its_neighbours() {
    let (code, said, problem) = says(&["E0201", "E212"]);
    assert_eq!((code, said.as_str()), (Some(2), ""));
    assert!(
        problem.contains("\"E212\"") && problem.contains("E0211  "),
        "{problem}"
    );
    let (code, _, problem) = says(&["residual"]);
    assert_eq!(code, Some(2));
    assert!(problem.contains("E0510"), "{problem}");
    let (code, _, problem) = says(&["ER002"]);
    assert_eq!(code, Some(2));
    assert!(problem.contains("lists them all"), "{problem}");
}

/// Once, below all that was found, and never where a program reads.
#[test]
fn check_says_where_more_is_to_be_had() {
    let workspace = Workspace::new("postgresql:///x", &[("shop", "postgresql:///x".into())]);
    let bad = "[[table]]\nname = \"booking\"\naction = \"remove\"\ncolour = 1";
    workspace.write_policy("customer.toml", &explained::policy(bad));
    let output = workspace.erasured(["check", "--offline"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.matches("erasured explain").count(), 1, "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("more on this: erasured explain E01"),
        "{said}"
    );
    for code in ["E0103", "E0106", "E0107"] {
        assert_eq!(last.matches(code).count(), 1, "{last}");
    }

    let open = "[[table]]\nname = \"shop.public.booking\"\naction = \"decide\"";
    workspace.write_policy("customer.toml", &explained::policy(open));
    let output = workspace.erasured(["check", "--offline"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.ends_with("\nmore on this: erasured explain E0119\n"),
        "{said}"
    );
    let json = workspace.erasured(["check", "--offline", "--format", "json"]);
    let output = { json }.output().unwrap();
    assert!(
        !String::from_utf8(output.stdout)
            .unwrap()
            .contains("explain")
    );
}

async fn read_catalog(server: &Server, database: &str) -> Catalog {
    let mut config = deadpool_postgres::Config::new();
    config.url = Some(server.url(database));
    let pool = config.create_pool(None, tokio_postgres::NoTls).unwrap();
    let mut client = pool.get().await.unwrap();
    let tx = client.transaction().await.unwrap();
    tx.batch_execute("SET LOCAL search_path = pg_catalog")
        .await
        .unwrap();
    catalog::read(&tx, "shop").await.unwrap()
}

/// Each example of a policy against a schema gives that section's code, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn examples_on_a_schema_give_their_code() {
    const ROOT: &str =
        "CREATE TABLE customer (id int PRIMARY KEY, member_no text NOT NULL UNIQUE);";
    let server = Server::shared();
    let (mut tried, mut wrong) = (0, Vec::new());
    for (section, claim, part) in explained::examples("toml part of a policy") {
        let Some(claim) = claim.filter(|c| c.starts_with("E02")) else {
            continue;
        };
        let database = server.fresh_database("explained");
        let sql: String = explained::blocks(&section)
            .into_iter()
            .filter(|b| b.info == "sql")
            .map(|b| b.body)
            .collect();
        if !sql.contains("CREATE TABLE customer ") {
            server.execute(&database, ROOT);
        }
        server.execute(&database, &sql);
        let catalogs = BTreeMap::from([("shop".to_owned(), read_catalog(server, &database).await)]);
        let policy = read::read("f", &explained::policy(&part)).unwrap();
        let (_, mut found) = lineage::trace_all(&policy, &catalogs);
        found.extend(erasured::discovery::overlooked(&policy, &catalogs));
        let now = chrono::Utc::now();
        found.extend(lineage::check_rules(&policy, &[&policy], now, &catalogs));
        let codes: BTreeSet<&str> = found.iter().map(|d| d.code).collect();
        if codes != BTreeSet::from([claim.as_str()]) {
            let said: Vec<_> = found.iter().map(|d| (d.code, &d.message)).collect();
            wrong.push(format!("{}: {said:?}", section.code));
        }
        tried += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 25, "{tried}");
}
