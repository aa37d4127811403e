//! MariaDB: connections, the catalog, what its errors mean.

pub mod catalog;
pub mod connect;
pub mod failure;
mod fit;
pub mod migrate;
pub mod quote;
mod system;

pub use system::{System, Unread};
