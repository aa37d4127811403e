//! The privacy desk from outside: what callers ask, what the desk may do, what it may not.

#![allow(clippy::unwrap_used)] // a test may

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code)] // what the tests of the command line need besides
#[path = "../cli/desk.rs"]
mod desk;

mod answers;
mod documents;
mod impostors;
mod legal_holds;
mod no_term;
mod proof_in_proportion;
mod refusals;
mod refuse_part;
mod retention;
mod script;
mod seven_years;
mod terminal;
mod twice;
