//! Comes back for what the law kept, on its date.

use super::certify;
use super::context::{Context, Unplanned};
use super::holds::{Door, Gate};
use super::lost;
use super::record::StepRecord;
use super::subscribers::{self, Patience};
use super::sweep::SweepFailed;
use crate::certificate::{self, Assurance, AssuranceLevel, Certificate, FORMAT, LedgerPosition};
use crate::ledger::{Hash, Head};
use crate::lineage;
use crate::name::TableName;
use crate::plan;
use crate::policy::Policy;
use crate::store::StoreError;
use crate::store::deferrals::{DueDeferral, Supplement};
use crate::store::tickets::TicketView;
use crate::system::postgres::connect::ConnectError;
use crate::system::postgres::connect::ON_THE_WAY;
use crate::system::postgres::execute::{
    BeforeChange, Deferred, Execution, NotErased, Outcome, Seen, Subject,
};
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// Deferrals taken up in one round.
const LIMIT: u32 = 100;
/// Until it is asked once more whether what was done still is there.
const MOMENT: Duration = Duration::from_millis(500);
/// When one that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(600);

/// Why a deferral could not be ended; it stays due.
#[derive(Debug, thiserror::Error)]
pub enum DeferralFailed {
    /// The control database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No plan.
    #[error(transparent)]
    Unplanned(#[from] Unplanned),
    /// The system.
    #[error(transparent)]
    Unreachable(#[from] ConnectError),
    /// The erasure.
    #[error("{table}: {error}")]
    Erasure {
        /// The retained table.
        table: String,
        /// What went wrong.
        error: NotErased,
    },
    /// The rows' own date is not this one any more; they are kept until then.
    #[error("the rows have a later date now: {0}")]
    Later(DateTime<Utc>),
    /// A subscriber has not applied it yet.
    #[error(transparent)]
    NotApplied(#[from] SweepFailed),
    /// Whether what was done still is there could not be asked.
    #[error("{table}: it is gone, and could not be looked for again: {error}")]
    Unread {
        /// The retained table.
        table: String,
        /// What went wrong.
        error: NotErased,
    },
    /// It was done, and is not any more.
    #[error("{}: {}", lost::CODE, lost::PROBLEM)]
    Lost,
    /// The sealed keys do not open.
    #[error("E0507: the sealed keys of a deferral do not open with this hash key")]
    Sealed,
    /// The policy changed so that the table is not retained any more.
    #[error(
        "E0511: {0} is no longer retained by the policy, so what was put off cannot be ended by it; keep the rule until then"
    )]
    NotRetained(String),
}

impl DeferralFailed {
    /// Whether a person must put something right.
    pub fn needs_a_person(&self) -> bool {
        matches!(self, Self::Sealed | Self::NotRetained(_))
    }
}

/// Ends deferrals whose date has come; how many. One that fails keeps no other from its end: it
/// is put off for some minutes, and those behind it come first.
///
/// # Errors
/// [`DeferralFailed`]: the first, when all have been tried.
pub async fn round(context: &Context) -> Result<usize, DeferralFailed> {
    context.store.suspend_deferrals(context.now()).await?;
    let mut configs = context.config.systems.values();
    let patience = match configs.any(|system| !system.subscribers.is_empty()) {
        true => Patience::Long.time(),
        false => Duration::ZERO,
    };
    let lease = context.config.limits.lease + patience;
    let due = context.store.due(context.now(), LIMIT, lease).await?;
    let (mut ended, mut failed) = (0, None);
    let mut behind = BTreeSet::new();
    for deferral in due {
        let patience = match behind.contains(&deferral.view.system) {
            true => Patience::None,
            false => Patience::Long,
        };
        let end = end(context, &deferral, patience).await;
        if let Err(DeferralFailed::NotApplied(_)) = &end {
            // What the law kept of others goes on its date all the same.
            behind.insert(deferral.view.system.clone());
        }
        match end {
            Ok(()) => ended += 1,
            Err(DeferralFailed::Erasure {
                error: error @ (NotErased::Held(_) | NotErased::HeldRows(_) | NotErased::HoldUnread),
                ..
            }) => {
                if let NotErased::HeldRows(found) = error {
                    // The step was the deferral's own; what is held is its ticket.
                    let ticket = deferral.view.ticket;
                    let rows: Vec<_> = found.iter().map(|row| (ticket, row.hold)).collect();
                    context.store.hold_covers(&rows).await?;
                }
                tracing::warn!(ticket = %deferral.view.ticket, table = deferral.view.table, "what the law kept is kept on by a legal hold");
                let (id, token) = (deferral.view.id, deferral.token);
                // By the next round it is known as held, or is not.
                context.store.put_off(id, token, Duration::ZERO).await?;
            }
            Err(DeferralFailed::Later(until)) => {
                tracing::info!(ticket = %deferral.view.ticket, table = deferral.view.table, %until, "what the law keeps has a later date now");
                let (id, token) = (deferral.view.id, deferral.token);
                context.store.postpone(id, token, until).await?;
            }
            Err(DeferralFailed::Lost) => {
                tracing::error!(ticket = %deferral.view.ticket, system = deferral.view.system, code = lost::CODE, "{}", lost::PROBLEM);
                let (id, token) = (deferral.view.id, deferral.token);
                context.store.put_off(id, token, Duration::ZERO).await?;
            }
            // All is done but the certificate.
            Err(error @ DeferralFailed::Unread { .. }) => {
                tracing::warn!(ticket = %deferral.view.ticket, table = deferral.view.table, %error, "what the law kept is gone, and its certificate waits");
                failed = failed.or(Some(error));
                let (id, token) = (deferral.view.id, deferral.token);
                context.store.put_off(id, token, Duration::ZERO).await?;
            }
            Err(error) => {
                tracing::warn!(ticket = %deferral.view.ticket, table = deferral.view.table, %error, "what the law kept could not be ended on its date");
                failed = failed.or(Some(error));
                let (id, token) = (deferral.view.id, deferral.token);
                context.store.put_off(id, token, AGAIN_AFTER).await?;
            }
        }
    }
    failed.map_or(Ok(ended), Err)
}

async fn end(
    context: &Context,
    deferral: &DueDeferral,
    patience: Patience,
) -> Result<(), DeferralFailed> {
    let view = &deferral.view;
    let table = TableName::new(&view.schema, &view.table);
    let planned = context.planned(&deferral.subject, &deferral.scope).await?;
    let Some(lineage) = lineage::of_retained(&planned.lineage, &view.system, &table) else {
        return Err(DeferralFailed::NotRetained(table.to_string()));
    };
    let plan = plan::build(&planned.policy, &lineage);
    let part = &plan.systems[0];
    let outcome = erase(context, deferral, part, &planned.stamps).await?;
    subscribers::have_applied(context, &BTreeSet::from([view.system.clone()]), patience).await?;
    super::crash_point("before-deferral-signed");
    if !still_stands(context, deferral).await? {
        return Err(DeferralFailed::Lost);
    }
    let record = StepRecord::new(part, outcome.counts[0].clone(), outcome.server_version);
    let ticket = context.store.ticket(&view.ticket.to_string()).await?;
    let system = certify::of_system(
        &planned.policy.bases,
        &view.system,
        &record,
        outcome.committed_at,
        std::slice::from_ref(&outcome.counts[0]),
    );
    let system = subscribers::named(context, vec![system]).remove(0);
    let certificate = supplement(context, &planned.policy, deferral, &ticket, system).await?;
    let supplement = Supplement {
        certificate: certificate.id,
        kid: context.signing_key.id().as_str().to_owned(),
        jws: certificate::sign(&certificate, &context.signing_key),
    };
    super::crash_point("before-deferral-done");
    context
        .store
        .deferral_done(view.id, deferral.token, &supplement)
        .await?;
    tracing::info!(ticket = %view.ticket, table = %table, "what the law kept is gone, on its date");
    Ok(())
}

/// Whether the system has it yet, see [`lost`]: a server that has taken its place may not.
async fn still_stands(context: &Context, deferral: &DueDeferral) -> Result<bool, DeferralFailed> {
    let view = &deferral.view;
    let mut again = true;
    loop {
        let applied = match context.database_of(&view.system).await {
            Ok(database) => database.applied(&view.system, &[(view.id, 0)]).await,
            Err(error) => Err(error),
        };
        match applied {
            Ok(applied) => return Ok(!applied.is_empty()),
            // A session that has ended with the old server, and is known to have in a moment.
            Err(_) if std::mem::take(&mut again) => tokio::time::sleep(MOMENT).await,
            Err(error) => {
                let table = view.table.clone();
                return Err(DeferralFailed::Unread { table, error });
            }
        }
    }
}

/// A row whose date has been moved since it was put off stays, and those put off with it, until
/// the new date; and what a legal hold covers stays until that is released.
struct StillDue<'a> {
    context: &'a Context,
    ticket: Uuid,
    gate: Gate,
    later: Option<DateTime<Utc>>,
}

impl BeforeChange for StillDue<'_> {
    fn ready(
        &mut self,
        _: Vec<Seen>,
        deferred: Vec<Deferred>,
    ) -> BoxFuture<'_, Result<(), NotErased>> {
        self.later = deferred.iter().map(|d| d.until).min();
        let answer = match self.later {
            None => Ok(()),
            Some(_) => Err(NotErased::Hook("the rows have a later date now".into())),
        };
        Box::pin(std::future::ready(answer))
    }

    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(async {
            let time = self.context.config.limits.longest_statement() + ON_THE_WAY;
            self.gate.ask(self.context, &[self.ticket], time).await
        })
    }

    fn committed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.gate.close())
    }
}

async fn erase(
    context: &Context,
    deferral: &DueDeferral,
    part: &plan::SystemPlan,
    stamps: &BTreeMap<String, String>,
) -> Result<Outcome, DeferralFailed> {
    let view = &deferral.view;
    let opened = context
        .hash_key
        .open(view.ticket.as_bytes(), &deferral.sealed)
        .map_err(|_| DeferralFailed::Sealed)?;
    let keys: Vec<Vec<String>> =
        serde_json::from_slice(opened.expose()).map_err(|_| DeferralFailed::Sealed)?;
    // The step is the deferral's own: its id stands where a ticket's would.
    let subjects = [Subject {
        ticket: view.id,
        generation: 0,
        keys,
        identifiers: BTreeMap::new(),
    }];
    let hash = |text: &str| context.hash_key.hash("column", text);
    let gate = Gate::open(context, &Door::default(), &view.system, |t| part.touches(t)).await;
    let gate = gate.map_err(|error| DeferralFailed::Erasure {
        table: view.table.clone(),
        error,
    })?;
    let rows_held = gate.rows.clone();
    let mut dates = StillDue {
        context,
        ticket: view.ticket,
        gate,
        later: None,
    };
    let execution = Execution {
        plan: part,
        held: &rows_held,
        subjects: &subjects,
        now: context.now(),
        timeouts: context.timeouts(1),
        piece_rows: context.config.limits.piece_rows.get().into(),
        stamp: stamps.get(&view.system).map_or("", String::as_str),
        batch: deferral.token,
        prepare: None,
        dry: false,
        hash: &hash,
    };
    let database = context.database(&view.system).await;
    let mut database = database.ok_or_else(|| Unplanned::NoPolicy(deferral.subject.clone()))??;
    let outcome = database.run(&execution, &mut dates).await;
    if let Err(NotErased::CommitUnknown(unanswered)) = &outcome {
        dates.gate.until_over(context, unanswered).await;
    }
    dates.gate.close().await;
    outcome.map_err(|error| match dates.later {
        Some(until) => DeferralFailed::Later(until),
        None => DeferralFailed::Erasure {
            table: view.table.clone(),
            error,
        },
    })
}

async fn supplement(
    context: &Context,
    policy: &Policy,
    deferral: &DueDeferral,
    ticket: &TicketView,
    system: certificate::System,
) -> Result<Certificate, DeferralFailed> {
    let now = context.now();
    let head = context.store.head().await?;
    let plan = context.store.plan(&deferral.plan_id).await?;
    let decisions = context.store.decisions(&[ticket.id]).await?;
    let scope = policy.scopes.get(&deferral.scope);
    Ok(Certificate {
        format: FORMAT,
        id: Uuid::now_v7(),
        issued_at: now,
        supplements: ticket.certificate_id,
        ticket: certificate::Ticket {
            id: ticket.id,
            reference: ticket.reference.clone(),
            subject: ticket.subject.clone(),
            scope: ticket.scope.clone(),
            covers: certify::covers(policy, &ticket.scope, plan.as_ref()),
            refused: certify::refused(&context.beside().grounds, &ticket.refused),
            ground: ticket.ground.clone(),
            requested_at: ticket.requested_at,
            due_at: Some(deferral.view.due_at),
            not_before: ticket.not_before,
            started_at: system.committed_at,
            finished_at: now,
            sla_profile: scope.map_or_else(String::new, |s| s.sla.code.clone()),
            sla_met: ticket.sla_met,
            when_due: certify::when_due(policy, &deferral.scope),
        },
        subject_hash: deferral.subject_hash.clone(),
        identifiers: Vec::new(),
        policy: certify::under(policy, plan.as_ref()),
        systems: vec![system],
        places: Vec::new(),
        sweep: Vec::new(),
        identity: certify::identity(policy, &deferral.scope, decisions.iter()),
        deferrals: Vec::new(),
        assurance: Assurance {
            level: AssuranceLevel::Logical,
            reached_at: now,
        },
        program: certify::program(),
        ledger: LedgerPosition::from(Head {
            seq: head.seq,
            hash: Hash::new(head.hash),
        }),
    })
}
