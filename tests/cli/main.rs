//! The program from outside: its help, its README, its roles, its HTTP, its answers to bad input.

#![allow(clippy::unwrap_used)] // a test may

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/explained.rs"]
mod explained;

mod api;
mod bad_input;
mod clock;
mod crm;
mod desk;
mod discover;
mod drift;
mod drop_folder;
mod explain;
mod graph;
mod help;
mod http;
mod identity;
mod notice;
mod opendsr;
mod outbox;
mod proof;
mod readme;
mod roles;
mod scopes;
mod standby;
mod systemd;
