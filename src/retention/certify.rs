//! From what a run did to its signed certificate.
//!
//! What it did is read from the target's own rows, so a certificate may be issued by whoever comes next: a
//! daemon that dies behind a run's end leaves it to be found without one.

use super::{Prepared, run::Stopped};
use crate::certificate::run::{
    Approval, Archive, Days, Gone, Ground, Held, Partition, PartitionFate, Remaining, Run,
    RunCertificate,
};
use crate::certificate::{self, FORMAT, LedgerPosition, Program};
use crate::erasure::context::Context;
use crate::erasure::crash_point;
use crate::erasure::subscribers::{self, Patience};
use crate::ledger::{Hash, Head};
use crate::plan::{ChangeKind, Counts};
use crate::store::run_certificates::EndedRun;
use crate::system::postgres::due;
use crate::system::postgres::execute::NotErased;
use chrono::NaiveDate;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Issues the certificate of a run that has just ended. If it cannot be issued now, it is later: what is gone is
/// gone all the same. This is an occasion to make up for earlier ones, too.
pub(super) async fn after(context: &Context, run: Uuid, prepared: Option<&Prepared>) {
    crash_point("before-run-certificate");
    let issued = issue(context, run, prepared, Patience::Short).await;
    if let Err(problem) = &issued {
        tracing::warn!(%run, %problem, "the certificate of a retention run waits");
    }
    // What holds one up may hold others up.
    if issued.is_ok()
        && let Err(problem) = make_up(context, Patience::None).await
    {
        tracing::warn!(%problem, "the certificate of an earlier retention run waits");
    }
}

/// Issues those that are missing, and waits that long for subscribers of each system.
///
/// # Errors
/// The first run's that could not be; the others have been.
pub(super) async fn make_up(context: &Context, patience: Patience) -> Result<(), Stopped> {
    let (mut failed, mut behind) = (None, BTreeSet::new());
    for (run, table) in context.store.uncertified_runs().await? {
        // Its subscribers have just been waited for, in vain.
        if behind.contains(system_of(&table)) {
            continue;
        }
        if let Err(problem) = issue(context, run, None, patience).await {
            if matches!(problem, Stopped::NotApplied(_)) {
                behind.insert(system_of(&table).to_owned());
            }
            failed = failed.or(Some(problem));
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Of `system.schema.table`.
fn system_of(table: &str) -> &str {
    table.split('.').next().unwrap_or_default()
}

/// `prepared` as it ran; without it the rule is looked up again.
async fn issue(
    context: &Context,
    run: Uuid,
    prepared: Option<&Prepared>,
    patience: Patience,
) -> Result<(), Stopped> {
    let store = &context.store;
    let Some(run) = store.run_to_certify(run).await? else {
        return Ok(());
    };
    let again = match prepared {
        Some(_) => None,
        None => as_it_was(context, &run).await?,
    };
    let prepared = prepared.or(again.as_ref());
    let system = system_of(&run.table).to_owned();
    // Before it is read what the system has: what is read is what they have applied.
    subscribers::have_applied(context, &BTreeSet::from([system.clone()]), patience).await?;
    let done = done(context, &run).await?;
    let (held, remaining) = left(context, &run, prepared).await?;
    let head = store.head().await?;
    let certificate = RunCertificate {
        format: FORMAT,
        id: Uuid::now_v7(),
        issued_at: context.now(),
        approval: approval(&run),
        days: done.counts.days.map(days),
        tables: gone(&done.counts),
        partitions: done.partitions,
        archives: done.archives,
        subscribers: subscribers::of(context, &system),
        held,
        filed: store.filed(run.id).await?,
        set_aside: number(run.set_aside),
        remaining,
        program: Program {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
        },
        ledger: LedgerPosition::from(Head {
            seq: head.seq,
            hash: Hash::new(head.hash),
        }),
        run: about(run, done.batches),
    };
    let jws = certificate::sign_run(&certificate, &context.signing_key);
    let kid = context.signing_key.id();
    store
        .certify_run(certificate.run.id, certificate.id, kid.as_str(), &jws)
        .await?;
    Ok(())
}

/// The rule as it was when it ran, if the policy still is the same.
async fn as_it_was(context: &Context, run: &EndedRun) -> Result<Option<Prepared>, Stopped> {
    let policies = context.policies();
    let policy = policies.get(&run.subject);
    let policy = policy.filter(|policy| policy.sha256 == run.policy_sha256);
    let Some((policy, rule)) = policy.and_then(|p| Some((p, p.retention_rule(&run.rule)?))) else {
        return Ok(None);
    };
    let then = run.started_at;
    let prepared = Prepared::at(context, policy.clone(), rule.clone(), then).await?;
    let same = matches!(&prepared.of, Some(of) if of.due[0].cutoff.day == run.cutoff);
    Ok(same.then_some(prepared))
}

/// What the transactions of a run did.
#[derive(Default)]
struct Done {
    /// Added up, but for what follows.
    counts: Counts,
    partitions: Vec<Partition>,
    archives: Vec<Archive>,
    /// How many there were.
    batches: u64,
}

async fn done(context: &Context, run: &EndedRun) -> Result<Done, Stopped> {
    let system = system_of(&run.table);
    let Some(system) = context.systems.get(system) else {
        // A certificate that leaves it out would be false.
        let gone = format!("the system {system} is not registered any more");
        return Err(NotErased::Hook(gone).into());
    };
    let client = system.pool.get().await?;
    let mut done = Done::default();
    for counts in due::applied(&client, run.id).await? {
        done.add(counts);
    }
    done.partitions
        .sort_by_key(|p| (p.range.map(|range| range.first), p.partition.clone()));
    done.archives.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(done)
}

impl Done {
    fn add(&mut self, counts: Counts) {
        let all = &mut self.counts;
        all.days = match (all.days, counts.days) {
            (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
            (days, others) => days.or(others),
        };
        for (table, kinds) in counts.changed {
            let all = all.changed.entry(table).or_default();
            for (kind, rows) in kinds {
                *all.entry(kind).or_default() += rows;
            }
        }
        let partitions = counts.partitions.into_iter();
        self.partitions
            .extend(partitions.map(|(partition, whole)| Partition {
                partition,
                fate: match whole.kind {
                    ChangeKind::Detached => PartitionFate::Detached,
                    _ => PartitionFate::Dropped,
                },
                rows: number(whole.rows),
                range: whole.range.map(days),
            }));
        self.archives
            .extend(counts.archived.into_iter().map(|file| Archive {
                table: file.table,
                file: file.file,
                sha256: file.sha256,
                rows: number(file.rows),
                keep_until: file.keep_until,
            }));
        self.batches += 1;
    }
}

fn days((first, last): (NaiveDate, NaiveDate)) -> Days {
    Days { first, last }
}

fn approval(run: &EndedRun) -> Option<Approval> {
    let approval = run.approval.as_ref()?;
    Some(Approval {
        by_role: approval.role.clone(),
        at: approval.at,
        due: number(approval.due),
        policy_sha256: approval.policy_sha256.clone(),
    })
}

fn gone(done: &Counts) -> Vec<Gone> {
    let gone = |(table, kinds): (&String, &BTreeMap<ChangeKind, i64>)| {
        let of = |kind| number(kinds.get(&kind).copied().unwrap_or(0));
        Gone {
            table: table.clone(),
            deleted: of(ChangeKind::Deleted),
            anonymized: of(ChangeKind::Anonymized),
            detached: of(ChangeKind::Detached),
            large_objects: of(ChangeKind::Unlinked),
        }
    };
    done.changed.iter().map(gone).collect()
}

/// What is left now, by a look of its own.
async fn left(
    context: &Context,
    run: &EndedRun,
    prepared: Option<&Prepared>,
) -> Result<(Held, Option<Remaining>), Stopped> {
    // People go by tickets, which are looked after by themselves.
    let looked_at = prepared.filter(|prepared| prepared.rule.people.is_none());
    let Some(prepared) = looked_at else {
        let held = Held {
            rows: number(run.held),
            grounds: Vec::new(),
        };
        return Ok((held, None));
    };
    let left = prepared.remaining(context, false).await?;
    let grounds = match left.held {
        0 => Vec::new(),
        _ => prepared.grounds(context).await?,
    };
    let held = Held {
        rows: number(left.held),
        grounds,
    };
    let remaining = Remaining {
        checked_at: context.now(),
        rows: number(left.overdue),
        kept: number(left.survivors),
    };
    Ok((held, Some(remaining)))
}

fn about(run: EndedRun, batches: u64) -> Run {
    Run {
        id: run.id,
        rule: run.rule,
        subject: run.subject,
        table: run.table,
        basis: run.basis,
        policy_sha256: run.policy_sha256,
        cutoff: run.cutoff,
        timezone: run.timezone,
        slot: run.slot,
        started_at: run.started_at,
        ended_at: run.ended_at,
        state: run.state,
        problem: run.problem_code,
        batches,
    }
}

fn number(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}

impl Prepared {
    /// The holds in force that cover rows of the rule's table, or may.
    async fn grounds(&self, context: &Context) -> Result<Vec<Ground>, Stopped> {
        let rows = self.rows_held(context).await?;
        let mut holds: Vec<Uuid> = rows.into_iter().map(|held| held.hold).collect();
        holds.extend(self.people(context).await?.held.holds);
        for kind in self.undistinguished() {
            holds.extend(context.store.held_people(kind).await?.holds);
        }
        let reasons = context.store.hold_reasons(&holds).await?;
        let grounds = reasons.into_iter();
        Ok(grounds
            .map(|(hold, reason)| Ground { hold, reason })
            .collect())
    }
}
