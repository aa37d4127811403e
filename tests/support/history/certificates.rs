//! Certificates: genuine, entered into the ledger once, and saying what the systems' own rows say.

use super::chain::hex;
use super::{Applied, Happened, History, Issued, twice};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

pub(super) fn wrong(history: &History, events: &[Happened], key: &VerifyingKey) -> Vec<String> {
    let mut wrong = Vec::new();
    let issued = &history.control.certificates;
    let entered: Vec<&Value> = events
        .iter()
        .filter(|e| e.kind == "certificate")
        .map(|e| &e.body)
        .collect();
    for certificate in issued {
        let who = match certificate.ticket_id {
            Some(ticket) => history.reference(ticket),
            None => format!("run {:?}", certificate.run_id),
        };
        let told = of_one(history, &entered, certificate, key);
        wrong.extend(told.into_iter().map(|what| format!("{who}: {what}")));
    }
    if entered.len() != issued.len() {
        wrong.push(format!(
            "{} certificates, {} entered into the ledger",
            issued.len(),
            entered.len()
        ));
    }
    let of = issued
        .iter()
        .map(|c| (c.ticket_id, c.run_id, c.deferral_id));
    wrong.extend(
        twice(of)
            .iter()
            .map(|of| format!("two certificates of {of:?}")),
    );
    wrong
}

fn of_one(
    history: &History,
    entered: &[&Value],
    issued: &Issued,
    key: &VerifyingKey,
) -> Vec<String> {
    let sha256 = hex(&Sha256::digest(&issued.jws));
    let id = issued.id.to_string();
    let mut wrong = Vec::new();
    match entered
        .iter()
        .filter(|body| body["certificate"] == *id)
        .collect::<Vec<_>>()[..]
    {
        [body] if body["sha256"] == *sha256 => {}
        [_] => wrong.push("the ledger knows another certificate of this id".to_owned()),
        ref other => wrong.push(format!("its certificate was entered {} times", other.len())),
    }
    let Some(said) = read(&issued.jws, key) else {
        wrong.push("its certificate is not signed by the key".to_owned());
        return wrong;
    };
    let of = |at: &Value, id: Option<uuid::Uuid>| id.is_some_and(|id| *at == id.to_string());
    if said["id"] != *id
        || !(of(&said["ticket"]["id"], issued.ticket_id) || of(&said["run"]["id"], issued.run_id))
    {
        wrong.push("its certificate says it is another's".to_owned());
    }
    let height = said["ledger"]["height"].as_i64().unwrap_or(-1);
    let held = history
        .control
        .ledger
        .iter()
        .find(|link| link.seq == height);
    if height != 0 && held.is_none_or(|link| said["ledger"]["head"] != *link.hash) {
        wrong.push("its certificate names a head that the ledger never had".to_owned());
    }
    wrong.extend(counts(history, issued, &said));
    if issued.run_id.is_none() && issued.deferral_id.is_none() {
        wrong.extend(search(history, issued, &said));
    }
    wrong
}

/// What stands in it, if it is signed by the key.
fn read(jws: &str, key: &VerifyingKey) -> Option<Value> {
    let (text, signature) = jws.rsplit_once('.')?;
    let signature = Signature::from_slice(&BASE64.decode(signature).ok()?).ok()?;
    key.verify(text.as_bytes(), &signature).ok()?;
    let (_, payload) = text.split_once('.')?;
    serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()
}

/// `system.schema.table what` to rows.
type Counts = BTreeMap<String, i64>;

/// Its counts are those of its systems' rows, of all generations.
fn counts(history: &History, issued: &Issued, said: &Value) -> Option<String> {
    let mine = |row: &&Applied| match (issued.run_id, issued.deferral_id) {
        (Some(run), _) => row.batch == run,
        (None, Some(deferral)) => row.ticket_id == deferral,
        (None, None) => Some(row.ticket_id) == issued.ticket_id,
    };
    let mut stand = Counts::new();
    let mut generations = 0;
    for row in history.applied.values().flatten().filter(mine) {
        generations = generations.max(row.generation);
        add_row(&mut stand, &row.system, &row.counts);
    }
    for step in history
        .control
        .steps
        .iter()
        .filter(|s| Some(s.ticket_id) == issued.ticket_id)
    {
        if let Some(record) = step.counts.as_ref()
            && !history.applied.contains_key(&step.system)
            && issued.deferral_id.is_none()
        {
            add_row(&mut stand, &step.system, &record["counts"]);
        }
    }
    let mut says = Counts::new();
    let run_of = said["run"]["table"]
        .as_str()
        .and_then(|table| table.split('.').next());
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for table in list(&said["tables"]) {
        add_table(&mut says, run_of.unwrap_or_default(), &table);
    }
    for system in list(&said["systems"]) {
        for table in list(&system["tables"]) {
            add_table(
                &mut says,
                system["system"].as_str().unwrap_or_default(),
                &table,
            );
        }
    }
    for system in list(&said["places"]) {
        for place in list(&system["found"]) {
            let name = format!(
                "{}.{}",
                system["system"].as_str()?,
                place["place"].as_str()?
            );
            let stays: i64 = list(&place["stays"])
                .iter()
                .filter_map(|s| s["things"].as_i64())
                .sum();
            says.insert(format!("{name} deleted"), place["erased"].as_i64()?);
            says.insert(format!("{name} kept"), stays);
        }
    }
    // What stays is met again by each generation, and said once.
    for counts in [&mut stand, &mut says] {
        counts.retain(|what, rows| *rows != 0 && (generations <= 1 || !what.ends_with(" kept")));
    }
    (stand != says).then(|| format!("its certificate says {says:?}, and its systems {stand:?}"))
}

fn add_row(counts: &mut Counts, system: &str, row: &Value) {
    for (table, kinds) in row["changed"].as_object().into_iter().flatten() {
        for (kind, rows) in kinds.as_object().into_iter().flatten() {
            if kind != "cleaned" {
                *counts
                    .entry(format!("{system}.{table} {kind}"))
                    .or_default() += rows.as_i64().unwrap_or(-1);
            }
        }
    }
    for kept in row["kept"].as_array().into_iter().flatten() {
        let table = kept["table"].as_str().unwrap_or_default();
        *counts.entry(format!("{system}.{table} kept")).or_default() +=
            kept["rows"].as_i64().unwrap_or(-1);
    }
}

fn add_table(counts: &mut Counts, system: &str, table: &Value) {
    let name = table["table"].as_str().unwrap_or_default();
    let kept = table["kept"].as_array().into_iter().flatten();
    let kept: i64 = kept.filter_map(|kept| kept["rows"].as_i64()).sum();
    let number = |what: &str| table[what].as_i64().unwrap_or(0);
    for (what, rows) in [
        ("deleted", number("deleted")),
        ("anonymized", number("anonymized")),
        ("detached", number("detached")),
        ("unlinked", number("large_objects")),
        ("kept", kept),
    ] {
        *counts.entry(format!("{system}.{name} {what}")).or_default() += rows;
    }
}

/// Where anything was searched every database was, behind the last write of the ticket, to any of them, and by the sweep's own
/// notes too.
fn search(history: &History, issued: &Issued, said: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let ticket = history
        .control
        .tickets
        .iter()
        .find(|t| Some(t.id) == issued.ticket_id);
    let Some(ticket) = ticket.filter(|_| said["ticket"]["covers"].is_null()) else {
        return wrong;
    };
    let rows = history.applied.values().flatten();
    let rows = rows.filter(|row| row.ticket_id == ticket.id);
    let steps = history.control.steps.iter();
    let steps =
        steps.filter(|s| s.ticket_id == ticket.id && history.applied.contains_key(&s.system));
    let last = rows
        .map(|row| row.committed_at)
        .chain(steps.filter_map(|s| s.committed_at))
        .max();
    let swept = said["sweep"].as_array().cloned().unwrap_or_default();
    // A policy may name nothing that could be searched for.
    if swept.is_empty() {
        return wrong;
    }
    for system in said["systems"].as_array().into_iter().flatten() {
        let name = system["system"].as_str().unwrap_or_default();
        let Some(sweep) = swept.iter().find(|s| s["system"] == name) else {
            wrong.push(format!("{name} was not searched"));
            continue;
        };
        for table in sweep["tables"].as_array().into_iter().flatten() {
            let read: Option<chrono::DateTime<chrono::Utc>> =
                table["read_at"].as_str().and_then(|at| at.parse().ok());
            if read < last {
                wrong.push(format!(
                    "{name}.{} was searched before the last write",
                    table["table"]
                ));
            }
        }
        let noted = history.control.searched.iter().any(|s| {
            (s.ticket_id, s.generation, s.system.as_str()) == (ticket.id, ticket.generation, name)
                && Some(s.started_at) >= last
        });
        if !noted {
            wrong.push(format!(
                "no sweep notes that it read {name} for it behind its last write"
            ));
        }
    }
    wrong
}
