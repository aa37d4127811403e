//! Our own table on a server.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

const APPLIED_STEP: &str = include_str!("../../../sql/mariadb/applied_step.sql");

/// Makes the database `erasured` and its table where they are not there; how many things it made.
///
/// # Errors
/// The server's.
pub async fn migrate(conn: &mut Conn) -> Result<usize, Error> {
    conn.query_drop("CREATE DATABASE IF NOT EXISTS erasured CHARACTER SET utf8mb4")
        .await?;
    if is_there(conn).await? {
        return Ok(0);
    }
    conn.query_drop(APPLIED_STEP).await?;
    Ok(1)
}

/// Whether our table is there, as far as the login may see it.
///
/// # Errors
/// The server's.
pub(super) async fn is_there(conn: &mut Conn) -> Result<bool, Error> {
    let found: Option<i64> = conn
        .query_first(
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'erasured' \
             AND TABLE_NAME = 'applied_step' AND ENGINE = 'InnoDB'",
        )
        .await?;
    Ok(found == Some(1))
}

/// Which of the rights on our table the login lacks.
///
/// # Errors
/// The server's.
pub(super) async fn rights_lacking(conn: &mut Conn) -> Result<Vec<&'static str>, Error> {
    let granted: Option<String> = conn
        .query_first(
            "SELECT PRIVILEGES FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'erasured' \
             AND TABLE_NAME = 'applied_step' AND COLUMN_NAME = 'counts'",
        )
        .await?;
    let granted = granted.unwrap_or_default();
    let rights = [("select", "SELECT"), ("insert", "INSERT")];
    let lacking = rights.iter().filter(|(right, _)| !granted.contains(right));
    Ok(lacking.map(|(_, right)| *right).collect())
}
