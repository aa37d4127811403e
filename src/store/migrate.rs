//! The versions of our two schemas: `sql/control` and `sql/target`.

use super::{Result, StoreError};
use crate::system::postgres::connect::through_pooler;
use refinery::{Migration, Runner};
use tokio_postgres::Client;

const CONTROL: &[(&str, &str)] = &[
    (
        "V1__control",
        include_str!("../../sql/control/V1__control.sql"),
    ),
    ("V2__desk", include_str!("../../sql/control/V2__desk.sql")),
    (
        "V3__identity",
        include_str!("../../sql/control/V3__identity.sql"),
    ),
    ("V4__holds", include_str!("../../sql/control/V4__holds.sql")),
    ("V5__clock", include_str!("../../sql/control/V5__clock.sql")),
    (
        "V6__outbox",
        include_str!("../../sql/control/V6__outbox.sql"),
    ),
    (
        "V7__retention",
        include_str!("../../sql/control/V7__retention.sql"),
    ),
    (
        "V8__systems",
        include_str!("../../sql/control/V8__systems.sql"),
    ),
];
const TARGET: &[(&str, &str)] = &[(
    "V1__applied_step",
    include_str!("../../sql/target/V1__applied_step.sql"),
)];

/// Brings the control schema to this program's version; returns how many migrations ran.
pub async fn migrate(client: &mut Client) -> Result<usize> {
    run(client, CONTROL, "erasured.control_history").await
}

/// Brings the small schema in a target to this program's version; returns how many ran.
pub async fn migrate_target(client: &mut Client) -> Result<usize> {
    run(client, TARGET, "erasured.target_history").await
}

/// Refuses a control schema that is older or newer than this program, or not of its making.
pub async fn check_version(client: &Client) -> Result<()> {
    let exists: bool = client
        .query_one("/* erasured:check_version */ SELECT to_regclass('erasured.control_history') IS NOT NULL", &[])
        .await?
        .get(0);
    if !exists {
        return Err(StoreError::Version(
            "the control database has no schema of ours: run `erasured migrate` as its owner"
                .into(),
        ));
    }
    let applied = client
        .query(
            "/* erasured:check_version */ SELECT version, name, checksum FROM erasured.control_history ORDER BY version",
            &[],
        )
        .await?;
    let ours = migrations(CONTROL)?;
    for (row, known) in applied.iter().zip(&ours) {
        if row.get::<_, i32>(0) != known.version()
            || row.get::<_, String>(2) != known.checksum().to_string()
        {
            return Err(StoreError::Version(format!(
                "migration {} of the control schema is not the one this program knows",
                row.get::<_, i32>(0)
            )));
        }
    }
    match applied.len().cmp(&ours.len()) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(StoreError::Version(format!(
            "the control schema is at version {}, this program needs {}: run `erasured migrate`",
            applied.len(),
            ours.len()
        ))),
        std::cmp::Ordering::Greater => Err(StoreError::Version(format!(
            "the control schema is at version {}, newer than this program's {}: upgrade the program",
            applied.len(),
            ours.len()
        ))),
    }
}

/// What keeps this login from recording its steps in a target, if anything does.
pub async fn target_problem(client: &Client) -> Result<Option<String>> {
    // From the catalog: a name in a schema that may not be used is an error, not an answer.
    let row = client
        .query_one(
            "/* erasured:check_version */ SELECT count(*) > 0, \
             coalesce(bool_and(pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
               AND pg_catalog.has_table_privilege(c.oid, 'SELECT') \
               AND pg_catalog.has_table_privilege(c.oid, 'INSERT')), false) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = 'erasured' AND c.relname = 'applied_step'",
            &[],
        )
        .await?;
    Ok(match (row.get(0), row.get(1)) {
        (true, true) => None,
        (true, false) => Some("this login may not read and append erasured.applied_step".into()),
        (false, _) => Some("the table erasured.applied_step is not there".into()),
    })
}

async fn run(client: &mut Client, known: &[(&str, &str)], history: &str) -> Result<usize> {
    // Two that migrate at once would both find the same migrations missing. Behind a pooler the lock
    // could be stranded in somebody else's session; there the second of two fails, with nothing done.
    let lock = if through_pooler(client).await? {
        ["", ""]
    } else {
        [
            "SELECT pg_advisory_lock(hashtextextended('erasured.migrate', 0));",
            "SELECT pg_advisory_unlock(hashtextextended('erasured.migrate', 0))",
        ]
    };
    client
        .batch_execute(&format!(
            "/* erasured:migrate */ {} CREATE SCHEMA IF NOT EXISTS erasured",
            lock[0]
        ))
        .await?;
    let mut runner = Runner::new(&migrations(known)?)
        .set_grouped(true)
        .set_abort_divergent(true)
        .set_abort_missing(true);
    runner.set_migration_table_name(history);
    let report = runner.run_async(client).await;
    // A lock left behind goes with the session.
    let unlocked = client
        .batch_execute(&format!("/* erasured:migrate */ {}", lock[1]))
        .await;
    let report = report.map_err(|e| StoreError::Migration(chain(&e)))?;
    unlocked?;
    Ok(report.applied_migrations().len())
}

fn migrations(known: &[(&str, &str)]) -> Result<Vec<Migration>> {
    known
        .iter()
        .map(|(name, sql)| {
            Migration::unapplied(name, sql).map_err(|e| StoreError::Migration(e.to_string()))
        })
        .collect()
}

/// An error with its causes; migrations carry no personal data.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text.push_str(": ");
        text.push_str(&e.to_string());
        if let Some(db) = e
            .downcast_ref::<tokio_postgres::Error>()
            .and_then(|e| e.as_db_error())
        {
            text.push_str(&format!(": {}", db.message()));
        }
        cause = e.source();
    }
    text
}
