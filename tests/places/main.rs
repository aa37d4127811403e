//! Systems that are no PostgreSQL database: what their adapters do, and a ticket's way across them.

#![allow(clippy::unwrap_used)] // a test may

#[path = "../support/mod.rs"]
mod support;

mod azure;
mod azure_documented;
mod azurite;
mod begun;
mod bucket;
mod called;
mod command;
mod company;
mod gcs;
mod gcs_documented;
mod gcs_emulator;
mod generations;
mod http;
mod list;
mod memcached;
mod named;
mod nobody;
mod object_store;
mod policy;
mod redis;
mod redis_cluster;
mod service;
mod side_by_side;
mod ticket;
