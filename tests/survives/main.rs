//! What must survive: the real binary, killed wherever it may die, restarted, and every ticket
//! once and whole.

// A test may unwrap, and exports nothing.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

#[path = "../support/mod.rs"]
mod support;

mod company;
mod kills;
mod lifecycle;
mod troubles;
mod truth;
