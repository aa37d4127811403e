//! A pool's session that says for a while what it is at, for whoever looks into `pg_stat_activity`.

use super::connect::own_process;
use deadpool_postgres::{Client, Object};

/// The longest that the server shows; what is longer it cuts.
pub const LONGEST: usize = 63;

/// The session. Unless it is given back by [`Labelled::done`] it ends with this, so that it never says it
/// under somebody else's work.
pub struct Labelled {
    client: Option<Client>,
}

impl Labelled {
    /// Takes a session, which says `label` from now on. Not behind a pooler, where it would stay with a
    /// session of others.
    ///
    /// # Errors
    /// What the server says.
    pub async fn new(client: Client, label: &str) -> Result<Self, tokio_postgres::Error> {
        let this = Self {
            client: Some(client),
        };
        if let Some(client) = &this.client {
            let sql = "/* erasured:label */ SELECT pg_catalog.set_config('application_name', $1::pg_catalog.text, false) \
                 WHERE pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) $2";
            let own = own_process(client).await.unwrap_or_default();
            let statement = client.prepare_cached(sql).await?;
            client.execute(&statement, &[&label, &own]).await?;
        }
        Ok(this)
    }

    /// The session itself.
    pub fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("it is there until the end")
    }

    /// Gives it back under its own name.
    pub async fn done(mut self) {
        if let Some(client) = self.client.take() {
            // What it has deleted is known to autovacuum, and to whoever asks, now and not when it sleeps.
            let own = "/* erasured:label */ RESET application_name; SELECT pg_catalog.pg_stat_force_next_flush()";
            if client.batch_execute(own).await.is_err() {
                drop(Object::take(client));
            }
        }
    }
}

impl Drop for Labelled {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}
