//! `erasured ticket`.

mod approve;
mod clock;
mod document;
mod notice;
mod script;
mod timeline;

use super::ask;
use super::failure::Failure;
use super::identifiers::Identifiers;
use super::source::Control;
use super::table::{self, Table};
use super::{Format, print_json, say};
use crate::store::Store;
use crate::store::tickets::{
    FindingView, IdentifierValue, ListFilter, NewTicket, TicketDetail, TicketView,
};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use std::path::Path;
use uuid::Uuid;

mod prove;

/// File, verify, approve and look at erasure requests.
#[derive(Subcommand, Debug)]
#[command(after_help = "\
A ticket is named by its id or by the desk's own reference. The same can be done in SQL, from a
CRM's own transaction: erasured.submit_ticket, verify_ticket, approve_ticket, reject_ticket, refuse_part,
withdraw_ticket, object_ticket, see_document,
destroy_document, retry_ticket, acknowledge_ticket, ask_ticket, answered_ticket, extend_ticket, and the view erasured.ticket_status.

Example, with the desk's own logins and no configuration file:
  export ERASURED_CONTROL=postgresql://hana@db.example/erasured
  erasured ticket submit --reference CRM-1042 --subject customer --scope account \\
      --ground appi-35-5 --identifier member_no=TM-0000042
  erasured ticket verify CRM-1042 --method callback_dob
  erasured ticket approve CRM-1042          (another person, where the policy asks for four eyes)")]
pub(super) enum Ticket {
    Submit(Submit),
    Prove(prove::Prove),
    Verify(Verify),
    Document(document::Document),
    Approve(approve::Approve),
    Reject(Reject),
    RefusePart(RefusePart),
    /// Close a ticket that the customer does not want any more; possible until something was erased.
    Withdraw(One),
    /// Close a ticket because the real owner says it was not them; the next one for the same person needs more.
    Object(One),
    Retry(Retry),
    #[command(flatten)]
    Clock(clock::Clock),
    Notice(notice::Notice),
    Script(script::Script),
    List(List),
    Show(Show),
}

/// File a request. The same reference with the same content is the same ticket.
#[derive(Args, Debug)]
pub(super) struct Submit {
    /// The desk's own word for the request; it stays, so it must not name the person.
    #[arg(long)]
    reference: String,
    /// Subject kind of the policy, such as customer.
    #[arg(long)]
    subject: String,
    /// Scope of the policy: what is asked for.
    #[arg(long)]
    scope: String,
    /// Legal ground, as a code such as gdpr-17-1-b, appi-35-5 or policy.
    #[arg(long)]
    ground: String,
    #[command(flatten)]
    identifiers: Identifiers,
    /// Who asks, such as the number that calls; kept as a hash. One who asks for several people is doubtful.
    #[arg(long, value_name = "TEXT")]
    requester: Option<String>,
    /// When the person asked (RFC 3339), if not now: the clock starts there.
    #[arg(long, value_name = "TIME")]
    requested_at: Option<DateTime<Utc>>,
    /// Language of the notice, such as ja or en.
    #[arg(long, value_name = "TAG")]
    language: Option<String>,
    #[command(flatten)]
    actor: Actor,
}

/// Record by which method identity was verified; never what was seen.
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// Id or reference.
    ticket: String,
    /// Code of the method, such as login, callback_dob or id_masked; how far it reaches is its own.
    /// Without it those that reach far enough are offered, at a terminal.
    #[arg(long)]
    method: Option<String>,
    /// Code of the reason, for a method that asks for more than the scope needs.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    actor: Actor,
}

/// A ticket and who acts on it.
#[derive(Args, Debug)]
pub(super) struct One {
    /// Id or reference.
    ticket: String,
    #[command(flatten)]
    actor: Actor,
}

/// Let failed, unfindable or waiting tickets try again now.
#[derive(Args, Debug)]
pub(super) struct Retry {
    /// Ids or references.
    #[arg(required_unless_present = "code")]
    tickets: Vec<String>,
    /// All open tickets that this code keeps from going on, such as E0201.
    #[arg(long, value_name = "CODE", conflicts_with = "tickets")]
    code: Option<String>,
    #[command(flatten)]
    actor: Actor,
}

/// Close a ticket of which nothing has been carried out.
#[derive(Args, Debug)]
pub(super) struct Reject {
    /// Id or reference.
    ticket: String,
    /// Code of the reason, such as appi-unverified. Without it all there are are offered, at a terminal.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    actor: Actor,
}

/// Refuse a part of what a verified ticket asks for; the rest goes on.
///
/// With the part stays what hangs together with it, such as the customer's own entry. The certificate and
/// the notices say what was refused, and on which ground.
#[derive(Args, Debug)]
pub(super) struct RefusePart {
    /// Id or reference.
    ticket: String,
    /// A table (system.schema.table), a column that is set there, or a category of the policy.
    #[arg(long)]
    part: String,
    /// Code of the ground, such as contract or legal-claim.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    actor: Actor,
}

/// List tickets, the most dangerous first: late, due soon, failed, waiting for somebody; then the rest.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only in this state.
    #[arg(long)]
    state: Option<String>,
    /// Only of this subject kind.
    #[arg(long)]
    subject: Option<String>,
    /// Only open ones past their due date.
    #[arg(long)]
    overdue: bool,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    control: Control,
}

/// Show one ticket: state, steps, what was found and where.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// Id or reference.
    ticket: String,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    control: Control,
}

/// Who acts, and where.
#[derive(Args, Debug)]
pub(super) struct Actor {
    /// Act for this person; counts only for logins in erasured_trusted.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    control: Control,
}

impl Ticket {
    pub(super) async fn execute(self, config: &Path) -> Result<(), Failure> {
        match self {
            Self::Submit(submit) => submit.execute(config).await,
            Self::Verify(v) => {
                let (store, id, actor) = v.actor.about(config, &v.ticket).await?;
                let method = match v.method {
                    Some(method) => method,
                    None => ask::choose("--method", &store.ways(id).await?)?,
                };
                let state = store.verify(id, &method, v.reason.as_deref(), actor.as_deref());
                said(&v.ticket, &state.await?)
            }
            Self::Document(document) => document.execute(config).await,
            Self::Prove(prove) => prove.execute(config).await,
            Self::Approve(approve) => approve.execute(config).await,
            Self::Reject(r) => {
                let (store, id, actor) = r.actor.about(config, &r.ticket).await?;
                let reason = match r.reason {
                    Some(reason) => reason,
                    None => ask::choose("--reason", &store.refusals().await?)?,
                };
                let state = store.reject(id, &reason, actor.as_deref()).await?;
                said(&r.ticket, &state)
            }
            Self::RefusePart(r) => {
                let (store, id, actor) = r.actor.about(config, &r.ticket).await?;
                let state = store.refuse_part(id, &r.part, &r.reason, actor.as_deref());
                said(&r.ticket, &state.await?)
            }
            Self::Withdraw(one) => {
                let (store, id, actor) = one.actor.about(config, &one.ticket).await?;
                said(&one.ticket, &store.withdraw(id, actor.as_deref()).await?)
            }
            Self::Object(one) => {
                let (store, id, actor) = one.actor.about(config, &one.ticket).await?;
                said(&one.ticket, &store.object(id, actor.as_deref()).await?)
            }
            Self::Retry(retry) => retry.execute(config).await,
            Self::Clock(clock) => clock.execute(config).await,
            Self::Notice(notice) => notice.execute(config).await,
            Self::Script(script) => script.execute(config).await,
            Self::List(list) => list.execute(config).await,
            Self::Show(show) => show.execute(config).await,
        }
    }
}

fn said(ticket: &str, state: &str) -> Result<(), Failure> {
    say!("{ticket}: {state}");
    Ok(())
}

impl Actor {
    /// The store, the ticket's id, and the name to act under.
    async fn about(
        self,
        config: &Path,
        ticket: &str,
    ) -> Result<(Store, Uuid, Option<String>), Failure> {
        let store = self.control.store(config).await?;
        let id = store.ticket(ticket).await?.id;
        Ok((store, id, self.name))
    }
}

impl Retry {
    async fn execute(self, config: &Path) -> Result<(), Failure> {
        let store = self.actor.control.store(config).await?;
        let name = self.actor.name.as_deref();
        for ticket in &self.tickets {
            let id = store.ticket(ticket).await?.id;
            said(ticket, &store.retry(id, name).await?)?;
        }
        let Some(code) = self.code else {
            return Ok(());
        };
        let hindered = store.hindered_by(&code).await?;
        for (id, reference) in &hindered {
            said(reference, &store.retry(*id, name).await?)?;
        }
        say!("{} ticket(s) with {code} to be tried again", hindered.len());
        Ok(())
    }
}

impl Submit {
    async fn execute(self, config: &Path) -> Result<(), Failure> {
        let identifiers = self.identifiers.read()?;
        if identifiers.is_empty() {
            return Err(Failure::usage(
                "name the person: --identifier NAME=VALUE or --identifier-file FILE",
            ));
        }
        let store = self.actor.control.store(config).await?;
        let new = NewTicket {
            reference: &self.reference,
            subject: &self.subject,
            identifiers: &identifiers,
            scope: &self.scope,
            ground: &self.ground,
            requested_at: self.requested_at,
            language: self.language.as_deref(),
        };
        let id = store.submit(&new, self.actor.name.as_deref()).await?;
        if let Some(requester) = self.requester {
            let requester = IdentifierValue::new(requester);
            let actor = self.actor.name.as_deref();
            store.name_requester(id, &requester, actor).await?;
        }
        // A reference used before names the ticket of then, which may be closed.
        let state = store.ticket(&id.to_string()).await?.state;
        let state = if state == "received" {
            String::new()
        } else {
            format!(" (filed before: {state})")
        };
        say!("{}: ticket {id}{state}", self.reference);
        Ok(())
    }
}

impl List {
    async fn execute(self, config: &Path) -> Result<(), Failure> {
        let filter = ListFilter {
            state: self.state,
            subject: self.subject,
            overdue: self.overdue,
            limit: self.limit,
        };
        let tickets = self.control.store(config).await?.list(&filter).await?;
        if self.format == Format::Json {
            print_json(&tickets);
            return Ok(());
        }
        let mut table = Table::new([
            "REFERENCE",
            "DANGER",
            "STATE",
            "SCOPE",
            "DUE",
            "WAITS FOR",
            "PROBLEM",
        ]);
        for ticket in &tickets {
            table.row([
                ticket.reference.clone(),
                ticket.danger.word().to_owned(),
                ticket.state.clone(),
                format!("{}/{}", ticket.subject, ticket.scope),
                table::time(ticket.due_at),
                waits_for(ticket),
                table::text(ticket.problem_code.as_deref()),
            ]);
        }
        table.print();
        if tickets.len() == usize::try_from(self.limit).unwrap_or(usize::MAX) {
            say!("the first {}; --limit shows more", self.limit);
        }
        Ok(())
    }
}

impl Show {
    async fn execute(self, config: &Path) -> Result<(), Failure> {
        let detail = self.control.store(config).await?.show(&self.ticket).await?;
        match self.format {
            Format::Json => print_json(&detail),
            Format::Table => print(&detail),
        }
        Ok(())
    }
}

fn print(detail: &TicketDetail) {
    let t = &detail.ticket;
    say!("{}  {}  ({})", t.reference, t.state, t.id);
    let field = |name: &str, value: String| say!("  {name:<12} {value}");
    field(
        "asks for",
        format!("{}/{}, ground {}", t.subject, t.scope, t.ground),
    );
    field("named by", t.identified_by.join(", "));
    field("requested", table::time(Some(t.requested_at)));
    field("due", due(t));
    if t.waits_for.is_some() {
        field("waits for", waits_for(t));
    }
    clock::print(t, &field);
    if let Some(at) = t.next_attempt_at {
        field("not before", table::time(Some(at)));
    }
    if let (Some(method), Some(level)) = (&t.verified_by_method, &t.verified_level) {
        let by = table::text(t.verified_by.as_deref());
        field("verified", format!("{level} by {method} ({by})"));
    }
    if !t.copies_held.is_empty() {
        field("copies held", t.copies_held.join(", "));
    }
    if !t.signs.is_empty() {
        field("doubtful", t.signs.join(", "));
        let needed = table::text(t.needed_level.as_deref());
        field(
            "needs",
            format!("{needed}; warn whoever was reached before"),
        );
    }
    if let Some(by) = &t.approved_by {
        field("approved", format!("{} ({by})", table::time(t.approved_at)));
    }
    if let (Some(code), Some(problem)) = (&t.problem_code, &t.problem) {
        // A diagnostic begins with its code already.
        let said = problem
            .strip_prefix(&format!("{code}: "))
            .unwrap_or(problem);
        field("problem", format!("{code}: {said}"));
    }
    if let Some(first) = &t.duplicate_of {
        field("duplicate of", first.clone());
    }
    if let Some(code) = &t.rejected_for {
        field("rejected for", code.clone());
    }
    for (part, code) in &t.refused {
        field("refused part", format!("{part} ({code})"));
    }
    if let Some(refusal) = &detail.refusal {
        let japanese = t.language.as_deref().is_some_and(|l| l.starts_with("ja"));
        let (words, complain) = if japanese {
            (&refusal.ja, &refusal.complain_ja)
        } else {
            (&refusal.en, &refusal.complain_en)
        };
        field("to be told", words.clone());
        if let Some(complain) = complain {
            field("complaints", complain.clone());
        }
    }
    for step in &detail.steps {
        let state = step.committed_at.map_or_else(
            || "planned".to_owned(),
            |at| format!("committed {}", table::time(Some(at))),
        );
        let retried = match step.generation {
            1 => String::new(),
            n => format!(" (plan {n})"),
        };
        field("step", format!("{}{retried}: {state}", step.system));
    }
    for deferral in &detail.deferrals {
        field(
            "kept",
            format!(
                "{}.{}.{}: {} row(s) until {} ({})",
                deferral.system,
                deferral.schema,
                deferral.table,
                deferral.rows,
                deferral.due_at.format("%Y-%m-%d"),
                deferral.basis
            ),
        );
    }
    if let Some(id) = t.certificate_id {
        field("certificate", id.to_string());
    }
    timeline::print(detail);
    let closed = matches!(t.state.as_str(), "completed" | "deferred");
    findings(&detail.open_findings, closed);
}

/// Who must act, and what for.
fn waits_for(ticket: &TicketView) -> String {
    match (ticket.waits_for, &ticket.waits_for_what) {
        (Some(who), Some(what)) => format!("{}: {what}", who.word()),
        _ => "-".to_owned(),
    }
}

fn due(ticket: &TicketView) -> String {
    let met = match ticket.sla_met {
        Some(true) => ", met",
        Some(false) if ticket.explain => ", an explanation was owed from then on",
        Some(false) => ", missed",
        None => "",
    };
    format!("{}{met}", table::time(ticket.due_at))
}

/// Where something is left, and where something was until a retry.
fn findings(findings: &[FindingView], closed: bool) {
    if findings.is_empty() {
        return;
    }
    let open = findings.iter().any(|f| f.resolved_at.is_none());
    let heading = if open && closed {
        "Come back after the certificate"
    } else if open {
        "Left of the person"
    } else {
        "Found before the retry"
    };
    say!("\n{heading} (the place, never the value):");
    let mut table = Table::new(["SYSTEM", "TABLE", "COLUMN", "WHAT", "ROW", "ROWS", "STATE"]);
    for f in findings {
        table.row([
            f.system.clone(),
            match f.schema.as_str() {
                // A place in a system without tables.
                "" => f.table.clone(),
                schema => format!("{schema}.{}", f.table),
            },
            f.column.clone(),
            f.identifier.clone(),
            table::text(f.row_key.as_deref()),
            f.rows.to_string(),
            if f.resolved_at.is_some() {
                "retried"
            } else {
                "open"
            }
            .to_owned(),
        ]);
    }
    table.print();
}
