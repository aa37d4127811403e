//! Partitions that go whole: which there are, detaching one without standing in anybody's way, and the one
//! transaction that counts it, says so, and drops it.
//!
//! DETACH CONCURRENTLY is no part of a transaction. So a note is committed before it, and the note ends with
//! the transaction that drops the table, or attaches it again: a table without a note is never touched, and
//! one with a note is finished by whoever comes next, wherever the last one died.

use super::due::query;
use super::execute::{BeforeChange, NotErased, RECORD, Timeouts, Unanswered, not_committed};
use super::quote::identifier;
use crate::name::TableName;
use crate::plan::{ChangeKind, Counts, Statement, Whole};
use crate::policy::retention::Partitions;
use chrono::NaiveDate;
use deadpool_postgres::{Client, Object, Transaction};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// How a partition stands to its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is one.
    Attached,
    /// DETACH CONCURRENTLY was cut off: its rows are not seen through the table any more.
    Pending,
    /// It is a table of its own.
    Detached,
    /// The note names a table that is not there under that name.
    Missing,
}

/// A partition, or what a note says was one.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its number in the catalog.
    pub oid: u32,
    /// Its name.
    pub table: TableName,
    /// Its range, as the server writes it with ISO dates in UTC.
    pub bound: String,
    /// How it stands.
    pub standing: Standing,
    /// A rule is taking it away: subject and name.
    pub noted: Option<(String, String)>,
    /// Its table has a DEFAULT partition, so it cannot be detached concurrently.
    pub beside_default: bool,
    /// Why it cannot go whole.
    pub unfit: Option<&'static str>,
}

/// All partitions of a table, and those that notes say were.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn parts(
    client: &mut Client,
    parent: &TableName,
    timeouts: Timeouts,
) -> Result<Vec<Part>, NotErased> {
    let tx = client.build_transaction().read_only(true).start().await?;
    settings(&tx, timeouts).await?;
    let rows = tx
        .query(PARTS, &[&parent.schema, &parent.table, &quoted(parent)])
        .await?;
    tx.rollback().await?;
    let part = |row: &tokio_postgres::Row| Part {
        oid: row.get(0),
        table: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
        bound: row.get(3),
        standing: match row.get(4) {
            "attached" => Standing::Attached,
            "pending" => Standing::Pending,
            "detached" => Standing::Detached,
            _ => Standing::Missing,
        },
        noted: row.get::<_, Option<String>>(5).zip(row.get(6)),
        beside_default: row.get(7),
        unfit: match row.get::<_, Option<&str>>(8) {
            None => None,
            Some("kind") => Some("it is partitioned itself, or a foreign table"),
            Some("owner") => Some("the daemon's role has not its owner's rights"),
            Some("published") => Some("it is published, and who subscribes would keep its rows"),
            Some(_) => Some("a view or a function reads it by its own name"),
        },
    };
    Ok(rows.iter().map(part).collect())
}

/// What each of them takes up on disk, with its indexes; nothing for one that is gone by now.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn sizes(
    client: &mut Client,
    parts: &[Part],
    timeouts: Timeouts,
) -> Result<Vec<i64>, NotErased> {
    let tx = begin(client, timeouts).await?;
    let oids: Vec<u32> = parts.iter().map(|part| part.oid).collect();
    let rows = tx.query(SIZES, &[&oids]).await?;
    tx.rollback().await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// A partition that a rule is taking away, or has not finished with: its table, its name, subject and rule.
pub type Unfinished = (String, String, String, String);

/// What notes there are; none where this login may not read them.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn unfinished(client: &Client) -> Result<Vec<Unfinished>, NotErased> {
    if !client.query_one(MAY_READ, &[]).await?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let rows = client.query(NOTES, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect())
}

/// What is to be done with a partition, and for whom.
pub struct Leaving<'a> {
    /// The system's name.
    pub system: &'a str,
    /// The table.
    pub parent: &'a TableName,
    /// Its partition.
    pub part: &'a Part,
    /// Dropped, or left as a table.
    pub how: Partitions,
    /// Counts its rows, and those that are due; their first and last day.
    pub count: &'a Statement,
    /// The first and the last day that its range takes in.
    pub range: Option<(NaiveDate, NaiveDate)>,
    /// Names this in the target's own rows.
    pub step: Uuid,
    /// The run.
    pub run: Uuid,
    /// Bounds.
    pub timeouts: Timeouts,
}

/// Notes that a rule takes this partition away, and detaches it concurrently. Whoever still uses the table is
/// waited for, no longer than `patience`: how it stands afterwards must be looked at.
///
/// # Errors
/// [`NotErased`]: it may have been detached all the same, or in part.
pub async fn detach(
    mut client: Client,
    other: &Client,
    leaving: &Leaving<'_>,
    (subject, rule): (&str, &str),
    stamp: &str,
    patience: Duration,
) -> Result<(), NotErased> {
    let tx = client.transaction().await?;
    settings(&tx, leaving.timeouts).await?;
    if super::catalog::stamp(&tx).await? != stamp {
        let system = leaving.system.to_owned();
        return Err(NotErased::Drift { system });
    }
    let part = leaving.part;
    let (name, parent) = (quoted(&part.table), quoted(leaving.parent));
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&part.oid, &name, &parent, &part.bound, &subject, &rule];
    let session: i32 = tx.query_one(NOTE, &values).await?.get(0);
    tx.commit().await?;
    fail::fail_point!("partition-noted", |_| std::process::abort());
    let sql =
        format!("/* erasured:detach */ ALTER TABLE {parent} DETACH PARTITION {name} CONCURRENTLY");
    let detached = {
        let mut detaching = std::pin::pin!(client.batch_execute(&sql));
        tokio::select! {
            detached = &mut detaching => detached,
            () = tokio::time::sleep(patience) => {
                other.query(CANCEL, &[&session]).await?;
                detaching.await
            }
        }
    };
    // The note names this session, which is to be gone when somebody asks whether it is still at it.
    drop(Object::take(client));
    fail::fail_point!("partition-detached", |_| std::process::abort());
    Ok(detached?)
}

/// Ends the session that made a note, should it still be at work; whether it was there.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn end_session(client: &Client, part: &Part) -> Result<bool, NotErased> {
    let ended = client.query(END, &[&part.oid]).await?;
    Ok(!ended.is_empty())
}

/// Takes back the note of a partition that was not detached, or is not there any more.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn forget(client: &Client, part: &Part) -> Result<(), NotErased> {
    client.execute(FORGET, &[&part.oid]).await?;
    Ok(())
}

/// Ends what a DETACH CONCURRENTLY that was cut off has begun.
///
/// # Errors
/// [`NotErased`].
pub async fn finalize(client: &mut Client, leaving: &Leaving<'_>) -> Result<(), NotErased> {
    let (parent, part) = (quoted(leaving.parent), quoted(&leaving.part.table));
    let tx = begin(client, leaving.timeouts).await?;
    tx.batch_execute(&format!(
        "/* erasured:finalize */ ALTER TABLE {parent} DETACH PARTITION {part} FINALIZE"
    ))
    .await?;
    Ok(tx.commit().await?)
}

/// Makes a detached table the partition again that it was.
///
/// # Errors
/// [`NotErased`].
pub async fn attach(client: &mut Client, leaving: &Leaving<'_>) -> Result<(), NotErased> {
    let (parent, part) = (quoted(leaving.parent), quoted(&leaving.part.table));
    let tx = begin(client, leaving.timeouts).await?;
    tx.batch_execute(&format!(
        "/* erasured:attach */ ALTER TABLE {parent} ATTACH PARTITION {part} {}",
        leaving.part.bound
    ))
    .await?;
    tx.execute(FORGET, &[&leaving.part.oid]).await?;
    Ok(tx.commit().await?)
}

/// In one transaction: shuts the table, counts its rows, writes down that they are gone, asks for the last
/// word, and drops it. One that is attached still is shut to writers only, and detached at the end.
///
/// # Errors
/// [`NotErased`]; but for [`NotErased::CommitUnknown`] nothing has happened.
pub async fn go(
    client: &mut Client,
    leaving: &Leaving<'_>,
    word: &mut dyn BeforeChange,
) -> Result<Counts, NotErased> {
    let attached = leaving.part.standing == Standing::Attached;
    let (parent, part) = (quoted(leaving.parent), quoted(&leaving.part.table));
    let tx = begin(client, leaving.timeouts).await?;
    let mode = if attached {
        "SHARE"
    } else {
        "ACCESS EXCLUSIVE"
    };
    tx.batch_execute(&format!(
        "/* erasured:lock */ LOCK TABLE ONLY {part} IN {mode} MODE"
    ))
    .await?;
    stands_as_before(&tx, leaving).await?;
    let counted = query(&tx, leaving.count, &[]).await?;
    let (all, due): (i64, i64) = counted.first().map_or((0, 0), |r| (r.get(0), r.get(1)));
    let days = counted
        .first()
        .and_then(|r| r.get::<_, Option<_>>(2).zip(r.get(3)));
    if all != due {
        return Err(NotErased::Residual {
            table: leaving.part.table.clone(),
            label: "rows that are not due stand in a partition whose range is".into(),
            rows: all - due,
        });
    }
    if !attached && tx.execute(FORGET, &[&leaving.part.oid]).await? != 1 {
        return Err(overtaken());
    }
    let counts = counts(leaving, all, days);
    record(&tx, leaving, &counts).await?;
    fail::fail_point!("partition-before-commit", |_| std::process::abort());
    let unanswered = Unanswered::of(&tx).await?;
    word.last_word().await?;
    // Only now: this takes locks on other tables, if for a moment.
    if attached {
        tx.batch_execute(&format!(
            "/* erasured:detach */ ALTER TABLE {parent} DETACH PARTITION {part}"
        ))
        .await?;
    }
    if leaving.how == Partitions::Drop {
        tx.batch_execute(&format!("/* erasured:drop */ DROP TABLE {part}"))
            .await?;
    }
    let committed = tx.commit().await;
    committed.map_err(|e| not_committed(e, &unanswered))?;
    word.committed().await;
    fail::fail_point!("partition-gone", |how: Option<String>| {
        if how.as_deref() == Some("abort") {
            std::process::abort();
        }
        Err(NotErased::CommitUnknown(unanswered))
    });
    Ok(counts)
}

/// Under the lock: the name still is that table's, and it stands as it was found.
async fn stands_as_before(tx: &Transaction<'_>, leaving: &Leaving<'_>) -> Result<(), NotErased> {
    let name = quoted(&leaving.part.table);
    let row = tx.query_one(STANDS, &[&name]).await?;
    let attached = leaving.part.standing == Standing::Attached;
    if row.get::<_, u32>(0) == leaving.part.oid && row.get::<_, bool>(1) == attached {
        Ok(())
    } else {
        Err(overtaken())
    }
}

fn overtaken() -> NotErased {
    NotErased::Hook("somebody else has changed the partition meanwhile".into())
}

fn counts(leaving: &Leaving<'_>, rows: i64, days: Option<(NaiveDate, NaiveDate)>) -> Counts {
    let kind = match leaving.how {
        Partitions::Drop => ChangeKind::Deleted,
        Partitions::Detach => ChangeKind::Detached,
    };
    let whole = Whole {
        kind,
        rows,
        range: leaving.range,
    };
    Counts {
        changed: BTreeMap::from([(leaving.parent.to_string(), BTreeMap::from([(kind, rows)]))]),
        partitions: BTreeMap::from([(leaving.part.table.to_string(), whole)]),
        days,
        ..Counts::default()
    }
}

async fn record(
    tx: &Transaction<'_>,
    leaving: &Leaving<'_>,
    counts: &Counts,
) -> Result<(), NotErased> {
    let counts = serde_json::to_value(counts).expect("counts are always JSON");
    tx.execute(
        RECORD,
        &[
            &vec![leaving.step],
            &vec![0],
            &vec![counts],
            &leaving.system,
            &leaving.run,
        ],
    )
    .await?;
    Ok(())
}

async fn begin(client: &mut Client, timeouts: Timeouts) -> Result<Transaction<'_>, NotErased> {
    let tx = client.transaction().await?;
    settings(&tx, timeouts).await?;
    Ok(tx)
}

async fn settings(tx: &Transaction<'_>, timeouts: Timeouts) -> Result<(), NotErased> {
    tx.batch_execute(&format!(
        "/* erasured:settings */ SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL row_security = off; \
         SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL synchronous_commit = on; \
         SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; \
         SET LOCAL idle_in_transaction_session_timeout = {}",
        timeouts.lock.as_millis(),
        timeouts.statement.as_millis(),
        timeouts.idle.as_millis(),
    ))
    .await?;
    Ok(())
}

fn quoted(table: &TableName) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.table))
}

/// Notes know a table by its number and its name: a restored database has other numbers, and a renamed table
/// is somebody's decision.
const PARTS: &str = "/* erasured:partitions */ WITH parent AS (
    SELECT c.oid, k.partdefid <> 0 AS has_default FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
      JOIN pg_partitioned_table k ON k.partrelid = c.oid WHERE s.nspname = $1 AND c.relname = $2
  ), named AS (
    SELECT c.oid, s.nspname, c.relname, c.relkind, c.relowner, c.relpartbound,
      '\"' || replace(s.nspname, '\"', '\"\"') || '\".\"' || replace(c.relname, '\"', '\"\"') || '\"' AS name
      FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
  )
  SELECT coalesce(c.oid, n.partition), coalesce(c.nspname::text, ''), coalesce(c.relname::text, n.name),
      coalesce(n.bound, pg_get_expr(c.relpartbound, c.oid)),
      CASE WHEN c.oid IS NULL THEN 'missing' WHEN i.inhrelid IS NULL THEN 'detached'
           WHEN i.inhdetachpending THEN 'pending' ELSE 'attached' END,
      n.subject, n.rule, p.has_default,
      CASE WHEN c.relkind <> 'r' THEN 'kind'
           WHEN NOT pg_has_role(c.relowner, 'USAGE') THEN 'owner'
           WHEN EXISTS (SELECT FROM pg_publication b JOIN pg_publication_tables t ON t.pubname = b.pubname
             JOIN named l ON l.nspname = t.schemaname AND l.relname = t.tablename
             WHERE b.pubdelete AND (l.oid = c.oid OR l.oid IN (SELECT relid FROM pg_partition_ancestors(c.oid)))) THEN 'published'
           WHEN EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
             AND d.deptype = 'n' AND d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass)) THEN 'read' END
    FROM parent p
    CROSS JOIN LATERAL (
      SELECT i.inhrelid AS oid FROM pg_inherits i WHERE i.inhparent = p.oid
      UNION SELECT n.partition FROM erasured.leaving_partition n WHERE n.parent = $3) AS every
    LEFT JOIN erasured.leaving_partition n ON n.partition = every.oid AND n.parent = $3
    LEFT JOIN named c ON c.oid = every.oid AND (n.partition IS NULL OR n.name = c.name)
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = p.oid
   ORDER BY 4, 1";

const SIZES: &str = "/* erasured:partitions */ SELECT coalesce(pg_total_relation_size(p.oid), 0) \
     FROM unnest($1::oid[]) WITH ORDINALITY AS p (oid, n) ORDER BY p.n";

const NOTE: &str = "/* erasured:note */ INSERT INTO erasured.leaving_partition (partition, name, parent, bound, subject, rule, backend_started)
    SELECT $1, $2, $3, $4, $5, $6, (SELECT a.backend_start FROM pg_stat_activity a WHERE a.pid = pg_backend_pid())
    RETURNING backend";

const MAY_READ: &str = "/* erasured:note */ SELECT coalesce((SELECT pg_catalog.has_table_privilege(c.oid, 'SELECT')
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
   WHERE n.nspname OPERATOR(pg_catalog.=) 'erasured' AND c.relname OPERATOR(pg_catalog.=) 'leaving_partition'), false)";

const NOTES: &str = "/* erasured:note */ SELECT parent, name, subject, rule FROM erasured.leaving_partition ORDER BY parent, name";

const FORGET: &str = "/* erasured:note */ DELETE FROM erasured.leaving_partition WHERE partition OPERATOR(pg_catalog.=) $1";

const CANCEL: &str = "/* erasured:cancel */ SELECT pg_catalog.pg_cancel_backend($1)";

/// The number of a session may be another's by now.
const END: &str = "/* erasured:unanswered */ SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a \
     JOIN erasured.leaving_partition AS n ON a.pid OPERATOR(pg_catalog.=) n.backend AND a.backend_start OPERATOR(pg_catalog.=) n.backend_started \
     WHERE n.partition OPERATOR(pg_catalog.=) $1";

const STANDS: &str = "/* erasured:partitions */ SELECT $1::text::regclass::oid, EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = $1::text::regclass)";
