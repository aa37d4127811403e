//! Tickets over two databases and a service.

use super::company::{Case, Company, QUICK, Running, people};
use super::place::{self, Place};
use super::relay::Relay;
use super::support::{Server, ServerOptions, Workspace, repository};
use super::walked::{Doomed, Walked};
use std::time::Duration;

/// So often one case is killed; then comes another, so that no death is hidden behind all those before it.
const DEATHS: usize = 20;
/// Cases at once: most of what they do is to wait.
const WALKERS: usize = 4;
/// Of the demo company.
const CUSTOMERS: u32 = 60;

#[test]
fn whatever_request_is_its_last_every_ticket_is_done_once() {
    let server = Server::start_with(ServerOptions {
        settings: vec![
            ("max_connections".into(), "300".into()),
            ("max_prepared_transactions".into(), "50".into()),
        ],
        ..ServerOptions::default()
    });
    let company = Company::new(&server, CUSTOMERS, people(4));
    let walked = Walked::default();
    let survived: usize = std::thread::scope(|scope| {
        let walkers: Vec<_> = (0..WALKERS)
            .map(|_| {
                scope.spawn(|| {
                    walk(&company, &walked, Way::OneByOne) + walk(&company, &walked, Way::Together)
                })
            })
            .collect();
        walkers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    let found = walked.by_server();
    println!("{survived} boundaries walked and survived: {found:?}");
    let list = repository().join("target/walk.txt");
    std::fs::write(list, walked.list()).unwrap();
    assert_eq!(survived, found.values().sum::<usize>());
    for server in ["control", "shop", "loyalty"] {
        assert!(found.get(server).is_some_and(|n| *n > 5), "{found:?}");
    }
    // To find, to erase and to probe, before and after, behind each other.
    assert!(found.get(place::NAME).is_some_and(|n| *n >= 6), "{found:?}");
}

/// How a ticket goes over its systems.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    OneByOne,
    /// `atomic`: all or not at all.
    Together,
}

/// Walks until nothing new is met; how often it died.
fn walk(company: &Company<'_>, walked: &Walked, way: Way) -> usize {
    let mut all = 0;
    loop {
        let case = company.copy();
        let deaths = die(&case, walked, way);
        case.is_whole();
        let waiting = format!(
            "SELECT count(*) FROM pg_prepared_xacts WHERE database IN ('{}', '{}')",
            case.shop, case.loyalty
        );
        assert_eq!(case.server().count("postgres", &waiting), 0);
        all += deaths;
        if deaths == 0 {
            return all;
        }
    }
}

fn die(case: &Case<'_>, walked: &Walked, way: Way) -> usize {
    let doomed = Doomed::new(walked);
    let relay = |name| Relay::open(name, case.server(), &doomed);
    let (control, shop, loyalty) = (relay("control"), relay("shop"), relay("loyalty"));
    let systems = [
        ("shop", shop.url(&case.shop)),
        ("loyalty", loyalty.url(&case.loyalty)),
    ];
    let mut workspace = Workspace::new(&control.url(&case.control), &systems);
    let policies = repository().join("policies/travel");
    workspace.copy_policies(&policies);
    let policy = std::fs::read_to_string(policies.join("customer.toml")).unwrap();
    let atomic = match way {
        Way::OneByOne => "",
        Way::Together => "atomic = [\"shop\", \"loyalty\"]\n",
    };
    let policy = format!("{atomic}{policy}{}", place::POLICY);
    workspace.write_policy("customer.toml", &policy);
    let crm = Place::open(CUSTOMERS, &doomed);
    let quick = QUICK.replace("[log]", "attempts = 100\n[log]");
    workspace.configure(&format!("{quick}\n{}", crm.settings()));
    for deaths in 0.. {
        let start = || Running::start(&workspace, &["run", "--until-idle"], "");
        let daemon = doomed.starts(deaths == DEATHS, start);
        let (status, log) = daemon.end(Duration::from_secs(120));
        match doomed.died() {
            Some(boundary) => {
                assert_eq!(status.code(), None, "{boundary}\n{log}");
                println!("{boundary}");
            }
            None => {
                assert_eq!(status.code(), Some(0), "{log}");
                let of_ours = |n: &i64| format!("TM-{n:07}");
                let gone: Vec<String> = case.people().iter().map(of_ours).collect();
                let all = (1..=CUSTOMERS).map(|n| of_ours(&n.into()));
                let others: Vec<String> = all.filter(|m| !gone.contains(m)).collect();
                assert_eq!(crm.left(), others);
                let ones = vec![2; gone.len()];
                assert_eq!(case.certified_of_places(), ones, "counted once");
                return deaths;
            }
        }
        // Nobody waits here for what only time does.
        let over = "UPDATE erasured.lease SET until = now() - interval '1 second'; \
                    UPDATE erasured.sweep SET lease_until = now() - interval '1 second' WHERE finished_at IS NULL";
        case.server().execute(&case.control, over);
    }
    unreachable!("it is spared in the end")
}
