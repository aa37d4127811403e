//! The history check (tests/support/history): a true history holds, and one that was forged is found.
//!
//! `make history CONTROL=… SYSTEMS="shop=… loyalty=…" KEY=signing.pub.pem` reads that of any databases.

// A test may unwrap, and exports nothing.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../retention/company.rs"]
mod calls;
#[path = "../survives/company.rs"]
mod company;
#[path = "../survives/truth.rs"]
mod truth;

mod forged;

use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::DecodePublicKey;
use support::History;

/// Not a test of the program: it reads what it is pointed to.
#[test]
#[ignore = "make history points it at databases"]
fn of_any_databases() {
    let named = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let (control, systems) = (named("HISTORY_CONTROL"), named("HISTORY_SYSTEMS"));
    let systems: Vec<(&str, String)> = systems
        .split_whitespace()
        .map(|pair| pair.split_once('=').expect("name=URL"))
        .map(|(name, url)| (name, url.to_owned()))
        .collect();
    let key = std::fs::read_to_string(named("HISTORY_KEY")).unwrap();
    let key = VerifyingKey::from_public_key_pem(&key).unwrap();
    let history = History::read(&control, &systems);
    let wrong = history.wrong(&key);
    let open = history.unsettled();
    println!(
        "{} entries, {} tickets, {} certificates: {} thing(s) wrong, {} open",
        history.control.ledger.len(),
        history.control.tickets.len(),
        history.control.certificates.len(),
        wrong.len(),
        open.len()
    );
    for what in &open {
        println!("open: {what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
