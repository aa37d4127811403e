//! The walk: every request that the program makes of a database or of a service is a boundary, found by looking at the
//! wire. The program is killed just before each reaches the server, and just before each answer
//! reaches the program; then it starts again, and in the end every ticket is done once and whole.
//!
//! Nothing lists the boundaries: a new one is walked the first time that it is met.

// A test may unwrap, and exports nothing.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../retention/company.rs"]
mod calls;
#[path = "../survives/company.rs"]
mod company;
#[path = "../mariadb/company.rs"]
mod crm;
mod mariadb;
#[path = "../survives/truth.rs"]
mod truth;

mod place;
mod relay;
mod runs;
mod tickets;
mod walked;
