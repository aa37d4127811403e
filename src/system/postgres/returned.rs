//! Which tables, as they are read, hold the rows of a table.

use crate::name::TableName;
use deadpool_postgres::ClientWrapper;

/// The table's own number and those of its partitions.
///
/// # Errors
/// What the server says.
pub async fn parts(
    client: &ClientWrapper,
    table: &TableName,
) -> Result<Vec<u32>, tokio_postgres::Error> {
    let rows = client.query(PARTS, &[&table.schema, &table.table]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

const PARTS: &str = "/* erasured:parts */ SELECT p.oid FROM pg_catalog.pg_class AS c \
     JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
     CROSS JOIN LATERAL (SELECT c.oid UNION SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree(c.oid) AS t) AS p (oid) \
     WHERE n.nspname OPERATOR(pg_catalog.=) $1 AND c.relname OPERATOR(pg_catalog.=) $2";
