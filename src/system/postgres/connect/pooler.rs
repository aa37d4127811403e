//! Whether a pooler such as PgBouncer stands between us and the server.
//!
//! Each session has a key by which it may be cancelled, and in it the number of the server's process.
//! A pooler gives keys of its own, as it may serve each transaction by another process. What is not
//! the number of the process that answers was given by a pooler.

use tokio::io::{AsyncReadExt, duplex};
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

/// What a session that has just been opened shows.
pub(super) struct Found {
    /// A pooler is in between.
    pub(super) pooled: bool,
    /// The server, or the role, does not write.
    pub(super) read_only: bool,
}

/// Looks.
pub(super) async fn look(client: &Client) -> Result<Found, Error> {
    let asked = "/* erasured:pooler */ SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('transaction_read_only')";
    let answer = client.simple_query(asked).await?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let value = |at: usize| row.and_then(|row| row.get(at));
    Ok(Found {
        pooled: value(0)
            != own_process(client)
                .await
                .map(|pid| pid.to_string())
                .as_deref(),
        read_only: value(1) == Some("on"),
    })
}

/// Whether the session goes through a pooler. Then nothing may be left in it between transactions.
///
/// # Errors
/// What the server says.
pub async fn through_pooler(client: &Client) -> Result<bool, Error> {
    Ok(look(client).await?.pooled)
}

/// The server's process, as the session was told: not that which answers, where a pooler is in between.
pub(crate) async fn own_process(client: &Client) -> Option<i32> {
    let (near, mut far) = duplex(64);
    // What would be sent to cancel says it.
    client
        .cancel_token()
        .cancel_query_raw(near, NoTls)
        .await
        .ok()?;
    let mut request = [0; 16];
    far.read_exact(&mut request).await.ok()?;
    let (_, named) = request.split_at(8);
    Some(i32::from_be_bytes(named[..4].try_into().ok()?))
}
