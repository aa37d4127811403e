//! Legal holds: the last question before every COMMIT that deletes, and whom a hold covers.

use super::context::Context;
use super::intake::{self, IntakeFailed};
use crate::store::StoreError;
use crate::store::holds::{HoldRead, Permit, UnreadHold, Verdict};
use crate::system::postgres::execute::NotErased;
use uuid::Uuid;

/// Holds that one round reads.
const LIMIT: u32 = 200;

/// The one place that every deletion passes: the rows are locked, the work is done, COMMIT comes
/// next. From [`Gate::ask`] to [`Gate::close`] no hold can be placed, so a hold is either seen here or
/// placed after what it came too late for.
///
/// The lock is the control database's. Should that go away in the moment between the answer and the
/// COMMIT, a hold could be placed there meanwhile and not be seen.
#[derive(Default)]
pub(super) struct Gate {
    permit: Option<Permit>,
}

impl Gate {
    /// Whether these tickets' work may be committed.
    ///
    /// # Errors
    /// [`NotErased::Held`], [`NotErased::HoldUnread`], or [`NotErased::Hook`] if nobody could be asked.
    pub(super) async fn ask(
        &mut self,
        context: &Context,
        tickets: &[Uuid],
    ) -> Result<(), NotErased> {
        let time = context.config.limits.statement_timeout;
        let asked = context.store.permit(tickets, time).await;
        let (permit, verdict) = asked.map_err(|e| NotErased::Hook(e.to_string()))?;
        // One that is open from a try before is let go only now.
        let before = self.permit.replace(permit);
        if let Some(before) = before {
            before.end().await;
        }
        let answer = match verdict {
            Verdict::Free => return Ok(()),
            Verdict::Held(tickets) => NotErased::Held(tickets),
            Verdict::Unread => NotErased::HoldUnread,
        };
        self.close().await;
        Err(answer)
    }

    /// Lets holds be placed again.
    pub(super) async fn close(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.end().await;
        }
    }
}

/// Finds whom new holds cover, and lets go on what nothing holds any more; how much there was to do,
/// and why a hold could not be read: it is read again, and until then its kind of subject waits.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn round(context: &Context) -> Result<(usize, Option<IntakeFailed>), StoreError> {
    let resumed = context.store.resume_held().await?;
    if resumed > 0 {
        tracing::info!(resumed, "no legal hold keeps them any more; they go on");
    }
    let unread = context.store.unread_holds(LIMIT).await?;
    let (mut done, mut failed) = (usize::try_from(resumed).unwrap_or(0), None);
    for hold in unread {
        let read = match cover(context, &hold).await {
            Ok(read) => read,
            Err(error) => {
                failed = failed.or(Some(error));
                continue;
            }
        };
        done += 1;
        if let Some((code, problem)) = &read.problem {
            tracing::warn!(hold = %hold.id, code, problem, "nobody is found by what a legal hold names");
        }
        super::crash_point("before-hold-read");
        context.store.hold_read(hold.id, &read).await?;
    }
    Ok((done, failed))
}

async fn cover(context: &Context, hold: &UnreadHold) -> Result<HoldRead, IntakeFailed> {
    let Some(policy) = context.policies().get(&hold.subject).cloned() else {
        let problem = (
            "E0408",
            "no policy in force is for this kind of subject".to_owned(),
        );
        return Ok(HoldRead {
            problem: Some(problem),
            ..HoldRead::default()
        });
    };
    match intake::everybody(context, &policy, &hold.identifiers).await? {
        Err((code, problem)) => Ok(HoldRead {
            problem: Some((code, problem)),
            ..HoldRead::default()
        }),
        Ok((named, keys)) => Ok(HoldRead {
            hashes: named
                .into_iter()
                .map(|(name, value)| {
                    let hash = context.hash_key.hash(&name, &value);
                    (name, hash)
                })
                .collect(),
            subjects: keys
                .iter()
                .map(|key| intake::subject_hash(context, &policy, key))
                .collect(),
            problem: None,
        }),
    }
}
