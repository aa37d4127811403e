//! What a caller can act upon, with nothing in it that could be a person's.

use crate::system::postgres::connect;
use deadpool_postgres::PoolError;
use thiserror::Error;
use tokio_postgres::error::{Error as PgError, SqlState};

/// Why the control schema did not do what was asked.
///
/// DETAIL, CONTEXT and parameters of the server's errors are dropped on the way in: that is where
/// values stand. Messages of class 22 (data exception) repeat values too and are dropped.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A rule of the control schema says no: SQLSTATE class `ER`, listed in `sql/control`.
    #[error("{message}{}", hint.as_deref().map(|h| format!(" ({h})")).unwrap_or_default())]
    Refused {
        /// As `sql/control/V1__control.sql` lists them.
        code: String,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Another daemon holds the tickets now; whatever this one did for them since does not count.
    #[error("the lease on {lost} ticket(s) is held by somebody else now")]
    LeaseLost {
        /// How many of those named.
        lost: usize,
    },
    /// The control database cannot be reached or went away; try again later.
    #[error("the control database cannot be reached: {0}")]
    Unreachable(String),
    /// The server refused for a reason of its own.
    #[error("control database: {message} (SQLSTATE {code})")]
    Database {
        /// SQLSTATE.
        code: String,
        /// The server's message, where it cannot hold a value.
        message: String,
    },
    /// The control schema is not of this program's version.
    #[error("{0}")]
    Version(String),
    /// A migration failed.
    #[error("migration failed: {0}")]
    Migration(String),
    /// What was given cannot be sent; names the argument, not its value.
    #[error("{0} holds a NUL character, which PostgreSQL cannot store")]
    Nul(&'static str),
    /// No such thing.
    #[error("there is no {0}")]
    NotFound(&'static str),
}

impl StoreError {
    /// Running the same transaction again at once may succeed.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::Database { code, .. } if code == "40001" || code == "40P01")
    }

    /// Later it may succeed without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Database { code, .. } => is_transient(code),
            _ => false,
        }
    }
}

/// SQLSTATEs that pass by themselves: conflicts, lock and statement timeouts, lost connections, a
/// server that is stopping or starting, or that lacks connections, memory or room on its disk.
pub fn is_transient(code: &str) -> bool {
    matches!(
        code,
        "40001" | "40P01" | "55P03" | "57014" | "57P01" | "57P02" | "57P03"
    ) || ["08", "53"].iter().any(|class| code.starts_with(class))
}

impl StoreError {
    /// Whether somebody else's lock stood in the way for longer than is waited.
    pub fn waited_in_vain(&self) -> bool {
        matches!(self, Self::Database { code, .. } if code == "55P03")
    }
}

impl From<PgError> for StoreError {
    fn from(error: PgError) -> Self {
        let Some(db) = error.as_db_error() else {
            // Client-side errors: conversion errors would be ours and may show a value.
            return if error.is_closed()
                || std::error::Error::source(&error).is_some_and(|s| s.is::<std::io::Error>())
            {
                Self::Unreachable("the connection was lost".into())
            } else {
                Self::Database {
                    code: "client".into(),
                    message: client_fault(&error),
                }
            };
        };
        let code = db.code().code().to_owned();
        if code.starts_with("ER") {
            return Self::Refused {
                code,
                message: db.message().to_owned(),
                hint: db.hint().map(str::to_owned).filter(|h| !h.is_empty()),
            };
        }
        if code.starts_with("08")
            || *db.code() == SqlState::ADMIN_SHUTDOWN
            || code.starts_with("57P0")
        {
            return Self::Unreachable(db.message().to_owned());
        }
        let message = if code.starts_with("22") {
            "a value is not acceptable".to_owned()
        } else {
            let place = [db.schema(), db.table(), db.constraint()]
                .into_iter()
                .flatten();
            let place = place.collect::<Vec<_>>().join(".");
            if place.is_empty() {
                db.message().to_owned()
            } else {
                format!("{} [{place}]", db.message())
            }
        };
        Self::Database { code, message }
    }
}

/// The kind of a client-side error without what it was about.
fn client_fault(error: &PgError) -> String {
    let text = error.to_string();
    text.split(':')
        .next()
        .unwrap_or("the client failed")
        .to_owned()
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(e) => match connect::carried(&e) {
                // Says where, and what to do; a wrong password may be right after the DBA's next step.
                Some(error) => Self::Unreachable(error.to_string()),
                None => match Self::from(e) {
                    e @ Self::Database { .. } => e,
                    other => Self::Unreachable(other.to_string()),
                },
            },
            other => Self::Unreachable(other.to_string()),
        }
    }
}
