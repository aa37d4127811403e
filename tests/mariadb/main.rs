//! People in MariaDB beside their own table in PostgreSQL: what is refused, what goes, what stays.

#![allow(clippy::unwrap_used)] // a test may

#[path = "../support/mod.rs"]
mod support;

mod check;
mod company;
mod holds;
mod keys;
mod login;
mod network;
mod survives;
mod sweep;
mod ticket;
