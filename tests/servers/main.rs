//! Servers as they are met: behind a pooler, behind a network that breaks, moved by failover, of
//! several versions.

// A test may unwrap, and exports nothing.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

#[path = "../support/mod.rs"]
mod support;

mod atomic;
#[path = "../retention/company.rs"]
mod calls;
#[path = "../survives/company.rs"]
mod company;
mod failover;
mod maintenance;
mod network;
mod patroni;
mod pooler;
mod recheck;
mod subscribers;
#[path = "../survives/truth.rs"]
mod truth;
mod versions;
