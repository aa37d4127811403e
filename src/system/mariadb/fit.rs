//! Whether a server is as the erasure needs it.

use super::{catalog, migrate};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

/// What must be mended before anything is erased there, and how; empty if nothing.
///
/// # Errors
/// The server's.
pub(super) async fn misfits(conn: &mut Conn) -> Result<Vec<(String, String)>, Error> {
    let hidden = catalog::hidden(conn).await?;
    let mut misfits: Vec<(String, String)> = hidden
        .into_iter()
        .map(|what| {
            let (what, grant) = what
                .split_once(": ")
                .map_or((what.as_str(), ""), |(a, b)| (a, b));
            (
                format!(
                    "the login may not see {what}: what hangs on a person there would be missed"
                ),
                format!("{grant} TO the login itself, not to a role of it"),
            )
        })
        .collect();
    let logs: Option<i64> = conn
        .query_first("SELECT @@log_bin AND @@session.binlog_format = 'STATEMENT'")
        .await?;
    if logs == Some(1) {
        misfits.push((
            "binlog_format is STATEMENT, under which the server refuses every change of a READ COMMITTED transaction".into(),
            "set binlog_format = MIXED or ROW".into(),
        ));
    }
    if !migrate::is_there(conn).await? {
        misfits.push((
            "the table erasured.applied_step is not there, or the login may not see it".into(),
            "run `erasured migrate --only NAME` as somebody who may create a database, then GRANT SELECT, INSERT ON erasured.applied_step".into(),
        ));
    } else if let lacks @ [_, ..] = migrate::rights_lacking(conn).await?.as_slice() {
        let lacks = lacks.join(", ");
        misfits.push((
            format!("the login lacks {lacks} on erasured.applied_step"),
            format!("GRANT {lacks} ON erasured.applied_step TO the login"),
        ));
    }
    Ok(misfits)
}
