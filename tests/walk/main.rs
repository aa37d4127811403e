//! The walk: every request that the program makes of a database, a service or another system is a boundary, found by looking at the
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

#[path = "../places/bucket.rs"]
mod bucket;
mod kinds;
#[path = "../places/list.rs"]
mod list;
mod place;
mod relay;
mod runs;
#[path = "../places/company.rs"]
mod shop;
mod tickets;
mod walked;
mod wire;
