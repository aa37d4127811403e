//! The desk's side: filing, deciding, looking. Deciding goes through the SQL functions, so the
//! command line can do nothing that a CRM could not.

use super::{Result, Store, StoreError, Tx, run_tx};
use crate::notice::offer::Offer;
use crate::policy::Level;
use crate::ticket::danger::{Danger, Facts, Who};
use crate::ticket::timeline::Happened;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use tokio_postgres::Row;
use uuid::Uuid;
use zeroize::Zeroizing;

/// What a person is named by: wiped when let go, never printed.
#[derive(Clone)]
pub struct IdentifierValue(Zeroizing<String>);

impl IdentifierValue {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for as long as it is needed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for IdentifierValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentifierValue(…)")
    }
}

/// A request as the desk files it.
#[derive(Debug)]
pub struct NewTicket<'a> {
    /// The desk's own word for it; unique.
    pub reference: &'a str,
    /// Subject kind.
    pub subject: &'a str,
    /// Name and value of each identifier.
    pub identifiers: &'a [(String, IdentifierValue)],
    /// Scope of the policy.
    pub scope: &'a str,
    /// Legal ground, as a code.
    pub ground: &'a str,
    /// When the person asked; now, if not given.
    pub requested_at: Option<DateTime<Utc>>,
    /// Language of the notice, as a tag.
    pub language: Option<&'a str>,
}

/// What the loaded policies offer, for [`Store::publish_scopes`].
#[derive(Clone, Debug)]
pub struct ScopeOffer {
    /// Subject kind.
    pub subject: String,
    /// Scope.
    pub scope: String,
    /// SHA-256 of the policy file.
    pub policy_sha256: String,
    /// Identifiers by which people are found.
    pub identifiers: Vec<String>,
    /// Least level of verification.
    pub at_least: Level,
    /// Two people needed.
    pub four_eyes: bool,
    /// Wait between approval and erasure.
    pub cooling_off: chrono::Duration,
    /// Least level where there are signs of an impostor.
    pub doubtful: Level,
    /// How long nothing is erased after such a sign was found.
    pub doubtful_wait: chrono::Duration,
    /// SLA profile.
    pub sla: String,
    /// Kinds of decisions that move its clock.
    pub clock_moves: Vec<String>,
    /// More rows than this are approved at a terminal only by typing back who is meant.
    pub confirm_over: Option<i64>,
    /// Retention rules whose people go by tickets of this scope, and how many tickets a run of each files at most.
    pub due_by: BTreeMap<String, u64>,
    /// What customers may be told of it.
    pub words: Offer,
}

/// Which tickets to list.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Only in this state.
    pub state: Option<String>,
    /// Only of this subject kind.
    pub subject: Option<String>,
    /// Only those open past their due date.
    pub overdue: bool,
    /// At most this many, the most dangerous first; 0 for 1,000.
    pub limit: u32,
}

/// A ticket as the desk may see it; times as in `docs/operations.md`.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // One field for each column of erasured.ticket_status, which says it.
pub struct TicketView {
    pub id: Uuid,
    pub reference: String,
    pub subject: String,
    pub scope: String,
    pub ground: String,
    pub language: Option<String>,
    pub state: String,
    pub problem_code: Option<String>,
    pub problem: Option<String>,
    pub requested_at: DateTime<Utc>,
    pub due_at: Option<DateTime<Utc>>,
    pub not_before: Option<DateTime<Utc>>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub sla_met: Option<bool>,
    pub attempt: i32,
    pub generation: i32,
    pub plan_id: Option<String>,
    pub subject_hash: Option<String>,
    pub clock: String,
    pub acknowledge_by: Option<DateTime<Utc>>,
    pub acknowledged_at: Option<DateTime<Utc>>,
    pub extended_due_at: Option<DateTime<Utc>>,
    pub extended_at: Option<DateTime<Utc>>,
    pub extended_for: Option<String>,
    pub asked_at: Option<DateTime<Utc>>,
    pub asked_for: Option<String>,
    pub escalated: i16,
    pub explain: bool,
    pub identified_by: Vec<String>,
    pub verified_by_method: Option<String>,
    pub verified_level: Option<String>,
    pub verified_by: Option<String>,
    pub verified_at: Option<DateTime<Utc>>,
    pub approved_by: Option<String>,
    pub approved_at: Option<DateTime<Utc>>,
    pub findings: i64,
    pub deferred_until: Option<DateTime<Utc>>,
    pub certificate_id: Option<Uuid>,
    pub duplicate_of: Option<String>,
    pub rejected_for: Option<String>,
    pub copies_held: Vec<String>,
    pub signs: Vec<String>,
    pub needed_level: Option<String>,
    pub refused: BTreeMap<String, String>,
    /// How badly it needs somebody.
    pub danger: Danger,
    /// Whom; nobody when it is closed.
    pub waits_for: Option<Who>,
    /// And for what.
    pub waits_for_what: Option<String>,
    /// The database's time, at which this was so.
    pub now: DateTime<Utc>,
}

/// A ticket with what hangs off it.
#[derive(Clone, Debug, Serialize)]
pub struct TicketDetail {
    /// The ticket.
    #[serde(flatten)]
    pub ticket: TicketView,
    /// Its work on each system, all generations.
    pub steps: Vec<super::executing::StepRow>,
    /// What is left of the person, open ones first.
    pub open_findings: Vec<FindingView>,
    /// What has happened, oldest first.
    pub timeline: Vec<Happened>,
    /// What is put off.
    pub deferrals: Vec<super::deferrals::DeferralView>,
    /// The words for whoever was refused.
    pub refusal: Option<super::grounds::Refusal>,
}

/// Where something is left: never what.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // As in erasured.finding.
pub struct FindingView {
    pub system: String,
    pub schema: String,
    pub table: String,
    pub column: String,
    pub identifier: String,
    pub row_key: Option<String>,
    pub rows: i64,
    pub found_at: DateTime<Utc>,
    pub resolved_at: Option<DateTime<Utc>>,
}

/// What a person decided, for the certificate: roles, not names.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionRow {
    /// The ticket.
    pub ticket: Uuid,
    /// As in erasured.decision, such as `verify` or `approve`.
    pub kind: String,
    /// How identity was verified.
    pub method: Option<String>,
    /// How far, as a policy writes it.
    pub level: Option<String>,
    /// In what capacity.
    pub by_role: String,
    /// By somebody who verified nothing of this ticket's.
    pub by_another: bool,
    /// When.
    pub at: DateTime<Utc>,
}

impl NewTicket<'_> {
    /// The identifiers as they are sent, if everything can be.
    pub(super) fn checked(&self) -> Result<serde_json::Value> {
        // The server's own error for a NUL would repeat the value.
        if self
            .identifiers
            .iter()
            .any(|(name, value)| name.contains('\0') || value.expose().contains('\0'))
        {
            return Err(StoreError::Nul("an identifier"));
        }
        let words = [
            self.reference,
            self.subject,
            self.scope,
            self.ground,
            self.language.unwrap_or_default(),
        ];
        if words.iter().any(|w| w.contains('\0')) {
            return Err(StoreError::Nul("the ticket"));
        }
        Ok(self
            .identifiers
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().into()))
            .collect::<serde_json::Map<_, _>>()
            .into())
    }
}

/// Files it in a transaction.
pub(super) async fn submit(
    tx: &Tx<'_>,
    new: &NewTicket<'_>,
    identifiers: &serde_json::Value,
) -> Result<Uuid> {
    let row = tx
        .query_one(
            "/* erasured:submit */ SELECT erasured.submit_ticket($1, $2, $3, $4, $5, coalesce($6, now()), $7)",
            &[&new.reference, &new.subject, identifiers, &new.scope, &new.ground, &new.requested_at, &new.language],
        )
        .await?;
    Ok(row.get(0))
}

impl Store {
    /// Files a request; the same reference with the same content gives the same ticket. `actor`
    /// counts only for logins that are trusted to name one.
    pub async fn submit(&self, new: &NewTicket<'_>, actor: Option<&str>) -> Result<Uuid> {
        self.submit_through(new, actor, None).await
    }

    /// The same through one of several doors of this login, among which turns are shared.
    pub async fn submit_through(
        &self,
        new: &NewTicket<'_>,
        actor: Option<&str>,
        door: Option<&str>,
    ) -> Result<Uuid> {
        let identifiers = new.checked()?;
        run_tx!(self, "submit", |tx| {
            act_as(tx, actor).await?;
            come_through(tx, door).await?;
            submit(tx, new, &identifiers).await
        })
    }

    /// Records by which method identity was verified, and why it is one that asks for more than the
    /// scope needs; returns the state.
    pub async fn verify(
        &self,
        ticket: Uuid,
        method: &str,
        reason: Option<&str>,
        actor: Option<&str>,
    ) -> Result<String> {
        run_tx!(self, "verify", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:verify */ SELECT erasured.verify_ticket($1, $2, $3)";
            Ok(tx
                .query_one(sql, &[&ticket, &method, &reason])
                .await?
                .get(0))
        })
    }

    /// Approves; returns the state.
    pub async fn approve(&self, ticket: Uuid, actor: Option<&str>) -> Result<String> {
        run_tx!(self, "approve", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:approve */ SELECT erasured.approve_ticket($1)";
            Ok(tx.query_one(sql, &[&ticket]).await?.get(0))
        })
    }

    /// Rejects, with a reason's code; returns the state.
    pub async fn reject(&self, ticket: Uuid, reason: &str, actor: Option<&str>) -> Result<String> {
        run_tx!(self, "reject", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:reject */ SELECT erasured.reject_ticket($1, $2)";
            Ok(tx.query_one(sql, &[&ticket, &reason]).await?.get(0))
        })
    }

    /// Refuses a part of what a ticket asks for, on a ground given as a code; returns the state.
    pub async fn refuse_part(
        &self,
        ticket: Uuid,
        part: &str,
        reason: &str,
        actor: Option<&str>,
    ) -> Result<String> {
        if part.contains('\0') || reason.contains('\0') {
            return Err(StoreError::Nul("the part"));
        }
        run_tx!(self, "refuse_part", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:refuse_part */ SELECT erasured.refuse_part($1, $2, $3)";
            Ok(tx.query_one(sql, &[&ticket, &part, &reason]).await?.get(0))
        })
    }

    /// Closes a ticket because the customer does not want it any more; returns the state.
    pub async fn withdraw(&self, ticket: Uuid, actor: Option<&str>) -> Result<String> {
        run_tx!(self, "withdraw", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:withdraw */ SELECT erasured.withdraw_ticket($1)";
            Ok(tx.query_one(sql, &[&ticket]).await?.get(0))
        })
    }

    /// Records that a document was seen, and whether a copy of it is held; returns the state.
    pub async fn see_document(
        &self,
        ticket: Uuid,
        kind: &str,
        copied: bool,
        actor: Option<&str>,
    ) -> Result<String> {
        run_tx!(self, "see_document", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:see_document */ SELECT erasured.see_document($1, $2, $3)";
            Ok(tx.query_one(sql, &[&ticket, &kind, &copied]).await?.get(0))
        })
    }

    /// Records that the copies of such documents were destroyed; returns the state.
    pub async fn destroy_document(
        &self,
        ticket: Uuid,
        kind: &str,
        actor: Option<&str>,
    ) -> Result<String> {
        run_tx!(self, "destroy_document", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:destroy_document */ SELECT erasured.destroy_document($1, $2)";
            Ok(tx.query_one(sql, &[&ticket, &kind]).await?.get(0))
        })
    }

    /// Closes a ticket because the real owner objects; returns the state.
    pub async fn object(&self, ticket: Uuid, actor: Option<&str>) -> Result<String> {
        run_tx!(self, "object", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:object */ SELECT erasured.object_ticket($1)";
            Ok(tx.query_one(sql, &[&ticket]).await?.get(0))
        })
    }

    /// Lets a failed, unfindable or waiting ticket try again; returns the state.
    pub async fn retry(&self, ticket: Uuid, actor: Option<&str>) -> Result<String> {
        run_tx!(self, "retry", |tx| {
            act_as(tx, actor).await?;
            let sql = "/* erasured:retry */ SELECT erasured.retry_ticket($1)";
            Ok(tx.query_one(sql, &[&ticket]).await?.get(0))
        })
    }

    /// Open tickets that a problem of this code keeps from going on, longest waiting first: id and
    /// reference.
    pub async fn hindered_by(&self, code: &str) -> Result<Vec<(Uuid, String)>> {
        run_tx!(self, "hindered_by", |tx| {
            let rows = tx
                .query(
                    "/* erasured:hindered_by */ SELECT id, reference FROM erasured.ticket_status \
                      WHERE problem_code = $1 AND state NOT IN ('completed', 'deferred', 'rejected') ORDER BY requested_at, id",
                    &[&code],
                )
                .await?;
            Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
        })
    }

    /// Tells the control schema what the loaded policies offer; what is not among them is offered
    /// no more.
    pub async fn publish_scopes(&self, offers: &[ScopeOffer]) -> Result<()> {
        run_tx!(self, "publish_scopes", |tx| {
            let names: Vec<String> = offers
                .iter()
                .map(|o| format!("{}\u{1}{}", o.subject, o.scope))
                .collect();
            tx.execute(
                "/* erasured:publish_scopes */ DELETE FROM erasured.scope WHERE subject || E'\\x01' || scope <> ALL ($1)",
                &[&names],
            )
            .await?;
            for o in offers {
                let words = serde_json::to_value(&o.words).unwrap_or_default();
                let due_by = serde_json::to_value(&o.due_by).unwrap_or_default();
                tx.execute(
                    "/* erasured:publish_scopes */ INSERT INTO erasured.scope AS s \
                       (subject, scope, policy_sha256, identifiers, at_least, four_eyes, cooling_off, sla, clock_moves, words, confirm_over, \
                        doubtful, doubtful_wait, due_by) \
                     VALUES ($1, $2, $3, $4, $5, $6, make_interval(secs => $7), $8, $9, $10, $11, $12, make_interval(secs => $13), $14) \
                     ON CONFLICT (subject, scope) DO UPDATE SET policy_sha256 = excluded.policy_sha256, \
                       identifiers = excluded.identifiers, at_least = excluded.at_least, four_eyes = excluded.four_eyes, \
                       cooling_off = excluded.cooling_off, sla = excluded.sla, clock_moves = excluded.clock_moves, words = excluded.words, \
                       confirm_over = excluded.confirm_over, doubtful = excluded.doubtful, doubtful_wait = excluded.doubtful_wait, due_by = excluded.due_by, \
                       published_at = now() \
                     WHERE (s.policy_sha256, s.identifiers, s.at_least, s.four_eyes, s.cooling_off, s.sla, s.clock_moves, s.words, s.confirm_over, \
                            s.doubtful, s.doubtful_wait, s.due_by) \
                       IS DISTINCT FROM (excluded.policy_sha256, excluded.identifiers, excluded.at_least, excluded.four_eyes, excluded.cooling_off, \
                       excluded.sla, excluded.clock_moves, excluded.words, excluded.confirm_over, excluded.doubtful, excluded.doubtful_wait, excluded.due_by)",
                    &[&o.subject, &o.scope, &o.policy_sha256, &o.identifiers, &(o.at_least as i16), &o.four_eyes,
                      &(o.cooling_off.num_seconds() as f64), &o.sla, &o.clock_moves, &words, &o.confirm_over,
                      &(o.doubtful as i16), &(o.doubtful_wait.num_seconds() as f64), &due_by],
                )
                .await?;
            }
            super::forecast::all_await(tx).await
        })
    }

    /// One ticket by id or reference, as the desk and auditors may see it.
    pub async fn ticket(&self, id_or_reference: &str) -> Result<TicketView> {
        if id_or_reference.contains('\0') {
            return Err(StoreError::Nul("the reference"));
        }
        run_tx!(self, "ticket", |tx| one(tx, id_or_reference).await)
    }

    /// The same with what hangs off it: for those who may see findings.
    pub async fn show(&self, id_or_reference: &str) -> Result<TicketDetail> {
        if id_or_reference.contains('\0') {
            return Err(StoreError::Nul("the reference"));
        }
        run_tx!(self, "show", |tx| {
            let ticket = one(tx, id_or_reference).await?;
            let findings = tx
                .query(
                    "/* erasured:show */ SELECT * FROM erasured.finding WHERE ticket_id = $1 \
                      ORDER BY resolved_at NULLS FIRST, id LIMIT 1000",
                    &[&ticket.id],
                )
                .await?;
            let timeline = tx
                .query(
                    "/* erasured:show */ SELECT at, what, by_role, detail FROM erasured.ticket_timeline \
                      WHERE ticket_id = $1 ORDER BY at",
                    &[&ticket.id],
                )
                .await?;
            Ok(TicketDetail {
                timeline: timeline.iter().map(happened).collect(),
                steps: super::executing::steps_of(tx, &[ticket.id]).await?,
                deferrals: super::deferrals::deferrals_of(tx, &[ticket.id]).await?,
                open_findings: findings.iter().map(finding).collect(),
                refusal: match &ticket.rejected_for {
                    Some(code) => super::grounds::refusal(tx, code).await?,
                    None => None,
                },
                ticket,
            })
        })
    }

    /// What people decided about these tickets, oldest first.
    pub async fn decisions(&self, tickets: &[Uuid]) -> Result<Vec<DecisionRow>> {
        run_tx!(self, "decisions", |tx| {
            let rows = tx
                .query(
                    "/* erasured:decisions */ SELECT ticket_id, kind, method, \
                       (ARRAY['none', 'basic', 'reasonable', 'reasonably-high', 'high'])[level + 1] AS level, by_role, at, \
                       NOT EXISTS (SELECT FROM erasured.decision v WHERE v.ticket_id = d.ticket_id AND v.kind = 'verify' \
                          AND erasured.folded(v.by_name) = erasured.folded(d.by_name)) AS by_another \
                       FROM erasured.decision d WHERE ticket_id = ANY ($1) ORDER BY id",
                    &[&tickets],
                )
                .await?;
            Ok(rows
                .iter()
                .map(|r| DecisionRow {
                    ticket: r.get("ticket_id"),
                    kind: r.get("kind"),
                    method: r.get("method"),
                    level: r.get("level"),
                    by_role: r.get("by_role"),
                    by_another: r.get("by_another"),
                    at: r.get("at"),
                })
                .collect())
        })
    }
}

async fn one(tx: &Tx<'_>, id_or_reference: &str) -> Result<TicketView> {
    let id: Option<Uuid> = id_or_reference.parse().ok();
    tx.query_opt(
        "/* erasured:ticket */ SELECT *, now() AS now FROM erasured.ticket_status WHERE id = $1 OR reference = $2 \
          ORDER BY id = $1 DESC LIMIT 1",
        &[&id, &id_or_reference],
    )
    .await?
    .as_ref()
    .map(view)
    .ok_or(StoreError::NotFound("such ticket"))
}

pub(super) async fn act_as(tx: &Tx<'_>, actor: Option<&str>) -> Result<()> {
    if let Some(actor) = actor {
        tx.execute(
            "/* erasured:act_as */ SELECT set_config('erasured.actor', $1, true)",
            &[&actor],
        )
        .await?;
    }
    Ok(())
}

/// Counts only for logins that are trusted to name a door.
pub(super) async fn come_through(tx: &Tx<'_>, door: Option<&str>) -> Result<()> {
    if let Some(door) = door {
        let sql = "/* erasured:come_through */ SELECT set_config('erasured.door', $1, true)";
        tx.execute(sql, &[&door]).await?;
    }
    Ok(())
}

fn finding(r: &Row) -> FindingView {
    FindingView {
        system: r.get("system"),
        schema: r.get("schema_name"),
        table: r.get("table_name"),
        column: r.get("column_name"),
        identifier: r.get("identifier"),
        row_key: r.get("row_key"),
        rows: r.get("rows"),
        found_at: r.get("found_at"),
        resolved_at: r.get("resolved_at"),
    }
}

fn happened(r: &Row) -> Happened {
    Happened {
        at: r.get("at"),
        what: r.get("what"),
        by_role: r.get("by_role"),
        detail: r.get("detail"),
    }
}

pub(super) fn view(r: &Row) -> TicketView {
    let now = r.get("now");
    let copies_held: Option<Vec<String>> = r.get("copies_held");
    let facts = Facts {
        copy_held: copies_held.is_some(),
        closing: r.get::<_, Option<&str>>("closing").is_some(),
        state: r.get("state"),
        problem_code: r.get("problem_code"),
        found: r.get::<_, Option<&str>>("subject_hash").is_some(),
        due_at: r.get("due_at"),
        clock: r.get("clock"),
        escalated: r.get("escalated"),
        explain: r.get("explain"),
        asked_for: r.get("asked_for"),
        next_attempt_at: r.get("next_attempt_at"),
    };
    let waits = facts.waits_for();
    TicketView {
        danger: facts.danger(now),
        waits_for: waits.as_ref().map(|(who, _)| *who),
        waits_for_what: waits.map(|(_, what)| what),
        now,
        id: r.get("id"),
        reference: r.get("reference"),
        subject: r.get("subject"),
        scope: r.get("scope"),
        ground: r.get("ground"),
        language: r.get("language"),
        state: r.get("state"),
        problem_code: r.get("problem_code"),
        problem: r.get("problem"),
        requested_at: r.get("requested_at"),
        due_at: r.get("due_at"),
        not_before: r.get("not_before"),
        next_attempt_at: r.get("next_attempt_at"),
        started_at: r.get("started_at"),
        finished_at: r.get("finished_at"),
        sla_met: r.get("sla_met"),
        attempt: r.get("attempt"),
        generation: r.get("generation"),
        plan_id: r.get("plan_id"),
        subject_hash: r.get("subject_hash"),
        clock: r.get("clock"),
        acknowledge_by: r.get("acknowledge_by"),
        acknowledged_at: r.get("acknowledged_at"),
        extended_due_at: r.get("extended_due_at"),
        extended_at: r.get("extended_at"),
        extended_for: r.get("extended_for"),
        asked_at: r.get("asked_at"),
        asked_for: r.get("asked_for"),
        escalated: r.get("escalated"),
        explain: r.get("explain"),
        identified_by: r
            .get::<_, Option<Vec<String>>>("identified_by")
            .unwrap_or_default(),
        verified_by_method: r.get("verified_by_method"),
        verified_level: r.get("verified_level"),
        verified_by: r.get("verified_by"),
        verified_at: r.get("verified_at"),
        approved_by: r.get("approved_by"),
        approved_at: r.get("approved_at"),
        findings: r.get("findings"),
        deferred_until: r.get("deferred_until"),
        certificate_id: r.get("certificate_id"),
        duplicate_of: r.get("duplicate_of"),
        rejected_for: r.get("rejected_for"),
        copies_held: copies_held.unwrap_or_default(),
        signs: r.get::<_, Option<Vec<String>>>("signs").unwrap_or_default(),
        needed_level: r.get("needed_level"),
        refused: refused(r),
    }
}

/// What was refused of a ticket: part to ground.
pub(super) fn refused(r: &Row) -> BTreeMap<String, String> {
    let refused: serde_json::Value = r.get("refused");
    serde_json::from_value(refused).unwrap_or_default()
}
