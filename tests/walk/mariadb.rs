//! Tickets over a shop on PostgreSQL and a CRM on MariaDB.

use super::company::Running;
use super::crm::Company;
use super::relay::Relay;
use super::support::{Before, HASH_KEY};
use super::walked::{Doomed, Walked, one_in};
use std::time::Duration;

/// What boundaries of the CRM's server are called.
const NAME: &str = "mariadb";
/// So often one company is killed; then comes another.
const DEATHS: usize = 20;

#[test]
fn whatever_request_is_its_last_mariadb_is_erased_from_once() {
    let walked = Walked::default();
    let mut survived = 0;
    loop {
        let deaths = die(&walked);
        survived += deaths;
        if deaths == 0 {
            break;
        }
    }
    let found = walked.by_server();
    println!("{survived} boundaries of tickets with MariaDB walked and survived: {found:?}");
    assert_eq!(survived, found.values().sum::<usize>());
    assert!(found.get(NAME).is_some_and(|n| *n > 5), "{found:?}");
}

/// One who goes whole, and one of whom the law keeps something.
const PEOPLE: [u32; 2] = [3, 4];

fn die(walked: &Walked) -> usize {
    let company = Company::open();
    company
        .crm
        .execute("RENAME USER 'erasured'@'127.0.0.1' TO 'erasured'@'localhost'");
    company.file(&PEOPLE);
    let before = Before::of(&company.systems(), &[("customer", "shop.public.customer")]);
    let others = company.others(&PEOPLE);
    let doomed = Doomed::new(walked);
    let _relays = relayed(&company, &doomed);
    for deaths in 0.. {
        let start = || Running::start(&company.workspace, &["run", "--until-idle"], "");
        let daemon = doomed.starts(deaths == DEATHS, start);
        let (status, log) = daemon.end(Duration::from_secs(120));
        if let Some(boundary) = doomed.died() {
            assert_eq!(status.code(), None, "{boundary}\n{log}");
            println!("{boundary}");
        } else {
            assert_eq!(status.code(), Some(0), "{log}");
            assert_eq!(company.states(), ["T-3 completed", "T-4 deferred"]);
            assert_eq!(company.others(&PEOPLE), others);
            let history = company.history_holds();
            let gone = history.gone(&before, &HASH_KEY);
            assert!(gone.is_empty(), "{}", gone.join("\n"));
            assert_eq!(history.applied["crm"].len(), PEOPLE.len());
            return deaths;
        }
        // Nobody waits here for what only time does.
        let over = "UPDATE erasured.lease SET until = now() - interval '1 second'; \
                    UPDATE erasured.sweep SET lease_until = now() - interval '1 second' WHERE finished_at IS NULL";
        company.server.execute(&company.control, over);
    }
    unreachable!("it is spared in the end")
}

/// From here on the program reaches its servers through relays. Those of PostgreSQL are walked by other tests too:
/// here only where all are.
fn relayed(company: &Company, doomed: &Doomed) -> Vec<Relay> {
    company.reconfigure("attempts = 3", "attempts = 100");
    let crm = Relay::of_mariadb(NAME, &company.crm, doomed);
    company.reconfigure(&company.crm.url("erasured"), &crm.mariadb_url("erasured"));
    let mut relays = vec![crm];
    let databases = [("shop", &company.shop), ("control", &company.control)];
    for (name, database) in databases.into_iter().filter(|_| one_in() == 1) {
        let relay = Relay::open(name, company.server, doomed);
        company.reconfigure(&company.server.url(database), &relay.url(database));
        relays.push(relay);
    }
    relays
}
