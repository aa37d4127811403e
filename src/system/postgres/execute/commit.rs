//! The end of a transaction that has written down what it did.

use super::{BeforeChange, Execution, NotErased, Unanswered};
use deadpool_postgres::Transaction;

impl Execution<'_> {
    /// The end of a transaction that has written down what it did: the last word, and COMMIT. What the
    /// server says of it.
    pub(super) async fn commit(
        &self,
        tx: Transaction<'_>,
        before_change: &mut dyn BeforeChange,
    ) -> Result<tokio_postgres::Row, NotErased> {
        fail::fail_point!("before-commit", |how: Option<String>| {
            die_if_told(how);
            Err(NotErased::Hook("failpoint before-commit".into()))
        });
        let about = tx.prepare_cached(ABOUT).await?;
        let about = tx.query_one(&about, &[]).await?;
        let unanswered = Unanswered::of(&tx).await?;
        before_change.last_word().await?;
        fail::fail_point!("after-last-word");
        let committed = tx.commit().await;
        committed.map_err(|e| not_committed(e, &unanswered))?;
        before_change.committed().await;
        fail::fail_point!("after-commit", |how: Option<String>| {
            die_if_told(how);
            Err(NotErased::CommitUnknown(unanswered))
        });
        Ok(about)
    }
}

pub(super) const ABOUT: &str = "/* erasured:step */ SELECT clock_timestamp(), pg_current_wal_insert_lsn()::text, current_setting('server_version_num')::int4";

/// An ERROR instead of a COMMIT rolled back; where the session ended, nobody has said.
pub(in crate::system::postgres) fn not_committed(
    error: tokio_postgres::Error,
    unanswered: &Unanswered,
) -> NotErased {
    use tokio_postgres::error::Severity;
    let refused = error
        .as_db_error()
        .is_some_and(|db| db.parsed_severity() == Some(Severity::Error));
    if refused {
        error.into()
    } else {
        NotErased::CommitUnknown(unanswered.clone())
    }
}

/// `FAILPOINTS=before-commit=return(abort)`: dies there instead of failing.
#[cfg(feature = "failpoints")]
pub(super) fn die_if_told(how: Option<String>) {
    if how.as_deref() == Some("abort") {
        std::process::abort();
    }
}
