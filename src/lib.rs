//! `erasured` forgets people on request and data on schedule, and can prove it.
//!
//! The way of a ticket is the way through the modules: [`policy`] and [`catalog`] meet in
//! [`lineage`] (how rows belong to a person), which becomes a [`plan`] (ordered statements as a
//! value); `erasure` runs it on a [`system`] in one transaction, [`verify`] says what is left,
//! [`certificate`] signs what was done and `store` remembers it. Everything before `erasure`
//! is pure: values in, values out.

pub mod anonymize;
pub mod api;
pub mod catalog;
pub mod certificate;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod diagnostic;
pub mod discovery;
pub mod drop_folder;
pub mod erasure;
pub mod exchange;
pub mod explanation;
pub mod graph;
pub mod http;
pub mod identifier;
pub mod keys;
pub mod ledger;
pub mod lineage;
pub mod metrics;
pub mod name;
pub mod notice;
pub mod outbox;
pub mod plan;
pub mod policy;
pub mod reading;
pub mod retention;
pub mod secret;
pub mod start;
pub mod store;
pub mod system;
pub mod ticket;
pub mod verify;
