//! What the integration tests and the benchmarks stand on: a private PostgreSQL of their own, the
//! demo company in it, and a folder with a configuration, keys and policies for the real binary.
//!
//! `mod support;` in a test, `#[path = "../tests/support/mod.rs"] mod support;` in a benchmark.

// Every test file uses its own part of this, and a test binary exports nothing.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod demo;
mod history;
mod mariadb;
mod memcached;
mod pooler;
mod proxy;
mod redis;
mod server;
mod workspace;

pub use demo::{Demo, load_demo};
pub use history::{Applied, Before, History, Link};
pub use mariadb::MariaDb;
pub use memcached::Memcached;
pub use pooler::Pooler;
pub use proxy::{Fault, Proxy, Rule, Way, When};
pub use redis::Redis;
pub use server::{
    Server, ServerOptions, as_postgres, blocking, connect, free_port, quoted, told, wait_until,
};
pub use workspace::{HASH_KEY, SIGNING_SEED, Workspace, erasured, repository};
