//! Retention from outside: what is due goes, with what hangs on it, and nothing else.

#![allow(clippy::unwrap_used)] // a test may

#[path = "../support/mod.rs"]
mod support;

mod anonymized;
mod approval;
mod archives;
mod buckets;
mod certificates;
mod company;
mod conditions;
mod detached;
mod forecast;
mod holds;
mod killed;
mod lesson_08;
mod linked;
mod partitions;
mod people;
mod rules;
mod runs;
mod scheduled;
mod seen;
mod stretch;
mod throttle;
mod together;
mod verify;
