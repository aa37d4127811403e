//! Runs of a retention rule: row by row, and a stretch at a time.

use super::calls::{Company, DUE, POLICY, SCHEMA};
use super::company::Running;
use super::relay::Relay;
use super::support::Workspace;
use super::walked::{Doomed, Walked};
use std::time::Duration;

/// So often one run is killed.
const DEATHS: usize = 20;

#[test]
fn whatever_request_is_its_last_a_run_takes_what_is_due_and_counts_it_once() {
    let stretches = POLICY.replace("action = \"detach\"", "action = \"delete\"");
    assert_ne!(stretches, POLICY);
    let walked = Walked::default();
    let survived: usize = std::thread::scope(|scope| {
        let walkers: Vec<_> = [POLICY, &stretches]
            .map(|policy| scope.spawn(|| walk(policy, &walked)))
            .into_iter()
            .collect();
        walkers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    let found = walked.by_server();
    println!("{survived} boundaries of retention runs walked and survived: {found:?}");
    assert_eq!(survived, found.values().sum::<usize>());
    for server in ["control", "shop"] {
        assert!(found.get(server).is_some_and(|n| *n > 3), "{found:?}");
    }
}

/// Walks until nothing new is met; how often it died.
fn walk(policy: &str, walked: &Walked) -> usize {
    let mut all = 0;
    loop {
        let deaths = die(&Company::with(SCHEMA, policy), policy, walked);
        all += deaths;
        if deaths == 0 {
            return all;
        }
    }
}

fn die(company: &Company, policy: &str, walked: &Walked) -> usize {
    // With what goes with a call left aside: by one policy it goes, by the other it stays.
    let rows = |but: &str| {
        let mut rows = company.rows(but);
        rows.retain(|row| policy == POLICY || !row.starts_with("survey"));
        rows
    };
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    let expected = rows(DUE);
    let doomed = Doomed::new(walked);
    let relay = |name| Relay::open(name, company.server, &doomed);
    let (control, shop) = (relay("control"), relay("shop"));
    let systems = [("shop", shop.url(&company.shop))];
    let workspace = Workspace::new(&control.url(&company.control), &systems);
    workspace.write_policy("customer.toml", policy);
    for deaths in 0.. {
        let start = || Running::start(&workspace, &["retention", "run", "calls"], "");
        let run = doomed.starts(deaths == DEATHS, start);
        let (status, log) = run.end(Duration::from_secs(120));
        if let Some(boundary) = doomed.died() {
            assert_eq!(status.code(), None, "{boundary}\n{log}");
            println!("{boundary}");
        } else {
            assert_eq!(status.code(), Some(0), "{log}");
            assert_eq!(rows("false"), expected);
            let own = "SELECT coalesce(sum((counts->'changed'->'public.call'->>'deleted')::bigint), 0)::bigint FROM erasured.applied_step";
            assert_eq!(company.count(own), due);
            let told = "SELECT coalesce(sum((counts->'public.call'->>'deleted')::bigint), 0)::bigint FROM erasured.retention_run";
            assert_eq!(company.server.count(&company.control, told), due);
            return deaths;
        }
        let over = "UPDATE erasured.retention_run SET lease_until = now() - interval '1 second' WHERE state = 'running'";
        company.server.execute(&company.control, over);
    }
    unreachable!("it is spared in the end")
}
