//! A registered MariaDB server.

use super::connect::{Address, Bounds, Unreachable};
use super::sweep::{self, Readable};
use super::{catalog, failure, fit};
use crate::catalog::Catalog;
use crate::system::postgres::failure::Failure;
use mysql_async::Conn;
use std::sync::atomic::{AtomicBool, Ordering};

/// One registered server, with all its databases.
#[derive(Debug)]
pub struct System {
    /// Its name.
    pub name: String,
    address: Address,
    rests: AtomicBool,
}

impl System {
    /// Nothing is asked yet.
    pub fn new(name: &str, address: Address) -> Self {
        Self {
            name: name.to_owned(),
            address,
            rests: AtomicBool::new(false),
        }
    }

    /// Lets no session begin, or again.
    pub fn rest(&self, rests: bool) {
        self.rests.store(rests, Ordering::SeqCst);
    }

    /// A session.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub async fn connect(&self, bounds: Bounds) -> Result<Conn, Unreachable> {
        if self.rests.load(Ordering::SeqCst) {
            return Err(Unreachable::Away(format!(
                "{} is in maintenance; `erasured system list` says who had it left alone, and why",
                self.name
            )));
        }
        self.connect_to_end(bounds).await
    }

    /// The same for ending what has begun, also where an operator has it left alone.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub async fn connect_to_end(&self, bounds: Bounds) -> Result<Conn, Unreachable> {
        let opened = self.address.connect(bounds).await;
        metrics::gauge!(crate::metrics::SYSTEM_UP, "system" => self.name.clone())
            .set(f64::from(u8::from(opened.is_ok())));
        opened
    }

    /// What a sweep would read, and what not.
    ///
    /// # Errors
    /// [`Unread`].
    pub async fn readable(&self, bounds: Bounds) -> Result<Readable, Unread> {
        let away = |e: Unreachable| Unread {
            problem: e.to_string(),
            transient: true,
        };
        let mut conn = self.connect(bounds).await.map_err(away)?;
        let hidden = catalog::hidden(&mut conn).await?;
        if let Some(first) = hidden.first() {
            return Err(Unread {
                problem: format!("E0310: the login may not see {first}"),
                transient: true,
            });
        }
        let readable = sweep::readable(&mut conn).await?;
        conn.disconnect().await.ok();
        Ok(readable)
    }

    /// What must be mended before anything is erased there, and how; empty if nothing.
    ///
    /// # Errors
    /// [`Unread`].
    pub async fn misfits(&self) -> Result<Vec<(String, String)>, Unread> {
        let mut conn = match self.connect(Bounds::PATIENT).await {
            Ok(conn) => conn,
            Err(Unreachable::Unfit(problem)) => {
                let help = "name a server of MariaDB's, 10.6 or later".to_owned();
                return Ok(vec![(problem, help)]);
            }
            Err(Unreachable::Away(problem)) => {
                let transient = true;
                return Err(Unread { problem, transient });
            }
        };
        let misfits = fit::misfits(&mut conn).await?;
        conn.disconnect().await.ok();
        Ok(misfits)
    }

    /// The catalog as it is now, with its stamp.
    ///
    /// # Errors
    /// [`Unread`]; also where the login does not see all of it.
    pub async fn catalog(&self) -> Result<(String, Catalog), Unread> {
        let away = |e: Unreachable| Unread {
            problem: e.to_string(),
            transient: matches!(e, Unreachable::Away(_)),
        };
        let mut conn = self.connect(Bounds::PATIENT).await.map_err(away)?;
        let hidden = catalog::hidden(&mut conn).await?;
        if let Some(first) = hidden.first() {
            return Err(Unread {
                problem: format!("E0310: the login may not see {first}"),
                // A right that is given tomorrow mends it: tickets wait.
                transient: true,
            });
        }
        let read = catalog::read(&mut conn, &self.name).await?;
        conn.disconnect().await.ok();
        Ok(read)
    }
}

/// Why a catalog could not be read; nothing here is personal.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct Unread {
    /// What the server said, or did not.
    pub problem: String,
    /// Whether another try may succeed.
    pub transient: bool,
}

impl From<mysql_async::Error> for Unread {
    fn from(error: mysql_async::Error) -> Self {
        Self {
            problem: failure::describe(&error),
            transient: matches!(failure::classify(&error), Failure::Transient(_)),
        }
    }
}
