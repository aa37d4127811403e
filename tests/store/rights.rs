//! Who may do what in the control schema: all of it in one list that a person can read, and every
//! function tried by every role that it is not for.

use super::server::Database;
use std::fmt::Write as _;
use tokio_postgres::Client;

/// The groups of `sql/roles/control.sql`.
async fn groups(client: &Client) -> Vec<String> {
    let sql = "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'erasured\\_%' AND NOT rolcanlogin ORDER BY 1";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|r| r.get(0)).collect()
}

const FUNCTIONS: &str = "SELECT p.oid::regprocedure::text, p.proname::text, \
        (SELECT coalesce(string_agg('NULL::' || format_type(t, NULL), ', ' ORDER BY n), '') \
           FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, n)) AS nulls, \
        has_function_privilege($1, p.oid, 'EXECUTE') AS may \
   FROM pg_proc p WHERE p.pronamespace = 'erasured'::regnamespace \
    AND p.prorettype <> 'trigger'::regtype ORDER BY 1";

/// A call that the server works out beforehand, and so asks nobody.
const FOLDED: &str = "SELECT proname::text FROM pg_proc WHERE pronamespace = 'erasured'::regnamespace \
    AND proisstrict AND provolatile = 'i'";

const TABLES: &str = "SELECT r.relname::text, v.verb, \
        has_table_privilege($1, r.oid, v.verb) AS whole, \
        CASE WHEN v.verb <> 'DELETE' AND v.verb <> 'TRUNCATE' THEN \
          (SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute a \
            WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped \
              AND has_column_privilege($1, r.oid, a.attnum, v.verb)) END AS columns \
   FROM pg_class r, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) WITH ORDINALITY AS v (verb, n) \
  WHERE r.relnamespace = 'erasured'::regnamespace AND r.relkind IN ('r', 'v') ORDER BY 1, v.n";

/// What changes here changes who may do what: read it before accepting it.
#[tokio::test(flavor = "multi_thread")]
async fn every_right_is_meant() {
    let db = Database::new().await;
    let owner = db.client("owner").await;
    let mut list = String::new();
    let mut groups = groups(&owner).await;
    groups.push("public".into());
    for group in groups {
        writeln!(list, "{group}").unwrap();
        for row in owner.query(FUNCTIONS, &[&group]).await.unwrap() {
            if row.get("may") {
                writeln!(list, "  calls {}", row.get::<_, &str>(0)).unwrap();
            }
        }
        for row in owner.query(TABLES, &[&group]).await.unwrap() {
            let (table, verb): (&str, &str) = (row.get(0), row.get(1));
            let verb = verb.to_lowercase();
            match (row.get::<_, bool>(2), row.get::<_, Option<&str>>(3)) {
                (true, _) => writeln!(list, "  {verb} {table}").unwrap(),
                (false, Some(columns)) => writeln!(list, "  {verb} {table} ({columns})").unwrap(),
                (false, None) => {}
            }
        }
    }
    insta::assert_snapshot!(list);
}

/// A function that runs with its owner's rights and the caller's search_path runs the caller's code.
#[tokio::test(flavor = "multi_thread")]
async fn no_function_runs_on_its_callers_path() {
    let db = Database::new().await;
    let owner = db.client("owner").await;
    let sql = "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'erasured'::regnamespace \
                  AND p.prosecdef AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c \
                        WHERE c LIKE 'search_path=pg_catalog,%' AND c LIKE '%pg_temp')";
    let open: Vec<String> = owner
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|r| r.get(0))
        .collect();
    assert_eq!(open, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_roles_is_refused_to_it() {
    let db = Database::new().await;
    let owner = db.client("owner").await;
    let folded = owner.query(FOLDED, &[]).await.unwrap();
    let folded: Vec<String> = folded.iter().map(|r| r.get(0)).collect();
    let mut tried = 0;
    for group in groups(&owner).await {
        let login = db.login(&format!("only_{group}"), &group).await;
        let client = db.client(&login).await;
        for row in owner.query(FUNCTIONS, &[&group]).await.unwrap() {
            if row.get("may") || folded.iter().any(|f| f == row.get::<_, &str>("proname")) {
                continue;
            }
            let call = format!(
                "SELECT erasured.{}({})",
                row.get::<_, &str>("proname"),
                row.get::<_, &str>("nulls")
            );
            let refused = client.batch_execute(&call).await.expect_err(&call);
            let code = refused.code().map(|c| c.code().to_owned());
            assert_eq!(code.as_deref(), Some("42501"), "{group}: {call}");
            tried += 1;
        }
    }
    assert!(tried > 50, "only {tried} calls were tried");
}
