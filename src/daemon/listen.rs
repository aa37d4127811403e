//! What the control database calls out as it happens.

use super::DaemonError;
use super::state::Shared;
use crate::start;
use crate::system::postgres::connect::{self, Timeouts};
use std::sync::Arc;
use std::time::Duration;

/// LISTEN for the desk's NOTIFY; the poll interval covers what is missed.
pub(super) async fn listen(shared: &Arc<Shared>) -> Result<(), DaemonError> {
    let mut stopping = shared.stopping();
    let settings = start::settings(&shared.context.config.control)?;
    while !*stopping.borrow() {
        if let Ok((client, mut notices)) =
            connect::connect_listening(&settings, "listener", Timeouts::default()).await
            && let Ok(pooled) = connect::through_pooler(&client).await
        {
            if pooled {
                tracing::info!(
                    "the control database is reached through a pooler: nothing is listened to, work is looked for every `limits.poll`"
                );
                stopping.changed().await.ok();
                return Ok(());
            }
            if client
                .batch_execute("/* erasured:listen */ LISTEN erasured_ticket")
                .await
                .is_ok()
            {
                shared.pulse();
                loop {
                    tokio::select! {
                        notice = notices.recv() => match notice {
                            Some(_) => shared.pulse(),
                            None => break,
                        },
                        _ = stopping.changed() => return Ok(()),
                    }
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
            _ = stopping.changed() => {}
        }
    }
    Ok(())
}
