//! Reads a database's catalog into a [`Catalog`] value.

use crate::catalog::{
    Access, Catalog, Check, Column, Dialect, ForeignKey, OnDelete, Table, TableKind, Trigger,
};
use crate::name::TableName;
use crate::system::postgres::spared::passes_over;
use deadpool_postgres::GenericClient;
use std::collections::BTreeMap;
use tokio_postgres::{Error, Row};

/// Relations that are ours to look at: no system schemas, no partitions, no temporary tables.
const RELATIONS: &str = "
    pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
    WHERE c.relkind IN ('r','p','v','m','f') AND NOT c.relispartition AND c.relpersistence <> 't'
      AND s.nspname NOT IN ('pg_catalog','information_schema','pg_toast','erasured')
      AND s.nspname NOT LIKE 'pg\\_t%'";

/// Reads the whole catalog in a handful of pipelined statements.
///
/// The session's `search_path` must be `pg_catalog` alone, so that types are spelled in full.
pub async fn read(client: &impl GenericClient, system: &str) -> Result<Catalog, Error> {
    let (about, tables, columns, indexes, checks, triggers, keys, copies, heirs) = tokio::try_join!(
        client.query_one(
            "/* erasured:catalog */ SELECT current_setting('server_version_num')::int4, \
             current_setting('server_encoding') = 'UTF8', EXISTS (SELECT FROM pg_largeobject_metadata AS m \
             WHERE NOT pg_has_role(m.lomowner, 'USAGE')), current_setting('max_prepared_transactions') <> '0'",
            &[]
        ),
        query(client, TABLES),
        query(client, COLUMNS),
        query(client, INDEXES),
        query(client, CHECKS),
        query(client, TRIGGERS),
        query(client, FOREIGN_KEYS),
        query(client, COPIES),
        query(client, HEIRS),
    )?;
    let mut by_name: BTreeMap<TableName, Table> =
        tables.iter().map(|row| (name(row), table(row))).collect();
    for row in &columns {
        edit(&mut by_name, row, |t| t.columns.push(column(row)));
    }
    for row in &indexes {
        edit(&mut by_name, row, |t| index(t, row));
    }
    for row in &checks {
        edit(&mut by_name, row, |t| {
            t.checks.push(Check {
                name: row.get(2),
                columns: row.get(3),
                expression: row.get(4),
            });
        });
    }
    for row in &triggers {
        edit(&mut by_name, row, |t| t.triggers.push(trigger(row)));
    }
    for row in &copies {
        edit(&mut by_name, row, |t| t.copied_into.push(other(row)));
    }
    for row in &heirs {
        edit(&mut by_name, row, |t| t.heir_of.push(other(row)));
    }
    Ok(Catalog {
        system: system.to_owned(),
        dialect: Dialect::Postgres,
        server_version: about.get(0),
        utf8: about.get(1),
        tables: by_name,
        foreign_keys: keys.iter().map(foreign_key).collect(),
        objects_of_others: about.get(2),
        prepares: about.get(3),
    })
}

/// A short text that changes whenever the definition of any table, column, constraint, trigger
/// or rule changes, and costs one statement: as long as it stays the catalog need not be read.
pub async fn stamp(client: &impl GenericClient) -> Result<String, Error> {
    // Before every batch: parsed once a session.
    let statement = client.prepare_cached(STAMP).await?;
    Ok(client.query_one(&statement, &[]).await?.get(0))
}

/// See [`stamp`]; row versions (`xmin`) change with every ALTER. ANALYZE and VACUUM write
/// pg_class in place and leave it alone. Temporary tables, which applications make and drop all
/// day, do not count.
pub const STAMP: &str = "/* erasured:catalog stamp */ WITH ours AS MATERIALIZED (
    SELECT oid FROM pg_class WHERE oid >= 16384 AND relkind IN ('r','p','v','m','f') AND relpersistence <> 't')
  SELECT md5(concat_ws('.',
  (SELECT string_agg(concat_ws(':', c.oid, c.relnamespace, c.relname, c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.relreplident), ',' ORDER BY c.oid)
     FROM pg_class c WHERE c.oid IN (SELECT oid FROM ours)),
  (SELECT concat_ws(':', count(*), sum(hashint8extended(xmin::text::int8, 1) % 1000000007), max(oid::int8))
     FROM pg_constraint WHERE oid >= 16384 AND (conrelid = 0 OR conrelid IN (SELECT oid FROM ours))),
  (SELECT concat_ws(':', count(*), sum(hashint8extended(a.xmin::text::int8, a.attrelid::int8 * 1600 + a.attnum) % 1000000007))
     FROM pg_attribute a WHERE a.attrelid IN (SELECT oid FROM ours)),
  (SELECT concat_ws(':', count(*), sum(hashint8extended(xmin::text::int8, oid::int8) % 1000000007))
     FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM ours)),
  (SELECT concat_ws(':', count(*), sum(hashint8extended(xmin::text::int8, oid::int8) % 1000000007))
     FROM pg_rewrite WHERE ev_class IN (SELECT oid FROM ours)),
  (SELECT concat_ws(':', count(*), sum(hashint8extended(xmin::text::int8, oid::int8) % 1000000007)) FROM pg_proc WHERE oid >= 16384),
  (SELECT string_agg(concat_ws(':', oid, nspname), ',' ORDER BY oid) FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'),
  (SELECT string_agg(concat_ws(':', indexrelid, indrelid, indisvalid, indkey, indpred IS NULL), ',' ORDER BY indexrelid)
     FROM pg_index WHERE indisunique AND indrelid IN (SELECT oid FROM ours)),
  (SELECT string_agg(concat_ws(':', inhrelid, inhparent), ',' ORDER BY inhrelid, inhparent)
     FROM pg_inherits WHERE inhparent IN (SELECT oid FROM ours)),
  (SELECT concat_ws(':', count(*), sum(hashint8extended(xmin::text::int8, oid::int8) % 1000000007)) FROM pg_enum),
  current_setting('session_replication_role'), current_setting('max_prepared_transactions') <> '0',
  (SELECT concat_ws(':', count(*), sum(hashint8extended(xmin::text::int8, oid::int8) % 1000000007)) FROM pg_publication),
  (SELECT concat_ws(':', count(*), sum(hashint8extended(xmin::text::int8, oid::int8) % 1000000007)) FROM pg_publication_namespace),
  (SELECT concat_ws(':', count(*), sum(hashint8extended(xmin::text::int8, oid::int8) % 1000000007)) FROM pg_publication_rel)))";

async fn query(client: &impl GenericClient, body: &str) -> Result<Vec<Row>, Error> {
    let sql = format!(
        "/* erasured:catalog */ {}",
        body.replace("{unpublishable}", UNPUBLISHABLE)
            .replace("{whole}", WHOLE)
            .replace("{relations}", RELATIONS)
    );
    client.query(&sql, &[]).await
}

const COPIES: &str = "
    WITH RECURSIVE made AS (
      SELECT r.ev_class AS view, d.refobjid AS source FROM pg_rewrite r
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
         AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
       WHERE r.ev_class >= 16384
    ), through AS (
      SELECT view, source FROM made
      UNION SELECT t.view, m.source FROM through t JOIN made m ON m.view = t.source)
    SELECT DISTINCT s.nspname::text, c.relname::text, vs.nspname::text, v.relname::text
      FROM through t
      JOIN pg_class v ON v.oid = t.view AND v.relkind = 'm'
      JOIN pg_namespace vs ON vs.oid = v.relnamespace
      JOIN pg_class c ON c.oid = t.source
      JOIN pg_namespace s ON s.oid = c.relnamespace
     ORDER BY 1, 2, 3, 4";

/// What a table inherits from. Partitions are no tables of their own here.
const HEIRS: &str = "
    SELECT s.nspname::text, c.relname::text, ps.nspname::text, p.relname::text
    FROM (SELECT c.oid AS id FROM {relations}) AS ours
    JOIN pg_class c ON c.oid = ours.id
    JOIN pg_namespace s ON s.oid = c.relnamespace
    CROSS JOIN LATERAL (WITH RECURSIVE up AS (SELECT h.inhparent AS oid FROM pg_inherits h WHERE h.inhrelid = c.oid
        UNION SELECT h.inhparent FROM up JOIN pg_inherits h ON h.inhrelid = up.oid) SELECT oid FROM up) AS above
    JOIN pg_class p ON p.oid = above.oid JOIN pg_namespace ps ON ps.oid = p.relnamespace
    ORDER BY 1, 2, 3, 4";

/// Of a table that is dropped at this moment the server knows no rights any more.
const TABLES: &str = "
    SELECT s.nspname::text, c.relname::text, c.relkind::text,
      coalesce(row_security_active(c.oid), false),
      coalesce(has_table_privilege(c.oid, 'SELECT'), false),
      coalesce(has_table_privilege(c.oid, 'UPDATE') OR has_any_column_privilege(c.oid, 'UPDATE'), false),
      coalesce(has_table_privilege(c.oid, 'DELETE'), false),
      coalesce(p.deletes, false), coalesce(p.updates, false),
      EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type IN ('2','4') AND c.relkind IN ('r','p')),
      coalesce(whole.rows, 0), coalesce(whole.bytes, 0),
      c.relkind <> 'p' AND EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid),
      coalesce(has_table_privilege(c.oid, 'INSERT') OR has_any_column_privilege(c.oid, 'INSERT'), false),
      whole.storage, pg_has_role(c.relowner, 'USAGE'),
      CASE WHEN k.partstrat = 'r' AND k.partexprs IS NULL THEN ARRAY(SELECT a.attname::text
        FROM unnest(k.partattrs::int2[]) WITH ORDINALITY AS u(num, n)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.num ORDER BY u.n) ELSE '{}' END
    FROM (SELECT c.oid AS id FROM {relations}) AS ours
    JOIN pg_class c ON c.oid = ours.id
    JOIN pg_namespace s ON s.oid = c.relnamespace
    LEFT JOIN pg_partitioned_table k ON k.partrelid = c.oid
    LEFT JOIN LATERAL ({unpublishable}) AS p ON c.relkind IN ('r','p')
    LEFT JOIN LATERAL ({whole}) AS whole ON true
    WHERE has_table_privilege(c.oid, 'SELECT') IS NOT NULL";

/// A table with its partitions and all that inherit from it: how many rows (never analyzed, by its
/// size), how many bytes, and by what other than the server's own heap any of it is stored.
const WHOLE: &str = "
    WITH RECURSIVE down AS (SELECT c.oid AS id
        UNION SELECT h.inhrelid FROM down JOIN pg_inherits h ON h.inhparent = down.id)
    SELECT sum(CASE WHEN l.relkind = 'p' THEN 0 WHEN l.reltuples < 0 THEN pg_relation_size(l.oid) / 64 ELSE l.reltuples END)::float4 AS rows,
      sum(pg_total_relation_size(l.oid))::int8 AS bytes,
      min(am.amname::text) FILTER (WHERE am.amname <> 'heap') AS storage
    FROM down JOIN pg_class l ON l.oid = down.id LEFT JOIN pg_am am ON am.oid = l.relam";

/// Whether the server would refuse to change rows of `c` because of a publication. It asks where
/// the rows are, in each partition and each table that inherits; there it looks at the
/// publications of that table and of all that it is a partition of.
const UNPUBLISHABLE: &str = "
    WITH RECURSIVE down AS (SELECT c.oid AS id WHERE EXISTS (SELECT FROM pg_publication)
        UNION SELECT h.inhrelid FROM down JOIN pg_inherits h ON h.inhparent = down.id)
    SELECT bool_or(b.pubdelete) AS deletes, bool_or(b.pubupdate) AS updates
    FROM down
    JOIN pg_class l ON l.oid = down.id AND l.relkind = 'r' AND l.relpersistence = 'p'
    CROSS JOIN LATERAL (SELECT array_agg(x.id) AS ids FROM
        (SELECT l.oid AS id UNION SELECT a.relid FROM pg_partition_ancestors(l.oid) AS a) AS x) AS up
    LEFT JOIN LATERAL (SELECT array_agg(a.attname) AS names FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = l.oid AND a.attnum = ANY (i.indkey::int2[])
       WHERE i.indrelid = l.oid AND i.indisvalid AND i.indimmediate
         AND CASE l.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END) AS identity ON true
    JOIN pg_publication b ON b.puballtables
      OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = b.oid AND r.prrelid = ANY (up.ids))
      OR EXISTS (SELECT FROM pg_publication_namespace n JOIN pg_class u ON u.relnamespace = n.pnnspid
                  WHERE n.pnpubid = b.oid AND u.oid = ANY (up.ids))
    WHERE l.relreplident <> 'f' AND identity.names IS NULL
       OR EXISTS (SELECT FROM pg_publication_rel r
        WHERE r.prpubid = b.oid AND (r.prrelid = l.oid OR b.pubviaroot AND r.prrelid = ANY (up.ids))
          AND (l.relreplident <> 'f' AND EXISTS (
              SELECT FROM regexp_matches(r.prqual::text, ':varattno (\\d+)', 'g') AS m
                JOIN pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = m[1]::int2
               WHERE a.attname <> ALL (identity.names))
            OR r.prattrs IS NOT NULL AND (l.relreplident = 'f' OR EXISTS (
              SELECT FROM unnest(identity.names) AS i(name) WHERE i.name <> ALL (
                SELECT a.attname FROM pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs::int2[]))))))";

const COLUMNS: &str = "
    SELECT s.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod),
      b.typname::text, b.typcategory::text,
      CASE WHEN b.typname IN ('varchar','bpchar') AND a.atttypmod > 4 THEN a.atttypmod - 4
           WHEN b.typname IN ('varchar','bpchar') AND t.typtypmod > 4 THEN t.typtypmod - 4 END,
      a.attnotnull OR t.typnotnull, a.attgenerated <> '' OR a.attidentity = 'a',
      NOT coalesce(has_column_privilege(a.attrelid, a.attnum, 'UPDATE'), false),
      ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = b.oid ORDER BY e.enumsortorder)
    FROM pg_attribute a
    JOIN (SELECT c.oid, c.relname, c.relnamespace FROM {relations}) AS c ON c.oid = a.attrelid
    JOIN pg_namespace s ON s.oid = c.relnamespace
    JOIN pg_type t ON t.oid = a.atttypid
    JOIN LATERAL (WITH RECURSIVE up AS (SELECT t.oid, t.typbasetype
                    UNION ALL SELECT n.oid, n.typbasetype FROM up JOIN pg_type n ON n.oid = up.typbasetype)
                  SELECT n.oid, n.typname, n.typcategory FROM up JOIN pg_type n ON n.oid = up.oid
                  WHERE up.typbasetype = 0) AS b ON true
    WHERE a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum";

const INDEXES: &str = "
    SELECT s.nspname::text, c.relname::text, i.indisprimary,
      i.indisunique AND i.indimmediate,
      (SELECT coalesce(array_agg(a.attname::text ORDER BY k.n), '{}')
       FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
       WHERE k.n <= i.indnkeyatts) AS columns,
      am.amname IN ('btree','hash')
    FROM pg_index i
    JOIN (SELECT c.oid, c.relname, c.relnamespace FROM {relations}) AS c ON c.oid = i.indrelid
    JOIN pg_namespace s ON s.oid = c.relnamespace
    JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am am ON am.oid = x.relam
    WHERE i.indisvalid AND i.indpred IS NULL AND NOT 0 = ANY (i.indkey::int2[])
    ORDER BY i.indexrelid";

const CHECKS: &str = "
    SELECT s.nspname::text, c.relname::text, k.conname::text,
      (SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}') FROM pg_attribute a
       WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)),
      pg_get_expr(k.conbin, k.conrelid)
    FROM pg_constraint k
    JOIN (SELECT c.oid, c.relname, c.relnamespace FROM {relations}) AS c ON c.oid = k.conrelid
    JOIN pg_namespace s ON s.oid = c.relnamespace
    WHERE k.contype = 'c' ORDER BY k.oid";

/// A trigger of one partition, or of a table that inherits, fires for rows that are deleted through
/// the table above; one for each statement does not.
const TRIGGERS: &str = "
    SELECT s.nspname::text, c.relname::text,
      g.tgname || CASE WHEN c.oid = g.tgrelid THEN '' ELSE ' of ' || g.tgrelid::regclass END,
      (g.tgtype & 8) <> 0, (g.tgtype & 16) <> 0,
      (g.tgtype & 1) <> 0 AND (g.tgtype & 66) <> 0,
      quote_ident(fs.nspname) || '.' || quote_ident(f.proname),
      coalesce(f.prosrc, ''), f.prosecdef,
      coalesce(substring(pg_get_triggerdef(g.oid) FROM ' WHEN \\((.*)\\) EXECUTE (?:FUNCTION|PROCEDURE) '), ''), session_user::text
    FROM pg_trigger g
    CROSS JOIN LATERAL (WITH RECURSIVE up AS (SELECT g.tgrelid AS oid
        UNION SELECT h.inhparent FROM up JOIN pg_inherits h ON h.inhrelid = up.oid) SELECT oid FROM up) AS above
    JOIN (SELECT c.oid, c.relname, c.relnamespace FROM {relations}) AS c ON c.oid = above.oid
    JOIN pg_namespace s ON s.oid = c.relnamespace
    JOIN pg_proc f ON f.oid = g.tgfoid JOIN pg_namespace fs ON fs.oid = f.pronamespace
    WHERE NOT g.tgisinternal AND g.tgenabled <> 'D' AND g.tgparentid = 0
      AND (c.oid = g.tgrelid OR (g.tgtype & 1) <> 0)
    ORDER BY g.oid, c.oid";

/// A key that refers to a partition, or to a table that inherits, stands once more for each table
/// above it, through which its rows go too.
const FOREIGN_KEYS: &str = "
    SELECT k.conname::text, cs.nspname::text, c.relname::text,
      (SELECT array_agg(a.attname::text ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY u(num, n)
       JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num),
      ps.nspname::text, p.relname::text,
      (SELECT array_agg(a.attname::text ORDER BY u.n) FROM unnest(k.confkey) WITH ORDINALITY u(num, n)
       JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num),
      (SELECT array_agg(format('OPERATOR(%I.%s)', os.nspname, o.oprname) ORDER BY u.n)
       FROM unnest(k.conpfeqop) WITH ORDINALITY u(op, n)
       JOIN pg_operator o ON o.oid = u.op JOIN pg_namespace os ON os.oid = o.oprnamespace),
      k.confdeltype::text,
      k.convalidated AND NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgconstraint = k.oid AND g.tgenabled <> 'A'
        AND g.tgenabled <> CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END),
      k.confmatchtype = 'f',
      (SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}') FROM pg_attribute a
       WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.confdelsetcols))
    FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace cs ON cs.oid = c.relnamespace
    CROSS JOIN LATERAL (WITH RECURSIVE up AS (SELECT k.confrelid AS oid
        UNION SELECT h.inhparent FROM up JOIN pg_inherits h ON h.inhrelid = up.oid) SELECT oid FROM up) AS above
    JOIN pg_class p ON p.oid = above.oid AND NOT p.relispartition JOIN pg_namespace ps ON ps.oid = p.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0
    ORDER BY cs.nspname, c.relname, k.conname";

fn name(row: &Row) -> TableName {
    TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))
}

/// The other table of a row that names two.
fn other(row: &Row) -> TableName {
    TableName::new(row.get::<_, String>(2), row.get::<_, String>(3))
}

fn edit(tables: &mut BTreeMap<TableName, Table>, row: &Row, change: impl FnOnce(&mut Table)) {
    if let Some(table) = tables.get_mut(&name(row)) {
        change(table);
    }
}

fn table(row: &Row) -> Table {
    Table {
        kind: match row.get::<_, &str>(2) {
            "p" => TableKind::Partitioned,
            "v" => TableKind::View,
            "m" => TableKind::MaterializedView,
            "f" => TableKind::Foreign,
            _ => TableKind::Ordinary,
        },
        access: Access {
            rows_hidden: row.get(3),
            select: row.get(4),
            update: row.get(5),
            delete: row.get(6),
            insert: row.get(13),
            owner: row.get(15),
            delete_unpublishable: row.get(7),
            update_unpublishable: row.get(8),
        },
        rewrites: row.get(9),
        size: (row.get::<_, f32>(10).max(0.0), row.get(11)),
        has_heirs: row.get(12),
        storage: row.get(14),
        ranges_of: row.get(16),
        ..Table::default()
    }
}

fn column(row: &Row) -> Column {
    Column {
        name: row.get(2),
        sql_type: row.get(3),
        base: row.get(4),
        category: row.get::<_, &str>(5).chars().next().unwrap_or('U'),
        max_chars: row.get(6),
        not_null: row.get(7),
        generated: row.get(8),
        touched: false,
        denied: row.get(9),
        labels: row.get(10),
    }
}

fn index(table: &mut Table, row: &Row) {
    let columns: Vec<String> = row.get(4);
    if row.get(2) {
        table.primary_key.clone_from(&columns);
    }
    if row.get(3) {
        table.unique.push(columns.clone());
    }
    if row.get(5) {
        table.indexes.push(columns);
    }
}

fn trigger(row: &Row) -> Trigger {
    Trigger {
        name: row.get(2),
        on_delete: row.get(3),
        on_update: row.get(4),
        may_veto: row.get(5),
        function: row.get(6),
        body: row.get(7),
        definer: row.get(8),
        spares: passes_over(row.get(9), row.get(10)),
    }
}

fn foreign_key(row: &Row) -> ForeignKey {
    ForeignKey {
        name: row.get(0),
        child: (
            TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
            row.get(3),
        ),
        parent: (
            TableName::new(row.get::<_, String>(4), row.get::<_, String>(5)),
            row.get(6),
        ),
        equality: row.get(7),
        on_delete: match row.get::<_, &str>(8) {
            "r" => OnDelete::Restrict,
            "c" => OnDelete::Cascade,
            "n" => OnDelete::SetNull,
            "d" => OnDelete::SetDefault,
            _ => OnDelete::NoAction,
        },
        enforced: row.get(9),
        match_full: row.get(10),
        sets: row.get(11),
    }
}
