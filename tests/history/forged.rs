//! Histories that are true, and what is found of them once something in them is not.

use crate::calls;
use crate::company::{Case, Company, name_of, people};
use crate::support::{Before, HASH_KEY, History, Server};
use std::sync::OnceLock;

/// Three people of two systems, of whom the law keeps something: filed, erased, certified.
fn case() -> &'static Case<'static> {
    static COMPANY: OnceLock<Company> = OnceLock::new();
    static CASE: OnceLock<Case> = OnceLock::new();
    let company = COMPANY.get_or_init(|| Company::new(Server::shared(), 60, people(3)));
    CASE.get_or_init(|| {
        let case = company.copy();
        case.start().ends_well();
        case
    })
}

/// Changes a true history.
type Forge = fn(&mut History);

/// What is forged, how, and words of what must be found.
const FORGED: &[(&str, Forge, &str)] = &[
    (
        "an entry is gone",
        |h| drop(h.control.ledger.remove(7)),
        "stands where",
    ),
    (
        "the last entries are gone",
        |h| h.control.ledger.truncate(20),
        "its way ends at",
    ),
    (
        "two entries have changed places",
        |h| h.control.ledger.swap(8, 9),
        "not chained",
    ),
    (
        "an entry says something else",
        |h| {
            let link = &mut h.control.ledger[10];
            link.entry = link
                .entry
                .replace("desk", "boss")
                .replace("daemon", "nobody");
            link.entry.push(' ');
        },
        "its hash is not its own",
    ),
    (
        "the search began before a step was done",
        |h| swap(h, "verifying", "step_done"),
        "verifying before step",
    ),
    (
        "a step was done before the ticket began",
        |h| swap(h, "step_done", "executing"),
        "before that began",
    ),
    (
        "a certificate was issued before the search",
        |h| swap(h, "certificate", "verifying"),
        "a certificate while",
    ),
    (
        "closed before its certificate",
        |h| swap(h, "completed", "certificate"),
        "with 0 certificates",
    ),
    (
        "a step was done twice",
        |h| again(h, "step_done"),
        "done twice",
    ),
    (
        "a certificate was entered twice",
        |h| again(h, "certificate"),
        "entered 2 times",
    ),
    (
        "a ticket is lost",
        |h| drop(h.control.tickets.remove(0)),
        "and it is not there",
    ),
    (
        "a ticket stands elsewhere",
        |h| h.control.tickets[0].state = "verifying".into(),
        "its way ends at",
    ),
    (
        "a system's row is gone",
        |h| drop(rows(h, "shop").remove(0)),
        "the system has no row of it",
    ),
    (
        "a system has a row too many",
        |h| {
            let mut row = rows(h, "shop")[0].clone();
            row.generation = 2;
            rows(h, "shop").push(row);
        },
        "which nobody planned",
    ),
    (
        "a system has a row twice",
        |h| {
            let row = rows(h, "shop")[0].clone();
            rows(h, "shop").push(row);
        },
        "two rows of",
    ),
    (
        "a system has another's row",
        |h| {
            let row = rows(h, "shop")[0].clone();
            rows(h, "loyalty").push(row);
        },
        "says it is of shop",
    ),
    (
        "a row counts more",
        |h| {
            rows(h, "shop")[0].counts["changed"]["public.booking"]["anonymized"] = 99.into();
        },
        "counts other than its system",
    ),
    (
        "row and step count more",
        |h| {
            let row = &mut rows(h, "shop")[0];
            row.counts["changed"]["public.booking"]["anonymized"] = 99.into();
            let (id, counts) = (row.ticket_id, row.counts.clone());
            let step = h
                .control
                .steps
                .iter_mut()
                .find(|s| s.ticket_id == id && s.system == "shop");
            step.unwrap().counts.as_mut().unwrap()["counts"] = counts;
        },
        "its certificate says",
    ),
    (
        "a step was done before it began",
        |h| {
            let early = rows(h, "shop")[0].committed_at - chrono::TimeDelta::hours(1);
            rows(h, "shop")[0].committed_at = early;
        },
        "wrote before it began",
    ),
    (
        "a step was done after it was written down",
        |h| {
            let late = rows(h, "shop")[0].committed_at + chrono::TimeDelta::hours(1);
            rows(h, "shop")[0].committed_at = late;
        },
        "before its system had done it",
    ),
    (
        "a system was written to behind the search",
        |h| {
            let late = rows(h, "shop")[0].committed_at + chrono::TimeDelta::hours(1);
            rows(h, "shop")[0].committed_at = late;
        },
        "searched before the last write",
    ),
    (
        "a plan is gone",
        |h| h.control.plans.clear(),
        "its plan is not stored",
    ),
    (
        "a plan is another",
        |h| h.control.plans.iter_mut().for_each(|p| p.body.push(' ')),
        "not the one that it names",
    ),
    (
        "a plan is younger than its deed",
        |h| {
            h.control
                .plans
                .iter_mut()
                .for_each(|p| p.created_at += chrono::TimeDelta::hours(1));
        },
        "younger than its first write",
    ),
    (
        "a certificate is gone",
        |h| drop(h.control.certificates.pop()),
        "entered into the ledger",
    ),
    (
        "a certificate is another's",
        |h| {
            let jws = h.control.certificates[1].jws.clone();
            h.control.certificates[0].jws = jws;
        },
        "says it is another's",
    ),
    (
        "a certificate was changed",
        |h| {
            let jws = &mut h.control.certificates[0].jws;
            jws.replace_range(
                120..121,
                if jws.as_bytes()[120] == b'A' {
                    "B"
                } else {
                    "A"
                },
            );
        },
        "not signed by the key",
    ),
    (
        "no sweep notes the search",
        |h| h.control.searched.clear(),
        "no sweep notes",
    ),
];

fn rows<'h>(history: &'h mut History, system: &str) -> &'h mut Vec<crate::support::Applied> {
    history.applied.get_mut(system).unwrap()
}

/// Where the first ticket's entry of a kind stands.
fn place(history: &History, kind: &str) -> usize {
    let id = history.control.certificates[0]
        .ticket_id
        .unwrap()
        .to_string();
    let of = |entry: &str| {
        let entry: serde_json::Value = serde_json::from_str(entry).unwrap();
        let kind = entry["kind"] == kind || kind == "completed" && entry["kind"] == "deferred";
        kind && entry["ticket"] == *id
    };
    history
        .control
        .ledger
        .iter()
        .position(|link| of(&link.entry))
        .unwrap_or_else(|| panic!("no {kind}"))
}

/// The first ticket's entry of one kind is put before that of another, and all hashed anew.
fn swap(history: &mut History, kind: &str, before: &str) {
    let (from, to) = (place(history, kind), place(history, before));
    assert!(from > to, "{kind} comes behind {before}");
    let moved = history.control.ledger.remove(from);
    history.control.ledger.insert(to, moved);
    chain_anew(history);
}

/// The first ticket's entry of a kind is there once more.
fn again(history: &mut History, kind: &str) {
    let at = place(history, kind);
    let link = history.control.ledger[at].clone();
    history.control.ledger.insert(at, link);
    chain_anew(history);
}

/// As one would who holds the database and knows how it is done.
fn chain_anew(history: &mut History) {
    use sha2::{Digest, Sha256};
    let (mut prev, mut bytes) = ("0".repeat(64), vec![0; 32]);
    for (seq, link) in (1..).zip(&mut history.control.ledger) {
        let (_, rest) = link.entry.split_once(",\"at\"").unwrap();
        link.entry = format!("{{\"seq\":{seq},\"at\"{rest}");
        link.seq = seq;
        let hash = Sha256::new()
            .chain_update([0])
            .chain_update(&bytes)
            .chain_update(&link.entry);
        bytes = hash.finalize().to_vec();
        link.prev = std::mem::replace(
            &mut prev,
            bytes.iter().map(|b| format!("{b:02x}")).collect(),
        );
        link.hash.clone_from(&prev);
    }
}

#[test]
fn a_true_history_holds_and_what_is_forged_is_found() {
    let case = case();
    let key = case.workspace().verifying_key();
    let history = case.history();
    assert_eq!(history.wrong(&key), [""; 0]);
    assert_eq!(history.unsettled(), [""; 0]);
    let mut missed = Vec::new();
    for (what, forge, found) in FORGED {
        let mut forged = history.clone();
        forge(&mut forged);
        let wrong = forged.wrong(&key);
        if !wrong.iter().any(|w| w.contains(found)) {
            missed.push(format!("{what} (\"{found}\"): {wrong:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    let another = ed25519_dalek::SigningKey::from_bytes(&[8; 32]).verifying_key();
    assert!(
        history
            .wrong(&another)
            .iter()
            .any(|w| w.contains("not signed"))
    );
}

/// A rule's runs, and who asked: nothing else may be gone.
#[test]
fn rows_that_go_are_answered_for() {
    let company = calls::Company::open();
    let roles = std::fs::read_to_string(crate::support::repository().join("sql/roles/control.sql"))
        .unwrap();
    company.server.execute(&company.control, &roles);
    company.says(&["run", "--until-idle"], 0);
    let systems = [("shop", company.server.url(&company.shop))];
    let before = Before::of(&systems, &[("customer", "shop.public.customer")]);
    company.server.execute(&company.control, "DO $$ DECLARE t uuid; BEGIN
        t := erasured.submit_ticket('CRM-3', 'customer', '{\"member_no\": \"M-3\"}', 'account', 'policy');
        PERFORM set_config('erasured.actor', 'desk', true); PERFORM erasured.verify_ticket(t, 'login_reauth');
        PERFORM set_config('erasured.actor', 'lead', true); PERFORM erasured.approve_ticket(t); END $$");
    company.says(&["retention", "run", "calls"], 0);
    company.says(&["run", "--until-idle"], 0);
    let read = || History::read(company.workspace.control_url(), &systems);
    let history = read();
    assert_eq!(history.wrong(&company.workspace.verifying_key()), [""; 0]);
    assert_eq!(history.unsettled(), [""; 0]);
    assert_eq!(history.gone(&before, &HASH_KEY), [""; 0]);
    assert!(!history.control.runs.is_empty());
    assert_eq!(name_of(company.workspace.control_url()), company.control);
    company.execute("DELETE FROM survey WHERE id = 1; DELETE FROM note WHERE call IN (SELECT id FROM call WHERE customer = 7);
        UPDATE survey SET call = NULL WHERE call IN (SELECT id FROM call WHERE customer = 7);
        DELETE FROM call WHERE customer = 7; DELETE FROM customer WHERE id = 7");
    let wrong = read().gone(&before, &HASH_KEY);
    for what in [
        "shop.public.survey: 1 rows",
        "shop.public.customer: 7 is gone, and nobody asked",
        "shop.public.customer: 2 rows are gone, and 1",
    ] {
        assert!(wrong.iter().any(|w| w.contains(what)), "{what}: {wrong:?}");
    }
    // A ticket that has closed with a lease left, and one that nobody closed.
    company.server.execute(
        &company.control,
        "INSERT INTO erasured.lease SELECT id, id, now(), 'x' FROM erasured.ticket",
    );
    assert_eq!(
        read().unsettled(),
        ["1 of these are left: lease of a ticket"]
    );
}
