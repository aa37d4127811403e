//! Between the daemon and a server the network breaks, on COMMIT above all: every ticket once and whole,
//! and nothing hangs.

use crate::company::{Company, QUICK, Running, people};
use crate::support::{
    Fault, Pooler, Proxy, Rule, Server, ServerOptions, Way, When, Workspace, repository,
};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn company() -> &'static Company<'static> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static COMPANY: OnceLock<Company> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        Server::start_with(ServerOptions {
            settings: vec![("max_connections".into(), "300".into())],
            ..ServerOptions::default()
        })
    });
    COMPANY.get_or_init(|| Company::new(server, 60, people(12)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    System,
    /// Between the daemon and a pooler before the systems.
    Pooler,
    Control,
}

/// How long a server that owes an answer may be silent, in these tests. Longer than anybody waits for a lock.
const SILENCE: &str = "silence=return(6000)";

/// The silence, the minute after which a server ends a transaction that has gone silent, the pauses
/// between tries, and a machine that has other work.
const IN_TIME: Duration = Duration::from_secs(150);

fn survives(side: Side, rule: Rule) {
    let case = company().copy();
    let pooler = (side == Side::Pooler).then(|| Pooler::start(case.server(), 5, &["postgres"]));
    let proxy = match &pooler {
        Some(pooler) => Proxy::before_socket(pooler.socket()),
        None => Proxy::before(case.server()),
    };
    let near = |side_of: Side, database: &str| {
        if side == side_of || side == Side::Pooler && side_of == Side::System {
            proxy.url(database)
        } else {
            case.server().url(database)
        }
    };
    let mut workspace = Workspace::new(
        &near(Side::Control, &case.control),
        &[
            ("shop", near(Side::System, &case.shop)),
            ("loyalty", near(Side::System, &case.loyalty)),
        ],
    );
    workspace.copy_policies(&repository().join("policies/travel"));
    workspace.configure(QUICK);
    proxy.arm(rule);
    let started = Instant::now();
    let log = loop {
        let daemon = Running::start(&workspace, &["run", "--until-idle"], SILENCE);
        let (status, log) = daemon.end(IN_TIME);
        // What could not be reached before the first work is said; systemd would start it again.
        let unreached = status.code() == Some(3) && started.elapsed() < IN_TIME;
        if !unreached {
            println!("{side:?} {rule:?}: {:?}", started.elapsed());
            assert_eq!(status.code(), Some(0), "{side:?} {rule:?}: {log}");
            break log;
        }
    };
    assert_eq!(
        proxy.broken(),
        1,
        "{side:?} {rule:?}: it did not come to that\n{log}"
    );
    case.is_whole();
}

fn all(scenarios: &[(Side, Rule)]) {
    let next = AtomicUsize::new(0);
    company();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    while let Some((side, rule)) =
                        scenarios.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        survives(*side, *rule);
                    }
                })
            })
            .collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

const COMMIT: &[u8] = b"COMMIT\0";

/// The request is lost, or the answer to what has happened.
fn on_commit(behind: &'static [u8], way: Way, fault: Fault) -> Rule {
    let when = When::Passes(COMMIT, Some(behind));
    Rule { way, when, fault }
}

const LATE: Fault = Fault::Delay(Duration::from_secs(1));

#[test]
fn a_commit_on_a_system_is_lost_on_its_way() {
    let behind = b"INSERT INTO erasured.applied_step";
    all(&[
        (Side::System, on_commit(behind, Way::Up, Fault::Cut)),
        (Side::System, on_commit(behind, Way::Up, Fault::Silence)),
        (Side::System, on_commit(behind, Way::Up, Fault::HalfClose)),
        (Side::System, on_commit(behind, Way::Down, Fault::Cut)),
        (Side::System, on_commit(behind, Way::Down, Fault::Reset)),
        (Side::System, on_commit(behind, Way::Down, Fault::Silence)),
        (Side::System, on_commit(behind, Way::Down, Fault::HalfClose)),
        (Side::System, on_commit(behind, Way::Down, LATE)),
    ]);
}

/// Which of its sessions the pooler had used is known by the transaction, not by the connection.
#[test]
fn a_commit_is_lost_on_its_way_to_a_pooler() {
    let behind = b"INSERT INTO erasured.applied_step";
    all(&[
        (Side::Pooler, on_commit(behind, Way::Up, Fault::Cut)),
        (Side::Pooler, on_commit(behind, Way::Up, Fault::Silence)),
        (Side::Pooler, on_commit(behind, Way::Down, Fault::Cut)),
        (Side::Pooler, on_commit(behind, Way::Down, Fault::Silence)),
    ]);
}

#[test]
fn a_commit_on_the_control_database_is_lost_on_its_way() {
    let (done, close) = (b"/* erasured:step_done */", b"/* erasured:close */");
    all(&[
        // The server itself ends the session that has gone silent, after a minute.
        (Side::Control, on_commit(done, Way::Up, Fault::Silence)),
        (Side::Control, on_commit(done, Way::Up, Fault::Cut)),
        (Side::Control, on_commit(done, Way::Down, Fault::Reset)),
        (Side::Control, on_commit(done, Way::Down, Fault::Silence)),
        (Side::Control, on_commit(close, Way::Up, Fault::HalfClose)),
        (Side::Control, on_commit(close, Way::Down, Fault::Cut)),
        (Side::Control, on_commit(close, Way::Down, Fault::Silence)),
        (Side::Control, on_commit(close, Way::Down, LATE)),
    ]);
}

#[test]
fn the_network_breaks_anywhere() {
    let at = |way, bytes, fault| Rule {
        way,
        when: When::Bytes(bytes),
        fault,
    };
    all(&[
        (Side::System, at(Way::Up, 2_000, Fault::Reset)),
        (Side::System, at(Way::Up, 12_000, Fault::Silence)),
        (Side::System, at(Way::Down, 9_000, Fault::Cut)),
        (Side::Control, at(Way::Up, 20_000, Fault::Cut)),
        (Side::Control, at(Way::Down, 6_000, Fault::Silence)),
        (Side::Control, at(Way::Down, 30_000, Fault::HalfClose)),
    ]);
}
