//! Transactions that a system has prepared for us and that wait for their end.

use super::execute::NotErased;
use super::quote::literal;
use chrono::{DateTime, Utc};
use deadpool_postgres::Client;
use std::fmt;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

/// The name under which a system keeps a transaction that it has prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Of the control database that decides.
    pub installation: Uuid,
    /// What decides it.
    pub joint: Uuid,
    /// The system, as it is registered.
    pub system: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}:{}",
            prefix(self.installation),
            self.joint,
            self.system
        )
    }
}

fn prefix(installation: Uuid) -> String {
    format!("erasured:{installation}:")
}

impl Name {
    /// `None` for the names of others, and for what looks like ours and is not.
    fn parse(name: &str, installation: Uuid) -> Option<Self> {
        let rest = name.strip_prefix(&prefix(installation))?;
        let (joint, system) = rest.split_once(':')?;
        let read = Self {
            installation,
            joint: joint.parse().ok()?,
            system: system.to_owned(),
        };
        (read.to_string() == name).then_some(read)
    }
}

/// One that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its name.
    pub name: Name,
    /// For how long, by the system's clock.
    pub seconds: f64,
}

/// Those of an installation in the database to which the client is connected.
///
/// # Errors
/// [`NotErased`].
pub async fn waiting(client: &Client, installation: Uuid) -> Result<Vec<Waiting>, NotErased> {
    let rows = client.query(WAITING, &[&prefix(installation)]).await?;
    let read = rows.iter().filter_map(|row| {
        Some(Waiting {
            name: Name::parse(row.get(0), installation)?,
            seconds: row.get(1),
        })
    });
    Ok(read.collect())
}

/// How one ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What stands in the system: whether its work is there.
    pub applied: bool,
    /// When this was seen, by the system's clock: no earlier than its end.
    pub at: DateTime<Utc>,
    /// The WAL position then.
    pub wal: String,
}

/// Ends one, whether or not it is there still, and looks what stands.
///
/// # Errors
/// [`NotErased`]: how it ended is not known.
pub async fn end(client: &Client, name: &Name, commit: bool) -> Result<Ended, NotErased> {
    let (how, label) = match commit {
        true => ("COMMIT", "commit prepared"),
        false => ("ROLLBACK", "rollback prepared"),
    };
    let sql = format!(
        "/* erasured:{label} */ {how} PREPARED {}",
        literal(&name.to_string())
    );
    match client.batch_execute(&sql).await {
        Ok(()) => {}
        Err(e) if e.code() == Some(&SqlState::UNDEFINED_OBJECT) => {}
        Err(e) => return Err(e.into()),
    }
    let row = client
        .query_one(STANDS, &[&name.joint, &name.system])
        .await?;
    Ok(Ended {
        applied: row.get(0),
        at: row.get(1),
        wal: row.get(2),
    })
}

const WAITING: &str = "/* erasured:prepared */ SELECT gid, extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) prepared)::pg_catalog.float8 \
     FROM pg_catalog.pg_prepared_xacts WHERE database OPERATOR(pg_catalog.=) pg_catalog.current_database() \
      AND pg_catalog.starts_with(gid, $1) ORDER BY prepared";

const STANDS: &str = "/* erasured:ended */ SELECT EXISTS (SELECT FROM erasured.applied_step AS s WHERE s.batch OPERATOR(pg_catalog.=) $1 AND s.system OPERATOR(pg_catalog.=) $2), \
     pg_catalog.clock_timestamp(), pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text";

#[cfg(test)]
mod tests {
    use super::*;

    /// PostgreSQL keeps names of fewer than 200 bytes.
    #[test]
    fn a_name_is_read_as_it_was_written_and_no_other() {
        let name = Name {
            installation: Uuid::from_u128(1),
            joint: Uuid::from_u128(2),
            system: "s".repeat(63),
        };
        let text = name.to_string();
        assert!(text.len() < 200, "{text}");
        assert_eq!(Name::parse(&text, name.installation), Some(name.clone()));
        assert_eq!(Name::parse(&text, Uuid::from_u128(3)), None);
        for other in ["", "erasured", "app-1"] {
            assert_eq!(Name::parse(other, name.installation), None);
        }
        let loud = text.replace(
            "00000000-0000-0000-0000-000000000002",
            "{00000000-0000-0000-0000-000000000002}",
        );
        assert_eq!(Name::parse(&loud, name.installation), None);
    }
}
