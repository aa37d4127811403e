//! Each step: its plan stored before its first write, done once, by its system's own row, and written down as
//! done behind that with what that says.

use super::chain::hex;
use super::{Applied, Happened, History, Step, twice};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// When it was written down that something had begun, or was done.
type Written = BTreeMap<(Uuid, i64, String), DateTime<Utc>>;

pub(super) fn wrong(history: &History, events: &[Happened]) -> Vec<String> {
    let mut wrong: Vec<String> = rows(history).collect();
    let mut standing: BTreeMap<(Uuid, i32, &str), &Applied> = BTreeMap::new();
    for applied in history.applied.values().flatten() {
        standing.insert(
            (applied.ticket_id, applied.generation, &applied.system),
            applied,
        );
    }
    let (began, done) = written(events);
    for step in &history.control.steps {
        let place = !history.applied.contains_key(&step.system);
        let row = standing.get(&(step.ticket_id, step.generation, step.system.as_str()));
        let who = format!(
            "{}: step {} of {}",
            history.reference(step.ticket_id),
            step.system,
            step.generation
        );
        let told = match (step.state.as_str(), row) {
            ("done", _) if place => Vec::new(),
            ("done", None) => vec!["is done, and the system has no row of it".to_owned()],
            ("done", Some(row)) => of_one(history, step, row, &began, &done),
            (_, Some(_)) if closed(history, step.ticket_id) => {
                vec!["its system has a row of it, and nobody wrote it down".to_owned()]
            }
            _ => Vec::new(),
        };
        wrong.extend(told.into_iter().map(|what| format!("{who}: {what}")));
    }
    wrong
}

fn closed(history: &History, id: Uuid) -> bool {
    history
        .control
        .tickets
        .iter()
        .any(|t| t.id == id && t.is_done())
}

/// Rows that belong to nobody, to another system, or that are there twice.
fn rows(history: &History) -> impl Iterator<Item = String> {
    let control = &history.control;
    let steps: BTreeSet<_> = control
        .steps
        .iter()
        .map(|s| (s.ticket_id, s.generation, s.system.as_str()))
        .collect();
    let deferrals: BTreeSet<Uuid> = control.deferrals.iter().map(|d| d.id).collect();
    let runs: BTreeSet<Uuid> = control.runs.iter().map(|r| r.id).collect();
    let all = history
        .applied
        .iter()
        .flat_map(|(system, rows)| rows.iter().map(move |row| (system, row)));
    let mut wrong = Vec::new();
    for (system, row) in all.clone() {
        let of_ticket = steps.contains(&(row.ticket_id, row.generation, row.system.as_str()));
        let known = of_ticket || deferrals.contains(&row.ticket_id) || runs.contains(&row.batch);
        if !known {
            wrong.push(format!(
                "{system}: a row of {}, which nobody planned",
                row.ticket_id
            ));
        }
        if row.system != *system {
            wrong.push(format!("{system}: a row that says it is of {}", row.system));
        }
    }
    let keys = all.map(|(_, row)| (row.ticket_id, row.generation, row.system.clone()));
    let again = twice(keys).into_iter();
    wrong.extend(
        again.map(|(id, generation, system)| format!("{system}: two rows of {id}, {generation}")),
    );
    wrong.into_iter()
}

fn written(events: &[Happened]) -> (Written, Written) {
    let (mut began, mut done) = (Written::new(), Written::new());
    for event in events {
        let (Some(ticket), Some(generation)) = (event.ticket, event.body["generation"].as_i64())
        else {
            continue;
        };
        let system = event.body["system"].as_str().unwrap_or_default().to_owned();
        match event.kind.as_str() {
            "executing" => drop(
                began
                    .entry((ticket, generation, String::new()))
                    .or_insert(event.at),
            ),
            "step_done" => drop(done.insert((ticket, generation, system), event.at)),
            "step_reopened" => drop(done.remove(&(ticket, generation, system))),
            _ => {}
        }
    }
    (began, done)
}

fn of_one(
    history: &History,
    step: &Step,
    row: &Applied,
    began: &Written,
    done: &Written,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let generation = i64::from(step.generation);
    let key = |system: &str| (step.ticket_id, generation, system.to_owned());
    let counts = step.counts.as_ref().map(|record| &record["counts"]);
    must(counts == Some(&row.counts), "counts other than its system");
    must(
        step.committed_at >= Some(row.committed_at),
        "committed earlier than its system says",
    );
    let began = began.get(&key(""));
    must(
        began.is_some_and(|at| *at <= row.committed_at),
        "its system wrote before it began",
    );
    let done = done.get(&key(&step.system)).copied();
    must(
        done.is_some() && done >= step.committed_at && done >= Some(row.committed_at),
        "written down as done before its system had done it, or never",
    );
    match history.control.plans.iter().find(|p| p.id == step.plan_id) {
        None => must(false, "its plan is not stored"),
        Some(plan) => {
            must(
                plan.created_at <= row.committed_at,
                "its plan is younger than its first write",
            );
            must(
                hex(&Sha256::digest(&plan.body)) == plan.id,
                "its plan is not the one that it names",
            );
        }
    }
    wrong
}
