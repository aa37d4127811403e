//! The way of each ticket, as the ledger tells it: from state to state as the design allows, each step once and
//! while the ticket is at work, all of them before the search, the certificate behind it and last.

use super::{Control, Happened, Ticket};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// From where a ticket may go to where.
const ALLOWED: &[(&str, &[&str])] = &[
    (
        "received",
        &["verified", "approved", "rejected", "on_hold", "completed"],
    ),
    (
        "verified",
        &["verified", "received", "approved", "rejected", "on_hold"],
    ),
    (
        "approved",
        &[
            "scheduled",
            "rejected",
            "on_hold",
            "verified",
            "failed",
            "completed",
        ],
    ),
    (
        "scheduled",
        &[
            "executing",
            "on_hold",
            "rejected",
            "failed",
            "verified",
            "completed",
            "deferred",
        ],
    ),
    (
        "executing",
        &[
            "verifying",
            "scheduled",
            "failed",
            "on_hold",
            "completed",
            "deferred",
        ],
    ),
    (
        "verifying",
        &["completed", "deferred", "failed", "scheduled", "on_hold"],
    ),
    (
        "failed",
        &["scheduled", "rejected", "on_hold", "verified", "approved"],
    ),
    (
        "on_hold",
        &[
            "received",
            "verified",
            "approved",
            "scheduled",
            "rejected",
            "failed",
        ],
    ),
    ("deferred", &["completed"]),
    ("completed", &[]),
    ("rejected", &[]),
];

/// What a system that was replaced has lost is done again.
const LOST: &str = "E0517";

/// How far a ticket has come.
#[derive(Default)]
struct Way<'a> {
    state: Option<&'a str>,
    generation: i64,
    began: BTreeSet<i64>,
    done: BTreeSet<(i64, &'a str)>,
    lost: bool,
    certified: usize,
    wrong: Vec<String>,
}

pub(super) fn wrong(control: &Control, events: &[Happened]) -> Vec<String> {
    let mut ways: BTreeMap<Uuid, Way<'_>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for ticket in &control.tickets {
        ways.insert(ticket.id, Way::default());
    }
    for event in events {
        let Some(id) = event.ticket else { continue };
        match ways.get_mut(&id) {
            Some(way) => way.goes(control, id, event),
            None => wrong.push(format!(
                "ticket {id}: {} happened, and it is not there",
                event.kind
            )),
        }
    }
    for ticket in &control.tickets {
        let way = &mut ways.get_mut(&ticket.id).expect("each has one");
        way.ends(ticket);
        let told = way.wrong.iter();
        wrong.extend(told.map(|what| format!("{}: {what}", ticket.reference)));
    }
    wrong
}

impl<'a> Way<'a> {
    fn goes(&mut self, control: &Control, id: Uuid, event: &'a Happened) {
        let body = &event.body;
        let kind = event.kind.as_str();
        match kind {
            "step_done" => self.step(body),
            "step_reopened" => self.again(body),
            "certificate" if body.get("deferral").is_none() => {
                self.certified += 1;
                if self.state != Some("verifying") {
                    self.wrong
                        .push(format!("a certificate while {:?}", self.state));
                }
            }
            "certificate" if self.state != Some("deferred") => {
                self.wrong
                    .push(format!("a supplement while {:?}", self.state));
            }
            _ if body.get("from").is_some() && ALLOWED.iter().any(|(state, _)| *state == kind) => {
                self.moves(kind, body);
            }
            "received" if self.state.is_none() => self.state = Some("received"),
            _ => {}
        }
        if kind == "verifying" {
            self.all_is_done(control, id);
        }
    }

    fn moves(&mut self, to: &'a str, body: &'a serde_json::Value) {
        let from = body["from"].as_str();
        let known = ALLOWED.iter().find(|(state, _)| Some(*state) == from);
        if from != self.state {
            self.wrong
                .push(format!("{to} from {from:?} while {:?}", self.state));
        } else if !known.is_some_and(|(_, ways)| ways.contains(&to)) {
            self.wrong
                .push(format!("no way leads from {from:?} to {to}"));
        }
        if ["completed", "deferred"].contains(&to)
            && from == Some("verifying")
            && self.certified != 1
        {
            self.wrong
                .push(format!("{to} with {} certificates", self.certified));
        }
        self.lost |= body["code"] == LOST;
        self.state = Some(to);
        self.generation = body["generation"].as_i64().unwrap_or(self.generation);
        if to == "executing" {
            self.began.insert(self.generation);
        }
    }

    fn step(&mut self, body: &'a serde_json::Value) {
        let (generation, system) = (body["generation"].as_i64(), body["system"].as_str());
        let (Some(generation), Some(system)) = (generation, system) else {
            return self.wrong.push(format!("a step of nothing: {body}"));
        };
        if !self.began.contains(&generation) {
            self.wrong
                .push(format!("step {system} of {generation} before that began"));
        }
        if self.certified > 0 {
            self.wrong.push(format!(
                "step {system} of {generation} behind the certificate"
            ));
        }
        if !self.done.insert((generation, system)) && !self.lost {
            self.wrong
                .push(format!("step {system} of {generation} done twice"));
        }
    }

    /// A row has come to name something more in a system that was done: it is done once more.
    fn again(&mut self, body: &'a serde_json::Value) {
        let (generation, system) = (body["generation"].as_i64(), body["system"].as_str());
        let was = generation
            .zip(system)
            .is_some_and(|step| self.done.remove(&step));
        if !was {
            self.wrong
                .push(format!("a step reopened that was not done: {body}"));
        }
    }

    /// Nothing is searched before all is done.
    fn all_is_done(&mut self, control: &Control, id: Uuid) {
        let planned = control.steps.iter().filter(|s| s.ticket_id == id);
        for step in planned.filter(|s| i64::from(s.generation) == self.generation) {
            let it = (i64::from(step.generation), step.system.as_str());
            if !self.done.iter().any(|done| *done == it) {
                self.wrong
                    .push(format!("verifying before step {} was done", step.system));
            }
        }
    }

    fn ends(&mut self, ticket: &Ticket) {
        if self.state != Some(ticket.state.as_str()) {
            self.wrong.push(format!(
                "is {}, and its way ends at {:?}",
                ticket.state, self.state
            ));
        }
        let due = usize::from(ticket.is_done() && ticket.duplicate_of.is_none());
        if self.certified != due {
            self.wrong
                .push(format!("{} certificate(s), {due} due", self.certified));
        }
    }
}
