//! Looking at samples of rows for a draft: short read-only transactions, a bounded number of
//! rows, and nothing of what was read leaves this file but verdicts and counts.

use super::failure;
use super::quote::{comment, identifier};
use super::sweep::Timeouts;
use crate::catalog::{Catalog, Table};
use crate::discovery::{self, Candidate, Kinds, Observed, Pair, Questions, Share, Target};
use crate::name::TableName;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Row};
use zeroize::Zeroizing;

/// Rows whose contents are looked at.
const ROWS: u32 = 200;
/// Rows by which a link is measured.
const LINK_ROWS: u32 = 1_000;
/// Characters of a value that are looked at.
const CHARS: u32 = 400;
/// Tables with more rows than this are sampled by blocks.
const LARGE: f32 = 20_000.0;
/// After so long nothing more is asked.
const ALL: Duration = Duration::from_secs(120);

/// Asks all that is worth asking. What cannot be had is left out, with the reason where a person
/// should know it.
///
/// # Errors
/// None of the database's: they are what is left out. Only a connection that is gone.
pub async fn observe(
    client: &Client,
    catalog: &Catalog,
    questions: &Questions,
    timeouts: Timeouts,
) -> Result<Observed, tokio_postgres::Error> {
    let asker = Asker {
        client,
        catalog,
        begin: timeouts.begin(),
        until: Instant::now() + ALL,
    };
    let mut observed = Observed::default();
    for link in &questions.links {
        if let Some(share) = asker.share(&questions.root, link).await? {
            observed.shares.insert(link.clone(), share);
        }
    }
    for pair in &questions.pairs {
        if let Some(kinds) = asker.kinds(pair).await? {
            observed.kinds.insert(pair.clone(), kinds);
        }
    }
    for (table, columns) in &questions.contents {
        asker.contents(table, columns, &mut observed).await?;
    }
    Ok(observed)
}

struct Asker<'a> {
    client: &'a Client,
    catalog: &'a Catalog,
    begin: String,
    until: Instant,
}

impl Asker<'_> {
    /// One statement in a transaction of its own; the error in our words.
    async fn ask(&self, sql: &str) -> Result<Result<Vec<Row>, String>, tokio_postgres::Error> {
        if Instant::now() >= self.until {
            return Ok(Err("the time for samples was over".into()));
        }
        self.client.batch_execute(&self.begin).await?;
        let answer = self.client.query(sql, &[]).await;
        self.client.batch_execute("ROLLBACK").await?;
        Ok(answer.map_err(|e| failure::describe(&e)))
    }

    async fn share(
        &self,
        root: &TableName,
        link: &Candidate,
    ) -> Result<Option<Share>, tokio_postgres::Error> {
        let sql = share_sql(self.catalog, root, link);
        let rows = self.ask(&sql).await?;
        let count = |row: &Row, at| row.get::<_, i64>(at).max(0).unsigned_abs();
        Ok(rows.ok().and_then(|rows| {
            let row = rows.first()?;
            Some(Share {
                sampled: count(row, 0),
                matched: count(row, 1),
            })
        }))
    }

    async fn kinds(&self, pair: &Pair) -> Result<Option<Kinds>, tokio_postgres::Error> {
        let sql = kinds_sql(self.catalog, pair);
        let Ok(rows) = self.ask(&sql).await? else {
            return Ok(None);
        };
        let values: Vec<Zeroizing<String>> =
            rows.iter().map(|row| Zeroizing::new(row.get(0))).collect();
        Ok(Some(discovery::kinds(
            values.iter().map(|v| v.as_str()),
            self.catalog,
        )))
    }

    async fn contents(
        &self,
        table: &TableName,
        columns: &[String],
        observed: &mut Observed,
    ) -> Result<(), tokio_postgres::Error> {
        let rows = match self
            .ask(&contents_sql(self.catalog, table, columns))
            .await?
        {
            Ok(rows) => rows,
            Err(why) => {
                observed.unread.insert(table.clone(), why);
                return Ok(());
            }
        };
        for (at, column) in columns.iter().enumerate() {
            let values: Vec<Zeroizing<String>> = rows
                .iter()
                .filter_map(|row| row.get::<_, Option<String>>(at))
                .map(Zeroizing::new)
                .collect();
            if let Some(content) = discovery::look(values.iter().map(|v| v.as_str())) {
                let place = (table.clone(), column.clone());
                observed.contents.insert(place, content);
            }
        }
        Ok(())
    }
}

fn named(table: &TableName) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.table))
}

/// The table as `t`, or of a large one as many blocks as will hold some more rows than these. The
/// same blocks each time, so that two drafts of one database are alike.
fn sample(catalog: &Catalog, table: &TableName, rows: u32) -> String {
    let size = catalog.tables.get(table).map_or(0.0, |t: &Table| t.size.0);
    let name = format!("{} AS t", named(table));
    if size <= LARGE {
        return name;
    }
    let percent = (f64::from(rows) * 1_000.0 / f64::from(size)).clamp(0.001, 100.0);
    format!("{name} TABLESAMPLE SYSTEM ({percent:.4}) REPEATABLE (1)")
}

fn contents_sql(catalog: &Catalog, table: &TableName, columns: &[String]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|c| {
            format!(
                "pg_catalog.left(t.{}::pg_catalog.text, {CHARS})",
                identifier(c)
            )
        })
        .collect();
    format!(
        "/* erasured:discover {} */ SELECT {} FROM {} LIMIT {ROWS}",
        comment(&table.table),
        columns.join(", "),
        sample(catalog, table, ROWS)
    )
}

fn share_sql(catalog: &Catalog, root: &TableName, link: &Candidate) -> String {
    let column = identifier(&link.column);
    let other = identifier(link.target.column());
    let base = |table: &TableName, column: &str| {
        let table = catalog.tables.get(table)?;
        table.column(column).map(|c| c.base.clone())
    };
    // As they are where an index can serve, else as texts, in small letters for identifiers.
    const PLAIN: &[&str] = &[
        "int2", "int4", "int8", "uuid", "text", "varchar", "bpchar", "numeric",
    ];
    let alike = base(&link.table, &link.column)
        .filter(|b| PLAIN.contains(&b.as_str()))
        .is_some_and(|b| base(root, link.target.column()).is_some_and(|o| o == b));
    let side = |value: String| match &link.target {
        Target::Key { .. } if alike => value,
        Target::Key { .. } => format!("{value}::pg_catalog.text"),
        Target::Identifier { .. } => format!("pg_catalog.lower({value}::pg_catalog.text)"),
    };
    format!(
        "/* erasured:discover {} */ SELECT count(*), count(*) FILTER (WHERE EXISTS \
         (SELECT FROM {} AS r WHERE {} OPERATOR(pg_catalog.=) {})) \
         FROM (SELECT t.{column} AS v FROM {} WHERE t.{column} IS NOT NULL LIMIT {LINK_ROWS}) AS s",
        comment(&link.table.table),
        named(root),
        side(format!("r.{other}")),
        side("s.v".into()),
        sample(catalog, &link.table, LINK_ROWS),
    )
}

fn kinds_sql(catalog: &Catalog, pair: &Pair) -> String {
    let column = identifier(&pair.kind);
    format!(
        "/* erasured:discover {} */ SELECT s.v FROM (SELECT t.{column}::pg_catalog.text AS v FROM {} \
         WHERE t.{column} IS NOT NULL LIMIT {LINK_ROWS}) AS s GROUP BY s.v ORDER BY s.v LIMIT {}",
        comment(&pair.table.table),
        sample(catalog, &pair.table, LINK_ROWS),
        discovery::MOST_KINDS + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names_and_large_tables_are_sampled() {
        let table = TableName::new("s", "t\"; DROP TABLE x; /* */ --\n");
        let mut catalog = Catalog::default();
        let large = Table {
            size: (5_000_000.0, 0),
            ..Table::default()
        };
        catalog.tables.insert(table.clone(), large);
        let sql = contents_sql(&catalog, &table, &["a\"b".into()]);
        assert_eq!(
            sql,
            "/* erasured:discover t\"; DROP TABLE x; __ __ --  */ SELECT \
             pg_catalog.left(t.\"a\"\"b\"::pg_catalog.text, 400) FROM \
             \"s\".\"t\"\"; DROP TABLE x; /* */ --\n\" AS t \
             TABLESAMPLE SYSTEM (0.0400) REPEATABLE (1) LIMIT 200"
        );
    }
}
