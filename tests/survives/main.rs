//! What must survive: the real binary, killed wherever it may die, restarted, and every ticket
//! once and whole.

#![allow(clippy::unwrap_used)] // a test may

#[path = "../support/mod.rs"]
mod support;

mod company;
mod kills;
mod lifecycle;
mod troubles;
mod truth;
