//! Five days at the desk of 旅路トラベル, told from the first call to the proof, through the doors
//! that people use. `make stories` prints them.

#![allow(clippy::unwrap_used)] // a test may

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code)] // what the tests of the command line need besides
#[path = "../cli/desk.rs"]
mod desk;

mod account;
mod heir;
mod impostor;
mod invoices;
mod newsletter;
mod teller;
