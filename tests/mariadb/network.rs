//! A network between the daemon and MariaDB that breaks on COMMIT.

use crate::company::{CRM, Company, POLICY};
use crate::support::{Fault, MariaDb, Proxy, Rule, Way, When};

fn commit_is_lost(fault: Fault) {
    let crm = MariaDb::start();
    let proxy = Proxy::before_socket(crm.socket());
    let company = Company::with(crm, CRM, POLICY);
    company
        .crm
        .execute("RENAME USER 'erasured'@'127.0.0.1' TO 'erasured'@'localhost'");
    company.goes_through(proxy.port());
    company.file(&[3]);
    proxy.arm(Rule {
        way: Way::Up,
        when: When::Passes(b"erasured:commit", None),
        fault,
    });
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(proxy.broken(), 1);
    company.was_done_once();
}

/// It never arrived: the server rolls back, and it is done again.
#[test]
fn commit_that_is_cut_off() {
    commit_is_lost(Fault::Cut);
}

/// Nobody hears anything any more: the session lives on with its locks, and is ended before it is done again.
#[test]
fn commit_into_silence() {
    commit_is_lost(Fault::Silence);
}
