//! Schemas of real applications: the tables that a package's own migrations make, filled with rows
//! of nobody, drafted by `discover`, decided by a policy of ours, erased by the real daemon, and
//! compared row by row with what a naive oracle says must be left.
//!
//! `make schemas` runs them all, `make schemas ONLY=oscar` one; Django's own tables run in CI.

// A test may unwrap, and uses a part of what all tests share.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

mod support;

#[path = "schemas/application.rs"]
mod application;
#[path = "schemas/decided.rs"]
mod decided;
#[path = "schemas/definition.rs"]
mod definition;
#[path = "schemas/fill.rs"]
mod fill;
#[path = "schemas/oracle.rs"]
mod oracle;
#[path = "schemas/value.rs"]
mod value;

use application::erased_as_the_oracle_says;

#[test]
fn django() {
    erased_as_the_oracle_says("django");
}

#[test]
#[ignore = "a shop of 94 tables from PyPI: make schemas"]
fn oscar() {
    erased_as_the_oracle_says("oscar");
}

#[test]
#[ignore = "tickets for events, 155 tables from PyPI: make schemas"]
fn pretix() {
    erased_as_the_oracle_says("pretix");
}

#[test]
#[ignore = "calls for papers, with proposals of several speakers, from PyPI: make schemas"]
fn pretalx() {
    erased_as_the_oracle_says("pretalx");
}

#[test]
#[ignore = "dashboards, with one user in the corner of every row, from PyPI: make schemas"]
fn superset() {
    erased_as_the_oracle_says("superset");
}
