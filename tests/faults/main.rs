//! Whatever else dies: a daemon that sleeps through its lease, a disk that is full, a clock that jumps, a name
//! that is gone, a certificate that has expired, a password that is changed. Each time: nothing is lost, nothing
//! is done twice, it is said, and work goes on by itself when the fault has ended.
//!
//! Kills at random, a server that crashes or is full of connections: tests/survives. Networks and failovers:
//! tests/servers.

// A test may unwrap, and exports nothing.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

#[path = "../support/mod.rs"]
mod support;

mod clock;
#[path = "../survives/company.rs"]
mod company;
mod disk;
mod login;
mod names;
mod stopped;
#[path = "../survives/truth.rs"]
mod truth;

use company::{Case, Company, Running, get, people};
use std::sync::OnceLock;
use std::time::Duration;
use support::{Server, ServerOptions, Workspace, wait_until};

/// More than anything takes, on a busy machine too.
const LONG: Duration = Duration::from_secs(120);

const LEFT: &str =
    "SELECT count(*) FROM erasured.ticket WHERE state NOT IN ('completed', 'deferred')";

/// Six tickets: two batches.
fn small() -> &'static Company<'static> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static COMPANY: OnceLock<Company> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        Server::start_with(ServerOptions {
            settings: vec![("max_connections".into(), "200".into())],
            ..ServerOptions::default()
        })
    });
    COMPANY.get_or_init(|| Company::new(server, 60, people(6)))
}

/// It goes on by itself until all is done, and all is as it must be.
#[track_caller]
fn goes_on(case: &Case<'_>, daemon: Running) {
    wait_until("the rest to be done", LONG, || case.control(LEFT) == "0");
    daemon.signal("TERM");
    daemon.ends_well();
    case.is_whole();
}

/// The sum of a metric's lines whose labels hold this.
fn metric(workspace: &Workspace, name: &str, label: &str) -> f64 {
    let token = std::fs::read_to_string(workspace.path().join("keys/http.token")).unwrap();
    let Some((200, text)) = get(&workspace.http(), "/metrics", Some(token.trim())) else {
        return 0.0;
    };
    let lines = text
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label));
    lines
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

/// What `/readyz` says is wrong.
fn unready(workspace: &Workspace) -> String {
    match get(&workspace.http(), "/readyz", None) {
        Some((503, body)) => body,
        _ => String::new(),
    }
}
