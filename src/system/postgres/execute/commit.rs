//! The end of a transaction that has written down what it did.

use super::super::quote::literal;
use super::{BeforeChange, Execution, NotErased, Unanswered};
use deadpool_postgres::Transaction;
use tokio_postgres::error::{DbError, SqlState};

impl Execution<'_> {
    /// The end of a transaction that has written down what it did: the last word, and COMMIT; or, where it
    /// happens together with others, PREPARE TRANSACTION. What the server says of it.
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
        if let Some(name) = self.prepare {
            // They get as far as this one before the first is prepared: as long as none is, all end with the
            // daemon.
            before_change.the_others().await?;
            self.prepare(tx, name).await?;
            return Ok(about);
        }
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

    /// From here on the transaction, and all that it has locked, outlives session and daemon.
    async fn prepare(&self, tx: Transaction<'_>, name: &str) -> Result<(), NotErased> {
        // The session gets another that it can end, as it is about to.
        let sql = format!(
            "/* erasured:prepare */ PREPARE TRANSACTION {}; BEGIN",
            literal(name)
        );
        tx.batch_execute(&sql)
            .await
            .map_err(|e| self.not_prepared(e))?;
        tx.rollback().await.ok();
        Ok(())
    }

    fn not_prepared(&self, error: tokio_postgres::Error) -> NotErased {
        match error.as_db_error().and_then(cannot_prepare) {
            Some(why) => NotErased::CannotPrepare {
                system: self.plan.system.clone(),
                why,
            },
            None => error.into(),
        }
    }
}

/// What PREPARE TRANSACTION refuses whenever it is tried, by the place in the server that refuses it: its words
/// are in the server's language.
fn cannot_prepare(error: &DbError) -> Option<&'static str> {
    if *error.code() == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE {
        return Some("its server prepares no transactions: max_prepared_transactions is 0");
    }
    if *error.code() != SqlState::FEATURE_NOT_SUPPORTED {
        return None;
    }
    let routine = error.routine().unwrap_or_default();
    Some(match routine {
        "AtPrepare_Notify" => "a trigger sends NOTIFY, which cannot be prepared",
        "PreCommit_Portals" => "a trigger leaves a cursor WITH HOLD open, which cannot be prepared",
        _ => "a trigger uses a temporary table, or something else that cannot be prepared",
    })
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
