//! From what the store remembers of a ticket to its signed certificate.

use super::clock;
use super::context::Context;
use super::crash_point;
use super::recheck;
use super::record::{PlacesRecord, StepRecord};
use super::subscribers;
use super::sweep::{Opened, fail_waiting};
use crate::catalog::Dialect;
use crate::certificate::{
    self, Assurance, AssuranceLevel, Certificate, Deferral, FORMAT, IdentifierHash, Kept,
    LedgerPosition, Probes, Program, Refused, Table,
};
use crate::ledger::{Hash, Head};
use crate::plan::{ChangeKind, Counts};
use crate::policy::basis::{Bases, Basis};
use crate::policy::grounds::{self, Grounds};
use crate::policy::{Covers, Level, Policy};
use crate::store::StoreError;
use crate::store::deferrals::DeferralView;
use crate::store::executing::{StepRow, StoredPlan};
use crate::store::tickets::DecisionRow;
use crate::store::verifying::{Closing, WaitingTicket};
use crate::ticket::sla;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Tickets closed in one transaction.
const AT_ONCE: usize = 500;
const UNREADABLE: &str = "the record of what was done in a system cannot be read by this version, so no certificate can say it; see the log for the system";

/// Signs and closes clean tickets of the sweep held by `token`; how many were closed by this call,
/// and how many failed because what was done to them cannot be read back.
///
/// # Errors
/// [`StoreError`]; tickets not closed are swept and signed again.
pub(super) async fn close(
    context: &Context,
    policy: &Policy,
    token: Uuid,
    tickets: &[Opened],
    sweep: &[certificate::Sweep],
) -> Result<(usize, usize), StoreError> {
    let (mut closed, mut failed) = (0, 0);
    for some in tickets.chunks(AT_ONCE) {
        let (closings, unreadable) = sign(context, policy, some, sweep).await?;
        fail_waiting(context, token, &unreadable, "E0514", UNREADABLE).await?;
        failed += unreadable.len();
        crash_point("after-sign");
        recheck::watch(context, policy, some).await?;
        let ended = context.store.close(token, &closings).await?;
        let mut of_profile: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
        for (id, state) in ended {
            closed += 1;
            let ticket = some.iter().find(|t| t.ticket.id == id);
            let profile = ticket.map_or("", |t| profile(policy, &t.ticket.scope));
            of_profile.entry(profile).or_default().push(id);
            done(context, policy, ticket.map(|t| &t.ticket), &state);
        }
        for (profile, ids) in of_profile {
            clock::closed(context, profile, &ids).await;
        }
        crash_point("after-close");
    }
    Ok((closed, failed))
}

fn profile<'p>(policy: &'p Policy, scope: &str) -> &'p str {
    policy.scopes.get(scope).map_or("", |s| s.sla.code.as_str())
}

fn done(context: &Context, policy: &Policy, ticket: Option<&WaitingTicket>, state: &str) {
    let Some(ticket) = ticket else { return };
    if let Some(due) = ticket.due_at {
        let name = if context.now() <= due {
            crate::metrics::SLA_MET
        } else {
            crate::metrics::SLA_MISSED
        };
        let profile = profile(policy, &ticket.scope).to_owned();
        metrics::counter!(name, "profile" => profile).increment(1);
    }
    metrics::counter!(crate::metrics::SUBJECTS_ERASED, "subject" => policy.subject.clone(), "scope" => ticket.scope.clone()).increment(1);
    tracing::info!(ticket = %ticket.id, reference = ticket.reference, state, "closed by certificate");
}

async fn sign(
    context: &Context,
    policy: &Policy,
    tickets: &[Opened],
    sweep: &[certificate::Sweep],
) -> Result<(Vec<Closing>, Vec<Uuid>), StoreError> {
    let ids: Vec<Uuid> = tickets.iter().map(|t| t.ticket.id).collect();
    let store = &context.store;
    let (steps, decisions, deferrals, head) = tokio::try_join!(
        store.steps(&ids),
        store.decisions(&ids),
        store.deferrals(&ids),
        store.head()
    )?;
    let mut plans: BTreeMap<String, (StoredPlan, Option<Covers>)> = BTreeMap::new();
    for ticket in tickets {
        if !plans.contains_key(&ticket.ticket.plan_id)
            && let Some(plan) = store.plan(&ticket.ticket.plan_id).await?
        {
            let covers = covers(policy, &ticket.ticket.scope, Some(&plan));
            plans.insert(ticket.ticket.plan_id.clone(), (plan, covers));
        }
    }
    let (mut of_ticket, mut decided, mut deferred) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for step in &steps {
        of_ticket
            .entry(step.ticket)
            .or_insert_with(Vec::new)
            .push(step);
    }
    for decision in &decisions {
        decided
            .entry(decision.ticket)
            .or_insert_with(Vec::new)
            .push(decision);
    }
    for deferral in &deferrals {
        deferred
            .entry(deferral.ticket)
            .or_insert_with(Vec::new)
            .push(deferral);
    }
    let none = Vec::new();
    let (mut closings, mut unreadable) = (Vec::with_capacity(tickets.len()), Vec::new());
    for opened in tickets {
        let id = opened.ticket.id;
        let known = Known {
            opened,
            steps: of_ticket.get(&id).map_or(&[], Vec::as_slice),
            decisions: decided.get(&id).map_or(&[], Vec::as_slice),
            deferrals: deferred.get(&id).unwrap_or(&none),
            plan: plans.get(&opened.ticket.plan_id).map(|(plan, _)| plan),
            covers: match plans.get(&opened.ticket.plan_id) {
                Some((_, covers)) => covers.clone(),
                None => covers(policy, &opened.ticket.scope, None),
            },
            head: Head {
                seq: head.seq,
                hash: Hash::new(head.hash),
            },
        };
        // A certificate that leaves out a system would be false.
        let certificate = match certificate(context, policy, &known, sweep) {
            Ok(certificate) => certificate,
            Err(Unreadable { system }) => {
                tracing::error!(ticket = %id, reference = opened.ticket.reference, system, "what was done cannot be read back, so nothing is signed");
                unreadable.push(id);
                continue;
            }
        };
        closings.push(Closing {
            ticket: id,
            certificate: certificate.id,
            kid: context.signing_key.id().as_str().to_owned(),
            jws: certificate::sign(&certificate, &context.signing_key),
        });
    }
    Ok((closings, unreadable))
}

/// What the store remembers of one ticket.
struct Known<'a> {
    opened: &'a Opened,
    steps: &'a [&'a StepRow],
    decisions: &'a [&'a DecisionRow],
    deferrals: &'a [&'a DeferralView],
    plan: Option<&'a StoredPlan>,
    covers: Option<Covers>,
    head: Head,
}

fn certificate(
    context: &Context,
    policy: &Policy,
    known: &Known<'_>,
    sweep: &[certificate::Sweep],
) -> Result<Certificate, Unreadable> {
    let now = context.now();
    let ticket = &known.opened.ticket;
    let swept = super::sweep::is_swept(policy, &ticket.scope) && ticket.refused.is_empty();
    Ok(Certificate {
        format: FORMAT,
        id: Uuid::now_v7(),
        issued_at: now,
        supplements: None,
        ticket: certificate::Ticket {
            refused: refused(&context.beside().grounds, &ticket.refused),
            ..about(policy, ticket, known.covers.clone(), now)
        },
        subject_hash: ticket.subject_hash.clone(),
        identifiers: known
            .opened
            .identity
            .normalised(policy)
            .filter(|(name, _)| known.opened.identity.named.contains_key(name))
            .map(|(kind, value)| IdentifierHash {
                hash: context.hash_key.hash(&kind, value.value()),
                kind,
            })
            .collect(),
        policy: under(policy, known.plan),
        systems: subscribers::named(context, systems(&policy.bases, known.steps)?),
        places: places(known.steps),
        sweep: if swept {
            searched(policy, known.opened, sweep)
        } else {
            Vec::new()
        },
        identity: identity(policy, &ticket.scope, known.decisions.iter().copied()),
        deferrals: known.deferrals.iter().map(|d| put_off(d)).collect(),
        assurance: Assurance {
            level: AssuranceLevel::Logical,
            reached_at: now,
        },
        program: program(),
        ledger: LedgerPosition::from(known.head),
    })
}

/// What was read, in search of what this person could be searched for by: an address that is a
/// whole family's, an empty column or a value too long was not among it.
fn searched(
    policy: &Policy,
    opened: &Opened,
    sweep: &[certificate::Sweep],
) -> Vec<certificate::Sweep> {
    let hunted = opened.identity.hunted(policy);
    let names: BTreeSet<String> = hunted.into_iter().map(|h| h.name).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let of_person = |sweep: &certificate::Sweep| certificate::Sweep {
        identifiers: names.iter().cloned().collect(),
        ..sweep.clone()
    };
    sweep.iter().map(of_person).collect()
}

fn about(
    policy: &Policy,
    ticket: &WaitingTicket,
    covers: Option<Covers>,
    now: DateTime<Utc>,
) -> certificate::Ticket {
    certificate::Ticket {
        id: ticket.id,
        reference: ticket.reference.clone(),
        subject: policy.subject.clone(),
        scope: ticket.scope.clone(),
        covers,
        refused: Vec::new(),
        ground: ticket.ground.clone(),
        requested_at: ticket.requested_at,
        due_at: ticket.due_at,
        not_before: ticket.not_before.filter(|_| {
            let scope = policy.scopes.get(&ticket.scope);
            scope.is_some_and(|s| s.cooling_off > chrono::Duration::zero())
        }),
        started_at: ticket.started_at.unwrap_or(ticket.verifying_since),
        finished_at: now,
        sla_profile: policy
            .scopes
            .get(&ticket.scope)
            .map_or_else(String::new, |s| s.sla.code.clone()),
        sla_met: ticket.due_at.map(|due| now <= due),
        when_due: when_due(policy, &ticket.scope),
    }
}

/// What the due time of a scope is, by its profile.
pub(super) fn when_due(policy: &Policy, scope: &str) -> certificate::WhenDue {
    let profile = policy.scopes.get(scope).map(|scope| &scope.sla);
    match profile.map(|profile| profile.when_due) {
        Some(sla::WhenDue::Explain) => certificate::WhenDue::Explain,
        Some(sla::WhenDue::Late) | None => certificate::WhenDue::Late,
    }
}

/// Each part with the words of its ground; a code without words stands for itself.
pub(super) fn refused(grounds: &Grounds, parts: &BTreeMap<String, String>) -> Vec<Refused> {
    let parts = parts.iter().map(|(part, ground)| {
        let words = grounds.refusals.get(ground);
        let said = |of: fn(&grounds::Ground) -> &String| words.map_or(ground, of).clone();
        Refused {
            part: part.clone(),
            ground: ground.clone(),
            ja: said(|g| &g.ja),
            en: said(|g| &g.en),
        }
    });
    parts.collect()
}

/// What the scope covered when the plan was stored.
pub(super) fn covers(policy: &Policy, scope: &str, plan: Option<&StoredPlan>) -> Option<Covers> {
    #[derive(Deserialize)]
    struct Part {
        covers: Option<Covers>,
    }
    match plan.and_then(|plan| serde_json::from_str::<Part>(&plan.body).ok()) {
        Some(part) => part.covers,
        None => policy
            .scopes
            .get(scope)
            .and_then(|scope| scope.extent.covers()),
    }
}

/// The policy as it was when the plan was stored.
pub(super) fn under(policy: &Policy, plan: Option<&StoredPlan>) -> certificate::Policy {
    let (file, sha256) = plan.map_or(
        (policy.source.path.to_string(), policy.sha256.clone()),
        |p| (p.policy_file.clone(), p.policy_sha256.clone()),
    );
    let name = std::path::Path::new(&file)
        .file_name()
        .map_or(file.clone(), |n| n.to_string_lossy().into_owned());
    certificate::Policy {
        file: name,
        sha256,
        subject: policy.subject.clone(),
    }
}

/// The record of a step on this system is none that this program knows.
#[derive(Debug)]
struct Unreadable {
    system: String,
}

/// Steps of all generations, those of one system added up under its latest commit.
fn systems(bases: &Bases, steps: &[&StepRow]) -> Result<Vec<certificate::System>, Unreadable> {
    let mut by_system: BTreeMap<&str, Vec<(StepRecord, DateTime<Utc>)>> = BTreeMap::new();
    for step in steps {
        let (Some(counts), Some(at)) = (&step.counts, step.committed_at) else {
            continue;
        };
        if places_record(step).is_some() {
            continue;
        }
        let record =
            serde_json::from_value::<StepRecord>(counts.clone()).map_err(|_| Unreadable {
                system: step.system.clone(),
            })?;
        by_system
            .entry(&step.system)
            .or_default()
            .push((record, at));
    }
    Ok(by_system
        .into_iter()
        .map(|(system, mut records)| {
            records.sort_by_key(|(_, at)| *at);
            let all: Vec<Counts> = records.iter().map(|(r, _)| r.counts.clone()).collect();
            let (last, at) = records
                .pop()
                .expect("a system is listed because it has a record");
            of_system(bases, system, &last, at, &all)
        })
        .collect())
}

fn places_record(step: &StepRow) -> Option<PlacesRecord> {
    serde_json::from_value(step.counts.clone()?).ok()
}

/// Steps of all generations in systems that are no databases, those of one system added up.
fn places(steps: &[&StepRow]) -> Vec<certificate::Places> {
    let mut systems: BTreeMap<&str, certificate::Places> = BTreeMap::new();
    for step in steps {
        let (Some(record), Some(at)) = (places_record(step), step.committed_at) else {
            continue;
        };
        let system = systems
            .entry(&step.system)
            .or_insert_with(|| certificate::Places {
                system: step.system.clone(),
                kind: record.kind,
                erased_at: at,
                found: Vec::new(),
                not_promised: record.kind.not_promised().into(),
                copies: None,
            });
        if at >= system.erased_at {
            system.erased_at = at;
            system.copies = record.copies.clone();
        }
        for (place, kinds) in &record.counts.changed {
            let erased: i64 = kinds.values().sum();
            let place = place_of(system, place);
            place.erased += erased.unsigned_abs();
            // What stays is met again by each generation, or stays no more.
            place.stays.clear();
        }
        for kept in &record.counts.kept {
            let stays = &mut place_of(system, &kept.table).stays;
            stays.push(certificate::Stays {
                things: kept.rows.unsigned_abs(),
                reason: kept.because.clone(),
            });
        }
    }
    systems.into_values().collect()
}

fn place_of<'s>(system: &'s mut certificate::Places, name: &str) -> &'s mut certificate::Place {
    let at = system.found.iter().position(|place| place.place == name);
    let at = at.unwrap_or_else(|| {
        system.found.push(certificate::Place {
            place: name.to_owned(),
            erased: 0,
            stays: Vec::new(),
        });
        system.found.len() - 1
    });
    &mut system.found[at]
}

pub(super) fn of_system(
    bases: &Bases,
    system: &str,
    last: &StepRecord,
    at: DateTime<Utc>,
    all: &[Counts],
) -> certificate::System {
    certificate::System {
        system: system.to_owned(),
        server_version: server(last),
        catalog_fingerprint: last.catalog_fingerprint.clone(),
        committed_at: at,
        subscribers: Vec::new(),
        tables: tables(bases, last, all),
        probes: Probes {
            by_query: last.probed_by_query,
            by_foreign_key: last.probed_by_foreign_key,
        },
    }
}

fn server(last: &StepRecord) -> String {
    let (major, rest) = (last.server_version / 10_000, last.server_version % 10_000);
    match last.dialect {
        Dialect::Postgres => format!("{major}.{rest}"),
        Dialect::MariaDb => format!("MariaDB {major}.{}.{}", rest / 100, rest % 100),
    }
}

fn tables(bases: &Bases, last: &StepRecord, all: &[Counts]) -> Vec<Table> {
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    for counts in all {
        for (name, kinds) in &counts.changed {
            let table = tables.entry(name.clone()).or_insert_with(|| blank(name));
            for (kind, rows) in kinds {
                let rows = rows.unsigned_abs();
                match kind {
                    ChangeKind::Deleted => table.deleted += rows,
                    ChangeKind::Anonymized => table.anonymized += rows,
                    ChangeKind::Detached => table.detached += rows,
                    ChangeKind::Unlinked => table.large_objects += rows,
                    // Cleaned rows are among the kept.
                    ChangeKind::Cleaned => {}
                }
            }
        }
        for (name, pieces) in &counts.pieces {
            let table = tables.entry(name.clone()).or_insert_with(|| blank(name));
            table.pieces += pieces.unsigned_abs();
        }
        for kept in &counts.kept {
            let table = tables
                .entry(kept.table.clone())
                .or_insert_with(|| blank(&kept.table));
            keep(bases, &mut table.kept, kept);
        }
    }
    for (name, reason) in &last.exempt {
        tables
            .entry(name.clone())
            .or_insert_with(|| blank(name))
            .exempt = Some(reason.clone());
    }
    tables.into_values().collect()
}

fn keep(bases: &Bases, all: &mut Vec<Kept>, kept: &crate::plan::KeptRows) {
    let until = kept.until.map(|u| u.date_naive());
    match all
        .iter_mut()
        .find(|k| k.basis == kept.because && k.until == until)
    {
        Some(same) => same.rows += kept.rows.unsigned_abs(),
        None => all.push(Kept {
            rows: kept.rows.unsigned_abs(),
            basis: kept.because.clone(),
            citation: bases.get(&kept.because).map(Basis::citation),
            until,
        }),
    }
}

fn blank(name: &str) -> Table {
    Table {
        table: name.to_owned(),
        deleted: 0,
        pieces: 0,
        anonymized: 0,
        detached: 0,
        large_objects: 0,
        kept: Vec::new(),
        exempt: None,
    }
}

pub(super) fn identity<'a>(
    policy: &Policy,
    scope: &str,
    decisions: impl DoubleEndedIterator<Item = &'a DecisionRow> + Clone,
) -> certificate::Identity {
    // The farthest, and of those the latest: a callback after the passport takes nothing back.
    let reached = |d: &DecisionRow| d.level.as_deref().map_or(Level::None, level);
    let verified = decisions
        .clone()
        .filter(|d| d.kind == "verify")
        .max_by_key(|d| reached(d));
    let approvals = || decisions.clone().rev().filter(|d| d.kind == "approve");
    let second = approvals().find(|d| d.by_another);
    let scope = policy.scopes.get(scope);
    certificate::Identity {
        method: verified.and_then(|d| d.method.clone()).unwrap_or_default(),
        level: verified.map_or(Level::None, reached),
        required_level: scope.map_or(Level::None, |s| s.at_least),
        verified_by_role: verified.map_or_else(String::new, |d| d.by_role.clone()),
        approved_by_role: second
            .or_else(|| approvals().next())
            .map(|d| d.by_role.clone()),
        four_eyes: scope.is_some_and(|s| s.four_eyes) && second.is_some(),
    }
}

fn level(word: &str) -> Level {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).unwrap_or(Level::None)
}

fn put_off(deferral: &DeferralView) -> Deferral {
    Deferral {
        system: deferral.system.clone(),
        table: crate::name::TableName::new(&deferral.schema, &deferral.table).to_string(),
        rows: deferral.rows.unsigned_abs(),
        basis: deferral.basis.clone(),
        until: deferral.due_at.date_naive(),
    }
}

pub(super) fn program() -> Program {
    Program {
        name: env!("CARGO_PKG_NAME").into(),
        version: env!("CARGO_PKG_VERSION").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system whose record cannot be read is never just left out.
    #[test]
    fn an_unreadable_record_is_no_certificate() {
        let step = |system: &str, counts| StepRow {
            ticket: Uuid::nil(),
            generation: 1,
            system: system.into(),
            ordinal: 0,
            plan_id: String::new(),
            done: true,
            counts: Some(counts),
            committed_at: Some(DateTime::UNIX_EPOCH),
        };
        let readable = serde_json::to_value(StepRecord {
            counts: Counts::default(),
            server_version: 150_000,
            dialect: Dialect::Postgres,
            catalog_fingerprint: String::new(),
            probed_by_query: 0,
            probed_by_foreign_key: 0,
            exempt: BTreeMap::new(),
        });
        let good = step("shop", readable.unwrap());
        let bad = step("loyalty", serde_json::json!({"of": "another version"}));
        assert_eq!(systems(&Bases::new(), &[&good]).unwrap().len(), 1);
        assert_eq!(
            systems(&Bases::new(), &[&good, &bad]).unwrap_err().system,
            "loyalty"
        );
    }
}
